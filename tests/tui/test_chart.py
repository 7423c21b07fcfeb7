"""The chart in an app of its own: what it shows, keys, mouse, themes, sizes, and that it does no work it need not do."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip

from tests.tui.conftest import screen_text
from tui.theme import THEMES
from tui.widgets.chart import Chart, Curve, Mark
from tui.widgets.crosshair import at_cell, put
from tui.widgets.legend import clean
from tui.widgets.picture import Picture

BLUE, ORANGE, GREEN = "#56b4e9", "#f0902c", "#2fbf8f"
SIZE = (100, 30)
Seen = list[Message]


class Host(App[None]):
    """A chart alone, or two side by side."""

    CSS = "Screen { layout: horizontal; background: $background; }"

    def __init__(self, *charts: Chart) -> None:
        super().__init__()
        self.charts = charts or (Chart("loss"),)
        self.seen: Seen = []
        for theme in THEMES:
            self.register_theme(theme)

    def compose(self) -> ComposeResult:
        yield from self.charts

    def on_chart_moved(self, message: Chart.Moved) -> None:
        self.seen.append(message)

    def on_chart_zoomed(self, message: Chart.Zoomed) -> None:
        self.seen.append(message)

    def on_chart_selected(self, message: Chart.Selected) -> None:
        self.seen.append(message)


def falling(n: int, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    x = np.arange(float(n))
    return x, 2 + 3 * np.exp(-4 * x / n) + np.random.default_rng(seed).normal(size=n) * noise


def run(n: int = 2_000, name: str = "train", colour: str = BLUE, **more: Any) -> Curve:
    return Curve(name, *falling(n, len(name)), colour, name, **more)


def chart_of(app: App[Any]) -> Chart:
    return app.query_one(Chart)


def styles(app: App[Any]) -> list[tuple[str, Style]]:
    """Every cell of the screen with its style."""
    strips = app.screen._compositor.render_strips()
    return [(sign, s.style or Style()) for strip in strips for s in strip if not s.control for sign in s.text]


def colours(app: App[Any], signs: Iterable[str] | None = None) -> set[str]:
    """The foreground colours of the braille cells, or of the given signs."""
    wanted = set(signs) if signs is not None else {chr(0x2800 + i) for i in range(256)}
    cells = [style.color for sign, style in styles(app) if sign in wanted]
    return {c.name if c.triplet is None else c.triplet.hex for c in cells if c is not None}


def test_legend_crosshair_and_empty_states() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            chart.empty = "no run selected\npress n to start one"
            await pilot.pause()
            text = screen_text(app)
            assert "no run selected" in text
            assert "press n to start one" in text
            chart.show([Curve("train", np.empty(0), np.empty(0), BLUE, 1)])
            await pilot.pause()
            assert "waiting for the first point" in screen_text(app)

            x = np.arange(1_000.0)
            train = Curve("train", x, 10 - x / 200, BLUE, "train")
            val = Curve("val", x[::100], 11 - x[::100] / 200, ORANGE, "val", smooth=False)
            chart.smoothing = 0.0
            chart.show([train, val], [Mark(500, "checkpoint", "500")])
            await pilot.pause()
            bottom = screen_text(app).splitlines()[-1]
            assert "━ train 5.005   ━ val 6.5" in bottom
            assert "▲" in screen_text(app)
            assert "•" in screen_text(app)  # the points of the sparse curve

            chart.point_at(500.0)
            await pilot.pause()
            text = screen_text(app)
            for words in ("step 500", "checkpoint 500", "train  7.5", "val    8.5", " 500 "):
                assert words in text, words
            assert not app.seen  # point_at says nothing
            chart.point_at(555.0)
            await pilot.pause()
            assert "8.500 at 500" in " ".join(screen_text(app).split())  # the nearest at or before, and where it is
            chart.smoothing = 0.9
            await pilot.pause()
            reading = chart.picture(), chart._layer
            assert reading[1] is not None
            first = reading[1].readings[0]
            assert first.raw == pytest.approx(7.225)
            assert first.value == pytest.approx(7.225 + 0.9 / 0.1 / 200)  # lags by beta / (1 - beta) points
            assert first.x == 555.0

    asyncio.run(go())


def test_keys_walk_the_crosshair_from_point_to_point() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            chart.show([run(20_000)])
            await pilot.press("left")
            assert chart.cursor == 19_999
            assert isinstance(app.seen[-1], Chart.Moved)
            assert app.seen[-1].x == 19_999
            picture = chart.picture()
            columns = [picture.column(19_999)]
            for _ in range(5):
                await pilot.press("left")
                columns.append(picture.column(chart.cursor or 0))
            assert columns == list(range(columns[0], columns[0] - 6, -1))
            assert chart.cursor == int(chart.cursor or 0.5)  # a real step
            await pilot.press("right")
            assert picture.column(chart.cursor or 0) == columns[-2]
            assert chart.picture() is picture  # nothing was drawn anew
            await pilot.press("home")
            assert chart.cursor == 0
            await pilot.press("left")
            assert chart.cursor == 0
            await pilot.press("end", "right")
            assert chart.cursor == 19_999
            await pilot.press("escape")
            assert chart.cursor is None
            assert app.seen[-1].x is None  # type: ignore[attr-defined]

            sparse = Curve("few", np.array([0.0, 10.0, 70.0]), np.array([1.0, 2.0, 3.0]), BLUE, 1, smooth=False)
            chart.show([sparse])
            await pilot.press("left", "left")
            assert chart.cursor == 10
            await pilot.press("enter")
            assert isinstance(app.seen[-1], Chart.Selected)

    asyncio.run(go())


def test_zoom_pan_and_follow() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart, curve = chart_of(app), run(4_000)

            def show(n: int) -> None:
                chart.show([replace(curve, x=curve.x[:n], y=curve.y[:n])])

            show(1_001)
            await pilot.press("plus")
            assert chart.view == (500, 1000)
            assert chart.follows
            assert isinstance(app.seen[-1], Chart.Zoomed)
            show(1_201)
            await pilot.pause()
            assert "zoom, follows" in screen_text(app)
            assert (chart.picture().x0, chart.picture().x1) == (700, 1200)
            await pilot.press("shift+left")
            assert chart.view == (600, 1100)
            show(1_401)
            await pilot.pause()
            assert "zoom, held" in screen_text(app)
            assert (chart.picture().x0, chart.picture().x1) == (600, 1100)
            await pilot.press("home")  # walks out of view: the view comes along
            assert chart.view == (0, 500)
            await pilot.press("minus", "minus")
            assert chart.view is None
            chart.point_at(400.0)
            await pilot.press("plus")  # around the crosshair
            assert chart.view == pytest.approx((200, 900))
            await pilot.press("f")
            assert chart.view is None
            assert not chart.whole
            await pilot.press("f")
            assert chart.whole
            for _ in range(30):
                chart.action_zoom_in()
            lo, hi = chart.view or (0, 0)
            assert 0 < hi - lo < 6
            await pilot.press("f")
            chart.zoom_to((100, 200))
            said = len(app.seen)
            chart.zoom_to(None)
            await pilot.pause()
            assert len(app.seen) == said

    asyncio.run(go())


def test_mouse_hovers_zooms_drags_and_fits() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            chart.show([run(5_000)])
            await pilot.pause()
            left = chart.picture().left + 2  # border and padding
            await pilot.hover(chart, (left + 40, 10))
            assert chart.picture().column(chart.cursor or 0) == 40
            under = chart.cursor or 0
            await pilot._post_mouse_events([events.MouseScrollUp], chart, (left + 40, 10))
            lo, hi = chart.view or (0, 0)
            assert hi - lo == pytest.approx(0.8 * 4_999)
            assert chart.picture().column(under) == 40  # what is under the pointer stays there
            await pilot._post_mouse_events([events.MouseScrollUp], chart, (left + 40, 10))
            lo, hi = chart.view or (0, 0)
            await pilot.mouse_down(chart, (left + 50, 10))
            await pilot.hover(chart, (left + 60, 10))
            assert (chart.view or (0, 0))[0] == pytest.approx(lo - 10 * (hi - lo) / chart.picture().cols)
            await pilot.mouse_up(chart, (left + 60, 10))
            held = chart.view
            await pilot.hover(chart, (left + 20, 10))
            assert chart.view == held  # let go
            await pilot.double_click(chart, (left + 20, 10))
            assert chart.view is None

        small, wide = Chart("small", compact=True), Chart("wide")
        app = Host(wide, small)
        async with app.run_test(size=SIZE) as pilot:
            small.show([run(500)])
            await pilot.pause()
            await pilot._post_mouse_events([events.MouseScrollUp], small, (20, 10))
            assert small.view is None  # the wheel is the page's until it has the focus
            small.focus()
            await pilot.pause()
            await pilot._post_mouse_events([events.MouseScrollUp], small, (20, 10))
            assert small.view is not None
            await pilot.hover(small, (20, 10))
            assert small.cursor is not None
            await pilot.hover(wide, (20, 10))
            assert small.cursor is None

    asyncio.run(go())


def test_log_smoothing_and_axes() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart, x = chart_of(app), np.arange(3_000.0)
            chart.show([Curve("lr", x, 10.0 ** (-x / 500), BLUE, 1)])
            await pilot.press("o")
            text = screen_text(app)
            for tick in ("1┤", "0.01┤", "1e-4┤", "log"):
                assert tick in text, tick
            assert "ema 0.97" in text
            said = []
            for _ in range(4):
                await pilot.press("s")
                said.append(chart.smoothing)
            assert said == [0.99, 0.0, 0.9, 0.97]
            chart.show([Curve("lr", x, -x, BLUE, 2)])
            await pilot.pause()
            assert "no value above zero: press o" in screen_text(app)
            half = np.where(x < 1_500, -1.0, 3.0)
            chart.show([Curve("lr", x, half, BLUE, 3)])
            await pilot.pause()
            assert "↓" in screen_text(app)
            chart.log_y = False
            chart.point_at(100.0)
            for name, tick in (("time", "40m"), ("tokens", "2000")):
                chart.x_name = name
                await pilot.pause()
                assert tick in screen_text(app), screen_text(app)
                assert chart.cursor is None  # places on one axis mean nothing on another
            chart.show([Curve("lr", x[:150], half[1_400:1_550], BLUE, 4)])
            await pilot.pause()
            assert "ema 0.9 (0.97 from 333 points)" in screen_text(app)

    asyncio.run(go())


def test_nan_and_clipped_spikes_are_marked_and_found() -> None:
    async def go() -> None:
        app = Host()
        app.theme = "lab-dark"
        async with app.run_test(size=SIZE) as pilot:
            chart, curve = chart_of(app), run(20_000)
            curve.y[5_000], curve.y[12_000], curve.y[15_000] = np.nan, 500.0, np.inf
            chart.show([curve])
            await pilot.pause()
            rule = next(line for line in screen_text(app).splitlines() if "└" in line)
            assert rule.count("×") == 2
            assert colours(app, "×") == {app.theme_variables["error"].lower()}
            picture = chart.picture()
            assert picture.y1 < 20  # a spike does not press the rest flat
            assert "↑" in screen_text(app).splitlines()[1]
            chart.point_at(12_000.0)
            await pilot.pause()
            assert "↑ 500 at 12,000" in screen_text(app)
            chart.point_at(picture.span(picture.column(12_000))[1] - 1)  # anywhere in its column
            await pilot.pause()
            assert "↑ 500 at 12,000" in screen_text(app)
            for x, word in ((5_000.0, "train NaN"), (15_000.0, "inf at 15,000")):
                chart.point_at(x)
                await pilot.pause()
                assert word in screen_text(app)
            await pilot.press("f")
            assert chart.picture().y1 > 500
            assert "with outliers" in screen_text(app)
            curve.y[-1] = np.nan
            chart.point_at(None)
            chart.show([replace(curve, generation=1)])
            await pilot.pause()
            assert "━ train NaN" in screen_text(app)  # now, not the last good value
            chart.show([replace(curve, y=np.full(20_000, np.nan), key="gone")])
            await pilot.pause()
            assert "no numbers so far, only NaN" in screen_text(app)

    asyncio.run(go())


def test_two_curves_in_one_cell_keep_both_colours() -> None:
    async def go() -> None:
        app = Host()
        app.theme = "lab-dark"
        async with app.run_test(size=SIZE) as pilot:
            chart, x = chart_of(app), np.arange(500.0)
            flat = [Curve(c, x, np.full(500, 1.0), c, c) for c in (BLUE, ORANGE, GREEN)]
            for log in (False, True):
                chart.log_y = log
                chart.show(flat)
                await pilot.pause()
                assert {BLUE, ORANGE, GREEN} <= colours(app)
                row = next(
                    y for y, strip in enumerate(chart.picture().strips) if "⠉" in strip.text or "⠒" in strip.text
                )
                segments = chart.picture().strips[row]._segments
                assert max(len(s.text) for s in segments[2:]) <= 4  # they take turns all along
            app.glyphs = "block"  # type: ignore[attr-defined]
            chart.refresh()
            await pilot.pause()
            assert {BLUE, ORANGE, GREEN} <= colours(app, "▀▄█")
            assert not colours(app)

    asyncio.run(go())


def test_pinned_curves_come_first_and_thicker_and_long_legends_are_cut() -> None:
    def dots(picture: Picture) -> int:
        text = "".join(strip.text for strip in picture.strips)
        return sum((ord(sign) - 0x2800).bit_count() for sign in text if 0x2800 <= ord(sign) < 0x2900)

    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            thin = run(2_000, noisy_name := "a-run-with-a-rather-long-name", smooth=False)
            chart.show([thin])
            await pilot.pause()
            before = dots(chart.picture())
            chart.show([replace(thin, pinned=True)])
            await pilot.pause()
            assert dots(chart.picture()) > 1.2 * before
            chart.show([run(2_000, "b"), replace(thin, pinned=True), run(2_000, "c")])
            await pilot.pause()
            legend = screen_text(app).splitlines()[-1]
            assert legend.index(noisy_name) < legend.index(" b ") < legend.index(" c ")
            chart.show([run(300, f"pretrain-{i}") for i in range(6)])
            await pilot.pause()
            legend = screen_text(app).splitlines()[-1]
            assert all(f"━ …{i} 2" in legend for i in range(6)), legend  # what they begin with tells nothing
            chart.show([run(300, f"{i}-of-many-different-runs-{i}") for i in range(5)])
            await pilot.pause()
            legend = screen_text(app).splitlines()[-1]
            assert all(f"━ {i}" in legend and f"-{i} 2" in legend for i in range(5)), legend
            assert legend.count("…") == 5
            chart.show([run(300, f"pretrain-{i}-of-many-runs") for i in range(30)])
            await pilot.pause()
            legend = screen_text(app).splitlines()[-1]
            kept = legend.count("━")
            assert kept > 5
            assert f"+{30 - kept} " in legend
            assert len(legend) == SIZE[0]

    asyncio.run(go())


def test_a_small_chart_keeps_the_names_of_its_curves() -> None:
    """At 150 columns a small chart has 44: names that find no room beside the values stand in its title."""
    values = {"active": 0.0116, "peak": 0.2647, "cache": 0.3978, "process": 0.5346, "swap": 0.02}

    def memory(names: Iterable[str]) -> list[Curve]:
        x = np.arange(300.0)
        return [Curve(name, x, np.full(300, values[name]), GREEN, name, smooth=False) for name in names]

    async def go() -> None:
        app = Host(Chart("memory, GB", compact=True))
        async with app.run_test(size=(36, 8)) as pilot:
            chart = chart_of(app)
            chart.show(memory(["peak", "process"]))
            await pilot.pause()
            top, *_, bottom = screen_text(app).splitlines()
            assert "━ peak 0.265   ━ process 0.535 ─╯" in bottom  # shorter, and whole
            assert "peak" not in top
            await pilot.resize_terminal(44, 8)
            chart.show(memory(list(values)[:4]))
            chart.point_at(250.0)
            await pilot.pause()
            top, *_, bottom = screen_text(app).splitlines()
            assert "─ memory, GB  active peak cache process ─" in top
            assert " 250  ━ 0.01  ━ 0.26  ━ 0.40  ━ 0.53 " in bottom
            chart.show(memory(values))
            chart.zoom_to((100.0, 200.0))
            await pilot.pause()
            top, *_, bottom = screen_text(app).splitlines()
            assert "─ memory, GB  acti peak cach proc swap ─" in top
            assert len(top) == len(bottom) == 44
            for width in range(8, 44):
                await pilot.resize_terminal(width, 8)
                for _ in range(50):  # a busy machine lays out and paints later
                    if (widths := {len(line) for line in screen_text(app).splitlines() if "│" not in line}) == {width}:
                        break
                    await pilot.pause(0.02)
                assert widths == {width}

    asyncio.run(go())


def test_names_are_cut_by_cells() -> None:
    for text in ("a-run-with-a-long-name", "実験—低い学習率の実行番号十二", "mixed 実験 name", "短い"):
        for width in range(1, 24):
            cut = clean(text, width)
            assert cell_len(cut) <= width
            assert cut == text if cell_len(text) <= width else "…" in cut
    assert clean("pretrain-rate-0.01", 12) == "pretr…e-0.01"


def test_marks_are_drawn_named_and_do_not_become_a_fence() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            marks = [Mark(100, "checkpoint", "100"), Mark(900, "resume"), Mark(1500, "note", "lower [b]rate\x1b")]
            marks.append(Mark(900, "note", "asked to stop"))  # which was at the step where it went on
            chart.show([run(2_000)], [*marks, Mark(300, "eval"), Mark(9e9, "note", "far away")])
            await pilot.pause()
            text = screen_text(app)
            rule = next(line for line in text.splitlines() if "└" in line)
            assert [sign for sign in rule if sign in "▲↻✎◆"] == ["▲", "◆", "↻", "✎"]
            assert "┊" in text
            chart.point_at(1_500.0)
            await pilot.pause()
            assert "note lower [b]rate␛" in screen_text(app)
            chart.show([run(2_000)], [Mark(x, "checkpoint") for x in range(0, 2_000, 20)])
            chart.point_at(None)
            await pilot.pause()
            assert "┊" not in screen_text(app)
            assert screen_text(app).count("▲") > 50

    asyncio.run(go())


def test_the_crosshair_covers_no_line_and_moves_to_the_legend_without_room() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            chart.show([run(2_000)])
            for _ in range(40):
                chart.action_left()
            await pilot.pause()
            layer, picture = chart._crosshair(), chart.picture()
            assert layer is not None
            assert layer.boxed
            box = layer.regions[-1]
            inside = picture.lines[box.y : box.bottom, box.x - picture.left : box.right - picture.left]
            assert inside.size
            assert not inside.any()
            x = np.arange(2_000.0)
            full = [Curve(f"r{i}", x, np.sin(x / 7 + i) * 5, BLUE, i, smooth=False) for i in range(3)]
            chart.show(full)
            await pilot.press("right")
            legend = screen_text(app).splitlines()[-1]
            assert f"step {chart.cursor:,.0f}" in legend
            assert all(f"━ r{i}" in legend for i in range(3))

    asyncio.run(go())


def test_lines_keep_their_width_under_the_crosshair() -> None:
    text = "abcdefghij"
    for cuts in ([3, 7], [1], [], [2, 4, 6, 8]):
        edges = [0, *cuts, 10]
        strip = Strip([Segment(text[a:b], Style(bold=bool(a % 2))) for a, b in pairwise(edges)], 10)
        for at in range(10):
            assert at_cell(strip, at).text == text[at]
            for width in range(1, 11 - at):
                piece = "-" * width
                assert put(strip, at, [Segment(piece)], width).text == text[:at] + piece + text[at + width :]

    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart = chart_of(app)
            chart.show([run(500, "模型-1", smooth=False), run(500, "plain", ORANGE, smooth=False)])
            for _ in range(3):
                await pilot.press("left")
                layer = chart._crosshair()
                assert layer is not None
                assert layer.boxed
                for strip in layer.strips.values():
                    assert sum(s.cell_length for s in strip) == strip.cell_length == chart.size.width

    asyncio.run(go())


def test_it_draws_once_and_only_when_seen() -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            chart, room = chart_of(app), run(3_000)

            def show(n: int) -> None:
                chart.show([replace(room, x=room.x[:n].copy(), y=room.y[:n])])

            show(1_000)
            await pilot.pause()
            first = chart.picture()
            show(1_000)
            await pilot.pause()
            assert chart.picture() is first
            for n in (1_001, 1_002, 1_003):  # three before a frame: one picture
                show(n)
                assert chart._picture is first
            await pilot.pause()
            second = chart._picture
            assert second is not first
            await pilot.press("left", "left")
            assert chart._picture is second
            assert chart._traces[0].n == 1_003
            await app.push_screen(Screen())
            await pilot.pause()
            show(2_000)
            chart.point_at(5.0)
            await pilot.pause()
            assert chart._picture is second  # another screen is in front
            assert chart._traces[0].n == 1_003
            app.pop_screen()
            await pilot.pause()
            assert chart._traces[0].n == 2_000
            assert "1k" in screen_text(app) or "1000" in screen_text(app)
            third = chart._picture
            chart.display = False
            await pilot.pause()
            show(3_000)
            await pilot.pause()
            assert chart._picture is third
            chart.display = True
            await pilot.pause(0.05)
            assert chart._traces[0].n == 3_000
            chart.show([replace(room, generation=7, y=room.y * 2)])
            await pilot.pause()
            assert "━ train 4.1" in screen_text(app)

    asyncio.run(go())


@pytest.mark.parametrize("theme", ["lab-dark", "lab-light", "ansi-dark", "ansi-light", "nord", "solarized-light"])
def test_lines_stand_out_on_every_theme(theme: str) -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            app.theme = "textual-dark"
            chart = chart_of(app)
            chart.show([run(900, "a", BLUE), run(900, "bb", ORANGE), run(900, "pale", "#fefefe")])
            await pilot.pause()
            before = chart.picture()
            app.theme = theme
            await pilot.press("left")
            assert chart.picture() is not before
            ink = chart._ink
            assert ink is not None
            lines = {line.rich_color.name for line in ink.lines}
            assert len(lines) == 3
            if theme.startswith("ansi"):
                assert all(line.ansi is not None for line in ink.lines)
                assert {style.bgcolor.name for _, style in styles(app) if style.bgcolor is not None} <= {"default"}
            else:
                from tui.widgets.ink import contrast

                assert all(contrast(line, ink.background) >= 3 for line in ink.lines)
                assert "train" not in screen_text(app)
            assert colours(app, "━") >= ({line.hex.lower() for line in ink.lines} if not ink.ansi else set())

    asyncio.run(go())


def test_without_colours_lines_differ_by_their_dashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def go() -> None:
        app = Host()
        async with app.run_test(size=SIZE) as pilot:
            x = np.arange(900.0)
            curves = [
                Curve(n, x, np.full(900, float(i)), c, n) for i, (n, c) in enumerate([("a", BLUE), ("b", ORANGE)])
            ]
            chart_of(app).show(curves)
            await pilot.pause()
            text = screen_text(app)
            assert "━ a" in text
            assert "╍ b" in text
            lines = [line for line in text.splitlines() if sum(0x2800 < ord(s) < 0x2900 for s in line) > 30]
            gaps = [line.strip("│ ").count("┈") + line.strip("│ ").count(" ") for line in lines]
            assert max(gaps) > 10 > min(gaps)

    asyncio.run(go())


@pytest.mark.slow
def test_no_size_is_too_small() -> None:
    async def go() -> None:
        app = Host(Chart("loss"), Chart("small", compact=True))
        async with app.run_test(size=(80, 24)) as pilot:
            for chart in app.charts:
                chart.show([run(700), run(5, "few", ORANGE)], [Mark(3, "checkpoint")])
                chart.point_at(300.0)
            sizes = [(w, h) for w in (1, 2, 3, 4, 5, 8, 13) for h in (1, 2, 3, 4, 5, 9)]
            for bordered in (True, False):
                for width, height in sizes:
                    for chart in app.charts:
                        chart.styles.width, chart.styles.height = width, height
                        chart.styles.border = ("round", "white") if bordered else ("none", "white")
                        chart.point_at(float(width * height))
                    await pilot.pause()
                    screen_text(app)
            for chart in app.charts:
                chart.styles.width = chart.styles.height = "1fr"
            for width, height in ((40, 12), (1, 1), (200, 60), (10, 3), (79, 23), (3, 50), (120, 40)):
                await pilot.resize_terminal(width, height)
                for chart in app.charts:
                    chart.action_left()
                    assert all(s.cell_length == chart.size.width for s in chart.picture().strips)
                screen_text(app)
            await pilot.pause(0.1)
            assert "few" in screen_text(app)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([3.0], "3"),
        ([0.0] * 50, "0"),
        ([1e-9, 2e-9, 3e-9], "3e-9"),
        ([1e12, -1e12], "-1T"),
        ([1e6, 1e6 + 0.5], "1.0000005M"),
        ([-5.0] * 400, "-5"),
        ([1e300, 1.0], "1"),
    ],
)
def test_any_numbers_have_an_axis(y: list[float], said: str) -> None:
    async def go() -> None:
        app = Host()
        async with app.run_test(size=(60, 16)) as pilot:
            chart_of(app).show([Curve("v", np.arange(float(len(y))), np.array(y), BLUE, 1)])
            await pilot.press("left")
            text = screen_text(app)
            assert f"━ v {said} " in text, text
            ticks = [line.split("┤")[0].strip("│ ") for line in text.splitlines() if "┤" in line]
            assert ticks
            assert len(set(ticks)) == len(ticks)

    asyncio.run(go())
