"""Rooms of chapters that are not part of this version: they say so."""

from textual.app import ComposeResult
from textual.containers import Center, Middle
from textual.widgets import Static

from tui.screens.base import LabScreen


class Later(LabScreen):
    """One sentence on what belongs here, and where to go instead."""

    SAYS = ""

    def body(self) -> ComposeResult:
        with Middle(), Center():
            yield Static(self.SAYS, classes="empty")


class Rank(Later):
    ROOM = "rank"
    SAYS = (
        "[b]Rank[/b]\n\nHere you will put a model's answers in order, for a reward model to learn what you like.\n"
        "No recipe of this version uses rankings yet: the pipeline ([b]1[/b]) shows what there is.\n\n"
        "[b]2[/b] curves of a training    [b]4[/b] talk with a model"
    )
