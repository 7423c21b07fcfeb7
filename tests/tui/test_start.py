"""The start dialog: recipes and flags from `lab plan`, the exact command, what it would need, and starting."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select, Static

from lab.runs import inspect, lock, read_json
from tests.conftest import REPO, TINY
from tests.tui.conftest import make_run, screen_text
from tui.app import LabApp
from tui.data import launch
from tui.data.editor import edited, parsed
from tui.data.plan import Flag, Planner, Recipe, arguments, fresh_name, recipes, typed
from tui.screens.start import StartScreen, facts
from tui.widgets.form import Choice, Field

Go = Callable[[Pilot[None], LabApp], Awaitable[None]]


def drive(go: Go, size: tuple[int, int] = (150, 42)) -> None:
    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await go(pilot, app)

    asyncio.run(main())


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause(0.02)
        if true():
            return
    raise AssertionError(screen_text(pilot.app))


def dialog(app: LabApp) -> StartScreen:
    assert isinstance(app.screen, StartScreen)
    return app.screen


def planners() -> list[str]:
    """Command lines of the `lab plan` children that live."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "recipes plan" in line and "ps -eo" not in line]


def test_all_flags_asked_for_before_they_are_known_come_when_they_are() -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await until(pilot, lambda: dialog(app).flags)
        screen = dialog(app)
        found, screen._found = screen._found, {}  # as before `lab plan` has told them, or where it cannot
        await pilot.press("ctrl+t")
        await pilot.pause()
        assert not screen.query("#start-more Field")
        screen._found = found
        await screen._fields()
        assert len(screen.query("#start-more Field")) > 3

    drive(go)


# -- without a screen ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes()}


def flag(known: dict[str, Recipe], recipe: str, name: str) -> Flag:
    return next(f for f in known[recipe].flags if f.name == name)


def test_flags_to_type(known: dict[str, Recipe]) -> None:
    assert next(iter(known)) == "pretrain"
    assert known["pretrain"].line.startswith("train a transformer")
    flags = known["pretrain"].flags
    assert arguments(flags, {}) == []
    assert arguments(flags, {f.name: typed(f, f.default) for f in flags}) == []  # the form as it opens
    values = {"size": "5m", "iters": " 30 ", "tie": "yes", "qk_norm": "no", "data": "a b.txt", "batch_size": "11"}
    line = arguments(flags, values)
    assert line == ["--data", "a b.txt", "--size", "5m", "--tie", "--no-qk-norm", "--iters", "30"]
    assert launch.command("pretrain", line).startswith("lab pretrain --data 'a b.txt' --size 5m --tie")
    # A config, as run.json and YAML hold it.
    assert arguments(flags, {"tie": True, "qk_norm": True, "iters": 30, "learning_rate": 0.01, "mix": "", "data": None}) == [
        "--tie", "--iters", "30", "--learning-rate", "0.01",
    ]  # fmt: skip
    assert arguments(flags, {"mix": "-x"}) == ["--mix=-x"]
    only = known["probes"].flags
    assert arguments(only, {"only": "few-shot, windows"}) == ["--only", "few-shot", "--only", "windows"]
    assert arguments(only, {"only": ["few-shot"]}) == ["--only", "few-shot"]
    assert typed(flag(known, "probes", "only"), ["a", "b"]) == "a, b"
    assert flag(known, "pretrain", "size").main
    assert not flag(known, "pretrain", "ffn").main


def test_names_that_are_free(home: Path) -> None:
    assert fresh_name("pretrain", []) == "pretrain-1"
    make_run("pretrain-1", steps=3)
    assert fresh_name("pretrain", []) == "pretrain-2"
    assert fresh_name("pretrain", ["pretrain-2", "pretrain-3"]) == "pretrain-4"  # on their way, without a folder yet


def test_a_planner_that_is_stopped_leaves_no_child(home: Path) -> None:
    heard: list[str] = []
    planner = Planner("pretrain", ["--size", "60m"])  # measuring it would take minutes
    import threading

    thread = threading.Thread(target=lambda: planner.follow(lambda row: heard.append(row["event"])))
    thread.start()
    end = time.monotonic() + 20
    while "plan" not in heard and time.monotonic() < end:
        time.sleep(0.05)
    assert heard == ["plan"]
    planner.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert planner._process is not None
    assert planner._process.poll() is not None
    late = Planner("pretrain", [])
    late.stop()
    late.follow(lambda row: heard.append("never"))
    assert heard == ["plan"]


def test_the_facts_in_lines() -> None:
    """As many lines as ever, whatever was said so far, and whatever a later version says."""
    plan = {"facts": {"model": "3 parameters"}, "steps": 5, "tokens": 99, "about": "", "disk": {}, "waits": ""}
    for rows in (
        {},
        {"failed": {"message": "--iters 0: must be at least 1"}},
        {"plan": plan},
        {"plan": {"facts": None}},
    ):
        assert len(facts(rows, [])) == 5
    text = "\n".join("".join(part for part, _ in line) for line in facts({"plan": plan}, ["pretrain-3"]))
    assert "pretrain-3 trains now: this one waits for it" in text
    assert "5, 99 tokens" in text
    unknown = {"plan": {"facts": {}, "steps": None, "disk": {"need": None}, "memory": None}}
    text = "\n".join("".join(part for part, _ in line) for line in facts(unknown, []))
    assert "size    not known" in text
    assert "disk    not known" in text  # a recipe without a plan does not say that it saves nothing


