"""Replies laid out as cards: rows of tokens, what is not trained on said in words, what they earned in the frame. No
Textual."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from tui.data.rollout_rows import Told
from tui.data.rollout_words import Pieces, details, flowed, joined, length, title
from tui.widgets.token_lines import HEAD, LEAD, Piece, Wrap

FOLDED = 12  # rows of a reply that are shown until it is opened; one that has two more is shown whole
UNTRAINED = "not trained on: "
ALONE = ("think", "call", "result")  # parts that begin on a row of their own


def body(one: Told, width: int) -> list[list[Piece]]:
    """The rows of a reply. What was put in and not drawn is said to be."""
    wrap = Wrap(width)
    if not one.tokens:
        wrap.add(LEAD, str(one.row.get("text") or "") or "(nothing)")
    before, forced = "", False
    for i, token in enumerate(one.tokens):
        kind, text = one.kinds[i], token.text
        if kind != before and (kind in ALONE or before in ALONE):
            if wrap.rows[-1]:
                wrap.add(HEAD, "\n")
            text = text.lstrip("\n")  # a line begins there anyway
        if token.forced and not forced:
            wrap.add(HEAD, UNTRAINED)
        before, forced = kind, token.forced
        wrap.add(i, text)
    rows = wrap.rows
    while len(rows) > 1 and not rows[-1]:
        rows.pop()
    return rows


@dataclass
class Card:
    """One reply at one width. Its lines: the upper edge, `rows`, one that says how many more there are, `extra` (details
    that the lower edge has no room for), the lower edge."""

    one: Told
    top: Pieces
    rows: list[list[Piece]]
    more: int  # rows folded away
    extra: list[Pieces]
    bottom: Pieces
    first: int = 0  # its first line among those of all cards

    @property
    def height(self) -> int:
        return 2 + len(self.rows) + bool(self.more) + len(self.extra)


def card(one: Told, place: int, total: int, scale: float, width: int, whole: bool) -> Card:
    """A card of `width` cells; `place` of `total` from 1, `scale` the largest advantage beside it."""
    inside = max(4, width - 4)
    rows = body(one, inside)
    more = 0 if whole or len(rows) <= FOLDED + 2 else len(rows) - FOLDED
    said = details(one)
    line, extra = joined(said), list[Pieces]()
    if length(line) > width - 6:
        parts = [(text, role) for text, role in said if role in ("", "warn") or text.startswith("+ ")]
        others = [piece for piece in said if piece not in parts]
        extra, line = flowed(parts, inside) + flowed(others, inside), []
    top = title(one.brief, place, total, scale, max(4, width - 6))
    return Card(one, top, rows[: len(rows) - more], more, extra, line)


@dataclass
class Stack:
    """Cards below each other."""

    cards: list[Card] = field(default_factory=list)
    height: int = 0
    _firsts: list[int] = field(default_factory=list)

    def lay(self, cards: Sequence[Card]) -> None:
        """These, from the top down."""
        self.cards, self.height, self._firsts = list(cards), 0, []
        for one in self.cards:
            one.first = self.height
            self._firsts.append(one.first)
            self.height += one.height

    def at(self, line: int) -> tuple[int, int]:
        """(card, line within it) of a line; (-1, 0) below all."""
        if not 0 <= line < self.height:
            return -1, 0
        number = bisect_right(self._firsts, line) - 1
        return number, line - self._firsts[number]
