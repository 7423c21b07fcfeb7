"""The runs in the weights root: what there is, what lives, what changed since the last look."""

import os
import time
from pathlib import Path

from lab.errors import UserError
from lab.runs import LIVE, Info, inspect, root, runs

STALE = 30.0  # seconds without a word of a process that still holds its lock


clock = time.time


def now() -> float:
    """Seconds since the epoch; every screen asks here, so that a test can stop the clock."""
    return clock()


class Watch:
    """`refresh` looks again; a folder whose files did not change, and which is not live, is not read again."""

    def __init__(self) -> None:
        self.runs: list[Info] = []
        self._seen: dict[Path, tuple[tuple[int, ...], Info]] = {}

    def refresh(self) -> bool:
        """Look at the root; whether anything changed."""
        try:
            found = runs(self._inspect)
        except (OSError, UserError):  # the root went away under us, or there never was one
            found = []
        kept = {info.folder for info in found}
        self._seen = {folder: seen for folder, seen in self._seen.items() if folder in kept}
        changed = found != self.runs
        self.runs = found
        return changed

    def _inspect(self, folder: Path) -> Info:
        stamp, seen = _stamps(folder), self._seen.get(folder)
        if seen and seen[0] == stamp and seen[1].state not in LIVE:
            return seen[1]
        info = inspect(folder)
        self._seen[folder] = (stamp, info)
        return info

    @property
    def live(self) -> list[Info]:
        """Runs that a process holds, newest first; those that wait for the accelerator behind those that have it."""
        return sorted((i for i in self.runs if i.state in LIVE), key=lambda i: i.state == "queued")

    def find(self, name: str) -> Info | None:
        return next((info for info in self.runs if info.name == name), None)


def _stamps(folder: Path) -> tuple[int, ...]:
    """When the files that say how a run is were written; 0 for those that are not there."""
    found = []
    for name in ("run.json", "status.json"):
        try:
            found.append(os.stat(f"{folder}/{name}").st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)


def stalled(info: Info) -> bool:
    """A live run that has said nothing for a while: its first step compiles, or it hangs."""
    told = info.status.get("t")
    return info.state in ("running", "saving") and isinstance(told, int | float) and now() - told > STALE


__all__ = ["LIVE", "Info", "Watch", "now", "root", "stalled"]
