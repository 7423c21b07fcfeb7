"""The line chart: the curves of many runs over each other, faint as they were and bright as they are smoothed."""

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.message import Message

from tui.widgets import readout
from tui.widgets.plot import Plot
from tui.widgets.series import SMOOTHING, Curve, Mark
from tui.widgets.window import Range, panned, zoomed

__all__ = ["Chart", "Curve", "Mark"]
NEEDS_CURVES = {"log", "smooth", "fit", "zoom_in", "zoom_out", "left", "right", "first", "last", "full"}
ZOOM, WHEEL, PAN = 0.5, 0.8, 0.2


class Chart(Plot, can_focus=True):
    """A plot with keys, mouse and messages."""

    DEFAULT_CSS = "Chart { &:focus { border: round $accent; } }"
    HELP = """
## Chart
Bright: the smoothed curve. Faint: every value as it was, spikes included. `×` on the axis: not a number.
`↑` `↓`: beyond the range, `f` shows all. `▲` checkpoint, `◆` evaluation, `↻` resume, `✎` note.

* `←` `→` crosshair with the values of all curves, smoothed and as they were; `home` `end` to the first and last point;
  `escape` hides it
* `+` `-` zoom around the crosshair, or at the newest point; `shift+←` `shift+→` pan. A view that ends at the newest
  point follows it
* `f` all of the curve; once more: outliers too
* `o` logarithmic, `s` smoothing 0, .9, .97, .99 (less for a curve of few points), `enter` full screen
* mouse: point, wheel to zoom, drag to pan, double click for all of the curve
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "log", "Log scale", id="chart.log"),
        Binding("s", "smooth", "Smoothing", id="chart.smooth"),
        Binding("f", "fit", "Fit", id="chart.fit"),
        Binding("plus,equals_sign", "zoom_in", "Zoom in", id="chart.zoom_in", key_display="+"),
        Binding("minus", "zoom_out", "Zoom out", id="chart.zoom_out", show=False),
        Binding("left", "left", "Crosshair left", id="chart.left", show=False),
        Binding("right", "right", "Crosshair right", id="chart.right", show=False),
        Binding("home", "first", "Crosshair to the first point", id="chart.first", show=False),
        Binding("end", "last", "Crosshair to the last point", id="chart.last", show=False),
        Binding("shift+left", "pan_left", "Pan left", id="chart.pan_left", show=False),
        Binding("shift+right", "pan_right", "Pan right", id="chart.pan_right", show=False),
        Binding("enter", "full", "Full screen", id="chart.full", show=False),
        Binding("escape", "hide", "Hide the crosshair", id="chart.hide", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The reader moved the crosshair to x, or away (None)."""

        chart: "Chart"
        x: float | None

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Chart.Moved) and message.chart is self.chart

    @dataclass
    class Zoomed(Message):
        """The reader changed the view to (from, to), or to all of it (None)."""

        chart: "Chart"
        view: Range | None

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Chart.Zoomed) and message.chart is self.chart

    @dataclass
    class Selected(Message):
        """Enter: the reader wants this chart large."""

        chart: "Chart"

    def __init__(self, title: str = "", **options: Any) -> None:
        super().__init__(title, **options)
        self._drag: tuple[int, Range] | None = None  # where on the screen it began, and the view then
        self._hovers = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if (action in NEEDS_CURVES and not self.curves) or (action.startswith("pan_") and self.view is None):
            return None
        return True

    def action_log(self) -> None:
        self.log_y = not self.log_y

    def action_smooth(self) -> None:
        self.smoothing = next((s for s in SMOOTHING if s > self.smoothing), SMOOTHING[0])

    def action_fit(self) -> None:
        if self.view is None:
            self.whole = not self.whole
        self._look_at(None)

    def action_zoom_in(self) -> None:
        self._zoom(ZOOM)

    def action_zoom_out(self) -> None:
        self._zoom(1 / ZOOM)

    def action_left(self) -> None:
        self._walk(-1)

    def action_right(self) -> None:
        self._walk(1)

    def action_first(self) -> None:
        self._move(min((float(p.x[0]) for p in self.picture().points if len(p.x)), default=None))

    def action_last(self) -> None:
        self._move(max((float(p.x[-1]) for p in self.picture().points if len(p.x)), default=None))

    def action_pan_left(self) -> None:
        self._pan(-PAN)

    def action_pan_right(self) -> None:
        self._pan(PAN)

    def action_full(self) -> None:
        self.post_message(self.Selected(self))

    def action_hide(self) -> None:
        if self.cursor is None:
            raise SkipAction()  # then escape is somebody else's
        self._move(None)

    def _walk(self, by: int) -> None:
        picture = self.picture()
        if picture.shown and (x := readout.step_to(picture, self.cursor, by)) is not None:
            self._move(x)

    def _move(self, x: float | None, hovers: bool = False) -> None:
        """Move the crosshair; the view goes along with one that is walked out of it."""
        self._hovers = hovers
        if x == self.cursor:
            return
        if x is not None and (view := self.view) is not None and not view[0] <= x <= view[1]:
            self._look_at(panned(view, (x - (view[0] + view[1]) / 2) / (view[1] - view[0])))
        self.point_at(x)
        self.post_message(self.Moved(self, x))

    def _look_at(self, view: Range | None) -> None:
        before = self.view
        self.zoom_to(view)
        if self.view != before:
            self.refresh_bindings()
            self.post_message(self.Zoomed(self, self.view))

    def _zoom(self, by: float, about: float | None = None) -> None:
        view = self.window.now(self._extent()) or self._extent()
        if about is None:
            seen = self.cursor if self.cursor is not None and view[0] <= self.cursor <= view[1] else None
            about = seen if seen is not None else view[1] if self.follows else (view[0] + view[1]) / 2
        self._look_at(zoomed(view, by, about))

    def _pan(self, share: float) -> None:
        if (view := self.window.now(self._extent())) is not None:
            self._look_at(panned(view, share))

    # Mouse

    def _x_at(self, event: events.MouseEvent) -> float | None:
        """The x of the last point in the column under the pointer, or its middle if it has none."""
        picture, offset = self.picture(), event.get_content_offset(self)
        if offset is None or not picture.shown or not 0 <= (column := offset.x - picture.left) < picture.cols:
            return None
        return readout.last_in(picture, column)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._drag is not None:
            start, view = self._drag
            self._look_at(panned(view, (start - event.screen_x) / max(1, self.picture().cols)))
        elif (x := self._x_at(event)) is not None:
            self._move(x, hovers=True)

    def on_leave(self, event: events.Leave) -> None:
        if self._hovers and event.node is self:
            self._move(None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and (view := self.window.now(self._extent())) is not None:
            self._drag = (int(event.screen_x), view)
            self.capture_mouse()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._drag is not None:
            self._drag = None
            self.release_mouse()

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2 and event.button == 1:
            self._look_at(None)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1 / WHEEL)

    def _wheel(self, event: events.MouseEvent, by: float) -> None:
        """Zoom around the pointer. A small chart without the focus leaves the wheel to what it is scrolled in."""
        if (self.has_focus or not self.compact) and (x := self._x_at(event)) is not None:
            event.stop()
            self._zoom(by, x)
