"""The curves behind the report card, as pictures: each of the newest run of its kind that has ended. SVG, and PNG where
resvg-py is installed (`uv run --with resvg-py lab report --out docs`)."""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from lab.runs import Info, read_json, read_lines, runs, write_atomic

FRONTIER = re.compile(r"known kept ([\d.]+), unknown invented ([\d.]+) \(doubt")
COLOURS = ("#2f6fde", "#d1495b", "#2a9d5c", "#c98a1b")
WIDE, HIGH, LEFT, RIGHT, TOP, BOTTOM = 640, 340, 62, 16, 40, 52
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A picture as data."""

    name: str
    title: str
    across: str  # what the x axis is
    lines: dict[str, Points]
    source: str  # which run, and how it was made
    log: bool = False  # x by powers of ten
    marks: bool = field(default=False)  # a dot at each point


@dataclass(frozen=True)
class Picture:
    """A picture on disk."""

    title: str
    path: Path
    source: str


def draw(folder: Path) -> list[Picture]:
    """All that there is data for."""
    found = []
    for chart in charts():
        svg = picture(chart)
        path = folder / f"card-{chart.name}.svg"
        try:
            resvg: Any = importlib.import_module("resvg_py")
        except ImportError:
            write_atomic(path, svg)
        else:
            path = path.with_suffix(".png")
            path.write_bytes(bytes(resvg.svg_to_bytes(svg_string=svg, zoom=2, font_dirs=["/usr/share/fonts"])))
        found.append(Picture(chart.title, path, chart.source))
    return found


def charts() -> list[Chart]:
    """GRPO's share right and length, RL beside RLHF, gold against proxy, risk and coverage, exposures and recall, self-play."""
    makers = (recall, risk, thinking, lengthening, run_on, gamed, selfplay)
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


def by_step(info: Info | None, name: str, title: str, keys: dict[str, str]) -> Chart | None:
    """Figures of a run over its steps."""
    if info is None:
        return None
    rows = rows_of(info)
    lines = {label: points for label, key in keys.items() if len(points := line(rows, key)) > 1}
    return Chart(name, title, "step", lines, told(info), marks=True) if lines else None


def told(info: Info) -> str:
    """Which run, and its command."""
    argv = read_json(info.folder / "run.json").get("argv")
    return f"{info.name} (lab {' '.join(map(str, argv))})" if isinstance(argv, list) else info.name


def recall() -> Chart | None:
    info = newest("pretrain", lambda config: not config.get("data"))
    report = next((r for r in rows_of(info) if r.get("event") == "report"), {}) if info else {}
    lines = {}
    for label, key in (("right when asked", "recall"), ("right as a statement", "stated"), ("invented", "invented")):
        lines[label] = [(float(n), float(report[f"{key}_{n}"])) for n in (1, 3, 10, 30, 100) if f"{key}_{n}" in report]
    if info is None or not lines["right when asked"]:
        return None
    return Chart(
        "recall", "Facts right by how often they were told", "times told", lines, told(info), log=True, marks=True
    )


def risk() -> Chart | None:
    info = newest("interrogate", lambda config: not config.get("data"))
    try:
        log = (info.folder / "log.txt").read_text(encoding="utf-8") if info else ""
    except OSError:
        log = ""
    points = [(float(kept), float(invented)) for kept, invented in FRONTIER.findall(log)]
    if info is None or len(points) < 2:
        return None
    return Chart("risk", "What is invented, by how much of the known is still answered", "known facts answered right",
                 {"never-told names invented": points}, told(info), marks=True)  # fmt: skip


def thinking() -> Chart | None:
    keys = {"right": "held_pass", "replies that think": "held_thinks"}
    return by_step(_grpo(), "thinking", "GRPO on word problems: held out", keys)


def lengthening() -> Chart | None:
    return by_step(_grpo(), "length", "GRPO: tokens of a held-out reply", {"tokens": "held_length"})


def _grpo() -> Info | None:
    return newest("grpo", lambda config: config.get("task") in (None, "problems"))


