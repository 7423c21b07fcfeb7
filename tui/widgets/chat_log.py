"""A column of a chat: the model's name and figures around it, its messages inside."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tui.data import notes
from tui.data.chats import Tree
from tui.data.talk import Side, Talk
from tui.data.watch import now
from tui.widgets.chat_start import Start
from tui.widgets.token_lines import plain
from tui.widgets.token_text import Note, TokenText

FIVE = range(1, 6)
FRAME = 0.5  # seconds between two drawings of the frame while a reply comes: each draws the whole column again
MOST = 60  # messages drawn; those before come when asked for


class Said(TokenText):
    """One message; for a base model a page: what was typed, and how the model went on."""

    DEFAULT_CSS = """
    Said { margin: 0 0 1 0; padding: 0 1; }
    Said:focus { background: $surface; }
    Said.-user { background: $panel; }
    Said.-user:focus { background: $block-cursor-blurred-background; }
    Said > .token-text--lead { text-style: none; }
    Said.-page { color: $primary; }
    Said.-page.-coloured { color: $foreground; }
    Said.-page > .token-text--lead { color: $foreground; text-style: bold; }
    """
    HELP = """
# A message

`left` and `right` walk over the tokens of a reply, `shift` with them to the next one that surprised the model; the line
above the input shows what else it might have said, and `1`-`5` (or `enter`) continue from there. `space` unfolds thoughts.
`e` edits, `c` lets a reply go on, `y` copies, `up` and `down` go to other messages.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "line(-1)", "Message before", show=False, id="said.up"),
        Binding("down,j", "line(1)", "Next message", show=False, id="said.down"),
        Binding("e", "do('edit')", "Edit this message", show=False, id="said.edit"),
        Binding("c", "do('go_on')", "Let this reply go on", show=False, id="said.go_on"),
        Binding("enter", "do('alternatives')", "Choose an alternative", show=False, id="said.alternatives"),
        *(Binding(str(i), f"take({i})", f"Continue from alternative {i}", show=False, id=f"said.take_{i}") for i in FIVE),
    ]  # fmt: skip

    @dataclass
    class Wanted(Message):
        """An action on this message: up, down, edit, go_on, alternatives, prev, next, or take with a number."""

        said: "Said"
        action: str
        other: int = 0

    def __init__(self, slot: str, number: int, classes: str):
        super().__init__(classes=classes)
        self.slot, self.number = slot, number

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "line":
            return True
        if action == "take" or (action == "do" and parameters == ("alternatives",)):
            return self.place is not None and bool(self.tokens) and bool(self.tokens[self.place].top)
        return super().check_action(action, parameters)

    def action_line(self, by: int) -> None:
        """A row of tokens up or down; without a token cursor, to another message."""
        if self.place is None:
            self.post_message(self.Wanted(self, "up" if by < 0 else "down"))
        else:
            super().action_line(by)

    def action_do(self, what: str) -> None:
        """Tell the screen."""
        self.post_message(self.Wanted(self, what))

    def action_take(self, other: int) -> None:
        """Continue from an alternative of the token under the cursor."""
        self.post_message(self.Wanted(self, "take", other - 1))

    def on_token_text_clicked(self, message: TokenText.Clicked) -> None:
        self.post_message(self.Wanted(self, message.action))

    def paint(self, tree: Tree, side: Side) -> None:
        """Show the message as it is now."""
        node = tree.nodes[self.number]
        lead = node.content if node.role == "user" or node.edited else ""
        if node.page and not node.edited:
            lead = tree.nodes[node.parent].content
        elif node.page:
            lead = tree.nodes[node.parent].content + node.content
        waits = node.role == "assistant" and not node.stop
        self.show(node.tokens, lead, self._notes(tree, side, waits), not waits)

    def _notes(self, tree: Tree, side: Side, waits: bool) -> list[Note]:
        node, out = tree.nodes[self.number], list[Note]()
        at = self.number
        if len(tree.siblings(at)) < 2 and node.page:  # the page's own words have branches
            at = node.parent
        beside = tree.siblings(at)
        if len(beside) > 1:
            out += [Note("‹", "action", "prev"), Note(f"{beside.index(at) + 1}/{len(beside)}")]
            out += [Note("›", "action", "next"), Note("  ")]
        if node.failed:
            return [*out, Note(plain(f"{node.failed}; ctrl+r asks again, ctrl+e edits").replace("\n", " "), "warning")]
        if node.role == "user":
            if node.note:
                out.append(Note(f"watch: {node.note}", "think"))
        elif waits and not node.tokens:
            out.append(Note("waiting for the model" if self.number in side.waiting else "reading the prompt ..."))
        else:
            if node.page and (note := tree.nodes[node.parent].note):
                out.insert(0, Note(f"watch: {note}\n", "think"))
            words = notes.facts(tree, self.number, side, self.coloured)
            out.append(Note(plain(words), "warning" if node.stop == "lost" else ""))
        return out


