"""Train: runs and their facts, curves, samples over the steps, logs, and the controls of what runs."""

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from lab.runs import Info
from tui.data import charts, facts, memory
from tui.data.choice import ordered
from tui.data.details import Details, details, last_words
from tui.data.history import Axis, History
from tui.data.reader import Reader
from tui.data.watch import LIVE, now
from tui.screens.controls import ENDED, ControlScreen
from tui.widgets.chart import Chart
from tui.widgets.facts import Facts, put
from tui.widgets.figures import Charts, Drawn
from tui.widgets.filter import Filter
from tui.widgets.logs import Logs
from tui.widgets.run_list import RunList, Runs
from tui.widgets.samples import SamplePane, Samples, Stepped
from tui.widgets.table import Figures

TICK, FAST, DRAW = 0.1, 0.015, 0.25  # seconds between two reads, while there is much to read, between two pictures
CALM = (
    (1000, 2.0),
    (100, 1.0),
)  # the same for a run with so many rows: five charts cost 30 ms, and move by less and less
MODES = ("-words", "-logs", "-table")  # classes of the middle: no curves there are, log shown, table shown
AXES: tuple[Axis, ...] = ("step", "time", "tokens")
EMPTY = (
    "[b $foreground]No runs yet.[/]\n\nPress [b $accent]n[/] to train the pocket model (about 10 minutes);\n"
    "its curves appear here.\n\nIn a terminal: lab pretrain"
)


