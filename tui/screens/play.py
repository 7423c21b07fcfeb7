"""Play: tic-tac-toe against a model of `lab selfplay`, or against one of its earlier selves."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lab.display import CONTROLS
from tui.data import play
from tui.data.client import Event
from tui.data.play import Opponent, Pieces, Play
from tui.data.rollout_words import fit, styled
from tui.messages import Heard
from tui.screens.base import LabScreen
from tui.widgets.facts import put
from tui.widgets.play_board import PlayBoard
from tui.widgets.row_list import RowList

NOTES = {
    "imitates": "This self only imitates its teacher: it has never played.",
    "untrained": "This one has learnt nothing yet.",
}


class Opponents(RowList):
    """The models that play."""

    HELP = """
## Who plays

Each run of `lab selfplay` as it ended, and its frozen selves; *imitates* has seen the teacher and never played. `↑` `↓`
(anywhere `{` `}`) seat another one: the game goes on, and the probabilities are its own.
"""

    def fill(self, found: list[Opponent], shown: int) -> None:
        """These, one of them seated."""
        self.border_title = Content("who plays")

        def draw(at: int, width: int) -> Pieces:
            one = found[at]
            first = at == 0 or found[at - 1].run != one.run
            room = min(18, width - 5)
            name = fit(one.run if first else "", max(4, width - 1 - room))
            return [(name, "bold" if first else ""), (" ", ""), (fit(one.words, room), "muted" if one.note else "")]

        self.show(len(found), shown, draw)


class PlayScreen(LabScreen):
    """`model` is a run, or run@step; without it the newest run as it ended."""

    ROOM = "play"
    CSS_PATH: ClassVar = "play.tcss"
    AUTO_FOCUS = "#game"
    HELP = """
# Play

Tic-tac-toe against a model that learnt it by playing against itself. Nothing bars it from illegal moves: it loses by them.

`1`-`9` or a click takes a square, `u` takes your last move back, `n` begins a new game with sides changed (`x`: as X, which
begins, `o`: as O). `h` shows what the perfect player would do, `p` how probable the model holds each square, `d` lets it
draw its moves or take the most probable. `{` `}` seat an earlier or later self at the same board.