def gamed() -> Chart | None:
    return by_step(newest("rlhf"), "gold", "RLHF: what is optimised, and what is meant",
                   {"proxy (reward model)": "held_reward", "gold (hidden judge)": "held_gold"})  # fmt: skip


def run_on() -> Chart | None:
    """Both as a change from the start, in parts of the greatest change: one axis for two kinds of reward."""
    sure, pleased = _grpo(), newest("rlhf", lambda config: config.get("kl") == 0)
    if sure is None or pleased is None:
        return None
    lines = {}
    for label, info, key in (("RL: problems right", sure, "held_pass"), ("RLHF, no price: gold", pleased, "held_gold")):
        points = line(rows_of(info), key)
        most = max((abs(y - points[0][1]) for _, y in points), default=0) or 1
        lines[label] = [(x, (y - points[0][1]) / most) for x, y in points]
    if not all(len(points) > 1 for points in lines.values()):
        return None
    return Chart(
        "run-on",
        "RL on what can be verified runs on, RLHF does not",
        "step",
        lines,
        f"{told(sure)}, {told(pleased)}",
        marks=True,
    )


def selfplay() -> Chart | None:
    return by_step(newest("selfplay"), "selfplay", "Tic-tac-toe: imitation, then self-play",
                   {"score against the teacher": "teacher_score", "against the perfect player": "perfect_score",
                    "the move nobody showed": "blind_spot"})  # fmt: skip


# -- drawing ---------------------------------------------------------------------------------------------------------


def picture(chart: Chart) -> str:
    """A chart as SVG."""
    at = math.log10 if chart.log else float
    xs = [at(x) for points in chart.lines.values() for x, _ in points]
    ys = [y for points in chart.lines.values() for _, y in points]
    x0, x1 = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y_ticks = ticks(min(0.0, *ys), max(ys))
    y0, y1 = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (at(x) - x0) / (x1 - x0) * (WIDE - LEFT - RIGHT)
        up = (y - y0) / ((y1 - y0) or 1) * (HIGH - TOP - BOTTOM)
        return round(LEFT + across, 1), round(HIGH - BOTTOM - up, 1)

    text = 'font-family="DejaVu Sans, Helvetica, sans-serif" font-size="12" fill="#333"'
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">',
           f'<rect width="{WIDE}" height="{HIGH}" fill="#fff"/>',
           f'<text x="{LEFT}" y="20" {text} font-weight="bold">{escape(chart.title)}</text>']  # fmt: skip
    for y in y_ticks:
        _, py = place(10**x0 if chart.log else x0, y)
        out.append(f'<path d="M{LEFT} {py}H{WIDE - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{py + 4}" text-anchor="end" {text}>{y:g}</text>')
    marks = sorted({x for points in chart.lines.values() for x, _ in points}) if chart.log else ticks(x0, x1)
    for x in marks:
        px, _ = place(x, y0)
        out.append(f'<text x="{px}" y="{HIGH - BOTTOM + 18}" text-anchor="middle" {text}>{x:g}</text>')
    middle = (LEFT + WIDE - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HIGH - BOTTOM + 36}" text-anchor="middle" {text}>{escape(chart.across)}</text>')
    for i, (label, points) in enumerate(chart.lines.items()):
        colour, placed = COLOURS[i % len(COLOURS)], [place(x, y) for x, y in points]
        path = " ".join(f"{px},{py}" for px, py in placed)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if chart.marks and len(placed) <= 60:
            out += [f'<circle cx="{px}" cy="{py}" r="3" fill="{colour}"/>' for px, py in placed]
        here = LEFT + i * (WIDE - LEFT - RIGHT) / max(3, len(chart.lines))
        out.append(f'<rect x="{here}" y="28" width="10" height="4" fill="{colour}"/>')
        out.append(f'<text x="{here + 14}" y="34" {text}>{escape(label)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def ticks(low: float, high: float, most: int = 6) -> Sequence[float]:
    """Round numbers within [low, high], at most `most` of them."""
    span = (high - low) or 1.0
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)] or [low, high]
