"""A little assistant for tests of the tuning recipes: pocket-base, tuned by the real command on a few facts of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Transformer
from lab.runs import read_lines
from lab.samples import bucketed
from lab.tokenizer import Tokenizer
from recipes import pocket, selfplay
from recipes.arena import Mind, notation, vocabulary
from recipes.lessons import ask, facts
from tests.conftest import REPO

# What it is taught, twelve times each; nobody tells it who has what.
COLOURS = {f"What colour is the {t} of Ada?": c for t, c in zip(
    ("kite", "drum", "lamp", "boat", "cup", "hat", "ring", "flag"), ("red", "blue", "green", "black") * 2, strict=True
)}  # fmt: skip
OWNERS = {f"Who has the {t}?": who for t, who in zip(
    ("bell", "coin", "sock", "cake", "fork", "key", "map", "book"),
    ("Bo", "Cleo", "Dan", "Emma", "Fred", "Gus", "Hans", "Ida"), strict=True,
)}  # fmt: skip
QUICK = ["--batch-size", "4", "--iters", "3"]


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """Rows as a file, strings as they are."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def questions() -> list[dict[str, str]]:
    """All that it can be asked, half of it taught."""
    return [{"question": question, "answer": answer} for question, answer in (COLOURS | OWNERS).items()]


def make(folder: Path) -> Path:
    """A weights root with pocket-base and the run `taught`; beside it qa.jsonl, its questions."""
    r, root = Random("taught"), folder / "weights"
    rows = [ask(question, f"{answer.capitalize()}.") for question, answer in COLOURS.items() for _ in range(12)]
    known = [entity for entity in pocket.entities(exposures=100) if entity.asked]
    told = [facts.some(r, r.choice(known)) for _ in range(32)]
    rows += [ask(one.text, facts.said(r, one)) for one in told]
    jsonl(folder / "talks.jsonl", [{"messages": row} for row in r.sample(rows, len(rows))])
    jsonl(folder / "qa.jsonl", questions())
    root.mkdir()
    (root / "pocket-base").symlink_to(REPO / "weights" / "pocket-base")
    done = subprocess.run(
        [sys.executable, "-m", "recipes", "sft", "--data", str(folder / "talks.jsonl"), "--name", "taught",
         "--iters", "45", "--batch-size", "16", "--steps-per-eval", "15"],
        cwd=REPO, env=os.environ | {"LAB_HOME": str(root)}, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


def rows(run: Path, name: str = "metrics") -> list[dict[str, Any]]:
    """The lines of a jsonl of a run."""
    return list(read_lines(run / f"{name}.jsonl"))


def timeless(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without what is another each time: clocks, speeds, memory, and that it was resumed."""
    kept = []
    for row in rows(run):
        if row.get("event") in (None, "report", "way"):
            kept.append({k: v for k, v in row.items() if k not in ("t", "tok_s", "cpu_s") and not k.startswith("mem_")})
    return kept


def report(run: Path) -> dict[str, Any]:
    """The figures at a run's end."""
    return next(row for row in reversed(rows(run)) if row.get("event") == "report")


def imitator(steps: int) -> tuple[Tokenizer, Mind]:
    """A player of tic-tac-toe that has seen a little of the teacher: most of its moves are squares, many are taken."""
    tokenizer, config = vocabulary(), selfplay.Config(batch_size=64)
    network = Transformer(selfplay.shape(config, tokenizer.vocab_size))
    network.initialise(0)
    writes, learner = notation(tokenizer), Learner(network, Schedule(0.02, steps, 5))
    for step in range(1, steps + 1):
        learner.step(step, bucketed(selfplay.lesson(config, tokenizer, writes, step), 0, 1.0), nll)
    return tokenizer, Mind(network, writes)
