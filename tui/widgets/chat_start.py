"""What an empty chat shows: the model, what to press, and demonstrations to start with."""

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.data import notes, presets
from tui.data.talk import Side
from tui.widgets.token_lines import plain

KEYS = (
    ("ctrl+l", "another model"), ("f3", "two models side by side"), ("ctrl+f", "earlier chats"),
    ("ctrl+g", "temperature and more"), ("?", "all keys"),
)  # fmt: skip
TITLES = 30  # cells of the longest title, and two more
NOTHING = (
    ("ctrl+l", "bold"), "     take one from the hub, a folder or a file\n", ("escape 1", "bold"), "   train one: the pipeline",
)  # fmt: skip


def options(chats: bool, width: int = 0) -> list[Option]:
    """The demonstrations that make sense with a model: in two lines each, or in one of `width` cells."""
    found = []
    for preset in presets.fitting(chats):
        title, watch = preset.title, f"\n{preset.watch}"
        if width:
            room = width - TITLES - 1
            title = f"{title:<{TITLES}}" if room > 20 else title
            watch = "" if room <= 20 else preset.watch if len(preset.watch) <= room else f"{preset.watch[: room - 1]}…"
        content = Content.assemble((title, "bold"), (watch, "$foreground-muted"))
        found.append(Option(content, id=preset.name))
    return found


class Start(Vertical):
    """The list sends a demonstration with enter or a click."""

    DEFAULT_CSS = """
    Start { height: auto; padding: 0 1; }
    Start > Static { height: auto; margin: 0 0 1 0; }
    Start > OptionList {
        height: auto; max-height: 30; border: none; padding: 0; background: $background; margin: 0 0 1 0;
    }
    Start > OptionList:focus { border: none; padding: 0; }
    Start > OptionList > .option-list--option-hover { background: $surface; }
    Start > OptionList > .option-list--option-highlighted { background: $background; text-style: none; }
    Start > OptionList:focus > .option-list--option-highlighted { background: $block-cursor-background; }
    """
    HELP = """
# Demonstrations

`enter` or a click sends one; the sentence below its name says what to watch for.
"""

    def __init__(self) -> None:
        super().__init__(id="start")
        self._shows: tuple[str, str, bool, str, int] | None = None
        self._side: Side | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="about")
        yield OptionList(id="demonstrations")
        yield Static(id="keys")

    def on_resize(self) -> None:
        if self._side:
            self.paint(self._side)

    def paint(self, side: Side) -> None:
        """What fits this model and this width."""
        self._side, width = side, max(20, self.content_size.width)
        shows = (side.state, side.title, side.chats, side.words if side.state == "empty" else "", width)
        if shows == self._shows:
            return
        self._shows = shows
        about, ready = self.query_one("#about", Static), side.state == "ready"
        choice, keys = self.query_one("#demonstrations", OptionList), self.query_one("#keys", Static)
        choice.display, keys.display = ready, side.state != "empty"
        if side.state == "empty":
            about.update(Content.assemble(plain(side.words or "No model here yet."), "\n\n", *NOTHING))
        elif ready:
            say = "Write below and press enter, or begin with one of these:"
            about.update(
                Content.assemble((plain(side.title), "bold"), "  ", (notes.kind(side), "$foreground-muted"), f"\n{say}")
            )
            choice.clear_options()
            choice.add_options(options(side.chats, width))
        else:
            about.update("")
        row = [part for key, what in KEYS for part in ((key, "$accent"), (f" {what}   ", "$foreground-muted"))]
        keys.update(Content.assemble(*row))
