"""Asking a model hundreds of questions so that Ctrl-C stops it at once, and what was said until then is kept."""

import json
import time
from collections.abc import Iterator, Sequence

from lab.calls import Toolbox
from lab.run import Run
from lab.runs import read_lines, write_atomic
from lab.weights import Model
from recipes.lessons.knowledge import ROWS, Item, interrogate

FILE = "asked.jsonl"  # in the run folder while it asks


class Stopping(Exception):
    """The run was told to stop while it asked."""


class Stoppable(Toolbox):
    """No tools at all, but a look after every token whether the run is to stop: 64 questions together take a big model
    longer than anybody waits after Ctrl-C."""

    def __init__(self, record: Run, model: Model):
        super().__init__(model.tokenizer, [])
        self.record = record

    def after(self, request: int, ids: Sequence[int]) -> list[int]:
        """Nothing to force."""
        if self.record.stopped:
            raise Stopping
        return []


def replies(record: Run, model: Model, items: Sequence[Item], times: int, temp: float, seed: int) -> list[list[str]]:
    """So many replies to each question, written down as they are said: a run that was stopped goes on behind them, with
    the very replies that it would have got in one go."""
    file = record.folder / FILE
    kept = list(read_lines(file))
    same = [one.question == row.get("question") for one, row in zip(items, kept, strict=False)]
    count = same.index(False) if False in same else len(same)
    found = [row["replies"] for row in kept[: count if count == len(items) else count - count % ROWS]]
    write_atomic(file, "".join(map(line, items, found)))
    began, first = time.perf_counter(), len(found)
    with open(file, "a", encoding="utf-8") as out:
        for some in ask(record, model, items, times, temp, seed, first):
            out.write("".join(map(line, items[len(found) :], some)))
            out.flush()
            found += some
            left = (time.perf_counter() - began) / (len(found) - first) * (len(items) - len(found))
            record.note = f"asking {len(found):,}/{len(items):,}, {left:.0f} s left"
            record.tell("starting")
    return found


def line(one: Item, said: list[str]) -> str:
    """A line of the file that is there while it asks."""
    return json.dumps({"question": one.question, "replies": said}, ensure_ascii=False) + "\n"


def ask(
    record: Run, model: Model, items: Sequence[Item], times: int = 1, temp: float = 0.0, seed: int = 0, first: int = 0
) -> Iterator[list[list[str]]]:
    """`interrogate`; Stopping as soon as the run is told to stop."""
    return interrogate(model, items, times, temp, seed, first, Stoppable(record, model))
