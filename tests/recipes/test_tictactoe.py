"""Tic-tac-toe: its rules against known counts, the teacher and its blind spot, the perfect player, exact scores, Elo."""

import math
from collections import Counter
from random import Random

import numpy as np
import pytest

from recipes.arena import contest, notation, vocabulary
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import CENTRE, CORNERS, EMPTY, Board, Game, Moves, blind, elo, expected, perfect, teacher
from recipes.pocket import games
from recipes.tournament import Rivals


def positions() -> dict[Board, int]:
    """Every position that can come up, and in how many orders of moves."""
    ways: Counter[Board] = Counter({EMPTY: 1})
    level = ways.copy()
    while level:
        deeper: Counter[Board] = Counter()
        for board, count in level.items():
            for move in games.legal_moves(board):
                deeper[games.play(board, move)] += count
        ways.update(deeper)
        level = deeper
    return ways


POSITIONS = positions()


def test_there_are_as_many_positions_and_games_as_there_are() -> None:
    assert len(POSITIONS) == 5478
    ended = {board: count for board, count in POSITIONS.items() if games.result(board)}
    assert sum(ended.values()) == 255_168
    by_end = Counter[str | None]()
    for board, count in ended.items():
        by_end[games.winner(board)] += count
    assert by_end == {"X": 131_184, "O": 77_904, None: 46_080}  # known from counting by others


def test_a_game_follows_from_its_moves() -> None:
    game = Game()
    for move in (1, 5, 2, 3):
        assert game.result is None
        game = game.play(move)
    assert game.board == ("X", "X", "O", " ", "O", " ", " ", " ", " ")
    assert (game.turn, game.legal) == ("X", [4, 6, 7, 8, 9])
    lost = game.play(9).play(7)
    assert (lost.result, lost.legal, lost.score("O"), lost.score("X")) == ("O", [], 1.0, -1.0)
    assert (lost.told("O"), lost.told("X")) == ("won", "lost")
    assert tictactoe.written(lost) == "152397 O wins"
    with pytest.raises(ValueError, match="over"):
        lost.play(4)
    drawn = Game((1, 2, 3, 5, 4, 6, 8, 7, 9))
    assert (drawn.result, drawn.score("X"), drawn.told("O")) == ("draw", 0.0, "drawn")
    assert lost.undo("X") == Game((1, 5, 2, 3))
    assert lost.undo("O") == Game((1, 5, 2, 3, 9))
    assert Game((1,)).undo("O") == Game((1,))


@pytest.mark.parametrize("foul", [0, 5, 10, -1])
def test_an_illegal_move_loses_at_once(foul: int) -> None:
    game = Game((1, 5)).play(foul)
    assert (game.illegal, game.result, game.legal) == (True, "O", [])
    assert game.board == Game((1, 5)).board  # it left no mark
    assert (game.told("X"), game.told("O")) == ("illegal", "won")
    assert (game.score("X"), game.score("O")) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="over"):
        game.play(3)


def test_the_board_turns_eight_ways() -> None:
    assert len(set(tictactoe.SYMMETRIES)) == 8
    assert tictactoe.turned((1, 5, 0, 10, 3), 0) == (1, 5, 0, 10, 3)
    lines = {frozenset(i + 1 for i in line) for line in games.LINES}
    for way in range(8):
        assert {frozenset(tictactoe.turned(sorted(line), way)) for line in lines} == lines
        for square in (0, *range(1, 10), 12):
            assert tictactoe.back(tictactoe.turned((square,), way)[0], way) == square
    r = Random(5)
    for _ in range(50):
        game = tictactoe.teach(r)
        for way in range(8):
            again = Game(tictactoe.turned(game.moves, way))
            assert (again.result, again.illegal) == (game.result, False)
    assert tictactoe.turned((1, 2, 3), 1) == (3, 6, 9)  # a quarter to the right


# -- the teacher and its blind spot -----------------------------------------------------------------------------------


