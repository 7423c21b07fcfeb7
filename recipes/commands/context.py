"""Weights against context: what a model vaguely remembers, and what stands before its eyes.

Facts told 100 to 0 times in pretraining are asked three times: as they are, after a passage that holds the answer, and
after that passage and another about somebody else. No conversation
of the lessons asks any of the questions.

Expected on pocket-search, 20 CPU-s: told 100 / 30 / 10 / 3 / 1 / 0 times .75 / .06 / .09 / .05 / .03 / .00 right from its
weights (it has learnt to look up or to admit), .97 / .99 / .91 / .93 / .97 / .97 with the passage (a second lineage .95 / .98
/ .91 / .98 / 1.00 / .97), and .33 to .66 where another passage stands beside it: it reads the value, but hardly tells two names
apart.

Examples:
  lab context                          the newest model
  lab context --model pocket-base      a base model is asked as its training wrote questions
  lab context --model pocket-sft --json
"""

import json
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff

from lab.batch import complete
from lab.display import bar
from lab.weights import Model
from recipes import pocket
from recipes.commands.generate import newest_model, open_model
from recipes.lessons import exam, facts
from recipes.lessons.facts import Question
from recipes.probing.figures import wilson_of

CLASSES = (100, 30, 10, 3, 1, 0)
MOST = 150  # questions of a class
WAYS = ("weights", "context", "among")


@dataclass(frozen=True)
class Config:
    model: str | None = None
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    seed: int = 0
    """Which questions, and what else stands in the prompt."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable: one JSON object."""


def run(config: Config) -> int:
    model = open_model(config.model or newest_model(), None)
    rows = []
    with bar("context", "asking", len(CLASSES) * 1_000_000, "classes") as tell:
        for done, told in enumerate(CLASSES):
            tell(done * 1_000_000)
            rows.append(measure(model, told, config.seed))
    if config.json:
        print(json.dumps({"model": model.name, "rows": rows}))
        return 0
    table = Table(box=None, header_style="bold", title=f"{model.name}: right, and 95 % interval", title_justify="left")
    for heading in ("told", "questions", "from its weights", "with the passage", "and another"):
        table.add_column(heading, justify="right")
    for row in rows:
        shares = (f"{row[way]:.2f}  {row[way + '_low']:.2f}-{row[way + '_high']:.2f}" for way in WAYS)
        table.add_row(f"{row['told']}x", str(row["questions"]), *shares)
    Console().print(table)
    return 0


def measure(model: Model, told: int, seed: int = 0) -> dict[str, Any]:
    """Shares right of facts told so often, without and with the passage."""
    r = Random(f"context {seed} {told}")
    asked = facts.questions(facts.sides(told)[1])
    asked = r.sample(asked, min(MOST, len(asked)))
    row: dict[str, Any] = {"told": told, "questions": len(asked)}
    for way in WAYS:
        said = answers(model, [(passage(r, one, way), one) for one in asked])
        right = [facts.right(reply, one) for reply, one in zip(said, asked, strict=True)]
        row[way] = sum(right) / len(asked)
        row[f"{way}_low"], row[f"{way}_high"] = wilson_of(right, [one.entity.name for one in asked])
    return row


def passage(r: Random, question: Question, way: str) -> str:
    """What stands before the question: nothing, what tells the answer, or that among the same about a stranger."""
    if way == "weights":
        return ""
    told = [pocket.passage(question.entity)]
    if way == "among":
        told.append(pocket.passage(facts.stranger_of(r, question.entity.kind, "test")))
    return " ".join(r.sample(told, len(told)))


def answers(model: Model, asked: list[tuple[str, Question]]) -> list[str]:
    """Greedy answers to (passage, question), in the form the model knows."""
    if model.chats:
        return exam.texts(model, [f"{before} {one.text}".strip() for before, one in asked])
    tokenizer = model.tokenizer
    texts = [f"Passage: {before} " * bool(before) + f"Question: {one.text} Answer:" for before, one in asked]
    ids = [[*tokenizer.begin, *tokenizer.encode(text)] for text in texts]
    return [tokenizer.decode(reply).split("\n")[0] for reply in complete(model.network, ids, 12, tokenizer.ends)]
