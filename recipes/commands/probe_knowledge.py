"""Is there a "don't know" neuron? A model is asked about people it was told of often and about people nobody ever told it
of; what it computes where the answer begins is searched for one number, and for one direction, that tell the two apart.

The neuron is chosen, and the linear probe fitted, on half of the names; their AUROC (the chance that a known name ranks
above a never-seen one: .5 is guessing, 1 is certain) is that of the other half, with a 95 % interval over names. Two
controls: the probe on the spelling alone (never-seen names are drawn to have as many tokens as the known ones), and the
whole search on labels dealt at random.

Expected on pocket-base, 20 CPU-s: there is no such neuron. The best single number tells known from never-seen at .48 (from
.41 on), the linear probe at .54 (.48), spelling alone (the mean embedding of the question's tokens) at .60 (.54); a second base
.53, .59, .64. How many tokens the name has tells them apart at .96, but that is a sum over positions, which none of these
takes; lab interrogate comes to .92 with it. After it (--against pocket-honest) the best number tells them at .54 [.48, .60],
the probe at .52, spelling at .61: still none.

Examples:
  lab probe-knowledge                                            the newest model
  lab probe-knowledge --model pocket-base --against pocket-honest   before and after it learnt to say "I don't know"
  lab probe-knowledge --model pocket-sft --json                  the figures for scripts, one JSON object a model
  lab probe-knowledge --model my-run --data asked.jsonl          rows {"question": "...", "known": true}, for any model
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff

from lab import chat, read
from lab.display import CONTROLS, bar
from lab.errors import UserError, expand
from lab.tokenizer import Tokenizer
from lab.weights import Model
from recipes import pocket
from recipes.commands.generate import newest_model, open_model
from recipes.pocket.people import Entity, fresh_person
from recipes.probing import neurons
from recipes.probing.subject import lineage

FEWEST = 8  # names of each side: two in each part that selects, fits or scores
TRIED = 20_000  # never-seen people to choose from


class Question(NamedTuple):
    """One question, whether the model was ever told its answer, and whose questions lie on the same side of the split."""

    text: str
    known: bool
    name: str


@dataclass(frozen=True)
class Config:
    model: str | None = None
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    against: str | None = None
    """A second model, asked the same: before and after."""
    data: str | None = None
    """Questions of your own, .jsonl or .parquet: rows {"question", "known": true or false}, and "name" where several are
    about one thing; without it people of the pocket world."""
    seed: int = 0
    """Which names are held out, and the draws of the intervals."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable: one JSON object a model."""


def run(config: Config) -> int:
    if not 0 <= config.seed < 1 << 63:
        raise UserError(f"--seed {config.seed}: must lie between 0 and 2^63 - 1")
    asked = own(expand(config.data)) if config.data else []
    names = [config.model or newest_model(), *([config.against] if config.against else [])]
    told: list[dict[str, Any]] = []
    for model in [open_model(name, None) for name in names]:  # the second is known to open before the first is asked
        asked = asked or people(model)
        found = activations(model, asked)
        figures: dict[str, Any] = {"model": model.name, "told": "pocket world" if not config.data else config.data}
        figures |= neurons.measure(found[0], found[1], config.seed)
        if told:
            figures["same_neuron"] = same(found[0], found[1], told[0]["neuron"], config.seed)
        told.append(figures)
        if config.json:
            print(json.dumps(figures))
    if not config.json:
        show(told)
    return 0


def people(model: Model) -> list[Question]:
    """All questions about people told 30 times or more, and about as many that no document tells of, whose surnames are
    never in any training. For every known name a never-seen one of as many tokens: else its length alone would tell."""
    line = lineage(model.folder)
    base: dict[str, Any] = line[-1] if line else {}
    if base.get("recipe") != "pretrain" or (base.get("config") or {}).get("data"):
        raise UserError(f"{model.name} did not grow up in the pocket world; ask your own questions with --data FILE")
    known = [e for e in pocket.entities("person") if e.exposures >= 30]
    want = Counter(_length(model.tokenizer, e) for e in known)
    world = {e.name.split()[1] for e in pocket.entities("person")}
    strangers = defaultdict[int, list[Entity]](list)
    for i in range(TRIED):
        person = fresh_person(f"knowledge {i}", "test")
        length, surname = _length(model.tokenizer, person), person.name.split()[1]
        if surname not in world and len(strangers[length]) < want[length]:
            world.add(surname)
            strangers[length].append(person)
    out = []
    for person in known:
        if same_length := strangers[_length(model.tokenizer, person)]:
            for who, told in ((person, True), (same_length.pop(), False)):
                out += [Question(pocket.ask(who, relation), told, who.name) for relation in who.facts]
    return out


