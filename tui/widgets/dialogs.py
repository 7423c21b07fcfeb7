"""Two small dialogs: a question with yes and no, and one line to write."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

CSS = """
    {name} {{ align: center middle; background: $background 60%; }}
    {name} Vertical {{
        width: 64; max-width: 92%; height: auto; border: round $accent; background: $surface; padding: 1 2;
        border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $foreground-muted;
    }}
"""


class Ask(ModalScreen[bool]):
    """A question; True where it was answered with y."""

    DEFAULT_CSS = CSS.format(name="Ask")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="dialog.yes"),
        Binding("n,escape,q", "answer(False)", "No", id="dialog.no"),
    ]

    def __init__(self, title: str, question: str) -> None:
        super().__init__()
        self._title, self._question = title, question

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = Content(self._title), "y yes   n no"
            yield Static(Content(self._question))

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)


class Write(ModalScreen[str]):
    """One line of text; '' where the user changed their mind."""

    DEFAULT_CSS = CSS.format(name="Write")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it", id="dialog.leave"),
    ]

    def __init__(self, title: str, hint: str) -> None:
        super().__init__()
        self._title, self._hint = title, hint

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = Content(self._title), "enter keeps it   escape leaves it"
            line = Input(placeholder=self._hint, compact=True, max_length=400)
            line.cursor_blink = False
            yield line

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    def _done(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Close without a text."""
        self.dismiss("")
