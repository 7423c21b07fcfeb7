"""The table of tic-tac-toe behind the window: what a board tells, move by move, and what is refused. The real process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import weights
from recipes.lessons.tictactoe import Game
from recipes.playing import board
from tests.conftest import REPO
from tests.recipes.taught import imitator
from tests.recipes.test_play import table

Event = dict[str, Any]


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights root with `player`, which has seen a little of the teacher."""
    root = tmp_path_factory.mktemp("playing")
    tokenizer, mind = imitator(2)
    weights.save(root / "player", mind.network, tokenizer)
    return root


def test_a_board_tells_what_the_model_saw_and_what_perfect_play_says(player: Path) -> None:
    at = table(player, "X", 9, 5)
    told = board(at)
    assert (told["squares"], told["last"], told["before"], told["slip"]) == ([""] * 9, None, None, 0)
    assert told["worth"] == [0] * 9
    assert sum(told["view"]) == pytest.approx(1, abs=1e-4)
    at.take(1)
    told = board(at)  # X in a corner, O in the other: the centre alone would have held the draw
    assert (told["moves"], told["last"], told["slip"], told["perfect"]) == ([1, 9], 9, 1, [3, 7])
    assert told["worth"][0] is None
    assert max(value for value in told["worth"] if value is not None) == 1
    assert told["before"] == [pytest.approx(at.mind.view(Game((1,)))[i], abs=1e-5) for i in range(10)]
    assert told["view"] == [pytest.approx(at.mind.view(Game((1, 9)))[i], abs=1e-5) for i in range(10)]
    at.take(3)
    assert board(at)["slip"] == 0  # it was lost already


def test_a_game_that_ended(player: Path) -> None:
    at = table(player, "X", 4, 5)
    for square in (1, 2, 3):
        at.take(square)
    told = board(at)
    assert (told["result"], told["line"], told["view"], told["perfect"], told["ended"]) == (
        "X",
        [1, 2, 3],
        None,
        [],
        [1, 0, 0],
    )
    assert told["last"] is None  # the person made the last move
    for foul in (1, 0):
        at = table(player, "X", foul)
        at.take(1)
        told = board(at)
        assert (told["illegal"], told["result"], told["moves"], told["last"]) == (True, "X", [1, foul], foul)
        assert (told["slip"], told["line"], told["ended"]) == (1, [], [1, 0, 0])
    at = table(player, "O", 1, 2, 3)
    for square in (4, 5):
        at.take(square)
    told = board(at)
    assert (told["result"], told["last"], told["line"], told["ended"]) == ("X", 3, [1, 2, 3], [0, 0, 1])


class Child:
    """The process, asked and answered line by line."""

    def __init__(self, root: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recipes.playing"], cwd=REPO, env=os.environ | {"LAB_HOME": str(root)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, **request: Any) -> Event:
        """The first event after a request that does not just say who sits there."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        while True:
            told: Event = json.loads(self.process.stdout.readline())
            if told["event"] != "seated":
                return told


@pytest.fixture
def child(player: Path) -> Iterator[Child]:
    """Ends with its pipe."""
    one = Child(player)
    yield one
    assert one.process.stdin
    one.process.stdin.close()
    assert one.process.wait(10) == 0


def test_requests_and_what_is_refused(child: Child) -> None:
    assert "nobody sits" in child(do="take", square=5)["message"]
    assert "no such run" in child(do="sit", model="nobody")["message"]
    told = child(do="sit", model="player", me="O")
    assert (told["event"], told["me"], len(told["moves"])) == ("board", "O", 1)
    told = child(do="begin", me="X")
    assert told["moves"] == []
    told = child(do="take", square=5)
    assert told["moves"][0] == 5
    kept = told["moves"]
    assert child(do="take", square=5)["event"] in ("refused", "board")
    told = child(do="sit", model="player", temp=1.0)  # the game goes on
    assert told["moves"] == kept
    assert child(do="undo")["moves"] == []
    assert child(do="undo") == {"event": "refused", "message": "there is no move of yours to take back"}
    assert child(do="take", square="middle")["event"] == "refused"
    assert child(do="dance")["message"] == "unknown request 'dance'"
