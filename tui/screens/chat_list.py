"""Earlier chats: listed, searched through, resumed, deleted. And the demonstrations, in the same kind of box."""

from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lab.errors import UserError
from lab.words import age
from tui.data import chat_files
from tui.data.chat_files import Shelf, Summary
from tui.data.watch import now
from tui.widgets.chat_start import options
from tui.widgets.dialogs import Ask
from tui.widgets.token_lines import plain

MOST = 300


class ChatList(ModalScreen[Path | None]):
    """Dismissed with the chat to resume, or None."""

    CSS_PATH = "chat.tcss"
    HELP = """
# Earlier chats

Chats are saved by themselves. Type words to search all that was ever said, in all branches; `enter` goes on with a chat,
`ctrl+x` deletes it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it", id="dialog.chats_leave"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="dialog.chats_up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="dialog.chats_down"),
        Binding("ctrl+x", "delete", "Delete this chat", priority=True, id="dialog.chats_delete"),
    ]

    def __init__(self, shelf: Shelf, current: str):
        super().__init__()
        self.shelf, self.current = shelf, current
        self.chats: list[Summary] | None = None
        self.shown: list[tuple[Summary, str]] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide") as box:
            box.border_title, box.border_subtitle = "Chats", "enter goes on   ctrl+x deletes   escape leaves"
            field = Input(placeholder="words that were said", compact=True)
            field.cursor_blink = False
            yield field
            yield OptionList(id="choice")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._look()

    @work(thread=True, exclusive=True, exit_on_error=False, group="chats")
    def _look(self) -> None:
        found = self.shelf.look()
        self.app.call_from_thread(self._found, found)

    def _found(self, chats: list[Summary]) -> None:
        if self.is_attached:  # else the list was left before it was there
            self.chats = chats
            self._fill()

    @on(Input.Changed)
    def _fill(self) -> None:
        choice, words = self.query_one(OptionList), self.query_one(Input).value
        self.shown = chat_files.matching(self.chats or [], words)[:MOST]
        choice.clear_options()
        for chat, around in self.shown:
            when = age(now() - chat.updated)
            here = "● " if chat.path.stem == self.current else "  "
            turns = f"{chat.turns} message{'s' if chat.turns != 1 else ''}"
            below = around or f"{chat.model} · {turns}"
            line = [
                (here, "$accent"),
                (plain(chat.title) or "(no words)", "bold"),
                (f"  {when}\n", "$foreground-muted"),
            ]
            choice.add_option(Option(Content.assemble(*line, (f"  {plain(below)}", "$foreground-muted"))))
        if not self.shown:
            words = "looking ..." if self.chats is None else "nothing was said like that" if words else "no chats yet"
            choice.add_option(Option(words, disabled=True))
        if self.shelf.skipped:
            count = self.shelf.skipped
            said = f"no chats of this version: {count} file{'s' if count != 1 else ''} in {chat_files.folder()}"
            choice.add_option(Option(Content.styled(plain(said), "$warning"), disabled=True))
        choice.highlighted = 0 if self.shown else None

    @on(Input.Submitted)
    def _submitted(self) -> None:
        if self.query_one(OptionList).highlighted is not None:
            self.query_one(OptionList).action_select()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.shown[event.option_index][0].path)

    def action_move(self, by: int) -> None:
        """The highlight up or down; the field keeps the focus."""
        choice = self.query_one(OptionList)
        if by < 0:
            choice.action_cursor_up()
        else:
            choice.action_cursor_down()

    def action_delete(self) -> None:
        """Delete the chat under the highlight, once it was said yes to."""
        at = self.query_one(OptionList).highlighted
        if at is None or at >= len(self.shown):
            return
        chat = self.shown[at][0]
        if chat.path.stem == self.current:
            self.app.notify("This chat is open; ctrl+n begins another one first", severity="warning", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                try:
                    chat_files.delete(chat.path)
                except UserError as error:
                    self.app.notify(str(error), severity="error", markup=False)
                self._look()

        self.app.push_screen(
            Ask("Delete this chat?", plain(f"{chat.title}\n{chat.turns} messages, for good")), answered
        )

    def action_leave(self) -> None:
        self.dismiss(None)


class Demonstrations(ModalScreen[str]):
    """Dismissed with the name of a demonstration, or ""."""

    CSS_PATH = "chat.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "leave", "Leave it", id="dialog.demonstrations_leave")]

    def __init__(self, chats: bool):
        super().__init__()
        self.chats = chats

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide") as box:
            box.border_title, box.border_subtitle = "Demonstrations", "enter sends   escape leaves"
            yield OptionList(*options(self.chats), id="choice")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id or "")

    def action_leave(self) -> None:
        self.dismiss("")
