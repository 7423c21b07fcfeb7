"""Tic-tac-toe against a model: who can be played against, how a game stands, what is said of it. No Textual.

The game itself, the model and the perfect player live in a child process (recipes/playing.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lab.runs import Info
from tui.data.charts import number
from tui.data.client import Event, Process
from tui.data.details import details

RECIPE = "selfplay"
NOBODY = "No model that plays yet: `lab selfplay` makes one in three to four minutes; n starts it here."
Pieces = list[tuple[str, str]]
SHOWN = 3  # of the moves it held most probable


class Opponent(NamedTuple):
    """A model to play against: a run as it ended (`step` None), or one of its earlier selves. `note`: "imitates" where it has
    not yet played a single game, "untrained" where it has not even seen one."""

    run: str
    step: int | None
    note: str = ""

    @property
    def model(self) -> str:
        """What loads it."""
        return self.run if self.step is None else f"{self.run}@{self.step}"

    @property
    def words(self) -> str:
        """In a list."""
        return "as it ended" if self.step is None else f"step {self.step:,} {self.note}".rstrip()


def opponents(runs: Sequence[Info]) -> list[Opponent]:
    """The selves of every run of self-play, newest run and newest self first."""
    found = []
    for info in runs:
        if info.recipe != RECIPE:
            continue
        known = details(info.folder)
        first = number(known.config.get("imitation_iters")) or 0
        if (info.folder / "model.safetensors").exists():
            found.append(Opponent(info.name, None))
        for step in reversed(known.checkpoints):
            found.append(Opponent(info.name, step, "" if step > first else "imitates" if step else "untrained"))
    return found


@dataclass(frozen=True)
class Board:
    """How a game stands; what each field means stands in recipes/playing.py."""

    squares: tuple[str, ...]
    moves: tuple[int, ...]
    me: str
    turn: str
    result: str | None
    illegal: bool
    line: tuple[int, ...]
    view: tuple[float, ...] | None
    last: int | None
    before: tuple[float, ...] | None
    worth: tuple[int | None, ...]
    perfect: tuple[int, ...]
    slip: int
    ended: tuple[int, ...]


def board_of(event: Event) -> Board:
    """The board that an event tells."""
    told: dict[str, Any] = {name: event[name] for name in Board.__dataclass_fields__}
    for name, value in told.items():
        told[name] = tuple(value) if isinstance(value, list) else value
    return Board(**told)


@dataclass
class Play:
    """A person, a model and the process that they play in. `hear` is called from another thread with every event; hand each
    to `take_in` on the thread that owns this."""

    hear: Callable[[Event], None]
    state: str = "empty"  # empty, loading, ready, failed, gone
    words: str = ""  # why there is no model, why a move could not be made
    model: str = ""  # what was asked for
    board: Board | None = None
    temp: float = 0.0
    process: Process | None = field(default=None, repr=False)

    def sit(self, model: str) -> None:
        """Another model takes the place at the board; the game goes on."""
        self.model, self.state, self.words = model, "loading", ""
        if self.process is None:
            self.process = Process(self.hear, "recipes.playing")
        self.words = self.process.begin()
        if self.words:
            self.state = "failed"
        else:
            self._ask("sit", model=model, temp=self.temp, me=self.board.me if self.board else "X")

    def take(self, square: int) -> None:
        """The person's move."""
        self._move("take", square=square)

    def undo(self) -> None:
        """The person's last move is taken back."""
        self._move("undo")

    def begin(self, me: str) -> None:
        """A new game, as X or O."""
        self._move("begin", me=me)

    def turn_temp(self) -> None:
        """It takes its most probable move, or draws from its probabilities as it did in training."""
        self.temp = 1.0 - self.temp
        self._move("temp", temp=self.temp)

    def _move(self, what: str, **more: Any) -> None:
        self.words = ""
        if self.state in ("gone", "failed") and self.model:
            self.sit(self.model)  # its process ended: a new game with the same model
        elif self.state == "ready":
            self._ask(what, **more)

    def _ask(self, what: str, **more: Any) -> None:
        assert self.process is not None
        self.process.ask({"do": what, **more})

    def take_in(self, event: Event) -> None:
        """What the process tells."""
        kind = event.get("event")
        if kind == "board":
            self.board, self.state = board_of(event), "ready"
        elif kind == "refused":
            self.words = str(event["message"])
        elif kind == "failed":
            self.words, self.state = str(event["message"]), "failed"
        elif kind == "gone":
            self.words, self.state, self.board = str(event["message"]), "gone", None

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.close()


