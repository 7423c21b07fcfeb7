"""What all rooms share: going about, palette, jump, help, themes, keys, sizes, and what is said when runs end."""

import ast
import asyncio
import re
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tests.conftest import REPO
from tests.tui.conftest import make_run, screen_text
from tui import settings
from tui.app import LabApp
from tui.jump import Jump, targets
from tui.palette import entries, every_binding
from tui.screens.base import LabScreen
from tui.widgets.nav import ROOMS, NavBar

Go = Callable[[Pilot[None], LabApp], Coroutine[Any, Any, None]]


def drive(go: Go, size: tuple[int, int] = (150, 42)) -> None:
    """Run the app without a terminal and do something in it."""

    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await go(pilot, app)

    asyncio.run(main())


def test_rooms_by_key_click_and_jump(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for number, (room, _) in enumerate(ROOMS, 1):
            await pilot.press("escape", str(number))
            await pilot.pause()
            assert app.current_mode == room
            assert isinstance(app.screen, LabScreen)
            assert room == app.screen.ROOM
        bar = app.screen.query_one(NavBar)
        start, _, what, _ = bar._places[1]
        await pilot.click(NavBar, offset=(start + 1, 0))
        await pilot.pause()
        assert app.current_mode == what == "train"
        await pilot.press("escape", "ctrl+o")
        await pilot.pause()
        assert isinstance(app.screen, Jump)
        await pilot.press("5")
        await pilot.pause()
        assert app.current_mode == "tokens"
        letter, widget = next(iter(targets(app.screen).items()))
        await pilot.press("ctrl+o", letter)
        await pilot.pause()
        assert app.screen.focused is widget

    drive(go)


@pytest.mark.parametrize("second", ["w", "escape", "5"])
def test_keys_typed_ahead_of_the_jump_do_not_leave_the_window(home: Path, second: str) -> None:
    """What is typed while the letters go away reaches them when they are no longer there."""

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        under = app.screen
        for first in ("w", "2", next(iter(targets(under)))):
            await pilot.press("ctrl+o")
            await pilot.pause()
            jump = app.screen
            assert isinstance(jump, Jump)
            for key in (first, second, second):
                jump.post_message(events.Key(key, key if len(key) == 1 else None))
            await pilot.pause(0.1)
            assert app.is_running
            assert not isinstance(app.screen, Jump)
            await pilot.press("escape", "1")
            await pilot.pause()

    drive(go)


def test_digits_typed_into_a_text_stay_there(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("5")
        await pilot.pause()
        area = app.screen.query(TextArea).first()
        area.focus()
        area.text = ""
        await pilot.press("4", "2", "q", "n")
        assert area.text == "42qn"
        assert app.current_mode == "tokens"
        await pilot.press("escape", "1")
        await pilot.pause()
        assert app.current_mode == "pipeline"

    drive(go)


@pytest.mark.slow
def test_every_action_is_in_the_palette_and_in_the_help(home: Path) -> None:
    make_run("a", steps=12)
    shutil.copytree(REPO / "weights" / "pocket-base", home / "pocket-base")
    known = every_binding()
    assert len(known) > 40
    for name, binding in known.items():
        assert re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", name), name
        assert binding.description, name
        assert "." in name
    said = set[str]()

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for number, (room, _) in enumerate(ROOMS, 1):
            await pilot.press("escape", str(number))
            await pilot.pause(0.2)
            assert app.current_mode == room
            if room == "chat":  # messages and tokens have keys of their own
                await pilot.press("4")
                for key in "One day":
                    await pilot.press("space" if key == " " else key)
                await pilot.press("enter")
                for _ in range(300):
                    await pilot.pause(0.1)
                    if "tok/s" in screen_text(app):
                        break
                await pilot.press("escape", "up", "left")
                await pilot.pause(0.2)
            said.update(entry.text.partition(": ")[2] for entry in entries(app, app.screen))
        app.open_play()
        await pilot.pause(0.2)
        said.update(entry.text.partition(": ")[2] for entry in entries(app, app.screen))

    drive(go)
    dialogs = ("jump.", "start.", "models.", "dialog.", "vocabulary.")  # keys of a dialog that is open
    missing = {n: b.description for n, b in known.items() if b.description not in said and not n.startswith(dialogs)}
    assert sorted({n.partition(".")[0] for n in missing}) == []


def test_no_key_does_two_things_at_once() -> None:
    """On one screen a key has one meaning, its own or the app's."""
    from tui.app import room_class
    from tui.palette import own_bindings

    for room, _ in ROOMS:
        seen: dict[str, str] = {}
        for binding in own_bindings(room_class(room)):
            for key in binding.key.split(","):
                assert seen.setdefault(key, binding.action) == binding.action, (room, key)


@pytest.mark.slow
def test_help_themes_and_screenshot(home: Path, config_home: Path, tmp_path: Path) -> None:
    make_run("a", steps=12)

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        assert app.screen.query("HelpPanel")
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        assert not app.screen.query("HelpPanel")
        for theme in ("lab-dark", "lab-light", "ansi-dark", "ansi-light", "nord"):
            app.theme = theme
            for key in "124561":
                await pilot.press("escape", key)
                await pilot.pause()
        assert settings.load().theme == "nord"
        app.action_screenshot("shot.svg", str(tmp_path))
        await pilot.pause(0.5)

    drive(go)
    assert "<svg" in (tmp_path / "shot.svg").read_text()


def test_the_theme_comes_back_and_keys_can_be_changed(home: Path) -> None:
    settings.save(settings.Settings(theme="dracula", keys={"go.tokens": "f9", "go.tokns": "f8"}))

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        assert app.theme == "dracula"
        assert any("did you mean go.tokens?" in n.message for n in app._notifications)
        await pilot.press("f9")
        await pilot.pause()
        assert app.current_mode == "tokens"

    drive(go)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 12), (20, 5), (80, 24), (250, 70)])
