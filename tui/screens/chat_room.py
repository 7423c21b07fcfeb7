"""The chat's view: columns, the line about a token, the input; what comes from the model process is drawn here."""

import time
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content

from tui.data.chat_files import Shelf
from tui.data.client import Event
from tui.data.talk import Talk
from tui.messages import Heard
from tui.screens.base import LabScreen
from tui.widgets.chat_log import Column, Said, aligned
from tui.widgets.composer import Composer
from tui.widgets.token_info import TokenInfo
from tui.widgets.token_lines import plain
from tui.widgets.token_text import TokenText

QUICK, SLOW = 0.08, 0.25  # seconds between two drawings of a reply that comes
# Between two drawings at least so many times what one costs: textual takes 4 ms for a row and 12 to scroll. A coloured reply
# of 1,500 tokens takes 270 drawings and 2.1 s of CPU; at 16 times it took 355 and 2.4 s, and typing was no quicker.
SHARE = 24


class ChatRoom(LabScreen):
    """What is seen; tui.screens.chat says what keys do, tui.data.talk what is said and kept."""

    ROOM = "chat"
    CSS_PATH: ClassVar = "chat.tcss"

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(self._hear)
        self.shelf = Shelf()
        self.coloured = False
        self.editing: tuple[str, int, str] | None = None  # column, message, the draft that waits meanwhile
        self.looking: Said | None = None  # the message whose token is told about
        self._drawn = self._worked = 0.0
        self._pace, self._offers = QUICK, (False, False)
        self._due = self._begun = self._scrolling = False
        self._hint, self._trouble = ("", ""), ""

    def _hear(self, event: Event) -> None:
        """From the thread that listens to the model process, twenty times a second at most."""
        self.post_message(Heard(event))

    def body(self) -> ComposeResult:
        with Horizontal(id="columns"):
            yield Column("a", self.talk)
        yield TokenInfo(id="token")
        yield Composer(self.lab.settings.send, id="message")

    def on_mount(self) -> None:
        self.composer.focus()

    def on_unmount(self) -> None:
        self.talk.close()

    @property
    def composer(self) -> Composer:
        return self.query_one(Composer)

    @property
    def columns(self) -> list[Column]:
        """From left to right."""
        return [column for column in self.query(Column) if column.slot in self.talk.sides and not column.leaving]

    def watched(self, changed: bool) -> None:
        wanted, self.lab.wanted_model = self.lab.wanted_model, ""
        if wanted:
            self.load("a", wanted)
        elif not self._begun or (changed and self.talk.sides["a"].state == "empty"):
            self._newest()
        self._begun = True
        if self.talk.saver.trouble != self._trouble:
            self._trouble = self.talk.saver.trouble
            if self._trouble:
                self.lab.say(self._trouble, "error")
        if self.talk.saver.parted:
            self.lab.say(self.talk.saver.parted, "warning")
            self.talk.saver.parted = ""
        if changed:
            self.paint()
        else:
            self.hints()

    @work(thread=True, exclusive=True, exit_on_error=False, group="newest")
    def _newest(self) -> None:
        from tui.screens.models import everything, newest, why_none

        name, why = newest(), self.talk.sides["a"].words
        self.app.call_from_thread(self._load_first, name, why if name or why else why_none(everything()))

    def _load_first(self, name: str, why: str) -> None:
        side = self.talk.sides["a"]
        if side.state != "empty":
            return
        if name:
            self.load("a", name)
        elif why != side.words:
            side.words = why
            self.paint()

    def load(self, slot: str, model: str) -> None:
        """Load a model into a column, which may be a new one."""
        if slot in self.talk.sides:
            self.talk.load(slot, model)
        else:
            self.talk.compare(model)
        self.paint()

    # -- drawing ---------------------------------------------------------------------------------------------------

    def on_heard(self, message: Heard) -> None:
        changed = self.talk.take(message.event)
        if changed == "tokens":
            if not self._due:
                self._due = True
                self.set_timer(max(0.001, self._drawn + self._pace - time.monotonic()), self._grow)
        elif changed:
            self.paint()

    def _grow(self) -> None:
        """Draw the tokens that came; nobody looks while another room is shown."""
        worked = time.thread_time()
        self._pace = min(SLOW, max(QUICK, SHARE * (worked - self._worked)))
        self._due, self._drawn, self._worked = False, time.monotonic(), worked
        if self.is_current:
            for column in self.columns:
                column.grow()

    def paint(self) -> None:
        """Draw all as it is now."""
        if not self.is_mounted or not self.is_current:
            return
        missing = list(self.talk.sides)
        for column in self.query(Column):
            if column.slot in missing and not column.leaving:
                missing.remove(column.slot)
                column.paint(self.coloured)
            elif not column.leaving:
                column.leaving = True
                column.remove()
        for slot in missing:
            self.query_one("#columns").mount(Column(slot, self.talk))
        self.look(self.looking)
        self.hints()
        offers = (any(self.talk.tree(slot).nodes for slot in self.talk.sides), bool(self.lab.watcher.live))
        if offers != self._offers:  # drawing the footer anew takes 25 ms
            self._offers = offers
            self.refresh_bindings()

    @on(Column.Ready)
    def _arrived(self, message: Column.Ready) -> None:
        """Columns are scrolled together: by turns, as replies differ in length."""
        column = message.column
        if column.is_attached:
            self.watch(column.log_view, "scroll_y", lambda y: self._scrolled(column, y), init=False)
            column.paint(self.coloured)

    def _scrolled(self, column: Column, y: float) -> None:
        others = [other for other in self.columns if other is not column]
        if self._scrolling or not others or self.talk.busy or not (column.has_focus_within or column.hovered):
            return
        self._scrolling = True
        other = others[0].log_view
        at_end = y >= column.log_view.max_scroll_y
        to = other.max_scroll_y if at_end else aligned(y, column.turns(), others[0].turns())
        other.scroll_to(y=to, animate=False, immediate=True)
        self._scrolling = False

    def hints(self) -> None:
        """The words around the input."""
        composer, talk = self.composer, self.talk
        title, sends = "message both" if len(talk.sides) > 1 else "message", f"{composer.sends} sends"
        if self.editing:
            slot, number, _ = self.editing
            title = (
                f"edit {'the message' if talk.tree(slot).nodes[number].role == 'user' else 'the reply'}, as a branch"
            )
            sends = f"{composer.sends} keeps it   escape leaves it"
        elif talk.busy:
            sends = "escape stops the reply"
        elif talk.sides["a"].state == "ready" and not talk.sides["a"].chats:
            title = "text to continue"
            sends += "   ctrl+b adds to the page"
        if live := self.lab.watcher.live:
            paused = live[0].state == "paused"
            training = (
                f"{live[0].name} is paused; escape, p resumes it"
                if paused
                else "training is slower while you chat; escape, p pauses it"
            )
            sends = f"{training}   {sends}" if self.size.width >= 110 else training
        if (title, sends) != self._hint:
            self._hint = (title, sends)
            composer.border_title, composer.border_subtitle = Content(title), Content(plain(sends))

    @on(TokenText.Looked)
    def _looked(self, message: TokenText.Looked) -> None:
        if isinstance(message.text, Said):
            self.looking = message.text
            self.look(message.text, message.place)

    def look(self, said: Said | None, place: int | None = None) -> None:
        """A token's facts in the lines above the input; those of the cursor's where none is named."""
        info = self.query_one(TokenInfo)
        if place is None and said is not None:
            place = said.place
        if said is None or place is None or not said.is_attached or place >= len(said.tokens):
            info.show(None)
        else:
            info.show(said.tokens[place], place, len(said.tokens))
        cursor = said is not None and said.is_attached and said.place is not None
        self.set_class(self.coloured or cursor, "-looks")
