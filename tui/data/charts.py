"""Which figures of a run belong into one chart, what happened when, and a run's figures as a table. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lab.display import CONTROLS
from tui.data.history import Axis, History
from tui.data.pattern import pattern

SHOWN = 24  # charts at once; a filter reaches the others
NAMES = {
    "bits_per_byte": "bits/byte",
    "tok_s": "tok/s",
    "lr": "learning rate",
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "mem_active": "active",
    "mem_peak": "peak",
    "mem_cache": "cache",
    "mem_process": "process",
    "mem_swap": "swap",
}
# Charts of a run that names none itself: the first that matches takes a figure; the first chart is the big one.
BIG = (
    re.compile(r"^(rewards?|reward_mean|rewards?/mean)$"),  # under reinforcement the loss says little
    re.compile(r"(^|[_/])(loss|nll|bits_per_byte|perplexity|ppl)"),
    re.compile(r"^(pass@?1|accuracy|score)$"),
)
GROUPS = (
    ("learning rate", re.compile(r"^(lr|learning_rate)(_.*)?$")),
    ("gradient norm", re.compile(r"grad(ient)?_norm")),
    ("tokens a second", re.compile(r"^(tok_s|tokens_per_second|tok/s)$")),
    ("memory GB", re.compile(r"^mem(ory)?_")),
)
EXACT = re.compile(r"^(lr|learning_rate|epoch|mem(ory)?_.*)$")  # drawn as they are: there is no noise to average away
COUNTS = frozenset(("tokens", "conversations"))  # how much a step held: in the table, no chart of its own
# Figures that alone are no reason for a curve.
HOUSEKEEPING = re.compile(r"^(mem(ory)?_.*|tok_s|tokens|conversations)$")


@dataclass(frozen=True)
class Panel:
    """One chart: its figures by their names in metrics.jsonl."""

    title: str
    keys: tuple[str, ...]
    log: bool = False


def label(key: str) -> str:
    """A figure's name for people."""
    return NAMES.get(key, key.replace("_", " ")).translate(CONTROLS)


def alone(key: str) -> str:
    """The same where no chart's title says what it belongs to."""
    return f"memory, {label(key)}" if key.startswith("mem_") else label(key)


def declared(passport: Mapping[str, Any]) -> list[Panel]:
    """The charts that run.json names, as far as they make sense."""
    said, found = passport.get("charts"), list[Panel]()
    for chart in said if isinstance(said, list) else []:
        if not isinstance(chart, dict) or not isinstance(chart.get("keys"), list):
            continue
        keys = tuple(dict.fromkeys(key for key in chart["keys"] if isinstance(key, str) and key))
        if keys:
            title = str(chart.get("title") or label(keys[0])).translate(CONTROLS)
            found.append(Panel(title, keys, chart.get("log") is True))
    return found


def panels(passport: Mapping[str, Any], keys: Sequence[str]) -> list[Panel]:
    """All charts of a run, the big one first: those that its recipe names, then what else it logs. Without names the
    reward or the loss is big, and figures that belong together share a chart."""
    found = declared(passport)
    taken = {key for panel in found for key in panel.keys} | COUNTS
    left = [key for key in keys if key not in taken]
    if not found:
        for pattern in BIG:
            if big := [key for key in left if pattern.search(key)][:6]:
                found.append(Panel("loss" if "loss" in big else label(big[0]), tuple(big)))
                left = [key for key in left if key not in big]
                break
    small: dict[str, list[str]] = {}
    for key in left:
        small.setdefault(_group(key), []).append(key)
    for title, members in small.items():
        for i in range(0, len(members), 6):
            found.append(Panel(title.translate(CONTROLS), tuple(members[i : i + 6])))
    return found if found else [Panel("loss", ("loss",))]


def _group(key: str) -> str:
    """The title of the small chart a figure belongs into."""
    for title, fits in GROUPS:
        if fits.search(key):
            return title
    family, slash, _ = key.partition("/")
    return family if slash and family else label(key)


def has_curves(keys: Sequence[str]) -> bool:
    """Whether a run logs anything besides memory and speed: an exam or a data pass has words to show, no curves."""
    return any(not HOUSEKEEPING.search(key) for key in keys)


def matching(wanted: str, all_panels: Sequence[Panel]) -> tuple[list[Panel], str]:
    """(the charts with a figure that the regular expression finds, by name or title; what is wrong with it)."""
    if not wanted:
        return list(all_panels), ""
    try:
        find = pattern(wanted, ignore_case=True).search
    except re.error as error:
        return list(all_panels), f"{wanted}: no regular expression ({error})"
    found = []
    for panel in all_panels:
        keys = tuple(key for key in panel.keys if find(key) or find(label(key)))
        if keys or find(panel.title):
            found.append(replace(panel, keys=keys or panel.keys))
    return found, "" if found else f"no figure is called {wanted}"


