"""How a token was built: its merges as a tree, and one after the other."""

from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import ScrollableContainer
from textual.content import Content
from textual.widgets import Static

from lab.explain import merge_steps, merge_tree, visible
from tui.data.tokens import Book, about, hexed
from tui.data.trees import Lines, drawing, listing

STYLES = {"piece": "$foreground bold", "leaf": "$foreground-muted", "line": "$foreground 40%", "rank": "$accent"}


def painted(lines: Lines, pad: int = 0) -> list[Content]:
    """Lines of (column, text, what) in the theme's colours."""
    found = []
    for line in lines:
        parts: list[tuple[str, str]] = [(" " * pad, "")]
        at = 0
        for column, text, what in line:
            parts += [(" " * (column - at), ""), (text, STYLES[what])]
            at = max(at, column) + cell_len(text)
        found.append(Content.assemble(*parts))
    return found


def width_of(lines: Lines) -> int:
    return max((column + cell_len(text) for line in lines for column, text, _ in line), default=0)


def story(book: Book, token: int, room: int, tall: bool = True) -> Content:
    """The tree and the steps of one token, in `room` cells; where it is not `tall`, less above them."""
    data = book.tokenizer.token_bytes(token)
    muted = "$foreground-muted"
    lines = [
        Content.assemble((book.piece(token), "bold $accent"), ("   id ", muted), f"{token:,}"),
        Content.styled(hexed(data, max(1, room // 3 - 1)) or "no bytes", muted),
        Content.styled(about(book, token), muted),
        Content(""),
    ]
    tree = merge_tree(book.tokenizer, token)
    if tree.parts and not tall:
        lines = lines[:1]
    if not tree.parts:
        return Content("\n").join(lines)
    drawn = drawing(tree, visible)
    if (width := width_of(drawn)) > room:
        drawn, width = listing(tree, visible), room
    lines += [*painted(drawn, (room - width) // 2), Content("")]
    steps = merge_steps(book.tokenizer, token)
    if len(steps) > 1:
        lines.append(Content.styled(" step   merge", muted))
        for i, step in enumerate(steps, 1):
            parts: list[tuple[str, str]] = [(f"{i:>5}{step.rank:>8}   ", muted)]
            for k, part in enumerate(step.row):
                parts.append((visible(part), "bold $accent" if k == step.at else ""))
                parts.append((" ", ""))
            lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


class MergePane(ScrollableContainer, can_focus=True):
    """Follows the token under the cursor."""

    HELP: ClassVar[str] = """
## How a token was built

Byte-pair encoding begins with single characters (or bytes) and joins the pair that was learned earliest, again and
again. The number in a bracket is the rank of that merge: 0 was learned first. Below the tree the same, step by step.
"""

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.border_title = "how it was built"
        self._shown: tuple[Book | None, int] = (None, -1)

    def compose(self) -> ComposeResult:
        yield Static(id="story")

    def show(self, book: Book | None, token: int) -> None:
        """This token of this tokenizer; none where token is -1."""
        if (book, token) != self._shown:
            self._shown = (book, token)
            self.scroll_home(animate=False)
            self._draw()

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        book, token = self._shown
        static = self.query_one("#story", Static)
        if book is None or token < 0:
            self.border_subtitle = ""
            static.update(Content.styled("no token here yet", "$foreground-muted"))
            return
        steps = len(merge_steps(book.tokenizer, token))
        self.border_subtitle = f"{steps} merge{'s' if steps > 1 else ''}" if steps else book.kind(token)
        static.update(story(book, token, max(20, self.scrollable_content_region.width), self.size.height > 12))

    def copy_text(self) -> str:
        book, token = self._shown
        return "" if book is None or token < 0 else story(book, token, 10_000).plain
