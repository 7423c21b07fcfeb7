"""A run in words, scrollable."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lab.display import CONTROLS
from tui.data.facts import Line


def content(lines: Sequence[Line]) -> Content:
    """Lines of pieces as one text; what is in them is no markup."""
    return Content("\n").join(Content.assemble(*line) if line else Content("") for line in lines)


def put(static: Static, lines: Sequence[Line]) -> None:
    """Show other lines; nothing is drawn where nothing changed, and nothing laid out where the height stays."""
    new, old = content(lines), static.content
    if isinstance(old, Content):
        if old.plain == new.plain and old.spans == new.spans:
            return
        width = static.content_size.width
        static.update(new, layout=not width or len(old.wrap(width)) != len(new.wrap(width)))
    else:
        static.update(new)


class Facts(VerticalScroll):
    """The pane."""

    HELP = """
## Facts
How far the run is, when it ends, what it holds in memory, and what made it. With a pinned run (`i` in the list) the config
says only what differs.

`process` is the most the system has given the process; `swap` growing while `peak` stands still is memory that MLX does
not count.
"""

    def compose(self) -> ComposeResult:
        yield Static(id="facts-text")

    def show(self, title: str, lines: Sequence[Line]) -> None:
        """Bring it up to date; nothing is drawn where nothing changed."""
        name = Content(title.translate(CONTROLS))
        if self.border_title != name:
            self.border_title = name
        put(self.query_one("#facts-text", Static), lines)

    def copy_text(self) -> str:
        """What it says."""
        said = self.query_one("#facts-text", Static).content
        return said.plain if isinstance(said, Content) else ""