def few(keys: Sequence[str], most: int = 2) -> list[str]:
    """What of a chart's figures is shown where several runs share it: the first, of memory what the system gave."""
    ranked = [key for key in ("mem_process", "mem_peak") if key in keys]
    return list(dict.fromkeys([*ranked, *keys]))[: max(most, len(ranked))]


def smoothed(key: str, count: int, rows: int) -> bool:
    """Whether a figure is averaged: not what is exact, and not what is measured now and then."""
    return not EXACT.search(key) and count * 5 >= rows


# -- places on the axes ------------------------------------------------------------------------------------------


def step_at(history: History, x: float, axis: Axis) -> float | None:
    """The step at a place of an axis; None for a run without figures."""
    if axis == "step" or not history.keys():
        return x if history.keys() else None
    longest = max(history.keys(), key=lambda key: len(history.column(key)[0]))
    places, steps = history.column(longest, axis)[0], history.column(longest, "step")[0]
    i = int(np.searchsorted(places, x))
    if i and (i == len(places) or x - places[i - 1] < places[i] - x):
        i -= 1
    return float(steps[i])


@dataclass(frozen=True)
class Happened:
    """Something at a step; kind as in tui.widgets.chart.Mark."""

    step: float
    kind: str
    label: str


def happened(
    events: Iterable[Mapping[str, Any]], notes: Iterable[Mapping[str, Any]], kept: Sequence[int]
) -> list[Happened]:
    """What a chart marks: checkpoints that are still there, resumes, reports, pauses, notes. Sorted by step."""
    found, there = [], set(kept)
    for row in events:
        step, what = number(row.get("step")), row.get("event")
        if step is None or not isinstance(what, str):
            continue
        if what == "checkpoint":
            if int(step) in there:
                found.append(Happened(step, "checkpoint", ""))
        elif what == "resume":
            found.append(Happened(step, "resume", ""))
        elif what == "control":
            if row.get("cmd") in ("pause", "stop"):
                found.append(Happened(step, "note", f"asked to {row['cmd']}"))
        else:
            found.append(Happened(step, "eval", str(row.get("probe") or what).translate(CONTROLS)[:40]))
    for row in notes:
        step, text = number(row.get("step")), row.get("text")
        if step is not None and isinstance(text, str):
            found.append(Happened(step, "note", " ".join(text.translate(CONTROLS).split())[:60]))
    return sorted({(h.step, h.kind, h.label): h for h in found}.values(), key=lambda h: h.step)


# -- the table ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One figure over a run. low_at, high_at: the steps of its extremes. count: values; bad: those that are no number."""

    key: str
    first: float
    last: float
    low: float
    low_at: float
    high: float
    high_at: float
    count: int
    bad: int


def table(history: History, keys: Sequence[str] | None = None) -> list[Row]:
    """All figures of a run, those of its reports behind them."""
    rows = []
    for key in history.keys() if keys is None else keys:
        x, y = history.column(key)
        good = np.isfinite(y)
        if not len(y):
            continue
        x, known = x[good], y[good]
        if not len(known):
            rows.append(Row(key, *(math.nan,) * 6, count=len(y), bad=len(y)))
            continue
        low, high = int(known.argmin()), int(known.argmax())
        ends = float(known[0]), float(known[-1])
        extremes = float(known[low]), float(x[low]), float(known[high]), float(x[high])
        rows.append(Row(key, *ends, *extremes, count=len(y), bad=len(y) - len(known)))
    if keys is None:
        rows += _reported(history.events)
    return rows


def _reported(events: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The numbers of reports and probes: said once, so first and last are the same."""
    found: dict[str, Row] = {}
    for event in events:
        step = number(event.get("step")) or 0.0
        if event.get("event") in ("checkpoint", "resume", "control"):
            continue
        name = event.get("probe") or event.get("event")
        for key, value in event.items():
            said = number(value)
            if key not in ("step", "t") and said is not None:
                where = f"{name} {key}"
                first = found[where].first if where in found else said
                found[where] = Row(where, first, said, said, step, said, step, 1, 0)
    return list(found.values())


def number(value: Any) -> float | None:
    """A finite number out of somebody's JSON, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def si(value: float) -> str:
    """A figure in at most seven places: '0.8391', '12.3k', '3.2e-5', 'nan'."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and size < 10_000:
        return f"{value:.0f}"
    for power, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= power:
            return f"{value / (1e3 if unit == 'k' else power):.4g}{unit}"
    return f"{value:.4g}".replace("e-0", "e-") if size < 1e-3 or size >= 1 else f"{value:.4f}"
