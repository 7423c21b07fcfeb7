"""Proxy and gold over the steps, and the replies of a step that lie furthest apart in them."""

from textual import on
from textual.app import ComposeResult
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from lab.display import CONTROLS
from tui.data import gap
from tui.data.gap import Far
from tui.data.history import History
from tui.data.rollout_words import Pieces, styled
from tui.data.rollouts import Step
from tui.theme import background, run_colour
from tui.widgets.chart import Chart, Curve
from tui.widgets.facts import put
from tui.widgets.row_list import RowList


class GapList(RowList):
    """Replies by their gap; `enter` shows one with its tokens."""

    HELP = """
## Gap

Above the replies that the reward model likes far beyond what they are worth, below those it likes too little: proxy is the
reward model's score, gold what somebody else thinks (the hidden judge of the pocket world, or a model). Both curves count
in standard deviations of what the model said before. Where they part, the reward is being gamed. `{` `}` go through the
steps, `enter` shows a reply with its tokens, `g` goes back.
"""

    def __init__(self, id: str, title: str):
        super().__init__(id=id, head=True)
        self.border_title = Content(title)
        self.rows: list[Far] = []

    def fill(self, rows: list[Far]) -> None:
        """These, the cursor on the first."""
        self.rows = rows

        def draw(at: int, width: int) -> Pieces:
            return gap.head(width) if at < 0 else gap.row(rows[at], width)

        self.show(len(rows), 0, draw)

    @property
    def one(self) -> Far | None:
        """The reply under the cursor."""
        return self.rows[self.cursor] if self.rows else None


class GapPane(Vertical):
    """The chart, two lists, and the whole of the chosen text."""

    DEFAULT_CSS = """
    GapPane { display: none; height: 1fr; }
    GapPane Chart { height: 2fr; min-height: 7; }
    GapPane GapList { height: 1fr; min-height: 4; }
    GapPane #gap-text { height: auto; min-height: 2; max-height: 4; padding: 0 2; background: $surface; }
    """

    class Opened(Message):
        """A reply is to be seen with its tokens."""

        def __init__(self, one: Far):
            super().__init__()
            self.one = one

    def compose(self) -> ComposeResult:
        yield Chart("proxy and gold, in standard deviations of the start", id="gap-chart")
        yield GapList("gap-over", "liked beyond its worth, sd of the start")
        yield GapList("gap-under", "worth more than it is liked, sd of the start")
        yield Static(id="gap-text")

    def update(self, history: History, step: Step | None) -> None:
        """Bring it up to date."""
        unit = gap.scale(history, step)
        found_lines = gap.lines(history, unit)
        looked, ground = any(one.held_out for one in found_lines), background(self.app)
        curves = []
        for one in found_lines:
            colour = run_colour(int(one.gold), self.app)
            if looked and not one.held_out:  # what was held out says more
                colour = Color.parse(colour).blend(ground, 0.45).hex
            key = (history.folder, one.name)
            curves.append(
                Curve(one.name, one.x, one.y, colour, key, history.generation, not one.held_out, one.held_out)
            )
        chart = self.query_one(Chart)
        chart.show(curves)
        found = gap.far(step, unit) if step else []
        over, under = gap.ends(found)
        for name, rows in (("#gap-over", over), ("#gap-under", under)):
            lines = self.query_one(name, GapList)
            if rows != lines.rows:
                lines.fill(rows)
        if step is not None:
            end = max((float(one.x[-1]) for one in found_lines), default=0.0)  # there the legend says the values
            chart.point_at(float(step.number) if step.number < end else None)
            self.query_one("#gap-over").border_subtitle = Content(gap.summary(step, found, unit))
        self._tell(over[0] if over else None)

    def _tell(self, one: Far | None) -> None:
        lines = [styled([(text.translate(CONTROLS), role) for text, role in line]) for line in gap.told(one)]
        put(self.query_one("#gap-text", Static), lines)

    @on(RowList.Moved)
    def _moved(self, message: RowList.Moved) -> None:
        message.stop()
        rows = message.rows
        if isinstance(rows, GapList) and rows.one:
            self._tell(rows.one)
            if message.opened:
                self.post_message(self.Opened(rows.one))
