"""Chat: talk with any model, see what it held probable, take another token, ask again, compare two."""

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList, TextArea

from tui.screens.chat_dialogs import NO_MODEL, ChatDialogs
from tui.widgets.chat_log import Said
from tui.widgets.composer import Composer
from tui.widgets.token_info import TokenInfo

CUT = ("length", "cancelled", "lost", "context")  # a reply that may go on


class ChatScreen(ChatDialogs):
    """What the keys do."""

    HELP = """
# Chat

Write below; `escape` stops a reply and leaves the field, `enter` goes back to it. A base model continues your text;
`ctrl+b` lets it go on, with what you typed where you did.
`ctrl+r` asks again and `ctrl+e` edits, both as a branch: `alt+left` and `alt+right` (or `<` and `>`) go through branches,
nothing is lost. `ctrl+t` colours tokens by probability; `up` from the field, then `left`, walks over them. `w` shows the
exact tokens. `ctrl+d` keeps a reply as a row for `lab sft`.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+l,f4", "model", "Model", tooltip="another model, or one from the hub", id="chat.model"),
        Binding("ctrl+r", "again", "Ask again", tooltip="another reply beside this one", id="chat.again"),
        Binding("ctrl+e", "edit", "Edit", tooltip="the message in focus, else your last, as a branch", id="chat.edit"),
        Binding("ctrl+t", "colours", "Probabilities", tooltip="how probable each token was", id="chat.colours"),
        Binding("f3,v", "split", "Split", tooltip="two models side by side, or one again", id="chat.split"),
        Binding("ctrl+g,f5", "sampling", "Sampling", tooltip="temperature, seed, think budget, tools", id="chat.sampling"),
        Binding("ctrl+k", "demonstrations", "Demos", tooltip="how language models behave", id="chat.demonstrations"),
        Binding("ctrl+f", "chats", "Chats", tooltip="earlier chats: search, resume, delete", id="chat.chats"),
        Binding("ctrl+n", "new", "New", tooltip="an empty chat", id="chat.new"),
        Binding("w", "exact", "Exact tokens", tooltip="what the model saw and said", id="chat.exact"),
        Binding("ctrl+b", "go_on", "Go on", tooltip="with a reply, or with a page", show=False, id="chat.go_on"),
        Binding("ctrl+d", "demonstrate", "Keep as a demonstration", tooltip="a row for lab sft", show=False,
                id="chat.demonstrate"),
        Binding("alt+left,ctrl+left,less_than_sign", "branch(-1)", "Branch before", show=False, id="chat.branch_left"),
        Binding("alt+right,ctrl+right,greater_than_sign", "branch(1)", "Next branch", show=False, id="chat.branch_right"),
        Binding("p", "pause", "Pause or resume the training", show=False, id="chat.pause"),
        Binding("enter,i", "write", "Write a message", show=False, id="chat.write"),
        Binding("escape", "leave_field", "Stop, or leave the field", show=False, id="chat.leave"),
    ]  # fmt: skip

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("again", "edit", "exact", "demonstrate", "go_on", "branch"):
            return True if any(self.talk.tree(slot).nodes for slot in self.talk.sides) else None
        if action == "pause":
            return True if self.lab.watcher.live else None
        return super().check_action(action, parameters)

    # -- writing ---------------------------------------------------------------------------------------------------

    @on(Composer.Sent)
    def _sent(self, message: Composer.Sent) -> None:
        if not self.idle():
            return
        if self.editing:
            slot, number, draft = self.editing
            self.editing = None
            if message.text.strip():
                self.talk.edit(slot, number, message.text)
            self.composer.text = draft
        elif not message.text.strip():
            self.action_go_on()
            return
        elif self.talk.sides["a"].state == "empty":
            self.lab.say(NO_MODEL, "warning")
            return
        else:
            self._send(message.text)
            self.composer.clear()
        self.follow()

    def _send(self, text: str, joins: bool = False) -> None:
        chats = any(side.chats for side in self.talk.sides.values())
        self.talk.send(text.strip() if chats else text, joins)

    def action_go_on(self) -> None:
        """A base model: what is typed goes on where the page ends. With nothing typed, the reply goes on."""
        text, found = self.composer.text, self.reply()
        if not self.idle() or self.editing:
            return
        if text.strip() and not self.talk.sides["a"].chats:
            self._send(text, joins=True)
            self.composer.clear()
        elif found and not text.strip():
            slot, number = found
            sides = [slot] if self.said else list(self.talk.sides)
            for side in sides:
                last = number if side == slot else self.talk.tree(side).last("assistant")
                if last is not None and (
                    self.talk.tree(side).nodes[last].stop in CUT or not self.talk.sides[side].chats
                ):
                    self.talk.carry_on(side, last)
        self.follow()

    def action_edit(self) -> None:
        """Edit the message in focus, else the last one sent, in the input; it becomes a branch."""
        said, talk = self.said, self.talk
        slot = said.slot if said else "a"
        tree = talk.tree(slot)
        number = said.number if said else tree.last("user")
        if said and tree.nodes[said.number].page and not tree.nodes[said.number].edited:
            number = tree.nodes[said.number].parent
        self._edit(slot, number)

    def _edit(self, slot: str, number: int | None) -> None:
        if number is None or not self.idle():
            return
        draft = self.editing[2] if self.editing else self.composer.text
        self.editing = (slot, number, draft)
        self.composer.text = self.talk.tree(slot).nodes[number].plain
        self.composer.move_cursor(self.composer.document.end)
        self.composer.focus()
        self.hints()

    def action_leave_field(self) -> None:
        """Leave an edit, stop a reply or a download, leave the field: the first of these that there is."""
        loading = [side for side in self.talk.sides.values() if side.state == "loading" and side.total]
        if self.editing:
            self.leave_edit()
        elif self.talk.busy:
            self.talk.stop()
            self.paint()
        elif loading:
            for side in loading:
                self.talk.cancel_load(side.slot)
            self.paint()
        elif self.maximized:
            self.minimize()
        elif isinstance(self.focused, Input | TextArea):
            last = self.columns[0].saids[-1:] if self.columns else []
            self.set_focus(last[0] if last else None)

    def action_write(self) -> None:
        """Back into the input."""
        self.composer.focus()

    @on(Composer.Left)
    def _left(self) -> None:
        """Up and out of the input: to the last message, or the list of demonstrations."""
        if self.columns and self.columns[0].saids:
            self.columns[0].saids[-1].focus()
        else:
            choice = self.columns[0].query_one("#demonstrations", OptionList)
            if choice.option_count:
                choice.focus()
                choice.action_last()

    # -- branches --------------------------------------------------------------------------------------------------

    def action_again(self) -> None:
        """Another reply beside the one in focus; without focus, in every column. Loads a model that is gone."""
        for side in list(self.talk.sides.values()):
            if side.state in ("gone", "failed"):
                self.talk.again(side.slot)
        if not self.idle():
            return
        found = self.reply()
        if found and self.said:
            self.talk.regenerate(*found)
        else:
            for slot in self.talk.sides:
                if (number := self.talk.tree(slot).last("assistant")) is not None:
                    self.talk.regenerate(slot, number)
        self.follow()

    def action_branch(self, by: int) -> None:
        """Another branch of the message in focus, else of the last one that has any."""
        if not self.said:
            for slot in self.talk.sides:
                tree = self.talk.tree(slot)
                number = next((i for i in reversed(tree.path()) if len(tree.siblings(i)) > 1), None)
                if number is not None:
                    self.talk.switch(slot, number, by)
            self.paint()
            return
        self._switch(self.said, by)

    def _switch(self, said: Said, by: int) -> None:
        """Another branch; the focus goes along."""
        column = next(column for column in self.columns if column.slot == said.slot)
        at = column.saids.index(said) if said in column.saids else 0
        focused = said.has_focus
        self.talk.switch(said.slot, said.number, by)
        self.paint()
        if focused and column.saids:
            self.call_after_refresh(column.saids[min(at, len(column.saids) - 1)].focus)

    @on(Said.Wanted)
    def _wanted(self, message: Said.Wanted) -> None:
        said, what = message.said, message.action
        if what in ("up", "down"):
            self._move(said, -1 if what == "up" else 1)
        elif what in ("prev", "next"):
            self._switch(said, -1 if what == "prev" else 1)
        elif what == "edit":
            self._edit(said.slot, said.number)
        elif what == "go_on":
            self.talk.carry_on(said.slot, said.number)
            self.follow()
        elif what == "alternatives":
            self.query_one(TokenInfo).focus()
        elif what == "take" and said.place is not None:
            self._take(said, message.other)

    def _move(self, said: Said, by: int) -> None:
        """The focus to another message of the column; below the last one is the input."""
        saids = next(column for column in self.columns if column.slot == said.slot).saids
        at = saids.index(said) + by
        if at >= len(saids):
            self.composer.focus()
        elif at >= 0:
            saids[at].focus()

    def _take(self, said: Said, other: int) -> None:
        """A branch that goes on from an alternative of the token under the cursor."""
        if said.place is None or other >= len(said.tokens[said.place].top) or not self.idle():
            return
        if not said.tokens[said.place].own:
            self.lab.say("a tool put this in: the model had no other choice here", "warning", 3)
            return
        self.talk.branch(said.slot, said.number, said.place, other)
        column = next(column for column in self.columns if column.slot == said.slot)
        at = column.saids.index(said)
        self.follow()
        self.call_after_refresh(column.saids[min(at, len(column.saids) - 1)].focus)

    @on(TokenInfo.Taken)
    def _taken(self, message: TokenInfo.Taken) -> None:
        if self.looking and self.looking.is_attached:
            self._take(self.looking, message.other)

    @on(TokenInfo.Left)
    def _back(self) -> None:
        if self.looking and self.looking.is_attached:
            self.looking.focus()
