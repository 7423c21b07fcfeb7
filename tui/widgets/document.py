"""One document of a file at a time: its text, its conversation, or which of its tokens are trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual import on, work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import get_current_worker

from lab.display import CONTROLS
from lab.errors import UserError
from tui.data.documents import Document, Documents
from tui.data.facts import LABEL, VALUE, Line
from tui.data.facts import plain as one_line
from tui.data.rows import Piece, conversation, labelled, masked
from tui.widgets.facts import content

COUNTED = 20_000  # characters of a document whose tokens are counted
PARTS = {"think": "$secondary", "search": "$accent", "code": "$accent", "result": "$warning"}
ROLES = {"user": "$primary", "assistant": "$success", "system": "$foreground-muted", "tool": "$warning"}


class Came(Message):
    """A thread has found a document (or none)."""

    def __init__(self, docs: Documents, index: int, document: Document | None, said: str = ""):
        super().__init__()
        self.docs, self.index, self.document, self.said = docs, index, document, said


class DocumentView(VerticalScroll):
    """The pane."""

    HELP = """
## Document
`j` `k` the next and the one before, from file to file, `g` `G` the first and the last of this file, `,` `.` another file,
`/` searches from here on, `N` the next that matches.

Rows with messages: `m` shows the conversation as it is trained: **green** tokens are learned, grey ones are read only, special
tokens stand out. `T` takes the tokenizer of another model.
"""

    def __init__(self) -> None:
        super().__init__(id="document", classes="pane")
        self.border_title = "document"
        self.docs: Documents | None = None
        self.document: Document | None = None
        self.index, self.file = 0, 0
        self.files: Sequence[Path] = ()
        self.mask, self.tokenizer, self.tokenizer_name = False, None, ""
        self._column = ""
        self._empty = "Choose a source; its documents stand here."

    def compose(self) -> ComposeResult:
        yield Static(Content(self._empty), id="document-text")

    # -- which one -----------------------------------------------------------------------------------------------

    def open(self, files: Sequence[Path], column: str = "", empty: str = "") -> None:
        """The first document of the first of these files; the same files again change nothing."""
        if list(files) == list(self.files) and column == self._column and files:
            return
        self.files, self._column, self._empty = list(files), column, empty or "No documents here."
        self.docs = self.document = None
        self.border_title = "document"
        self.border_subtitle = None
        if files:
            self.query_one(Static).update(Content.styled("opening …", LABEL))
            self._open(0)
        else:
            self.query_one(Static).update(Content.styled(self._empty, LABEL))

    def other_file(self, by: int) -> None:
        """The next file of the source, or the one before."""
        if len(self.files) > 1:
            self._open((self.file + by) % len(self.files))

    @work(thread=True, exclusive=True, exit_on_error=False, group="document")
    def _open(self, number: int, last: bool = False) -> None:
        path, worker = self.files[number], get_current_worker()
        try:
            docs = Documents(path, self._column)
            index = docs.last(lambda: worker.is_cancelled) if last else 0
            document = docs.get(index)
        except (UserError, OSError) as error:
            text = str(error) if isinstance(error, UserError) else f"{path.name}: {error.strerror or error}"
            self.app.call_from_thread(self._failed, text)
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self._opened, number, docs, document, index)

    def _failed(self, text: str) -> None:
        self.query_one(Static).update(Content.styled(one_line(text, 400), "$error"))

    def _opened(self, number: int, docs: Documents, document: Document | None, index: int) -> None:
        self.file, self.docs = number, docs
        self._show(index, document)

    def go(self, index: int) -> None:
        """Show document `index`, from 0; -1 is the last."""
        if self.docs is None:
            return
        if 0 <= index < self.docs.known:
            self.workers.cancel_node(self)
            self._show(index, self.docs.get(index))
        elif index < 0 or not self.docs.complete:
            self.border_subtitle = Content("reading on …")
            self._fetch(self.docs, index)

    def move(self, by: int) -> None:
        """`by` documents on; behind the last of a file the next file's first, before the first the last of the one before."""
        to, docs = self.index + by, self.docs
        if docs is not None and to >= docs.known and docs.complete and self.file + 1 < len(self.files):
            self._open(self.file + 1)
        elif docs is not None and to < 0 < self.file:
            self._open(self.file - 1, last=True)
        else:
            self.go(max(0, to))

    @work(thread=True, exclusive=True, exit_on_error=False, group="document")
    def _fetch(self, docs: Documents, index: int) -> None:
        worker = get_current_worker()
        at = docs.last(lambda: worker.is_cancelled) if index < 0 else index
        if not worker.is_cancelled:
            self.post_message(Came(docs, at, docs.get(at)))

    @work(thread=True, exclusive=True, exit_on_error=False, group="document")
    def search(self, words: str, start: int) -> None:
        """Show the first document from `start` on that holds the words, in this file or in one behind it."""
        began, files, worker = self.docs, self.files, get_current_worker()
        if began is None:
            return
        for number in range(self.file, len(files)):
            try:
                docs = began if number == self.file else Documents(files[number], self._column)
                at = docs.find(words, start if docs is began else 0, lambda: worker.is_cancelled)
            except (UserError, OSError):
                continue  # a file that cannot be read holds no words
            if worker.is_cancelled:
                return
            if at is not None:
                self.app.call_from_thread(self._opened, number, docs, docs.get(at), at)
                return
        behind = " and in the files behind it" if self.file + 1 < len(files) else ""
        self.post_message(Came(began, -1, None, f"“{words}”: not from document {start + 1:,} on{behind}"))

    @on(Came)
    def _came(self, message: Came) -> None:
        message.stop()
        if message.docs is not self.docs:
            return
        if message.document is not None:
            self._show(message.index, message.document)
            return
        self._describe()
        if message.said:
            self.app.notify(one_line(message.said, 200), severity="warning", markup=False)

    # -- how it is shown -----------------------------------------------------------------------------------------

    def _show(self, index: int, document: Document | None) -> None:
        self.index, self.document = index, document
        self.draw()
        self.scroll_home(animate=False)

    def use(self, tokenizer: Any, name: str) -> None:
        """Count and mask with this tokenizer."""
        self.tokenizer, self.tokenizer_name = tokenizer, name
        self.draw()

    def toggle_mask(self) -> bool:
        """Show the loss mask or the text; whether this document has one."""
        self.mask = not self.mask
        self.draw()
        return self.messages is not None

    @property
    def messages(self) -> Any:
        """The conversation of this document, if it is one."""
        return conversation(self.document.row) if self.document else None

    def draw(self) -> None:
        """Draw the document anew."""
        if self.document is None:
            if self.docs is not None:
                self.query_one(Static).update(Content.styled("This file holds no documents.", LABEL))
                self._describe()
            return
        messages, said = self.messages, ""
        if messages and self.mask and self.tokenizer is not None:
            try:
                pieces = masked(self.tokenizer, messages)
                self.query_one(Static).update(mask_content(pieces))
                trained, total = (sum(p.tokens for p in pieces if p.trained or every) for every in (False, True))
                said = f"{trained:,} of {total:,} tokens trained ({self.tokenizer_name})"
            except UserError as error:
                self.query_one(Static).update(Content.styled(one_line(error, 400), "$error"))
        elif messages:
            self.query_one(Static).update(content(talk_lines(messages)))
            said = "m shows what is trained"
        else:
            self.query_one(Static).update(content(text_lines(self.document)))
        self._describe(said)

    def _describe(self, said: str = "") -> None:
        docs = self.docs
        if docs is None:
            return
        more = f"  file {self.file + 1} of {len(self.files)}" if len(self.files) > 1 else ""
        self.border_title = Content(f"{one_line(docs.path.name, 40)}{more}")
        facts = []
        if self.document is not None:
            known = f"{docs.about:,}" if docs.complete else f"about {docs.about:,}"
            first = "the first " if docs.kind == "packed" and docs.known >= 300 else ""
            facts = [f"{self.document.number:,} of {first}{known}", f"{len(self.document.text):,} characters"]
            if not said and self.tokenizer is not None and 0 < len(self.document.text) <= COUNTED:
                count = len(self.tokenizer.encode(self.document.text))
                facts.append(f"{count:,} tokens ({self.tokenizer_name})")
        self.border_subtitle = Content("  ".join([*facts, said] if said else facts))

    def copy_text(self) -> str:
        """The document's text."""
        return self.document.text if self.document else ""


