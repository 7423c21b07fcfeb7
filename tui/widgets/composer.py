"""Where messages are written: it grows to six lines, and sends on the key that the settings name."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

OURS = ("ctrl+e", "ctrl+k", "ctrl+d", "ctrl+f")  # keys of textual's editor that mean something else in a chat


class Composer(TextArea):
    """`sends` is the key that sends, enter or ctrl+j; the other one (and shift+enter, where the terminal tells it apart)
    makes a new line."""

    DEFAULT_CSS = """
    Composer {
        height: auto; max-height: 8; border: round $border; padding: 0 1; background: $background;
        border-title-color: $foreground; border-title-style: bold; border-subtitle-color: $foreground-muted;
        &:focus { border: round $accent; background: $background; }
        & .text-area--cursor-line { background: $background; }
        & .text-area--placeholder { color: $foreground-muted; }
    }
    """
    HELP = """
# Message

`enter` sends and `ctrl+j` makes a new line, or the other way round (`send:` in the settings). `up` at the very start goes
to the messages, `escape` leaves the field or stops the reply.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "newline_or_send", "Send, or a new line", show=False, id="message.send"),
    ]

    class Sent(Message):
        """A message to send, or an empty one."""

        def __init__(self, text: str):
            super().__init__()
            self.text = text

    class Left(Message):
        """The cursor went up and out."""

    def __init__(self, sends: str, id: str | None = None):
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus")
        self.sends = sends
        self.cursor_blink = False
        for key in OURS:  # priority on the screen would do too, but the footer would then list these first
            self._bindings.key_to_bindings.pop(key, None)

    async def _on_key(self, event: events.Key) -> None:
        """Here and not by bindings: those come after keys that were pressed later, when one types fast."""
        if event.key in ("enter", "shift+enter", "ctrl+j"):
            event.stop()
            event.prevent_default()
            if event.key == self.sends:
                self.action_send()
            else:
                self.insert("\n")
            return
        await super()._on_key(event)

    def action_newline_or_send(self) -> None:
        """ctrl+j: whatever enter does not do."""
        if self.sends == "enter":
            self.insert("\n")
        else:
            self.action_send()

    def action_send(self) -> None:
        """Hand the text to the screen, which clears the field where it takes it."""
        self.post_message(self.Sent(self.text))

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.cursor_location == (0, 0):
            self.post_message(self.Left())
        else:
            super().action_cursor_up(select)
