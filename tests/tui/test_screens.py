"""What every screen looks like, as text, with real runs and the shipped model: 150x42 and 80x24."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from tests.conftest import REPO
from tests.tui.conftest import make_run, screen_text
from tui.app import LabApp
from tui.data import road, watch

NOW = 1_795_500_000.0
SIZES = {"wide": (150, 42), "small": (80, 24)}


@pytest.fixture
def frozen(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped model and two finished runs, at a moment that never passes, in a version whose road ends at tools."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(watch, "clock", lambda: NOW)
    chapters = home.parent / "recipes"
    chapters.mkdir()
    for name in ("pretrain", "probes", "sft", "interrogate", "search", "code"):
        (chapters / f"{name}.py").touch()
    monkeypatch.setattr(road, "RECIPES", chapters)
    base = shutil.copytree(REPO / "weights" / "pocket-base", home / "pocket-base") / "run.json"
    # four hours old, whenever it was trained anew
    base.write_text(json.dumps(json.loads(base.read_text()) | {"created": NOW - 4 * 3600}))
    for age, (name, rate) in enumerate({"pretrain-2": 0.02, "pretrain-1": 0.06}.items()):
        folder = make_run(name, steps=60, headline="1.026 bits/byte", learning_rate=rate)
        for file in (home / "pocket-base").glob("tokenizer*"):
            shutil.copy(file, folder)
        began = NOW - 1000 * (age + 1)
        run = json.loads((folder / "run.json").read_text())
        run |= {"created": began, "git": "0123456789ab", "argv": ["pretrain", "--name", name]}
        (folder / "run.json").write_text(json.dumps(run))
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r | {"t": began + r["step"]}) + "\n" for r in rows))
        status = json.loads((folder / "status.json").read_text())
        (folder / "status.json").write_text(json.dumps(status | {"t": began + 60, "pid": 1, "eta": 0}))
    return home


def settled(app: App[Any], home: Path) -> str:
    """The screen's text without what differs from machine to machine: speeds, times to the first token, folders."""
    text = screen_text(app).replace(str(home), "~")
    text = re.sub(r"[\d,.]+ tok/s", lambda m: "#" * (len(m[0]) - 6) + " tok/s", text)
    text = re.sub(r"first [\d.]+ m?s", lambda m: "first " + "#" * (len(m[0]) - 6), text)
    return re.sub(r"─* T \.8 .* ─╯", " T .8 ", text)  # its width follows the speed's


async def until(pilot: Pilot[None], app: App[Any], pattern: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if re.search(pattern, screen_text(app)):
            return
        await pilot.pause(0.05)
    raise AssertionError(f"no {pattern!r}:\n{screen_text(app)}")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_screen(frozen: Path, size: str, check: Callable[[str, str], None]) -> None:
    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=SIZES[size]) as pilot:

            async def shot(name: str) -> None:
                before = ""
                for _ in range(40):  # until nothing moves
                    await pilot.pause(0.15)
                    now = settled(app, frozen)
                    if now == before:
                        break
                    before = now
                check(f"{name}-{size}", before)

            await until(pilot, app, "pretrain-2")
            await shot("pipeline")
            await pilot.press("2")
            await until(pilot, app, r"60(/| of )60")
            app.screen.set_focus(
                app.screen.query("Chart").first() if size == "small" else app.screen.query("OptionList").first()
            )
            await shot("train")
            await pilot.press("3")
            await shot("rollouts")
            await pilot.press("6")
            await shot("rank")
            await pilot.press("5")
            await until(pilot, app, "characters|chars")
            await shot("tokens")
            app.open_chat("pocket-base")
            await until(pilot, app, "pocket-base.*base model")
            await shot("chat-empty")

    asyncio.run(main())
