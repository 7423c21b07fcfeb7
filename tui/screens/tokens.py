"""Tokens: a text as one or two tokenizers cut it, while you type; how a token came to be; what a chat template adds."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from lab.display import CONTROLS
from lab.errors import UserError
from tui.data import tokens as data
from tui.data.tokens import Book, Cut
from tui.screens.base import LabScreen
from tui.widgets.merge_tree import MergePane
from tui.widgets.source_text import SourceText
from tui.widgets.tiles import IDS, Tiles
from tui.widgets.token_facts import TokenFacts

PAUSE = 0.05  # seconds from a key to its tokens; more where cutting a long text takes longer
LONGEST = 0.5
EMPTY = """\
No tokenizer here yet.

n  trains a model, and its tokenizer with it
o  opens one: a folder, a hub id, a .gguf file"""


@dataclass
class Side:
    """One of the two tokenizers. `asked` counts what was opened in it, `shown` is the revision of the text it shows."""

    lines: Tiles
    book: Book | None = None
    asked: int = 0
    opening: bool = False
    cutting: bool = False
    shown: int = -1


@dataclass
class Told(Message):
    """A download or another long opening goes on."""

    side: str
    asked: int
    words: str

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Told) and message.side == self.side


@dataclass
class Opened(Message):
    """A tokenizer is there, or why not."""

    side: str
    asked: int
    book: Book | None
    failed: str = ""


@dataclass
class Done(Message):
    """A revision of the text is cut, or why not."""

    side: str
    revision: int
    book: Book
    made: Cut | None
    failed: str = ""


class TokensScreen(LabScreen):
    """A text, its tokens on one or two sides, and facts on the token under the cursor."""

    ROOM = "tokens"
    CSS_PATH = "tokens.tcss"
    AUTO_FOCUS = "#first"  # not the text, in which 1-6 would be typed
    HELP = """
# Tokens

