"""Fields of a form, one line each: text, or one of several values."""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.data.plan import Flag, typed


class Line(Input):
    """A text field of one line; up and down leave it."""

    def __init__(self, value: str, placeholder: str, id: str) -> None:
        super().__init__(value, placeholder, id=id, compact=True, select_on_focus=True)
        self.cursor_blink = False


class Choice(Widget, can_focus=True):
    """One of several values: left and right, space, or a click go through them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "Value before", show=False, id="start.value_before"),
        Binding("right,space", "turn(1)", "Next value", show=False, id="start.value_next"),
    ]
    DEFAULT_CSS = """
    Choice {
        height: 1; width: 1fr; background: $surface; padding: 0 1;
        &:focus { background: $block-cursor-blurred-background; }
    }
    """

    class Changed(Message):
        """Another value was chosen."""

    def __init__(self, values: Sequence[str], value: str, id: str) -> None:
        super().__init__(id=id)
        self.values = [value, *values] if value not in values else list(values)
        self.value = value

    def render(self) -> Content:
        return Content.assemble(("‹ ", "$accent"), (self.value or "-", "bold"), (" ›", "$accent"))

    def action_turn(self, by: int) -> None:
        """The next value, or the one before."""
        self.value = self.values[(self.values.index(self.value) + by) % len(self.values)]
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self, event: events.Click) -> None:
        self.action_turn(1)


class Field(Horizontal):
    """A flag: its name, its value, what it is."""

    DEFAULT_CSS = """
    Field { height: 1; }
    Field .name { width: 25; color: $foreground-muted; }
    Field .value { width: 24; }
    Field .help { width: 1fr; padding: 0 0 0 2; color: $foreground-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    Field Line.-textual-compact {
        background: $surface; padding: 0 1;
        &:focus { background: $block-cursor-blurred-background; }
    }
    """

    def __init__(self, flag: Flag, value: object = None) -> None:
        super().__init__()
        self.flag, self._value = flag, typed(flag, value)

    def compose(self) -> ComposeResult:
        yield Static(Content(self.flag.name.replace("_", " ")), classes="name")
        with Horizontal(classes="value"):
            name = f"flag-{self.flag.name.replace('_', '-')}"
            if self.flag.type == "bool":
                yield Choice(("no", "yes"), self._value, name)
            elif self.flag.choices and not self.flag.many:
                yield Choice(self.flag.choices, self._value, name)
            else:
                yield Line(self._value, "the recipe decides" if not self.flag.many else "several, with commas", name)
        yield Static(Content(self.flag.help), classes="help")

    def on_mount(self) -> None:
        self._mark()

    @property
    def value(self) -> str:
        """As it stands in the form."""
        for field in self.query(Choice):
            return field.value
        for line in self.query(Line):
            return line.value
        return self._value

    def on_input_changed(self) -> None:
        self._mark()

    def on_choice_changed(self) -> None:
        self._mark()

    def _mark(self) -> None:
        self.set_class(self.value.strip() != self.flag.shown, "-set")
