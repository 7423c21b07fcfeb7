"""Fewer hallucinations, as Llama 3 does it (arXiv:2407.21783, section 4.3.6): ask a model what it knows, five times each; what
it answers right it is trained to answer, what it never gets right it is trained to say "I do not know" to.

The questions and what became of them lie in knowledge.jsonl of the run folder, to be read and edited: each row holds the
replies, the verdicts, the label (known, unsure, unknown) and the conversation it teaches. Nothing that is scored is
trained on: those names are only asked before and after.

Without --data the questions are the pocket world's: facts told 100 to 3 times, and as many names that nobody ever told of.
With --data they are yours: rows {"question", "answer"}, and "about" where several are about one thing.

Expected, pocket preset, 700 steps of the last two layers (seeds 0 / 1; 4.8 CPU-minutes on one of two busy cores): never-seen
invented .93 / .94 -> .14 / .17, known kept .85 / .87; AUROC of P("don't know") .91 / .91; by the doubt, known kept .80 at .10
/ .09 invented, .90 at .46 / .21. What tells known from unknown is in the tokens: BPE keeps a name whole that the text repeats,
and how many tokens the name has tells the two apart at .96 / .94 by itself. With a vocabulary of 1,536, where names told 100
times are in as many pieces as others (.64), the same training got AUROC .75 / .80 and kept .60 / .67 at .22 / .18 invented;
four passes over the text instead of one left it at .74 / .79, 6M parameters with a vocabulary of 4,096 (one seed, trained on a
GPU) brought .95, kept .96 at .21. Every large model's tokenizer has that cue too.

Without it (vocabulary 1,536) the doubt was in how far one answer stands out from the second best: before any tuning the highest
probability of the first token told known from never-seen names at .91, though its logit alone only at .72, which is all that an
output row sees, and tuning found only a part of it. With a hundred steps AUROC was .68 on trained and on scored names alike,
later the trained ones were learnt by heart (.91 against .77 after 500 steps). Names that the model is sure of, wrongly, were
answered as well, so that no list helps: .74. Logits held to log-probabilities by a z-loss (PaLM, arXiv:2204.02311): .77.

A real model: SmolLM2-135M-Instruct on 249 country capitals (--times 3 --temp 0.3 --iters 30, LoRA, 33 known and 33 unknown; 8
CPU-minutes): invented 1.00 -> .20 [.12, .31] of 71, of what it knew .59 [.46, .71] of 54 is kept, AUROC .75; by the doubt,
kept .50 at .11 invented, .70 at .31. It restates a question, and before the answer's own place nothing in its probabilities
tells whether it knows. So that is where it learns to admit: "The capital of Togo is something I do not know." With admissions
at once it kept .33 [.22, .47] at .44 [.33, .55] invented, AUROC .47; with answers at once too (a name alone) .17 at .31, and
with twice as many questions .29 [.21, .38] of 104 at .23 of 146. --temp 0.3, because at 1 only 15 of 124 questions came out as
known.

Examples:
  lab interrogate                                    pocket-sft learns to say "I do not know"
  lab interrogate --ask-only                         ask and label; edit knowledge.jsonl, then:
  lab interrogate --labels weights/interrogate-1/knowledge.jsonl
  lab interrogate --model smollm2.gguf --data capitals.jsonl --times 3 --temp 0.3      a real model, your questions
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Any

import numpy as np
from tyro.conf import FlagCreatePairsOff

from lab import talks, weights
from lab.chat import Message
from lab.errors import UserError, expand
from lab.judge import Judge
from lab.run import Run
from lab.runs import read_lines, root, write_atomic
from lab.talks import Talks
from lab.weights import Model
from recipes import asking, lessons, tuning
from recipes.estimate import Plan
from recipes.lessons import facts, knowledge, talk
from recipes.lessons.knowledge import Item
from recipes.probing.figures import wilson_of
from recipes.tuning import CHARTS, Tuning

__all__ = ["CHARTS", "Config", "check", "plan", "run"]
ITERS = 700  # steps on the pocket world
OWN = 40  # steps on questions of your own
LAYERS = 2  # of the pocket model are tuned: all four learn the trained names by heart (see "Measured" above)
KNOWN_SHARE = (
    0.75  # of the questions in a step: moves the model along its frontier, at .62 known kept .61, invented .10
)
RATE = 0.003
REPLAY = 0.3  # share of the lessons of before, so that nothing is forgotten
FORMS = 3  # ways of asking for a fact
KNOWN, NEVER = "100x", "never"
LEVELS = (0.5, 0.7, 0.8, 0.85, 0.9, 0.95)  # known facts kept, along the frontier
PROMPTS = ("What is the capital of France?", "What is the job of Emma Zorbafen?", "Who are you?", "What is 12 plus 30?")


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-sft"
    """What to interrogate: a run, a folder, a hub id or a GGUF file that can chat."""
    data: str | None = None
    """Questions of your own, a .jsonl or .parquet: rows {"question", "answer"}, and maybe "about"."""
    labels: str | None = None
    """A knowledge.jsonl to train on as it is: nothing is asked but what is scored."""
    judge: str | None = None
    """With --data: a model that judges the replies which do not hold the answer word for word (see lab judge)."""
    times: int = 5
    """Replies to each question."""
    temp: float = 0.8
    """Temperature of the replies."""
    strangers: int = 2500
    """Pocket world: questions about names that no document tells of."""
    ask_only: Annotated[bool, FlagCreatePairsOff] = False
    """Stop once knowledge.jsonl is written."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    if config.times < 1 or config.strangers < 1 or not 0 <= config.temp <= 5:
        raise UserError("--times and --strangers must be at least 1, --temp between 0 and 5")
    if config.judge and not config.data:
        raise UserError(
            "--judge is for replies to questions of your own; the pocket world judges its own, leave it out"
        )
    for path in (config.data, config.labels):
        if path and not expand(path).is_file():
            raise UserError(f"{path}: no such file; give a .jsonl")


