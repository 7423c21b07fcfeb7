"""Below the stages: all runs as a table, the tree of models, the last lines of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import DataTable, Static

from lab.display import CONTROLS
from lab.runs import Info
from lab.words import age
from tui.data.charts import number
from tui.data.facts import LABEL, VALUE, Line, plain, state_mark
from tui.data.road import Leaf
from tui.data.watch import now
from tui.widgets.facts import content

NO_RUNS = (
    "No runs yet.\n\nPress [b $accent]n[/] and [b $accent]enter[/]: the pocket model trains, in about ten minutes, and you "
    "see its curve.\n[$foreground-muted]d shows the text it reads; or in a terminal: lab pretrain[/]"
)


@dataclass
class RunChosen(Message):
    """A line of the table was opened, or the cursor came to it."""

    run: str
    opened: bool


class RunTable(DataTable[Text]):
    """All runs and models, newest first."""

    HELP = """
## Runs
● at work  ⏸ paused  ◌ waits for another  ✔ done  ■ stopped  ✖ failed or died  ◍ silent  ◆ a model

`enter` shows it in Train, `c` talks with it, `e` edits its config for a new run, `r` runs its recipe anew.
"""
    COLUMNS = ("", "run", "recipe", "step", "headline", "tok/s", "GB", "age")
    RIGHT = ("step", "tok/s", "GB", "age")
    WIDE = ("tok/s", "GB")  # where there is room
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open", id="road.open", tooltip="its curves, in Train"),
    ]

    def __init__(self) -> None:
        super().__init__(id="road-runs", cursor_type="row", cell_padding=1, classes="pane")
        self._rows: dict[str, tuple[Text, ...]] = {}
        self._names: tuple[str, ...] = self.COLUMNS
        self._last: tuple[Sequence[Info], dict[str, str]] | None = None

    def on_mount(self) -> None:
        self.border_title = "runs"
        self._columns(self.COLUMNS)

    def _columns(self, names: tuple[str, ...]) -> None:
        self._names, self._rows = names, {}
        self.clear(columns=True)
        for name in names:
            self.add_column(Text(name, justify="right" if name in self.RIGHT else "left", style="dim"), key=name)

    def on_resize(self, event: events.Resize) -> None:
        at = self.current
        names = tuple(name for name in self.COLUMNS if self.size.width >= 72 or name not in self.WIDE)
        if names != self._names:
            self._columns(names)
            if self._last:
                self.show(*self._last)
                self.move_cursor(row=list(self._rows).index(at) if at in self._rows else 0)
        elif self._last:
            self.show(*self._last)

    def show(self, runs: Sequence[Info], colours: dict[str, str]) -> None:
        """Bring it up to date: cells that changed, or all where runs came or went. The cursor stays on its run."""
        if self._last is None or self._last[1] != colours:
            self._rows = {}  # another theme
        self._last = (runs, colours)
        rows = self._fitted({info.name: self._cells(info, colours) for info in runs})
        if list(rows) != list(self._rows):
            at = self.current
            with self.prevent(DataTable.RowHighlighted):
                self.clear()
                for name, cells in rows.items():
                    self.add_row(*cells, key=name)
                if at in rows:
                    self.move_cursor(row=list(rows).index(at))
        else:
            for name, cells in rows.items():
                for column, new, old in zip(self._names, cells, self._rows[name], strict=True):
                    if new != old:
                        self.update_cell(name, column, new, update_width=True)
        self._rows = rows
        self.border_subtitle = Content(f"{len(rows)}") if rows else None

    @property
    def current(self) -> str:
        """The run under the cursor."""
        names = list(self._rows)
        return names[self.cursor_row] if 0 <= self.cursor_row < len(names) else ""

    def _fitted(self, rows: dict[str, tuple[Text, ...]]) -> dict[str, tuple[Text, ...]]:
        """Headlines cut to what the other columns leave."""
        at, many = self._names.index("headline"), [*rows.values(), tuple(map(Text, self._names))]
        used = sum(max(row[i].cell_len for row in many) + 2 for i in range(len(self._names)) if i != at)
        room = max(8, self.size.width - used - 3)
        for cells in rows.values():
            cells[at].truncate(room, overflow="ellipsis")
        return rows

    def _cells(self, info: Info, colours: dict[str, str]) -> tuple[Text, ...]:
        glyph, style = state_mark(info)
        step = f"{info.step:,}/{info.total:,}" if info.total and info.step != info.total else f"{info.total:,}"
        speed, memory = number(info.status.get("tok_s")), number(info.status.get("mem_process"))
        quiet = colours["$foreground-muted"]
        older = age(now() - info.created) if info.created else ""
        cells = (
            Text(glyph, style=colours.get(style, "")),
            Text(plain(info.name, 28 if self._names == self.COLUMNS else 18), style=colours["$foreground"]),
            Text(plain(info.recipe or "model", 14), style=quiet),
            Text(step if info.total else "-", justify="right", style=quiet),
            Text(plain(info.headline or (info.status.get("error") if info.state == "failed" else None) or "", 200)),
            Text(f"{speed:,.0f}" if speed else "-", justify="right", style=quiet),
            Text(f"{memory:.2f}" if memory else "-", justify="right", style=quiet),
            Text(older, justify="right", style=quiet),
        )
        return tuple(cell for name, cell in zip(self.COLUMNS, cells, strict=True) if name in self._names)

    @on(DataTable.RowSelected)
    def _opened(self, event: DataTable.RowSelected) -> None:
        event.stop()
        if event.row_key.value:
            self.post_message(RunChosen(event.row_key.value, True))

    @on(DataTable.RowHighlighted)
    def _moved(self, event: DataTable.RowHighlighted) -> None:
        event.stop()
        if event.row_key and event.row_key.value:
            self.post_message(RunChosen(event.row_key.value, False))

    def copy_text(self) -> str:
        """Tab-separated."""
        rows = [self._names, *(tuple(cell.plain for cell in row) for row in self._rows.values())]
        return "\n".join("\t".join(row) for row in rows)


class Words(VerticalScroll):
    """A pane of lines."""

    def __init__(self, title: str, id: str, empty: str) -> None:
        super().__init__(id=id, classes="pane")
        self.border_title, self._empty = title, empty
        self._shown: Any = None

    def compose(self) -> ComposeResult:
        yield Static(self._empty, classes="words")

    def show(self, lines: Sequence[Line], subtitle: str = "") -> None:
        """Bring it up to date."""
        if (lines, subtitle) == self._shown:
            return
        self._shown = (list(lines), subtitle)
        self.border_subtitle = Content(subtitle) if subtitle else None
        self.query_one(Static).update(content(lines) if lines else self._empty)

    def copy_text(self) -> str:
        """All of it."""
        return "\n".join("".join(text for text, _ in line) for line in (self._shown or [[]])[0])


class Tree(Words):
    """The models by their parents."""

    HELP = "## Lineage\nWhich model was made from which. A parent that is not here stands at the root by its name."

    def __init__(self) -> None:
        super().__init__("lineage", "road-tree", "[$foreground-muted]No models yet.[/]")

    def draw(self, leaves: Sequence[Leaf]) -> None:
        """Show the tree."""
        count = sum(leaf.info is not None for leaf in leaves)
        self.show([tree_line(leaf) for leaf in leaves], f"{count} model{'s' * (count != 1)}" if count else "")


def tree_line(leaf: Leaf) -> Line:
    """A line of the tree as pieces."""
    name = leaf.name.translate(CONTROLS)
    line: Line = [(leaf.branch, "$border")]
    if leaf.info is None:
        return [*line, (plain(name, 48), LABEL), (f"  {leaf.note}", LABEL)]
    glyph, style = state_mark(leaf.info)
    line += [(f"{glyph} ", style), (name, VALUE)]
    facts = [plain(fact, 40) for fact in (leaf.info.recipe, leaf.note, leaf.info.headline) if fact]
    return [*line, (f"  {'  '.join(facts)}", LABEL)]


class Tail(Words):
    """The last rows of the live run, or of the one under the cursor."""

    HELP = (
        "## Log\nThe last steps of the run that lives, or of the run under the cursor. Train has all of it (`2`, `l`)."
    )

    def __init__(self) -> None:
        super().__init__("log", "road-log", "[$foreground-muted]What a run does shows up here.[/]")

    def on_mount(self) -> None:
        self.anchor()  # the last lines are what matters

    def draw(self, name: str, rows: Sequence[tuple[str, str]]) -> None:
        """Show rows of (time, words)."""
        lines: list[Line] = [[(f"{clock} ", LABEL), (words, VALUE)] for clock, words in rows]
        self.show(lines, plain(name, 30))
