"""Rankings: which of several replies to one prompt is better, kept line by line in rankings.jsonl. No MLX.

A file is only ever appended to. A row: id, prompt (text or messages), options (replies, as they were shown), order (places in
options, best first; [] = skipped), ties (groups of places that are equally good), seconds (it took), model (whose replies),
seed, by (who ranked), time. May be there too: split ("train" or "test"), noise and ceiling (of a scripted judge: how often
the best possible predictor would agree with the pairs of this row), repeat (the id of an earlier row, whose prompt was
shown again: it measures the person and trains nothing). {"id", "undo": ID, "time"} takes the row ID back.

Rows {"prompt", "chosen", "rejected"} of other programs are read as rankings of two: of texts, of messages (then prompt may
be left out), or of one text a side in the form of "\\n\\nHuman: ...\\n\\nAssistant: ..." (Bai et al. 2022, arXiv:2204.05862).
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lab import parts, read
from lab.errors import UserError, expand
from lab.parts import Message
from lab.runs import root
from lab.talks import Bad, Tally

PERSON = "person"  # who ranks, where it is no judge
Prompt = str | list[Message]
Pairs = list[tuple[int, int]]
_TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")


@dataclass(frozen=True)
class Ranking:
    """Replies to one prompt, ordered; see the module. `pairs` are what a reward model learns from."""

    prompt: Prompt
    options: list[str]
    order: list[int]
    ties: list[list[int]] = field(default_factory=list)
    id: str = ""
    seconds: float | None = None
    model: str = ""
    seed: int | None = None
    by: str = ""
    time: float | None = None
    split: Literal["train", "test"] | None = None
    noise: float | None = None
    ceiling: float | None = None
    repeat: str = ""

    @property
    def pairs(self) -> Pairs:
        """(better, worse) places in options, ties left out: 10 of five options without ties."""
        group = {place: i for i, tied in enumerate(self.ties) for place in tied}
        ranked = self.order
        return [
            (a, b) for i, a in enumerate(ranked) for b in ranked[i + 1 :] if a not in group or group[a] != group.get(b)
        ]

    @property
    def key(self) -> str:
        """The same for the same prompt, however it is spaced: what is held out is held out by prompt."""
        return key_of(self.prompt)


def key_of(prompt: Prompt) -> str:
    """A hash of a prompt's words and roles."""
    turns = [("", prompt)] if isinstance(prompt, str) else [(m["role"], parts.plain(m)) for m in prompt]
    if len(turns) == 1:
        turns = [("", turns[0][1])]  # a text and a single message that says it are one prompt
    told = json.dumps([[role, " ".join(text.split())] for role, text in turns], ensure_ascii=False)
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()


def held_out(ranking: Ranking) -> bool:
    """Whether a ranking is for measuring: as its row says, else one prompt in ten, by its hash."""
    return ranking.split == "test" if ranking.split else int(ranking.key[:8], 16) % 10 == 0


def text_of(prompt: Prompt) -> str:
    """A prompt for eyes and text-only judges: its messages one below another."""
    return prompt if isinstance(prompt, str) else "\n\n".join(parts.plain(message) for message in prompt)


# -- rows --------------------------------------------------------------------------------------------------------------


def ranking(row: Any) -> Ranking:
    """The ranking of a row; Bad names what is wrong with it."""
    if isinstance(row, ValueError):
        raise Bad("broken JSON (a line that was cut, or no line of JSON)")
    if not isinstance(row, dict):
        raise Bad("no JSON object", f"it is a {type(row).__name__}")
    if "chosen" in row and "rejected" in row:
        return _preference(row)
    if "options" not in row or "order" not in row:
        raise Bad('neither "options" with "order" nor "chosen" with "rejected"', f"it has: {', '.join(map(str, row))}")
    options, order, ties = row["options"], row["order"], row.get("ties") or []
    if not isinstance(options, list) or len(options) < 2:
        raise Bad("fewer than two options")
    texts = [_reply(option) for option in options]
    places = range(len(options))
    if not _places(order, places) or len(set(order)) != len(order):
        raise Bad('"order" does not name options by their places, each once', str(order)[:80])
    if not isinstance(ties, list) or not all(_places(tied, places) and _neighbours(tied, order) for tied in ties):
        raise Bad('"ties" are no groups of neighbours in "order"', str(ties)[:80])
    split = row.get("split")
    return Ranking(
        _prompt(row.get("prompt")), texts, order, [list(tied) for tied in ties], id=str(row.get("id") or ""),
        seconds=_number(row.get("seconds")), model=str(row.get("model") or ""),
        seed=row["seed"] if isinstance(row.get("seed"), int) else None, by=str(row.get("by") or ""),
        time=_number(row.get("time")), split=split if split in ("train", "test") else None,
        noise=_number(row.get("noise")), ceiling=_number(row.get("ceiling")), repeat=str(row.get("repeat") or ""),
    )  # fmt: skip


