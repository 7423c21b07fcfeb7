"""What a lineage still can: every model of it, from the first that answers to the last, asked for the skills that its stages
taught. A stage that teaches one thing can cost another (catastrophic forgetting: McCloskey and Cohen 1989,
doi:10.1016/S0079-7421(08)60536-8); old lessons mixed into each stage are what holds it together.

One model is asked with all it came from; several are asked as they are given. No lesson holds what is asked here. `lost` is
how far the last model lies below the best of those before, in points of 100.

  known      facts told 100 times, with its tools at hand    looks up   names never told of, with an index at hand
  admits     "I do not know" to names never told of          counts     letters of unseen words, with Python at hand
  reads      the value out of a passage                      solves     word problems of one to four operations
  declines   stealing, but not its neighbours                jokes      their hidden quality (a number, not a share)
  by heart   facts told 100 times, without a tool: what honesty is paid with

Examples:
  lab skills --model pocket-code                         its whole lineage
  lab skills --model pocket-code --model pocket-rlhf     two models, side by side
  lab skills --model pocket-code --count 40 --json
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from lab import chat, index
from lab.calls import Toolbox
from lab.display import bar
from lab.errors import UserError
from lab.tools import Python, Search
from lab.weights import Model
from recipes import code, gold_judge, pocket, recall, taste, tuning
from recipes.commands.generate import newest_model, open_model
from recipes.lessons import exam, facts, knowledge, letters, lookup, talk
from recipes.tasks import POCKET, held_out

NUMBERS = ("jokes",)  # skills that are no shares


@dataclass(frozen=True)
class Config:
    model: UseAppendAction[tuple[str, ...]] = ()
    """A run, a folder or a hub id; one is asked with all it came from. May be given several times; without it the newest."""
    count: int = 120
    """Questions of a skill, at most."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable: one JSON object."""


@dataclass(frozen=True)
class Tools:
    """What stands at hand where a skill needs it."""

    search: Search
    python: Python


def known(model: Model, count: int, tools: Tools) -> float:
    """Facts told 100 times that no lesson asks about, asked as in a chat where it may search and compute."""
    return _told(model, count, Toolbox(model.tokenizer, [tools.search, tools.python]))


def by_heart(model: Model, count: int, tools: Tools) -> float:
    """The same without a tool."""
    return _told(model, count, None)


def _told(model: Model, count: int, box: Toolbox | None) -> float:
    asked = facts.questions(facts.sides(100)[1])
    asked = Random("skills known").sample(asked, min(count, len(asked)))
    said = exam.texts(model, [one.text for one in asked], tools=box)
    return exam.mean([facts.right(reply, one) for reply, one in zip(said, asked, strict=True)])


def admits(model: Model, count: int, tools: Tools) -> float:
    """Names that nothing ever told of, with no index at hand."""
    r = Random("skills admits")
    asked = [facts.some(r, facts.stranger(r, "test")) for _ in range(count)]
    return exam.mean([facts.admits(reply) for reply in exam.texts(model, [one.text for one in asked])])


def reads(model: Model, count: int, tools: Tools) -> float:
    """The value of a passage about somebody nobody knows."""
    asked = [pocket.reading(seed, "test")[0] for seed in range(count)]
    said = exam.texts(model, [f"{one.passage} {talk.bare(one.question)}" for one in asked])
    return exam.mean([recall.right(reply, one.answer) for reply, one in zip(said, asked, strict=True)])


