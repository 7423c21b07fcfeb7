"""The model that is probed: what it was trained on, and held-out text for it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lab import data, device, weights
from lab.errors import UserError, expand
from lab.runs import find, read_json
from lab.tokenizer import Tokenizer
from recipes import pocket
from recipes.pretrain import parse_mix

LONGEST_WINDOW = 1024
BIG = 30_000_000  # parameters; above, a backward pass takes too long to be a probe


@dataclass(frozen=True)
class Sizes:
    """How much each probe measures."""

    mappings: int = 208
    questions: int = 40  # about facts
    documents: int = 20  # never-written ones
    tokens: int = 32_768  # of held-out text
    samples: int = 5  # at each temperature
    sampled: int = 80  # tokens of each
    step: int = 2048  # tokens of the timed step


QUICK = Sizes(mappings=40, questions=20, documents=10, tokens=4096, samples=2, sampled=40, step=512)


@dataclass(frozen=True)
class Said:
    """Something the model said, for samples.jsonl."""

    prompt: str
    text: str
    ids: list[int]
    logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What one part of a probe measured: nested numbers, and texts to look at."""

    numbers: dict[str, Any]
    said: list[Said] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """A loaded model and what probes need to know of it."""

    network: Any
    tokenizer: Tokenizer
    name: str
    context: int  # longest input, in tokens
    trained_length: int  # tokens of a training window; the context for models of others, whose record we lack
    told: float | None  # weight of the pocket world's lists in its training; None = never saw the pocket world
    text: str  # what `ids` is, in words
    ids: np.ndarray  # int32 [N]: held-out text as one stream of BOS text END
    sizes: Sizes
    seed: int

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(v.size for _, v in device.flat(self.network.parameters()))

    @property
    def window(self) -> int:
        """The longest window that the probes of text use, in tokens."""
        return max(1, min(self.context, LONGEST_WINDOW, len(self.ids) - 1))

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts to be continued, each opened as the model's training opened its texts."""
        return [[*self.tokenizer.begin, *ids] for ids in self.tokenizer.encode_batch(texts)]

    def windows(self, length: int, most: int) -> np.ndarray:
        """int32 [n, length + 1]: at most `most` tokens of held-out text as windows, at least one."""
        count = max(1, min(most, len(self.ids) - 1) // length)
        return np.stack([self.ids[i * length : i * length + length + 1] for i in range(count)])


def lineage(folder: Path) -> list[dict[str, Any]]:
    """run.json of a model, its parent, its parent's parent..., as far as they are still there."""
    line: list[dict[str, Any]] = []
    while passport := read_json(folder / "run.json"):
        line.append(passport)
        try:
            folder = find(str(passport.get("parent") or ""))[0]
        except UserError:
            break
        if len(line) > 50:  # a circle of parents is somebody's hand-made record
            break
    return line


def open_subject(model: weights.Model, own: str | None, sizes: Sizes, seed: int, column: str | None = None) -> Subject:
    """Look into the model's lineage for what it was trained on, and prepare held-out text: `own` (a file or folder, whose
    rows keep their text in `column`, or where the training's did), or the pocket world's validation text, which no pocket
    model was trained on."""
    line = lineage(model.folder)
    base = line[-1] if line and line[-1].get("recipe") == "pretrain" else {}
    made: dict[str, Any] = base.get("config") or {}
    world = bool(base) and not made.get("data")
    told = parse_mix(str(made.get("mix") or "")).get("lists", 1.0) if world else None
    length = int(made.get("max_seq_length") or model.context)
    most = max(sizes.tokens, 2 * sizes.step) + LONGEST_WINDOW
    if own:
        name, texts = _own_text(own, str(made.get("data") or ""), column or str(made.get("text_column") or "text"))
    else:
        name, texts = "the pocket world's validation text", (d.text for d in pocket.validation(0, 6 * most))
    ids = _encode(model.tokenizer, texts, most)
    if len(ids) < 2:
        raise UserError(f"--data {own}: no text in it to measure on")
    return Subject(
        model.network, model.tokenizer, model.name, model.context, min(length, model.context), told, name, ids,
        sizes, seed,
    )  # fmt: skip


def _own_text(own: str, trained_on: str, column: str) -> tuple[str, Iterable[str]]:
    """(what it is, the texts): of the model's own training data the held-out side; of other data its validation files, or
    everything. Where that holds files which the model was trained on, the name says so."""
    if trained_on and Path(trained_on) == Path(own):
        return own, (text for text, _ in data.source(own, column).held_out())
    train, valid = data.files(own)
    seen = list[Path]()
    if trained_on and expand(trained_on).exists():
        with suppress(UserError):  # there may be no text left in it
            seen = data.files(trained_on)[0]
    known = {file.resolve() for file in seen} & {file.resolve() for file in valid or train}
    return own + (" (the model was trained on it)" if known else ""), data.texts(valid or train, column)


def _encode(tokenizer: Tokenizer, texts: Iterable[str], most: int) -> np.ndarray:
    stream: list[int] = []
    for text in texts:
        stream += [*tokenizer.begin, *tokenizer.encode(text), *([tokenizer.end] if tokenizer.ends else [])]
        if len(stream) > most:
            break
    return np.array(stream[: most + 1], dtype=np.int32)