class Column(Vertical):
    """One model and what was said with it."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    Column { width: 1fr; height: 1fr; }
    Column > #state { height: auto; padding: 0 1; color: $foreground-muted; }
    Column > #log {
        height: 1fr; padding: 1 0 0 0; scrollbar-size-vertical: 1; scrollbar-background: $background;
        scrollbar-color: $border;
    }
    Column > #state.-wrong { color: $warning; }
    Column #earlier { color: $accent; height: 1; margin: 0 1 1 1; display: none; }
    """

    class Ready(Message):
        """The column is there, and can be drawn."""

        def __init__(self, column: "Column"):
            super().__init__()
            self.column = column

    def __init__(self, slot: str, talk: Talk):
        super().__init__(classes="pane")
        self.slot, self.talk = slot, talk
        self.leaving = False  # it is being taken away
        self.saids: list[Said] = []
        self._tree: Tree | None = None
        self._folds: dict[int, dict[int, bool]] = {}  # what was unfolded of each message stays so when it comes back
        self.most, self.following = MOST, True
        self._words, self._framed = ("", ""), 0.0

    def compose(self) -> ComposeResult:
        yield Static(id="state", markup=False)
        with VerticalScroll(id="log", can_focus=False):
            yield Start()
            yield Static("", id="earlier", markup=False)

    def on_mount(self) -> None:
        self.post_message(self.Ready(self))

    @property
    def log_view(self) -> VerticalScroll:
        return self.query_one("#log", VerticalScroll)

    @property
    def side(self) -> Side:
        return self.talk.sides[self.slot]

    def paint(self, coloured: bool) -> None:
        """Show the column as it is now: messages that went go, new ones come."""
        if not self.is_mounted:
            return
        tree, kept = self.talk.tree(self.slot), 0
        path = self._path(tree)
        hidden = max(0, len(path) - self.most)
        wanted = path[hidden:]
        if tree is self._tree:
            for said, want in zip(self.saids, wanted, strict=False):
                if (said.number, said.has_class("-page")) != want:
                    break
                kept += 1
        else:
            self._folds = {}
        self._tree = tree
        for said in self.saids[kept:]:
            said.remove()
        new = []
        for number, page in wanted[kept:]:
            classes = "-page" if page else "-user" if tree.nodes[number].role == "user" else "-reply"
            new.append(Said(self.slot, number, classes))
            new[-1].folds = self._folds.setdefault(number, {})
        self.saids = [*self.saids[:kept], *new]
        for said in self.saids:
            said.coloured = coloured
            said.set_class(coloured, "-coloured")
            said.paint(tree, self.side)
        if new:
            self.log_view.mount(*new)
        start, earlier = self.query_one(Start), self.query_one("#earlier", Static)
        start.display, earlier.display = not path, hidden > 0
        if not path:
            start.paint(self.side)
        if hidden:
            earlier.update(f"{hidden} earlier messages: click to see them")
        self.state()
        self.frame()
        self.call_after_refresh(self._settle)

    def state(self) -> None:
        """How the load goes, or what became of the model."""
        side, line = self.side, self.query_one("#state", Static)
        line.display = side.state in ("loading", "failed", "gone")
        line.set_class(side.state != "loading", "-wrong")
        line.update(Content(plain(notes.state(side, max(20, self.size.width - 4)))))

    def _path(self, tree: Tree) -> list[tuple[int, bool]]:
        """The messages to draw, and whether each is a page: those hold what was typed too."""
        path = tree.path()
        pages = {tree.nodes[i].parent for i in path if tree.nodes[i].page}
        return [(i, tree.nodes[i].page) for i in path if i not in pages]

    def grow(self) -> None:
        """Draw what has come of replies on their way; cheap."""
        tree = self.talk.tree(self.slot)
        for said in reversed(self.saids):
            node = tree.nodes[said.number]
            if node.role == "assistant":
                said.room = max(1, min(6, self.size.height // 6))
                said.paint(tree, self.side)
                if node.stop:
                    break
        self._settle()
        if now() - self._framed > FRAME:
            self.frame()

    def frame(self) -> None:
        """The words around the column, where they changed."""
        side, tree = self.side, self.talk.tree(self.slot)
        wide = self.size.width >= 70 or not self.size.width
        letter = f"{side.slot.upper()} · " if len(self.talk.sides) > 1 else ""
        title = f"{letter}{side.title}" if side.model else "no model"
        if side.state == "ready":
            title += f" · {notes.brief_kind(side)}" if wide else "" if side.chats else " · base"
        self._framed = now()
        words = (title, notes.subtitle(tree, side, self.talk.draw, wide))
        if words != self._words:
            self._words = words
            self.border_title, self.border_subtitle = (Content(plain(text)) for text in words)

    def follow(self) -> None:
        """Down to the newest message, and stay there while it grows."""
        self.following = True
        self.call_after_refresh(self._settle)

    def _settle(self) -> None:
        """Hold on to the end where there is more than fits: textual draws less than that at the bottom of an anchored
        pane, and a chat begins at the top."""
        if not self.query("#log"):
            return  # the window is closing
        log = self.log_view
        if not self.saids and log.is_anchored:
            log.anchor(False)
            log.scroll_to(y=0, animate=False, immediate=True)
        elif self.following and self.saids and log.max_scroll_y > 0:
            self.following = False
            log.anchor()
        elif log.is_anchored and log.max_scroll_y == 0:
            self.following = True
            log.anchor(False)
            log.scroll_to(y=0, animate=False, immediate=True)

    @property
    def hovered(self) -> bool:
        """Whether the mouse is over it."""
        over = self.app.mouse_over
        return over is not None and self in over.ancestors_with_self

    def turns(self) -> list[int]:
        """The rows at which turns begin, and the one after the last."""
        log = self.log_view
        tops = [said.virtual_region.y for said in self.saids if not said.has_class("-reply")]
        return [*tops, log.virtual_size.height]

    def on_click(self, event: events.Click) -> None:
        if event.widget is not None and event.widget.id == "earlier":
            self.most += MOST
            self.paint(bool(self.saids and self.saids[0].coloured))


def aligned(y: float, mine: Sequence[int], others: Sequence[int]) -> float:
    """The row of another column at which the same turn has got as far as row `y` of this one."""
    turn = min(max(0, bisect.bisect_right(mine, y) - 1), len(mine) - 2, len(others) - 2)
    if turn < 0:
        return y
    share = (y - mine[turn]) / max(1, mine[turn + 1] - mine[turn])
    return others[turn] + share * (others[turn + 1] - others[turn])
