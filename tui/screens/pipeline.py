"""Pipeline: the road from text to a model that people like, stage by stage; all runs; the tree of models; and a tab with
the text behind them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Center, Horizontal, Middle, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from lab.display import CONTROLS
from lab.errors import UserError
from lab.runs import Info, read_json
from tui.data import glance, journeys, road
from tui.data.editor import edited
from tui.data.play import RECIPE
from tui.screens.base import LabScreen
from tui.widgets.road_panes import NO_RUNS, RunChosen, RunTable, Tail, Tree
from tui.widgets.stage_card import CardKey, Road, StageCard

CHAIN = ("text", "base model", "assistant", "honesty", "tools", "thinking", "taste")
LOWER = ("runs", "lineage", "log")
TAIL_ROWS = 40


class Seen(Message):
    """A thread has read what cards show: {stage: (stamp, what)}."""

    def __init__(self, found: dict[str, tuple[object, glance.Seen]], tail: tuple[str, list[tuple[str, str]]] | None):
        super().__init__()
        self.found, self.tail = found, tail


class Tabs(Widget):
    """The line below the nav bar: Road and Data."""

    DEFAULT_CSS = "Tabs { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self.tab, self.journey = "road", ""

    def render(self) -> Content:
        def put(name: str, label: str) -> tuple[str, str]:
            return (f" {label} ", "bold $foreground on $panel" if name == self.tab else "$foreground-muted")

        chain = "  ".join((" → ".join(CHAIN),) if self.size.width >= 90 else ())
        told = (self.journey.translate(CONTROLS), "$success") if self.journey else (chain, "$foreground-muted")
        return Content.assemble(put("road", "Road"), put("data", "Data"), ("   ", ""), told)

    def follow(self, journey: str) -> None:
        """Tell how far a journey is, in place of the chain."""
        if journey != self.journey:
            self.journey = journey
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        if event.x < 15:
            self.screen.show_tab("road" if event.x < 8 else "data")  # type: ignore[attr-defined]


class PipelineScreen(LabScreen):
    """The room."""

    ROOM = "pipeline"
    CSS_PATH = "pipeline.tcss"
    AUTO_FOCUS = "#stage-pretrain"
    HELP = """
# Pipeline

The road from text to a model that people like: what is done, what runs, what can be started and what each stage waits for.
Arrows go from stage to stage, `enter` opens its run, `r` starts it: you see the exact command, memory and time first.

