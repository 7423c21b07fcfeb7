"""What a run tried and what each try earned: episodes/*.jsonl of its folder (lab/episodes.py says what a line holds), read a
step at a time. Of every row a step keeps what lists show; the tokens of a row are read when it is looked at."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from lab import episodes
from tui.data.pattern import pattern
from tui.data.rollout_rows import Brief, brief, parsed, whole

KEPT = 3  # steps in memory; one of 2,000 rows of 200 tokens holds about 5 MB
EQUAL = 1e-6  # rewards closer than this are the same: such a group teaches nothing (lab/advantage.py takes 1e-8)
ORDERS = ("as drawn", "reward", "advantage", "length", "surprise")
JUDGES = ("proxy", "gold")  # parts or notes that can be sorted by where there are some


@dataclass(frozen=True)
class Group:
    """The replies to one prompt."""

    number: int
    rows: tuple[Brief, ...]
    rewards: tuple[float, ...]  # of those that could be judged

    @property
    def key(self) -> str:
        return self.rows[0].key

    @property
    def prompt(self) -> str:
        return self.rows[0].prompt

    @property
    def mean(self) -> float | None:
        return fmean(self.rewards) if self.rewards else None

    @property
    def spread(self) -> float:
        """Standard deviation of the rewards, over the group's members."""
        return pstdev(self.rewards) if len(self.rewards) > 1 else 0.0

    @property
    def right(self) -> int | None:
        """How many are right; None where that is not what they are judged by."""
        known = [row.right for row in self.rows if row.right is not None or row.reward is None]
        return sum(map(bool, known)) if known else None

    @property
    def calls(self) -> float:
        """Mean calls of a reply."""
        return fmean(row.calls for row in self.rows)

    @property
    def retries(self) -> float | None:
        """Mean attempts that a reply takes back, where the judge counts them (recipes/tasks.py)."""
        known = [count for row in self.rows if (count := row.notes.get("retries")) is not None]
        return fmean(known) if known else None

    @property
    def flat(self) -> bool:
        """Whether all earned the same: nothing is learned from it."""
        return len(self.rewards) > 1 and max(self.rewards) - min(self.rewards) < EQUAL


@dataclass(frozen=True)
class Stats:
    """Figures of a step, means over replies."""

    groups: int
    rows: int
    reward: float | None
    spread: float | None  # mean of the groups' spreads
    right: float | None
    flat: int  # groups without a spread; of these all right, and none right
    all_right: int
    all_wrong: int
    length: float | None
    cut: float | None
    calls: float | None
    surprise: float | None
    kl: float | None
    figures: Mapping[str, float]  # parts, then notes
    unjudged: int
    off: int  # rows whose parts do not sum to their reward


@dataclass(frozen=True)
class Step:
    """A step's replies as they stood in the file at `stamp`."""

    folder: Path
    number: int
    groups: tuple[Group, ...]
    torn: int = 0  # lines that could not be read
    stamp: tuple[int, int] = (0, 0)
    stats: Stats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stats", stats(self.groups))

    def find(self, key: str) -> int | None:
        """The place of a problem among the groups."""
        return next((i for i, group in enumerate(self.groups) if group.key == key), None)

    @property
    def judges(self) -> list[str]:
        """Names out of JUDGES that some row has."""
        rows = [row for group in self.groups for row in group.rows]
        return [name for name in JUDGES if any(row.figure(name) is not None for row in rows)]


