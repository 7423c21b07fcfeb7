"""How replies are drawn: temperature and the rest, checked while one types; and what a chat model may call."""

from dataclasses import replace
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from lab.errors import UserError
from tui.data import draws
from tui.data.draws import RULES, Draw
from tui.widgets.form import Choice


class SamplingScreen(ModalScreen[Draw | None]):
    """Dismissed with the new settings, or None."""

    CSS_PATH = "chat.tcss"
    HELP = """
# Sampling

How the next token is drawn from the model's probabilities. The filters apply in this order: repetition penalty,
temperature, top-k, top-p, min-p. An empty seed takes another one each time; a fixed one gives the same reply again. A think
budget closes a thought that has grown so long, and the model answers from what it has: `lab chat --think-budget N`.

A chat model that was tuned to may search in an index (`lab index FOLDER --out index.db` makes one) and run Python, in a
sandbox without files or network. What it calls and what it is told stands in the chat.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g,f5,ctrl+j", "keep", "Keep these settings", priority=True, id="dialog.sampling_keep"),
        # Not before a field has had it: the system message is of several lines.
        Binding("enter", "keep", "Keep these settings", show=False, id="dialog.sampling_enter"),
        Binding("down", "app.focus_next", "Next field", show=False, id="dialog.sampling_next"),
        Binding("up", "app.focus_previous", "Field before", show=False, id="dialog.sampling_before"),
        Binding("escape", "leave", "Leave them", priority=True, id="dialog.sampling_leave"),
    ]

    def __init__(self, draw: Draw, chats: bool):
        super().__init__()
        self.draw, self.chats = draw, chats

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog", can_focus=False) as box:
            box.border_title, box.border_subtitle = "Sampling", "↑ ↓ fields   enter keeps   escape leaves"
            for name, (title, _, _, _, says) in RULES.items():
                value = getattr(self.draw, name)
                text = "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"
                with Horizontal(classes="setting"):
                    yield Static(title, classes="label")
                    field = Input(text, compact=True, id=name, max_length=20)
                    field.cursor_blink = False
                    yield field
                    yield Static(says, classes="says")
            bare = "" if self.chats else "  (a base model calls no tools)"
            with Horizontal(classes="setting -tool"):
                yield Static("search in", classes="label")
                field = Input(self.draw.search, f"an index; empty: none{bare}", compact=True, id="search")
                field.cursor_blink = False
                yield field
            with Horizontal(classes="setting"):
                yield Static("run code", classes="label")
                yield Choice(("no", "yes"), "yes" if self.draw.code else "no", "code")
                yield Static("", classes="gap")
                yield Static("Python that it writes, in a sandbox", classes="says")
            with Vertical(classes="system"):
                note = "" if self.chats else "  (a base model has none)"
                yield Static(Content.assemble("system message", (note, "$foreground-muted")))
                area = TextArea(self.draw.system, id="system", tab_behavior="focus", soft_wrap=True)
                area.cursor_blink = False
                yield area
            yield Static("", id="wrong")

    def on_mount(self) -> None:
        self.query_one("#temp", Input).focus()

    def read(self) -> tuple[Draw | None, str]:
        """(the settings as typed, or None; what is wrong with them)."""
        values: dict[str, Any] = {"system": self.query_one("#system", TextArea).text.strip()}
        values["code"] = self.query_one("#code", Choice).value == "yes"
        wrong = []
        search = self.query_one("#search", Input)
        try:
            # One that has gone meanwhile stays until another is typed: the model process says what is wrong with it.
            values["search"] = self.draw.search if search.value == self.draw.search else draws.index(search.value)
            search.remove_class("-wrong")
        except UserError as error:
            wrong.append(str(error))
            search.add_class("-wrong")
        for name in RULES:
            field = self.query_one(f"#{name}", Input)
            try:
                values[name] = draws.check(name, field.value)
                field.remove_class("-wrong")
            except UserError as error:
                wrong.append(str(error))
                field.add_class("-wrong")
        return (None if wrong else replace(self.draw, **values)), "\n".join(wrong)

    @on(Input.Changed)
    def _changed(self) -> None:
        _, wrong = self.read()
        self.query_one("#wrong", Static).update(Content(wrong))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_keep()

    def action_keep(self) -> None:
        """Close with these settings, where they are right."""
        draw, wrong = self.read()
        if draw:
            self.dismiss(draw)
        else:
            self.app.clear_notifications()  # each try says it anew
            self.app.notify(wrong, severity="error", markup=False)

    def action_leave(self) -> None:
        self.dismiss(None)