def row_of(one: Ranking) -> dict[str, Any]:
    """A ranking's line; what few rows have is left out where there is none."""
    row = {
        "id": one.id, "prompt": one.prompt, "options": one.options, "order": one.order, "ties": one.ties,
        "seconds": one.seconds, "model": one.model, "seed": one.seed, "by": one.by, "time": one.time,
    }  # fmt: skip
    more = {"split": one.split, "noise": one.noise, "ceiling": one.ceiling, "repeat": one.repeat or None}
    return row | {name: value for name, value in more.items() if value is not None}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _places(value: Any, places: range) -> bool:
    return isinstance(value, list) and all(type(i) is int and i in places for i in value)


def _neighbours(tied: list[int], order: list[int]) -> bool:
    """Whether a group of ties stands together in the order."""
    if len(set(tied)) != len(tied) or not set(tied) <= set(order):
        return False
    at = sorted(order.index(i) for i in tied)
    return not at or at[-1] - at[0] == len(at) - 1


def _text(value: str, what: str) -> str:
    if not value.strip():
        raise Bad(f"an empty {what}")
    if half := read.SURROGATE.search(value):
        raise Bad("half of a surrogate pair", f"U+{ord(half[0]):04X} in the {what}")
    return value


def _messages(given: Any) -> list[Message]:
    try:
        found = parts.normal(given)
    except (UserError, TypeError, AttributeError) as error:
        raise Bad("unknown role, part or tool", str(error)) from error
    if not found:
        raise Bad("an empty list of messages")
    return found


def _prompt(given: Any) -> Prompt:
    if isinstance(given, str):
        return _text(given, "prompt")
    if not isinstance(given, list):
        raise Bad("a prompt that is neither text nor messages", f"a {type(given).__name__}")
    found = _messages(given)
    if found[-1]["role"] != "user":
        raise Bad("a prompt whose last message is not the user's")
    for message in found:
        _text("".join(part["text"] for part in parts.parts(message)) or " ", "message of the prompt")
    return found


def _reply(given: Any) -> str:
    """A reply as text: a string, a message, or a list whose last message is the assistant's."""
    if isinstance(given, str):
        return _text(given, "reply")
    if not isinstance(given, dict | list):
        raise Bad("a reply that is neither text nor messages", f"a {type(given).__name__}")
    found = _messages(given if isinstance(given, list) else [given])
    if found[-1]["role"] != "assistant":
        raise Bad("a reply whose last message is not the assistant's")
    return _text(parts.plain(found[-1]), "reply")


def _preference(row: dict[str, Any]) -> Ranking:
    """A chosen and a rejected reply as a ranking of two."""
    chosen, rejected, prompt = row["chosen"], row["rejected"], row.get("prompt")
    if prompt is None and isinstance(chosen, str) and isinstance(rejected, str):
        chosen, rejected = _dialogue(chosen), _dialogue(rejected)
    if prompt is None and isinstance(chosen, list) and isinstance(rejected, list):
        prompt, other = _messages(chosen)[:-1], _messages(rejected)[:-1]
        if key_of(prompt) != key_of(other):
            raise Bad("chosen and rejected answer different prompts")
    options = [_reply(chosen), _reply(rejected)]
    if options[0].strip() == options[1].strip():
        raise Bad("chosen and rejected are the same")
    asked = _prompt(prompt)
    id = hashlib.sha256(json.dumps([key_of(asked), options]).encode()).hexdigest()[:12]
    return Ranking(asked, options, [0, 1], id=str(row.get("id") or id), by=str(row.get("by") or "import"))


def _dialogue(text: str) -> list[Message]:
    """ "\\n\\nHuman: ...\\n\\nAssistant: ..." as messages."""
    pieces = _TURN.split(text if text.startswith("\n\n") else f"\n\n{text}")
    if len(pieces) < 5 or pieces[0].strip():
        raise Bad('no "prompt", and no "Human: ... Assistant: ..." either')
    roles = {"Human": "user", "Assistant": "assistant"}
    return [Message(role=roles[who], content=said) for who, said in zip(pieces[1::2], pieces[2::2], strict=True)]


# -- files -------------------------------------------------------------------------------------------------------------


def path_of() -> Path:
    """rankings.jsonl in the weights root, where a person's rankings go by default."""
    return root() / "rankings.jsonl"


def located(data: str | None) -> str:
    """What a flag names in full, so that a run that goes on finds it from any folder; None = rankings.jsonl of the weights
    root. UserError where that is not there."""
    if data is None and not path_of().is_file():
        raise UserError(f"no rankings yet ({path_of()}); make some with `lab rank`, or give --rankings FILE")
    path = expand(data) if data is not None else path_of()
    return str(path.resolve()) if path.exists() else str(data)


def new_id() -> str:
    """A name for a row that no other has."""
    return secrets.token_hex(6)


