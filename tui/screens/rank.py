"""Rank: put a model's replies in order, best first: what a reward model learns from."""

from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lab.errors import UserError
from lab.letters import LETTERS
from lab.runs import Info
from lab.words import duration
from tui.data import rank_words
from tui.data.client import Event
from tui.data.rank import REWARD, Session
from tui.data.rank_setup import Setup
from tui.data.rollout_words import styled
from tui.messages import Heard
from tui.screens.base import LabScreen
from tui.widgets.facts import content, put
from tui.widgets.rank_cards import LAYOUTS, Replies, Reply

FIRST = "pocket-sft"  # what is ranked where nothing was yet, as in `lab rank`
EMPTY = (
    "[b $foreground]Nothing to rank yet.[/]\n\n"
    "Here you put a model's replies in order, for a reward model to learn what you like.\n"
    "There is no model here that could reply: press [b $accent]n[/] and choose pretrain, then sft.\n\n"
    "[b]1[/b] the whole road    [b]4[/b] a model from the hub"
)


class RankScreen(LabScreen):
    """What is seen, and what keys do; tui.data.rank keeps what is ranked."""

    ROOM = "rank"
    CSS_PATH: ClassVar = "rank.tcss"
    AUTO_FOCUS = "#rank-replies"
    HELP = """
# Rank

Letters from the best reply to the worst: `b d a=c e` says that a and c are equally good. `enter` keeps it and goes on.
`backspace` takes a letter back, and where there is none the last ranking, also one of yesterday (`u` at once). `s` leaves a
prompt out, `x` says that none is better than another.

Every ranking is a line at the end of rankings.jsonl, on the disk before the next prompt comes; `lab rank` goes on in the
same file, and `lab reward-model` learns from it. After ten rankings an earlier prompt comes again, in another order: how far
you agree with yourself is the most that a reward model can reach. That one is compared on pairs it was not trained on, after
you have ranked; `r` hides and shows its order.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "place(0)", "Place", id="rank.a", key_display="a-e", tooltip="letters from best to worst"),
        *(Binding(letter, f"place({i})", f"Place {letter}", show=False, id=f"rank.{letter}")
          for i, letter in enumerate(LETTERS) if i),
        Binding("equals_sign", "tie", "Tie", id="rank.tie", key_display="=", tooltip="the next is as good as the last"),
        Binding("enter", "save", "Next", id="rank.save", tooltip="keep this ranking and go on; begin"),
        Binding("backspace", "take_back", "Back", id="rank.back", key_display="⌫", tooltip="a letter, or the last ranking"),
        Binding("u", "undo", "Undo", id="rank.undo", tooltip="take the last ranking back"),
        Binding("s", "skip", "Skip", id="rank.skip", tooltip="leave this prompt out"),
        Binding("x", "alike", "All alike", id="rank.alike", tooltip="none is better than another"),
        Binding("m", "model", "Model", id="rank.model", tooltip="whose replies"),
        Binding("p", "setup", "Prompts", id="rank.setup", tooltip="prompts, file, how replies are drawn"),
        Binding("r", "reveal", "Reward model", show=False, id="rank.reveal", tooltip="hide or show its order of the last one"),
        Binding("v", "layout", "Below or beside", show=False, id="rank.layout", tooltip="how the replies stand"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(lambda event: self._hear(event))
        self.reveal, self._before = True, ""
        self._away, self._told = False, ""

    def _hear(self, event: Event) -> None:
        """From the thread that listens to the child."""
        self.post_message(Heard(event))

    def body(self) -> ComposeResult:
        with Vertical(id="rank-start"):
            yield Static(id="rank-words")
        with Vertical(id="rank-table"):
            with VerticalScroll(id="rank-prompt", classes="pane"):
                yield Static(id="rank-asked")
            yield Replies(id="rank-replies")
            with Vertical(id="rank-wait"):
                yield Static(id="rank-waiting", classes="empty")
            with Vertical(id="rank-session", classes="pane"):
                yield Static(id="rank-figures")

    def on_unmount(self) -> None:
        self.session.end()

    # -- what is ranked ----------------------------------------------------------------------------------------------

    @property
    def setup(self) -> Setup:
        """What was ranked last; at first the assistant that is shipped, else the newest model here."""
        setup = self.session.setup
        if setup.model:
            return setup
        names = [info.name for info in self.lab.watcher.runs if (info.folder / "config.json").exists()]
        return replace(setup, model=FIRST if FIRST in names else next(iter(names), ""))

    def _judge(self) -> tuple[str, float] | None:
        """The reward model to compare with, and when it was made: the one that was named, else the newest."""
        found = [info for info in self.lab.watcher.runs if (info.folder / REWARD).is_file()]
        named = self.session.setup.reward
        one: Info | None = next((info for info in found if not named or info.name == named), None)
        return (one.name, one.created) if one else (named, 0.0) if named else None

    def watched(self, changed: bool) -> None:
        session = self.session
        if session.state == "idle" and (changed or not self._before):
            self._before = rank_words.ranked_before(self.setup) if self.setup.model else "-"
        elif session.state == "ready" and changed and (judge := self._judge()):
            session.judge_by(*judge)
        if self._away:
            self._return()
        self.paint()

    def on_screen_suspend(self) -> None:
        """Another room, or a dialog: no time passes, and the file is free."""
        self.session.release()
        self._away = True

    def _return(self) -> None:
        try:
            self.session.resume()
            self._away, self._told = False, ""
        except UserError as error:  # tried again at each look, said once
            if str(error) != self._told:
                self._told = str(error)
                self.lab.say(self._told, "error")

    def begin(self, setup: Setup) -> None:
        """Start the child on it."""
        self.session.setup = setup
        self.session.begin(setup, self._judge())
        self._away = False
        self.paint()

    @on(Heard)
    def _heard(self, message: Heard) -> None:
        session, state = self.session, self.session.state
        session.heard(message.event)
        if session.state == "failed" and state != "failed":
            self._before = ""
        if message.event["event"] == "opened" and session.note:
            self.lab.say(session.note, "warning")
        if message.event["event"] == "failed" and message.event["do"] == "judge":
            self.lab.say(session.note, "warning")
        self.paint()

    # -- what is seen ------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Bring all of it up to date."""
        session = self.session
        begun = session.state in ("loading", "ready")
        self.set_class(begun, "-begun")
        if not begun:
            self._paint_start()
        else:
            self._paint_table()
        self.refresh_bindings()

    def _paint_start(self) -> None:
        words, setup = self.query_one("#rank-words", Static), self.setup
        words.set_class(not setup.model, "empty")
        if not setup.model:
            words.update(EMPTY)
            return
        judge = self._judge()
        width = max(20, self.size.width * 96 // 100)
        lines = rank_words.start_lines(setup, judge[0] if judge else "", self._before, width)
        if self.session.trouble:
            lines += [[], [(self.session.trouble, "bad")]]
        put(words, [styled(line) for line in lines])

    def _paint_table(self) -> None:
        session, hand = self.session, self.session.now
        counts = session.counts()
        pane = self.query_one("#rank-prompt")
        setup = session.setup
        pane.border_title = Content(rank_words.prompt_title(session, counts))
        pane.border_subtitle = Content(f"{session.name or setup.model}, T {setup.temp:g}")
        self.set_class(hand is None, "-waits")
        put(self.query_one("#rank-asked", Static), [[(rank_words.prompt_text(hand) if hand else "", "$foreground")]])
        self.query_one(Replies).show(hand, False)
        if hand is None:
            self.query_one("#rank-waiting", Static).update(content([styled(line) for line in self._waiting()]))
        room = max(20, self.query_one("#rank-session").content_size.width or self.size.width - 4)
        lines = rank_words.lines(session, counts, self.reveal, room)
        self.query_one("#rank-session").border_title = Content("session")
        put(self.query_one("#rank-figures", Static), [styled(line) for line in lines])

    def _waiting(self) -> list[list[tuple[str, str]]]:
        session = self.session
        if session.state == "loading":
            return [[(f"{session.progress} …", "muted")]]
        if not session.over:
            return [[(f"{session.name} writes replies …", "muted")]]
        counts = session.counts()
        took = duration(counts.seconds * counts.ranked) if counts.seconds else ""
        return [
            [("All prompts are ranked.", "bold")],
            [(f"{counts.ranked:,} rankings, {counts.pairs:,} pairs{', about ' + took if took else ''}", "muted")],
            [],
            [("n", "accent"), (" and reward-model: learn from them   ", "muted"), ("p", "accent"), (" more prompts", "muted")],
        ]  # fmt: skip

    # -- keys --------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        session = self.session
        begun = session.state in ("loading", "ready")
        if action in ("place", "tie", "skip", "alike"):
            return (True if session.now is not None else None) if begun else False
        if action == "save":
            return True if session.now is not None or (not begun and self.setup.model) else None
        if action in ("take_back", "undo"):
            return (True if session.now or session.mine else None) if begun else False
        if action in ("reveal", "layout"):
            return True if begun else None
        if action in ("model", "setup"):
            return True if self.setup.model else None
        return super().check_action(action, parameters)

    def _do(self, what: str, *given: int) -> None:
        """Something with the hand or the session; what is wrong with it is said in a line."""
        target = self.session if what in ("save", "skip", "back", "undo") else self.session.now
        try:
            getattr(target, what)(*given)
        except (ValueError, UserError) as error:
            self.lab.say(str(error), "warning" if isinstance(error, ValueError) else "error", 4)
        self.paint()

    def action_place(self, option: int) -> None:
        """This reply is the next best, or is taken out again."""
        self._do("place", option)

    @on(Reply.Clicked)
    def _clicked(self, message: Reply.Clicked) -> None:
        if self.session.now is not None:
            self._do("place", message.option)

    def action_tie(self) -> None:
        """The next is as good as the last."""
        self._do("tie")

    def action_alike(self) -> None:
        """None is better than another."""
        self._do("alike")

    def action_save(self) -> None:
        """Begin; later keep the ranking and go on."""
        if self.session.state in ("idle", "failed"):
            self.begin(self.setup)
        else:
            self._do("save")

    def action_skip(self) -> None:
        """Leave this prompt out."""
        self._do("skip")

    def action_take_back(self) -> None:
        """The last letter, or the last ranking."""
        self._do("back")

    def action_undo(self) -> None:
        """Take the last ranking back."""
        self._do("undo")

    def action_reveal(self) -> None:
        """Hide or show what the reward model says of the last ranking."""
        self.reveal = not self.reveal
        self.paint()

    def action_layout(self) -> None:
        """Below each other, side by side, or as it fits."""
        replies = self.query_one(Replies)
        replies.wish = LAYOUTS[(LAYOUTS.index(replies.wish) + 1) % len(LAYOUTS)]
        replies.show(self.session.now, False)
        told = {"auto": "as it fits", "below": "below each other", "beside": "side by side"}[replies.wish]
        self.lab.say(f"Replies {told}", timeout=2)

    @work
    async def action_model(self) -> None:
        """Another model."""
        from tui.screens.models import ModelPicker

        chosen = await self.app.push_screen_wait(ModelPicker("Whose replies are ranked?", self.setup.model))
        if chosen:
            self.begin(replace(self.setup, model=chosen))

    @work
    async def action_setup(self) -> None:
        """Prompts, file, how replies are drawn."""
        from tui.screens.rank_setup import RankSetup

        setup = await self.app.push_screen_wait(RankSetup(self.setup))
        if setup:
            self.begin(setup)
