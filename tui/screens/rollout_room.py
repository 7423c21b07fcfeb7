"""Rollouts, what is seen: the run, step, prompt and reply that are shown, and how they are read. tui.screens.rollouts says
what keys do."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static
from textual.worker import get_current_worker

from lab.errors import UserError
from lab.runs import Info
from lab.tokenizer import Tokenizer
from tui.data import episode_runs, road, rollouts
from tui.data.details import details
from tui.data.rollout_chat import tokenizer_folders
from tui.data.rollout_rows import HEATS, Brief, Told, game_of, told
from tui.data.rollout_words import Pieces, fit, length, styled, where
from tui.data.rollouts import ORDERS, Group, Place, Shelf, Step
from tui.data.watch import LIVE, root
from tui.screens.base import LabScreen
from tui.widgets.board import Board
from tui.widgets.facts import put
from tui.widgets.filter import Filter
from tui.widgets.gap_pane import GapPane
from tui.widgets.rollout_cards import Cards
from tui.widgets.rollout_panes import Asked, Groups, RunsWith, StepFacts, TokenWords
from tui.widgets.row_list import RowList

MOST = 64  # cards of one prompt; sorting and filtering bring others
RECIPES = ("grpo", "selfplay", "rlhf")  # that write episodes
Book = tuple[Tokenizer | None, str]  # a tokenizer, or why there is none


def empty() -> str:
    """What to do where no run has episodes."""
    there = [name for name in RECIPES if road.there(name)]
    does = (
        f"Press [b $accent]n[/] and choose {' or '.join(there)}; in a terminal: lab {there[0]}"
        if there
        else "No recipe of this version does that yet: the pipeline ([b]1[/b]) shows what there is."
    )
    return (
        "[b $foreground]No rollouts yet.[/]\n\nHere you will see what a model tries under reinforcement learning,\n"
        f"and what each try earns.\n{does}\n\n[b]2[/b] curves of a training    [b]4[/b] talk with a model"
    )


class RolloutRoom(LabScreen):
    """The state of the room."""

    ROOM = "rollouts"
    CSS_PATH: ClassVar = "rollouts.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.infos: list[Info] = []  # runs with episodes
        self.shelf: Shelf | None = None
        self.step: Step | None = None
        self.wanted = -1  # the step that is shown or being read
        self.follows = True
        self.groups: list[tuple[Group, list[Brief]]] = []  # those with rows that the filter lets through
        self.group = self.member = 0  # the prompt and the reply that are chosen; `member` is its k
        self.order, self.turned, self.heat = ORDERS[0], False, HEATS[0]
        self.sought: re.Pattern[str] | None = None
        self.comparing, self.places, self.place = False, list[Place](), 0
        self.other: tuple[Place, Step] | None = None  # what is compared with
        self.looking = False  # for places to compare with
        self.played = False  # whether the chosen reply has a game
        self._books: dict[Path, Book] = {}

    def body(self) -> ComposeResult:
        with Horizontal(id="rollouts"):
            with Vertical(id="left", classes="left-side"):
                yield RunsWith(id="with-episodes")
                yield Groups(id="groups")
                yield StepFacts(id="step-facts", classes="pane")
            with Vertical(id="right"):
                yield Static(id="where")
                yield Filter("replies and prompts; a regular expression", id="rollout-filter")
                yield Static(id="filter-wrong")
                yield Asked(id="asked", classes="pane")
                with Horizontal(id="replies"):
                    yield Cards(id="mine")
                    yield Cards(id="theirs")
                    yield Board(id="board")
                yield GapPane(id="gap")
                yield TokenWords(id="token")
        with Vertical(id="no-episodes"):
            yield Static(empty(), classes="empty")

    # -- which run and step --------------------------------------------------------------------------------------

    @property
    def info(self) -> Info | None:
        """The run that is shown."""
        return next((i for i in self.infos if self.shelf and i.folder == self.shelf.folder), None)

    @property
    def mine(self) -> Cards:
        return self.query_one("#mine", Cards)

    @property
    def theirs(self) -> Cards:
        return self.query_one("#theirs", Cards)

    @property
    def cards(self) -> Cards:
        """The column that keys go to: the second where it has the focus."""
        return self.theirs if self.comparing and self.theirs.has_focus else self.mine

    @property
    def chosen(self) -> Told | None:
        """The chosen reply."""
        return self.cards.one

    def watched(self, changed: bool) -> None:
        """New steps, new rows, new runs."""
        self.infos = [info for info in self.lab.watcher.runs if episode_runs.has(info)]
        run, step = self.lab.wanted_episodes
        self.lab.wanted_episodes = ("", None)
        self.set_class(not self.infos, "-empty")
        if not self.infos:
            self.shelf = self.step = None
            return
        names = [info.name for info in self.infos]
        if run in names:
            self._open(self.infos[names.index(run)], step)
        elif run:
            self.lab.say(f"{run} wrote no episodes", "warning", 4)
        if self.info is None:
            live = [info for info in self.infos if info.state in LIVE]
            self._open((live or self.infos)[0])
        elif self.shelf and not run:
            self._look()
        now = next((i for i, info in enumerate(self.infos) if info is self.info), 0)
        self.query_one(RunsWith).fill(self.infos, now)
        if self.focused is None:
            self.set_focus(self.mine, scroll_visible=False)
        self._tell()

    def _open(self, info: Info, step: int | None = None) -> None:
        """Another run, at its newest step or the one nearest to `step`."""
        self.shelf, self.step, self.groups = Shelf(info.folder), None, []
        self.shelf.refresh()
        self.leave_comparison()
        self._find_book(info)
        if steps := self.shelf.steps:
            self.follows = step is None
            self.read(steps[-1] if step is None else min(steps, key=lambda s: abs(s - step)))

    def _look(self) -> None:
        """Whether the run has written since."""
        assert self.shelf is not None
        self.shelf.refresh()
        steps = self.shelf.steps
        if not steps:
            return
        if (self.follows and steps[-1] != self.wanted) or self.wanted not in steps:
            self.read(steps[-1])
        elif self.step is not None and self.step.number == self.wanted and self.shelf.stale(self.step):
            self.read(self.wanted)

    def read(self, number: int) -> None:
        """Show a step; what is shown stays until it is read."""
        if self.shelf is not None:
            self.wanted = number
            self._read(self.shelf, number)
            self._tell()

    @work(thread=True, exclusive=True, exit_on_error=False, group="step")
    def _read(self, shelf: Shelf, number: int) -> None:
        worker = get_current_worker()
        step = shelf.get(number, lambda: worker.is_cancelled)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._came, shelf, step)

    def _came(self, shelf: Shelf, step: Step) -> None:
        if shelf is not self.shelf or step.number != self.wanted:
            return
        key = self.groups[self.group][0].key if self.group < len(self.groups) else ""
        self.step = step
        self.query_one(StepFacts).show(step)
        self.sift(key)

    # -- tokenizers ----------------------------------------------------------------------------------------------

    @work(thread=True, exit_on_error=False, group="book")
    def _find_book(self, info: Info) -> None:
        if info.folder not in self._books:
            self._books[info.folder] = book_of(info)
            self.app.call_from_thread(self.show_cards)

    def book(self, folder: Path) -> Book:
        """The tokenizer of a run, as far as it is read."""
        return self._books.get(folder, (None, "reading the tokenizer …"))

    # -- groups and cards ----------------------------------------------------------------------------------------

    def sift(self, key: str = "") -> None:
        """The groups of the step that the filter lets through; the cursor on the problem of that key, else where it was."""
        pairs = [
            (group, rollouts.matching(group.rows, self.sought)) for group in (self.step.groups if self.step else ())
        ]
        self.groups = [(group, rows) for group, rows in pairs if rows]
        at = next((i for i, (group, _) in enumerate(self.groups) if key and group.key == key), None)
        self.group = at if at is not None else max(0, min(self.group, len(self.groups) - 1))
        self.show_groups()
        self.show_group()

    def show_groups(self) -> None:
        """The list of prompts."""
        step = self.step
        if step is None:
            return
        total, sizes = len(step.groups), {len(group.rows) for group in step.groups}
        each = f" × {sizes.pop()}" if len(sizes) == 1 else ""
        some = f"{len(self.groups)} of {total}" if len(self.groups) < total else f"{total}"
        title = f"step {step.number:,}  {some} prompt{'s' if total != 1 else ''}{each}"
        counts = [len(rows) if self.sought else -1 for _, rows in self.groups]
        self.query_one(Groups).fill(title, [group for group, _ in self.groups], counts, self.group)

    def show_group(self) -> None:
        """The chosen prompt and its replies."""
        self.show_cards()

    def _told(self, step: Step, rows: Sequence[Brief]) -> list[Told]:
        book, why = self.book(step.folder)
        some = rollouts.ordered(rows, self.order, self.turned)[:MOST]
        return [told(one, row, book, why) for one, row in rollouts.rows(step, some)]

    def show_cards(self) -> None:
        """The replies of the chosen prompt, in the chosen order; the chosen one stays chosen."""
        mine, step = self.mine, self.step
        if step is None or self.group >= len(self.groups):
            words = (
                "nothing here matches the filter"
                if self.sought
                else "this step has no replies"
                if step
                else "reading …"
            )
            mine.show("replies", [], 0, 1.0, 0, words)
            self.query_one(Asked).show(None)
            self.show_board()
            return
        group, briefs = self.groups[self.group]
        shown = self._told(step, briefs)
        at = next((i for i, one in enumerate(shown) if one.brief.k == self.member), 0)
        name = where(step.folder, step.number) if self.comparing else self._ordered_words()
        self.query_one(Asked).show(shown[at].row if shown else None)
        mine.heat = self.heat
        mine.show(name, shown, at, rollouts.scale(group.rows), len(group.rows), "these rows are gone from the file")
        self.show_board()

    def _ordered_words(self) -> str:
        if self.order == ORDERS[0]:
            return "replies, last first" if self.turned else "replies"
        return f"replies, {'least' if self.turned else 'most'} {self.order} first"

    def show_board(self) -> None:
        """The board of the chosen reply, where it played."""
        board, one = self.query_one(Board), self.chosen
        game = game_of(one.row) if one else None
        self.played = board.display = game is not None
        board.show(game)

    def leave_comparison(self) -> None:
        """One column again."""
        self.comparing, self.places, self.other = False, [], None
        self.workers.cancel_group(self, "places")
        self.remove_class("-two")

    # -- the line above ------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Run, step, how far it is, what the colours mean."""
        info, shelf = self.info, self.shelf
        if info is None or shelf is None:
            return
        steps = shelf.steps
        said: Pieces = [
            (fit(info.name, min(30, len(info.name))), "bold"),
            ("  step ", "muted"),
            (f"{max(0, self.wanted):,}", "bold"),
        ]
        if self.wanted in steps:
            said.append((f"  {steps.index(self.wanted) + 1} of {len(steps)}", "muted"))
        if self.step is None or self.step.number != self.wanted:
            said.append(("  reading …", "accent"))
        if info.state in LIVE:
            said.append(("  ● follows" if self.follows else "  ○ held; L follows", "good" if self.follows else "muted"))
        if self.comparing:
            found = f"{self.place + 1} of {len(self.places)}{'+' if self.looking else ''}" if self.places else ""
            said.append((f"  compared {found}  < > elsewhere  v ends", "accent"))
        line = self.query_one("#where", Static)
        while said and length(said) > max(20, line.content_size.width or self.size.width - 50):
            said.pop()
        put(line, [styled(said)])

    @on(RowList.Moved, "#with-episodes")
    def _another_run(self, message: RowList.Moved) -> None:
        if message.place < len(self.infos):
            info = self.infos[message.place]
            if info is not self.info:
                self._open(info)
                self.query_one(RunsWith).fill(self.infos, message.place)
            if message.opened:
                self.query_one(Groups).focus()

    @on(Filter.Changed, "#rollout-filter")
    def _filtered(self, message: Filter.Changed) -> None:
        wrong = self.query_one("#filter-wrong", Static)
        try:
            self.sought = rollouts.sought(message.value)
        except re.error as error:
            wrong.update(Content.styled(f"no regular expression yet: {error}", "$warning"))
            wrong.display = True
            return
        wrong.display = False
        self.sift(self.groups[self.group][0].key if self.group < len(self.groups) else "")


def book_of(info: Info) -> Book:
    """The tokenizer of a run, or why there is none."""
    folders = tokenizer_folders(info, root(), details(info.folder).checkpoints)
    why = f"{info.name} has no tokenizer in its folder: tokens are not shown"
    for folder in folders:
        try:
            return Tokenizer.load(folder), ""
        except UserError as error:
            why = str(error)
    return None, why
