"""What is ranked: a form that checks itself."""

from dataclasses import asdict
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from lab.errors import UserError
from tui.data.rank_setup import WORDS, Setup, check

SAYS = {
    "model": "run, folder, hub id or .gguf",
    "data": 'rows {"prompt"}; empty: jokes',
    "out": "empty: rankings.jsonl",
    "prompts": "different ones, at most",
    "samples": "2 to 9",
    "temp": "1: the model as it is",
    "max_tokens": "tokens; a cut one is drawn anew",
    "seed": "the same: the same replies",
    "reward": "empty: the newest one",
}


class RankSetup(ModalScreen[Setup | None]):
    """Dismissed with the new setup, or None."""

    CSS_PATH = "rank.tcss"
    HELP = """
# What is ranked

The same settings as flags of `lab rank`: model, prompts, how replies are drawn, and the file that rankings are added to.
Another model or seed begins anew; the old one goes on from where it was when you come back to it.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+j", "keep", "Begin with these", priority=True, id="dialog.rank_keep"),
        Binding("escape", "leave", "Leave them", priority=True, id="dialog.rank_leave"),
    ]

    def __init__(self, setup: Setup):
        super().__init__()
        self.setup = setup

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="rank-dialog", can_focus=False) as box:
            box.border_title, box.border_subtitle = "What is ranked", "enter begins   escape leaves"
            for name, value in asdict(self.setup).items():
                text = f"{value:g}" if isinstance(value, float) else str(value)
                with Horizontal(classes="setting"):
                    yield Static(WORDS[name], classes="label")
                    field = Input(text, compact=True, id=name)
                    field.cursor_blink = False
                    yield field
                    yield Static(SAYS[name], classes="says")
            yield Static("", id="wrong")

    def on_mount(self) -> None:
        self.query_one("#data", Input).focus()

    def read(self) -> tuple[Setup | None, str]:
        """(the setup as typed, or None; what is wrong with it)."""
        try:
            return check({name: self.query_one(f"#{name}", Input).value for name in WORDS}), ""
        except UserError as error:
            return None, str(error)

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one("#wrong", Static).update(Content(self.read()[1]))

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_keep()

    def action_keep(self) -> None:
        """Close with these, where they are right."""
        setup, wrong = self.read()
        if setup:
            self.dismiss(setup)
        else:
            self.app.notify(wrong, severity="error", markup=False)

    def action_leave(self) -> None:
        self.dismiss(None)