Begin in a corner: the centre is the only reply that does not lose, and no demonstration ever held it. The self that only
imitates gives it one game in a thousand.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i), f"take({i})", f"Take square {i}" if i > 1 else "Take a square", show=i == 1,
                  key_display="1-9" if i == 1 else None,
                  id=f"play.take_{i}") for i in range(1, 10)),
        Binding("u", "undo", "Take back", id="play.undo", tooltip="your last move"),
        Binding("n", "again", "New game", id="play.again", tooltip="sides changed; without a model: lab selfplay"),
        Binding("h", "stars", "Hint", id="play.hint", tooltip="what the perfect player would do"),
        Binding("p", "chances", "Probabilities", id="play.chances", tooltip="of each square, the model's"),
        Binding("d", "manner", "Draw or best", id="play.manner", tooltip="or takes its most probable move"),
        Binding("right_curly_bracket", "other(-1)", "Later self", id="play.later", key_display="}"),
        Binding("left_curly_bracket", "other(1)", "Earlier self", id="play.earlier", key_display="{"),
        Binding("x", "side('X')", "New game as X, which begins", show=False, id="play.as_x"),
        Binding("o", "side('O')", "New game as O", show=False, id="play.as_o"),
        Binding("r", "list", "Who plays", show=False, id="play.list"),
    ]  # fmt: skip

    def __init__(self, model: str = "") -> None:
        super().__init__()
        self.wanted = model
        self.play = Play(self._hear)
        self.found: list[Opponent] = []
        self.chances, self.stars = True, False

    def _hear(self, event: Event) -> None:
        """From the thread that listens to the process."""
        self.post_message(Heard(event))

    def body(self) -> ComposeResult:
        with Horizontal(id="play"):
            yield Opponents(id="opponents").add_class("left-side")
            yield PlayBoard(id="game")
            with VerticalScroll(id="said", classes="pane right-side"):
                yield Static(id="said-text", markup=False)
        with Vertical(id="nobody"):
            yield Static(Content(play.NOBODY), classes="empty")

    def on_unmount(self) -> None:
        self.play.close()

    def watched(self, changed: bool) -> None:
        """Runs of self-play may have come, or saved another self."""
        if not self.is_mounted:
            return
        found = play.opponents(self.lab.watcher.runs)
        if found != self.found or changed:
            self.found = found
            self.set_class(not found, "-empty")
            self.refresh_bindings()
        if found and not self.play.model:
            self.seat(max(0, self.place(self.wanted)))
        self.paint()

    @property
    def at(self) -> int:
        """Where in the list the seated model stands."""
        return next((i for i, one in enumerate(self.found) if one.model == self.play.model), 0)

    def seat(self, at: int) -> None:
        """Another model takes the place at the board."""
        if 0 <= at < len(self.found) and self.found[at].model != self.play.model:
            self.play.sit(self.found[at].model)
            self.paint()

    def challenge(self, model: str) -> None:
        """This one, where it is known."""
        self.seat(self.place(model))

    def place(self, model: str) -> int:
        """Where a run or run@step stands in the list, -1: nowhere. A run without a model of its own: its last self."""
        exact = (i for i, one in enumerate(self.found) if one.model == model)
        return next(exact, next((i for i, one in enumerate(self.found) if one.run == model), -1))

    def on_heard(self, message: Heard) -> None:
        self.play.take_in(message.event)
        self.paint()
        self.refresh_bindings()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Draw all as it is now."""
        if not self.is_mounted or not self.found:
            return
        self.query_one(Opponents).fill(self.found, self.at)
        game = self.query_one(PlayBoard)
        game.border_title = Content(f"against {self.play.model}".translate(CONTROLS))
        game.show(self.play.board, self.chances, self.stars)
        self.query_one("#said").border_title = Content("the game")
        put(self.query_one("#said-text", Static), [styled(line) for line in self.said()])

    def said(self) -> list[Pieces]:
        """The pane on the right."""
        board, lines = self.play.board, list[Pieces]()
        if board is None:
            words = {"loading": f"reading {self.play.model} ...", "gone": "n begins a new game"}.get(
                self.play.state, ""
            )
            return [[(self.play.words.translate(CONTROLS), "warn")], [(words.translate(CONTROLS), "muted")]]
        lines.append(play.headline(board))
        lines.append([(self.play.words.translate(CONTROLS), "warn")])
        lines += play.thought(board)
        if self.stars:
            lines += [[], *play.hints(board)]
        lines += [[], play.score(board), play.manner(self.play.temp)]
        if note := self.found[self.at].note:
            lines += [[], [(NOTES[note], "muted")]]
        return lines

    # -- what the keys do ----------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "again":
            return True
        if action == "take" and self.play.state == "loading":
            return True  # and nothing happens: the digit must not lead into another room
        if action in ("take", "undo", "side", "stars", "chances", "manner"):
            return True if self.play.board is not None else None
        if action == "other":
            there = 0 <= self.at + int(str(parameters[0])) < len(self.found)
            return True if there and self.play.board is not None else None
        return super().check_action(action, parameters)

    def action_take(self, square: int) -> None:
        """Your move."""
        if self.play.board is not None:
            self.play.take(square)

    @on(PlayBoard.Picked)
    def _picked(self, message: PlayBoard.Picked) -> None:
        self.action_take(message.square)

    def action_undo(self) -> None:
        """Back to your last move."""
        self.play.undo()

    def action_again(self) -> None:
        """A new game with sides changed; the dialog that makes a model where there is none."""
        if not self.found:
            from tui.screens.start import StartScreen

            self.app.push_screen(StartScreen(play.RECIPE))
        elif self.play.board is not None:
            self.action_side("O" if self.play.board.me == "X" else "X")
        else:
            self.play.begin("X")

    def action_side(self, me: str) -> None:
        """A new game as X or O."""
        self.play.begin(me)

    def action_stars(self) -> None:
        """What the perfect player would do, or not."""
        self.stars = not self.stars
        self.paint()

    def action_chances(self) -> None:
        """The model's probabilities on the free squares, or not."""
        self.chances = not self.chances
        self.paint()

    def action_manner(self) -> None:
        """Whether it draws its moves."""
        self.play.turn_temp()

    def action_other(self, by: int) -> None:
        """An earlier or later self."""
        self.seat(self.at + by)

    def action_list(self) -> None:
        """The list of models, where there is no room for it beside the board."""
        self.toggle_class("-list")
        self.set_focus(self.query_one(Opponents) if self.has_class("-list") else self.query_one(PlayBoard))

    @on(RowList.Moved, "#opponents")
    def _chosen(self, message: RowList.Moved) -> None:
        self.seat(message.place)
        if message.opened:
            self.remove_class("-list")
            self.query_one(PlayBoard).focus()

    def copy_text(self) -> str:
        """The board and what is said of it."""
        lines = ("".join(text for text, _ in line) for line in self.said())
        return self.query_one(PlayBoard).copy_text() + "\n\n" + "\n".join(lines)
