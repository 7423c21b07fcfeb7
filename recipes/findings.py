"""The rows of the report card with their figures: looked up, judged, and marked where they are stale. No MLX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lab.runs import inspect, read_lines, root
from recipes import record
from recipes.card import ROWS, SHIPS, Row

Verdict = Literal["shown", "not shown", "not measured"]
BYTES = re.compile(r"\(([\d.]+) bytes a token\)")


@dataclass(frozen=True)
class Finding:
    """A row as it is read: means over seeds, and the value of each."""

    claim: str
    experiment: str
    before: str
    after: str
    befores: tuple[str, ...]
    afters: tuple[str, ...]
    seeds: int
    verdict: Verdict
    why: str  # what does not hold, with its value of each seed
    stale: tuple[str, ...]  # files that have changed since
    source: str
    command: str


class Value(NamedTuple):
    """A figure of every seed, and the claim it stands in ('' for none)."""

    values: list[float]
    claim: str


class Sources:
    """Figures by source: claims of the record, else a shipped model's own; or the runs of journeys, a seed each."""

    def __init__(self, path: Path, journeys: Sequence[str] = ()):
        self.claims = {} if journeys else record.claims(path)
        self.journeys = journeys
        self._runs: dict[str, Mapping[str, list[float]]] = {}

    def figures(self, source: str) -> Mapping[str, list[float]]:
        """All figures of a source; {} where there is none."""
        if source in self.claims:
            found = self.claims[source].get("figures")
            return found if isinstance(found, dict) else {}
        if source not in self._runs:
            names = [f"{name}-{source}" for name in self.journeys] or [SHIPS.get(source, "")]
            each = [
                of_run(root() / name) for name in names if name and inspect(root() / name).state in ("done", "stopped")
            ]
            same = set[str].intersection(*(set(one) for one in each)) if each else set()
            self._runs[source] = {key: [one[key] for one in each] for key in same}
        return self._runs[source]

    def value(self, source: str, name: str) -> Value:
        """A key, `key - key`, or with `other:key` one of another source."""
        one, minus, other = name.partition(" - ")
        values = self._get(source, one)
        if minus:
            theirs = self._get(source, other) or self._get(source, f"{one.partition(':')[0]}:{other}")
            values = {seed: value - theirs[seed] for seed, value in values.items() if seed in theirs}
        return Value(list(values.values()), source if source in self.claims else "")

    def _get(self, source: str, key: str) -> dict[int, float]:
        """Seed -> figure."""
        elsewhere, colon, rest = key.partition(":")
        return self._of(source, key) or (self._of(elsewhere, rest) if colon else {})

    def _of(self, source: str, key: str) -> dict[int, float]:
        values = record.valued(self.figures(source), key)
        seeds = self.claims[source].get("seeds", []) if source in self.claims else []
        return dict(zip(seeds if len(seeds) == len(values) else range(len(values)), values, strict=True))

    def stale(self, name: str) -> list[str]:
        """Files that have changed since a claim was measured; a run's record is what that run was."""
        return record.changed(self.claims[name]) if name in self.claims else []


def of_run(folder: Path) -> dict[str, float]:
    """A run's figures, and one that only its log tells."""
    found = record.numbers(read_lines(folder / "metrics.jsonl"))
    try:
        log = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        log = ""
    if told := BYTES.search(log):
        found["log.bytes_a_token"] = float(told[1])
    return found


def findings(path: Path = record.RECORD, journeys: Sequence[str] = ()) -> list[Finding]:
    """All rows of the card."""
    sources = Sources(path, journeys)
    return [finding(row, sources) for row in ROWS]


def finding(row: Row, sources: Sources) -> Finding:
    """One row: not measured where a figure that it needs is nowhere."""
    before, after = (sources.value(row.source, key) for key in (row.before, row.after))
    bounds = [(bound, sources.value(row.source, bound[0]).values) for bound in row.must]
    whole = bool(after.values) and (bool(before.values) or not row.before) and all(values for _, values in bounds)
    if not whole:
        return Finding(row.claim, row.experiment, "", "", (), (), 0, "not measured", "", (), row.source, row.command)
    broken = [(bound, values) for bound, values in bounds if not _holds(values, bound)]
    why = "; ".join(
        f"{key} {' / '.join(f'{v:.2f}' for v in values)}, must be {sign} {limit:g}"
        for (key, sign, limit), values in broken
    )
    others = [key.partition(":")[0] for key in (row.before, row.after, *(b[0] for b in row.must)) if ":" in key]
    stale = sorted({file for name in (row.source, *others) for file in sources.stale(name)})
    befores, afters = (tuple(_said(v, row.form) for v in each.values) for each in (before, after))
    return Finding(
        row.claim, row.experiment, _mean(before.values, row.form), _mean(after.values, row.form), befores, afters,
        len(after.values), "not shown" if broken else "shown", why, tuple(stale), row.source, row.command,
    )  # fmt: skip


def _holds(values: list[float], bound: record.Bound) -> bool:
    _, sign, limit = bound
    return all(v >= limit if sign == ">=" else v <= limit for v in values)


def _mean(values: list[float], form: str) -> str:
    return _said(sum(values) / len(values), form) if values else ""


def _said(value: float, form: str) -> str:
    """A share in hundredths; of other numbers what counts."""
    if form == "share":
        return f"{100 * value:.1f} %" if 0 < abs(value) < 0.01 else f"{100 * value:.0f} %"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"
