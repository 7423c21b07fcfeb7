"""The replies to rank: below each other, or side by side where that shows more of them."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from lab.display import CONTROLS
from lab.letters import LETTERS, MOST
from tui.data.rank_hand import Hand
from tui.data.rank_words import place_of

NARROW = 26  # cells of a column at least
HEAD = 10  # cells of letter and place before a text without a frame
LAYOUTS = ("auto", "below", "beside")


def said(text: str) -> str:
    """A reply as it is shown."""
    return text.expandtabs(4).translate(CONTROLS).strip()


class Reply(Static):
    """One of them; a click places it."""

    DEFAULT_CSS = """
    Reply {
        height: auto; width: 1fr; padding: 0 1; border: round $border; background: $background;
        border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $foreground-muted;
        &:hover { border: round $secondary; }
        &.-placed { border: round $success 60%; border-title-color: $success; }
        &.-cursor { border: round $accent; }
        &.-flat { border: none; padding: 0; }
        &.-flat.-cursor { background: $block-cursor-blurred-background; }
    }
    """

    class Clicked(Message):
        """A reply was clicked."""

        def __init__(self, option: int):
            super().__init__()
            self.option = option

    def __init__(self, option: int):
        super().__init__()
        self.option = option

    def show(self, hand: Hand, score: str, flat: int) -> None:
        """This reply of the hand; `flat` is its width where there is no room for a frame, else 0."""
        text = said(hand.options[self.option])
        place, letter = place_of(hand, self.option), LETTERS[self.option]
        badge = (f" {place} ", "bold $background on $success") if place else ("", "")
        self.set_class(bool(place), "-placed")
        self.set_class(bool(flat), "-flat")
        self.border_title = Content.assemble((letter, "bold"), ("  " if place else "", ""), badge)
        self.border_subtitle = Content(score) if score else None
        now = Content(text)
        if flat:
            head = Content.assemble((f" {letter} ", "bold $accent"), badge).pad_right(max(0, HEAD - 3 - len(badge[0])))
            first, *rest = now.wrap(max(8, flat - HEAD)) or [now]
            gap = Content(" " * HEAD)
            now = Content("\n").join([head + first, *(gap + line for line in rest)])
            now = Content.assemble(now, (f"   {score}", "$foreground-muted")) if score else now
        before = self.content
        if not isinstance(before, Content) or before.plain != now.plain or before.spans != now.spans:
            self.update(now)

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.option))


class Replies(VerticalScroll, inherit_bindings=False):
    """All of them, with a cursor for those who would rather not type letters."""

    HELP = """
## Replies

`a` `b` `c` ... in the order from best to worst; `=` before a letter: as good as the one before. `↑` `↓` and `space`, or the
mouse, do the same. The last one that is left goes last by itself.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,left", "move(-1)", "Reply before", show=False, id="replies.before"),
        Binding("down,right", "move(1)", "Next reply", show=False, id="replies.next"),
        Binding("space", "pick", "Place this reply", show=False, id="replies.pick"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="replies.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="replies.page_down"),
    ]
    DEFAULT_CSS = """
    Replies { height: 1fr; scrollbar-size-vertical: 1; padding: 0; }
    Replies.-beside { layout: horizontal; }
    Replies.-loose Reply { margin: 0 0 1 0; }
    Replies.-beside Reply { height: auto; }
    """

    def __init__(self, id: str):
        super().__init__(id=id)
        self.hand: Hand | None = None
        self.cursor, self.wish = -1, LAYOUTS[0]
        self._scores, self._shown = False, 0

    def compose(self) -> ComposeResult:
        for option in range(MOST):
            yield Reply(option)

    def show(self, hand: Hand | None, scores: bool) -> None:
        """These replies, with what the reward model says of them."""
        if hand is not self.hand:
            self.cursor = -1
            self.scroll_home(animate=False)
        self.hand, self._scores = hand, scores
        self._draw()

    def _draw(self) -> None:
        hand = self.hand
        count = len(hand.options) if hand else 0
        flat, beside = self._layout()
        rows = sum(self._rows(self.size.width - 1 - HEAD)) if flat else 0
        self.set_class(beside, "-beside")
        self.set_class(flat and rows + count - 1 <= self.size.height, "-loose")
        for reply in self.query(Reply):
            reply.display = reply.option < count
            if hand and reply.option < count:
                score = f"{hand.scores[reply.option]:+.2f}" if self._scores and hand.scores else ""
                reply.show(hand, score, self.size.width - 1 if flat else 0)
                reply.set_class(reply.option == self.cursor, "-cursor")

    def _rows(self, width: int) -> list[int]:
        """Rows of each text in so many cells."""
        texts = self.hand.options if self.hand else []
        return [len(Content(said(text)).wrap(max(1, width))) for text in texts]

    def _layout(self) -> tuple[bool, bool]:
        """(without frames, side by side): frames where there is room for them, columns where the replies do not fit below
        each other and a column is wide enough."""
        width, height = self.size.width, self.size.height
        if self.hand is None or not width:
            return False, False
        count = len(self.hand.options)
        framed = sum(rows + 2 for rows in self._rows(width - 4))
        if self.wish == "beside" or (self.wish == "auto" and framed > height and width // count >= NARROW):
            return False, width // count >= 8
        return framed > height, False

    def on_resize(self) -> None:
        self._draw()

    def action_move(self, by: int) -> None:
        """The cursor to another reply."""
        if self.hand is not None:
            count = len(self.hand.options)
            self.cursor = max(0, min(count - 1, self.cursor + by)) if self.cursor >= 0 else 0 if by > 0 else count - 1
            self._draw()
            self.query(Reply)[self.cursor].scroll_visible(animate=False)

    def action_pick(self) -> None:
        """Place the one under the cursor."""
        if self.cursor >= 0:
            self.post_message(Reply.Clicked(self.cursor))

    def action_page(self, by: int) -> None:
        """A page further."""
        self.scroll_relative(y=by * max(1, self.size.height - 2), animate=False, immediate=True)

    def copy_text(self) -> str:
        """Prompt and replies."""
        if self.hand is None:
            return ""
        return "\n".join(f"{letter}  {text}" for letter, text in zip(LETTERS, self.hand.options, strict=False))