class TrainScreen(ControlScreen):
    """The room."""

    ROOM = "train"
    CSS_PATH = "train.tcss"
    AUTO_FOCUS = "Runs"
    HELP = """
# Train

A run goes on by itself; this room only looks, and asks it for something between two steps: `p` pause or go on,
`k` a checkpoint now, `x` stop and save, `R` go on with a run that stopped or died. `c` talks with it (with the checkpoint
nearest to the crosshair), `a` notes something at its step.

`g` x axis: steps, time, tokens. `l` log and events, `t` table of all figures, `v` samples, `r` list of runs,
`/` filters runs or, from a chart, figures. `tab` goes from pane to pane.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "logs", "Log", id="train.logs", tooltip="log.txt, events and notes"),
        Binding("t", "table", "Table", id="train.table", tooltip="first, last, lowest and highest of all figures"),
        Binding("g", "axis", "X axis", id="train.axis", tooltip="steps, time, tokens"),
        Binding("slash", "filter", "Filter", id="train.filter", key_display="/", tooltip="runs, or figures by name"),
        Binding("v", "samples", "Samples", show=False, id="train.samples"),
        Binding("r", "runs", "List of runs", show=False, id="train.runs"),
        Binding("comma", "prompt(-1)", "Previous prompt", show=False, id="train.prompt_before"),
        Binding("full_stop", "prompt(1)", "Next prompt", show=False, id="train.prompt_after"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.axis: Axis = "step"
        self.mode = ""  # what is under (or in the place of) the curves: logs, table, charts; '': what suits the run
        self.cross: float | None = None  # the crosshair's place on the axis
        self._known: tuple[float | None, float] | None = None  # a place of the crosshair and its step
        self._reader: Reader | None = None
        self._ticking = False
        self._drawn: object = None
        self._drew = self._cost = self._warned = 0.0
        self._warning = ""

    def body(self) -> ComposeResult:
        with Horizontal(id="train"):
            with Vertical(id="left", classes="left-side"):
                yield RunList(id="run-list", classes="pane")
                yield Facts(id="facts", classes="pane")
            with Vertical(id="middle"):
                yield Static(id="head")
                yield Static(id="trouble")
                yield Filter("figures by name; a regular expression", id="figure-filter")
                yield Static(id="filter-wrong")
                yield Charts(id="charts")
                yield Logs(id="logs", classes="pane")
                yield Figures(id="table")
            yield SamplePane(id="samples-pane", classes="pane right-side")
        with Vertical(id="no-runs"):
            yield Static(EMPTY, classes="empty")

    def on_mount(self) -> None:
        self.query_one(Figures).add_class("pane")
        self.watch(self, "maximized", self._zoomed, init=False)
        self.app.theme_changed_signal.subscribe(self, lambda _: self._repaint())

    # -- what is shown -------------------------------------------------------------------------------------------

    @property
    def reader(self) -> Reader:
        """Reads the runs on the charts."""
        if self._reader is None:
            self._reader = Reader(self.lab.history)
        return self._reader

    @property
    def found(self) -> Details | None:
        """What stands in its folder."""
        return details(self.info.folder) if self.info else None

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if not self._ticking:
            self._ticking = True
            self._tick()

    def watched(self, changed: bool) -> None:
        """Runs came, went or went on: bring list and facts up to date."""
        if self.lab.wanted_run:
            self.choice.wanted, self.lab.wanted_run = self.lab.wanted_run, ""
            self.remove_class("-list", "-samples")
        infos = ordered(self.lab.watcher.runs)
        self.choice.see(infos)
        self.set_class(not infos, "-no-runs")
        self._follow()
        self.query_one(RunList).show(infos, self.choice)
        self._tell()
        self.refresh_possible()
        if self.focused is None:
            self._focus_something()

    def opened(self) -> None:
        self.remove_class("-list")
        self._after_fold(self.query_one(Charts).big)

    def _focus_something(self) -> None:
        """The list, or the chart where the list cannot be seen."""
        for widget in (self.query_one(Runs), self.query_one(Charts).big):
            if widget.focusable and widget.region:
                self.set_focus(widget, scroll_visible=False)
                return

    def _follow(self) -> None:
        """Read the runs that are on the charts now, the shown one first."""
        names = sorted(self.choice.drawn, key=lambda name: name != self.choice.shown)
        folders = [info.folder for name in names if (info := self.lab.watcher.find(name))]
        if folders != self.reader.folders:
            if folders[:1] != self.reader.folders[:1]:
                self.cross, self._warning, self._warned = None, "", 0.0
                self.query_one(Charts).point_at(None)
            self.reader.attach(folders)
            self._drawn = None

    def _tick(self) -> None:
        """Read a bite; draw what is new. Goes on for as long as the screen is the one shown."""
        if not self.on_top:
            self._ticking = False
            return
        self.reader.poll()
        behind = self.reader.behind
        rows = 0 if self.info is None or behind > 0 else self.reader.history(self.info.folder).rows
        pause = next((seconds for least, seconds in CALM if rows >= least), DRAW)
        if time.monotonic() - self._drew >= max(pause, 4 * self._cost):
            self._draw(behind)
        self.set_timer(FAST if behind > 0 else TICK, self._tick)

    def _repaint(self) -> None:
        """Colours changed."""
        self._drawn = None
        self.query_one(RunList).again()

    def _draw(self, behind: float) -> None:
        """The curves and everything else that grows with the run."""
        info, found = self.info, self.found
        if info is None or found is None:
            return
        began = time.perf_counter()
        reader, keys = self.reader, dict[str, None]()
        history = reader.history(info.folder)
        for folder in reader.folders:
            keys |= dict.fromkeys(reader.history(folder).keys())
        words = not charts.declared(found.passport) and not charts.has_curves(list(history.keys()))
        self._show_mode(words and (info.folder / "log.txt").exists())
        state = (reader.revision, self.axis, tuple(self.choice.drawn), self.choice.pinned, found,
                 behind > 0, self.query_one("#figure-filter", Filter).value, info.state, info.status.get("note"))  # fmt: skip
        if state != self._drawn or behind > 0:
            self._drawn = state
            self._draw_charts(info, found, list(keys), behind)
            self.query_one(SamplePane).show(reader.samples)
        middle = self.query_one("#middle")
        if middle.has_class("-logs"):
            report = words and info.state not in LIVE
            self.query_one(Logs).show(info.folder, history.events, reader.notes, report)
        if middle.has_class("-table"):
            self.query_one(Figures).show(info.name, charts.table(history))
        self._warn(history)
        self._drew, self._cost = time.monotonic(), time.perf_counter() - began

    def _draw_charts(self, info: Info, found: Details, keys: list[str], behind: float) -> None:
        view, choice = self.query_one(Charts), self.choice
        box = self.query_one("#figure-filter", Filter)
        panels, wrong = charts.matching(box.value, charts.panels(found.passport, keys))
        said = self.query_one("#filter-wrong", Static)
        said.display = bool(wrong)
        put(said, [[(wrong, "$warning")]])
        runs = [
            Drawn(name, self.reader.history(shown.folder), choice.colours.get(name, 0), name == choice.pinned)
            for name in choice.drawn
            if (shown := self.lab.watcher.find(name))
        ]
        history = self.reader.history(info.folder)
        marks = charts.happened(history.events, self.reader.notes, found.checkpoints)
        view.lay(panels, self.axis)
        view.draw(runs, marks, behind, wrong or self._excuse(info))

    def _excuse(self, info: Info) -> str:
        """What stands where there are no curves."""
        if info.state == "model":
            return "This model was not trained here:\nthere are no curves. c talks with it"
        note = facts.plain(info.status.get("note") or "")
        if info.state in ("starting", "queued", "running", "saving"):
            return f"{info.state}: {note}" if note else f"{info.state}: the first figures come soon"
        return "this run wrote no such figures"

    def _tell(self) -> None:
        """Facts, the slim header, and what is wrong."""
        info, found = self.info, self.found
        if info is None or found is None:
            return
        history, t = self.reader.history(info.folder), now()
        held = memory.figures(history.latest, info.status)
        pinned = self.lab.watcher.find(self.choice.pinned or "")
        compared = (pinned.name, details(pinned.folder).config) if pinned and pinned.name != info.name else None
        pane = self.query_one(Facts)
        took = history.place(float("inf"), "time") or 0.0
        width = max(16, pane.scrollable_content_region.width or 26)
        pane.show(info.name, facts.lines(info, found, held, t, width, took, compared))
        if self.has_class("-tiny"):
            put(self.query_one("#head", Static), facts.headline(info, held, t, max(20, self.size.width - 2)))
        said = facts.trouble(info, last_words(info.folder) if info.state == "died" else [], t,
                             found.checkpoints[-1] if found.checkpoints else None)  # fmt: skip
        box = self.query_one("#trouble", Static)
        if not said and self._warning:
            said = [[("⚠ ", "$warning"), (self._warning, "$foreground")]]
        box.set_class(bool(said), "-on")
        box.set_class(info.state not in ENDED, "-warning")
        if said:
            put(box, said)

    def _warn(self, history: History) -> None:
        """Look at the memory of what runs every two seconds."""
        running = self.info is not None and self.info.state in ("running", "saving")
        if running and time.monotonic() - self._warned > 2:
            self._warned, self._warning = time.monotonic(), memory.of_run(history)

    # -- panes ---------------------------------------------------------------------------------------------------

    def _show_mode(self, words: bool) -> None:
        """Log or table under the curves; in their place for a run that has none."""
        mode = self.mode or ("logs" if words else "charts")
        middle = self.query_one("#middle")  # not the screen: a class there restyles every widget (40 ms)
        before = tuple(middle.has_class(name) for name in MODES)
        after = (words and mode != "charts", mode == "logs", mode == "table")
        if before != after:
            for name, on_ in zip(MODES, after, strict=True):
                middle.set_class(on_, name)
            self.query_one(Charts).stand(mode != "charts")

    def _switch(self, mode: str, focus: str) -> None:
        covered = self.has_class("-tiny") and (self.has_class("-list") or self.has_class("-samples"))
        self.remove_class(*(("-list", "-samples") if covered else ()))
        shown = self.query_one("#middle").has_class(f"-{mode}") and not covered
        self.mode = "charts" if shown else mode
        self._drew = 0.0
        self._draw(self.reader.behind)
        target: Widget = self.query_one(focus) if self.mode == mode else self.query_one(Charts).big
        target.focus(scroll_visible=False)

    def action_logs(self) -> None:
        """Log and events, or the small charts again."""
        self._switch("logs", "#log-text")

    def action_table(self) -> None:
        """All figures as a table, or the small charts again."""
        self._switch("table", "#table")

    def action_samples(self) -> None:
        """Show or hide the samples."""
        if self.has_class("-narrow") or self.has_class("-tiny"):
            self.remove_class("-list")
            self.toggle_class("-samples")
        else:
            self.toggle_class("-fold-right")
        self._after_fold(self.query_one(Samples))

    def action_runs(self) -> None:
        """To the list of runs."""
        if self.has_class("-tiny"):
            self.remove_class("-samples")
            self.toggle_class("-list")
        else:
            self.remove_class("-fold-left")
            if self.has_class("-narrow"):
                self.remove_class("-samples")
        self._after_fold(self.query_one(Runs))

    def action_fold(self, side: str) -> None:
        if side == "right" and not self.has_class("-normal") and not self.has_class("-wide"):
            self.action_samples()
        elif side == "left" and self.has_class("-tiny"):
            self.action_runs()
        else:
            super().action_fold(side)

    def _after_fold(self, wanted: Widget) -> None:
        def focus() -> None:
            target = wanted if wanted.focusable and wanted.region else self.query_one(Charts).big
            if target.focusable:
                self.set_focus(target)

        self.call_after_refresh(focus)

    def action_filter(self) -> None:
        """Runs, or figures where a chart has the focus."""
        here = self.focused
        in_list = here is not None and any(isinstance(node, RunList) for node in here.ancestors_with_self)
        self.query_one("#run-filter" if in_list else "#figure-filter", Filter).open()

    def action_prompt(self, by: int) -> None:
        """Another prompt's samples."""
        self.query_one(SamplePane).choose(by)

    @on(Filter.Changed, "#figure-filter")
    def _figures_filtered(self) -> None:
        self._drew = 0.0

    @on(Filter.Left, "#figure-filter")
    def _figures_chosen(self) -> None:
        self.query_one(Charts).big.focus()

    # -- charts --------------------------------------------------------------------------------------------------

    def action_axis(self) -> None:
        """Steps, seconds of work, tokens."""
        step = self.step_here()
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)]
        self._drew = 0.0
        self._draw(self.reader.behind)
        self.cross = (
            self.reader.history(self.info.folder).place(step, self.axis) if self.info and step is not None else None
        )
        self._known = (self.cross, step) if step is not None else None
        self.query_one(Charts).point_at(self.cross)

    def step_here(self) -> float | None:
        """The step under the crosshair."""
        if self.cross is None or self.info is None:
            return None
        if self._known and self._known[0] == self.cross:
            return self._known[1]
        return charts.step_at(self.reader.history(self.info.folder), self.cross, self.axis)

    def on_chart_moved(self, message: Chart.Moved) -> None:
        self.cross, self._known = message.x, None
        self.query_one(Charts).point_at(message.x, message.chart)
        self.query_one(SamplePane).at(self.step_here())

    def on_chart_zoomed(self, message: Chart.Zoomed) -> None:
        self.query_one(Charts).zoom_to(message.view, message.chart)

    def on_chart_selected(self, message: Chart.Selected) -> None:
        if self.maximized:
            self.minimize()
        else:
            self.maximize(message.chart, container=False)

    def _zoomed(self, old: Widget | None, new: Widget | None) -> None:
        """A chart over the whole screen has room for all it can say."""
        for chart in (old, new):
            if isinstance(chart, Chart):
                chart.compact = chart is not new and chart.id != "big"
                chart.styles.height = "1fr"
        self.call_after_refresh(self.query_one(Charts).fit)

    @on(Stepped)
    def _sample_chosen(self, message: Stepped) -> None:
        if self.info:
            self._known = None
            self.cross = self.reader.history(self.info.folder).place(message.step, self.axis)
            self.query_one(Charts).point_at(self.cross)