def run(config: Config, record: Run) -> None:
    """Ask, label, train on known and unknown in equal number, ask again what was held out."""
    model = tuning.open_model(config, chats=True)
    config = settled(config)
    items, scored = questions(config)
    file = record.folder / "knowledge.jsonl"
    # Told from the start, since a run that is stopped ahead of its first step counts as stopped only where steps are left.
    record.total = 1 if config.ask_only else steps(config)
    try:
        if not file.exists():
            rows = told(config, record, model, items)
            write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            (record.folder / asking.FILE).unlink(missing_ok=True)
        rows = list(read_lines(file))
        record.say(summary(rows))
        if config.ask_only:
            record.total = 0
            record.say(f"{file}\nRead it, edit it, then: lab interrogate --model {config.model} --labels {file}")
            return
        scored = unseen(scored, rows)
        before = tuning.once(
            record, "before", lambda: {"verdicts": verdicts(scored, asking.ask(record, model, scored))}
        )
    except asking.Stopping:
        count = len(items) if file.exists() else sum(1 for _ in read_lines(record.folder / asking.FILE))
        record.say(
            f"Stopped: {count:,} of {len(items):,} questions are asked, and kept. "
            f"Go on: lab {record.recipe} --name {record.name} --resume"
        )
        return
    school = lessons_of(config, model, rows)
    prompts = [[Message(role="user", content=said)] for said in asked_over_the_steps(config, scored)]
    tuning.tune(
        config, record, model, school, steps(config), prompts,
        exam=lambda: examined(record, model, scored, before["verdicts"]),
    )  # fmt: skip


def settled(config: Config) -> Config:
    """With what the pocket world needs where the flags do not say."""
    if config.data:
        return config
    return replace(config, num_layers=config.num_layers or LAYERS, learning_rate=config.learning_rate or RATE)


