"""Tokens laid out in rows: wrapped at words, thoughts folded, tool calls and their results set apart. No Textual."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, get_character_cell_size

from lab.display import CONTROLS
from tui.data.chats import Token

Piece = tuple[int, str]  # (number of the token, -1 for words of ours; what it shows here)
# A line break, blanks, a sign that any line may end before or after (CJK, emoji), or a run without any of these.
_WIDE = (
    "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\U0001f300-\U0003fffd"
)
_PARTS = re.compile(f"\n|[ ]+|[{_WIDE}]|[^ \n{_WIDE}]+")
MOST_OF_RESULT = 8  # rows of a tool's result that are shown unfolded
LIVE = 6  # rows at the end of a thought that are shown while it is written
LEAD, HEAD = -1, -2  # in place of a token's number: words of a person; a headline that folds


def plain(text: str) -> str:
    """Foreign text as it may be drawn: one cell or two a character, no control characters."""
    return text.expandtabs(4).translate(CONTROLS)


class Wrap:
    """Text wrapped to `width` cells as it comes; `rows` before the last but one never change."""

    def __init__(self, width: int):
        self.width = max(2, width)
        self.rows: list[list[Piece]] = [[]]
        self.joints: list[str] = []  # what stood between a row and the next: a line break, a blank or nothing
        self._used = self._word_cells = 0
        self._word: int | None = None  # which piece of the last row the word in the making begins with

    def add(self, token: int, text: str) -> None:
        """Append a token's text."""
        for part in _PARTS.findall(plain(text)):
            if part == "\n":
                self._break("\n")
            elif part[0] == " ":
                kept = part[: self.width - self._used]
                self._put(token, kept, len(kept))
                self._word = None
                if not kept and self._used:
                    self._break(" ")
            else:
                self._add_word(token, part)

    def _add_word(self, token: int, part: str) -> None:
        cells = cell_len(part)
        alone = len(part) == 1 and cells == 2
        if self._used + cells > self.width:
            if self._word and self._word_cells + cells <= self.width and not alone:  # the whole word goes down
                moved = self.rows[-1][self._word :]
                del self.rows[-1][self._word :]
                self._break("")
                self.rows[-1] += moved
                self._used, self._word = self._word_cells, 0
            elif (self._word is None or alone) and self._used:
                self._break("")
        if self._word is None:
            self._word, self._word_cells = len(self.rows[-1]), 0
        while self._used + cells > self.width:  # longer than a row
            fits, room = 0, self.width - self._used
            while fits < len(part) and (size := get_character_cell_size(part[fits])) <= room:
                fits, room = fits + 1, room - size
            self._put(token, part[:fits], self.width - self._used - room)
            part, cells = part[fits:], cell_len(part[fits:])
            self._break("")
            self._word, self._word_cells = 0, 0
        self._put(token, part, cells)
        self._word_cells += cells
        if alone:
            self._word = None

    def _put(self, token: int, text: str, cells: int) -> None:
        if text:
            self.rows[-1].append((token, text))
            self._used += cells

    def _break(self, joint: str) -> None:
        self.rows.append([])
        self.joints.append(joint)
        self._used, self._word = 0, None


class Row(NamedTuple):
    """One row: what part it belongs to, signs before it, its pieces, and what stood between it and the next."""

    kind: str  # text, think, call, result
    part: int
    before: str
    pieces: list[Piece]
    joint: str = "\n"


@dataclass
class Part:
    """A run of tokens of one kind."""

    kind: str
    wrap: Wrap
    first: int  # its first token
    count: int = 0
    row: int = 0  # where it begins
    begun: bool = False  # something visible has come
    spent: bool = False  # a thought that was closed for the model, its budget being spent


GUTTER = {"think": "│ ", "call": "▌ ", "result": "▌ "}


