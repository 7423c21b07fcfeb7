"""The dialog that starts a run: recipe, flags, the exact command, and what it would need, before it is started."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, Input, Select, Static

from lab.errors import UserError
from lab.words import duration, size
from tui.data.facts import LABEL, VALUE, plain
from tui.data.facts import Line as Words
from tui.data.launch import command
from tui.data.plan import Flag, Planner, Recipe, arguments, fresh_name, recipes
from tui.screens.base import LabScreen
from tui.widgets.facts import content
from tui.widgets.form import Choice, Field, Line

PATIENCE = 0.5  # seconds after the last key before `lab plan` is asked
BANDS = {"SAFE": "$success", "TIGHT": "$warning", "OUT OF MEMORY RISK": "$error"}


class Recipes(Message):
    """The recipes are known, or why they are not."""

    def __init__(self, found: list[Recipe], wrong: str = ""):
        super().__init__()
        self.found, self.wrong = found, wrong


class Told(Message):
    """`lab plan` said something; `asked` is the number of the question."""

    def __init__(self, asked: int, row: dict[str, Any]):
        super().__init__()
        self.asked, self.row = asked, row


class StartScreen(ModalScreen[None]):
    """`recipe` and `values` (flag name -> value) are what the form begins with."""

    CSS_PATH = "start.tcss"
    AUTO_FOCUS = "#run-name"
    HORIZONTAL_BREAKPOINTS = LabScreen.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = LabScreen.VERTICAL_BREAKPOINTS
    HELP = """
# Start a run

`enter` starts it as it stands: exactly the command that is shown. `tab`, `↑` and `↓` go through the fields, `←` `→` through
the values of one with arrows; `ctrl+t` shows all flags. What you change is marked.

