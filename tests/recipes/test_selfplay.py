"""Tic-tac-toe and `lab selfplay`: rules, the blind spot, exact scores, games in lock-step, what a step learns, the record."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lab import device, episodes, weights
from lab.learn import Learner, Schedule
from lab.loss import policy_gradient
from lab.model import Transformer
from lab.runs import checkpoints, inspect, read_lines
from lab.samples import bucketed
from recipes import selfplay
from recipes.arena import Choice, Explorer, Match, Mind, Notation, contest, matches, notation, vocabulary
from recipes.lessons.tictactoe import CORNERS, Game
from recipes.played import Played, summary, to_sample
from recipes.selfplay import Config, practise
from recipes.tournament import Rivals, Selves, blind_spot
from tests.recipes.conftest import Here, Refused
from tests.recipes.taught import imitator, report, rows, timeless

SMALL = ["--imitation-iters", "4", "--iters", "4", "--batch-size", "8", "--games", "16", "--save-every", "2"]


# -- games in lock-step -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mind() -> Mind:
    """A model that has seen a little of the teacher."""
    return imitator(40)[1]


def test_squares_are_single_tokens() -> None:
    tokenizer = vocabulary()
    assert tokenizer.vocab_size == 324
    writes = notation(tokenizer)
    assert len(set(writes.squares)) == 9
    assert tokenizer.encode("519") == [writes.squares[i - 1] for i in (5, 1, 9)]
    assert [tokenizer.piece(i) for i in tokenizer.encode("15293 X wins")[5:]] == [" X", " wins"]
    assert len(tokenizer.encode("123456789 draw")) == 10
    assert writes.ids((5, 1)) == [*tokenizer.begin, *tokenizer.encode("51")]
    assert [writes.move(i) for i in tokenizer.encode("7 X")] == [7, 0]
    assert vocabulary().fingerprint == tokenizer.fingerprint


def test_a_move_in_a_batch_is_a_move_alone(mind: Mind) -> None:
    some = [Game(moves) for moves in ((1, 5), (5, 1), (1, 5), (9, 2))]
    together = np.array(mind.logits(some))
    for row, game in zip(together, some, strict=True):
        assert np.abs(row - np.array(mind.logits([game]))[0]).max() < 2e-5
    view = mind.view(Game((1, 5)))
    assert sum(view.values()) == pytest.approx(1)
    p = np.exp(together[0] - np.logaddexp.reduce(together[0]))
    assert view[3] == pytest.approx(float(p[mind.writes.squares[2]]), abs=1e-6)


def test_what_is_drawn_has_the_probability_it_says(mind: Mind) -> None:
    chosen = mind.choose([Game((4,))] * 4000, np.random.default_rng(0))
    counts = Counter(choice.token for choice in chosen)
    for choice in {choice.token: choice for choice in chosen}.values():
        p = math.exp(choice.logp)
        assert counts[choice.token] / 4000 == pytest.approx(p, abs=5 * math.sqrt(p / 4000) + 1e-3)
        assert choice.move == mind.writes.move(choice.token)
    greedy = Mind(mind.network, mind.writes, 0.0).choose([Game((4,))] * 3, np.random.default_rng(0))
    assert len({choice.token for choice in greedy}) == 1


class Fouls:
    """As X it plays 1 and then 1 again; as O a word."""

    def __init__(self, token: int, writes: Notation):
        self.token, self.writes = token, writes

    def choose(self, games: list[Game], r: np.random.Generator) -> list[Choice]:
        return [Choice(1, 5) if game.turn == "X" else Choice(0, self.token) for game in games]


def test_illegal_moves_end_games_as_losses(mind: Mind) -> None:
    r = np.random.default_rng(0)
    rivals = Rivals(0.0, mind.writes, 0)
    as_x = matches(Fouls(3, mind.writes), rivals.teacher, 50, r)
    assert {match.game.told("X") for match in as_x} == {"illegal"}
    assert all(len(match.choices) == len(match.game.moves) for match in as_x)
    assert max(len(match.game.moves) for match in as_x) == 3
    told = contest(Fouls(3, mind.writes), rivals.teacher, 100, r)
    assert (told.illegal, told.lost, told.score, told.games) == (1.0, 1.0, -1.0, 100)
    back = contest(rivals.teacher, Fouls(3, mind.writes), 100, r)
    assert (back.illegal, back.won) == (0.0, 1.0)


def test_the_same_seed_gives_the_same_games(mind: Mind) -> None:
    rivals = Rivals(0.5, mind.writes, 0)
    once, again, other = (
        [match.game.moves for match in matches(rivals.teacher, mind, 30, np.random.default_rng(seed))]
        for seed in (1, 1, 2)
    )
    assert once == again != other


class Corner:
    """It always takes square 1, or the next free one."""

    def __init__(self, writes: Notation):
        self.writes = writes

    def choose(self, games: list[Game], r: np.random.Generator) -> list[Choice]:
        return [Choice(game.legal[0], self.writes.squares[game.legal[0] - 1]) for game in games]


def test_on_turned_boards_a_favourite_corner_is_any_corner(mind: Mind) -> None:
    corner, other = Corner(mind.writes), Corner(mind.writes)
    found = matches(corner, other, 400, np.random.default_rng(0), "X")
    begun = Counter(match.game.moves[0] for match in found)
    assert set(begun) == set(CORNERS)
    assert min(begun.values()) > 60
    for match in found:
        assert match.game.moves[1] == (1 if match.game.moves[0] != 1 else 2)  # the other sees it as it is
        assert [choice.token for choice in match.choices] == [mind.writes.squares[m - 1] for m in match.game.moves]
        assert not match.game.illegal
    assert {match.game.moves[0] for match in matches(corner, other, 400, np.random.default_rng(0), "O")} == {1}


# -- a step of learning -----------------------------------------------------------------------------------------------


def played(mind: Mind, moves: tuple[int, ...], advantage: float, side: str = "O") -> Played:
    choices = [Choice(move, mind.writes.squares[move - 1], -1.0) for move in moves]
    return Played(Match(Game(moves), choices), side, "nobody", 0, advantage, advantage)


@pytest.fixture
def pupil(mind: Mind) -> tuple[Mind, Learner]:
    """A copy of the model to train."""
    network = Transformer(mind.network.shape)
    network.load_weights(device.flat(mind.network.parameters()))
    return Mind(network, mind.writes), Learner(network, Schedule(1e-3, 10, 1), "adamw")


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_won_games_moves_become_more_likely_and_a_lost_ones_less(
    pupil: tuple[Mind, Learner], advantage: float
) -> None:
    me, learner = pupil
    before = me.view(Game((1,)))[5], me.view(Game((1, 5, 9)))[2], me.view(Game())[1]
    game = played(me, (1, 5, 9, 2), advantage)
    learner.step(1, bucketed([to_sample(me.writes, game)], 0), policy_gradient(), per=2)
    after = me.view(Game((1,)))[5], me.view(Game((1, 5, 9)))[2], me.view(Game())[1]
    assert (after[0] - before[0]) * advantage > 0
    assert (after[1] - before[1]) * advantage > 0


def test_only_its_own_moves_are_trained(mind: Mind) -> None:
    as_o, as_x = (to_sample(mind.writes, played(mind, (1, 5, 9, 2, 7), 0.5, side)) for side in "OX")
    assert as_o.ids.tolist() == as_x.ids.tolist() == mind.writes.ids((1, 5, 9, 2, 7))
    assert as_o.weight.tolist() == [0, 0, 0.5, 0, 0.5, 0]
    assert as_x.weight.tolist() == [0, 0.5, 0, 0.5, 0, 0.5]
    assert as_o.logp is not None
    assert as_o.logp.tolist() == [0, 0, -1, 0, -1, 0]


def test_equal_rewards_change_nothing(pupil: tuple[Mind, Learner]) -> None:
    me, learner = pupil
    before = {name: np.array(value) for name, value in device.flat(me.network.parameters())}
    batches = bucketed([to_sample(me.writes, played(me, (1, 5), 0.0))], 0)
    learner.step(1, batches, policy_gradient(), per=1)
    assert all(np.array_equal(before[name], value) for name, value in device.flat(me.network.parameters()))


def test_a_step_of_games_in_groups(mind: Mind) -> None:
    selves = Selves(Path("nowhere"), mind.network.shape, mind.writes)
    config = Config(games=128, imitation_iters=4, opponents="latest")
    found = practise(config, mind, selves, 5)
    groups: dict[int, list[Played]] = {}
    for p in found:
        groups.setdefault(p.group, []).append(p)
        assert p.own
        assert p.reward == p.match.game.score(p.side)
    for members in groups.values():
        assert len({(p.side, p.match.game.moves[: "XO".index(p.side)]) for p in members}) == 1
        drawn = [p.advantage for p in members if not p.match.choices[p.own[0]].explored]
        assert sum(drawn) == pytest.approx(0, abs=1e-9)
    assert {p.side for p in found} == {"X", "O"}
    assert [p.match.game.moves for p in practise(config, mind, selves, 5)] == [p.match.game.moves for p in found]
    assert [p.match.game.moves for p in practise(config, mind, selves, 6)] != [p.match.game.moves for p in found]
    said = summary(found)
    assert said["won"] + said["drawn"] + said["lost"] == pytest.approx(1)
    assert said["reward"] == pytest.approx(np.mean([p.reward for p in found]))


def test_a_share_of_the_first_moves_is_any_legal_one(mind: Mind) -> None:
    r = np.random.default_rng(0)
    for start in ((), (1,)):
        chosen = Explorer(mind, 0.25).choose([Game(start)] * 4000, r)
        tried = Counter(choice.move for choice in chosen if choice.explored)
        assert sum(tried.values()) == pytest.approx(1000, abs=120)
        assert set(tried) == set(Game(start).legal)
        assert min(tried.values()) > 0.5 * max(tried.values())
        logits = np.array(mind.logits([Game(start)]))[0]
        logp = logits - np.logaddexp.reduce(logits)
        assert all(choice.logp == pytest.approx(float(logp[choice.token]), abs=1e-4) for choice in chosen)
    assert not any(choice.explored for choice in Explorer(mind, 1.0).choose([Game((1, 5))] * 50, r))
    assert not any(choice.explored for choice in Explorer(mind, 0.0).choose([Game()] * 50, r))


def test_an_explored_move_is_measured_against_what_would_have_been_played(mind: Mind) -> None:
    def ended(moves: tuple[int, ...], explored: bool) -> Match:
        choices = [Choice(move, mind.writes.squares[move - 1]) for move in moves]
        choices[1] = choices[1]._replace(explored=explored)
        return Match(Game(moves), choices)

    lost, won = (1, 2, 5, 3, 9), (1, 4, 2, 5, 7, 6)
    group = [ended(lost, False), ended(lost, False), ended(won, False), ended(won, True), ended(lost, True)]
    assert selfplay.advantages(group, "O") == pytest.approx([-2 / 3, -2 / 3, 4 / 3, 4 / 3, -2 / 3])
    assert selfplay.advantages(group[3:], "O") == [1.0, -1.0]  # nothing but explored ones
    assert selfplay.advantages(group[:2], "O") == [0.0, 0.0]


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_short_run_its_record_and_a_resume_in_either_part(here: Here, home: Path) -> None:
    flags = [*SMALL, "--steps-per-eval", "2"]
    said = here("selfplay", "--name", "whole", *flags)
    assert said.code == 0, said.err
    run = home / "whole"
    assert [int(c.name) for c in checkpoints(run)] == [0, 4, 6, 8]
    done = rows(run)
    assert [row["step"] for row in done if "loss" in row] == [1, 2, 3, 4]
    assert [row["step"] for row in done if "policy_loss" in row] == [5, 6, 7, 8]
    assert [row["step"] for row in done if "blind_spot" in row] == [0, 4, 6, 8]
    assert [row["player"] for row in done if row.get("event") == "elo"] == [
        "the teacher", "step 4", "step 6", "step 8", "the perfect player",
    ]  # fmt: skip
    figures = report(run)
    assert figures["worth_found"] > figures["worth_missed"]
    assert "Elo" in said.out
    model = weights.load("whole")
    assert notation(model.tokenizer) == notation(vocabulary())
    assert blind_spot(Mind(model.network, notation(model.tokenizer))) == pytest.approx(
        figures["blind_spot_after"], abs=1e-6
    )
    assert {row["prompt"] for row in read_lines(run / "samples.jsonl")} == {"", "1"}
    check_episodes(run)
    for cut in (1, 2):  # before the last self, and at the end of imitation
        name = f"cut{cut}"
        shutil.copytree(run, home / name)
        for gone in checkpoints(home / name)[-cut:]:
            shutil.rmtree(gone)
        again = here("selfplay", "--name", name, "--resume")
        assert again.code == 0, again.err
        assert timeless(run) == timeless(home / name)
        assert (run / "model.safetensors").read_bytes() == (home / name / "model.safetensors").read_bytes()
        for step in episodes.steps(run):
            assert episodes.path_of(run, step).read_bytes() == episodes.path_of(home / name, step).read_bytes()
        assert inspect(home / name).state == "done"


def check_episodes(run: Path) -> None:
    tokenizer = weights.load(run).tokenizer
    writes = notation(tokenizer)
    assert episodes.steps(run) == [5, 6, 7, 8]
    for row in episodes.read(run, 8):
        assert row["reward"] == pytest.approx(sum(row["parts"].values()))
        assert len(row["ids"]) == len(row["drawn"]) == len(row["logp"])
        assert row["prompt_ids"][: len(tokenizer.begin)] == tokenizer.begin
        game = row["game"]
        assert game["kind"] == "tic-tac-toe"
        assert game["me"] in ("X", "O")
        said = [writes.move(i) for i in [*row["prompt_ids"], *row["ids"]] if writes.move(i)]
        assert game["moves"] == said
        assert game["result"] in ("won", "lost", "drawn", "illegal")
        assert row["drawn"][0] == 1 - row["notes"]["explored"]  # its own move comes first
        assert all(row["drawn"][2::2])
        assert not any(row["drawn"][1::2])
        assert not any(row["logp"][1::2])
        assert json.loads(episodes.line(row)) == row
    assert len(list(episodes.read(run, 8))) >= 8


def test_refusals(refused: Refused) -> None:
    for flags, says in (
        (["--iters", "0"], "--iters 0: must be at least 1"), (["--skill", "2"], "--skill 2.0: must lie between 0 and 1"),
        (["--width", "60"], "--width 60: give a multiple of 8"), (["--games", "2"], "--games 2: give at least 4"),
        (["--learning-rate", "0"], "--learning-rate 0.0: must"), (["--opponents", "me"], "--opponents me"),
        (["--explore", "-1"], "--explore -1.0"), (["--seed", "-1"], "--seed -1"),
    ):  # fmt: skip
        refused("selfplay", *flags, says=says)


def test_what_it_would_do(here: Here) -> None:
    told = [json.loads(line) for line in here("plan", "selfplay", *SMALL, "--json").out.splitlines()]
    plan = next(row for row in told if row["event"] == "plan")
    assert plan["steps"] == 8
    assert plan["disk"]["checkpoints"] == 4
    assert plan["parameters"] == selfplay.shape(Config(), 324).parameters