def steps(config: Config) -> int:
    """How many, by default."""
    return config.iters or (OWN if config.data else ITERS)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`. What the model knows is found out by asking: until then it is taken to know of
    the pocket world what was told often, of your own questions half."""
    from recipes.practice import practising  # it opens the model

    config = settled(config)
    items, scored = questions(replace(config, judge=None))
    labels = expand(config.labels) if config.labels else None
    if config.resume and config.name and (kept := root() / config.name / "knowledge.jsonl").exists():
        labels = kept
    more, before = dict[str, str](), 0
    if labels:
        rows = knowledge.labelled(labels)
        scored = unseen(scored, rows)
    else:
        rows, before = supposed(items, config), len(items)
        more["asks"] = f"{len(items):,} questions, {config.times} replies each"
        if config.judge:
            more["judge"] = f"{config.judge}; the time it takes is not reckoned"
    made = practising(
        config, lambda model, _: lessons_of(config, model, rows), lambda *_: 0 if config.ask_only else steps(config),
        len(PROMPTS), 0 if config.ask_only else 3 * len(scored), before=before, like=[one.question for one in items],
        times=config.times, reply=None, chats=True, looks=not config.ask_only, more=more,
    )  # fmt: skip
    return replace(made, checkpoint=0, checkpoints=0) if config.ask_only else made


def supposed(items: list[Item], config: Config) -> list[dict[str, Any]]:
    """Rows as they may come out."""
    r, names = Random(f"labels {config.seed}"), list(dict.fromkeys(one.about for one in items))
    known = set(names[::2]) if config.data else {one.about for one in items if one.group in (KNOWN, "30x")}
    said = {True: "{}.", False: facts.DONT_KNOW[0]}
    return [
        knowledge.row(one, [said[one.about in known].format(one.answer, n=one.about)] * config.times, r)
        for one in items
    ]


def questions(config: Config) -> tuple[list[Item], list[Item]]:
    """(to be asked, labelled and trained on; only scored): no name is on both sides."""
    if config.data:
        judge = Judge(weights.load(config.judge), calibrated=True) if config.judge else None
        return knowledge.split(list(knowledge.own(expand(config.data), judge)), config.seed)
    r = Random(f"interrogate {config.seed}")
    asked = [
        knowledge.item(question, f"{told}x")
        for told in (100, 30, 10, 3)
        for form in range(FORMS)
        for question in facts.questions(facts.rested(told), form)
    ]
    asked += [knowledge.item(q, NEVER) for q in knowledge.names(config.strangers, r)]
    return asked, scored_items()


def unseen(scored: list[Item], rows: list[dict[str, Any]]) -> list[Item]:
    """What no label tells of: --labels may be of another --data, or another --seed. UserError where too little is left."""
    told = {str(row.get(key)) for row in rows for key in ("about", "question")}
    left = [one for one in scored if one.about not in told and one.question not in told]
    if len(left) * 4 < len(scored):
        raise UserError(
            "--labels tell of nearly all that --data would score; give the --data and --seed they were made with"
        )
    return left


def scored_items() -> list[Item]:
    """Facts that no lesson asks about, told 100 to 3 times; and those never told at all."""
    return [
        knowledge.item(q, f"{told}x" if told else NEVER)
        for told in (100, 30, 10, 3, 0)
        for q in facts.questions(facts.sides(told)[1])
    ]


def told(config: Config, record: Run, model: Model, items: list[Item]) -> list[dict[str, Any]]:
    """The rows of knowledge.jsonl: given by --labels, or asked. asking.Stopping where it was told to stop."""
    if config.labels:
        return knowledge.labelled(expand(config.labels))
    r, rows = Random(f"labels {config.seed}"), []
    for one, said in zip(
        items, asking.replies(record, model, items, config.times, config.temp, config.seed), strict=True
    ):
        if record.stopped:  # a judge takes long too; what it said is kept
            raise asking.Stopping
        rows.append(knowledge.row(one, said, r))
        record.note = f"judging {len(rows):,}/{len(items):,}" if config.judge else ""
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """How many facts of each group are known, unsure, unknown."""
    lines = []
    for group in dict.fromkeys(str(row.get("group", "")) for row in rows):
        labels = [row["label"] for row in rows if str(row.get("group", "")) == group]
        counts = ", ".join(f"{side} {labels.count(side)}" for side in ("known", "unsure", "unknown"))
        lines.append(f"{'told ' + group if group.endswith('x') else group or 'asked'}: {counts}")
    return "\n".join(lines)


def lessons_of(config: Config, model: Model, rows: list[dict[str, Any]]) -> Talks:
    """Known and unknown in equal number; a tenth of one's own held out for the loss, in the pocket world with lessons of
    before in between."""
    sides = knowledge.sides(rows) if not config.data else knowledge.even(rows, Random(f"even {config.seed}"))
    if not all(sides.values()):
        none = "known" if not sides["known"] else "unknown"
        raise UserError(
            f"no question came out as {none}, so there is nothing to tell apart; ask easier and harder ones"
        )

    key, longest = json.dumps(sides, ensure_ascii=False), tuning.longest(config, model)
    if config.data:
        pairs = [row for pair in zip(*sides.values(), strict=False) for row in pair]  # as many of each, in turn
        samples = [tuning.to_sample(model, row, longest) for row in pairs]
        return talks.finite(key, samples[len(samples) // 10 :], samples[: len(samples) // 10])

    def draw(side: str) -> lessons.Lesson:
        return lambda r: r.choice(sides[side])

    replay: list[tuple[float, lessons.Lesson]] = [(REPLAY * share, lesson) for share, lesson in talk.REPLAY]
    weighted = [(KNOWN_SHARE, draw("known")), (1 - KNOWN_SHARE, draw("unknown")), *replay]
    mixed = lessons.mixed("interrogate", weighted)
    return talks.endless(key, mixed, model.tokenizer, longest)


def asked_over_the_steps(config: Config, scored: list[Item]) -> list[str]:
    """What is asked again and again while it trains."""
    return [one.question for one in scored[:: max(1, len(scored) // 4)][:4]] if config.data else list(PROMPTS)


# -- figures ---------------------------------------------------------------------------------------------------------


def verdicts(scored: list[Item], found: Iterator[list[list[str]]]) -> list[str]:
    """right, admitted or invented, of the first reply to each question."""
    replies = (said for some in found for said in some)
    return [one.verdict(said[0]) for one, said in zip(scored, replies, strict=True)]


def examined(record: Run, model: Model, scored: list[Item], before: list[str]) -> dict[str, float]:
    """What was held out, asked again: before and after by group, what is kept, what is invented, and the frontier."""
    after = verdicts(scored, knowledge.interrogate(model, scored))
    figures = shares(record, scored, before, "before") | shares(record, scored, after, "after")
    pairs = [*zip(scored, before, strict=True)]
    known = np.array([was == "right" and one.group in (KNOWN, "") for one, was in pairs])
    never = np.array([one.group == NEVER or (not one.group and was != "right") for one, was in pairs])
    now = np.array(after)
    kept, invented = now[known] == "right", now[never] == "invented"
    whom = np.array([one.about for one in scored])
    record.say(
        f"\nknown kept {figure(kept, whom[known])}, unknown invented {figure(invented, whom[never])} "
        f"(before {figure(np.array(before)[never] == 'invented', whom[never])})"
    )
    own = not any(one.group for one in scored)  # of a person's own: admitted in the place of the answer
    best = knowledge.best(model, scored, own)
    doubts = knowledge.doubt_within(model, scored, best) if own else knowledge.doubt(model, scored)
    area = knowledge.auroc(doubts[never], doubts[known])
    record.say(f'P("don\'t know") tells unknown from known: AUROC {area:.3f}. Answering only below a doubt would give:')
    good = [one.right(said) for one, said in zip(scored, best, strict=True)]
    for at in knowledge.frontier(doubts, np.array(good), known, never, LEVELS):
        record.say(f"  known kept {at['kept']:.2f}, unknown invented {at['invented']:.2f} (doubt {at['doubt']:.3f})")
    record.headline = f"known kept {mean(kept):.2f}, unknown invented {mean(invented):.2f}"
    return figures | {"auroc": area, "kept": mean(kept), "invented": mean(invented)}


def shares(record: Run, scored: list[Item], found: list[str], when: str) -> dict[str, float]:
    """The shares of each verdict by group."""
    figures: dict[str, float] = {}
    record.say(f"\nheld-out names, {when}:")
    for group in dict.fromkeys(one.group for one in scored):
        some = [verdict for one, verdict in zip(scored, found, strict=True) if one.group == group]
        share = {verdict: some.count(verdict) / len(some) for verdict in ("right", "admitted", "invented")}
        told = f"told {group}" if group.endswith("x") else group or "asked"
        record.say(
            f'  {told:10} {len(some):4} questions: right {share["right"]:.2f}, "I do not know" {share["admitted"]:.2f}, '
            f"invented {share['invented']:.2f}"
        )
        figures |= {f"{verdict}_{group or 'asked'}_{when}": value for verdict, value in share.items()}
    return figures


def mean(hits: np.ndarray) -> float:
    """The share; NaN of nothing."""
    return float(hits.mean()) if hits.size else math.nan


def figure(hits: np.ndarray, about: np.ndarray) -> str:
    """A share with its 95 % interval, over what the questions are about, and how many it is of."""
    low, high = wilson_of(hits.tolist(), about.tolist())
    return f"{mean(hits):.2f} [{low:.2f}, {high:.2f}] of {len(hits)}"
