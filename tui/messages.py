"""What the app and child processes tell screens."""

from dataclasses import dataclass

from textual.message import Message

from tui.data.client import Event


@dataclass
class Watched(Message, bubble=False):
    """The run folders were looked at again. `changed`: something is different since this screen was told last."""

    changed: bool

    def can_replace(self, message: Message) -> bool:
        """A newer look replaces an unread older one, unless that one saw a change."""
        return isinstance(message, Watched) and (self.changed or not message.changed)


@dataclass
class Heard(Message, bubble=False):
    """An event of a model process."""

    event: Event
