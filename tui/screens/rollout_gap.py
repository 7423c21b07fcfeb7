"""Rollouts, proxy against gold: where what a reward model says parts from what it stands for, and the texts that show it."""

from textual import on

from tui.data import gap
from tui.data.rollouts import Shelf, Step
from tui.screens.rollout_compare import CompareRoom
from tui.widgets.chart import Chart
from tui.widgets.gap_pane import GapPane

BITE = 0.1  # seconds of reading a run's figures at once


class GapRoom(CompareRoom):
    """The gap pane in the place of the replies."""

    @property
    def judged(self) -> bool:
        """Whether somebody else judged the run that is shown."""
        if self.step is not None and "gold" in self.step.judges:
            return True
        return self.shelf is not None and gap.has(self.lab.history(self.shelf.folder))

    def action_gap(self) -> None:
        """Proxy against gold, or the replies again."""
        self.toggle_class("-gap")
        if self.has_class("-gap"):
            self.update_gap()
            self.query_one("#gap-over").focus()
        else:
            self.mine.focus()

    def update_gap(self) -> None:
        """What the pane shows."""
        if self.has_class("-gap") and self.shelf is not None:
            if not self.judged:
                self.remove_class("-gap")  # another run is shown
                return
            history = self.lab.history(self.shelf.folder)
            history.poll(BITE)
            self.query_one(GapPane).update(history, self.step)

    def _came(self, shelf: Shelf, step: Step) -> None:
        super()._came(shelf, step)
        self.update_gap()
        self.refresh_bindings()

    def watched(self, changed: bool) -> None:
        super().watched(changed)
        self.update_gap()

    @on(Chart.Moved)
    def _pointed(self, message: Chart.Moved) -> None:
        """The step under the crosshair."""
        if message.x is not None and self.shelf and self.shelf.steps:
            x = message.x
            self.go_to(min(self.shelf.steps, key=lambda step: abs(step - x)))

    @on(GapPane.Opened)
    def _opened(self, message: GapPane.Opened) -> None:
        """The reply with its tokens."""
        one = message.one.brief
        at = next((i for i, (group, _) in enumerate(self.groups) if group.number == one.group), None)
        self.remove_class("-gap")
        if at is None:
            self.lab.say("the filter hides this reply; / changes it", "warning", 3)
            return
        self.group, self.member = at, one.k
        self.show_groups()
        self.show_group()
        self.mine.focus()

    def go_to(self, step: int) -> None:
        """Show another step."""
        if step != self.wanted:
            self.follows = False
            self.read(step)
