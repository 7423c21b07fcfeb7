"""What the model thought of one token: its probability and what else it might have said, to be chosen by number or click."""

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lab.words import BARS
from tui.data.chats import Token
from tui.data.notes import chance, visible
from tui.theme import heat
from tui.widgets.token_lines import plain

SHORT = "point at a token, or press escape and left"


def _fitting(parts: list[tuple[str, str]], width: int) -> list[tuple[str, str]]:
    """As many parts as fit into a line."""
    kept = list[tuple[str, str]]()
    for part in parts:
        width -= cell_len(part[0])
        if width < 0:
            break
        kept.append(part)
    return kept


class TokenInfo(Widget, can_focus=True):
    """Two lines. Focused (enter on a token) the arrows choose an alternative and enter takes it."""

    DEFAULT_CSS = """
    TokenInfo { height: 2; padding: 0 2; background: $surface; color: $foreground; }
    TokenInfo:focus { background: $panel; }
    """
    HELP = """
# One token

The first line: the token's number in the reply, its id, its probability, its rank. The second: what the model held most
probable there. A number key, a click, or `left`, `right` and `enter` continue the reply from that token instead, as a
branch beside the old one.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,up", "choose(-1)", "Alternative before", show=False, id="token.left"),
        Binding("right,down", "choose(1)", "Next alternative", show=False, id="token.right"),
        Binding("enter", "take", "Continue from the alternative", show=False, id="token.take"),
        Binding("escape", "leave", "Back to the message", show=False, id="token.leave"),
    ]

    class Taken(Message):
        """Continue from this alternative."""

        def __init__(self, other: int):
            super().__init__()
            self.other = other

    class Left(Message):
        """Back to the message."""

    def __init__(self, id: str | None = None):
        super().__init__(id=id)
        self.token: Token | None = None
        self.number, self.count, self.at = 0, 0, 0
        self._places: list[tuple[int, int, int]] = []

    def show(self, token: Token | None, number: int = 0, count: int = 0) -> None:
        """This token, the `number`th of `count`; None says how to get at one."""
        if token is not self.token:
            rank = token.rank if token else None
            self.at = 1 if rank == 1 else 0
        self.token, self.number, self.count = token, number, count
        self.refresh()

    def render(self) -> Content:
        token = self.token
        if token is None:
            hint = "point at a token, or press escape and then left, to see what else the model might have said"
            return Content.styled(hint if len(hint) <= self.content_size.width else SHORT, "$foreground-muted")
        rank = f"rank {token.rank}" if token.rank else f"not among the {len(token.top)} best" if token.top else ""
        first: list[tuple[str, str]] = [
            (f"{self.number + 1}/{self.count}  ", "$foreground-muted"),
            (plain(visible(token.piece)), "bold"),
            (f"  id {token.id}", "$foreground-muted"),
        ]
        if not token.own:
            first.append(("  not written by the model", "$foreground-muted"))
        elif token.p is None:
            first.append(("  put there by hand", "$foreground-muted"))
        else:
            first += [("  p ", "$foreground-muted"), (chance(token.p), f"on {heat(token.p, self.app)}")]
            first += [(f"  {rank}", "$foreground-muted")] if rank else []
            if token.logp is not None and abs(2.718281828**token.logp - token.p) > 0.005:
                first += [("  drawn with ", "$foreground-muted"), (chance(2.718281828**token.logp), "")]
        return Content.assemble(*_fitting(first, self.content_size.width), "\n", *self._others(token))

    def _others(self, token: Token) -> list[tuple[str, str]]:
        """The second line; where each alternative lies is kept for clicks."""
        out, at, self._places = list[tuple[str, str]](), 0, []
        room = self.content_size.width
        for i, (other, piece, p) in enumerate(token.top):
            bar = BARS[min(len(BARS) - 1, int(p * len(BARS)))]
            words = [f"{i + 1} ", plain(visible(piece)), f" {bar} {chance(p)}"]
            cells = sum(map(cell_len, words))
            if at + cells > room:
                break
            chosen = self.has_focus and i == self.at
            name = "bold $background on $accent" if chosen else "bold" if other == token.id else ""
            out += [(words[0], "$accent"), (words[1], name), (words[2], "$foreground-muted"), ("   ", "")]
            self._places.append((at, at + cells, i))
            at += cells + 3
        return out

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y == 1:
            for start, end, i in self._places:
                if start <= offset.x < end:
                    self.post_message(self.Taken(i))

    def action_choose(self, by: int) -> None:
        """Another alternative."""
        if self._places:
            self.at = (self.at + by) % len(self._places)
            self.refresh()

    def action_take(self) -> None:
        """Continue from the one chosen."""
        if self.token and self.at < len(self.token.top):
            self.post_message(self.Taken(self.at))

    def action_leave(self) -> None:
        self.post_message(self.Left())
