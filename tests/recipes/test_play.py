"""`lab play`: what a person types, what the terminal shows, what is refused; the table without a terminal."""

import re
from pathlib import Path

import numpy as np
import pytest

from lab import weights
from lab.runs import write_atomic
from recipes.arena import Choice, Mind, notation
from recipes.commands.play import Table, chances, drawn, outcome
from recipes.lessons.tictactoe import Game
from tests.conftest import REPO, Lab
from tests.recipes.conftest import Here, Refused
from tests.recipes.taught import imitator

BOARD = " {} | {} | {}\n---+---+---\n {} | {} | {}\n---+---+---\n {} | {} | {}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights root with `player`, which has seen a little of the teacher."""
    root = tmp_path_factory.mktemp("play")
    tokenizer, mind = imitator(30)
    weights.save(root / "player", mind.network, tokenizer)
    write_atomic(root / "player" / "run.json", '{"recipe": "selfplay", "config": {}}')
    return root


@pytest.fixture
def player(made: Path, home: Path) -> Path:
    """That model in this test's weights root."""
    (home / "player").symlink_to(made / "player")
    return home / "player"


class Script(Mind):
    """A model that plays these moves, whatever its network says."""

    moves: tuple[int, ...] = ()

    def choose(self, games: list[Game], r: np.random.Generator) -> list[Choice]:  # type: ignore[override]
        first, *rest = self.moves
        self.moves = tuple(rest)
        return [Choice(first, 0)]


def table(made: Path, me: str, *moves: int) -> Table:
    model = weights.load(made / "player")
    mind = Script(model.network, notation(model.tokenizer))
    mind.moves = moves
    return Table(mind, me, 0)


def test_a_game_move_by_move_and_back(made: Path) -> None:
    at = table(made, "X", 1, 2, 3)
    at.take(5)
    assert at.game.moves == (5, 1)
    assert at.last is not None
    assert at.last[0] == 1
    assert at.last[1] == pytest.approx(at.mind.view(Game((5,)))[1])
    for square, says in ((5, "5 is not free; free are 2, 3, 4"), (1, "1 is not free")):
        with pytest.raises(ValueError, match=says):
            at.take(square)
    at.take(9)
    at.undo()
    assert at.game.moves == (5, 1)
    at.undo()
    assert at.game == Game()
    with pytest.raises(ValueError, match="no move of yours"):
        at.undo()


def test_ends_are_counted_and_taken_back(made: Path) -> None:
    at = table(made, "X", 1, 2, 4)
    for square in (5, 3, 7):
        assert outcome(at) == ""
        at.take(square)
    assert at.game.moves == (5, 1, 3, 2, 7)
    assert outcome(at).startswith("You win.  (won 1, drawn 0, lost 0")
    with pytest.raises(ValueError, match="the game is over"):
        at.take(9)
    at.undo()
    assert (at.ended, at.game.moves) == ([], (5, 1, 3, 2))
    lost = table(made, "O", 1, 2, 3)
    assert lost.game.moves == (1,)
    lost.take(5)
    lost.take(9)
    assert outcome(lost).startswith("The model wins.  (won 0, drawn 0, lost 1")


@pytest.mark.parametrize(("foul", "says"), [(5, "plays 5, which is taken"), (0, "plays no square at all")])
def test_a_foul_of_the_model_loses(made: Path, foul: int, says: str) -> None:
    at = table(made, "X", foul)
    at.take(5)
    assert (at.game.result, at.ended) == ("X", ["won"])
    assert says in outcome(at)
    at.undo()
    assert (at.game, at.ended) == (Game(), [])


def test_what_is_drawn() -> None:
    assert drawn(Game((5, 1))) + "\n" == BOARD.format(*"O234X6789")
    shown = chances({0: 0.01} | {i: 0.11 for i in range(1, 10)})
    assert shown.splitlines()[0] == "1:  11 %  2:  11 %  3:  11 %"
    assert shown.splitlines()[-1] == "no square at all: 1 %"
    assert len(chances({0: 0.0} | {i: 1 / 9 for i in range(1, 10)}).splitlines()) == 3


def test_a_game_from_standard_input(here: Here, player: Path) -> None:
    said = here("play", "--seed", "1", stdin=b"5\n\np\nu\n?\nn\nx\nq\n3\n")
    assert said.code == 0
    assert said.out.startswith("\n" + BOARD.format(*"123456789"))
    assert "You are X; your move." in said.out
    assert re.search(r"\nThe model takes [1-46-9] \(\d+ %\)\.\n", said.out)
    assert "What the model would play in your place, as X:\n1:" in said.out
    assert "You are O; your move." in said.out  # n changed the sides
    assert "take your last move back" in said.err
    assert said.out.count("---+---+---") == 2 * 5  # empty, 5, u, n, x; what came after q is not read


def test_wrong_input_costs_one_line_each_and_the_game_goes_on(here: Here, player: Path) -> None:
    typed = ["0", "10", "a", "5 5", "-1", "²", "u", "\x1b[2J" * 30, "5"]
    said = here("play", "--model", "player", stdin="\n".join(typed).encode() + b"\n\xff\xfe\n5\n")
    assert said.code == 0
    lines = said.err.splitlines()[1:]
    assert len(lines) == len(typed) - 1 + 2
    assert lines[0] == "0: type a square from 1 to 9, or ? for help"
    assert lines[6] == "there is no move of yours to take back"
    assert lines[-1].startswith("5 is not free; free are ") or "over" in lines[-1]
    assert "\x1b" not in said.err
    assert max(map(len, lines)) < 100
    assert " | X | " in said.out


def test_probabilities_on_every_move(here: Here, player: Path) -> None:
    shown = here("play", "--show", "--me", "O", "--temp", "1", "--seed", "3", stdin=b"")
    assert shown.code == 0
    assert "The model takes " in shown.out or "it loses" in shown.out
    assert here("play", "--show", "--me", "O", "--temp", "1", "--seed", "3", stdin=b"").out == shown.out


def test_a_base_model_of_the_pocket_world_plays_too(here: Here) -> None:
    said = here("play", "--model", REPO / "weights" / "pocket-base", stdin=b"5\np\n")
    assert said.code == 0, said.err
    assert "The model takes " in said.out
    views = [int(n) for n in re.findall(r"\d: +(\d+) %", said.out)]
    assert 90 <= sum(views) <= 105  # what is no square takes the rest


def test_refusals(refused: Refused, home: Path, chat_model: Path) -> None:
    refused("play", says="no model that plays yet; make one with `lab selfplay`")
    refused("play", "--model", "nobody", says="nobody: no such folder")
    refused("play", "--model", chat_model, says="chatty knows no squares as tokens")
    refused("play", "--me", "Z", says="--me Z: choose one of X, O")
    refused("play", "--temp", "-1", says="--temp -1.0: must be 0 or more")


@pytest.mark.slow
def test_in_a_process_of_its_own(cli: Lab, player: Path) -> None:
    done = cli("play", stdin="5\n")
    assert done.returncode == 0
    assert "The model takes" in done.stdout
    assert "Traceback" not in done.stderr
