"""All pieces of a tokenizer, with search; the merges of the one under the cursor beside them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Footer, Input

from lab.errors import UserError
from tui.data.tokens import Book
from tui.data.vocabulary import Vocabulary
from tui.screens.base import LabScreen
from tui.widgets.merge_tree import MergePane
from tui.widgets.piece_list import PieceList


@dataclass
class Found(Message):
    """What a search found, or why it could not search."""

    number: int
    vocabulary: Vocabulary
    ids: np.ndarray
    order: str
    failed: str = ""


class VocabularyScreen(ModalScreen[str | None]):
    """Ends with the text of a piece that is to be put into the text, or None."""

    CSS_PATH = "tokens.tcss"
    HELP = PieceList.HELP
    HORIZONTAL_BREAKPOINTS = LabScreen.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = LabScreen.VERTICAL_BREAKPOINTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Back", id="vocabulary.close"),
        Binding("enter", "take", "Into the text", id="vocabulary.take"),
        Binding("up", "move(-1)", "Piece above", show=False, id="vocabulary.up"),
        Binding("down", "move(1)", "Piece below", show=False, id="vocabulary.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="vocabulary.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="vocabulary.page_down"),
        Binding("slash", "search", "Search", show=False, id="vocabulary.search"),
        Binding("q", "close", "Back", show=False, id="vocabulary.quit"),
    ]

    def __init__(self, book: Book, token: int = 0):
        super().__init__()
        self.book, self._token = book, token
        self._vocabulary: Vocabulary | None = None
        self._number = 0  # of the search

    def compose(self) -> ComposeResult:
        with Container(id="vocabulary"):
            yield Input(placeholder="text   /regex/   id   is:learned", id="search", classes="pane")
            with Container(id="columns"):
                yield PieceList(id="pieces")
                yield MergePane(id="built")
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.search = self.query_one("#search", Input)
        self.search.cursor_blink = False
        self.search.border_title = "search"
        self.search.border_subtitle = "↑ ↓ move · enter puts the piece into the text · tab, then o, sorts"
        self.pieces = self.query_one("#pieces", PieceList)
        self.pieces.border_title = Content.assemble(
            self.book.name, (f" · {self.book.tokenizer.vocab_size:,} pieces", "$foreground-muted not bold")
        )
        self.pieces.border_subtitle = "reading"
        self.search.focus()
        self._look(self.pieces.order)

    @on(Input.Changed, "#search")
    def _asked(self) -> None:
        self._look(self.pieces.order)

    def _look(self, order: str) -> None:
        self._number += 1
        self._find(self._number, self.search.value, order)

    @work(thread=True, exclusive=True, exit_on_error=False, group="vocabulary")
    def _find(self, number: int, wanted: str, order: str) -> None:
        """Another thread: a large vocabulary takes a quarter of a second to read."""
        self._vocabulary = vocabulary = self._vocabulary or Vocabulary.of(self.book)
        try:
            self.post_message(Found(number, vocabulary, vocabulary.find(wanted, order), order))
        except UserError as error:
            self.post_message(Found(number, vocabulary, np.empty(0, np.int64), order, str(error)))

    def on_found(self, message: Found) -> None:
        if message.number != self._number:
            return
        if message.failed:
            self.pieces.border_subtitle = Content(message.failed)
            return
        self.pieces.show(message.vocabulary, message.ids, message.order, self._token)
        what = "all" if len(message.ids) == len(message.vocabulary.texts) else f"{len(message.ids):,} found"
        self.pieces.border_subtitle = f"{what} · by {message.order}"

    def on_piece_list_moved(self, message: PieceList.Moved) -> None:
        if message.token >= 0:
            self._token = message.token
        self.query_one("#built", MergePane).show(self.book, message.token)

    def on_piece_list_sorted(self, message: PieceList.Sorted) -> None:
        self._look(message.order)

    def on_piece_list_chosen(self, message: PieceList.Chosen) -> None:
        self.action_take()

    @on(Input.Submitted, "#search")
    def _entered(self) -> None:
        self.action_take()

    def action_take(self) -> None:
        """The piece goes into the text; what is no text by itself does not."""
        token = self.pieces.token
        if token < 0:
            return
        try:
            piece = self.book.tokenizer.token_bytes(token).decode()
        except UnicodeDecodeError:
            piece = ""
        special = self.book.kind(token) == "special"
        if special or not piece or not all(char.isprintable() or char in "\n\t" for char in piece):
            why = "no text becomes a special token" if special else "this alone is no text that can be shown"
            self.notify(f"{self.book.piece(token)}: {why}", severity="warning", timeout=4, markup=False)
            return
        self.dismiss(piece)

    def action_close(self) -> None:
        self.dismiss(None)

    def action_move(self, step: int) -> None:
        self.pieces.move(step)

    def action_page(self, step: int) -> None:
        self.pieces.page(step)

    def action_search(self) -> None:
        self.search.focus()
