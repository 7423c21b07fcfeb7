"""The memory warning: it sees a leak that MLX's peak does not show, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tui.data.history import History
from tui.data.memory import figures, of_run, warning

N, EVERY = 1500, 0.6  # a quarter of an hour of steps


def time_of(n: int = N, every: float = EVERY) -> np.ndarray:
    return np.arange(n) * every


def high_water(values: np.ndarray) -> np.ndarray:
    """What getrusage tells: the most so far, in whole 0.1 MB."""
    return np.maximum.accumulate(np.round(values, 4))


def settled(rng: np.random.Generator, n: int = N, base: float = 2.0) -> np.ndarray:
    """A healthy training: it fills up over the first steps, an evaluation every 100 steps adds a little at first."""
    steps = np.arange(n)
    warm = base * (0.4 + 0.6 * (1 - np.exp(-steps / 15)))
    evaluations = 0.15 * np.minimum(steps // 100, 2)
    return high_water(warm + evaluations + 0.004 * rng.random(n))


HEALTHY: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "settled": lambda r: (settled(r), np.zeros(N), np.full(N, 1.6)),
    "the peak grows with the process": lambda r: (
        settled(r) + np.linspace(0, 3, N), np.zeros(N), 1.6 + np.linspace(0, 2.9, N)
    ),
    "one late jump: a longer text was evaluated": lambda r: (
        settled(r) + 1.5 * (np.arange(N) > 1100), np.zeros(N), np.full(N, 1.6)
    ),
    "two late jumps": lambda r: (
        settled(r) + 0.6 * (np.arange(N) > 900) + 0.6 * (np.arange(N) > 1200), np.zeros(N), np.full(N, 1.6)
    ),
    "a few MB a minute": lambda r: (settled(r) + np.linspace(0, 0.1, N), np.zeros(N), np.full(N, 1.6)),
    "swapped out once by somebody else": lambda r: (settled(r), 0.8 * (np.arange(N) > 1000), np.full(N, 1.6)),
    "nothing known": lambda r: (np.full(N, np.nan), np.empty(0), np.empty(0)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_no_alarm_at_any_step_of_a_healthy_run(name: str) -> None:
    process, swap, peak = HEALTHY[name](np.random.default_rng(0))
    for n in range(1, N + 1, 7):
        said = warning(time_of()[:n], process[:n], swap[:n], peak[:n])
        assert not said, (n, said)


def test_a_leak_is_said_in_words_and_soon() -> None:
    """2 GB in a quarter of an hour, while the peak stands: told long before it doubled."""
    process = settled(np.random.default_rng(1)) + np.linspace(0, 2, N)
    told = [n for n in range(1, N + 1, 10) if warning(time_of()[:n], process[:n], np.zeros(n), np.full(n, 1.6))]
    assert 250 < told[0] < 800
    assert told == list(range(told[0], N + 1, 10))  # and it stays
    said = warning(time_of(), process, np.zeros(N), np.full(N, 1.6))
    assert "The process grew 0.9 GB in the last 7:" in said
    assert "peak stands at 1.60 GB" in said


def test_growth_into_swap_is_seen_where_the_process_does_not_grow() -> None:
    """The resident part cannot grow once the machine is full; the rest goes into swap."""
    process = np.full(N, 14.0)
    swap = np.concatenate([np.zeros(600), np.linspace(0, 6, N - 600)])
    said = warning(time_of(), process, swap, np.full(N, 9.0))
    assert said.startswith("Swap grew 4.4 GB in the last 7:29 while")


def test_short_runs_and_unknown_figures_say_nothing() -> None:
    climbing = np.linspace(1, 5, 39)
    assert not warning(time_of(39, 60.0), climbing, np.zeros(39), np.ones(39))  # few rows
    quick = np.linspace(1, 5, 400)
    assert not warning(time_of(400, 0.1), quick, np.zeros(400), np.ones(400))  # half a minute: it is still warming up
    assert warning(time_of(400, 2.0), quick, np.empty(0), np.empty(0))  # without a peak and swap the process is enough
    assert not warning(np.empty(0), np.empty(0), np.empty(0), np.empty(0))


def test_the_figures_of_a_run_come_from_its_rows(tmp_path: Path) -> None:
    held = {"mem_active": 1.0, "mem_peak": 1.6, "mem_swap": 0.0}
    with open(tmp_path / "metrics.jsonl", "w") as file:
        for i in range(600):
            row = {"step": i, "t": 1000 + 2 * i, "loss": 2.0, "mem_process": 2 + i / 200}
            file.write(json.dumps(row | held) + "\n")
            if i % 100 == 0:
                file.write(json.dumps({"step": i, "t": 1000 + 2 * i, "bits_per_byte": 1.5}) + "\n")
    history = History(tmp_path)
    while history.poll(1) or history.behind:
        pass
    assert "The process grew" in of_run(history)
    assert figures(history.latest, {"mem_active": 9, "mem_cache": 0.4}) == {
        "active": 1.0, "peak": 1.6, "cache": 0.4, "process": pytest.approx(4.995), "swap": 0.0,
    }  # fmt: skip
    assert figures({"mem_active": "many"}, {"mem_peak": None, "mem_process": True}) == {}
