"""The chat's dialogs: models, settings, demonstrations, earlier chats, exact tokens; what is kept of a chat."""

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.widgets import OptionList

from lab.errors import UserError
from lab.runs import send
from tui.data import chat_files, demonstrations, presets
from tui.data.draws import Draw
from tui.screens.chat_room import ChatRoom
from tui.widgets.chat_log import Said
from tui.widgets.token_info import TokenInfo

if TYPE_CHECKING:
    from tui.data.rollout_chat import Handed

NO_MODEL = "no model yet: ctrl+l takes one from the hub or a folder"


class ChatDialogs(ChatRoom):
    """What a chat asks its user in boxes of their own; tui.screens.chat has the keys."""

    def watched(self, changed: bool) -> None:
        if (handed := self.lab.wanted_chat) is not None:
            self.lab.wanted_chat, self._begun = None, True
            self._take_over(handed)
        super().watched(changed)

    def _take_over(self, handed: "Handed") -> None:
        """A prompt of Rollouts as a chat of its own: what is to be sent stands in the field, a reply goes on by itself."""
        self.leave_edit()
        self.talk.resume(handed.chat)
        self.composer.text = handed.draft
        self.composer.move_cursor(self.composer.document.end)
        if handed.reply is not None:
            self.talk.carry_on("a", handed.reply)
            self.coloured = True
        self.composer.focus()
        self.follow()

    # -- which message ---------------------------------------------------------------------------------------------

    @property
    def said(self) -> Said | None:
        """The message in focus; that of the token told about, while the choice of its alternatives is."""
        focused = self.looking if isinstance(self.focused, TokenInfo) else self.focused
        return focused if isinstance(focused, Said) and focused.slot in self.talk.sides else None

    def reply(self) -> tuple[str, int] | None:
        """The reply in focus, or to the message in focus; else the last one of the first column."""
        said = self.said
        slot = said.slot if said else "a"
        tree = self.talk.tree(slot)
        if said:
            number = said.number if tree.nodes[said.number].role == "assistant" else tree.chosen.get(said.number)
        else:
            number = tree.last("assistant")
        return None if number is None else (slot, number)

    def idle(self) -> bool:
        """Whether no reply is on its way; a word where one is."""
        if self.talk.busy:
            self.lab.say("a reply is on its way; escape stops it", "warning", 3)
        return not self.talk.busy

    def leave_edit(self) -> None:
        """Give up an edit: the draft that waited meanwhile is back."""
        if self.editing:
            self.composer.text, self.editing = self.editing[2], None
            self.hints()

    def answers(self) -> bool:
        """Whether it is known how the first model is to be talked with; a word where it is not."""
        side = self.talk.sides["a"]
        words = {"empty": NO_MODEL, "loading": "the model is not there yet", "failed": f"{side.title} was not loaded"}
        if side.state in words:
            self.lab.say(words[side.state], "warning", 3)
        return side.state not in words

    def follow(self) -> None:
        """Draw all, down to the newest messages."""
        for column in self.columns:
            column.follow()
        self.paint()

    # -- dialogs and the rest --------------------------------------------------------------------------------------

    def action_model(self) -> None:
        """Choose the model of the column in focus."""
        self._pick(self.said.slot if self.said else "a")

    def _pick(self, slot: str) -> None:
        from tui.screens.models import ModelPicker

        side = self.talk.sides.get(slot)
        title = f"Model of column {slot.upper()}" if side is None or len(self.talk.sides) > 1 else "Model"

        def picked(model: str | None) -> None:
            if model:
                self.load(slot, model)

        self.app.push_screen(ModelPicker(title, side.model if side else ""), picked)

    def action_split(self) -> None:
        """A second model beside the first, or one again."""
        if "b" in self.talk.sides:
            self.leave_edit()
            self.talk.single()
            self.composer.focus()
            self.paint()
        else:
            self._pick("b")

    def action_sampling(self) -> None:
        """Temperature and the rest."""
        from tui.screens.sampling import SamplingScreen

        def kept(draw: Draw | None) -> None:
            if draw:
                self.talk.set_draw(draw)
                self.paint()

        self.app.push_screen(SamplingScreen(self.talk.draw, self.talk.sides["a"].chats), kept)

    def action_demonstrations(self) -> None:
        """Demonstrations of how language models behave."""
        from tui.screens.chat_list import Demonstrations

        if self.answers():
            self.app.push_screen(Demonstrations(self.talk.sides["a"].chats), self._demonstrate)

    @on(OptionList.OptionSelected, "#demonstrations")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self._demonstrate(event.option.id)

    def _demonstrate(self, name: str | None) -> None:
        preset = presets.named(name or "")
        if preset is None or not self.idle() or not self.answers():
            return
        chats = self.talk.sides["a"].chats
        text = preset.chat if chats else preset.base
        if text:
            draws = presets.several(preset, self.talk.draw)
            self.talk.send(text, note=preset.watch, ends=() if chats else preset.ends, several=draws)
            self.composer.focus()
            self.follow()

    def action_chats(self) -> None:
        """Earlier chats."""
        from tui.screens.chat_list import ChatList

        def picked(path: Path | None) -> None:
            if path is None or path.stem == self.talk.chat.id:
                return
            try:
                chat = chat_files.load(path)
            except UserError as error:
                self.lab.say(str(error), "error")
                return
            self.leave_edit()
            self.talk.resume(chat)
            self.composer.focus()
            self.follow()

        if self.talk.busy:
            self.talk.save()
        self.talk.saver.flush(1)
        self.app.push_screen(ChatList(self.shelf, self.talk.chat.id), picked)

    def action_new(self) -> None:
        """An empty chat; the old one is saved."""
        self.leave_edit()
        self.talk.new()
        self.composer.focus()
        self.paint()

    def action_colours(self) -> None:
        """Colour tokens by their probability, or not."""
        self.coloured = not self.coloured
        self.paint()

    def action_exact(self) -> None:
        """The exact token stream of the reply in focus, else of the last one."""
        from tui.screens.exact import ExactScreen

        found = self.reply()
        node = self.talk.tree(found[0]).nodes[found[1]] if found else None
        if node and node.prompt:
            self.app.push_screen(ExactScreen(node, node.model))
        else:
            words = (
                "you wrote this reply: it has no tokens"
                if node and node.edited
                else "no model has said anything here yet"
            )
            self.lab.say(words, "warning", 3)

    def action_demonstrate(self) -> None:
        """Keep the conversation up to the reply in focus (else the last) as a row that `lab sft` reads."""
        if not (found := self.reply()) or not self.idle():
            return
        try:
            count, new = demonstrations.add(self.talk.messages(*found))
        except UserError as error:
            self.lab.say(str(error), "error")
            return
        rows = f"{count} row{'s' if count != 1 else ''} in {demonstrations.path()}"
        self.lab.say(f"kept as a demonstration: {rows}" if new else f"this one is there already: {rows}")

    def action_pause(self) -> None:
        """Pause the training that goes on, or resume it."""
        if live := self.lab.watcher.live:
            command = "resume" if live[0].state == "paused" else "pause"
            try:
                send(live[0].name, command)
            except UserError as error:
                self.lab.say(str(error), "error")
            else:
                self.lab.say(f"{live[0].name}: {command} asked for; it obeys before its next step")
