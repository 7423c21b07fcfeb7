"""The runs, live ones on top: the cursor shows one, space keeps more on the charts, i pins one to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from lab.runs import Info
from lab.words import age
from tui.data.choice import Choice
from tui.data.facts import LABEL, state_mark
from tui.data.watch import LIVE, now
from tui.theme import run_colour
from tui.widgets.filter import Filter
from tui.widgets.ink import ansi_colours
from tui.widgets.legend import clean


@dataclass
class RunKey(Message):
    """A key on a run of the list: show, overlay, pin, delete, open (enter)."""

    what: str
    run: str


class Runs(OptionList):
    """The list itself."""

    HELP = """
## Runs
● running  ⏸ paused  ◌ waits for another  ✔ done  ■ stopped  ✖ failed or died  ◍ silent  ◆ a model

* `↑` `↓` shows another run, `space` keeps it on the charts, `i` pins it: the facts then say what differs from it
* `delete` deletes a run's folder (asks first), `/` filters, `enter` goes to the curves
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "say('overlay')", "Overlay", id="runs.overlay", tooltip="keep it on the charts"),
        Binding("i", "say('pin')", "Pin", id="runs.pin", tooltip="compare the others with it"),
        Binding(
            "delete,backspace", "say('delete')", "Delete", show=False, id="runs.delete", tooltip="its folder; asks"
        ),
    ]

    def action_say(self, what: str) -> None:
        """Tell the screen."""
        if self.highlighted is not None and (name := self.get_option_at_index(self.highlighted).id):
            self.post_message(RunKey(what, name))


def row(info: Info, choice: Choice, colour: str, width: int, t: float) -> Content:
    """One line: state, colour on the charts, name, how far or how old."""
    glyph, style = state_mark(info)
    drawn = info.name in (choice.shown, choice.pinned, *choice.overlaid)
    sign = "⚑" if info.name == choice.pinned else "━" if drawn else " "
    if info.state in LIVE and info.total:
        more = f"{100 * info.step // info.total} %"
    else:
        more = info.state if info.state in LIVE else age(t - info.created) if info.created else ""
    name = clean(info.name, max(4, width - 5 - len(more)))
    gap = " " * max(1, width - 4 - cell_len(name) - len(more))
    bold = "bold $foreground" if info.name == choice.shown else "$foreground"
    return Content.assemble((glyph, style), " ", (sign, colour), " ", (name, bold), gap, (more, LABEL))


class RunList(Vertical):
    """The pane: a filter and the list."""

    ALLOW_MAXIMIZE = True

    def compose(self) -> ComposeResult:
        self.border_title = "runs"
        yield Filter("name, recipe or state", id="run-filter")
        yield Runs(id="runs", compact=True)

    def on_mount(self) -> None:
        self._shown: list[tuple[str, Content]] = []
        self._last: tuple[Sequence[Info], Choice] | None = None

    @property
    def rows(self) -> Runs:
        return self.query_one(Runs)

    def matching(self, infos: Sequence[Info]) -> list[Info]:
        """The runs that the filter lets through."""
        words = self.query_one(Filter).value.lower().split()
        return [i for i in infos if all(w in f"{i.name} {i.recipe} {i.state}".lower() for w in words)]

    def show(self, infos: Sequence[Info], choice: Choice) -> None:
        """Bring the list up to date; the cursor stays on the shown run."""
        self._last = (infos, choice)
        width, t = max(8, self.rows.scrollable_content_region.width or self.size.width), now()
        found = self.matching(infos)
        colours = {info.name: run_colour(choice.colours.get(info.name, 0), self.app) for info in found}
        if self.app.native_ansi_color:  # the charts then use the terminal's own colours, in this order
            drawn = choice.drawn
            exact = [Color.parse(run_colour(choice.colours[name], self.app)) for name in drawn]
            own = ansi_colours(exact, self.app.current_theme.dark)
            colours |= {name: colour.css for name, colour in zip(drawn, own, strict=True)}
        rows = [(info.name, row(info, choice, colours[info.name], width, t)) for info in found]
        listed = self.rows
        with self.prevent(OptionList.OptionHighlighted):
            if [name for name, _ in rows] == [name for name, _ in self._shown]:
                for index, (new, old) in enumerate(zip(rows, self._shown, strict=True)):
                    if not (new[1].plain == old[1].plain and new[1].spans == old[1].spans):
                        listed.replace_option_prompt_at_index(index, new[1])
            else:
                listed.set_options([Option(content, id=name) for name, content in rows])
            at = next((i for i, (name, _) in enumerate(rows) if name == choice.shown), None)
            if listed.highlighted != at:
                listed.highlighted = at
        self._shown = rows
        kept = f"{len(choice.overlaid)} kept" if choice.overlaid else None
        subtitle = f"{len(found)} of {len(infos)}" if len(found) < len(infos) else kept
        if self.border_subtitle != subtitle:  # setting it paints the list anew
            self.border_subtitle = subtitle

    def again(self) -> None:
        """The same with another width, filter or theme."""
        if self._last:
            self.show(*self._last)

    def on_resize(self, event: events.Resize) -> None:
        self.again()

    @on(OptionList.OptionHighlighted)
    def _moved(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option.id and (self._last is None or event.option.id != self._last[1].shown):
            self.post_message(RunKey("show", event.option.id))

    @on(OptionList.OptionSelected)
    def _entered(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id:
            self.post_message(RunKey("open", event.option.id))

    @on(Filter.Changed)
    def _filtered(self, event: Filter.Changed) -> None:
        event.stop()
        self.again()

    @on(Filter.Left)
    def _filter_left(self, event: Filter.Left) -> None:
        event.stop()
        self.rows.focus()
        if self.rows.highlighted is None and self._shown:  # the shown run was filtered out
            self.rows.highlighted = 0

    def copy_text(self) -> str:
        """What the list says."""
        return "\n".join(content.plain for _, content in self._shown)
