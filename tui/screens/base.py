"""What all screens share: the nav line above, the footer below, folding, zooming, copying."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, TextArea

from tui.messages import Watched
from tui.widgets.keys import KeyBar
from tui.widgets.nav import NavBar

if TYPE_CHECKING:
    from tui.app import LabApp

SIDES = {"left": "-fold-left", "right": "-fold-right"}


class LabScreen(Screen[None]):
    """A room. Subclasses give `ROOM`, `body()`, their bindings, and say what to press where they are empty.

    A pane that can be folded has the class `left-side` or `right-side`; what is copied with y is `copy_text()` of the
    focused widget or the nearest ancestor that has it.
    """

    ROOM: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [
        (0, "-tiny"), (90, "-narrow"), (110, "-normal"), (170, "-wide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "fold('left')", "Fold the left side", show=False, id="screen.fold_left"),
        Binding("right_square_bracket", "fold('right')", "Fold the right side", show=False, id="screen.fold_right"),
        Binding("z", "zoom_pane", "Zoom the pane", show=False, id="screen.zoom"),
        Binding("y", "copy_pane", "Copy the pane", show=False, id="screen.copy"),
        Binding("escape", "leave_field", "Leave the field", show=False, id="screen.leave"),
    ]

    @property
    def lab(self) -> "LabApp":
        """The app, with its type."""
        return cast("LabApp", self.app)

    @property
    def on_top(self) -> bool:
        """Whether this screen is the one shown, with no dialog over it. Textual's `is_current` is true under a dialog too,
        where one change, and then every message, paints the whole screen and the dialog anew (70 ms)."""
        return self.app.screen is self

    def compose(self) -> ComposeResult:
        yield NavBar(self.ROOM)
        yield from self.body()
        yield KeyBar()

    def body(self) -> ComposeResult:
        """What lies between nav line and footer."""
        yield from ()

    def on_watched(self, message: Watched) -> None:
        """The runs were looked at again: the nav line shows them. Subclasses extend `watched`."""
        if message.changed:
            self.query_one(NavBar).refresh()
        self.watched(message.changed)

    def watched(self, changed: bool) -> None:
        """Once a second while this screen is the one shown, at once where a run began, ended or changed its state, and when
        it comes up (changed=True then)."""

    def on_screen_resume(self) -> None:
        self.query_one(NavBar).refresh()
        self.watched(True)

    def action_fold(self, side: str) -> None:
        """Hide or show one side."""
        self.toggle_class(SIDES[side])

    def action_zoom_pane(self) -> None:
        """The focused pane over the whole screen, and back."""
        if self.maximized:
            self.minimize()
        elif self.focused is not None and not self.maximize(self.focused):
            self.notify("This pane has nothing to zoom", timeout=2)

    def action_leave_field(self) -> None:
        """Out of a text field, so that single keys work; else back from zoom."""
        if isinstance(self.focused, Input | TextArea):
            self.set_focus(None)
        elif self.maximized:
            self.minimize()

    def action_copy_pane(self) -> None:
        """The selected text, or what the focused pane says, to the clipboard (OSC 52)."""
        text, widget = self.get_selected_text() or "", self.focused
        node: Widget | None = widget
        while not text and node is not None:
            copy = getattr(node, "copy_text", None)
            text = copy() if callable(copy) else ""
            node = node.parent if isinstance(node.parent, Widget) else None
        if not text:
            self.notify("Nothing to copy here; tab moves to a pane with text", severity="warning", timeout=3)
            return
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {len(text):,} characters", timeout=2)
