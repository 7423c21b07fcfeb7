"""Rollouts on disk: episodes/000412.jsonl of a run folder, one line a reply. No MLX; the window reads them.

A line holds: step, group, k (which member), key, seed, messages (the prompt), answer (the reference), prompt_ids, ids (the
reply's), drawn (1 where the model drew the token, 0 where it was forced), logp and ref_logp (nats, of each reply token;
ref_logp null without a reference), segments ([kind, start, end) over ids), text (of the reply, marks shown), parts (they
sum to reward), notes, reward, advantage, stop, calls. Some hold held_out (true: asked to measure, not to learn from), top
(of each reply token its likeliest, [id, p] each), game (a board: recipes/selfplay.py) and said (the text alone, as a reward
model read it; then notes may hold gold, what somebody else thinks of it: recipes/rlhf.py).
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab import chat
from lab.runs import read_lines
from lab.tokenizer import Tokenizer

FOLDER = "episodes"
Segment = tuple[str, int, int]


def segments(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Segment]:
    """What each stretch of a reply is: think, call, result or text, marks included, and "end" for END; [start, end)."""
    opens = chat.marks(tokenizer).opens()
    found: list[Segment] = []
    kind, start, close = "text", 0, -1

    def finish(at: int) -> None:
        if at > start:
            found.append((kind, start, at))

    for at, i in enumerate(ids):
        if i in tokenizer.ends:
            finish(at)
            found.append(("end", at, at + 1))
            return found
        if i in opens:
            finish(at)
            (kind, _, close), start = opens[i], at
        elif i == close:
            finish(at + 1)
            kind, start, close = "text", at + 1, -1
    finish(len(ids))
    return found


def path_of(folder: Path, step: int) -> Path:
    """Where a step's episodes lie."""
    return folder / FOLDER / f"{step:06d}.jsonl"


def steps(folder: Path) -> list[int]:
    """The steps that have episodes, rising."""
    return sorted(int(file.stem) for file in (folder / FOLDER).glob("*.jsonl") if file.stem.isdigit())


def read(folder: Path, step: int) -> Iterator[dict[str, Any]]:
    """The rows of a step, in order of group and member; what is torn is left out."""
    file = path_of(folder, step)
    return iter(read_lines(file)) if file.exists() else iter(())


def groups(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows by prompt, in the order of the file."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(int(row.get("group", 0)), []).append(row)
    return list(found.values())


def line(row: dict[str, Any]) -> str:
    """A row as it is written; log-probabilities of what cannot be drawn are null."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def rounded(values: Iterable[float]) -> list[float | None]:
    """Four decimals are enough for eyes."""
    return [round(float(v), 4) if math.isfinite(v) else None for v in values]
