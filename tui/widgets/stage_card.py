"""A stage of the road as a card: its state is the colour of the border and a word, its figures before and after."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lab.runs import Info
from lab.words import age, duration, sparkline
from tui.data.facts import LABEL, VALUE, Line, bar, left, plain
from tui.data.glance import Seen
from tui.data.road import Card
from tui.data.watch import now

WORDS = {"later": "not in this version", "stopped": "stopped", "died": "died"}
HINTS = {"data": ("enter", "looks at it"), "tokenizer": ("enter", "looks at it")}


@dataclass
class CardKey(Message):
    """A key on a card: enter, up, down, left, right."""

    what: str
    card: "StageCard"


class StageCard(Widget, can_focus=True):
    """One stage."""

    HELP = """
## Stage
The border: green done, orange at work, blue ready to start, red failed or died, grey waits for another stage.

`enter` opens its run, or starts it where there is none; `r` runs it anew (you see command, memory and time first), `c`
talks with its model, `e` edits its config in `$EDITOR`. Arrows go from stage to stage.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "say('enter')", "Open", id="card.open", tooltip="its run, or the dialog that starts it"),
        Binding("left", "say('left')", "Stage before", show=False, id="card.left"),
        Binding("right", "say('right')", "Next stage", show=False, id="card.right"),
        Binding("up", "say('up')", "Stage above", show=False, id="card.up"),
        Binding("down", "say('down')", "Stage below", show=False, id="card.down"),
    ]
    DEFAULT_CSS = """
    StageCard {
        height: 7; padding: 0 1; border: round $border; border-title-color: $foreground; border-title-style: bold;
        border-subtitle-color: $foreground-muted;
        &:focus { background: $surface; border-title-style: bold reverse; }
        &.-done { border: round $success 70%; }
        &.-running, &.-queued, &.-paused { border: round $accent; border-subtitle-color: $accent; }
        &.-ready { border: round $primary; border-subtitle-color: $primary; }
        &.-failed, &.-died { border: round $error; border-subtitle-color: $error; }
        &.-stopped { border: round $warning 70%; }
        &.-waiting, &.-later { border: round $border; border-title-color: $foreground-muted; }
    }
    """

    def __init__(self, card: Card) -> None:
        super().__init__(id=f"stage-{card.stage.key}")
        self.card, self.seen = card, Seen()
        self._drawn: object = None
        self._dress()

    def show(self, card: Card, seen: Seen | None) -> None:
        """Bring it up to date; without `seen` its figures stay."""
        moved = card.state != self.card.state
        self.card, self.seen = card, seen if seen is not None else self.seen
        if moved:
            self._dress()
        drawn = self.lines(), self._subtitle()
        if drawn != self._drawn:
            self._drawn = drawn
            self.border_subtitle = drawn[1]
            self.refresh()

    def _dress(self) -> None:
        self.border_title = Content(f"{self.card.number} {self.card.stage.title}")
        self.border_subtitle = self._subtitle()
        for state in ("done", "running", "queued", "paused", "ready", "waiting", "later", "failed", "died", "stopped"):
            self.set_class(state == self.card.state, f"-{state}")

    def _subtitle(self) -> Content:
        card = self.card
        said = WORDS.get(card.state, card.state)
        if card.run and card.state in ("running", "paused") and card.run.total:
            said += f" {100 * card.run.step // card.run.total} %"
        return Content(said)

    def on_resize(self, event: events.Resize) -> None:
        self._drawn = None

    def action_say(self, what: str) -> None:
        """Tell the screen."""
        self.post_message(CardKey(what, self))

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.post_message(CardKey("enter", self))

    def render(self) -> Content:
        return Content("\n").join(Content.assemble(*line) for line in self.lines())

    def copy_text(self) -> str:
        """The card as text."""
        return f"{self.border_title}\n{self.render().plain}\n{self.border_subtitle}"

    def lines(self) -> list[Line]:
        """Its lines, for the width it has."""
        card, width = self.card, max(8, self.content_size.width or 30)
        room = max(2, self.content_size.height or 5)
        if card.run is None:
            told: list[Line] = [[(card.stage.says, LABEL)], *self._next(card)]
            return told[::-1] if card.state == "waiting" and room < 5 else told  # what matters is not cut off
        if card.stage.key in HINTS:
            words = [[(plain(word, width), VALUE if i == 0 else LABEL)] for i, word in enumerate(self.seen.words)]
            key, what = HINTS[card.stage.key]
            return [*words[: room - 1], [(key, "$accent"), (f" {what}", LABEL)]] if len(words) < room else words[:room]
        lines = [self._figure(*figure, width) for figure in self.seen.figures]
        lines.append(self._run(width))
        lines += self._state(width)
        if self.seen.bars and len(lines) < room:
            lines.append([(sparkline(list(self.seen.bars), width), "$primary")])
        return lines[:room]

    def _figure(self, label: str, before: str, after: str, width: int) -> Line:
        ahead = f"{before} → " if before else ""
        if len(label) + len(ahead) + len(after) + 1 > width:
            ahead = ""
        return [(f"{plain(label, max(4, width - len(ahead) - len(after) - 1))} ", LABEL), (ahead, LABEL),
                (after, f"{VALUE} bold")]  # fmt: skip

    def _run(self, width: int) -> Line:
        info = self.card.run
        assert info is not None
        total = f"{info.step:,}/{info.total:,}" if self.card.state not in ("done",) else f"{info.total:,} steps"
        older = age(now() - info.created) if info.created else ""
        facts = [plain(info.name, max(6, width - len(total) - 2))] + ([total] if info.total else [])
        if self.card.state == "done" and older and sum(map(len, facts)) + len(older) + 4 <= width:
            facts.append(older)
        return [(facts[0], VALUE), *((f"  {fact}", LABEL) for fact in facts[1:])]

    def _state(self, width: int) -> list[Line]:
        """What else there is to say: how far it is, or what went wrong."""
        card, info = self.card, self.card.run
        assert info is not None
        if card.state in ("running", "paused") and info.total:
            seconds = left(info, now())
            time = f" {duration(seconds)}" if seconds is not None else ""
            done, rest = bar(info.step / info.total, max(4, width - len(time)))
            return [[(done, "$accent"), (rest, "$border"), (time, LABEL)]]
        if card.state == "queued":
            return [[(plain(info.status.get("note") or "waits for another training", 2 * width), "$warning")]]
        if card.state in ("failed", "died"):
            why = info.status.get("error") or ("its process is gone" if card.state == "died" else "without a word")
            return [[(plain(why, 2 * width), "$error")], *self._again(info)]
        if card.state == "stopped":
            return self._again(info)
        if card.trouble:
            return [[("✖ ", "$error"), (plain(f"{card.trouble.name} {card.trouble.state}", width - 2), LABEL)]]
        if card.state == "done" and card.recipe and card.recipe.replace("_", "-") != info.recipe.replace("_", "-"):
            return [[("r", "$accent bold"), (" " + plain(f"goes on with {card.recipe}", width - 2), LABEL)]]
        return []

    def _again(self, info: Info) -> list[Line]:
        """How to go on with a run that has something to go on from."""
        if not (info.folder / "last").exists():
            return []
        return [[("enter", "$accent"), (" opens it, ", LABEL), ("R", "$accent"), (" goes on", LABEL)]]

    def _next(self, card: Card) -> list[Line]:
        if card.state == "ready":
            key, what = HINTS.get(card.stage.key, ("r", "starts it"))
            return [[(key, "$accent bold"), (f" {what}", LABEL)]]
        return [[(card.why, "$warning")]] if card.state == "waiting" else []  # the others say it below


