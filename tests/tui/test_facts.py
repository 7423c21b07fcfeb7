"""A run in words: times nobody mistakes, what differs from the pinned run, what is wrong and what to press."""

from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from lab.runs import Info
from tui.data import watch
from tui.data.details import Details
from tui.data.facts import (
    Line,
    bar,
    differences,
    ending,
    headline,
    hours,
    lines,
    plain,
    settings,
    trouble,
    typed,
)

NOW = 1_800_000_000.0


def info(
    state: str = "running", step: int = 412, total: int = 1862, created: float = NOW - 2280, **status: Any
) -> Info:
    told = {"t": NOW - 2, "eta": 1270.0, "tok_s": 6210, "note": ""} | status
    return Info("mine", Path("mine"), "pretrain", state, step, total, "", "pocket-base", created, told)


def said(found: list[Line]) -> str:
    return "\n".join("".join(text for text, _ in line) for line in found)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands, in UTC."""
    monkeypatch.setattr(watch, "now", lambda: NOW)
    monkeypatch.setattr("tui.data.facts.clock", lambda t, now: f"{int(t) // 3600 % 24:02d}:{int(t) // 60 % 60:02d}")


CONFIG = {"data": None, "size": "pocket", "iters": 1862, "optimizer": "muon", "tie": False, "qk_norm": True, "seed": 0}
DETAILS = Details({"config": CONFIG, "seed": 0, "git": "3f2a91c55e01", "argv": ["pretrain", "--name", "a b"]},
                  1_246_592, (0, 200, 400), {"tokens": 3_811_996})  # fmt: skip


def test_time_left_is_a_duration_and_a_time_of_day() -> None:
    assert hours(1268) == "0:21:08"
    assert hours(36_001) == "10:00:01"
    assert ending(info(), NOW) == "0:21:08, done 08:21"
    assert ending(info(t=NOW - 20), NOW).startswith("0:20:50")  # told 20 s ago
    assert ending(info(eta=None), NOW) == ending(info("paused", eta=None), NOW) == ending(info("queued"), NOW) == ""
    assert ending(info("paused", t=NOW - 500), NOW) == "0:21:10, paused"  # the same however long it waits
    assert ending(info("done"), NOW, took=632.0) == "took 0:10:32"
    assert ending(info(t=NOW - 45), NOW) == "no word for 0:45 min"


def test_all_facts_of_a_run_fit_their_pane() -> None:
    memory = {"active": 0.0116, "peak": 0.2647, "cache": 0.1, "process": 0.571, "swap": 0.0}
    found = lines(info(), DETAILS, memory, NOW, 26)
    text = said(found)
    for part in ("running", "step 412 of 1,862  22 %", "left 0:21:08, done 08:21", "6,210 tok/s", "process 0.57", "swap 0",
                 "recipe pretrain", "from pocket-base", "parameters 1.2M", "text 3.8M tokens", "checkpoints 0 200 400",
                 "size pocket", "iters 1862", "seed 0  git 3f2a91c5", "38m ago", "lab pretrain --name 'a b'"):  # fmt: skip
        assert part in text, part
    assert "tie" not in text  # off
    wide = [line for line in text.splitlines() if cell_len(line) > 26]
    assert wide == ["lab pretrain --name 'a b'"] or not wide


@pytest.mark.parametrize("width", [16, 26, 40, 120])
def test_flowing_facts_never_exceed_the_width(width: int) -> None:
    config = {f"option_{i}": "x" * (i * 7 % 50) for i in range(12)}
    found = lines(info(), Details({"config": config}, 0, (), {}), {}, NOW, width)
    start = next(i for i, line in enumerate(found) if line and line[0][0] == "config")
    assert all(cell_len("".join(text for text, _ in line)) <= width for line in found[start + 1 :])


def test_with_a_pinned_run_only_what_differs() -> None:
    other = CONFIG | {"iters": 300, "learning_rate": 0.01}
    assert differences(CONFIG, other) == [("iters", 1862, 300), ("learning_rate", None, 0.01)]
    text = said(lines(info(), DETAILS, {}, NOW, 30, pinned=("best", other)))
    assert "config, ⚑ is best" in text
    assert "iters 1862 ⚑ 300" in text
    assert "learning rate - ⚑ 0.01" in text
    assert "optimizer" not in text
    assert "no difference" in said(lines(info(), DETAILS, {}, NOW, 30, pinned=("best", CONFIG | {"name": "x"})))


def test_settings_are_the_main_ones_and_what_was_typed() -> None:
    config = CONFIG | {"steps_per_eval": 50, "keep": 3}
    assert [name for name, _, _ in settings(config)] == ["size", "iters", "optimizer"]
    assert [name for name, _, _ in settings(config, "lab pretrain --steps-per-eval 50")][-1] == "steps per eval"
    assert settings({"shots": 4, "odd": [1, 2]}) == [("shots", "4", "$foreground"), ("odd", "[1, 2]", "$foreground")]


def test_what_is_wrong_says_what_to_press() -> None:
    died = said(trouble(info("died", step=41, total=300), ["step 40", "loss 2.1\x1b[0m"], NOW, 20))
    assert died.splitlines() == ["✖ died at step 41 of 300: press R to resume from step 20", "step 40", "loss 2.1␛[0m"]
    assert "nothing was saved" in said(trouble(info("died"), [], NOW, None))
    failed = said(trouble(info("failed", error="step 42: loss nan;\nlower --learning-rate"), [], NOW, 40))
    assert "failed at step 412: press R to resume from step 40" in failed
    assert failed.endswith("step 42: loss nan; lower --learning-rate")
    assert said(trouble(info(t=NOW - 45), [], NOW, 0)).startswith("◍ no word for 45 s")
    for fine in ("running", "done", "paused", "queued", "stopped"):
        assert trouble(info(fine), ["x"], NOW, 0) == []


@pytest.mark.parametrize("broken", [
    {"eta": "soon"}, {"eta": float("nan")}, {"t": None}, {"t": "now"}, {"tok_s": [1]}, {"note": {"a": 1}}, {"error": None},
    {"eta": 1e400}, {"eta": -5},
])  # fmt: skip
def test_broken_status_files_are_no_reason_to_fail(broken: dict[str, Any]) -> None:
    for state in ("running", "failed", "died", "no such state"):
        one = info(state, **broken)
        assert lines(
            one, Details({"config": "x", "argv": "y", "seed": {}, "git": 3}, 0, (), {"tokens": "z"}), {}, NOW, 26
        )
        assert len(headline(one, {}, NOW, 60)) in (1, 2)
        trouble(one, [], NOW, None)


def test_the_slim_header_says_the_most_in_two_lines() -> None:
    first, second = headline(info(), {"process": 0.571, "peak": 0.26}, NOW, 78)
    assert "".join(t for t, _ in first).startswith("● mine running  412/1,862 ━━━")
    assert cell_len("".join(t for t, _ in first)) == 78
    assert "".join(t for t, _ in second) == "left 0:21:08, done 08:21  tok/s 6,210  process 0.57 GB  peak 0.26 GB"
    for width in (20, 38, 60):
        assert all(cell_len("".join(t for t, _ in line)) <= max(width, 40) for line in headline(info(), {}, NOW, width))


def test_what_it_does_is_told_until_it_is_done() -> None:
    assert "measuring" in said(lines(info(note="measuring"), DETAILS, {}, NOW, 26))
    assert "measuring" in said(lines(info("died", note="measuring"), DETAILS, {}, NOW, 26))
    assert "measuring" not in said(lines(info("done", note="measuring"), DETAILS, {}, NOW, 26))


def test_small_things() -> None:
    assert bar(0.5, 5) == ("━━╸", "──")
    assert bar(7, 3) == ("━━━", "")
    assert plain("a\nb\x07") == "a b␇"
    assert plain(0.0001) == "0.0001"
    assert plain(True) == "yes"
    assert plain("x" * 90).endswith("…")
    assert typed({"argv": None}) == ""
