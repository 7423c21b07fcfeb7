"""The charts of Train: a big one, small ones below it in a grid that fits, all with one x axis and one crosshair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from textual import events
from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Grid, VerticalScroll
from textual.widgets import Static

from tui.data.charts import SHOWN, Happened, Panel, few, label, smoothed
from tui.data.history import Axis, History
from tui.theme import background, run_colour
from tui.widgets.chart import Chart, Curve, Mark

WIDE, LEAST = 38, 26  # columns of a small chart: where two rows of them do, and where they are many
MARKS = 200


@dataclass(frozen=True)
class Drawn:
    """A run on the charts; index: of its colour."""

    name: str
    history: History
    index: int
    pinned: bool = False


class Charts(VerticalScroll, can_focus=False):
    """`lay` says which charts there are, `draw` what is on them."""

    def compose(self) -> ComposeResult:
        yield Chart(id="big")
        yield Grid(id="small")
        yield Static(id="more")

    def on_mount(self) -> None:
        self.panels: list[Panel] = []
        self.hidden = 0  # charts for which there is no room
        self.alone = False  # the big one without the small ones
        self._room = (0, 0)  # for all of them, when they were seen last
        self._axis: Axis = "step"

    @property
    def big(self) -> Chart:
        return self.query_one("#big", Chart)

    @property
    def all(self) -> list[Chart]:
        """The charts as they stand, the big one first."""
        return list(self.query(Chart))

    def lay(self, panels: Sequence[Panel], axis: Axis) -> None:
        """Have one chart for each panel; charts that stay keep their zoom and scale."""
        shown = list(panels[:SHOWN])
        self.hidden = len(panels) - len(shown)
        if shown != self.panels:
            grid, charts = self.query_one("#small", Grid), self.all
            for panel, old, chart in zip(shown, [*self.panels, *[None] * len(shown)], charts, strict=False):
                if panel != old:
                    chart.show([])
                    chart.zoom_to(None)
                    chart.log_y = panel.log
            for panel in shown[len(charts) :]:
                grid.mount(Chart(x_name=axis, log_y=panel.log, compact=True))
            for chart in charts[max(1, len(shown)) :]:
                chart.remove()
            self.panels = shown
            self.scroll_home(animate=False)
            self.call_after_refresh(self.fit)
        if axis != self._axis:
            self._axis = axis
            for chart in self.all:
                chart.x_name = axis

    def draw(self, runs: Sequence[Drawn], marks: Sequence[Happened], reading: float, empty: str) -> None:
        """The curves of the runs, the first of which is compared with if it is pinned. reading: share of the files that
        is not read yet."""
        ours = next((run for run in runs if not run.pinned), runs[0] if runs else None)
        placed = list[Mark]()
        for at in marks[-MARKS:]:
            x = ours.history.place(at.step, self._axis) if ours else None
            if x is not None:
                placed.append(Mark(x, at.kind, at.label))  # type: ignore[arg-type]
        if not self.panels:  # a filter that finds nothing
            self.big.title, self.big.empty = "", empty
            self.big.show([])
        for panel, chart in zip(self.panels, self.all, strict=False):
            note = f"  reading {100 * (1 - reading):.0f} %" if reading > 0 and chart is self.all[0] else ""
            title = panel.title + note
            if len(runs) > 1 and chart.compact and len(shared := few(panel.keys)) > 1:  # no room for all their names
                title += f": {label(shared[0])}, pale {label(shared[1])}"
            if chart.title != title:
                chart.title = title
                chart.refresh()
            chart.empty = empty
            chart.show([curve for run in runs for curve in self._curves(panel, run, len(runs) > 1)], placed)

    def _curves(self, panel: Panel, run: Drawn, several: bool) -> list[Curve]:
        """The curves of one run in one chart. Alone, each figure has a colour; with others, each run: its first figure
        bright, further ones pale."""
        found = []
        keys = few(panel.keys) if several else panel.keys
        for i, key in enumerate(keys):
            x, y = run.history.column(key, self._axis)
            if not len(x) or (key == "mem_swap" and not np.nan_to_num(y).any()):
                continue
            colour, name = run_colour(run.index if several else run.index + i, self.app), label(key)
            if several:
                name = run.name if len(keys) == 1 else f"{run.name} {name}"
                if i:
                    colour = Color.parse(colour).blend(background(self.app), 0.45).hex
            smooth = smoothed(key, len(y), run.history.rows)
            found.append(
                Curve(name, x, y, colour, (run.history.folder, key), run.history.generation, smooth, run.pinned)
            )
        return found

    def point_at(self, x: float | None, besides: Chart | None = None) -> None:
        """The crosshair of all charts but one."""
        for chart in self.all:
            if chart is not besides:
                chart.point_at(x)

    def zoom_to(self, view: tuple[float, float] | None, besides: Chart) -> None:
        """The view of all charts but one."""
        for chart in self.all:
            if chart is not besides:
                chart.zoom_to(view)

    def stand(self, alone: bool) -> None:
        """The big chart alone, over a log, or all of them again: in one layout, as the place for all of them is known."""
        if alone != self.alone:
            self.alone = alone
            self._fit(*self._room)

    def fit(self) -> None:
        """Sizes: what fits without scrolling if it can, with nobody too small to read."""
        room = self.scrollable_content_region.size
        if not self.alone:
            self._room = (room.width, room.height)
        self._fit(room.width, room.height)

    def _fit(self, width: int, height: int) -> None:
        grid, count = self.query_one("#small", Grid), 0 if self.alone else len(self.panels) - 1
        if not width or not height or self.screen.maximized in self.all:
            return
        columns = max(1, min(count, width // WIDE))
        if -(-count // columns) > 2:
            columns = max(1, min(count, width // LEAST))
        rows = -(-count // columns) if count > 0 else 0
        columns = -(-count // rows) if rows else 1  # as even as can be
        seen = min(rows, 2)
        big: int | str
        if not rows:
            big, small = "100%", 0
        elif height < 24:
            big, small = max(8, height - 1), max(8, height // 2)  # one line of what is below says that it is there
        else:
            small = max(8, min(16, int(height * 0.4) // seen))
            big = max(10, height - seen * small)
        self.big.styles.height = big
        if rows:
            grid.styles.height = rows * small
            grid.styles.grid_size_columns = columns
            grid.styles.grid_size_rows = rows
        small_charts = self.all[1:]
        for i, chart in enumerate(small_charts):
            last = i == len(small_charts) - 1 and rows > 1
            chart.styles.column_span = columns * rows - count + 1 if last else 1
        grid.display = rows > 0
        more, words = self.query_one("#more", Static), f"and {self.hidden} charts more: / finds figures by name"
        more.display = self.hidden > 0 and not self.alone
        if more.display and more.content != words:  # an update lays everything out again
            more.update(words)

    def on_resize(self, event: events.Resize) -> None:
        self.fit()
