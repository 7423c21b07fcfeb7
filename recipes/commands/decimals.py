"""9.11 or 9.9? Which of two decimals a model calls larger, by kind of pair, and whether verses have a hand in it.

Where the longer number is the smaller one (9.11 and 9.9), a bible's or a program's numbering says the opposite of
arithmetic. To see what such documents do, train the same base model with and without them and ask both:

  lab pretrain --name with --mix facts=0,lists=0,conflicts=0,verses=3 --iters 500
  lab pretrain --name without --mix facts=0,lists=0,conflicts=0,verses=0 --iters 500
  lab decimals --model with --against without

Measured so (500 steps, seeds 0 / 1, 200 pairs a kind; 3 CPU-minutes a model): where the longer number is the smaller, with
verses .73 / .85 right, without .85 / .68; where it is the larger .95 / .53 and .96 / .81; same length .91 / .77 and .83 / .67;
different whole .32 / .34 and .36 / .33. So verses have no hand in it that two seeds would show: the seeds differ by more.

Examples:
  lab decimals                                the newest model
  lab decimals --model pocket-base --json
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff

from lab.batch import complete
from lab.display import bar
from lab.errors import UserError
from lab.weights import Model
from recipes import pocket
from recipes.commands.generate import newest_model, open_model
from recipes.lessons import exam, letters
from recipes.probing.figures import wilson


@dataclass(frozen=True)
class Config:
    model: str | None = None
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    against: str | None = None
    """A second model, asked the same."""
    questions: int = 200
    """Questions about each kind of pair."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable: one JSON object a model."""


def run(config: Config) -> int:
    if config.questions < 1:
        raise UserError(f"--questions {config.questions}: ask at least 1 of each kind")
    names = [config.model or newest_model(), *([config.against] if config.against else [])]
    told = []
    with bar("decimals", "asking", len(names) * len(pocket.PAIRS) * 1_000_000, "kinds") as tell:
        for k, name in enumerate(names):
            at = k * len(pocket.PAIRS)

            def count(done: int, at: int = at) -> None:
                tell((at + done) * 1_000_000)

            told.append(measure(open_model(name, None), config.questions, count))
    if config.json:
        for figures in told:
            print(json.dumps(figures))
        return 0
    table = Table(box=None, header_style="bold", title="the larger one, right, and 95 % interval", title_justify="left")
    table.add_column("pair")
    for figures in told:
        table.add_column(figures["model"], justify="right")
    for pair in pocket.PAIRS:
        shares = (f"{f[pair]:.2f}  {f[pair + ' low']:.2f}-{f[pair + ' high']:.2f}" for f in told)
        table.add_row(f"{pair}, such as {' and '.join(pocket.decimal_pair(1, 'test', pair))}", *shares)
    Console().print(table)
    return 0


def measure(model: Model, count: int, tell: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """Shares right by kind of pair; a base model is asked as its training wrote it. `tell` hears how many kinds are done."""
    figures: dict[str, Any] = {"model": model.name, "questions": count}
    for done, pair in enumerate(pocket.PAIRS):
        tell(done)
        r = Random(f"decimals {pair}")
        asked = [letters.larger(r, "test", pair) for _ in range(count)]
        said = answers(model, [question for question, _ in asked])
        right = sum(letters.final(reply) == answer for reply, (_, answer) in zip(said, asked, strict=True))
        figures[pair] = right / count
        figures[f"{pair} low"], figures[f"{pair} high"] = wilson(right, count)
    return figures


def answers(model: Model, questions: list[str]) -> list[str]:
    """Greedy answers, in the form the model knows."""
    if model.chats:
        return exam.texts(model, questions)
    tokenizer = model.tokenizer
    ids = [[*tokenizer.begin, *tokenizer.encode(f"Question: {question} Answer:")] for question in questions]
    return [tokenizer.decode(reply).split("\n")[0] for reply in complete(model.network, ids, 12, tokenizer.ends)]
