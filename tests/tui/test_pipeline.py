"""Pipeline: stages, runs, lineage and log on real run folders, by keys; the Data tab."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from lab.runs import lock, read_json
from tests.conftest import REPO
from tests.tui.conftest import Terminal, make_run, screen_text
from tui.app import LabApp
from tui.screens.pipeline import PipelineScreen
from tui.screens.start import StartScreen
from tui.widgets.document import DocumentView
from tui.widgets.road_panes import RunTable
from tui.widgets.stage_card import Road, StageCard

Go = Callable[[Pilot[None], LabApp, PipelineScreen], Awaitable[None]]


def drive(go: Go, size: tuple[int, int] = (150, 42)) -> None:
    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            screen = app.screen
            assert isinstance(screen, PipelineScreen)
            await go(pilot, app, screen)

    asyncio.run(main())


async def until(pilot: Pilot[None], true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause(0.02)
        if true():
            return
    raise AssertionError(screen_text(pilot.app))


def card(screen: PipelineScreen, key: str) -> StageCard:
    return screen.query_one(f"#stage-{key}", StageCard)


def test_no_runs_at_all(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: PipelineScreen) -> None:
        text = screen_text(app)
        assert "Press n and enter" in text
        assert "needs a base model: press" in text
        assert screen.focused is card(screen, "pretrain")
        await pilot.press("c", "e")  # nothing to talk with, nothing to edit
        assert app.screen is screen
        await pilot.press("right", "r")
        await until(pilot, lambda: "probes: needs a base model" in screen_text(app))
        assert app.screen is screen

    drive(go)


def test_a_journey_on_its_way_is_told_until_it_ends(home: Path) -> None:
    folder = home / ".journeys" / "mine"
    folder.mkdir(parents=True)
    told = {"state": "running", "at": "sft", "number": 3, "of": 13, "left": 1930.0}
    (folder / "journey.json").write_text(json.dumps(told))
    handle = lock(folder / "lock", "")

    async def go(pilot: Pilot[None], app: LabApp, screen: PipelineScreen) -> None:
        await until(pilot, lambda: "journey mine: stage 3 of 13, sft, about 32:10 left" in screen_text(app))
        os.close(handle)  # as kill -9 would
        await until(pilot, lambda: "journey mine" not in screen_text(app))
        assert "text → base model" in screen_text(app)

    drive(go)


@pytest.mark.slow
def test_stages_runs_and_lineage(home: Path) -> None:
    (home / "pocket-base").symlink_to(REPO / "weights" / "pocket-base")
    make_run("second", steps=30, headline="1.234 bits/byte", parent="pocket-base@400")
    (make_run("looked", steps=6, recipe="probes", parent="second") / "model.safetensors").unlink()

    async def go(pilot: Pilot[None], app: LabApp, screen: PipelineScreen) -> None:
        await until(pilot, lambda: card(screen, "pretrain").seen.figures)
        text = screen_text(app)
        shipped = read_json(REPO / "weights" / "pocket-base" / "status.json")["headline"]
        for words in ("second", "1.234 bits/byte", shipped, "└─ ", "from step 400", "3 pretrain", "done"):
            assert words in text, words
        assert "step 30" in text  # its last lines
        # Arrows: five columns here.
        assert screen.query_one(Road).columns == 5
        await pilot.press("left", "left", "left")
        assert screen.focused is card(screen, "data")
        await pilot.press("down", "right", "up")
        assert screen.focused is card(screen, "tokenizer")
        await pilot.press("down", "down")
        table = screen.query_one(RunTable)
        assert screen.focused is table
        assert [name for name in table._rows] == ["looked", "second", "pocket-base"]
        # A probes run talks with the model it looked at.
        assert (table.current, screen.speaker()) == ("looked", "second")
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.current_mode == "train")
        assert app.screen is not screen
        await pilot.press("1")
        card(screen, "pretrain").focus()
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))
        await pilot.press("escape")
        card(screen, "probes").focus()
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, StartScreen) and app.screen.query("#flag-model"))
        assert app.screen.query_one("#flag-model", Input).value == "second"  # the newest base
        await pilot.press("escape")
        # The run changes: its card, its line and the log follow.
        status = json.loads((home / "second" / "status.json").read_text())
        (home / "second" / "status.json").write_text(json.dumps(status | {"state": "failed", "error": "out of memory"}))
        await until(pilot, lambda: "second failed" in screen_text(app))
        for theme in ("lab-light", "ansi-dark", "nord"):
            app.theme = theme
            await pilot.pause()
        for size in ((120, 40), (100, 30), (80, 24), (40, 12), (200, 50)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
            assert "Road" in screen_text(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert screen.query_one(Road).columns == 2
        await pilot.press("v")
        await pilot.pause(0.05)
        assert "lineage" in screen_text(app)
        await pilot.press("v")
        await pilot.pause(0.05)
        assert "log" in screen_text(app)

    drive(go)


@pytest.mark.slow
def test_the_data_tab(home: Path, tmp_path: Path) -> None:
    (home / "pocket-base").symlink_to(REPO / "weights" / "pocket-base")
    talk = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A small model."}]
    rows = [{"messages": talk}, {"prompt": "2+2?", "completion": "4"}]
    (home / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = tmp_path / "cleaned"
    folder.mkdir()
    (folder / "train.jsonl").write_text(
        "".join(json.dumps({"text": f"Document {i}. [b]x[/b]\x1b[31m"}) + "\n" for i in range(50))
    )
    example = {"file": "a.txt", "number": 7, "excerpt": "Buy now!", "value": 0.9, "limit": 0.3, "said": ""}
    report = {
        "conclusion": "kept 50.0 % of 100 documents", "documents": 100, "characters": 9000,
        "kept": {"documents": 50, "characters": 5000}, "histogram": [[16, 10], [32, 40]],
        "dropped": {"max-symbols": {"documents": 50, "share": 0.5, "characters": 4000, "examples": [example]}},
        "lengths": {"characters": {"min": 10, "50%": 20, "max": 30}},
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))
    make_run("on-it", steps=3, data=str(folder))
    world = home / ".cache" / "looks"  # what a look through the pocket world leaves, so that none starts here
    from tui.data.looks import pocket_folder

    pocket_folder().mkdir(parents=True)
    (pocket_folder() / "report.json").write_text(json.dumps({"documents": 3, "characters": 90, "sources": {}}))
    assert world.exists()

    async def go(pilot: Pilot[None], app: LabApp, screen: PipelineScreen) -> None:
        await pilot.press("d")
        await until(pilot, lambda: screen.query(DocumentView))
        view = screen.query_one(DocumentView)
        await until(pilot, lambda: view.tokenizer is not None)
        await pilot.press("down")
        await until(pilot, lambda: "Who are you?" in screen_text(app))
        assert "1 of 2" in screen_text(app)
        await pilot.press("m")
        await until(pilot, lambda: "<|assistant|> A small model.<|end|>" in screen_text(app))
        assert "tokens trained (pocket-base)" in screen_text(app)
        await pilot.press("j")
        await until(pilot, lambda: "<|assistant|> 4<|end|>" in screen_text(app))
        await pilot.press("m", "down")
        await until(pilot, lambda: "Document 0." in screen_text(app))
        text = screen_text(app)
        for words in ("max-symbols", "50.0 %", "Buy now!", "a.txt:7", "8-16", "1 of 50", "[b]x[/b]␛[31m"):
            assert words in text, words
        await pilot.press("G")
        await until(pilot, lambda: "50 of 50" in screen_text(app))
        await pilot.press("g", "slash", *"document 1", "enter")
        await until(pilot, lambda: "2 of 50" in screen_text(app))
        await pilot.press("N")
        await until(pilot, lambda: "11 of 50" in screen_text(app))
        await pilot.press("m")
        await until(pilot, lambda: "Only rows with messages" in screen_text(app))
        (tmp_path / "part1.txt").write_text("Part 1 begins.\n\nAnd goes on.")
        path = screen.query_one("#data-path", Input)
        await pilot.press("o")
        assert screen.focused is path
        path.value = str(tmp_path / "part1.txt")
        await pilot.press("enter")
        await until(pilot, lambda: "Part 1 begins." in screen_text(app))
        notes = tmp_path / "notes"
        notes.mkdir()
        for name in ("a", "b", "c"):
            (notes / f"{name}.md").write_text(f"# Note {name}\n")
        path.value = str(notes)
        await pilot.press("o", "enter")
        await until(pilot, lambda: "file 1 of 3" in screen_text(app))
        await pilot.press("j")  # from file to file
        await until(pilot, lambda: "# Note b" in screen_text(app))
        await pilot.press("k")
        await until(pilot, lambda: "# Note a" in screen_text(app))
        await pilot.press("slash", *"note c", "enter")
        await until(pilot, lambda: "file 3 of 3" in screen_text(app) and "# Note c" in screen_text(app))
        await pilot.press("o", "x", "1", "d", "enter")  # letters and digits are text there
        await until(pilot, lambda: "x1d: no such file or folder" in screen_text(app))
        for size in ((80, 24), (40, 12), (100, 30)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.05)
        await pilot.press("escape", "d")
        await until(pilot, lambda: screen.tab == "road")

    drive(go)


def test_a_small_card_says_what_it_waits_for(home: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp, screen: PipelineScreen) -> None:
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "press r on" in screen_text(app))
        await until(pilot, lambda: screen.query_one("#stage-probes", StageCard).size.height == 3)
        probes = screen.query_one("#stage-probes", StageCard)
        assert probes.lines()[0][0][0] == "needs a base model: press r on pretrain"
        info = make_run("cut-off", steps=6)
        status = json.loads((info / "status.json").read_text())
        (info / "status.json").write_text(json.dumps(status | {"state": "stopped", "step": 3}))
        await until(pilot, lambda: "R goes on" in screen_text(app))

    drive(go)


def test_first_paint_with_fifty_runs_is_quick(home: Path) -> None:
    """Processor time of a process of its own, from nothing to the first picture and the figures on the cards: 1.5 s where
    textual alone is imported in a quarter of a second, as much more as that takes longer."""
    alone = "import time, textual.app, textual.widgets\nprint(time.process_time())"
    taken = subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True)
    slower = max(1.0, float(taken.stdout) / 0.25)
    first = make_run("r0", steps=60)
    for i in range(1, 50):
        other = home / f"r{i}"
        other.mkdir()
        for name in ("run.json", "status.json", "metrics.jsonl", "log.txt", "model.safetensors"):
            (other / name).write_bytes((first / name).read_bytes())
    code = (
        "import asyncio, sys, time\n"
        "from tui.app import LabApp\n"
        "async def go():\n"
        "    app = LabApp()\n"
        "    async with app.run_test(size=(150, 42)) as pilot:\n"
        "        await pilot.pause(0.3)\n"
        "        print(len(app.watcher.runs), 'mlx' in sys.modules, time.process_time())\n"
        "asyncio.run(go())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    runs, mlx, seconds = done.stdout.split()
    assert (runs, mlx) == ("50", "False")
    assert float(seconds) < 1.5 * slower


@pytest.mark.slow
def test_a_config_edited_in_a_real_terminal(terminal: Callable[..., Terminal], home: Path, tmp_path: Path) -> None:
    make_run("pretrain-1", steps=3, iters=5, batch_size=4)
    script = tmp_path / "edit.sh"
    script.write_text('#!/bin/sh\nread -p "in the editor " answer\nsed -i "s/iters: 5/iters: $answer/" "$1"\n')
    script.chmod(0o755)
    shell = terminal(EDITOR=str(script))
    shell.lab()
    shell.until("3 pretrain")
    shell.keys("e")
    shell.until("in the editor")
    shell.type("77")
    shell.keys("Enter")
    text = shell.until(r"--iters 77")
    assert "lab pretrain --name pretrain-2" in text
    assert "--batch-size 4" in text
    shell.keys("Escape", "C-q")
    shell.until(r"ready\$ *$")