def test_no_size_crashes_any_room(home: Path, size: tuple[int, int]) -> None:
    make_run("a", steps=12)

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for key in "123456":
            await pilot.press("escape", key)
            await pilot.pause(0.05)
        for width, height in ((1, 1), (150, 42), size):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        assert app.current_mode == "rank"

    drive(go, size)


def test_what_ends_is_said(home: Path) -> None:
    folder = make_run("a", steps=12, headline="0.9 bits/byte")

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        app._states = {"a": "running"}
        app.watcher.runs = []
        app.look()
        await pilot.pause()
        assert [n.message for n in app._notifications] == ["a: done at step 12; 0.9 bits/byte"]
        (folder / "status.json").write_text('{"state": "failed", "step": 3, "error": "no [b]disk[/b] left"}')
        app._states = {"a": "running"}
        app.look()
        await pilot.pause()
        assert "a: failed at step 3; no [b]disk[/b] left" in [n.message for n in app._notifications]

    drive(go)


@pytest.mark.slow
def test_empty_rooms_say_what_to_press(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for key, word in (("1", "r"), ("2", "n"), ("4", "n"), ("5", "n")):
            await pilot.press("escape", key)
            await pilot.pause(0.3)
            text = screen_text(app)
            assert re.search(rf"\b{word}\b", text), text
            assert "Traceback" not in text

    drive(go)


def test_the_window_shows_nothing_but_what_is_on_the_disk() -> None:
    """No made-up runs, texts or figures: nothing below tui/ names a test's files or a design picture."""
    for path in (REPO / "tui").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"\btests/|from tests|fixture|snapshot|mock", text), path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.endswith((".jsonl.gz", "fake.json")), path


@pytest.mark.slow
def test_an_empty_root_shows_no_run(home: Path) -> None:
    """With nothing on the disk there is nothing to see: every id on the screens comes from a folder."""

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for key in "124":
            await pilot.press("escape", key)
            await pilot.pause(0.3)
            assert not re.search(r"pretrain-\d|pocket-base|step \d", screen_text(app)), screen_text(app)
        make_run("zebra-7", steps=12)
        app.look()
        for key in "12":
            await pilot.press("escape", key)
            await pilot.pause(0.5)
            assert "zebra-7" in screen_text(app)

    drive(go)


@pytest.mark.slow
def test_focus_is_seen_in_fields(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        for key in "1245":
            await pilot.press("escape", key)
            await pilot.pause()
            for field in app.screen.query("Input, TextArea"):
                assert isinstance(field, Input | TextArea)
                assert field.cursor_blink is False, field

    drive(go)
