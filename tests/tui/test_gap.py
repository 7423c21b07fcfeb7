"""Proxy against gold in Rollouts: the scale, the replies furthest apart, the pane."""

import asyncio
import json
import time
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest

from lab import episodes
from lab.run import Run
from tests.tui.conftest import Weights, screen_text
from tui.app import LabApp
from tui.data import gap
from tui.data.history import History
from tui.data.rollouts import load
from tui.screens.rollouts import RolloutsScreen
from tui.widgets.chart import Chart

BASE, WIDTH = 0.5, 2.0


def reply(step: int, group: int, k: int, proxy: float, gold: float | None) -> dict[str, Any]:
    return {
        "step": step, "group": group, "k": k, "key": f"key {group}", "answer": "", "ids": [],
        "messages": [{"role": "user", "content": f"Tell joke {group}."}], "text": f"joke {step} {group} {k}",
        "parts": {"score": proxy}, "notes": {} if gold is None else {"gold": gold}, "reward": proxy,
        "advantage": proxy, "stop": "end", "calls": 0,
    }  # fmt: skip


def gamed(name: str = "rlhf-1", judged: bool = True) -> Path:
    """A run whose proxy rises while gold falls; in its last step one reply is liked and worth nothing."""
    with Run(
        "rlhf", {"seed": 1}, name, False, None, [{"title": "proxy and gold", "keys": ["reward", "gold"]}]
    ) as record:
        record.attach(Weights())
        (record.folder / episodes.FOLDER).mkdir()
        for step in record.steps(6):
            rows = [
                reply(step, g, k, step + k / 10, BASE - WIDTH * step if judged else None)
                for g in (0, 1)
                for k in (0, 1, 2)
            ]
            if judged:
                rows[4]["notes"]["gold"] = BASE - WIDTH * 30
                rows[0]["notes"]["gold"] = BASE + WIDTH * 40
            episodes.path_of(record.folder, step).write_text("".join(episodes.line(row) for row in rows))
            look = {"held_reward": step, "held_gold": BASE - step, "held_gold_std": WIDTH} if step % 2 else {}
            look = {"held_gold": BASE, "held_gold_std": WIDTH} if step == 1 else look
            record.log(step, reward=float(step), **({"gold": BASE - step, **look} if judged else {}))
    return record.folder


def test_gold_counts_in_standard_deviations_of_the_start(home: Path) -> None:
    folder = gamed()
    history, step = History(folder), load(folder, 6)
    history.poll(1)
    unit = gap.scale(history, step)
    assert unit == gap.Scale(BASE, WIDTH)
    found = gap.far(step, unit)
    assert len(found) == 6
    for one in found:
        assert one.gap == pytest.approx(one.proxy - (one.gold - BASE) / WIDTH)
    over, under = gap.ends(found)
    assert (over[0].brief.text, under[0].brief.text) == ("joke 6 1 1", "joke 6 0 0")
    assert over[0].gap == pytest.approx(6.1 + 30)
    assert not {one.brief.text for one in over} & {one.brief.text for one in under}
    curves = {one.name: one for one in gap.lines(history, unit)}
    assert curves["gold"].y.tolist() == [-step / WIDTH for step in range(1, 7)]
    assert curves["proxy"].y.tolist() == [1, 2, 3, 4, 5, 6]
    assert curves["gold held"].x.tolist() == [1, 3, 5]


def test_without_a_look_the_step_gives_the_scale(home: Path) -> None:
    folder = gamed()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if not k.startswith("held")} for row in rows]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    history, step = History(folder), load(folder, 6)
    history.poll(1)
    golds = [row.notes["gold"] for group in step.groups for row in group.rows]
    assert gap.scale(history, step) == gap.Scale(BASE - 1, pytest.approx(pstdev(golds)))
    assert gap.scale(History(folder), step) == gap.Scale(pytest.approx(fmean(golds)), pytest.approx(pstdev(golds)))


def test_the_pane_and_back_to_the_reply(home: Path) -> None:
    gamed()

    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=(120, 40)) as pilot:

            async def shows(*words: str) -> None:
                end = time.monotonic() + 30
                while not all(word in (text := screen_text(app)) for word in words):
                    assert time.monotonic() < end, f"no {words}:\n{text}"
                    await pilot.pause(0.05)

            await pilot.press("3")
            await shows("step 6", "g Gap")
            await pilot.press("g")
            await shows("liked beyond its worth", "worth more than it is liked", "+36.10", "-30.00", "joke 6 1 1")
            screen = app.screen
            assert isinstance(screen, RolloutsScreen)
            names = {curve.name for curve in screen.query_one(Chart).curves}
            assert names == {"proxy", "gold", "gold held"}  # two looks alone told the proxy, too few for a line
            await pilot.press("left_curly_bracket")
            await shows("step 5", "joke 5 1 1")
            assert screen.query_one(Chart).cursor == 5
            await pilot.press("enter")
            await shows("Tell joke 1.")
            assert not screen.has_class("-gap")
            assert screen.chosen
            assert screen.chosen.brief.text == "joke 5 1 1"

    asyncio.run(main())


def test_a_run_that_nobody_else_judged_has_no_gap(home: Path) -> None:
    gamed(judged=False)

    async def main() -> None:
        app = LabApp()
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.press("3")
            await pilot.pause(0.5)
            await pilot.press("g")
            await pilot.pause(0.2)
            assert not app.screen.has_class("-gap")
            assert "Gap" not in screen_text(app)

    asyncio.run(main())