A text and what a model reads of it. Press `e` and type; `escape` leaves the text.
`s` puts a second tokenizer beside the first, `c` shows a conversation in its chat template: green is what training
would learn from, grey what it only reads.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Edit", tooltip="Type into the text", id="tokens.edit"),
        Binding("i", "ids", "Ids", tooltip="Ids below the pieces, in their place, or not at all", id="tokens.ids"),
        Binding("b", "bytes", "Bytes", tooltip="Bytes in place of text", id="tokens.bytes"),
        Binding("m", "merges", "Merges", tooltip="How the token under the cursor was built", id="tokens.merges"),
        Binding("v,slash", "vocabulary", "Vocabulary", tooltip="All pieces, with search", id="tokens.vocabulary"),
        Binding("c", "talk", "Template", tooltip="A conversation as the model reads it", id="tokens.chat"),
        Binding("s,f3", "open('second')", "Second", tooltip="A second tokenizer beside it", id="tokens.second"),
        Binding("o,f2", "open('first')", "Open", tooltip="Another tokenizer", id="tokens.open"),
        Binding("x", "close_second", "Close the second", show=False, id="tokens.close"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[str, Side] = {}
        self.revision = 0  # of the text
        self.talking = False
        self._other_text = data.TALK  # the conversation while the text is shown, and the other way round
        self._timer: Timer | None = None
        self._began = self._took = 0.0  # when the newest text was handed over, and how long its tokens took
        self._pointed = "first"  # where the token is that the facts are about
        self._seen_runs: list[str] = []

    def body(self) -> ComposeResult:
        yield SourceText(data.OPENING, id="text")
        with Container(id="work"):
            with Container(id="panes"):
                yield Tiles(id="first")
                yield Tiles(id="second")
            yield MergePane(id="tree")
        yield TokenFacts(id="facts")

    def on_mount(self) -> None:
        self.sides = {name: Side(self.query_one(f"#{name}", Tiles)) for name in ("first", "second")}
        self.source = self.query_one("#text", SourceText)
        self.source.border_title = "text"
        self._count()
        self.sides["first"].lines.say(EMPTY, "tokens")
        self._open_newest()

    def watched(self, changed: bool) -> None:
        if changed and self.sides and self.sides["first"].book is None and not self.sides["first"].opening:
            self._open_newest()

    # -- opening tokenizers --------------------------------------------------------------------------------------

    def _open_newest(self) -> None:
        """That of the newest run; of the ones before where its own is broken."""
        names = [info.name for info in self.lab.watcher.runs if (info.folder / "tokenizer.json").exists()]
        if names and names != self._seen_runs:
            self._seen_runs = names
            self.open_in("first", names)

    def open_in(self, name: str, models: Sequence[str]) -> None:
        """Open the first of these models that has a tokenizer."""
        side = self.sides[name]
        side.asked += 1
        side.opening = True
        if name == "second":
            self.add_class("-two")
        if side.book is None:
            side.lines.say(f"opening {models[0]}".translate(CONTROLS), models[0].translate(CONTROLS))
        else:
            side.lines.border_subtitle = Content(f"opening {models[0]}".translate(CONTROLS))
        # Not a worker: those are waited for at the end, and a download may hang for long.
        threading.Thread(target=self._open, args=(name, list(models), side.asked), daemon=True).start()

    def _open(self, name: str, models: list[str], asked: int) -> None:
        side = self.sides[name]

        def tell(words: str) -> None:
            self.post_message(Told(name, asked, words.translate(CONTROLS)))

        try:
            book = data.open_first(models, tell, lambda: side.asked == asked and self.is_running)
            self.post_message(Opened(name, asked, book))
        except data.Stopped:
            pass
        except UserError as error:
            self.post_message(Opened(name, asked, None, str(error)))
        except Exception as error:  # a broken file can raise anything
            self.post_message(Opened(name, asked, None, f"{models[-1]}: {type(error).__name__}: {error}"))

    def on_told(self, message: Told) -> None:
        side = self.sides[message.side]
        if message.asked == side.asked and side.opening:
            if side.book is None:
                side.lines.say(message.words)
            else:
                side.lines.border_subtitle = Content(message.words)

    def on_opened(self, message: Opened) -> None:
        side = self.sides[message.side]
        if message.asked != side.asked:
            return
        side.opening = False
        self.refresh_bindings()
        if message.book is not None:
            side.book, side.shown = message.book, -1
            side.lines.cursor = 0
            self._cut(message.side)
            return
        words = " ".join(message.failed.split()).translate(CONTROLS)
        if side.book is None:
            key = "o" if message.side == "first" else "s"
            side.lines.say(f"{words}\n\n{key}  opens another", "no tokenizer")
        else:  # what was there stays
            self.lab.say(words, "error")
            side.lines.refresh_facts()

    # -- cutting -------------------------------------------------------------------------------------------------

    @on(TextArea.Changed, "#text")
    def _typed(self) -> None:
        if self._timer is None:
            self._timer = self.set_timer(min(LONGEST, max(PAUSE, 2 * self._took)), self._text_is_new)

    def _text_is_new(self) -> None:
        self._timer, self._began = None, time.monotonic()
        self.source.fold()
        self._count()
        self.revision += 1
        for name in self.sides:
            self._cut(name)

    def _count(self) -> None:
        text, lines = self.source.text, self.source.document.line_count
        self.source.border_subtitle = (
            f"{len(text):,} characters · {len(text.encode()):,} bytes · {lines:,} line{'s' if lines > 1 else ''}"
        )

    def _cut(self, name: str) -> None:
        """Cut the text as it is now; one at a time, and the newest after that."""
        side = self.sides[name]
        if side.book is not None and not side.cutting:
            side.cutting = True
            self._work(name, side.book, self.revision, self.source.text, self.talking)

    @work(thread=True, exit_on_error=False, group="cut")
    def _work(self, name: str, book: Book, revision: int, text: str, talking: bool) -> None:
        try:
            made = data.cut_talk(book, text) if talking else data.cut(book, text)
            self.post_message(Done(name, revision, book, made))
        except UserError as error:
            self.post_message(Done(name, revision, book, None, str(error)))
        except Exception as error:
            self.post_message(Done(name, revision, book, None, f"{book.name}: {type(error).__name__}: {error}"))

    def on_done(self, message: Done) -> None:
        side = self.sides[message.side]
        side.cutting = False
        if message.book is side.book and message.revision > side.shown:
            side.shown = message.revision
            if message.made is None:
                words = " ".join(message.failed.split()).translate(CONTROLS)
                side.lines.say(words, message.book.name)
            else:
                side.lines.show(message.book, message.made)
            first, second = (self.sides[key].lines for key in ("first", "second"))
            second.compare(first.made)
            self._took = time.monotonic() - self._began
            if self.source.has_focus:
                self._follow_text()
            else:
                self._point()
        if message.book is not side.book or side.shown < self.revision:
            self._cut(message.side)

    # -- the token under the cursor ------------------------------------------------------------------------------

    def on_tiles_moved(self, message: Tiles.Moved) -> None:
        lines = message.tiles
        self._pointed = lines.id or "first"
        made = lines.made
        if not message.hover and lines.has_focus and made and len(made.ends) and made.text == self.source.text:
            self.source.mark(int(made.first[lines.cursor]), int(made.last[lines.cursor]))
        self._point()

    @on(TextArea.SelectionChanged, "#text")
    def _moved_in_text(self) -> None:
        if self.source.has_focus:
            self._follow_text()

    def _follow_text(self) -> None:
        """The cursors go to the token with the character before the text's cursor."""
        for side in self.sides.values():
            made = side.lines.made
            if made is not None and len(made.ends) and made.text == self.source.text:
                side.lines.go(data.at_character(made, self.source.at), tell=False)
        self._pointed = "first"
        self._point()

    def _point(self) -> None:
        """Facts, the other side's tokens and the tree for the token that is pointed at."""
        here = self.sides[self._pointed].lines
        there = self.sides["second" if self._pointed == "first" else "first"].lines
        here.link((0, 0))
        two = here.made is not None and there.made is not None and self.has_class("-two")
        span = data.match(here.made, here.under, there.made) if two and here.made and there.made else (0, 0)
        there.link(span)
        token = -1 if here.made is None or here.under < 0 else int(here.made.ids[here.under])
        if self.has_class("-tree"):
            self.query_one("#tree", MergePane).show(here.book, token)
        self.query_one("#facts", TokenFacts).show(here, there if two else None, span)

    # -- keys ----------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "close_second":
            return True if self.has_class("-two") else None
        if action == "vocabulary":
            return True if any(side.book for side in self.sides.values()) else None
        return True

    def action_edit(self) -> None:
        self.set_focus(self.source)

    def action_leave_field(self) -> None:
        """Out of the text, to the tokens."""
        if self.focused is self.source:
            self.sides["first"].lines.focus()
        else:
            super().action_leave_field()

    def action_ids(self) -> None:
        """Ids below the pieces, in place of the pieces, not at all."""
        old = self.sides["first"].lines
        wanted = IDS[(IDS.index(old.ids) + 1) % len(IDS)]
        for side in self.sides.values():
            side.lines.look(wanted, old.hexes)

    def action_bytes(self) -> None:
        """Bytes in place of text; where only ids were shown, with them below."""
        old = self.sides["first"].lines
        ids, hexes = "below" if old.ids == "only" else old.ids, not old.hexes
        for side in self.sides.values():
            side.lines.look(ids, hexes)

    def action_merges(self) -> None:
        """The pane with the merges, or away with it."""
        self.toggle_class("-tree")
        self._point()

    def action_talk(self) -> None:
        """From the text to a conversation in the chat template, and back."""
        self.talking = not self.talking
        self.set_class(self.talking, "-talk")
        mine, self._other_text = self._other_text, self.source.text
        self.source.load_text(mine)
        roles = (" · a line that begins with system:, user: or assistant: begins a turn", "$foreground-muted not bold")
        self.source.border_title = Content.assemble("conversation", roles) if self.talking else Content("text")
        for side in self.sides.values():
            side.lines.cursor = 0
        self._text_is_new()

    def action_close_second(self) -> None:
        """One tokenizer again."""
        side = self.sides["second"]
        side.asked += 1
        side.book, side.opening, side.shown = None, False, -1
        side.lines.say("")
        self.remove_class("-two")
        self._pointed = "first"
        if side.lines.has_focus:
            self.sides["first"].lines.focus()
        self.refresh_bindings()
        self._point()

    def action_open(self, name: str) -> None:
        """Choose a tokenizer."""
        from tui.screens.models import ModelPicker

        def chosen(model: str | None) -> None:
            if model:
                self.open_in(name, [model])

        book = self.sides[name].book
        title = "tokenizer of" if name == "first" else "beside it the tokenizer of"
        self.app.push_screen(ModelPicker(title, book.model if book else ""), chosen)

    def action_vocabulary(self) -> None:
        """All pieces of the tokenizer that is pointed at."""
        from tui.screens.vocabulary import VocabularyScreen

        lines = self.sides[self._pointed].lines
        book = self.sides[self._pointed].book or self.sides["first"].book
        if book is not None:
            token = int(lines.made.ids[lines.under]) if lines.made is not None and lines.under >= 0 else 0
            self.app.push_screen(VocabularyScreen(book, token), self._insert)

    def _insert(self, piece: str | None) -> None:
        """A piece of the vocabulary into the text, where its cursor is."""
        if piece:
            self.source.insert(piece)
