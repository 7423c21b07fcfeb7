"""A line to filter by: hidden until it is asked for, and while it is empty and without the focus."""

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input


class Filter(Input):
    """`open()` shows it; enter keeps what is typed, escape empties it; both leave it."""

    DEFAULT_CSS = """
    Filter { display: none; &.-open { display: block; } }
    """
    HELP = "`enter` keeps the filter, `escape` clears it."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear_filter", "Clear the filter", id="filter.clear", show=False),
    ]

    @dataclass
    class Left(Message):
        """The user is done with it."""

        filter: "Filter"

        @property
        def control(self) -> "Filter":
            """For selectors."""
            return self.filter

    def __init__(self, hint: str, id: str) -> None:
        super().__init__(placeholder=f"/ {hint}", compact=True, id=id, select_on_focus=False)
        self.cursor_blink = False

    def open(self) -> None:
        """Show it and type into it."""
        self.add_class("-open")
        self.focus()

    def on_blur(self) -> None:
        self.set_class(bool(self.value), "-open")

    def action_clear_filter(self) -> None:
        self.value = ""
        self.remove_class("-open")
        self.post_message(self.Left(self))

    async def action_submit(self) -> None:
        self.set_class(bool(self.value), "-open")
        self.post_message(self.Left(self))