# -- in words --------------------------------------------------------------------------------------------------------


def chance(p: float) -> str:
    """A probability in whole per cent: 87 %, <1 %."""
    return "<1 %" if 0 < p < 0.005 else f"{100 * p:.0f} %"


def headline(board: Board) -> Pieces:
    """Whose move it is, or how it ended."""
    if board.result is None:
        return [(f"You are {board.me}", "bold"), ("; your move.", "")]
    if board.illegal:
        move = board.moves[-1]
        what = f"{move}, which is taken" if move else "no square at all"
        return [(f"It plays {what}", "bad"), (": an illegal move. ", ""), ("You win.", "good")]
    said = {board.me: ("You win.", "good"), "draw": ("A draw.", "warn")}
    return [said.get(board.result, ("It wins.", "bad"))]


def thought(board: Board) -> list[Pieces]:
    """What the model held probable when it last moved, most probable first, and how much of that no rule allows."""
    if board.before is None or board.last is None:
        return [[("It has not moved yet.", "muted")]]
    p = board.before
    first: Pieces = [
        ("It took ", "muted"),
        (str(board.last or "no square"), "bold"),
        (f" ({chance(p[board.last])})", ""),
    ]
    rest = sorted((i for i in range(1, 10) if i != board.last and p[i] >= 0.005), key=lambda i: -p[i])[:SHOWN]
    if rest:
        first += [("; next ", "muted"), (", ".join(f"{i} ({chance(p[i])})" for i in rest), "")]
    taken = p[0] + sum(p[move] for move in board.moves[:-1] if 1 <= move <= 9)
    return [first, [("on no free square ", "muted"), (chance(taken), "warn" if taken >= 0.005 else "")]]


WORTH = {  # of one square, of several
    1: ("wins", "win"),
    0: ("holds a draw", "hold a draw"),
    -1: ("loses against perfect play", "lose against perfect play"),
}


def slipped(board: Board) -> str:
    """What the model gave away with its last move, "" for nothing."""
    if not board.slip:
        return ""
    if board.illegal:
        return "broke the rules"
    mine = max((value for value in board.worth if value is not None), default=-1)
    return "gave away a win" if mine == 0 else "gave away a draw" if board.slip == 1 else "turned a win into a loss"


def hints(board: Board) -> list[Pieces]:
    """What perfect play says: of the model's last move, and of the position."""
    lines: list[Pieces] = []
    if board.last is not None:
        slip = slipped(board)
        lines.append([("its move ", "muted"), (slip, "bad") if slip else ("kept what it had", "good")])
    if board.perfect:
        worth = max(value for value in board.worth if value is not None)
        everywhere = len(board.perfect) == sum(value is not None for value in board.worth) > 1
        which = "any square" if everywhere else ", ".join(map(str, board.perfect))
        many = len(board.perfect) > 1 and not everywhere
        lines.append([("perfect play ", "muted"), (which, "accent"), (f" {WORTH[worth][many]}", "")])
    return lines


def score(board: Board) -> Pieces:
    """The games of this sitting."""
    won, drawn, lost = board.ended
    return [("won ", "muted"), (str(won), "good"), ("  drawn ", "muted"), (str(drawn), "warn"), ("  lost ", "muted"),
            (str(lost), "bad")]  # fmt: skip


def manner(temp: float) -> Pieces:
    """How it chooses."""
    return [("it ", "muted"), ("draws from its probabilities" if temp else "takes its most probable move", "")]