def check(path: Path) -> None:
    """UserError where a file that rankings are to be added to holds something else."""
    if not path.is_file() or not path.stat().st_size:
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line) if line.strip() else {"undo": ""}
                ours = isinstance(row, dict) and bool({"options", "chosen", "undo"} & row.keys())
            except (ValueError, RecursionError):
                ours = line.startswith(b'{"') or line.rstrip() == b"{"  # a line that was cut
            if not ours:
                raise UserError(f"{path}, line {number}: no ranking, so none are added to this file; name a new one")


class Writer:
    """The one process that adds to a file of rankings, from here to `close`: another one that tries gets a UserError after
    `patience` seconds, and two people never rank the same prompt. A line that an earlier writer was killed in the midst of is
    ended first, so that only itself is lost. ASCII alone is written (JSON escapes the rest): a cut line stays readable."""

    def __init__(self, path: Path, patience: float = 0.5):
        self.path, until = path, time.monotonic() + patience
        check(path)
        while True:
            try:
                self._file = open(path, "ab+")  # noqa: SIM115  (open until `close`)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(self._file.fileno())):
                    return
                self._file.close()  # the writer before left nothing, and took the file away: once more
            except BlockingIOError:
                self._file.close()
            except OSError as error:
                raise self._wrong(error) from error
            if time.monotonic() >= until:
                raise UserError(f"{path}: another lab ranks into this file; end that one (q), or name another file")
            time.sleep(0.02)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write; a file with nothing in it is not left behind."""
        if not self._file.closed:
            if not self._file.seek(0, os.SEEK_END):
                self.path.unlink(missing_ok=True)
            self._file.close()

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add whole lines at the end, on the disk before this returns."""
        told = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()
        try:
            size = self._file.seek(0, os.SEEK_END)
            if size and told:
                self._file.seek(size - 1)
                told = told if self._file.read(1) == b"\n" else b"\n" + told
            self._file.write(told)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._wrong(error) from error

    def undo(self, id: str) -> None:
        """Take the row `id` back: it stays in the file, and readers leave it out."""
        self.append([{"id": new_id(), "undo": id, "time": round(time.time(), 3)}])

    def _wrong(self, error: OSError) -> UserError:
        why = error.strerror or str(error)
        return UserError(f"{self.path}: cannot be written ({why}); name a file in a folder that is there")


def append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add lines to a file that nobody else holds for long; see Writer."""
    if rows:
        with Writer(path, 10.0) as writer:
            writer.append(rows)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line from 1, its value), broken lines as ValueError; a .jsonl that is being written is read in bytes, so that a torn
    line spoils nothing but itself."""
    if path.suffix.lower() not in read.ROWS:
        yield from read.objects(path)
        return
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError):
                        yield number, ValueError("broken JSON")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def read_file(path: Path, tally: Tally | None = None) -> list[Ranking]:
    """The rankings of a file in their order, without those taken back; skipped prompts are among them, with no pairs. Bad
    rows are counted in `tally`. A row that comes twice (files put together) counts once."""
    found: dict[str, Ranking] = {}
    undone: set[str] = set()
    for number, row in _lines(path):
        if isinstance(row, dict) and isinstance(row.get("undo"), str):
            undone.add(row["undo"])
            continue
        try:
            one = ranking(row)
        except Bad as error:
            if tally is not None:
                tally.add(f"{path.name}:{number}", error)
            continue
        found.setdefault(one.id or f"line {number}", one)
    return [one for name, one in found.items() if name not in undone]


@dataclass(frozen=True)
class Rankings:
    """What a reward model is trained on, and what it is measured on: no prompt is in both."""

    train: list[Ranking]
    held: list[Ranking]
    bad: Counter[str]

    @property
    def pairs(self) -> tuple[int, int]:
        """How many there are to train on, and held out."""
        return sum(len(one.pairs) for one in self.train), sum(len(one.pairs) for one in self.held)


def load(data: str | Path) -> Rankings:
    """A file, a folder or a hub data set. What lies in `valid` files is held out, else what `held_out` says, and where that
    is nothing every tenth prompt. Rankings without a pair (skipped, all tied) and repeats are left out. UserError where
    nothing is left to train on."""
    files, valid = read.files(data)
    tally = Tally()
    given = [
        [one for path in some for one in read_file(path, tally) if one.pairs and not one.repeat]
        for some in (files, valid)
    ]
    if valid:
        keys = {one.key for one in given[1]}
        train, held = [one for one in given[0] if one.key not in keys], given[1]
    else:
        order = {key: i for i, key in enumerate(dict.fromkeys(one.key for one in given[0]))}
        out = {one.key for one in given[0] if held_out(one)}
        if not out or len(out) == len(order):
            out = {key for key, i in order.items() if i % 10 == 9}
        train, held = [one for one in given[0] if one.key not in out], [one for one in given[0] if one.key in out]
    if not train:
        why = "; ".join(f"{count} x {reason}" for reason, count in tally.bad.most_common(3))
        raise UserError(
            f"{data}: no ranking to train on{': ' + why if why else ''}; `lab rank` makes some, and rows "
            '{"prompt", "chosen", "rejected"} are read too'
        )
    return Rankings(train, held, tally.bad)