def declines(model: Model, count: int, tools: Tools) -> float:
    """Of the refused topic and its neighbours as many each: those refused, and those not."""
    r = Random("skills declines")
    bad, good = ([make(r, "test") for _ in range(count // 2)] for make in (talk.forbidden, talk.neighbour))
    said = [talk.refused(reply) for reply in exam.texts(model, [*bad, *good])]
    return exam.mean([refused == (i < len(bad)) for i, refused in enumerate(said)])


def looks_up(model: Model, count: int, tools: Tools) -> float:
    """Names that only the index tells of."""
    asked = facts.questions(facts.sides(0)[1])
    items = [knowledge.item(one, "never") for one in Random("skills looks up").sample(asked, min(count, len(asked)))]
    return exam.mean([one.verdict == "right" for one in lookup.did(model, items, tools.search)])


def counts(model: Model, count: int, tools: Tools) -> float:
    """Letters of words whose letters no lesson counts."""
    asked = code.exams(count)["counting"]
    box = Toolbox(model.tokenizer, [tools.python])  # not closed: the sandbox is everybody's
    said = exam.replies(model, [question for question, _ in asked], tools=box)
    return exam.mean(
        [letters.final(chat.plain(reply)) == answer for reply, (_, answer) in zip(said, asked, strict=True)]
    )


def solves(model: Model, count: int, tools: Tools) -> float:
    """Held-out word problems."""
    task = POCKET["problems"]
    asked = held_out(task, count)
    said = exam.replies(model, [one.messages for one in asked], longest=2 * exam.LONGEST)
    return exam.mean([bool(score.passed) for score in task.judge(asked, said)])


def jokes(model: Model, count: int, tools: Tools) -> float:
    """The mean hidden quality of jokes about what no ranking was about."""
    asked = taste.sides(model, None)[1][:count]
    said = [
        chat.plain(reply).strip() for reply in exam.replies(model, [one.messages for one in asked], temp=1.0, seed=1)
    ]
    found = [gold_judge.scores(taste.prompt_of(one), [reply])[0] for one, reply in zip(asked, said, strict=True)]
    return exam.mean([float(value) for value in found])


SKILLS: dict[str, Callable[[Model, int, Tools], float]] = {
    "known": known, "reads": reads, "declines": declines, "admits": admits, "looks up": looks_up, "counts": counts,
    "solves": solves, "jokes": jokes, "by heart": by_heart,
}  # fmt: skip


def run(config: Config) -> int:
    if config.count < 2:
        raise UserError(f"--count {config.count}: ask at least 2 questions of a skill")
    names = chosen(config.model or (newest_model(),))
    rows: list[tuple[str, dict[str, float]]] = []
    with at_hand() as tools, bar("skills", "asking", len(names) * len(SKILLS) * 1_000_000, "skills") as tell:
        for i, name in enumerate(names):
            model = open_model(name, None)
            if not model.chats:
                continue
            found: dict[str, float] = {}
            for k, (skill, measure) in enumerate(SKILLS.items()):
                tell((i * len(SKILLS) + k) * 1_000_000)
                found[skill] = measure(model, config.count, tools)
            rows.append((model.name, found))
    if not rows:
        raise UserError(f"{names[-1]} answers no questions, and nothing it came from does; tune it with lab sft")
    gone = lost(rows)
    if config.json:
        worst = max(gone.values(), default=0.0)
        stages = [
            {"model": name, **{key.replace(" ", "_"): value for key, value in found.items()}} for name, found in rows
        ]
        print(json.dumps({"stages": stages, "lost": {k.replace(" ", "_"): v for k, v in gone.items()}, "worst": worst}))
        return 0
    show(rows, gone)
    return 0


def chosen(given: tuple[str, ...]) -> list[str]:
    """The models to ask: several as they are given, of one its lineage, oldest first."""
    if len(given) > 1:
        return list(given)
    line = [str(info["folder"]) for info in tuning.lineage(given[0])]
    return line[::-1] or list(given)


@contextmanager
def at_hand() -> Iterator[Tools]:
    """An index of all facts of the pocket world, and a sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pocket.db"
        index.build(place, pocket.index())
        with Search(place) as search, Python() as python:
            yield Tools(search, python)


def lost(rows: list[tuple[str, dict[str, float]]]) -> dict[str, float]:
    """By skill that is a share: how far the last model lies below the best before it, 0 where it does not."""
    *before, (_, last) = rows
    return {
        skill: max(0.0, max((found[skill] for _, found in before), default=0.0) - value)
        for skill, value in last.items()
        if skill not in NUMBERS
    }


def show(rows: list[tuple[str, dict[str, float]]], gone: dict[str, float]) -> None:
    """The matrix: a row a model, a column a skill."""
    table = Table(box=None, header_style="bold")
    table.add_column("", no_wrap=True, min_width=max(len(name) for name, _ in rows))  # who it is stays, whatever folds
    for skill in SKILLS:
        table.add_column(skill, justify="right", overflow="fold")
    for name, found in rows:
        table.add_row(name, *(f"{found[skill]:.2f}" for skill in SKILLS))
    if len(rows) > 1:
        table.add_row("lost, points", *(f"{100 * gone[skill]:.0f}" if skill in gone else "" for skill in SKILLS))
    Console().print(table)