def text_lines(document: Document) -> list[Line]:
    """A document as it is, and what else its row holds."""
    out: list[Line] = []
    if document.wrong:
        out += [[(document.wrong, "$error")], []]
    out += [[(line.expandtabs(4).translate(CONTROLS), VALUE)] for line in document.text.split("\n")]
    if document.cut:
        out += [[], [("… and more, which is not shown", LABEL)]]
    if document.row is not None:
        others = {key: value for key, value in document.row.items() if value != document.text and key != "messages"}
        if others:
            out += [[]]
        out += [[(f"{one_line(key, 20)} ", LABEL), (one_line(value, 200), LABEL)] for key, value in others.items()]
    return out


def talk_lines(messages: Sequence[Any]) -> list[Line]:
    """A conversation, turn by turn."""
    out: list[Line] = []
    for message in messages:
        role = one_line(message["role"], 20)
        out += [[]] if out else []
        out.append([(role, f"{ROLES.get(role, VALUE)} bold")])
        for label, text in labelled(message):
            head: Line = [(f"{one_line(label, 20)}  ", f"{PARTS.get(label, VALUE)} bold")] if label else []
            style = PARTS.get(label, VALUE)
            for line in text.split("\n"):
                out.append([*head, (line.expandtabs(4).translate(CONTROLS), style)])
                head = [(" " * (len(label) + 2), style)] if label else []
    return out


def mask_content(pieces: Sequence[Piece]) -> Content:
    """Tokens by what becomes of them: trained green, only read grey, special ones on a ground; a line for each turn."""
    parts: list[tuple[str, str]] = []
    for i, piece in enumerate(pieces):
        text = piece.text.expandtabs(4).translate(CONTROLS)
        style = "$success" if piece.trained else LABEL
        parts.append((text, f"{style} on $panel bold" if piece.special else style))
        if piece.ends and i + 1 < len(pieces) and not pieces[i + 1].text.startswith("\n"):
            parts.append(("\n", ""))
    return Content.assemble(*parts)
