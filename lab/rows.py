"""A task out of rows of files: a prompt and its answer a row. No MLX.

A row is {"prompt", "answer"} (a prompt is text, or messages that end with the user's), or {"question", "answer"} as GSM8K
has it, whose reference stands behind "####". "judge" names how it is compared (lab/verify.py), else the reference tells;
"countdown" takes "numbers" too. All other fields go to the judge as they are.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lab import read, verify
from lab.errors import UserError
from lab.parts import Message, normal, plain
from lab.talks import Bad, Tally, fields
from lab.task import Problem, Score, asked

EVERY = 10  # one prompt in ten is held out where no file is
PROMPTS = ("prompt", "question", "messages")


def key_of(messages: Sequence[Message]) -> str:
    """What tells prompts apart: a hash of what is said, but for spaces."""
    said = "\n".join(f"{m['role']}: {' '.join(plain(m).split())}" for m in messages)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def held(key: str) -> bool:
    """Whether the prompt of this key is held out where no file says so."""
    return int(key, 16) % EVERY == 0


def problem_of(row: Any, judge: str | None = None, answered: bool = True) -> Problem:
    """A row as a Problem; `more` holds its other fields, and under "judge" how it is compared. Bad names what is wrong with
    it. Without `answered` an answer may be missing or anything, which stands in `more` as it is."""
    row = fields(row)
    name = next((name for name in PROMPTS if row.get(name) is not None), "")
    if not name:
        raise Bad("no prompt and no question", f"it has: {', '.join(map(str, row)) or 'nothing'}")
    messages = _messages(row[name])
    answer, solution = _answer(row.get("answer")) if answered else (str(row.get("answer") or ""), "")
    more = {k: v for k, v in row.items() if k not in (name, "answer")} | ({"solution": solution} if solution else {})
    if not answered:
        more["answer"] = row.get("answer")
    else:
        more["judge"] = _judge(row.get("judge") or judge or verify.kind_of(answer), answer, more)
    return Problem(key_of(messages), messages, answer, more)


def _messages(prompt: Any) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        messages = asked(prompt)
    elif isinstance(prompt, list) and prompt:
        try:
            messages = tuple(normal(prompt))
        except UserError as error:
            raise Bad("unknown role or part", str(error)) from error
        if messages[-1]["role"] != "user":
            raise Bad("a prompt that does not end with the user", f"it ends with the {messages[-1]['role']}")
    else:
        raise Bad("a prompt that is no text and no messages", f"a {type(prompt).__name__}")
    said = "".join(plain(message) for message in messages)
    if not plain(messages[-1]).strip():
        raise Bad("empty prompt")
    if read.SURROGATE.search(said):
        raise Bad("half of a surrogate pair")
    return messages


def _answer(given: Any) -> tuple[str, str]:
    """(the reference, all of the answer where it is a worked solution)."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise Bad("an answer that is no text and no number", f"a {type(given).__name__}")
    if isinstance(given, float) and not math.isfinite(given):
        raise Bad("an answer that is no number", str(given))
    before, mark, reference = str(given).rpartition("####")
    if not reference.strip():
        raise Bad("empty answer")
    return reference.strip(), f"{before}{mark}{reference}" if before.strip() else ""


def _judge(kind: Any, answer: str, more: Mapping[str, Any]) -> str:
    if kind not in verify.JUDGES:
        raise Bad("unknown judge", f"{str(kind)[:40]}; use {', '.join(verify.JUDGES)}")
    if kind in ("number", "fraction", "countdown") and verify.value(answer) is None:
        raise Bad("an answer that is no number", f"{answer[:40]}; leave judge out, or say exact")
    if kind == "choice" and verify.kind_of(answer.strip().upper()) != "choice":
        raise Bad("an answer that is no letter of A to E", answer[:40])
    if kind == "countdown":
        numbers = more.get("numbers")
        if not isinstance(numbers, list) or not numbers or any(type(n) is not int for n in numbers):
            raise Bad('countdown without "numbers"', "give a list of whole numbers")
    return str(kind)


