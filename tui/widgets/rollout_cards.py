"""The replies to one prompt as cards, with a cursor that walks over the tokens of the chosen one."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message

from tui.data.rollout_rows import Told
from tui.widgets.rollout_lines import Card
from tui.widgets.rollout_paint import CardView
from tui.widgets.token_lines import HEAD, LEAD, Piece, Row, beyond, find, token_at

SURPRISE = 0.25  # shift with an arrow stops at tokens with a lower probability


class Cards(CardView, inherit_bindings=False):
    """`show` says which replies; the screen says which one is chosen."""

    HELP = """
## Replies

Green frames earned more than the mean of their group and are said more often from now on, red ones less. `j` `k` go from
reply to reply, `←` `→` walk over the tokens of the chosen one (with `shift` to the next that surprised the model), `↑` `↓`
a line up or down. `space` unfolds a long reply. Grey on a ground, behind *not trained on*, is what a tool said.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "token(-1)", "Token before", show=False, id="cards.left"),
        Binding("right", "token(1)", "Next token", show=False, id="cards.right"),
        Binding("shift+left", "surprise(-1)", "Surprising token before", show=False, id="cards.surprise_left"),
        Binding("shift+right", "surprise(1)", "Next surprising token", show=False, id="cards.surprise_right"),
        Binding("up", "line(-1)", "Line above", show=False, id="cards.up"),
        Binding("down", "line(1)", "Line below", show=False, id="cards.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="cards.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="cards.page_down"),
        Binding("space,enter", "whole", "Unfold or fold the reply", show=False, id="cards.whole"),
        Binding("escape", "no_cursor", "Put the token cursor away", show=False, id="cards.off"),
    ]

    class Looked(Message):
        """The cursor or the mouse is at another token; `place` None: at none."""

        def __init__(self, cards: "Cards", one: Told | None, place: int | None):
            super().__init__()
            self.cards, self.one, self.place = cards, one, place

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Cards.Looked) and message.cards is self.cards

    class Picked(Message):
        """A card was clicked."""

        def __init__(self, cards: "Cards", place: int):
            super().__init__()
            self.cards, self.place = cards, place

    def choose(self, place: int) -> None:
        """Another card, into view."""
        if self.told:
            self.chosen, self.place = max(0, min(len(self.told) - 1, place)), None
            self._again()
            self._reveal_card()
            self._tell()

    def _tell(self) -> None:
        if self.is_attached:
            self.post_message(self.Looked(self, self.one, self.place))
            self.refresh_bindings()

    # -- the cursor ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "no_cursor":
            return self.place is not None
        if action in ("token", "surprise"):
            return self.one is not None and bool(self.one.tokens)
        return True

    def _card(self) -> Card | None:
        cards = self._stack.cards
        return cards[self.chosen] if self.chosen < len(cards) else None

    def _rows(self) -> list[Row]:
        one = self._card()
        return [Row("", 0, "", row) for row in one.rows] if one else []

    def go(self, place: int) -> None:
        """The cursor to a token of the chosen reply, and that into view; a reply that is folded there unfolds."""
        one, card_ = self.one, self._card()
        if one is None or card_ is None or not one.tokens:
            return
        self.place = max(0, min(len(one.tokens) - 1, place))
        last = max((token for row in card_.rows for token, _ in row), default=-1)
        if card_.more and self.place > last:
            self._whole.add((one.brief.group, one.brief.k))
            self._lay()
        self._again()
        if (where := find(self._rows(), self.place)) and (now := self._card()):
            region = Region(0, now.first + 1 + where.row, 1, 1)
            self.scroll_to_region(region, animate=False, force=True, x_axis=False)
        self._tell()

    def action_token(self, by: int) -> None:
        """Along the tokens; the first step goes to the first one, or back to the last."""
        if self.one:
            self.go((len(self.one.tokens) - 1 if by < 0 else 0) if self.place is None else self.place + by)

    def action_surprise(self, by: int) -> None:
        """To the next token that the model drew though it held it improbable."""
        if self.one is None:
            return
        tokens = self.one.tokens
        at = (len(tokens) if by < 0 else -1) if self.place is None else self.place
        for i in range(at + by, len(tokens) if by > 0 else -1, by):
            p = tokens[i].p
            if p is not None and p < SURPRISE:
                self.go(i)
                return

    def action_line(self, by: int) -> None:
        """The cursor a line up or down; without one the cards scroll."""
        if self.place is None:
            self.scroll_relative(y=by, animate=False, immediate=True)
            return
        place = beyond(self._rows(), self.place, by)
        if place is not None:
            self.go(place)

    def action_page(self, by: int) -> None:
        """A page further."""
        self.scroll_relative(y=by * max(1, self.scrollable_content_region.height - 2), animate=False, immediate=True)

    def action_whole(self) -> None:
        """Show all of the chosen reply, or its beginning."""
        if one := self.one:
            self._whole ^= {(one.brief.group, one.brief.k)}
            self._lay()
            self._reveal_card()

    def action_no_cursor(self) -> None:
        self.place = None
        self._again()
        self._tell()

    # -- the mouse -------------------------------------------------------------------------------------------------

    def _under(self, event: events.MouseEvent) -> tuple[int, int, int | None]:
        """(card, line within it, token) under the mouse."""
        where = event.get_content_offset(self)
        if where is None:
            return -1, 0, None
        number, at = self._stack.at(where.y + self.scroll_offset.y)
        if number < 0 or not 0 < at <= len(self._stack.cards[number].rows):
            return number, at, None
        pieces: list[Piece] = self._stack.cards[number].rows[at - 1]
        token = token_at(Row("", 0, "  ", pieces), where.x) if where.x >= 2 else None
        return number, at, token if token is not None and token not in (HEAD, LEAD) else None

    def on_mouse_move(self, event: events.MouseMove) -> None:
        number, _, token = self._under(event)
        self._point((number, token) if token is not None else None)

    def on_leave(self) -> None:
        self._point(None)

    def _point(self, at: tuple[int, int] | None) -> None:
        if at == self._hover:
            return
        before, self._hover = self._hover, at
        for one in {place[0] for place in (before, at) if place}:
            self._redraw(one)
        if at is None:
            self.post_message(self.Looked(self, self.one, self.place))
        else:
            self.post_message(self.Looked(self, self.told[at[0]], at[1]))

    def on_click(self, event: events.Click) -> None:
        number, at, token = self._under(event)
        if number < 0:
            return
        more = self._stack.cards[number].more and at == 1 + len(self._stack.cards[number].rows)
        if number != self.chosen:
            self.choose(number)
        self.post_message(self.Picked(self, number))
        if more:
            self.action_whole()
        elif token is not None:
            self.go(token)

    def on_focus(self) -> None:
        self._again()

    def on_blur(self) -> None:
        self._again()
