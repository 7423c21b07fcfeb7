"""Everything that is read of the runs on the charts, in small bites."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tui.data.history import History
from tui.data.samples import Samples
from tui.data.tail import Tail


class Reader:
    """The first folder is the shown one: its samples and notes are read too. history: gives the shared history of a
    folder."""

    def __init__(self, history: Callable[[Path], History]) -> None:
        self._history = history
        self.folders: list[Path] = []
        self.samples: Samples | None = None
        self.notes: list[dict[str, Any]] = []
        self._notes: Tail | None = None

    def attach(self, folders: Sequence[Path]) -> None:
        """From now on these; what was read of the first one before is kept if it stays the first."""
        if list(folders) == self.folders:
            return
        first = folders[0] if folders else None
        if first != (self.folders[0] if self.folders else None):
            self.samples = Samples(first) if first else None
            self._notes, self.notes = Tail(first / "notes.jsonl") if first else None, []
        self.folders = list(folders)

    def history(self, folder: Path) -> History:
        """The figures of one run."""
        return self._history(folder)

    def poll(self, budget: float = 0.02) -> bool:
        """Read for about `budget` seconds: the shown run first; whether anything changed."""
        until, changed = time.perf_counter() + budget, False
        for i, folder in enumerate(self.folders):
            left = until - time.perf_counter()
            if i and left <= 0:
                break
            history = self.history(folder)
            changed |= history.poll(left)
            if i == 0:
                changed |= self._beside(until)
        return changed

    def _beside(self, until: float) -> bool:
        changed = False
        if self.samples:
            changed = self.samples.poll(max(0.0, min(0.01, until - time.perf_counter())))
        if self._notes:
            rows, anew = self._notes.poll()
            self.notes = rows if anew else [*self.notes, *rows]
            changed |= bool(rows) or anew
        return changed

    @property
    def behind(self) -> float:
        """Share of the figures' files that is not read yet, by bytes."""
        tails = [self.history(folder).tail for folder in self.folders]
        size = sum(tail.size for tail in tails)
        return max(0.0, 1 - sum(tail.read for tail in tails) / size) if size else 0.0

    @property
    def revision(self) -> tuple[object, ...]:
        """Differs whenever there is something new to draw."""
        beside = (self.samples.revision if self.samples else 0, len(self.notes))
        return (*beside, *((folder, self.history(folder).revision) for folder in self.folders))
