"""The columns of a run's metrics.jsonl as numpy arrays that grow while the run writes."""

import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tui.data.tail import Tail

Axis = Literal["step", "time", "tokens"]
HUGE = 1e300  # sums and neighbours of what is smaller stay finite
OURS = ("step", "t", "event")  # what a row always holds; the rest are figures


class Growing:
    """A float64 array with room at its end; `values` is a view of what is in it."""

    def __init__(self) -> None:
        self._room, self.n = np.empty(1024), 0

    @property
    def values(self) -> np.ndarray:
        return self._room[: self.n]

    def extend(self, new: np.ndarray) -> None:
        need = self.n + len(new)
        if need > len(self._room):
            room = np.empty(max(need, 2 * len(self._room)))
            room[: self.n] = self.values
            self._room = room
        self._room[self.n : need] = new
        self.n = need


class History:
    """One run's figures over its steps. `revision` grows with every change, `generation` when the file began anew (a
    resumed run cut it back). Null in the file, which is how not-a-number is written, is NaN here."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tail = Tail(folder / "metrics.jsonl")
        self.revision = self.generation = 0
        self._clear()

    def _clear(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.latest: dict[str, float] = {}
        self._axes: dict[str, Growing] = {axis: Growing() for axis in ("step", "time", "tokens")}
        self._at: dict[str, Growing] = {}
        self._columns: dict[str, Growing] = {}
        self._counted = 0.0  # the last step whose tokens are known
        self._began: float | None = None
        self._lost = self._clock = 0.0  # seconds between a stop and its resume are no part of the run's time
        self._waits = False

    @property
    def behind(self) -> float:
        """Share of the file not read yet; 0 when caught up."""
        return self.tail.behind

    @property
    def rows(self) -> int:
        return self._axes["step"].n

    def poll(self, budget: float = 0.02) -> bool:
        """Read what is new, for about `budget` seconds at most; whether anything changed."""
        until, changed = time.perf_counter() + budget, False
        while True:
            before = self.tail.read
            rows, anew = self.tail.poll()
            if anew:
                self._clear()
                self.generation += 1
            if rows:
                self._take(rows)
            if rows or anew:
                self.revision += 1
                changed = True
            if self.tail.read == before or time.perf_counter() > until:
                return changed

    def keys(self) -> list[str]:
        """Names of the figures, in the order in which they came."""
        return list(self._columns)

    def column(self, key: str, x: Axis = "step") -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of one figure, float64 [n] each; x never falls. Empty for a figure that is not there."""
        if key not in self._columns:
            return np.empty(0), np.empty(0)
        return self._axes[x].values[self._at[key].values.astype(np.int64)], self._columns[key].values

    def place(self, step: float, x: Axis) -> float | None:
        """Where a step lies on another axis."""
        steps = self._axes["step"].values
        if not len(steps):
            return None
        i = min(int(np.searchsorted(steps, step)), len(steps) - 1)
        end = int(np.searchsorted(steps, steps[i], "right"))
        # Of the rows of a step the last with figures: events come before them, and after the last step a report.
        rows = [at.values[k - 1] for at in self._at.values() if (k := int(np.searchsorted(at.values, end)))]
        return float(self._axes[x].values[int(max([i, *rows]))])

    def _take(self, rows: list[dict[str, Any]]) -> None:
        start = self.rows
        step, t = (_floats([row.get(name) for row in rows]) for name in ("step", "t"))
        self.events += [row for row in rows if "event" in row]
        self._axis("step", step)
        self._axis("time", self._elapsed(rows, t))
        done = self._axes["tokens"].values
        self._axes["tokens"].extend((done[-1] if len(done) else 0.0) + np.cumsum(self._tokens(rows, step)))
        shapes: dict[tuple[str, ...], list[int]] = {}
        for i, row in enumerate(rows):
            if "event" not in row:
                shapes.setdefault(tuple(row), []).append(i)
        parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for names, places in shapes.items():
            at = np.array(places)
            for name in names:
                if name not in OURS:
                    values = _floats([rows[i][name] for i in places])
                    parts.setdefault(name, []).append((at, values))
        for name, pieces in parts.items():
            at, values = (np.concatenate(side) for side in zip(*pieces, strict=True))
            order = np.argsort(at, kind="stable") if len(pieces) > 1 else slice(None)
            self._at.setdefault(name, Growing()).extend(at[order] + start)
            self._columns.setdefault(name, Growing()).extend(values[order])
            self.latest[name] = float(self._columns[name].values[-1])

    def _tokens(self, rows: list[dict[str, Any]], step: np.ndarray) -> np.ndarray:
        """Tokens of each row's step and of those before it that have no row: a shipped record keeps every tenth."""
        known = _floats([None if "event" in row else row.get("tokens") for row in rows])
        told, tokens = np.flatnonzero(np.isfinite(known) & np.isfinite(step)), np.nan_to_num(known)
        if len(told):
            tokens[told] *= np.maximum(1, np.diff(step[told], prepend=self._counted))
            self._counted = float(step[told[-1]])
        return np.maximum(tokens, 0)

    def _axis(self, axis: str, new: np.ndarray) -> None:
        """Append, never falling: what a broken row says stands where the row before stands."""
        old = self._axes[axis].values
        last = old[-1] if len(old) else 0.0
        self._axes[axis].extend(np.maximum.accumulate(np.maximum(np.nan_to_num(new, nan=last), last)))

    def _elapsed(self, rows: list[dict[str, Any]], t: np.ndarray) -> np.ndarray:
        """Seconds of work since the first row: without the time between a stop or pause and going on, and whatever the
        clock does; where it was set back, the row stands where the one before stands."""
        if self._began is not None and not self._waits and not any("event" in row for row in rows):
            known = t[np.isfinite(t)]
            if len(known) and (np.diff(known, prepend=self._clock) >= 0).all():
                self._clock = float(known[-1])
                return t - self._began - self._lost
        out = np.empty(len(rows))
        for i, row in enumerate(rows):
            now = t[i]
            if not np.isfinite(now):
                out[i] = np.nan
                continue
            if self._began is None:
                self._began = self._clock = now
            went_on = row.get("event") == "resume" or (self._waits and row.get("event") == "control")
            if went_on or now < self._clock:
                self._lost += now - self._clock
            if row.get("event") == "control":
                self._waits = row.get("cmd") == "pause" or (self._waits and row.get("cmd") == "checkpoint")
            self._clock = now
            out[i] = now - self._began - self._lost
        return out


def _floats(values: list[Any]) -> np.ndarray:
    """Numbers as float64; what is no number (null, a word, a list) or has no end as NaN."""
    try:
        array = np.array(values)
        if array.ndim == 1 and array.dtype.kind in "fiubO":  # words are no figures, "3.4" neither
            array = array.astype(np.float64)
            array[np.abs(array) >= HUGE] = np.nan
            return array
    except (TypeError, ValueError, OverflowError):
        pass
    return np.array([float(v) if isinstance(v, int | float) and abs(v) < HUGE else np.nan for v in values])
