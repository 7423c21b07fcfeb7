"""The text that is cut into tokens."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.widgets import TextArea
from textual.widgets.text_area import Document, Selection

from lab.display import CONTROLS

LONGEST = 10_000  # characters of a line that is still folded: folding one of 100,000 takes 170 ms a key, not folding 20


class SourceText(TextArea):
    """Type here; the tokens follow with every key."""

    HELP: ClassVar[str] = """
## Text

Type or paste; the tokens follow. `escape` leaves the field, so that single keys work again; `tab` goes to the tokens.
As a conversation (`c`), a line that begins with `system:`, `user:` or `assistant:` begins a turn.
"""

    def __init__(self, text: str, id: str | None = None):
        super().__init__(text, id=id, classes="pane", soft_wrap=True, show_line_numbers=False)
        self.cursor_blink = False

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        line.plain = line.plain.translate(CONTROLS)
        return line

    def fold(self) -> None:
        """Fold lines, unless one is so long that it would make typing slow."""
        wanted = max(map(len, self.document.lines), default=0) <= LONGEST
        if self.soft_wrap != wanted:
            self.soft_wrap = wanted

    def on_focus(self, event: events.Focus) -> None:
        """What the token cursor had marked is no selection to type over."""
        self.selection = Selection.cursor(self.selection.end)

    def mark(self, first: int, last: int) -> None:
        """Mark the characters [first, last) of the text."""
        if isinstance(self.document, Document):
            place, size = self.document.get_location_from_index, len(self.text)
            self.selection = Selection(place(min(first, size)), place(min(last, size)))

    @property
    def at(self) -> int:
        """The character before the cursor (the one just typed), 0 at the start."""
        if not isinstance(self.document, Document):
            return 0
        return max(0, self.document.get_index_from_location(self.cursor_location) - 1)

    def copy_text(self) -> str:
        return self.text