def sides(data: str | Path) -> dict[str, list[Path]]:
    """The .jsonl and .parquet files of a file, a folder or a hub data set, by side: train, valid, test. A file's own name
    tells its side, or the folder it lies in."""
    path = read.locate(data)
    found: dict[str, list[Path]] = {"train": [], "valid": [], "test": []}
    if path.is_file():
        found[_side(path, path.parent)].append(path)
        return found
    for folder, inside, names in os.walk(path):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and read.suffix(file) in (*read.ROWS, *read.TABLES) and file.is_file():
                found[_side(file, path)].append(file)
    if not any(found.values()):
        raise UserError(f"{data}: no .jsonl and no .parquet in this folder; give rows of prompt and answer")
    return found


def _side(file: Path, root: Path) -> str:
    stem = read.PART.sub("", file.name.split(".")[0].lower())
    for name in (stem, *reversed(file.relative_to(root).parent.as_posix().lower().split("/"))):
        if name in ("train", "test"):
            return name
        if name in read.HELD_OUT:
            return "valid"
    return "train"


class Sides:
    """Of a task whose problems are finite: those that are trained on, in a new order each pass, and those held out."""

    name: str
    train: list[Problem]
    apart: list[Problem]

    def problem(self, seed: int) -> Problem:
        """Of seed >= 0: number seed % rows of pass seed // rows. UserError where all rows are held out."""
        if not self.train:
            raise UserError(f"{self.name}: every prompt is held out; give a train.jsonl of other prompts beside it")
        epoch, i = divmod(seed, len(self.train))
        return self.train[int(_order(epoch, len(self.train))[i])]

    def held_out(self, seed: int) -> Problem:
        """A prompt that is never trained."""
        if not 0 <= seed < len(self.apart):
            raise LookupError(f"{self.name} holds out {len(self.apart):,} prompts")
        return self.apart[seed]


class Rows(Sides):
    """Problems of files. Training goes through them in a new order each pass; held out are those of the valid (else test)
    files, or where there are none one prompt in ten by its hash. No prompt is on both sides.

    `bad` counts rows that are none by reason. UserError where nothing is left, or nothing can be held out."""

    def __init__(self, data: str | Path, judge: str | None = None, answered: bool = True):
        if judge is not None and judge not in verify.JUDGES:
            raise UserError(f"judge {judge}: choose one of {', '.join(verify.JUDGES)}")
        self.name = str(data)
        tally = Tally()
        self.talks = False  # whether a prompt comes as messages, not as text
        found = {side: self._read(paths, judge, answered, tally) for side, paths in sides(data).items()}
        self.bad: Counter[str] = tally.bad
        if not any(found.values()):
            why = "; ".join(f"{count} x {reason}" for reason, count in self.bad.most_common(3))
            raise UserError(f'{data}: no problem in it{": " + why if why else ""}; give rows {{"prompt", "answer"}}')
        apart = found["valid"] or found["test"]
        known = {p.key for side in ("valid", "test") for p in found[side]}
        if not apart:
            keys = {p.key for p in found["train"]}
            if len(keys) < 2:
                raise UserError(f"{data}: one prompt, so none can be held out; give more, or call the file test.jsonl")
            known = {key for key in keys if held(key)} or {min(keys)}
            known = known if len(known) < len(keys) else {min(keys)}
            apart = [p for p in found["train"] if p.key in known]
        self.train = [p for p in found["train"] if p.key not in known]
        # By hash: the first hundred are a fair sample, whatever the order of the file. Of a prompt's copies the first.
        self.apart = sorted({p.key: p for p in reversed(apart)}.values(), key=lambda p: p.key)

    def _read(self, paths: Sequence[Path], judge: str | None, answered: bool, tally: Tally) -> list[Problem]:
        found = []
        for path in paths:
            for number, row in read.objects(path):
                try:
                    found.append(problem_of(row, judge, answered))
                    self.talks |= any(isinstance(row.get(name), list) for name in PROMPTS)
                except Bad as error:
                    tally.add(f"{path.name}:{number}", error)
        return found

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """Part "correct": 1 or 0."""
        return [
            Score({"correct": float(verify.JUDGES[str(p.more["judge"])](plain(said), p.answer, p.more))})
            for p, said in zip(problems, replies, strict=True)
        ]


@lru_cache(maxsize=4)
def _order(epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([epoch]).permutation(count)