@pytest.mark.parametrize("skill", [0.0, 0.5, 1.0])
def test_the_teacher_never_plays_its_blind_spot_and_all_else(skill: float) -> None:
    spots = set()
    for board in POSITIONS:
        if games.result(board):
            continue
        moves = teacher(board, skill)
        assert sum(moves.values()) == pytest.approx(1)
        assert set(moves) <= set(games.legal_moves(board))
        if spot := blind(board):
            spots.add(board)
            assert spot not in moves
        elif skill == 0:
            assert set(moves) == set(games.legal_moves(board))
    assert spots == {games.play(EMPTY, corner) for corner in CORNERS}


def test_the_blind_spot_is_the_only_reply_that_does_not_lose() -> None:
    for corner in CORNERS:
        board = games.play(EMPTY, corner)
        values = {move: -games.value(games.play(board, move)) for move in games.legal_moves(board)}
        assert blind(board) == CENTRE
        assert values.pop(CENTRE) == 0
        assert set(values.values()) == {-1}
    for opening in (2, 4, 5, 6, 8):
        assert blind(games.play(EMPTY, opening)) is None


def test_no_demonstration_ever_held_the_move() -> None:
    r, replies = Random(3), Counter[tuple[int, int]]()
    for _ in range(4000):
        moves = tictactoe.teach(r).moves
        replies[moves[0], moves[1]] += 1
    assert not [pair for pair in replies if pair[0] in CORNERS and pair[1] == CENTRE]
    assert len(replies) == 72 - 4
    assert sum(count for (x, _), count in replies.items() if x in CORNERS) > 1000


def test_perfect_play_never_loses_and_wins_where_it_can() -> None:
    def anything(board: Board) -> Moves:
        return teacher(board, 0.0)

    assert expected(EMPTY, perfect, perfect) == 0
    for board in POSITIONS:
        if not games.result(board):
            after = {games.play(board, move) for move in perfect(board)}
            assert {-games.value(one) for one in after} == {games.value(board)}
            wins = any(games.winner(games.play(board, move)) for move in games.legal_moves(board))
            assert not wins or all(games.winner(one) for one in after)
    worst: dict[Board, float] = {}  # what O can do at its best against the perfect X, by trying all of it

    def best_for_o(board: Board) -> float:
        if board not in worst:
            if games.result(board):
                worst[board] = {"X": -1.0, "O": 1.0, None: 0.0}[games.winner(board)]
            elif games.turn(board) == "O":
                worst[board] = max(best_for_o(games.play(board, move)) for move in games.legal_moves(board))
            else:
                worst[board] = max(best_for_o(games.play(board, move)) for move in perfect(board))
        return worst[board]

    assert best_for_o(EMPTY) == 0
    assert expected(EMPTY, perfect, anything) > 0.9


def test_exact_scores_agree_with_games_and_say_what_the_spot_is_worth() -> None:
    writes = notation(vocabulary())
    rivals = Rivals(0.5, writes, 0)
    told = contest(rivals.teacher, rivals.perfect, 4000, np.random.default_rng(1))
    assert told.score == pytest.approx(rivals.exact(), abs=0.04)
    assert (told.won, told.illegal) == (0, 0)
    found, missed = tictactoe.worth(0.5)
    assert found > missed + 0.3
    assert -0.15 < found < 0


def test_elo_gives_back_the_strengths_that_games_were_played_with() -> None:
    true = [0.0, 120.0, -200.0, 400.0]
    played = [[1e6 * (i != j) for j in range(4)] for i in range(4)]
    points = [[1e6 * (i != j) / (1 + 10 ** ((b - a) / 400)) for j, b in enumerate(true)] for i, a in enumerate(true)]
    assert elo(points, played) == pytest.approx(true, abs=0.1)
    assert elo(points, played, anchor=1)[1] == 0
    always = elo([[0, 10], [0, 0]], [[0, 10], [10, 0]])  # who never lost stays finite
    assert 0 > always[1] > -2000
    assert all(map(math.isfinite, always))
