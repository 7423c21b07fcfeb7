"""Train: runs, facts, curves, samples, logs, notes, driven by keys on real run folders."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Input, Static

import tui.app
from lab.runs import add_note, lock
from tests.tui.conftest import make_run, screen_text
from tui.app import LabApp
from tui.screens.train import TrainScreen
from tui.widgets.chart import Chart
from tui.widgets.dialogs import Ask, Write
from tui.widgets.facts import Facts
from tui.widgets.figures import Charts
from tui.widgets.filter import Filter
from tui.widgets.logs import Events, Logs, LogText
from tui.widgets.run_list import RunList, Runs
from tui.widgets.samples import SamplePane
from tui.widgets.table import Figures

Go = Callable[[Pilot[None], LabApp, TrainScreen], Coroutine[Any, Any, None]]


class TrainFirst(LabApp):
    """The app, beginning in Train."""

    DEFAULT_MODE = "train"
    CSS_PATH = Path(tui.app.__file__).with_name("app.tcss")


def drive(go: Go, size: tuple[int, int] = (150, 42)) -> None:
    """Train in an app without a terminal."""

    async def main() -> None:
        app = TrainFirst()
        async with app.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.screen.is_current)
            screen = app.screen
            assert isinstance(screen, TrainScreen)
            await settled(pilot, screen)
            await go(pilot, app, screen)

    asyncio.run(main())


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    for _ in range(int(seconds / 0.02)):
        await pilot.pause()
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {seconds} s:\n{screen_text(pilot.app)}")


async def settled(pilot: Pilot[None], screen: TrainScreen) -> None:
    """Look at the folders, read and draw what there is."""
    screen.lab.look()
    await pilot.pause()
    assert screen.is_current
    while screen.reader.poll(0.1) or screen.reader.behind:
        pass
    screen._draw(0.0)
    await pilot.pause()
    await pilot.pause()


def curves(screen: TrainScreen) -> dict[str, list[str]]:
    """{title of a chart: names of its curves}."""
    view = screen.query_one(Charts)
    return {p.title: [c.name for c in chart.curves] for p, chart in zip(view.panels, view.all, strict=True)}


def facts(screen: TrainScreen) -> str:
    return screen.query_one(Facts).copy_text()


def listed(screen: TrainScreen) -> list[str | None]:
    return [option.id for option in screen.query_one(Runs).options]


def trouble(screen: TrainScreen) -> str:
    box = screen.query_one("#trouble", Static)
    return str(box.content) if box.display else ""


def test_without_runs_it_says_what_to_press(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        text = screen_text(app)
        for line in (
            "No runs yet.",
            "Press n to train the pocket model (about 10 minutes);",
            "its curves appear here.",
        ):
            assert line in text
        await pilot.press(*"pRalg", "slash", "comma")
        await pilot.pause()
        make_run("first", 20)
        await settled(pilot, screen)
        assert screen.choice.shown == "first"
        assert "No runs yet" not in screen_text(app)
        shutil.rmtree(home / "first")
        await settled(pilot, screen)
        assert "No runs yet." in screen_text(app)

    drive(go)


def test_runs_curves_facts_and_samples(home: Path) -> None:
    make_run("old", 30, learning_rate=0.01)
    make_run("new", 40, parent="old", headline="1.16 loss")
    add_note("new", 12, "looks [b]fine[/b]")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        assert listed(screen) == ["new", "old"]
        assert screen.choice.shown == "new"
        text = screen_text(app)
        for part in ("✔ ━ new", "step 40 of 40", "1.16 loss", "from old", "One day there was a step"):
            assert part in text, part
        shown = curves(screen)
        assert shown["loss"] == ["loss"]
        assert shown["bits per byte"] == ["bits/byte"]
        assert shown["memory GB"] == ["active", "peak", "process"]
        big = screen.query_one(Charts).big
        assert list(big.curves[0].x) == list(range(1, 41))
        assert big.curves[0].y[-1] == pytest.approx(7 / 40**0.3)
        assert big.curves[0].smooth
        assert not screen.query_one(Charts).all[1].curves[0].smooth
        assert [(m.x, m.kind, m.label) for m in big.marks] == [
            (12, "note", "looks [b]fine[/b]"), (26, "checkpoint", ""), (39, "checkpoint", ""), (40, "checkpoint", ""),
        ]  # fmt: skip
        # The other run: shown, compared, laid over.
        await pilot.press("i", "down")
        await settled(pilot, screen)
        assert (screen.choice.shown, screen.choice.pinned) == ("old", "new")
        assert "learning rate 0.01 ⚑ 0.02" in facts(screen)
        assert curves(screen)["loss"] == ["new", "old"]
        assert screen.query_one(Charts).big.curves[0].pinned
        assert curves(screen)["memory GB"] == ["new process", "new peak", "old process", "old peak"]
        await pilot.press("space", "up", "i")
        await settled(pilot, screen)
        assert screen.choice.drawn == ["new", "old"]
        assert "1 kept" in screen_text(app)
        colours = {c.name: c.colour for c in screen.query_one(Charts).big.curves}
        assert len(set(colours.values())) == 2
        app.theme = "lab-light"
        await settled(pilot, screen)
        assert {c.name: c.colour for c in screen.query_one(Charts).big.curves} != colours

    drive(go)


def test_crosshair_axis_and_samples(home: Path) -> None:
    make_run("a", 40)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        view, pane = screen.query_one(Charts), screen.query_one(SamplePane)
        view.big.focus()
        await pilot.press("end", "left")
        await pilot.pause()
        assert screen.cross == 39
        assert all(chart.cursor == 39 for chart in view.all)
        assert pane.rows.highlighted == 2  # the sample of step 30
        await pilot.press("g", "g")
        await settled(pilot, screen)
        assert screen.axis == "tokens"
        assert {chart.x_name for chart in view.all} == {"tokens"}
        assert screen.step_here() == 39
        assert view.big.cursor == 2048 * 39
        pane.rows.focus()
        await pilot.press("home")
        await pilot.pause()
        assert screen.cross == view.big.cursor == 2048 * 10
        assert "step 10\nOne day there was a step 10." in pane.copy_text()

    drive(go)


@pytest.mark.slow
def test_full_screen_linked_zoom_and_chat(home: Path) -> None:
    folder = make_run("a", 40)
    (folder / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 48)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        view = screen.query_one(Charts)
        view.big.focus()
        await pilot.press("plus")
        await pilot.pause()
        assert view.big.view is not None
        dense = [chart for chart in view.all if len(chart.curves[0].x) == 40]
        assert len(dense) >= 4
        assert {chart.view for chart in dense} == {view.big.view}
        await pilot.press("f", "enter")
        await pilot.pause()
        assert screen.maximized is view.big
        await pilot.press("enter")
        await pilot.pause()
        small = view.all[1]
        small.focus()
        await pilot.press("enter")
        await pilot.pause()
        assert screen.maximized is small
        assert not small.compact
        assert small.size.height > 30
        await pilot.press("z")
        await settled(pilot, screen)
        assert screen.maximized is None
        assert small.compact
        assert small.size.height < 15
        view.big.focus()
        await pilot.press("home", "right", "right")
        await pilot.press("c")
        await pilot.pause()
        assert app.current_mode == "chat"
        assert (app.wanted_model or "a@26") == "a@26"  # the checkpoint nearest to step 3; Chat may have taken it by now

    drive(go)


@pytest.mark.slow
def test_table_logs_notes_and_filters(home: Path) -> None:
    make_run("a", 30)
    make_run("b", 12, recipe="sft")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        await pilot.press("t")
        await settled(pilot, screen)
        table = screen.query_one(Figures)
        assert table.has_focus
        assert "memory, process" in screen_text(app)
        assert table.copy_text().splitlines()[1].split("\t")[:2] == ["loss", "7.0"]
        await pilot.press("l")
        await settled(pilot, screen)
        assert not table.display
        assert screen.query_one(LogText).has_focus
        assert "a line of the log" in screen_text(app)
        assert "checkpoint saved" in screen_text(app)
        await pilot.press("a")
        await pilot.pause()
        assert isinstance(app.screen, Write)
        app.screen.query_one(Input).value = "why [x"
        await pilot.press("enter")
        await settled(pilot, screen)
        assert "why [x" in screen_text(app)
        note = json.loads((home / "b" / "notes.jsonl").read_text())
        assert (note["step"], note["text"]) == (12, "why [x")
        await pilot.press("a", "q", "escape")
        await settled(pilot, screen)
        assert len((home / "b" / "notes.jsonl").read_text().splitlines()) == 1
        with open(home / "b" / "log.txt", "a") as file:
            file.write("\x1b[31mred\n")
        screen._draw(0)
        assert screen.query_one(LogText).lines[-1] == "␛[31mred"
        await pilot.press("l")
        await settled(pilot, screen)
        assert not screen.query_one(Logs).display
        # Filters: figures where a chart has the focus, runs in the list.
        await pilot.press("slash")
        screen.query_one("#figure-filter", Filter).value = "norm|mem"
        await pilot.press("enter")
        await settled(pilot, screen)
        assert list(curves(screen)) == ["gradient norm", "memory GB"]
        await pilot.press("slash", "escape")
        await settled(pilot, screen)
        assert len(curves(screen)) == 6
        screen.query_one(Runs).focus()
        await pilot.press("slash")
        screen.query_one("#run-filter", Filter).value = "pretrain"
        await settled(pilot, screen)
        assert listed(screen) == ["a"]
        assert "1 of 2" in screen_text(app)
        assert screen.choice.shown == "b"
        await pilot.press("enter")  # the shown run is not among them: the first one is shown
        await settled(pilot, screen)
        assert screen.query_one(Runs).has_focus
        assert screen.choice.shown == "a"
        await pilot.press("slash", "escape")
        await settled(pilot, screen)
        assert listed(screen) == ["b", "a"]

    drive(go)


def test_a_log_opens_at_its_end_and_moves_along_long_lines(home: Path) -> None:
    folder = make_run("a", 3)
    (folder / "log.txt").write_text("".join(f"line {i} {'word ' * 60}end\n" for i in range(300)))

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        await pilot.press("l")
        await settled(pilot, screen)
        text = screen.query_one(LogText)
        await until(pilot, lambda: text.line_count == 300 and text.is_vertical_scroll_end)  # once the pane has its size
        assert "line 299 word" in screen_text(app)
        assert "along long lines" in screen_text(app)
        await pilot.press("right", "right")
        assert text.scroll_offset.x == 16
        await pilot.press("left", "up", "up")
        await settled(pilot, screen)
        assert text.scroll_offset.x == 8
        with open(folder / "log.txt", "a") as file:
            file.write("new\n")
        screen._draw(0)
        await settled(pilot, screen)
        assert text.line_count == 301
        assert not text.is_vertical_scroll_end  # who reads further up stays there
        assert text.scroll_offset.x == 8

    drive(go)


def test_swap_is_drawn_where_there_is_some(home: Path) -> None:
    for name, swap in (("a", 0.5), ("b", 0.0)):
        with open(make_run(name, 3) / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": 4, "t": 4e9, "mem_cache": 0.4, "mem_swap": swap}) + "\n")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        assert curves(screen)["memory GB"] == ["active", "peak", "process", "cache"]
        assert "swap 0" in facts(screen)
        await pilot.press("down")
        await settled(pilot, screen)
        assert curves(screen)["memory GB"] == ["active", "peak", "process", "cache", "swap"]
        await pilot.press("i", "up")
        await settled(pilot, screen)
        assert "memory GB: process, pale peak" in [chart.title for chart in screen.query_one(Charts).all]

    drive(go)


@pytest.mark.slow
def test_deleting_asks_and_refuses(home: Path) -> None:
    for name in ("a", "b"):
        make_run(name, 3)
    os.rename(make_run("c", 3), home / "pocket-c")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        await pilot.press("delete", "n")
        await pilot.press("delete")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        assert "delete b?" in screen_text(app)
        await pilot.press("y")
        await until(pilot, lambda: not (home / "b").exists())
        await settled(pilot, screen)
        assert listed(screen) == ["a", "pocket-c"]
        assert screen.choice.shown == "a"
        await pilot.press("down", "delete")
        await pilot.pause()
        assert app.screen is screen
        assert "is a shipped model and stays" in screen_text(app)
        handle = lock(home / "a" / "lock", "")
        (home / "a" / "status.json").write_text(json.dumps({"state": "running", "step": 1, "total": 3}))
        await settled(pilot, screen)
        await pilot.press("up", "delete")
        await pilot.pause()
        assert "a is running; stop it first (x)" in screen_text(app)
        os.close(handle)

    drive(go)


def test_folders_that_go_or_change_while_they_are_shown(home: Path) -> None:
    make_run("a", 20)
    make_run("b", 20)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        os.rename(home / "b", home / "best")
        await settled(pilot, screen)
        assert screen.choice.shown == "best"
        assert facts(screen)
        (home / "best" / "status.json").write_text('{"state": "runn')  # half written by something else
        (home / "best" / "run.json").write_text("[]")
        with open(home / "best" / "metrics.jsonl", "a") as file:
            file.write('{"step": 21, "t": 1, "loss": null, "new": 4, "odd": "x"}\n{"step": 22, "lo')
        await settled(pilot, screen)
        assert screen.query_one(Charts).big.curves[0].x[-1] == 21
        (home / "best" / "metrics.jsonl").write_text(
            '{"step": 1, "t": 5, "loss": 3.5, "version": 9, "more": {"a": [1]}}\n'
        )
        await settled(pilot, screen)
        assert list(screen.query_one(Charts).big.curves[0].y) == [3.5]
        for name in ("metrics.jsonl", "samples.jsonl", "run.json"):
            (home / "best" / name).unlink()
        (home / "best" / "config.json").write_text("{}")
        await settled(pilot, screen)
        assert screen.choice.shown == "best"
        shutil.rmtree(home / "best")
        screen._draw(0)
        await settled(pilot, screen)
        assert screen.choice.shown == "a"
        assert "step 20 of 20" in facts(screen)

    drive(go)


def test_a_run_with_words_and_no_curves_shows_its_log(home: Path) -> None:
    folder = make_run("a", 4, recipe="probes")
    rows = [{"step": i, "t": i, "mem_peak": 0.1} for i in range(4)]
    rows.append({"step": 4, "t": 9, "event": "probe", "probe": "few-shot", "right": 0.52})  # type: ignore[dict-item]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"charts": []}))
    (folder / "log.txt").write_text("examples  right\n\n       8   52 %\n")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        text = screen_text(app)
        assert "       8   52 %" in text
        assert "probe few-shot" in text
        assert not screen.query_one(Charts).display
        await pilot.press("t")
        await settled(pilot, screen)
        assert "few-shot right" in screen_text(app)
        await pilot.press("t")
        await settled(pilot, screen)
        assert screen.query_one(Charts).display

    drive(go)


@pytest.mark.slow
def test_a_small_terminal_shows_the_curve_first(home: Path) -> None:
    make_run("a", 30)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        assert "✔ a done  30/30" in screen_text(app)
        assert screen.query_one(Charts).big.has_focus
        await pilot.press("r")
        await settled(pilot, screen)
        assert screen.query_one(Runs).has_focus
        assert "recipe pretrain" in screen_text(app)
        await pilot.press("enter")
        await settled(pilot, screen)
        assert screen.query_one(Charts).big.has_focus
        for key, said in (("l", "a line of the log"), ("t", "gradient norm")):
            await pilot.press("r", key)  # out of the list, which covers it
            await settled(pilot, screen)
            assert said in screen_text(app)
            assert screen.query_one(Runs).region.size == (0, 0)

    drive(go, (80, 24))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (100, 30), (40, 12)])
def test_small_terminals_reach_everything(home: Path, size: tuple[int, int]) -> None:
    make_run("a", 30)
    make_run("b", 30)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        view, tiny = screen.query_one(Charts), size[0] < 90
        assert view.big.size.height >= (3 if size[1] < 20 else 8)
        assert screen.query_one(RunList).display is True
        assert screen.query_one("#left").display is not tiny
        assert not screen.query_one(SamplePane).display
        if tiny:
            assert "✔ b done  30/30" in screen_text(app)
            assert view.big.has_focus
        await pilot.press("tab", "v")
        await settled(pilot, screen)
        assert screen.query_one(SamplePane).display
        assert "there was a" in screen_text(app)
        await pilot.press("r")
        await settled(pilot, screen)
        assert screen.query_one(Runs).has_focus
        await pilot.press("down", "enter")
        await settled(pilot, screen)
        assert screen.choice.shown == "a"
        assert view.big.has_focus
        for key in ("l", "t", "t", "left_square_bracket", "left_square_bracket", "enter", "enter", "slash", "escape"):
            await pilot.press(key)
        await settled(pilot, screen)
        assert "loss" in screen_text(app)

    drive(go, size)


def test_a_foreign_models_folder_has_facts_and_no_curves(home: Path) -> None:
    (home / "smol").mkdir()
    (home / "smol" / "config.json").write_text("{}")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        text = screen_text(app)
        assert "◆ ━ smol" in text
        assert "a model, not trained here" in text.replace("\n", " ") or "not trained here" in text
        assert "there are no curves. c talks with it" in text
        assert not screen.check_action("pause", ())
        assert not screen.check_action("resume", ())

    drive(go)


@pytest.mark.slow
def test_a_filter_that_finds_nothing_says_so(home: Path) -> None:
    make_run("a", 10)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        screen.query_one(Charts).big.focus()
        await pilot.press("slash", *"zzz")
        await settled(pilot, screen)
        assert "no figure is called zzz" in screen_text(app)
        await pilot.press("(")
        await settled(pilot, screen)
        assert "no regular expression" in screen_text(app)
        field = screen.query_one("#figure-filter", Filter)
        assert isinstance(field, Input)
        assert field.has_focus

    drive(go)


@pytest.mark.slow
def test_samples_of_other_prompts_and_long_ones(home: Path) -> None:
    folder = make_run("a", 10)
    with open(folder / "samples.jsonl", "a", encoding="utf-8") as file:
        for step in (5, 10):
            text = f"{step} [red]no markup[/] \x1b[31m " + "word " * 100
            file.write(json.dumps({"step": step, "prompt": "The capital of France is", "text": text}) + "\n")

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        pane = screen.query_one(SamplePane)
        assert "‹1 of 2›" in str(pane.border_subtitle)
        await pilot.press("full_stop")
        await settled(pilot, screen)
        text = screen_text(app)
        assert "‹2 of 2›" in str(pane.border_subtitle)
        assert "[red]no markup[/] ␛[31m" in text.replace("\n", " ") or "no markup" in text
        assert "… enter" in text
        before = pane.rows.virtual_size.height
        pane.rows.focus()
        await pilot.press("end", "up", "enter")
        await settled(pilot, screen)
        assert pane.rows.virtual_size.height > before + 5
        await pilot.press("full_stop")
        await settled(pilot, screen)
        assert "‹all of 2›" in str(pane.border_subtitle)
        assert len(pane.rows.options) == 3
        await pilot.press("comma", "comma")
        await settled(pilot, screen)
        assert pane.prompt == "One day"
        # The list stays where it is while new ones come, unless its end is shown.
        with open(folder / "samples.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": 11, "prompt": "One day", "text": "came later"}) + "\n")
        await settled(pilot, screen)
        assert len(pane.rows.options) == 2
        assert "came later" in screen_text(app)

    drive(go)


@pytest.mark.slow
def test_the_memory_warning_and_many_charts(home: Path) -> None:
    folder = make_run("a", 3)
    handle = lock(folder / "lock", "")
    with open(folder / "metrics.jsonl", "w") as file:
        for i in range(400):
            row = {"step": i, "t": 1000 + i, "loss": 2.0, "mem_peak": 1.5, "mem_process": 2 + i / 100}
            file.write(json.dumps(row | {f"x{k}": i for k in range(40)}) + "\n")
    status = {"state": "running", "step": 400, "total": 900, "t": 4e9, "eta": 60, "tok_s": 100}
    (folder / "status.json").write_text(json.dumps(status))

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        screen._warned = 0
        await settled(pilot, screen)
        screen.watched(True)
        assert "⚠ The process grew" in trouble(screen)
        view = screen.query_one(Charts)
        assert len(view.all) == 24
        assert view.hidden > 10
        view.scroll_end(animate=False)
        await pilot.pause()
        assert f"and {view.hidden} charts more: / finds figures by name" in screen_text(app)
        await pilot.press("tab", "tab", "slash", *"x3", "enter")
        await settled(pilot, screen)
        assert len(view.all) == 11
        assert view.scroll_offset.y == 0
        assert isinstance(screen.query_one(Facts).border_title, str | Content)

    drive(go)
    os.close(handle)


def test_keys_wait_for_what_makes_sense(home: Path) -> None:
    make_run("a", 5)

    async def go(pilot: Pilot[None], app: LabApp, screen: TrainScreen) -> None:
        state = {
            action: screen.check_action(action, ()) for action in ("pause", "checkpoint", "stop", "resume", "note")
        }
        assert state == {"pause": None, "checkpoint": None, "stop": None, "resume": None, "note": True}
        (home / "a" / "status.json").write_text(json.dumps({"state": "stopped", "step": 3, "total": 5}))
        await settled(pilot, screen)
        assert screen.check_action("resume", ())
        assert len(screen.query(Chart)) == len(curves(screen))
        assert screen.query_one(Events)

    drive(go)