**SAFE** it fits into what is free now. **TIGHT** it fits, but other programs must give way. **OUT OF MEMORY RISK** it needs
more than nine tenths of this machine. The time comes from a run like it, or from some real steps tried here; starting
does not wait for it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", id="start.cancel"),
        Binding("enter", "start", "Start", id="start.start"),
        Binding("ctrl+t", "more", "All flags", id="start.more", tooltip="or only the main ones"),
        Binding("down", "app.focus_next", "Next field", show=False, id="start.next"),
        Binding("up", "app.focus_previous", "Field before", show=False, id="start.before"),
    ]

    def __init__(self, recipe: str = "", values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._recipe, self._values = recipe or "pretrain", dict(values or {})
        self._found: dict[str, Recipe] = {}
        self._planner: Planner | None = None
        self._timer: Timer | None = None
        self._asked = 0
        self._rows: dict[str, dict[str, Any]] = {}
        self._warned = self._eager = self._all = False

    @property
    def lab(self) -> Any:
        """The app."""
        return self.app

    def compose(self) -> ComposeResult:
        with Vertical(id="start-box") as box:
            box.border_title, box.border_subtitle = "start a run", "enter starts   ctrl+t all flags   esc cancels"
            with Horizontal(id="start-recipe"):
                yield Static("recipe", classes="name")
                yield Select([(self._recipe, self._recipe)], value=self._recipe, allow_blank=False, compact=True)
                yield Static("", id="start-line", classes="help")
            with Horizontal(id="start-name"):
                yield Static("name", classes="name")
                yield Line(self._fresh(), "letters, digits, dots, dashes", "run-name")
                yield Static("folder in the weights root", classes="help")
            yield VerticalScroll(Vertical(id="start-main"), Vertical(id="start-more"), id="start-form", can_focus=False)
            yield Static(id="start-help")
            yield Static(id="start-command")
            yield Static(id="start-facts")
            with Horizontal(id="start-buttons"):
                yield Button("Start", id="start-go", variant="primary", compact=True)
                yield Button("Cancel", id="start-cancel", compact=True)

    def on_mount(self) -> None:
        self._say()
        self._load()

    def on_resize(self, event: events.Resize) -> None:
        """The flags scroll, all the rest is seen: recipe, name, help, command, facts, buttons, and where there is room
        the blank lines between them."""
        rest = 14 if event.size.height < 30 else 20
        self.query_one("#start-form").styles.max_height = max(3, int(event.size.height * 0.96) - rest)

    def on_unmount(self) -> None:
        if self._planner:
            self._planner.stop()

    # -- recipes and flags ---------------------------------------------------------------------------------------

    @work(thread=True, exclusive=True, exit_on_error=False, group="recipes")
    def _load(self) -> None:
        try:
            self.post_message(Recipes(recipes()))
        except UserError as error:
            self.post_message(Recipes([], str(error)))

    @on(Recipes)
    async def _loaded(self, message: Recipes) -> None:
        if message.wrong:
            self._rows = {"failed": {"message": message.wrong}}
            self._say()
            return
        self._found = {recipe.name: recipe for recipe in message.found}
        names = {name.replace("-", "_"): name for name in self._found}
        wanted = names.get(self._recipe.replace("-", "_"))
        if wanted is None:
            self.lab.say(f"{self._recipe}: this version has no such recipe", "warning")
            wanted = next(iter(self._found))
            self._values = {}
        if wanted != self._recipe:
            self._recipe = wanted
            self.query_one("#run-name", Line).value = self._fresh()
        select = self.query_one(Select)
        with self.prevent(Select.Changed):
            select.set_options([(name, name) for name in self._found])
            select.value = wanted
        await self._fields()
        if self._eager:
            self.action_start()

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Those of the chosen recipe."""
        return self._found[self._recipe].flags if self._recipe in self._found else ()

    async def _fields(self) -> None:
        """The form anew, for the recipe that is chosen."""
        self.query_one("#start-line", Static).update(Content(self._found[self._recipe].line))
        for box, main in (("#start-main", True), ("#start-more", False)):
            place = self.query_one(box, Vertical)
            await place.remove_children()
            if main or self._all:
                await place.mount(*(Field(f, self._values.get(f.name)) for f in self.flags if f.main == main))
        self._count()
        self._changed()

    def _count(self) -> None:
        more = sum(not flag.main for flag in self.flags)
        box = self.query_one("#start-box", Vertical)
        box.border_subtitle = Content(
            f"enter starts   ctrl+t {'main flags' if self._all else f'{more} more flags'}   esc cancels"
            if more
            else "enter starts   esc cancels"
        )

    def values(self) -> dict[str, Any]:
        """What stands in the form; what it does not show stays as it was given."""
        return self._values | {field.flag.name: field.value for field in self.query(Field)}

    def args(self) -> list[str]:
        """Flags to type, those at their defaults left out."""
        return arguments(self.flags, self.values())

    @property
    def name_(self) -> str:
        """The run's name."""
        return self.query_one("#run-name", Line).value.strip()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """The whole help of the field in focus."""
        field = next((node for node in event.widget.ancestors_with_self if isinstance(node, Field)), None)
        own = (
            "The folder of the run: letters, digits, dots, dashes and underscores."
            if event.widget.id == "run-name"
            else ""
        )
        line = self._found[self._recipe].line if isinstance(event.widget, Select) and self._found else own
        self.query_one("#start-help", Static).update(Content(field.flag.help if field else line))

    def _fresh(self) -> str:
        return fresh_name(self._recipe, [started.name for started in self.lab.starts.started])

    @on(Select.Changed)
    async def _other_recipe(self, event: Select.Changed) -> None:
        event.stop()
        if self._found and event.value != self._recipe and isinstance(event.value, str):
            self._recipe, self._values = event.value, {}
            self.query_one("#run-name", Line).value = self._fresh()
            await self._fields()

    async def action_more(self) -> None:
        """All flags, or the main ones only."""
        self._values = self.values()
        self._all = not self._all
        place = self.query_one("#start-more", Vertical)
        await place.remove_children()
        if self._all:
            await place.mount(*(Field(flag, self._values.get(flag.name)) for flag in self.flags if not flag.main))
            if place.children:  # the flags may still be on their way: they are shown when they come
                place.children[0].scroll_visible(animate=False)
        self._count()

    # -- what it would need --------------------------------------------------------------------------------------

    @on(Input.Changed)
    @on(Choice.Changed)
    def _changed(self) -> None:
        """Show the command at once; ask what it needs when the keys rest."""
        self._warned = False
        if self._planner:
            self._planner.stop()
        self._asked += 1
        self._rows = {}
        self._say()
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(PATIENCE if self._asked > 1 else 0.01, self._ask)

    def _ask(self) -> None:
        if self._found:
            self._planner = Planner(self._recipe, ["--name", self.name_, *self.args()])
            self._follow(self._planner, self._asked)

    @work(thread=True, exit_on_error=False, group="plan")
    def _follow(self, planner: Planner, asked: int) -> None:
        planner.follow(lambda row: self.post_message(Told(asked, row)))

    @on(Told)
    def _told(self, message: Told) -> None:
        if message.asked == self._asked:
            row = message.row
            self._rows[str(row.get("event"))] = row
            if row.get("event") == "plan" and isinstance(row.get("memory"), dict):
                self._rows["memory"] = row["memory"]
            self._say()

    def _say(self) -> None:
        line = command(self._recipe, ["--name", self.name_ or "…", *self.args()])
        self.query_one("#start-command", Static).update(Content.assemble(("$ ", "$accent"), (line, VALUE)))
        busy = [info.name for info in self.lab.watcher.live if info.state in ("running", "paused", "saving")]
        self.query_one("#start-facts", Static).update(content(facts(self._rows, busy)))

    # -- start and cancel ----------------------------------------------------------------------------------------

    @on(Input.Submitted)
    @on(Button.Pressed, "#start-go")
    def action_start(self) -> None:
        """Start it as it stands, and go to its curves."""
        wrong = str(self._rows.get("failed", {}).get("message", "")) if self._found else ""
        if not self._found and self._values and not self._eager and not self._rows:
            self._eager = True  # what the form was opened with needs the flags, which are on their way
            return
        if wrong or not self.name_:
            self.lab.say(wrong or "Give it a name first", "error")
            return
        band = self._rows.get("memory", {}).get("band")
        if band == "OUT OF MEMORY RISK" and not self._warned:
            self._warned = True
            self.lab.say("It may run out of memory. Enter again starts it all the same", "warning")
            return
        recipe, name, args = self._recipe, self.name_, self.args()
        if self.lab.start(recipe, name, args) is not None:
            self.lab.open_train(name)

    @on(Button.Pressed, "#start-cancel")
    def action_cancel(self) -> None:
        """Start nothing."""
        self.dismiss()


def facts(rows: Mapping[str, Mapping[str, Any]], busy: list[str]) -> list[Words]:
    """What `lab plan` has said so far, in lines: always as many, so that nothing jumps."""
    if failed := rows.get("failed"):
        return [[("✖ ", "$error"), (plain(failed.get("message"), 300), VALUE)], [], [], [], []]
    plan = rows.get("plan", {})
    told: Mapping[str, str] = plan.get("facts") or {}
    waits = plan.get("waits") or (f"{', '.join(busy)} trains now: this one waits for it" if busy else "")
    size_line: Words = [
        ("size    ", LABEL),
        (plain(told.get("model") or ("not known" if plan else "…"), 120), VALUE if plan else LABEL),
    ]
    steps: Words = [("steps   ", LABEL), (_steps(plan), VALUE if plan else LABEL)]
    out = [size_line, steps, _memory(rows.get("memory")), _time(rows), _disk(plan)]
    return [*out[:4], [("waits   ", LABEL), (plain(waits, 120), "$warning")] if waits else out[4]]


def _steps(plan: Mapping[str, Any]) -> str:
    if not plan:
        return "…"
    if plan.get("steps") is None:
        told = plan.get("facts") or {}
        return plain(
            told.get("text") or told.get("data") or told.get("probes") or "the recipe decides when it runs", 100
        )
    about = "about " if plan.get("about") else ""
    tokens = f", {plan['tokens']:,} tokens" if plan.get("tokens") else ""
    return f"{about}{plan['steps']:,}{tokens}" + (f"  ({plain(plan['about'], 60)})" if plan.get("about") else "")


def _memory(told: Mapping[str, Any] | None) -> Words:
    line: Words = [("memory  ", LABEL)]
    if not told:
        return [*line, ("…", LABEL)]
    if told.get("need") is None:
        return [*line, (f"not known: {plain(told.get('why'), 80)}", VALUE)]
    band = str(told.get("band"))
    how = "measured" if told.get("measured") else "about"
    there = f"{how} {size(told['need'])}, {size(told['available'])} free of {size(told['room'])}"
    return [*line, (band, f"{BANDS.get(band, VALUE)} bold"), (f"  {there}", VALUE),
            *([(f"; {told.get('why')}", LABEL)] if band != "SAFE" else [])]  # fmt: skip


def _time(rows: Mapping[str, Mapping[str, Any]]) -> Words:
    line: Words = [("time    ", LABEL)]
    told = rows.get("time")
    if told is None:
        step = rows.get("step")
        if step:
            return [*line, ("…", LABEL), (f"  a step takes {step['seconds']:.2f} s", LABEL)]
        return [*line, ("measuring some steps …" if rows.get("plan") else "…", LABEL)]
    if told.get("seconds") is None:
        return [*line, (f"not known: {plain(told.get('said'), 100)}", VALUE)]
    speed = f", {told['tok_s']:,.0f} tok/s" if told.get("tok_s") else ""
    return [
        *line,
        (f"about {duration(told['seconds'])}", f"{VALUE} bold"),
        (f"  {plain(told.get('said'), 60)}{speed}", LABEL),
    ]


def _disk(plan: Mapping[str, Any]) -> Words:
    told = plan.get("disk") or {}
    if not told.get("need"):
        none = "no checkpoints" if told.get("need") == 0 else "not known"
        return [("disk    ", LABEL), ("…" if not plan else none, LABEL)]
    short = told["need"] > told["free"]
    text = f"{size(told['need'])} for {told['checkpoints']} checkpoints, {size(told['free'])} free"
    return [("disk    ", LABEL), (text + ": NOT ENOUGH" * short, "$error bold" if short else VALUE)]
