"""What a chart shows, without its keys and mouse: curves in, lines of the terminal out."""

import math
from collections.abc import Hashable, Sequence
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from textual.app import RenderResult
from textual.color import Color
from textual.content import Content
from textual.errors import NoWidget
from textual.geometry import Region
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets import axis, legend, raster, readout
from tui.widgets.crosshair import Crosshair, lay
from tui.widgets.ink import Ink, parse
from tui.widgets.picture import Look, Picture, draw
from tui.widgets.series import Curve, Mark, Trace, extent, fitting, needs, points, same, tidy
from tui.widgets.window import Range, Window


class Plot(Widget):
    """Give it curves with `show` as often as you like: it draws what changed, and only while it can be seen."""

    ALLOW_SELECT: ClassVar[bool] = False
    DEFAULT_CSS = """
    Plot {
        width: 1fr; height: 1fr; padding: 0 1; background: $background;
        border: round $border; border-title-color: $foreground; border-subtitle-color: $foreground-muted;
    }
    """
    title: reactive[str] = reactive("")
    log_y: reactive[bool] = reactive(False)
    smoothing: reactive[float] = reactive(0.97)
    x_name: reactive[str] = reactive("step")  # what the x of the curves is: step, time (in seconds) or tokens
    whole: reactive[bool] = reactive(False)  # outliers too
    compact: reactive[bool] = reactive(False)
    empty: reactive[str] = reactive("nothing to show yet")  # said while there are no curves; may have several lines

    def __init__(
        self, title: str = "", *, x_name: str = "step", log_y: bool = False, smoothing: float = 0.97,
        compact: bool = False, id: str | None = None, classes: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(id=id, classes=classes)
        self.curves: list[Curve] = []  # the pinned ones first: they are drawn on top
        self.marks: tuple[Mark, ...] = ()
        self.cursor: float | None = None  # the crosshair's x
        self.window = Window()
        self._revision = 0
        self._traces: list[Trace] = []
        self._trace_of: dict[tuple[Hashable, int], Trace] = {}
        self._ink: Ink | None = None
        self._picture: Picture | None = None
        self._layer: Crosshair | None = None
        self._picture_of: tuple[object, ...] = ()  # the state that the picture shows, and the title and legend
        self._head_of: tuple[object, ...] = ()
        given = {"title": title, "x_name": x_name, "log_y": log_y, "smoothing": smoothing, "compact": compact}
        for name, value in given.items():
            self.set_reactive(getattr(Plot, name), value)

    @property
    def view(self) -> Range | None:
        return self.window.view

    @property
    def follows(self) -> bool:
        return self.window.follows

    def show(self, curves: Sequence[Curve], marks: Sequence[Mark] = ()) -> None:
        """What to draw from now on. The same again costs nothing; curves that grew are drawn once before the next frame."""
        new = sorted(map(tidy, curves), key=lambda c: not c.pinned)
        if len(new) == len(self.curves) and all(map(same, new, self.curves)) and tuple(marks) == self.marks:
            return
        other = bool(new) != bool(self.curves)
        self.curves, self.marks = new, tuple(marks)
        self._revision += 1
        if other and self.is_attached:
            self.refresh_bindings()
        self._changed()

    def point_at(self, x: float | None) -> None:
        """Put the crosshair where another chart's is; posts no message."""
        if x == self.cursor:
            return
        self.cursor = x
        if not self._seen:
            return
        before, self._layer = self._layer, None
        after = self._crosshair()
        if any(layer is not None and not layer.boxed for layer in (before, after)):
            self._write_head()
        else:
            self._head_of = self._state()
        regions = [region for layer in (before, after) if layer for region in layer.regions]
        if regions:
            self.refresh(*regions)

    def zoom_to(self, view: Range | None) -> None:
        """Show this range of x, cut to what there is; None for all. Posts no message."""
        before = (self.window.view, self.window.follows)
        whole = self._extent()
        self.window.show(view, whole, 4 * (whole[1] - whole[0]) / max([4, *(len(c.x) for c in self.curves)]))
        if (self.window.view, self.window.follows) != before:
            self._changed()

    # What is drawn

    @property
    def _seen(self) -> bool:
        """Whether anything of it is on the terminal."""
        if not self.is_attached or not self.screen.is_current:
            return False
        top = self.app.screen
        if top is not self.screen and top.styles.background.a == 1:  # is_current is true below an opaque screen as well
            return False
        try:
            return bool(self.screen.find_widget(self).visible_region)
        except NoWidget:
            return False

    @property
    def _glyphs(self) -> raster.Glyphs:
        return raster.GLYPHS.get(getattr(self.app, "glyphs", "braille"), raster.BRAILLE)

    def _extent(self) -> Range:
        return extent([c.x for c in self.curves])

    def _changed(self) -> None:
        """Draw anew before the next frame, if there is anybody to see it; else `render_lines` will notice."""
        if self._seen:
            self.refresh()
            self.call_later(self._write_head)

    def _state(self) -> tuple[object, ...]:
        return (*self._look_of(), self.cursor, self.title)

    def _look_of(self) -> tuple[object, ...]:
        """All that the picture depends on."""
        view = self.window.now(self._extent())
        look = Look(*self.size, self.log_y, self.x_name, view, self.whole, self.compact, self._glyphs)
        return look, self._revision, self.smoothing, self.app.theme, self.background_colors[1]

    def picture(self) -> Picture:
        """The picture of the present state, drawn if it is not there yet."""
        state = self._look_of()
        if self._picture is None or state != self._picture_of:
            self._smooth()
            self._ink = self._mix()
            drawable = [points(c.x, c.y, t, self.log_y) for c, t in zip(self.curves, self._traces, strict=True)]
            look = state[0]
            assert isinstance(look, Look)
            self._picture = draw(self.curves, drawable, self.marks, look, self._ink)
            self._picture_of, self._layer = state, None
        return self._picture

    def _smooth(self) -> None:
        """Bring the smoothed values up to date; a key that comes twice counts as two."""
        keys = [(c.key, sum(d.key == c.key for d in self.curves[:i])) for i, c in enumerate(self.curves)]
        self._trace_of = {key: self._trace_of.get(key) or Trace() for key in keys}
        self._traces = list(self._trace_of.values())
        for curve, trace in zip(self.curves, self._traces, strict=True):
            beta = fitting(self.smoothing, len(curve.y)) if curve.smooth else 0.0
            trace.update(curve.y, beta, curve.generation)

    def _mix(self) -> Ink:
        variables, background = self.app.theme_variables, self.background_colors[1]
        dark, ansi = self.app.current_theme.dark, background.ansi is not None or self.app.native_ansi_color
        default = Color.parse("ansi_default" if ansi else "white" if dark else "black")
        named = {n: parse(variables.get(n, ""), default) for n in ("foreground", "error", "warning", "accent")}
        lines, plain = [parse(c.colour, named["foreground"]) for c in self.curves], bool(self.app.no_color)
        return Ink(lines, background, **named, dark=dark, ansi=ansi, plain=plain, solid=self._glyphs is raster.BLOCK)

    def _crosshair(self) -> Crosshair | None:
        picture = self.picture()
        if self.cursor is None or not picture.shown or self._ink is None:
            self._layer = None
        elif self._layer is None or self._layer.x != self.cursor:
            self._layer = lay(picture, self.cursor, self._ink)
        return self._layer

    def render_lines(self, crop: Region) -> list[Strip]:
        if self._head_of != self._state():  # another size or theme, or data that came while nobody looked
            self._write_head()
        self._crosshair()  # and the picture: once for all lines, as asking whether they are fresh costs 60 us
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        picture, layer = self._picture or self.picture(), self._layer
        if picture.shown and y < len(picture.strips):
            return layer.strips.get(y, picture.strips[y]) if layer else picture.strips[y]
        width, height = self.size
        lines, ink = ("" if picture.shown else self._excuse()).split("\n"), self._ink or self._mix()
        at = y - max(0, (height - len(lines)) // 2)
        text = lines[at][:width].center(width) if 0 <= at < len(lines) else " " * width
        return Strip([Segment(text, ink.label)], width)

    def render(self) -> RenderResult:
        return ""

    def _excuse(self) -> str:
        """Why there is no chart."""
        if not self.curves:
            return self.empty
        if not any(len(c.y) for c in self.curves):
            return "waiting for the first point"
        numbers = any(len(t.bad) < t.n for t in self._traces)
        return (
            "no value above zero: press o for a linear scale"
            if numbers and self.log_y
            else "no numbers so far, only NaN"
        )

    def _write_head(self) -> None:
        """Title and legend; the crosshair's values instead of the newest where they found no room in the chart."""
        state = self._state()
        if state == self._head_of:
            return
        picture, layer, ink = self.picture(), self._crosshair(), self._ink or self._mix()
        self._head_of = state
        heads, values = [""], [self._newest(c, t) for c, t in zip(self.curves, self._traces, strict=True)]
        if layer is not None and not layer.boxed:
            place = axis.place(layer.x, self.x_name)
            said = f"{self.x_name} {place}  {legend.clean(readout.named(layer.marks), 24)}".rstrip()
            heads = [place] if self.compact else [said, f"{self.x_name} {place}", ""]  # it stands on the axis as well
            values = [r.wrong[0] if r.wrong else r.value for r in layer.readings]
        width = self.outer_size.width - 6
        text, has_names = legend.legend(
            self.curves, self._words(values), ink, width, heads, self.title, cut=not self.compact
        )
        self.border_subtitle = text if text.plain.strip() and picture.shown else None
        title = legend.title(self.title, self._facts(), ink)
        if not has_names and picture.shown:
            names = legend.named(self.curves, ink, width - title.cell_length - 1)
            if not names and self.compact:  # what is left out then, the large chart says as well
                title = legend.title(self.title, (), ink)
                names = legend.named(self.curves, ink, width - title.cell_length - 1)
            title += Content(" ") + names if names else Content("")
        self.border_title = title if title.plain.strip() else None

    def _words(self, values: Sequence[float]) -> list[list[str]]:
        """Values in words, then twice shorter: fewer digits on a logarithmic scale, else fewer of the range's decimals."""
        picture = self.picture()
        words = [[axis.si(v, picture.digits) for v in values]]
        if self.log_y:
            return [*words, *([axis.si(v, digits) for v in values] for digits in (3, 2))]
        if picture.base or not picture.shown:
            return words
        size = math.floor(math.log10(picture.y1 - picture.y0))
        return [*words, *([axis.fixed(v, min(9, max(0, more - size))) for v in values] for more in (2, 1))]

    def _facts(self) -> list[str]:
        """How it is drawn, for the title."""
        facts = ["log"] if self.log_y else []
        longest = max((len(c.y) for c in self.curves if c.smooth), default=0)
        if self.smoothing and longest and not self.compact:
            beta = fitting(self.smoothing, longest)
            less = "" if beta == self.smoothing else f" ({self.smoothing:g} from {needs(self.smoothing)} points)"
            facts.append((f"ema {beta:g}" if beta else "as it is") + less)
        if self.whole and not self.compact:
            facts.append("with outliers")
        if self.picture().base:
            facts.append(f"from {self.picture().base:,.15g}")
        if self.view is not None:
            facts.append("zoom" if self.compact else "zoom, follows" if self.follows else "zoom, held")
        return facts

    def _newest(self, curve: Curve, trace: Trace) -> float:
        """The newest value, smoothed unless it is no number."""
        if not len(curve.y):
            return np.nan
        return float(curve.y[-1] if np.isnan(trace.smooth[-1]) else trace.smooth[-1])

    # Changes from outside

    def _watch_log_y(self) -> None:
        self._changed()

    _watch_title = _watch_smoothing = _watch_whole = _watch_compact = _watch_empty = _watch_log_y

    def _watch_x_name(self) -> None:
        """Another axis: the old places mean nothing on it."""
        self.window, self.cursor = Window(), None
        self._changed()
