"""What the Tokens screen shows: an open tokenizer, a text or a conversation as it cuts them, lines of a given width."""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.cells import cell_len

from lab.chat import Message, prompt, render
from lab.display import CONTROLS, listener
from lab.errors import UserError
from lab.explain import KINDS, inventory, merge_tree, open_tokenizer, signs, stretches
from lab.tokenizer import Tokenizer

OPENING = """\
Egg. One egg, two eggs, AN EGG! The egg cooled.
127 + 677 = 804, and 1,234,567.89?
안녕하세요! 👋🏽 naïve café, glorptastic
for i in range(3):
    if i % 2 == 0:
        print(i)"""
TALK = """\
system: Answer in one sentence.
user: Is 9.11 more than 9.9? I type <|end|> and <|im_end|> here.
assistant: No, 9.9 is more.
user: Thanks!
assistant: You are welcome."""
TURN = re.compile(r"(system|user|assistant):[ \t]?")


class Stopped(Exception):
    """Nobody waits for this tokenizer any more."""


@dataclass(eq=False)
class Book:
    """An open tokenizer and what the screen asks of it. `model` is what was asked for, `kinds` and `ranks` as in
    `lab.explain.inventory`."""

    model: str
    tokenizer: Tokenizer
    kinds: np.ndarray
    ranks: np.ndarray
    merges: int  # how many there are
    _shown: dict[int, tuple[list[tuple[str, bool]], int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.tokenizer.name.translate(CONTROLS)

    @property
    def bits(self) -> float:
        """What a token costs when all are equally likely: log2(V)."""
        return math.log2(self.tokenizer.vocab_size)

    def kind(self, token: int) -> str:
        return KINDS[self.kinds[token]] if 0 <= token < len(self.kinds) else "unused"

    def shown(self, token: int) -> tuple[list[tuple[str, bool]], int]:
        """(runs as in `lab.explain.signs`, cells they take): a special as its name, what is nothing as its id."""
        found = self._shown.get(token)
        if found is None:
            spelling = self.tokenizer.token_bytes(token)
            runs = signs(spelling) if spelling else [(f"<|{token}|>", True)]
            found = self._shown[token] = (runs, cell_len("".join(text for text, _ in runs)))
        return found

    def piece(self, token: int) -> str:
        return "".join(text for text, _ in self.shown(token)[0])


def open_first(models: Sequence[str], tell: Callable[[str], None], wanted: Callable[[], bool]) -> Book:
    """Open the tokenizer of the first of these models that has a sound one (see `lab.explain.open_tokenizer`); `tell`
    hears of a download. UserError in words, that of the last; Stopped once it is no longer `wanted`."""
    for model in models[:-1]:
        with contextlib.suppress(UserError):
            return open_book(model, tell, wanted)
    return open_book(models[-1], tell, wanted)


def open_book(
    model: str, tell: Callable[[str], None] = lambda _: None, wanted: Callable[[], bool] = lambda: True
) -> Book:
    """`open_first` of one."""

    def hear(words: str, done: int, total: int, unit: str) -> None:
        if not wanted():
            raise Stopped
        tell(f"{words} {done / total:.0%}" if total else words)

    before = listener.set(hear)
    try:
        tokenizer = open_tokenizer(model)
        kinds, ranks = inventory(tokenizer)
    finally:
        listener.reset(before)
    ranked = len(set(tokenizer.core.merges.values()))
    return Book(model, tokenizer, kinds, ranks, ranked)


@dataclass(frozen=True, eq=False)
class Cut:
    """A text as ids (int32 [n]). The stretch of token i in the text is its UTF-8 bytes [starts[i], ends[i]), and its
    characters [first[i], last[i]), which two tokens share where a character is cut.

    Of a conversation there are no stretches (empty arrays); `weights` (float [n]) says what of it would be trained.
    `unique` and `place` are the different ids and for each token the place of its id among them; a line ends after each
    token of `breaks`.
    """

    text: str
    ids: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    last: np.ndarray
    unique: np.ndarray
    place: np.ndarray
    breaks: np.ndarray
    weights: np.ndarray | None = None

    @property
    def starts(self) -> np.ndarray:
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64) if len(self.ends) else self.ends

    def __len__(self) -> int:
        return len(self.ids)


NOTHING = np.empty(0, np.int64)
ROLES = ("system", "user", "assistant")


def _whole(
    book: Book, text: str, ids: Sequence[int], ends: np.ndarray, first: np.ndarray, last: np.ndarray,
    weights: np.ndarray | None = None,
) -> Cut:  # fmt: skip
    """A Cut with all that is counted once: a line ends after a token with a line end in it, of a conversation also after
    one that ends a turn or stands before the next."""
    array = np.array(ids, np.int32)
    unique, place = np.unique(array, return_inverse=True)
    at = np.array([b"\n" in book.tokenizer.token_bytes(int(i)) for i in unique], bool)[place]
    if weights is not None:
        closes = np.isin(array, list(book.tokenizer.ends))
        at |= closes
        at[:-1] &= ~(closes[:-1] & at[1:] & ~closes[1:])  # <|im_end|> and then ⏎: one line end, not two
        opens = np.isin(array, [book.tokenizer.special.get(f"<|{role}|>", -1) for role in ROLES])
        if book.tokenizer.ours:  # only replies end with <|end|>
            at[1:-1] |= opens[2:]
    return Cut(text, array, ends, first, last, unique, place, np.flatnonzero(at), weights)


def cut(book: Book, text: str) -> Cut:
    """The text as the tokenizer cuts it. UserError for half a surrogate pair."""
    ids = book.tokenizer.encode(text)
    ends = stretches(book.tokenizer, text, ids)
    data = np.frombuffer(text.encode(), np.uint8)
    character = np.cumsum((data & 0xC0) != 0x80)  # of each byte, 1 + the character it is in
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    inside = np.concatenate([character, character[-1:]]) if len(data) else np.zeros(1, np.int64)
    first = inside[starts] - 1 if len(ids) else NOTHING
    last = np.maximum(inside[np.maximum(ends - 1, 0)], first) if len(ids) else NOTHING
    last = np.where(ends > starts, last, first) if len(ids) else NOTHING  # a token that writes an escape to its end
    return _whole(book, text, ids, ends, first, last)


def messages(text: str) -> list[Message]:
    """`user: Hello` begins a turn, lines without a role go on with it; text before the first role is the user's."""
    turns: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        if found := TURN.match(line):
            turns.append((found[1], [line[found.end() :]]))
        elif turns:
            turns[-1][1].append(line)
        elif line:
            turns.append(("user", [line]))
    return [{"role": role, "content": "\n".join(lines).rstrip("\n")} for role, lines in turns]


def cut_talk(book: Book, text: str) -> Cut:
    """A conversation as the model reads it: to the end where its last turn is the assistant's, else to where its reply
    begins. UserError where it has no template or that refuses the turns."""
    turns = messages(text)
    if not turns:
        raise UserError("no turns yet: begin a line with user: (or system:, assistant:)")
    if turns[-1]["role"] == "assistant":
        ids, weights = render(book.tokenizer, turns)
    else:
        ids = prompt(book.tokenizer, turns)
        weights = [0.0] * len(ids)
    return _whole(book, text, ids, NOTHING, NOTHING, NOTHING, np.array(weights, np.float32))


def facts(book: Book, made: Cut, room: int, other: Cut | None = None) -> str:
    """The line below a pane, as much of it as fits: tokens, bytes, characters and bytes a token, bits."""
    n, size, chars = len(made), len(made.text.encode()), len(made.text)
    parts = [f"{n:,} tokens"]
    if made.weights is not None:
        parts.append(f"{int((made.weights > 0).sum()):,} trained")
        more = [f"{n * book.bits:,.0f} bits"]
    else:
        if other is not None and len(other) and other.text == made.text and n != len(other):
            parts[0] += f" ({(n - len(other)) / len(other):+.0%})".replace("-", "−")
        each = max(1, n)
        parts.append(f"{chars / each:.2f} chars/token")
        bits = n * book.bits
        more = [f"{size / each:.2f} bytes/token", f"{bits:,.0f} bits", f"{size:,} bytes", f"{chars:,} chars"]
    for part in more:
        if cell_len(" · ".join([*parts, part])) <= room:
            parts.append(part)
    return " · ".join(parts)


# -- lines ---------------------------------------------------------------------------------------------------------


def wrap(widths: np.ndarray, breaks: np.ndarray, room: int) -> np.ndarray:
    """Where lines begin: int64 [lines + 1], the last one len(widths). Tokens `widths` cells wide are laid side by side
    in `room` cells; a line ends after each token of `breaks` (sorted). A token wider than the room has its own line."""
    n = len(widths)
    if not n:
        return np.zeros(1, np.int64)
    total = np.concatenate([[0], np.cumsum(np.minimum(widths, room))])
    starts, at, k = [0], 0, 0
    stops = [*breaks.tolist(), n - 1]
    while at < n:
        while stops[k] < at:
            k += 1
        full = int(np.searchsorted(total, total[at] + room, "right")) - 1
        at = max(at + 1, min(full, stops[k] + 1))
        starts.append(at)
    return np.array(starts, np.int64)


def match(made: Cut, token: int, other: Cut) -> tuple[int, int]:
    """The tokens [a, b) of `other` that hold the bytes of `made`'s token; (0, 0) where they cannot be compared."""
    if made.text != other.text or not 0 <= token < len(made.ends) or not len(other.ends):
        return 0, 0
    start, end = int(made.starts[token]), int(made.ends[token])
    a = int(np.searchsorted(other.ends, start, "right"))
    b = int(np.searchsorted(other.ends, max(start, end - 1), "right")) + 1
    return min(a, len(other) - 1), min(b, len(other))


def at_character(made: Cut, index: int) -> int:
    """The token with the index-th character of the text; the last one beyond its end, -1 where there is none."""
    return min(int(np.searchsorted(made.last, index, "right")), len(made) - 1)


# -- words on one token --------------------------------------------------------------------------------------------


def about(book: Book, token: int) -> str:
    """What kind of token it is, in words."""
    kind = book.kind(token)
    if kind == "learned":
        tree = merge_tree(book.tokenizer, token)
        if tree.rank is None:
            return "in the vocabulary, though no merge leads to it"
        return f"merge {tree.rank:,} of {book.merges:,}"
    if kind == "special":
        hidden = token in book.tokenizer.core.hidden
        return "special: no text becomes it" + ("" if hidden else ", though it shows as text")
    return {
        "byte": "a byte, there before any merge",
        "character": "a character, there before any merge",
        "added": "added by hand, made by no merge",
    }.get(kind, "an id without a token")


def hexed(data: bytes, most: int = 24) -> str:
    """Bytes as hex pairs."""
    return data[:most].hex(" ") + (" …" if len(data) > most else "")
