"""The curves behind the report card, as pictures: each of the newest run of its kind that has ended. SVG, and PNG where
resvg-py is installed (`uv run --with resvg-py lab report --out docs`)."""

import importlib.util
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import graph
from lab.graph import Series
from lab.runs import Info, read_json, read_lines, runs

FRONTIER = re.compile(r"known kept ([\d.]+), unknown invented ([\d.]+) \(doubt")
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A picture as data."""

    name: str
    title: str
    across: str  # what the x axis is
    up: str  # what the y axis is
    lines: dict[str, Points]
    source: str  # which run, and how it was made


@dataclass(frozen=True)
class Picture:
    """A picture on disk."""

    title: str
    path: Path
    source: str


def draw(folder: Path) -> list[Picture]:
    """All that there is data for."""
    suffix = ".png" if importlib.util.find_spec("resvg_py") else ".svg"
    found = []
    for chart in charts():
        path = folder / f"card-{chart.name}{suffix}"
        series = [Series(name, points, "o", i) for i, (name, points) in enumerate(chart.lines.items())]
        graph.save(path, graph.svg(series, chart.title, chart.across, chart.up))
        found.append(Picture(chart.title, path, chart.source))
    return found


def charts() -> list[Chart]:
    """GRPO's share right and length, three ways to learn from the same tokens, RL beside RLHF, gold against proxy, risk and
    coverage, exposures and recall, self-play."""
    makers = (recall, risk, thinking, lengthening, ways, run_on, gamed, selfplay)
    return [chart for chart in (make() for make in makers) if chart is not None]


def newest(recipe: str, fits: Callable[[dict[str, Any]], bool] = lambda config: True) -> Info | None:
    """The newest run of a recipe that has ended; shipped ones come last."""
    for info in runs():
        config = read_json(info.folder / "run.json").get("config")
        if (
            info.recipe == recipe
            and info.state in ("done", "stopped")
            and fits(config if isinstance(config, dict) else {})
        ):
            return info
    return None


def rows_of(info: Info) -> list[dict[str, Any]]:
    return list(read_lines(info.folder / "metrics.jsonl"))


def line(rows: Iterable[dict[str, Any]], key: str) -> Points:
    """A figure by the step."""
    return [(float(r["step"]), float(r[key])) for r in rows if isinstance(r.get(key), int | float) and "event" not in r]


def by_step(info: Info | None, name: str, title: str, up: str, keys: dict[str, str]) -> Chart | None:
    """Figures of a run over its steps."""
    if info is None:
        return None
    rows = rows_of(info)
    lines = {label: points for label, key in keys.items() if len(points := line(rows, key)) > 1}
    return Chart(name, title, "step", up, lines, told(info)) if lines else None


def told(info: Info) -> str:
    """Which run, and its command."""
    argv = read_json(info.folder / "run.json").get("argv")
    return f"{info.name} (lab {' '.join(map(str, argv))})" if isinstance(argv, list) else info.name


def recall() -> Chart | None:
    info = newest("pretrain", lambda config: not config.get("data"))
    report = next((r for r in rows_of(info) if r.get("event") == "report"), {}) if info else {}
    lines = {}
    for label, key in (("right when asked", "recall"), ("right as a statement", "stated"), ("invented", "invented")):
        lines[label] = [
            (math.log10(n), float(report[f"{key}_{n}"])) for n in (1, 3, 10, 30, 100) if f"{key}_{n}" in report
        ]
    if info is None or not lines["right when asked"]:
        return None
    title = "Facts right by how often they were told"
    return Chart("recall", title, "times told, log10", "share of facts", lines, told(info))


def risk() -> Chart | None:
    info = newest("interrogate", lambda config: not config.get("data"))
    try:
        log = (info.folder / "log.txt").read_text(encoding="utf-8") if info else ""
    except OSError:
        log = ""
    points = [(float(kept), float(invented)) for kept, invented in FRONTIER.findall(log)]
    if info is None or len(points) < 2:
        return None
    return Chart("risk", "What is invented, by how much is answered", "known facts answered right", "never-told names invented",
                 {"below a doubt": points}, told(info))  # fmt: skip


def thinking() -> Chart | None:
    keys = {"right": "held_pass", "replies that think": "held_thinks"}
    return by_step(_grpo(), "thinking", "GRPO on word problems: held out", "share", keys)


def lengthening() -> Chart | None:
    return by_step(_grpo(), "length", "GRPO: a held-out reply grows", "tokens", {"length": "held_length"})


def ways() -> Chart | None:
    """Reinforcement, keeping the right ones, and demonstrations: each begun as the same model, by tokens it learnt from."""
    sure = _grpo()
    start = read_json(sure.folder / "run.json").get("config", {}).get("model") if sure else None
    if sure is None or not start:
        return None
    lines, told_of = {}, []
    for label, recipe, tokens in (
        ("GRPO", "grpo", "sampled"),
        ("the right ones kept, and imitated", "rejection", "sampled"),
        ("more demonstrations", "demonstrate", "seen"),
    ):
        info = sure if recipe == "grpo" else newest(recipe, lambda config: config.get("model") == start)
        if info and len(points := spent(rows_of(info), tokens, "held_pass")) > 1:
            lines[label] = points
            told_of.append(told(info))
    if len(lines) < 2:
        return None
    title = "Word problems: held out, by what was learnt from"
    return Chart("ways", title, "thousands of tokens", "share right", lines, "; ".join(told_of))


def spent(rows: Iterable[dict[str, Any]], tokens: str, key: str) -> Points:
    """A figure by the tokens used until then, in thousands."""
    points, used = [], 0.0
    for row in rows:
        if "event" in row:
            continue
        used += float(row.get(tokens) or 0)
        if isinstance(row.get(key), int | float):
            points.append((used / 1000, float(row[key])))
    return points


def _grpo(run_on: bool = False) -> Info | None:
    """The newest on word problems, of the usual length or one that was run on."""
    return newest("grpo", lambda c: c.get("task") in (None, "problems") and ((c.get("iters") or 0) > 100) == run_on)


def _rlhf(priced: bool) -> Info | None:
    """The newest with a price on divergence, or with nothing that holds it."""
    return newest(
        "rlhf", lambda config: config.get("kl") != 0 if priced else config.get("kl") == config.get("replay") == 0
    )


def gamed() -> Chart | None:
    keys = {"proxy (reward model)": "held_reward", "gold (hidden judge)": "held_gold"}
    return by_step(_rlhf(priced=True), "gold", "RLHF: what is optimised, and what is meant", "score", keys)


def run_on() -> Chart | None:
    """Both as a change from the start, in parts of the greatest change: one axis for two kinds of reward."""
    sure, pleased, priced = _grpo(run_on=True) or _grpo(), _rlhf(priced=False), _rlhf(priced=True)
    if sure is None or pleased is None:
        return None
    lines = {}
    for label, info, key in (
        ("RL: problems right", sure, "held_pass"),
        ("RLHF, no price: gold", pleased, "held_gold"),
        ("RLHF, no price: reward model", pleased, "held_reward"),
        ("RLHF with a price: gold", priced, "held_gold"),
    ):
        if info is None:
            continue
        points = line(rows_of(info), key)
        most = max((abs(y - points[0][1]) for _, y in points), default=0) or 1
        lines[label] = [(x, (y - points[0][1]) / most) for x, y in points]
    if not all(len(points) > 1 for points in lines.values()):
        return None
    title = "RL on what can be verified runs on, RLHF does not"
    return Chart("run-on", title, "step", "change, as a part of the greatest", lines, f"{told(sure)}, {told(pleased)}")


def selfplay() -> Chart | None:
    return by_step(newest("selfplay"), "selfplay", "Tic-tac-toe: imitation, then self-play", "wins less losses, a game",
                   {"score against the teacher": "teacher_score", "against the perfect player": "perfect_score",
                    "the move nobody showed": "blind_spot"})  # fmt: skip
