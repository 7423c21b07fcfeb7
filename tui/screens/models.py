"""The list of models: this computer's, their checkpoints, and whatever hub id or path is typed."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lab.hub import is_id
from lab.models import everything as found_here
from lab.models import folder as model_folder
from lab.runs import MUTE, checkpoints, root, to_talk_with
from lab.words import size
from tui.widgets.token_lines import plain

FREE = "typed"
MOST = 400  # lines drawn; typing narrows them down


class Line(NamedTuple):
    """A model in the list."""

    model: str  # what to load; "" where it cannot be
    name: str
    kind: str
    weighs: str
    place: str
    broken: str = ""


def everything() -> list[Line]:
    """All models, each run's checkpoints below it, newest first. Reads headers: for a thread."""
    found = []
    for one in found_here():
        kind = "" if one.broken else one.kind
        found.append(Line(one.model, one.name, kind, size(one.size), one.place, one.broken))
        if one.place == "weights":
            for folder in reversed(checkpoints(root() / one.name)):
                step = f"{one.name}@{int(folder.name)}"
                found.append(Line(step, step, "checkpoint", "", one.place))
    return found


def newest() -> str:
    """The newest run that can be loaded, shipped models last, of these the one that knows most first; "" for none."""
    for info in to_talk_with():
        weights = any(info.folder.glob("model*.safetensors"))
        if (
            weights
            and info.recipe not in MUTE
            and not model_folder(info.folder, info.name, "weights", info.name).broken
        ):
            return info.name
    return ""


def why_none(lines: Sequence[Line]) -> str:
    """Where no run can be loaded: what else is here, or which models are broken, and why."""
    good = sum(not line.broken for line in lines)
    if good:
        return f"No run of yours can be loaded here; other models: {good}, ctrl+l lists them."
    broken = [f"{line.name}: {line.broken}" for line in lines[:3]]
    more = [f"and {len(lines) - 3} more"] if len(lines) > 3 else []
    return "\n".join(["No model here can be loaded.", *broken, *more]) if broken else ""


def typed(text: str, known: Sequence[Line]) -> Line | None:
    """The line for what was typed, where it is something to load that the list does not hold."""
    name = text.strip()
    if not name or any(name == line.model for line in known):
        return None
    if name.startswith(("~", "/", "./", "../")) or (name.endswith(".gguf") and "/" not in name):
        return Line(name, name, "open this folder or file", "", "")
    if is_id(name.partition("@")[0]) or ("/" in name and name.endswith(".gguf")):
        return Line(name, name, "fetch from the hub", "", "")
    stem = name.partition("@")[0]
    return (
        Line(name, name, "open this checkpoint", "", "")
        if "@" in name and any(stem == k.model for k in known)
        else None
    )


class ModelPicker(ModalScreen[str]):
    """Dismissed with what to load, "" for nothing."""

    CSS_PATH = "chat.tcss"
    HELP = """
# Models

Type to narrow the list down, or a hub id (`owner/name`), a folder, or a `.gguf` file. `up` and `down` choose, `enter` loads.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave it", id="models.leave"),
        Binding("up", "move(-1)", "Up", show=False, priority=True, id="models.up"),
        Binding("down", "move(1)", "Down", show=False, priority=True, id="models.down"),
    ]

    def __init__(self, title: str, current: str):
        super().__init__()
        self._title, self._current = title, current
        self.lines: list[Line] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide") as box:
            box.border_title, box.border_subtitle = Content(self._title), "enter loads   escape leaves"
            field = Input(placeholder="filter, or owner/name on the hub, or a path", compact=True)
            field.cursor_blink = False
            yield field
            yield OptionList(id="choice")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.query_one(OptionList).add_option(Option("looking for models ...", disabled=True))
        self._look()

    @work(thread=True, exclusive=True, exit_on_error=False, group="models")
    def _look(self) -> None:
        found = everything()
        self.app.call_from_thread(self._found, found)

    def _found(self, lines: list[Line]) -> None:
        if self.is_attached:  # else the list was left before it was there
            self.lines = lines
            self._fill()

    def on_resize(self) -> None:
        if self.lines is not None:
            self._fill()

    @on(Input.Changed)
    def _fill(self) -> None:
        choice, text = self.query_one(OptionList), self.query_one(Input).value
        lines, words = self.lines or [], text.casefold().split()
        shown = [line for line in lines if all(w in f"{line.name} {line.kind} {line.place}".casefold() for w in words)]
        extra = typed(text, lines)
        shown = ([extra] if extra else []) + shown[:MOST]
        width = max(30, choice.scrollable_content_region.width or choice.size.width or 60)
        choice.clear_options()
        names, kinds = (max((cell_len(plain(line[at])) for line in shown), default=0) for at in (1, 2))
        for line in shown:
            content = _content(line, width, names, kinds, line.model == self._current)
            choice.add_option(Option(content, disabled=bool(line.broken)))
        self._shown = shown
        if not shown:
            empty = (
                "looking for models ..."
                if self.lines is None
                else "nothing like it here; owner/name fetches from the hub"
            )
            choice.add_option(
                Option(empty if text or self.lines is None else "no models yet; type owner/name", disabled=True)
            )
        first = next((i for i, line in enumerate(shown) if not line.broken), None)
        choice.highlighted = first

    @on(Input.Submitted)
    def _submitted(self) -> None:
        choice = self.query_one(OptionList)
        if choice.highlighted is not None:
            choice.action_select()

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].model)

    def action_move(self, by: int) -> None:
        """The highlight up or down; the field keeps the focus."""
        choice = self.query_one(OptionList)
        if by < 0:
            choice.action_cursor_up()
        else:
            choice.action_cursor_down()

    def action_leave(self) -> None:
        self.dismiss("")


def _content(line: Line, width: int, names: int, kinds: int, current: bool) -> Content:
    """One row: name and kind (the longest have `names` and `kinds` cells; a long name takes no more than half), size,
    place; the reason below where it cannot be loaded."""
    mark = "● " if current else "  "
    right = f"{line.weighs:>8}  {line.place:<9}" if width >= 56 else ""
    room = width - len(right) - 4
    kind = min(kinds, max(16, room // 2 - 2, room - names))
    name = max(10, width - kind - cell_len(right) - 4)
    fit = set_cell_size(_cut(plain(line.name), name), name)
    says = set_cell_size(plain(line.kind), kind)
    if line.broken:
        why = f"\n    {_cut(plain(line.broken), width - 5)}"
        return Content.assemble((f"{mark}{fit}  {says}{right}", "$foreground-muted"), (why, "$warning"))
    return Content.assemble((mark, "$accent"), (fit, "bold"), ("  " + says, ""), (right, "$foreground-muted"))


def _cut(text: str, cells: int) -> str:
    """At most so many cells; the end is what tells models apart, so the middle goes."""
    if cell_len(text) <= cells:
        return text
    half = (cells - 1) // 2
    return set_cell_size(text, cells - 1 - half) + "…" + text[-half:] if half else text[:cells]
