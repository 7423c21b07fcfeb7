"""Jump mode: a letter on every pane and a digit on every room; one key goes there. Works while typing."""

from collections.abc import Callable
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.errors import NoWidget
from textual.geometry import Offset, Region
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label

from tui.widgets.nav import ROOMS

LETTERS = "asdfghjkletuiowrvbnmcxzyp"


def seen(widget: Widget) -> Region:
    """What can be seen of it: nothing where it is scrolled away."""
    try:
        return widget.screen.find_widget(widget).visible_region
    except NoWidget:
        return Region()


def targets(screen: Screen[Any]) -> dict[str, Widget]:
    """Letter -> focusable widget that can be seen, from the top left on."""
    found = [(region.y, region.x, i, w) for i, w in enumerate(screen.focus_chain) if (region := seen(w)).area]
    return {letter: place[3] for letter, place in zip(LETTERS, sorted(found), strict=False)}


class Jump(ModalScreen[None]):
    """Laid over the screen it was opened on."""

    DEFAULT_CSS = """
    Jump { background: $background 45%; }
    Jump Label {
        color: $background; background: $accent; text-style: bold; width: 3; height: 1; position: absolute;
        text-align: center;
    }
    """
    BINDINGS = [Binding("escape,ctrl+o", "leave", "Stay here", show=False, id="jump.stay")]

    def __init__(self, over: Screen[Any]):
        super().__init__()
        self.over, self.targets = over, targets(over)

    def compose(self) -> ComposeResult:
        for letter, widget in self.targets.items():
            label = Label(letter)
            region = seen(widget)
            label.styles.offset = Offset(region.x + min(2, region.width // 2), region.y)
            yield label
        for i in range(len(ROOMS)):
            yield from self._room(i)

    def _room(self, index: int) -> ComposeResult:
        from tui.widgets.nav import NavBar

        for bar in self.over.query(NavBar):
            place = next((p for p in bar._places if p[2] == ROOMS[index][0]), None)
            if place:
                label = Label(str(index + 1))
                label.styles.offset = Offset(place[0], 0)
                yield label

    def on_key(self, event: events.Key) -> None:
        key = event.key.lower()
        if key in self.targets:
            event.stop()
            self.action_leave(lambda: self.over.set_focus(self.targets[key]))
        elif key.isdecimal() and 1 <= int(key) <= len(ROOMS):
            event.stop()
            self.action_leave(lambda: self.app.action_go(ROOMS[int(key) - 1][0]))  # type: ignore[attr-defined]
        elif key not in ("escape", "ctrl+o"):
            event.stop()
            self.action_leave()

    def on_click(self, event: events.Click) -> None:
        self.action_leave()

    def action_leave(self, then: Callable[[], None] = lambda: None) -> None:
        """Away with the letters, once: keys that were typed ahead reach this screen when it is gone already."""
        if self.is_current:
            self.app.pop_screen()
            then()
