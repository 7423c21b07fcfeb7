"""Play: a real model that has seen a little of the teacher, the real process, keys and mouse, what is said of a game."""

import json
import shutil
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from lab import weights
from lab.runs import inspect, write_atomic
from tests.recipes.taught import imitator
from tests.tui.conftest import make_run, screen_text
from tests.tui.test_start import drive
from tui.app import LabApp
from tui.data import play
from tui.data.play import Board, Opponent
from tui.palette import Places
from tui.screens.play import PlayScreen
from tui.screens.start import StartScreen
from tui.widgets.play_board import PlayBoard

Go = Callable[[Pilot[None], LabApp], Coroutine[Any, Any, None]]
FLAT = (0.0, *(1 / 9,) * 9)
BOARD = Board(
    ("X", "", "", "", "", "", "", "", "O"), (1, 9), "X", "X", None, False, (), (0.02, 0.0, 0.1, 0.5, *(0.06,) * 6, 0.02), 9,
    (0.01, 0.03, *(0.06,) * 7, 0.54), (None, -1, 1, -1, 0, 0, 1, 0, None), (3, 7), 1, (2, 1, 0),
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of self-play: its model, and two earlier selves that know nothing."""
    folder = tmp_path_factory.mktemp("play") / "selfplay-1"
    tokenizer, mind = imitator(20)
    weights.save(folder, mind.network, tokenizer)
    _, new = imitator(1)
    for step in (0, 40):
        new.network.save_weights(str(_folder(folder, step) / "model.safetensors"))
    record = {"recipe": "selfplay", "config": {"imitation_iters": 40, "iters": 40}, "created": 1.0, "charts": []}
    write_atomic(folder / "run.json", json.dumps(record))
    return folder


def _folder(folder: Path, step: int) -> Path:
    found = folder / "checkpoints" / f"{step:06d}"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def player(made: Path, home: Path) -> Path:
    """That run in this test's weights root."""
    shutil.copytree(made, home / "selfplay-1")
    return home


async def until(pilot: Pilot[None], true: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.02)
    await pilot.pause()


async def opened(pilot: Pilot[None], app: LabApp) -> PlayScreen:
    """Play, with somebody at the board."""
    await until(pilot, lambda: isinstance(app.screen, PlayScreen) and app.screen.play.board)
    assert isinstance(app.screen, PlayScreen)
    return app.screen


def the(screen: PlayScreen) -> Board:
    assert screen.play.board is not None
    return screen.play.board


# -- words -------------------------------------------------------------------------------------------------------------


def text(line: play.Pieces) -> str:
    return "".join(words for words, _ in line)


def other(**changes: Any) -> Board:
    return Board(**({name: getattr(BOARD, name) for name in Board.__dataclass_fields__} | changes))


def test_what_is_said_of_a_game() -> None:
    assert text(play.headline(BOARD)) == "You are X; your move."
    assert [text(line) for line in play.thought(BOARD)] == [
        "It took 9 (54 %); next 2 (6 %), 3 (6 %), 4 (6 %)", "on no free square 4 %",
    ]  # fmt: skip
    assert [text(line) for line in play.hints(BOARD)] == ["its move gave away a draw", "perfect play 3, 7 win"]
    assert text(play.score(BOARD)) == "won 2  drawn 1  lost 0"
    drawn = other(worth=(0, None, 0, *(None,) * 6), perfect=(1, 3), slip=0)
    assert [text(line) for line in play.hints(drawn)] == [
        "its move kept what it had", "perfect play any square holds a draw",
    ]  # fmt: skip
    assert play.slipped(other(worth=(0, *(None,) * 8), slip=1)) == "gave away a win"
    assert play.slipped(other(slip=2)) == "turned a win into a loss"
    won = other(result="X", worth=(None,) * 9, perfect=(), last=None, before=None, slip=0)
    assert text(play.headline(won)) == "You win."
    assert text(play.headline(other(result="O"))) == "It wins."
    assert text(play.headline(other(result="draw"))) == "A draw."
    taken, none = (
        other(result="X", illegal=True, moves=(1, 1), slip=1),
        other(result="X", illegal=True, moves=(1, 0), last=0),
    )
    assert text(play.headline(taken)) == "It plays 1, which is taken: an illegal move. You win."
    assert text(play.headline(none)) == "It plays no square at all: an illegal move. You win."
    assert play.slipped(taken) == "broke the rules"
    assert text(play.thought(none)[0]).startswith("It took no square (1 %)")
    assert [play.chance(p) for p in (0, 0.001, 0.256, 1)] == ["0 %", "<1 %", "26 %", "100 %"]


def test_who_can_be_played_against(player: Path) -> None:
    make_run("pretrain-1", steps=3)
    found = play.opponents([inspect(player / name) for name in ("pretrain-1", "selfplay-1")])
    assert found == [
        Opponent("selfplay-1", None), Opponent("selfplay-1", 40, "imitates"), Opponent("selfplay-1", 0, "untrained"),
    ]  # fmt: skip
    assert [one.model for one in found] == ["selfplay-1", "selfplay-1@40", "selfplay-1@0"]


# -- the window --------------------------------------------------------------------------------------------------------


def test_digits_stay_in_the_game_while_its_model_is_read(player: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("P")
        await until(pilot, lambda: isinstance(app.screen, PlayScreen) and app.screen.play.state == "loading")
        await pilot.press("5", "3")
        assert isinstance(app.screen, PlayScreen)
        screen = await opened(pilot, app)
        assert the(screen).moves == ()

    drive(go)


def test_a_game_by_keys_and_mouse(player: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("P")
        screen = await opened(pilot, app)
        assert "against selfplay-1" in screen_text(app)
        assert "You are X; your move." in screen_text(app)
        await pilot.press("5")
        await until(pilot, lambda: len(the(screen).moves) == 2)
        assert "It took " in screen_text(app)
        # A taken square is refused in words, and nothing moves.
        if the(screen).result is None:
            before = the(screen)
            await pilot.press("5")
            await until(pilot, lambda: "5 is not free" in screen_text(app))
            assert the(screen) == before
        # What stands on a free square is what the model told; the stars are the perfect player's.
        shown = screen_text(app)
        view = the(screen).view
        assert view is not None
        free = [i for i in range(1, 10) if not the(screen).squares[i - 1]]
        assert all(play.chance(view[i]) in shown for i in free)
        assert "★" not in shown
        await pilot.press("h")
        await pilot.pause()
        assert screen_text(app).count("★") == len(the(screen).perfect)
        assert "perfect play" in screen_text(app)
        await pilot.press("p")
        await pilot.pause()
        assert play.chance(view[free[0]]) not in screen.query_one(PlayBoard).copy_text()
        await pilot.press("u")
        await until(pilot, lambda: the(screen).moves == ())
        # The mouse takes the square that it points to.
        board = screen.query_one(PlayBoard)
        w, h, left, top = board._measures()
        await pilot.click(board, offset=(left + 2 * (w + 1) + w // 2 + 1, top + h // 2 + 1))
        await until(pilot, lambda: the(screen).moves[:1] == (3,))
        # As O the model begins; n changes sides again; 1 to 6 are squares here, no rooms.
        await pilot.press("o")
        await until(pilot, lambda: the(screen).me == "O" and len(the(screen).moves) == 1)
        await pilot.press("n")
        await until(pilot, lambda: the(screen).me == "X" and not the(screen).moves)
        await pilot.press("4")
        await until(pilot, lambda: the(screen).moves[:1] == (4,))
        assert app.screen is screen
        await pilot.press("d")
        await until(pilot, lambda: "draws from its probabilities" in screen_text(app))
        await pilot.press("q")
        await pilot.pause()
        assert app.current_mode == "pipeline"
        assert app.screen is not screen

    drive(go)


def test_another_self_sits_down_at_the_same_board(player: Path) -> None:
    async def go(pilot: Pilot[None], app: LabApp) -> None:
        app.open_play("selfplay-1")
        screen = await opened(pilot, app)
        await pilot.press("1")
        await until(pilot, lambda: len(the(screen).moves) == 2)
        before = the(screen)
        await pilot.press("left_curly_bracket")
        await until(pilot, lambda: screen.play.model == "selfplay-1@40" and screen.play.state == "ready")
        assert the(screen).moves == before.moves
        assert the(screen).before != before.before  # its own probabilities at the same place
        assert "only imitates its teacher" in screen_text(app)
        app.open_play("selfplay-1@0")
        await until(pilot, lambda: screen.play.model == "selfplay-1@0" and screen.play.state == "ready")
        assert "learnt nothing yet" in screen_text(app)
        await pilot.press("right_curly_bracket", "right_curly_bracket")
        await until(pilot, lambda: screen.play.model == "selfplay-1" and screen.play.state == "ready")
        # The process dies: it is said, and n goes on.
        assert screen.play.process is not None
        screen.play.process._children[-1].process.kill()
        await until(pilot, lambda: "the model process was killed" in screen_text(app))
        await pilot.press("n")
        await until(pilot, lambda: screen.play.state == "ready" and screen.play.board)
        assert the(screen).moves == ()

    drive(go)


def test_an_illegal_move_is_shown_as_such(player: Path) -> None:
    """One that has learnt nothing takes any token."""

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        app.open_play("selfplay-1@0")
        screen = await opened(pilot, app)
        for square in "123456789":
            if the(screen).result:
                break
            before = screen.play.board
            await pilot.press(square)
            await until(pilot, lambda before=before: screen.play.words or screen.play.board is not before)
        assert the(screen).illegal
        assert "an illegal move. You win." in " ".join(map(text, screen.said()))
        assert "won 1" in screen_text(app)
        await pilot.press("u")
        await until(pilot, lambda: the(screen).result is None)
        assert "won 0" in screen_text(app)

    drive(go, (80, 24))


def test_from_train_and_the_palette_and_without_a_run(player: Path, home: Path) -> None:
    make_run("pretrain-1", steps=3)

    async def go(pilot: Pilot[None], app: LabApp) -> None:
        assert "Play: against selfplay-1" in [entry.text for entry in Places(app.screen)._all()]
        app.open_train("selfplay-1")
        await until(pilot, lambda: "P Play" in screen_text(app))
        await pilot.press("P")
        await opened(pilot, app)
        await pilot.press("q")
        app.open_train("pretrain-1")
        await until(pilot, lambda: "P Play" not in screen_text(app))

    drive(go)
    shutil.rmtree(home / "selfplay-1")

    async def none(pilot: Pilot[None], app: LabApp) -> None:
        await pilot.press("P")
        await until(pilot, lambda: play.NOBODY in screen_text(app))
        await pilot.press("5", "u", "n")
        await until(pilot, lambda: isinstance(app.screen, StartScreen))

    drive(none)