def stats(groups: Sequence[Group]) -> Stats:
    """The figures of these groups."""
    rows = [row for group in groups for row in group.rows]

    def mean(values: Iterator[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fmean(known) if known else None

    names = dict.fromkeys([*(n for row in rows for n in row.parts), *(n for row in rows for n in row.notes)])
    means = {name: mean(row.figure(name) for row in rows) for name in names}
    judged = [row for row in rows if row.reward is not None]
    flat = [group for group in groups if group.flat]
    return Stats(
        len(groups), len(rows), mean(row.reward for row in rows), mean(g.spread if g.rewards else None for g in groups),
        mean(None if row.right is None else float(row.right) for row in judged), len(flat),
        sum(g.right == len(g.rows) for g in flat), sum(g.right == 0 for g in flat),
        mean(float(row.drawn) for row in rows), mean(float(row.cut) for row in rows),
        mean(float(row.calls) for row in rows), mean(row.surprise for row in rows), mean(row.kl for row in rows),
        {name: value for name, value in means.items() if value is not None}, len(rows) - len(judged),
        sum(bool(row.off) for row in rows),
    )  # fmt: skip


# -- files -----------------------------------------------------------------------------------------------------------


def stamp_of(path: Path) -> tuple[int, int]:
    """(when it was written, bytes) of a file; zeros where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def load(folder: Path, number: int, stopped: Callable[[], bool] = lambda: False) -> Step:
    """Read a step. A torn line, or one that is no row, is counted and left out; so is what comes after `stopped` is true."""
    path, at, torn = episodes.path_of(folder, number), 0, 0
    stamp, found = stamp_of(path), dict[int, list[Brief]]()
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed by the with below; open alone may fail)
    except OSError:
        return Step(folder, number, (), stamp=stamp)
    with file:
        for line in file:
            row = parsed(line)
            if row is not None:
                one = brief(row, at, len(line))
                found.setdefault(one.group, []).append(one)
            torn += row is None and bool(line.strip())
            at += len(line)
            if stopped():
                break
    groups = []
    for group, rows in sorted(found.items()):
        rows.sort(key=lambda row: row.k)
        rewards = tuple(row.reward for row in rows if row.reward is not None)
        groups.append(Group(group, tuple(rows), rewards))
    return Step(folder, number, tuple(groups), torn, stamp)


def rows(step: Step, briefs: Sequence[Brief]) -> list[tuple[Brief, dict[str, Any]]]:
    """The whole rows of these; one whose place in the file holds something else by now is left out."""
    found = []
    try:
        with open(episodes.path_of(step.folder, step.number), "rb") as file:
            for one in briefs:
                file.seek(one.at)
                row = parsed(file.read(one.size))
                if row is not None and (whole(row.get("group")), whole(row.get("k"))) == (one.group, one.k):
                    found.append((one, row))
    except OSError:
        return []
    return found


class Shelf:
    """The steps of one run. `refresh` looks for new ones; `get` reads one, or finds it among those read last."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.steps: list[int] = []
        self._seen = 0
        self._kept: dict[int, Step] = {}

    def refresh(self) -> bool:
        """Whether steps came or went."""
        seen, before = stamp_of(self.folder / episodes.FOLDER)[0], self.steps
        if seen != self._seen:
            self._seen, self.steps = seen, steps_of(self.folder)
        return self.steps != before

    def stale(self, step: Step) -> bool:
        """Whether the step's file has changed since it was read."""
        return stamp_of(episodes.path_of(self.folder, step.number)) != step.stamp

    def get(self, number: int, stopped: Callable[[], bool] = lambda: False) -> Step:
        """A step; from a thread where rows are many."""
        kept = self._kept.pop(number, None)
        if kept is None or self.stale(kept):
            kept = load(self.folder, number, stopped)
        if not stopped():
            self._kept[number] = kept
            for old in list(self._kept)[:-KEPT]:
                self._kept.pop(old, None)
        return kept


def steps_of(folder: Path) -> list[int]:
    """The steps that have episodes, rising; none where the folder cannot be read."""
    try:
        return episodes.steps(folder)
    except OSError:
        return []


@dataclass(frozen=True)
class Place:
    """Where a problem was asked too."""

    folder: Path
    step: int


def places(key: str, here: Place, folders: Sequence[Path], stopped: Callable[[], bool]) -> Iterator[Place]:
    """Where else a problem was asked, nearest first: other steps of the run, then the other runs from their last step back.
    Files are searched for the key as it is written, not parsed."""
    if not key:
        return
    sought = [
        f'"key":{gap}{json.dumps(key, ensure_ascii=ascii)}'.encode() for gap in ("", " ") for ascii in (False, True)
    ]
    mine = sorted((s for s in steps_of(here.folder) if s != here.step), key=lambda s: (abs(s - here.step), s))
    todo = [Place(here.folder, step) for step in mine]
    todo += [Place(f, step) for f in folders if f != here.folder for step in reversed(steps_of(f))]
    for place in todo:
        if stopped():
            return
        try:
            data = episodes.path_of(place.folder, place.step).read_bytes()
        except OSError:
            continue
        if any(one in data for one in sought):
            yield place


# -- order and filter ------------------------------------------------------------------------------------------------


def ordered(rows: Sequence[Brief], order: str, turned: bool = False) -> list[Brief]:
    """Rows by what they earned and the like, the most first; what is unknown stands last either way."""
    keys: dict[str, Callable[[Brief], float | None]] = {
        "reward": lambda row: row.reward, "advantage": lambda row: row.advantage,
        "length": lambda row: float(row.drawn), "surprise": lambda row: row.surprise,
    }  # fmt: skip
    if order == ORDERS[0]:
        return list(rows)[:: -1 if turned else 1]
    key = keys.get(order, lambda row: row.figure(order))

    def place(row: Brief) -> tuple[bool, float, int]:
        value = key(row)
        return value is None, 0.0 if value is None else value if turned else -value, row.k

    return sorted(rows, key=place)


WIDE = re.compile(r"(\.|\\[SDWw]|\[\^(?:\\.|[^\]\\])*\])[*+{]")


def sought(source: str) -> re.Pattern[str] | None:
    """The pattern that a person typed, None for nothing. re.error, in words, for one that is none, or that may take long on
    texts of some thousand letters."""
    bare = re.sub(r"^(\.[*+])+|(?<!\\)(\.\*)+$", "", source)  # says nothing where one searches
    if len(WIDE.findall(bare)) > 1:
        raise re.error("more than one .* may take for ever on long texts")
    return pattern(bare, ignore_case=True) if bare else None


def matching(rows: Sequence[Brief], sought: re.Pattern[str] | None) -> list[Brief]:
    """The rows that the pattern is found in: in the reply, the prompt, the reference or the key."""
    if sought is None:
        return list(rows)
    return [row for row in rows if any(map(sought.search, (row.text, row.prompt, row.answer, row.key)))]


def scale(rows: Sequence[Brief]) -> float:
    """The largest advantage of these in size; 1 where there is none."""
    return max((abs(row.advantage) for row in rows if math.isfinite(row.advantage)), default=0.0) or 1.0