def test_a_config_in_the_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"data": None, "size": "pocket", "iters": 5, "name": "a", "resume": False, "only": ["x"]}

    def editor(script: str) -> None:
        path = tmp_path / "edit.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("EDITOR", f"{path} --wait")
        monkeypatch.delenv("VISUAL", raising=False)

    editor('test "$1" = --wait && sed -i "s/iters: 5/iters: 7/" "$2"')
    assert edited("a-1", config) == {"data": None, "size": "pocket", "iters": 7, "only": ["x"]}
    editor(': > "$2"')
    assert edited("a-1", config) is None
    for script, says in (
        ("exit 3", "ended with 3"),
        ('echo "a: [" > "$2"', "a-1.yaml"),
        ('echo "- 1" > "$2"', "one `flag: value`"),
    ):
        editor(script)
        with pytest.raises(Exception, match=says):
            edited("a-1", config)
    monkeypatch.setenv("EDITOR", str(tmp_path / "none"))
    with pytest.raises(Exception, match="set EDITOR"):
        edited("a-1", config)
    assert parsed("batch-size: 3", "x") == {"batch_size": 3}


# -- the dialog ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_form_and_what_it_needs(home: Path) -> None:
    """While something holds the device, so that no steps are measured, which takes seconds."""
    make_run("pretrain-1", steps=3)
    held = lock(home / ".device.lock", "")

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.query(Field))
        start = dialog(app)
        assert start.query_one("#run-name", Input).value == "pretrain-2"
        assert start.focused is start.query_one("#run-name")
        await pilot.press("tab", "tab", "right")  # data, size: the next one
        assert start.query_one("#flag-size", Choice).value == "5m"
        await pilot.press("tab", "tab", "4", "0")
        assert start.query_one("#flag-iters", Input).value == "40"
        command = str(start.query_one("#start-command", Static).content)
        assert command == "$ lab pretrain --name pretrain-2 --size 5m --iters 40"
        await until(pilot, lambda: "6,114,688 parameters" in screen_text(app))
        assert "SAFE" in screen_text(app)
        await until(pilot, lambda: "another training trains now: this one waits for it" in screen_text(app))
        assert "not known: another training holds the device" in screen_text(app)
        await pilot.press("backspace", "backspace", "x")
        await until(pilot, lambda: "--iters x: give a whole number" in screen_text(app))
        await pilot.press("enter")  # refused before anything is started
        assert isinstance(app.screen, StartScreen)
        assert not app.starts.started
        await pilot.press("backspace", "ctrl+t")
        await until(pilot, lambda: start.query("#flag-ffn"))
        start.query_one("#flag-ffn", Input).value = "96"
        await pilot.press("ctrl+t")  # folded away, it still counts
        await until(pilot, lambda: not start.query("#flag-ffn"))
        assert start.args() == ["--size", "5m", "--ffn", "96"]
        start.query_one(Select).value = "probes"
        await until(pilot, lambda: start.query("#flag-only"))
        assert start.query_one("#run-name", Input).value == "probes-1"
        assert start.args() == []
        await pilot.press("escape")
        assert not isinstance(app.screen, StartScreen)
        await until(pilot, lambda: not [line for line in planners() if "--name probes-1" in line])

    try:
        drive(go)
    finally:
        os.close(held)


@pytest.mark.slow
def test_a_form_that_opens_with_values(home: Path) -> None:
    """Enter before the flags are known waits for them: what was given is not lost."""
    from tui.data import plan

    plan._known.clear()

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        app.push_screen(StartScreen("pretrain", {"iters": 5, "tie": True, "data": "/nowhere"}))
        await pilot.press("enter")
        line = "lab pretrain --name pretrain-1 --data /nowhere --tie --iters 5: "
        said = lambda: [n.message for n in app._notifications if n.message.startswith(line)]  # noqa: E731
        await until(pilot, said, 30)  # it was refused, which the app says
        assert "/nowhere: no such file" in said()[0]
        assert app.current_mode == "train"

    drive(go)


@pytest.mark.slow
def test_from_the_dialog_to_a_finished_run(home: Path, text_file: Path) -> None:
    values = dict(zip(TINY[::2], TINY[1::2], strict=True))
    given = {name.removeprefix("--").replace("-", "_"): int(value) for name, value in values.items()}

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        app.push_screen(StartScreen("pretrain", given | {"data": str(text_file), "iters": 12}))
        await until(pilot, lambda: "measured here" in screen_text(app), 40)
        await pilot.press("enter")
        await until(pilot, lambda: app.current_mode == "train")
        await until(pilot, lambda: inspect(home / "pretrain-1").state == "done", 60)
        config = read_json(home / "pretrain-1" / "run.json")["config"]
        assert {name: config[name] for name in given} == given
        assert config["iters"] == 12

    drive(go)


@pytest.mark.slow
def test_the_pocket_model_in_two_keys(home: Path) -> None:
    shutil.copytree(REPO / "weights" / "pocket-base", home / "pocket-base")

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("n", "enter")
        await until(pilot, lambda: app.current_mode == "train")
        process = app.starts.started[0].process
        try:
            # A minute of CPU, most of it for tokenizer and text.
            await until(pilot, lambda: (found := app.watcher.find("pretrain-1")) and found.step > 0, 240)
        finally:
            process.terminate()
            process.wait(60)

    drive(go)