class Layout:
    """The rows of one message at one width. `marks` shows special tokens by name; `folds` holds what a person
    folded or unfolded, by the first token of the part: that stays where the marks are shown or not."""

    def __init__(self, width: int, lead: str = "", marks: bool = False, folds: Mapping[int, bool] | None = None):
        self.width, self.marks, self.folds = width, marks, folds or {}
        self.rows: list[Row] = []
        self.parts: list[Part] = []
        self.count = 0  # tokens laid out
        self.done = True  # nothing more comes
        self._opened = ""  # the special token before this part
        if lead:
            part = self._begin("text")
            part.wrap.add(LEAD, lead)
            part.begun = True
            self._rebuild(0)

    def feed(self, tokens: Sequence[Token], done: bool = True) -> int:
        """Lay out tokens beyond those already here; the first row that changed. Until `done`, a thought is going on."""
        self.done = done
        first = max(0, len(self.parts) - 1)
        start = self.parts[first].row if self.parts else 0
        changed = start
        if self.parts and self.parts[-1].kind == "text":  # only its last row can change
            changed = max(start, len(self.rows) - 1)
        for token in tokens[self.count :]:
            self._take(token)
            self.count += 1
        self._rebuild(first)
        return changed

    def _begin(self, kind: str) -> Part:
        gutter = GUTTER.get(kind, "")
        part = Part(kind, Wrap(self.width - len(gutter)), self.count)
        if kind == "call":
            part.wrap.add(HEAD, f"{_label(self._opened)}: ")
        self.parts.append(part)
        return part

    def _take(self, token: Token) -> None:
        kind = token.kind
        if kind == "special":
            self._opened = token.piece
            if token.forced and self.parts and self.parts[-1].kind == "think":
                self.parts[-1].spent = True
            kind = self.parts[-1].kind if self.parts and self.parts[-1].kind == "text" else "text"
            if not self.marks and token.text in ("", token.piece):
                if self.parts and self.parts[-1].kind != "text":
                    self._begin("text")
                return
        if not self.parts or self.parts[-1].kind != kind:
            self._begin(kind)
        part = self.parts[-1]
        text = token.text
        if self.marks and token.kind == "special":
            text = token.piece if token.text in ("", token.piece) else token.text + token.piece
        if not part.begun and (len(self.parts) > 1 or kind != "text"):  # line breaks around these are the template's
            text = text.lstrip("\n") if kind == "text" else text.lstrip()
        part.begun = part.begun or bool(text)
        part.count += 1
        part.wrap.add(self.count, text)

    def _rebuild(self, first: int) -> None:
        """Rows of the parts from `first` on."""
        if first < len(self.parts):
            del self.rows[self.parts[first].row :]
        for i in range(first, len(self.parts)):
            part = self.parts[i]
            part.row = len(self.rows)
            if not part.begun:
                continue
            last = len(part.wrap.rows)
            while last > 1 and not part.wrap.rows[last - 1]:
                last -= 1
            gutter, folded = GUTTER.get(part.kind, ""), self.folded(i)
            if head := self._head(i):
                self.rows.append(Row(part.kind, i, "", [(HEAD, head)]))
            if not folded:
                joints = [*part.wrap.joints, "\n"]
                begin = max(0, last - LIVE) if self.shortened(i) else 0
                self.rows += [
                    Row(part.kind, i, gutter, part.wrap.rows[j], joints[j] if j < last - 1 else "\n")
                    for j in range(begin, last)
                ]

    def _live(self, number: int) -> bool:
        """Whether this is the thought that is being written."""
        return not self.done and number + 1 == len(self.parts) and self.parts[number].kind == "think"

    def shortened(self, number: int) -> bool:
        """Whether only the end of a part is shown: of the thought that is being written, until a person unfolds it."""
        return self._live(number) and self.parts[number].first not in self.folds

    def _head(self, number: int) -> str:
        part = self.parts[number]
        mark = "▸" if self.folded(number) else "▾"
        count = f"{part.count:,} token{'s' if part.count != 1 else ''}"
        if part.kind == "think":
            if self._live(number):
                return f"{mark} thinking, {count}"
            return f"{mark} thought for {count}" + (", then its budget was spent" if part.spent else "")
        if part.kind == "result":
            return f"{mark} result, {count}: not written by the model"
        return ""

    def part_of(self, token: int) -> int:
        """The number of the part that a token lies in."""
        return max((i for i, part in enumerate(self.parts) if part.first <= token), default=0)

    def folded(self, number: int) -> bool:
        """Whether a part shows its headline only: thoughts do once they are over, and long results."""
        part = self.parts[number]
        usual = (part.kind == "think" and not self._live(number)) or (
            part.kind == "result" and len(part.wrap.rows) > MOST_OF_RESULT
        )
        return self.folds.get(part.first, usual) and part.kind in ("think", "result")


def _label(opened: str) -> str:
    """What a call is of, by the token that opens it: 'search' for <|search|>."""
    return re.sub(r"[^\w ]+", "", opened).replace("_", " ").strip() or "call"


@dataclass
class Place:
    """Where a token stands."""

    row: int
    at: int  # characters before it in the row, signs of ours too


def find(rows: Sequence[Row], token: int) -> Place | None:
    """Where a token begins; None where it shows nothing or is folded away."""
    for number, row in enumerate(rows):
        at = len(row.before)
        for other, text in row.pieces:
            if other == token:
                return Place(number, at)
            at += len(text)
    return None


def token_at(row: Row, cell: int) -> int | None:
    """The token under a cell of a row; HEAD and LEAD for words of ours, None beside the text."""
    at = cell_len(row.before)
    if cell < at:
        return None
    for token, text in row.pieces:
        at += cell_len(text)
        if cell < at:
            return token
    return None


def beyond(rows: Sequence[Row], token: int, by: int) -> int | None:
    """The token above (by -1) or below (1) one; None where there is none."""
    where = find(rows, token)
    if where is None:
        return None
    row = rows[where.row]
    cell = cell_len((row.before + "".join(text for _, text in row.pieces))[: where.at])
    for other in rows[where.row + 1 :] if by > 0 else rows[: where.row][::-1]:
        numbers = [t for t, _ in other.pieces if t >= 0]
        if numbers:
            under = token_at(other, cell)
            return under if under is not None and under >= 0 else numbers[-1]
    return None