class Road(VerticalScroll, can_focus=False):
    """All stages in a grid: as many columns as the width has room for."""

    DEFAULT_CSS = """
    Road { layout: grid; grid-gutter: 0 0; grid-rows: 7; height: auto; scrollbar-size-vertical: 1; }
    """

    def __init__(self, cards: list[Card]) -> None:
        super().__init__(*(StageCard(card) for card in cards), id="road-cards")
        self.columns = 4

    def on_resize(self, event: events.Resize) -> None:
        self.fit(self.app.size.width, self.app.size.height)

    def fit(self, width: int, height: int) -> None:
        """Columns and the height of cards for a terminal of this size."""
        self.columns = 5 if width >= 140 else 4 if width >= 104 else 3 if width >= 84 else 2 if width >= 50 else 1
        lines = -(-len(self.query(StageCard)) // self.columns)
        rows = next((rows for rows in (7, 6) if rows * lines <= 0.6 * (height - 3)), 6 if height >= 30 else 5)
        self.styles.grid_size_columns = self.columns
        self.styles.grid_rows = str(rows)
        for card in self.query(StageCard):
            card.styles.height = rows
            if card.has_focus:
                self.call_after_refresh(card.scroll_visible, animate=False)

    def neighbour(self, card: StageCard, where: str) -> StageCard | None:
        """The card beside it; None beyond the grid."""
        cards = list(self.query(StageCard))
        at, columns = cards.index(card), self.columns
        step = {"left": -1, "right": 1, "up": -columns, "down": columns}[where]
        to = at + step
        if where == "down" and to >= len(cards) and at // columns < (len(cards) - 1) // columns:
            to = len(cards) - 1
        return cards[to] if 0 <= to < len(cards) else None