`n` starts any recipe, `d` shows the text (documents, what was dropped and why), `c` talks with a model, `e` edits a run's
config in `$EDITOR` for a new run, `v` goes through runs, lineage and log where there is room for one of them.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "run_stage", "Run stage", id="pipeline.run", tooltip="command, memory and time first"),
        Binding("c", "chat", "Chat", id="pipeline.chat", tooltip="with the model of this stage or run"),
        Binding("P", "play", "Play", id="pipeline.play", tooltip="tic-tac-toe against this run"),
        Binding("d", "data", "Data", id="pipeline.data", tooltip="text, what was dropped and why, masks"),
        Binding("e", "edit", "Edit config", id="pipeline.edit", tooltip="in $EDITOR, then the start dialog"),
        Binding("v", "lower", "Next pane", show=False, id="pipeline.lower", tooltip="runs, lineage, log"),
        Binding("j", "text('document', 1)", "Next document", id="data.next", key_display="j"),
        Binding("k", "text('document', -1)", "Document before", id="data.before", key_display="k"),
        Binding("m", "text('mask')", "Loss mask", id="data.mask", tooltip="green tokens are trained"),
        Binding("slash", "text('search')", "Search", id="data.search", key_display="/"),
        Binding("o", "text('path')", "Other text", id="data.path", tooltip="a file or folder of yours"),
        Binding("N", "text('again')", "Next match", show=False, id="data.again"),
        Binding("g", "text('edge', 0)", "First document", show=False, id="data.first"),
        Binding("G", "text('edge', -1)", "Last document", show=False, id="data.last"),
        Binding("comma", "text('file', -1)", "File before", show=False, id="data.file_before"),
        Binding("full_stop", "text('file', 1)", "Next file", show=False, id="data.file_next"),
        Binding("T", "text('another_tokenizer')", "Another tokenizer", show=False, id="data.tokenizer"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._cards = road.cards([])
        self._known: dict[str, tuple[object, glance.Seen]] = {}
        self._tree: object = None
        self._reading = False
        self.lower = 0

    def body(self) -> ComposeResult:
        self._cards = road.cards(self.lab.watcher.runs)
        yield Tabs()
        with ContentSwitcher(initial="road", id="tabs"):
            with Vertical(id="road"):
                yield Road(self._cards)
                with Horizontal(id="lower"):
                    yield RunTable()
                    with Middle(id="road-empty", classes="pane"), Center():
                        yield Static(NO_RUNS, classes="empty")
                    with Vertical(id="side", classes="right-side"):
                        yield Tree()
                        yield Tail()
            yield Vertical(id="data")

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda _: self.watched(True))

    def on_resize(self, event: events.Resize) -> None:
        for grid in self.query(Road):
            grid.fit(event.size.width, event.size.height)

    # -- what is shown -------------------------------------------------------------------------------------------

    def watched(self, changed: bool) -> None:
        """Bring cards, table and tree up to date; figures are read by a thread, those of runs that changed."""
        if not self.is_mounted or self.tab != "road":
            return
        runs = self.lab.watcher.runs
        self.query_one(Tabs).follow(journeys.under_way())
        if changed:
            self._cards = road.cards(runs)
            self.query_one(RunTable).show(runs, self._colours())
            self.query_one("#lower").set_class(not runs, "-no-runs")
            tree = road.lineage(runs)
            if tree != self._tree:
                self._tree = tree
                self.query_one(Tree).draw(tree)
        for card in self._cards:
            stamp, seen = self._known.get(card.stage.key, (None, None))
            same = isinstance(stamp, tuple) and stamp[0] == self._stamp(card)[0]
            figures = seen if same else glance.Seen()  # those of another run are not this one's
            self.query_one(f"#stage-{card.stage.key}", StageCard).show(card, figures)
        if not self._reading:
            wanted = [card for card in self._cards if self._stamp(card) != self._known.get(card.stage.key, (None,))[0]]
            follow = self._followed()
            if wanted or follow:
                self._reading = True
                self._read(wanted, follow)

    def _stamp(self, card: road.Card) -> tuple[str | int, ...]:
        """Changes when what the card shows may have."""
        if card.run is None:
            return (card.stage.key, "")
        try:
            told = (card.run.folder / "metrics.jsonl").stat()
            return (card.run.name, told.st_size, told.st_mtime_ns)
        except OSError:
            return (card.run.name, 0, 0)

    @work(thread=True, exclusive=True, exit_on_error=False, group="glance")
    def _read(self, cards: list[road.Card], follow: Info | None) -> None:
        found = dict[str, tuple[object, glance.Seen]]()
        for card in cards:
            stamp = self._stamp(card)
            found[card.stage.key] = (stamp, glance.seen(card))
        tail = (follow.name, glance.last_rows(follow.folder, TAIL_ROWS)) if follow else None
        self.post_message(Seen(found, tail))

    @on(Seen)
    def _was_read(self, message: Seen) -> None:
        self._reading = False
        self._known |= message.found
        if self.tab != "road":
            return
        for card in self._cards:
            if card.stage.key in message.found:
                self.query_one(f"#stage-{card.stage.key}", StageCard).show(card, message.found[card.stage.key][1])
        if message.tail:
            self.query_one(Tail).draw(*message.tail)

    def _followed(self) -> Info | None:
        """The run whose last lines are shown: that of the focused card or line, else the live one, else the newest."""
        focused = self.selected() if self.focused else None
        live = next(iter(self.lab.watcher.live), None)
        runs = self.lab.watcher.runs
        return live or focused or (runs[0] if runs else None)

    def _colours(self) -> dict[str, str]:
        """Theme colours for the table's cells, whose styles know no variables."""
        variables = self.app.theme_variables
        names = ("foreground", "foreground-muted", "success", "warning", "error", "primary", "accent")
        return {f"${name}": _plain_colour(variables.get(name, "")) for name in names}

    # -- where the cursor is -------------------------------------------------------------------------------------

    @property
    def tab(self) -> str:
        """road or data."""
        return self.query_one("#tabs", ContentSwitcher).current or "road"

    def card(self) -> road.Card | None:
        """The stage in focus."""
        return self.focused.card if isinstance(self.focused, StageCard) else None

    def selected(self) -> Info | None:
        """The run of the stage in focus, or under the table's cursor."""
        card = self.card()
        if card is not None:
            return card.run
        return self.lab.watcher.find(self.query_one(RunTable).current)

    def speaker(self) -> str:
        """The model that can be talked with from here: the selected run's own, or the one that it looked at."""
        info, runs = self.selected(), self.lab.watcher.runs
        if info is None:
            return ""
        if road.usable(info):
            return info.name
        parent = self.lab.watcher.find(road.parent_of(info, runs)[0])
        return parent.name if parent is not None and road.usable(parent) else ""

    @on(CardKey)
    def _card_key(self, message: CardKey) -> None:
        message.stop()
        if message.what == "enter":
            self._open(message.card.card)
            return
        to = self.query_one(Road).neighbour(message.card, message.what)
        if to is not None:
            to.focus()
        elif message.what == "down":
            self.query_one(RunTable).focus()

    def _open(self, card: road.Card) -> None:
        if card.stage.key == "data":
            self.action_data()
        elif card.stage.key == "tokenizer":
            self.lab.action_go("tokens")
        elif card.run is not None:
            self.lab.open_train(card.run.name)
        elif card.why == road.RANK:
            self.lab.action_go("rank")
        else:
            self.action_run_stage()

    @on(RunChosen)
    def _run_chosen(self, message: RunChosen) -> None:
        message.stop()
        if message.opened:
            self.lab.open_train(message.run)
        else:
            self.refresh_bindings()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self.refresh_bindings()

    # -- actions -------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey what makes no sense here; what belongs to the other tab is not shown."""
        if not self.is_mounted:
            return True
        of_a_tab = action in ("run_stage", "chat", "edit", "lower", "text")
        if of_a_tab and (self.tab == "data") != (action == "text"):
            return False
        if action == "chat":
            return True if self.speaker() else None
        if action == "play":
            info = self.selected()
            return info is not None and info.recipe == RECIPE  # few runs play: no key for the others
        if action == "edit":
            info = self.selected()
            return True if info is not None and info.recipe else None
        return True

    def action_run_stage(self) -> None:
        """The dialog that starts the stage in focus, or the recipe under the table's cursor."""
        from tui.screens.start import StartScreen

        card = self.card()
        if card is None:
            info = self.selected()
            self.app.push_screen(StartScreen(info.recipe if info and info.recipe else "pretrain"))
        elif card.stage.key in ("data", "tokenizer"):
            self._open(card)
        elif card.state in ("later", "waiting"):
            self.lab.say(f"{card.stage.title}: {card.why}", "warning")
        else:
            parent = road.best_parent(card, self.lab.watcher.runs)
            self.app.push_screen(StartScreen(card.recipe, {"model": parent.name} if parent else {}))

    def action_chat(self) -> None:
        """Chat, with the model of this stage or run."""
        if model := self.speaker():
            self.lab.open_chat(model)

    def action_play(self) -> None:
        """Tic-tac-toe against the selected run."""
        if info := self.selected():
            self.lab.open_play(info.name)

    def action_data(self) -> None:
        """The text behind the models."""
        self.show_tab("data" if self.tab == "road" else "road")

    def show_tab(self, tab: str) -> None:
        """Road or Data."""
        if tab == "data" and not self.query("DataTab"):
            from tui.screens.data import DataTab

            self.query_one("#data").mount(DataTab())
        elif tab == "data":
            self.query_one("DataTab").renew()  # type: ignore[attr-defined]
        self.query_one("#tabs", ContentSwitcher).current = tab
        bar = self.query_one(Tabs)
        bar.tab = tab
        bar.refresh()
        if tab == "road":
            self.query_one("#stage-data").focus()
            self.watched(True)
        else:
            self.call_after_refresh(lambda: self.query_one("DataTab").focus_first())  # type: ignore[attr-defined]
        self.refresh_bindings()

    def action_text(self, what: str, *how: int) -> None:
        """What the keys of the Data tab do."""
        if self.tab != "data":
            self.show_tab("data")
        tab: Any = self.query_one("DataTab")
        self.call_after_refresh(getattr(tab, what), *how)

    def action_leave_field(self) -> None:
        """Out of a field; in the Data tab also the end of a look."""
        if self.tab == "data" and not self.maximized:
            tab: Any = self.query_one("DataTab")
            tab.leave()
        else:
            super().action_leave_field()

    def action_lower(self) -> None:
        """Runs, lineage, log: the next one, where only one of them has room."""
        self.lower = (self.lower + 1) % len(LOWER)
        for i, name in enumerate(LOWER):
            self.set_class(i == self.lower, f"-lower-{name}")

    def action_edit(self) -> None:
        """The config of this run in $EDITOR; what comes out is offered as a new run."""
        info = self.selected()
        if info is None:
            return
        config = read_json(info.folder / "run.json").get("config")
        if not isinstance(config, dict):
            self.lab.say(f"{info.name}: its run.json holds no config", "warning")
            return
        try:
            with self.app.suspend():
                values = edited(info.name, config)
        except SuspendNotSupported:
            self.lab.say("This terminal cannot lend itself to an editor; use the dialog (n)", "warning")
            return
        except UserError as error:
            self.lab.say(str(error), "error")
            return
        self.app.refresh()
        if values is not None:
            self.offer(info.recipe, values)

    def offer(self, recipe: str, values: Mapping[str, Any]) -> None:
        """The start dialog with these flags."""
        from tui.screens.start import StartScreen

        self.app.push_screen(StartScreen(recipe, dict(values)))


def _plain_colour(value: str) -> str:
    """A theme colour as rich takes it; '' for those that only Textual knows (ansi, with opacity)."""
    return value if value.startswith("#") and len(value) == 7 else ""
