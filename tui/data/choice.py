"""Which runs Train shows, which of them the user chose, and the colour of each. Pure."""

from collections.abc import Iterable, Sequence

from lab.runs import Info
from tui.data.watch import LIVE

MOST = 8  # runs on the charts at once: as many as there are colours


def ordered(runs: Sequence[Info]) -> list[Info]:
    """Live runs on top, those that wait for the accelerator behind those that have it; the others as they come (newest
    first)."""
    return sorted(runs, key=lambda info: 2 if info.state not in LIVE else info.state == "queued")


class Choice:
    """shown: the run under the cursor; overlaid: more of them on the charts; pinned: the one they are compared with."""

    def __init__(self) -> None:
        self.shown: str | None = None
        self.overlaid: list[str] = []
        self.pinned: str | None = None
        self.wanted = ""  # to be shown as soon as it is there
        self.by_hand = False  # the user chose; until then the newest live run is shown
        self.colours: dict[str, int] = {}
        self._order: list[str] = []
        self._born: dict[str, float] = {}

    def see(self, runs: Sequence[Info]) -> None:
        """Take in the runs there are now (as `ordered` gives them): what went is left out, what was renamed followed."""
        there = [info.name for info in runs]
        self._follow_renames(runs)
        self.overlaid = [name for name in self.overlaid if name in there]
        self.pinned = self.pinned if self.pinned in there else None
        if self.wanted in there:
            self.choose(self.wanted)
        if self.shown not in there:
            self._show_another(there)
        if runs and not self.by_hand and runs[0].state in LIVE:
            self.shown = runs[0].name  # the newest of those that run; a queued one only where no other lives
        self.colours = {name: index for name, index in self.colours.items() if name in there}
        for name in there:
            if name not in self.colours:
                self.colours[name] = _free(self.colours.values())
        self._order, self._born = there, {info.name: info.created for info in runs}

    def _follow_renames(self, runs: Sequence[Info]) -> None:
        there = {info.name for info in runs}
        new = {info.created: info.name for info in runs if info.created > 0 and info.name not in self._born}
        for old in [name for name in self._born if name not in there]:
            if name := new.get(self._born[old]):
                self.shown = name if self.shown == old else self.shown
                self.pinned = name if self.pinned == old else self.pinned
                self.overlaid = [name if n == old else n for n in self.overlaid]
                if old in self.colours:
                    self.colours[name] = self.colours.pop(old)

    def _show_another(self, there: list[str]) -> None:
        """The one that took the place of the one that went."""
        at = self._order.index(self.shown) if self.shown in self._order else 0
        if self.shown is None:
            self.by_hand = False
        self.shown = there[min(at, len(there) - 1)] if there else None

    def choose(self, name: str) -> None:
        """The user wants this one."""
        self.shown, self.wanted, self.by_hand = name, "", True

    def toggle_overlay(self, name: str) -> bool:
        """Keep a run on the charts, or no longer. False where there are too many."""
        if name in self.overlaid:
            self.overlaid.remove(name)
        elif len({*self.overlaid, name, self.pinned} - {None}) >= MOST:
            return False
        else:
            self.overlaid.append(name)
        return True

    def toggle_pin(self, name: str) -> None:
        """Compare with this one, or with none."""
        self.pinned = None if self.pinned == name else name

    @property
    def drawn(self) -> list[str]:
        """The runs on the charts, the pinned one first, then the one under the cursor. No two have the same colour."""
        names = dict.fromkeys(name for name in (self.pinned, self.shown, *self.overlaid) if name)
        found = list(names)[:MOST]
        taken = set[int]()
        for name in found:
            index = self.colours.get(name, 0)
            if index % MOST in taken:
                index = next(i for i in range(MOST) if i not in taken)
                self.colours[name] = index
            taken.add(index % MOST)
        return found


def _free(used: Iterable[int]) -> int:
    taken = set(used)
    return next(i for i in range(len(taken) + 1) if i not in taken)