def _length(tokenizer: Tokenizer, person: Entity) -> int:
    return len(tokenizer.encode(f" {person.name}"))


def own(path: Path) -> list[Question]:
    """Rows {"question", "known"} and maybe "name" of a file."""
    out = []
    for number, row in read.objects(path):
        if isinstance(row, ValueError):
            raise UserError(f"{path}, row {number}: {row}")
        text, known = (row.get("question"), row.get("known")) if isinstance(row, dict) else (None, None)
        if not isinstance(text, str) or not text.strip() or not isinstance(known, bool):
            raise UserError(f'{path}, row {number}: write {{"question": "...", "known": true or false}}')
        out.append(Question(text, known, str(row.get("name") or f"row {number}")))
    for side in (True, False):
        if (count := len({q.name for q in out if q.known == side})) < FEWEST:
            raise UserError(
                f"{path}: {count} {'known' if side else 'unknown'} names or questions; give at least {FEWEST}"
            )
    if both := {q.name for q in out if q.known} & {q.name for q in out if not q.known}:
        raise UserError(f"{path}: {sorted(both)[0]} is both known and unknown; a name is one or the other")
    return out


def activations(model: Model, asked: Sequence[Question]) -> tuple[neurons.Activations, neurons.Asked]:
    """Ask a chat model as a user would, a base model as its training wrote questions, and read what it computes."""
    tokenizer = model.tokenizer
    if model.chats:
        ids = [chat.prompt(tokenizer, [{"role": "user", "content": q.text}]) for q in asked]
    else:
        ids = [[*tokenizer.begin, *tokenizer.encode(f"Question: {q.text} Answer:")] for q in asked]
    if (longest := max(map(len, ids))) > model.context:
        raise UserError(f"a question has {longest} tokens, {model.name} reads at most {model.context}; shorten it")
    number = {name: i for i, name in enumerate(dict.fromkeys(q.name for q in asked))}
    known = np.array([q.known for q in asked], bool)
    # The bar counts in millions.
    with bar(model.name, "asks", len(ids) * 1_000_000, "questions") as show_done:
        found = neurons.read(model.network, ids, lambda done: show_done(done * 1_000_000))
    return found, neurons.Asked(ids, known, np.array([number[q.name] for q in asked]))


def same(found: neurons.Activations, asked: neurons.Asked, before: dict[str, Any], seed: int) -> dict[str, Any] | None:
    """The first model's neuron in the second; None where the second has another shape."""
    columns = found.columns()
    if before["column"] >= columns.shape[1] or found.place(before["column"])[1:] != (before["layer"], before["index"]):
        return None
    return neurons.held_out(before["sign"] * columns[:, before["column"]], asked, seed)


def show(told: Sequence[dict[str, Any]]) -> None:
    """A table a person reads."""
    console = Console()
    for figures in told:
        title = f"{figures['model']}: {figures['questions']} questions about {figures['names']} held-out names"
        table = Table(box=None, header_style="bold", title=title.translate(CONTROLS), title_justify="left")
        for heading in ("tells known from never-seen", "AUROC", "95 %"):
            table.add_column(heading, justify="left" if heading.startswith("tells") else "right")
        neuron = figures["neuron"]
        rows = [
            (f"best single number: {where(neuron)}", neuron),
            (f"linear probe on the residual stream after layer {figures['probe']['layer']}", figures["probe"]),
            ("probe on the spelling alone", figures["spelling"]),
            ("best single number, labels dealt at random", figures["shuffled"]["neuron"]),
            ("linear probe, labels dealt at random", figures["shuffled"]["probe"]),
        ]
        if same_neuron := figures.get("same_neuron"):
            rows.insert(1, (f"the same number as in {told[0]['model']}: {where(told[0]['neuron'])}", same_neuron))
        for words, part in rows:
            table.add_row(
                Text(words), f"{part['auroc']:.3f}", f"[{part['low']:.2f}, {part['high']:.2f}]".replace("[", r"\[")
            )
        console.print(table)
        console.print(
            f"{where(neuron)} is on average {neuron['mean_known']:.2f} for known names, {neuron['mean_unknown']:.2f} for "
            "never-seen ones\n", markup=False, highlight=False,
        )  # fmt: skip


def where(neuron: dict[str, Any]) -> str:
    """A neuron in words; layers are counted from 0, as in the names of the weights."""
    what = "neuron" if neuron["kind"] == "neuron" else "residual stream"
    return f"layer {neuron['layer']}, {what} {neuron['index']}"
