"""Conversations to train on: rows of files become Samples, and what cannot be one is counted by its reason. No MLX.

A row is {"messages": [...]}, {"prompt", "completion"} or {"text"}. Content is a string or typed parts (lab/chat.py);
OpenAI's tool_calls, role "tool" and reasoning_content are read as well.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lab import chat, read
from lab.chat import Message
from lab.data import fingerprint
from lab.errors import UserError
from lab.samples import Sample, sample
from lab.tokenizer import Tokenizer

Conversation = Sequence[Message]
COLUMNS = ("messages", "conversations", "conversation")
TRIES = 50  # lessons drawn for one that fits
LONGEST = 400_000  # characters of a row that are tokenised at all: 100,000 tokens, more than any context here


class Bad(Exception):
    """A row that is no conversation: the reason, as rows are counted by it, and what is so in this one."""

    def __init__(self, reason: str, detail: str = ""):
        self.reason, self.detail = reason, " ".join(detail.split())[:200]
        super().__init__(f"{reason} ({self.detail})" if self.detail else reason)


@dataclass(frozen=True)
class Talks:
    """Where a training draws its Samples from: `draw(seed, step, n)` gives those of a step (counted from 1), the same for
    the same numbers; `valid` are held out. `key` changes when any of it does; `total` is None where there is no end."""

    key: str
    draw: Callable[[int, int, int], list[Sample]]
    valid: list[Sample]
    total: int | None = None
    tokens: int = 0  # of the finite set
    bad: Counter[str] = field(default_factory=Counter)
    cut: int = 0  # conversations whose last turns, or texts whose end, were too long


def fields(row: Any) -> dict[str, Any]:
    """A row of a file as its fields; Bad where it is a line that could not be read, or no object."""
    if isinstance(row, ValueError):
        raise Bad("broken JSON", str(row).removeprefix("broken JSON (").removesuffix(")"))
    if not isinstance(row, dict):
        raise Bad("no JSON object", f"it is a {type(row).__name__}")
    return row


def conversation(row: Any) -> list[Message] | str:
    """The messages of a row, or its text. Bad names what is wrong with it."""
    row = fields(row)
    given = next((row[name] for name in COLUMNS if row.get(name) is not None), None)
    if given is not None:
        return _messages(given)
    if isinstance(row.get("text"), str):
        if not row["text"].strip():
            raise Bad("empty text")
        _whole(row["text"])
        return str(row["text"])
    if row.get("prompt") is not None and row.get("completion") is not None:
        asked, said = row["prompt"], row["completion"]
        first = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
        return _messages([*first, *(said if isinstance(said, list) else [{"role": "assistant", "content": said}])])
    raise Bad("no messages, no prompt with completion, no text", f"it has: {', '.join(map(str, row)) or 'nothing'}")


def _messages(given: Any) -> list[Message]:
    """Messages whose roles come in turn: system at most once and first, then user and assistant one after the other,
    the user first. What comes after the last reply teaches nothing and is left out."""
    if not isinstance(given, list):
        raise Bad("messages that are no list", f"a {type(given).__name__}")
    if not given:
        raise Bad("empty conversation")
    try:
        messages = chat.normal(given)
    except UserError as error:
        raise Bad("unknown role, part or tool", str(error)) from error
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[0] == "system" else list(roles)
    while turns and turns[-1] != "assistant":
        turns.pop()
    if not turns:
        raise Bad("no assistant turn")
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        raise Bad("role order", " ".join(roles))
    messages = messages[: len(turns) + (roles[0] == "system")]
    for i, message in enumerate(messages, 1):
        said = "".join(part["text"] for part in chat.parts(message))
        if message["role"] != "system" and not said.strip():
            raise Bad(f"empty {message['role']} turn", f"message {i}")
        _whole(said)
    return messages


def _whole(text: str) -> None:
    """Bad for what JSON can spell and no file hold."""
    if half := read.SURROGATE.search(text):
        raise Bad("half of a surrogate pair", f"U+{ord(half[0]):04X}")


def size(talk: Conversation | str) -> int:
    """Characters of a conversation."""
    return len(talk) if isinstance(talk, str) else sum(len(part["text"]) for m in talk for part in chat.parts(m))


def to_sample(tokenizer: Tokenizer, talk: Conversation | str, longest: int) -> Sample:
    """A conversation as a Sample of at most `longest` tokens: where it is longer, the last turns go, a question with its
    answer; a text is cut. Bad where not even the first answer fits."""
    return fitted(tokenizer, talk, longest)[0]


def fitted(tokenizer: Tokenizer, talk: Conversation | str, longest: int) -> tuple[Sample, bool]:
    """`to_sample`, and whether something of it was left out."""
    if size(talk) > LONGEST:
        raise Bad(f"over {LONGEST:,} characters")
    try:
        if isinstance(talk, str):
            ids = [*tokenizer.begin, *tokenizer.encode(talk), tokenizer.end]
            weights = [0.0, *[1.0] * (len(ids) - 1)]
        else:
            ids, weights = chat.render(tokenizer, talk)
        long = len(ids) > longest
        if long and not isinstance(talk, str):
            ids, weights = _shorter(tokenizer, talk, longest)
    except UserError as error:
        raise Bad("it cannot be told in this vocabulary", str(error)) from error
    if not any(weights[1:longest]):
        raise Bad("nothing to train on")
    return sample(ids[:longest], weights[:longest]), long


def _shorter(tokenizer: Tokenizer, talk: Conversation, longest: int) -> tuple[list[int], list[float]]:
    """What `render` gives of as many of the first turns as fit."""
    answers = [i + 1 for i, message in enumerate(talk) if message["role"] == "assistant"]
    low, high, found = 0, len(answers) - 1, None  # of `low` answers it is known that they fit, of high + 1 that not
    while low < high:
        middle = (low + high + 1) // 2
        made = chat.render(tokenizer, talk[: answers[middle - 1]])
        if len(made[0]) <= longest:
            low, found = middle, made
        else:
            high = middle - 1
    if found is None:
        raise Bad(f"longer than {longest:,} tokens")
    return found


Row = tuple[str, list[Message] | str | Bad]  # file:line, the conversation or why it is none


def rows(paths: Sequence[Path]) -> Iterator[Row]:
    """Every row of the files."""
    for path in paths:
        for number, row in read.objects(path):
            where = f"{path.name}:{number}"
            try:
                yield where, conversation(row)
            except Bad as error:
                yield where, error


def characters(paths: Sequence[Path]) -> int:
    """Characters of all conversations."""
    return sum(size(talk) for _, talk in rows(paths) if not isinstance(talk, Bad))


class Made(NamedTuple):
    """What became of a row at `where` (file:line): a Sample, `cut` where it was too long, or why there is none; `done`
    counts characters so far."""

    where: str
    sample: Sample | Bad
    cut: bool
    done: int


def samples(tokenizer: Tokenizer, found: Iterable[Row], longest: int) -> Iterator[Made]:
    """Rows as Samples. UserError where the model has no template and a row is a conversation. With the first thought, call
    or result, unused special tokens of a hub vocabulary get a use (`Tokenizer.reserve`), which `save` keeps."""
    done, asked = 0, tokenizer.ours
    for where, talk in found:
        if isinstance(talk, Bad):
            yield Made(where, talk, False, done)
            continue
        done += size(talk)
        if not isinstance(talk, str) and not tokenizer.ours and tokenizer.chat_template is None:
            raise UserError(f"{tokenizer.name} has no chat template; tune a chat model, or give rows of text")
        if not asked and not isinstance(talk, str) and any(p["type"] != "text" for m in talk for p in chat.parts(m)):
            asked = tokenizer.reserve() or True
        try:
            made = Made(where, *fitted(tokenizer, talk, longest), done)
        except Bad as error:
            made = Made(where, error, False, done)
        yield made


class Tally:
    """Bad rows, counted by reason, with the first place each was seen at and what was so there."""

    def __init__(self) -> None:
        self._count, self._first = Counter[str](), dict[str, str]()

    def add(self, where: str, error: Bad) -> None:
        """One more."""
        self._first.setdefault(error.reason, f"first {where}" + (f": {error.detail}" if error.detail else ""))
        self._count[error.reason] += 1

    @property
    def bad(self) -> Counter[str]:
        """ "reason (first file:line: detail)" -> rows."""
        return Counter({f"{reason} ({self._first[reason]})": count for reason, count in self._count.items()})


def load(
    data: str, tokenizer: Tokenizer, longest: int, strict: bool = False, every: int = 20,
    tell: Callable[[int, int], None] | None = None,
) -> Talks:  # fmt: skip
    """A file, a folder with train/valid files, or a hub data set. Where there is no valid file every 20th conversation of
    those that come once is held out (a lone one is not). Bad rows are counted by reason, with the first place each was seen;
    `strict` makes the first a UserError. `tell` hears (characters done, of how many)."""
    train, valid = read.files(data)
    # Twice through the files: reading is nothing beside tokenising, and nothing but ids is held in memory.
    total = characters([*train, *valid]) if tell else 0
    tally, before, cut = Tally(), 0, 0
    sides: list[list[Sample]] = [[], []]
    for paths, side in zip((train, valid), sides, strict=True):
        done = 0
        for where, made, short, done in samples(tokenizer, rows(paths), longest):
            if tell:
                tell(before + done, total)
            if not isinstance(made, Bad):
                side.append(made)
                cut += short
            elif strict:
                raise UserError(f"{where}: {made}; mend the row, or leave out --strict")
            else:
                tally.add(where, made)
        before += done
    kept, held = sides
    if not valid and len(kept) > 1:
        times = Counter(one.ids.tobytes() for one in kept)
        # Of repeated ones a copy would be trained on.
        once = [i for i, one in enumerate(kept) if times[one.ids.tobytes()] == 1]
        out = {*(once or range(len(kept)))[::every]}
        held, kept = [kept[i] for i in sorted(out)], [one for i, one in enumerate(kept) if i not in out]
    if not kept:
        why = "; ".join(f"{count} x {reason}" for reason, count in tally.bad.most_common(3))
        raise UserError(f"{data}: no conversation to train on{': ' + why if why else ''}")
    # What a talk becomes depends on the template and on tokens with a use, of which the tokenizer's own key knows nothing.
    shape = repr((tokenizer.chat_template if not tokenizer.ours else "", sorted(tokenizer.marks.items())))
    key = fingerprint("talks", *train, *valid, tokenizer.fingerprint, longest, shape)
    return replace(finite(key, kept, held, tally.bad), cut=cut)


def finite(key: str, found: list[Sample], held: list[Sample], bad: Counter[str] | None = None) -> Talks:
    """Talks over a set: each pass in an order of its own, nothing twice within one."""

    def draw(seed: int, step: int, n: int) -> list[Sample]:
        first, count = (step - 1) * n, len(found)
        return [found[int(_order(seed, i // count, count)[i % count])] for i in range(first, first + n)]

    return Talks(key, draw, held, len(found), sum(len(s.ids) for s in found), bad or Counter())


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def endless(
    key: str, lesson: Callable[[int], Conversation | str], tokenizer: Tokenizer, longest: int, valid: int = 200
) -> Talks:
    """Talks from a generator, `lesson(seed)`, which never tells the same twice: names are fresh in every step. Training
    takes even seeds, what is held out odd ones. A lesson that is too long gives way to another; UserError where nearly
    all are."""

    def one(seed: int) -> Sample:
        for again in range(TRIES):
            try:
                return to_sample(tokenizer, lesson(seed + (again << 70)), longest)
            except Bad as error:
                why = error
        raise UserError(f"the lessons do not fit: {why}; raise --max-seq-length")

    def draw(seed: int, step: int, n: int) -> list[Sample]:
        first = ((seed << 36) + (step - 1) * n) * 2
        return [one(first + 2 * i) for i in range(n)]

    held = [one(2 * i + 1) for i in range(valid)]
    return Talks(fingerprint(key, tokenizer.fingerprint, longest), draw, held)
