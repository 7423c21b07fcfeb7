"""Rollouts, two columns: the same prompt at another step, or in another run."""

from pathlib import Path

from textual import work
from textual.worker import get_current_worker

from tui.data import rollouts
from tui.data.rollout_words import where
from tui.data.rollouts import Place, Step
from tui.screens.rollout_room import RolloutRoom, book_of


class CompareRoom(RolloutRoom):
    """What the second column shows."""

    def show_group(self) -> None:
        """The chosen prompt; places to compare with are those of this prompt."""
        super().show_group()
        if self.comparing:
            self.look_for_places()

    def look_for_places(self) -> None:
        """Find where else the chosen prompt was asked, and show the nearest of these."""
        self.places, self.place, self.other = [], 0, None
        if self.step is None or self.group >= len(self.groups):
            return
        self.looking = True
        self.theirs.show("elsewhere", [], 0, 1.0, 0, "looking for the same prompt …")
        key = self.groups[self.group][0].key
        self._find_places(key, Place(self.step.folder, self.step.number), [info.folder for info in self.infos])

    @work(thread=True, exclusive=True, exit_on_error=False, group="places")
    def _find_places(self, key: str, here: Place, folders: list[Path]) -> None:
        worker = get_current_worker()
        for place in rollouts.places(key, here, folders, lambda: worker.is_cancelled):
            self.app.call_from_thread(self._place_found, key, place)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._places_end, key)

    def _current(self, key: str) -> bool:
        return self.comparing and self.group < len(self.groups) and self.groups[self.group][0].key == key

    def _place_found(self, key: str, place: Place) -> None:
        if self._current(key):
            self.places.append(place)
            if len(self.places) == 1:
                self.compare_with(0)
            self._tell()

    def _places_end(self, key: str) -> None:
        if self._current(key):
            self.looking = False
            if not self.places:
                words = "asked at no other step or run"
                self.theirs.show("elsewhere", [], 0, 1.0, 0, words)
            self._tell()

    def compare_with(self, place: int) -> None:
        """The replies at another place beside these."""
        if self.places:
            self.place = place % len(self.places)
            self._read_other(self.places[self.place], self.groups[self.group][0].key)

    @work(thread=True, exclusive=True, exit_on_error=False, group="other")
    def _read_other(self, place: Place, key: str) -> None:
        worker = get_current_worker()
        info = next((i for i in self.infos if i.folder == place.folder), None)
        if info is not None and info.folder not in self._books:
            self._books[info.folder] = book_of(info)
        step = rollouts.load(place.folder, place.step, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._other_came, place, step, key)

    def _other_came(self, place: Place, step: Step, key: str) -> None:
        if self._current(key) and self.places and self.places[self.place] == place:
            self.other = (place, step)
            self.show_other()
            self._tell()

    def show_other(self) -> None:
        """The second column."""
        if self.other is None or self.group >= len(self.groups):
            return
        place, step = self.other
        key = self.groups[self.group][0].key
        rows = [row for group in step.groups if group.key == key for row in group.rows]
        before = self.theirs.one
        shown = self._told(step, rows)
        at = next((i for i, one in enumerate(shown) if before and one.brief.k == before.brief.k), 0)
        self.theirs.heat = self.heat
        self.theirs.show(
            where(place.folder, place.step), shown, at, rollouts.scale(rows), len(rows), "gone from the file"
        )
