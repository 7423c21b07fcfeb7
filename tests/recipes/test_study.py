"""`lab gap` and `lab study`: best-of-n against all choices of n, curves against known ones, pools that are kept, runs."""

import json
import math
import xml.etree.ElementTree as tree
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import graph
from lab.errors import UserError
from lab.graph import Series
from recipes.bestof import Told, best_of, chances, divergence, most_gamed, powers
from recipes.commands.gap import concordance, fifth, figures
from recipes.overoptimised import fitted, pooled, road
from tests.recipes.conftest import Here, Refused
from tests.recipes.test_reward_model import jokes, train

POOL = ["--prompts", "3", "--samples", "4", "--max-tokens", "48", "--json"]


# -- best of n ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_best_of_n_is_the_mean_over_all_choices_of_n_where_equal_ones_share_the_win(n: int) -> None:
    by, value = np.array([3.0, 1.0, 2.0, 3.0, 0.0, 2.0, 3.0]), np.array([1.0, 5.0, -2.0, 4.0, 0.5, 8.0, 0.0])
    wins = []
    for some in combinations(range(7), n):
        high = max(by[i] for i in some)
        # Which of equal ones came first is left to chance, over all of them: the mean of the whole group.
        wins.append(np.mean([value[i] for i in range(7) if by[i] == high]))
    assert best_of(n, by, value) == pytest.approx(np.mean(wins))
    assert chances(7, n).sum() == pytest.approx(1)


def test_its_extremes_and_its_divergence() -> None:
    values = np.random.default_rng(0).normal(size=300)
    assert best_of(1, values, values) == pytest.approx(values.mean())
    assert best_of(300, values, values) == values.max()
    assert [divergence(n) for n in (1, 2, 4)] == pytest.approx([0, math.log(2) - 0.5, math.log(4) - 0.75])
    assert (powers(1), powers(9)) == ([1], [1, 2, 4, 8])
    with pytest.raises(ValueError, match="best of 301"):
        best_of(301, values, values)


def told(proxy: Any, gold: Any) -> Told:
    return Told(
        "Tell one.",
        [f"{p} {g}" for p, g in zip(proxy, gold, strict=True)],
        np.array(proxy, float),
        np.array(gold, float),
    )


def test_telling_doing_and_choosing() -> None:
    one = told([1, 2, 3, 4], [10, 10, 20, 0])
    assert concordance(one) == pytest.approx(2 / 5)  # of five pairs that differ: 3 over 1, and over 2
    assert concordance(told([1, 1], [0, 5])) == 0.5
    assert concordance(told([1, 2], [5, 5])) is None
    assert fifth(np.repeat([0.0, 1.0, 2.0, 3.0], [40, 38, 17, 5])) == 2.0  # 22 % are nearer to a fifth than 5 %
    facts = figures([("a", [told([0, 1, 2, 3, 4], [0, 0, 0, 0, 9])] * 2), ("b", [told([0] * 5, [9] * 5)] * 2)], 4)
    assert facts["top"] == 9
    first, second = (one["best_of"] for one in facts["models"])
    assert [row["top"]["mean"] for row in first] == pytest.approx([0.2, 0.4, 0.8])  # n of 5 hold the best one
    assert [row["top"]["mean"] for row in second] == pytest.approx([1, 1, 1])
    assert first[0]["gold"]["mean"] == pytest.approx(0)
    assert second[0]["gold"]["mean"] == pytest.approx((9 - 1.8) / 3.6)  # in units of the first model


def test_the_most_overrated_text_is_among_the_winners() -> None:
    some = [told([5, 0, 9], [0, 0, 0]), told([1, 2, 0], [5, 5, 5])]
    assert most_gamed(some, 2)[1] == "5 0"
    assert most_gamed(some, 3)[1] == "9 0"


# -- curves ------------------------------------------------------------------------------------------------------------


def test_curves_are_found_again_with_their_tops() -> None:
    d = [0.0, 0.3, 0.6, 0.9, 1.3, 1.7, 2.1]
    curve = fitted("best-of-n", d, [x * (1.5 - 0.4 * x) for x in d])
    assert curve is not None
    assert (curve.alpha, curve.beta, curve.r2) == pytest.approx((1.5, 0.4, 1))
    assert curve.top == pytest.approx(1.5 / 0.8)
    assert str(curve) == "d (1.500 - 0.400 d)"
    other = fitted("rl", d, [x * (1.5 - 0.7 * math.log(x)) if x else 0.0 for x in d])
    assert other is not None
    assert (other.alpha, other.beta) == pytest.approx((1.5, 0.7))
    assert other.top is not None
    assert other(other.top) > max(other(other.top - 0.05), other(other.top + 0.05))
    assert other(0.0) == 0.0
    rising = fitted("rl", d, [x * (1 + 0.2 * math.log(x)) if x else 0.0 for x in d])
    assert rising is not None
    assert rising.top is None
    assert fitted("rl", [0.0, 1.0, 2.0], [0.0, 1.0, 1.0]) is None
    near = [0.0, 2.26, 2.27, 2.3, 2.32]  # of a run whose looks all lie there: it began with a fall that nobody saw
    assert fitted("rl", near, [0.0, 0.75, 0.9, 0.95, 1.0]) is None
    assert fitted("rl", d, [math.nan] * 5 + [1.0, 2.0]) is None


def test_a_pool_that_games_its_reward_has_a_gold_that_falls() -> None:
    r = np.random.default_rng(1)
    some = []
    for _ in range(20):
        proxy = r.normal(size=64)
        some.append(told(proxy, np.where(proxy > 1.5, -3.0, proxy)))  # what is liked too much is bad
    many = pooled(some, 64)
    gold = [place.gold for place in many.places]
    assert gold[0] == pytest.approx(0, abs=1e-9)
    assert max(gold) > 0.2
    assert gold[-1] < gold[0] - 0.5
    assert [place.proxy for place in many.places] == sorted(place.proxy for place in many.places)
    curve, spans = many.curves("gold")
    assert curve is not None
    assert 0 < (curve.top or 0) < 1.5
    assert spans["beta"][0] > 0


# -- graphs ------------------------------------------------------------------------------------------------------------

DOTS = Series("dots", [(0.0, 0.0), (1.0, 2.0), (2.0, -1.0), (math.nan, 1.0)], "●")
LINES = [DOTS, Series("a < b", [(0.0, 0.0), (2.0, 2.0)], "·", 1, True)]


def test_a_graph_in_a_terminal() -> None:
    said = graph.text(LINES, "x", "y", 40, 10).splitlines()
    assert said[0] == "y"
    assert said[1].index("●") == said[1].index("┤") + 20 or said[1].index("●") == said[1].index("┤") + 21
    assert "●" in said[10]  # the lowest is on the lowest line
    assert any("┈" in line for line in said)  # zero
    assert said[-1] == "● dots"
    assert max(map(len, said)) <= 40 + 12
    assert graph.text([], "x", "y") == "(nothing to draw)"
    assert graph.ticks(-0.3, 2.2) == [0, 0.5, 1, 1.5, 2]


def test_a_graph_as_a_picture(tmp_path: Path) -> None:
    drawing = graph.svg(LINES, "t", "x", "y")
    root = tree.fromstring(drawing)
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) == 3 + 1  # three points, one in the legend
    low, high = (float(circles[k].get("cy") or 0) for k in (2, 1))
    assert low > high  # y grows upwards
    assert any(one.text == "a < b" for one in root.iter())
    graph.save(tmp_path / "a.svg", drawing)
    assert (tmp_path / "a.svg").read_text() == drawing
    for name, why in (("a.gif", "an .svg or a .png"), ("none/a.svg", "no folder")):
        with pytest.raises(UserError, match=why):
            graph.check(tmp_path / name)


# -- runs and commands -------------------------------------------------------------------------------------------------


def rlhf(home: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """A run's record as `lab rlhf` leaves it."""
    (home / name).mkdir()
    (home / name / "run.json").write_text(json.dumps({"recipe": "rlhf", "parent": "pocket-sft", "config": {}}))
    (home / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


LOOKS = [
    {"step": 0, "held_kl": 0.0, "held_gold": 1.0, "held_reward": 0.1},
    {"step": 0, "event": "gap", "text": "Dull.", "prompt": "Tell.", "proxy": 0.5, "gold": 0.0},
    {"step": 5, "kl": 9.9, "gold": 9.9, "reward": 9.9},
    {"step": 10, "held_kl": 1.0, "held_gold": 3.0, "held_reward": 1.1, "kl": 2.0, "gold": 2.0},
    {"step": 20, "held_kl": 4.0, "held_gold": 0.0, "held_reward": 2.1},
    {"step": 20, "event": "gap", "text": "The the the.", "prompt": "Tell.", "proxy": 3.0, "gold": -5.0},
    {"step": 30, "held_kl": 9.0, "held_gold": -2.0, "held_reward": None},
]


def test_a_run_is_a_road_of_its_held_out_looks(home: Path) -> None:
    rlhf(home, "r", LOOKS)
    found = road("r", 1.0, 2.0)
    assert [(p.label, p.d, p.gold) for p in found.places] == [(0, 0, 0), (10, 1, 1), (20, 2, -0.5), (30, 3, -1.5)]
    assert [p.proxy for p in found.places[:3]] == pytest.approx([0, 1, 2])
    assert math.isnan(found.places[3].proxy)
    assert found.texts[20] == {"text": "The the the.", "prompt": "Tell.", "text_gold": -3.0, "text_proxy": 3.0}
    rlhf(home, "s", [{"step": i, "kl": float(i), "gold": float(i), "reward": 0.0} for i in range(3)])
    assert [p.kl for p in road("s", 1.0, 1.0).places] == [0, 1, 2]  # of training replies, where nothing was held out
    rlhf(home, "none", [{"step": 1, "loss": 1.0}])
    with pytest.raises(UserError, match="--runs none: has no looks with KL and gold"):
        road("none", 1.0, 1.0)


@pytest.mark.slow
def test_the_commands(here: Here, refused: Refused, small: Path, tmp_path: Path) -> None:
    jokes(tmp_path / "jokes.jsonl")
    train(here, "rm")
    rlhf(small, "r", LOOKS)
    said = here("gap", "--reward", "rm", "--pool", "pool.jsonl", *POOL)
    assert said.code == 0, said
    facts = json.loads(said.out)
    (one,) = facts["models"]
    assert (one["model"], one["prompts"], facts["reward"]) == ("pocket-sft", 3, "rm")
    assert [row["n"] for row in one["best_of"]] == [1, 2, 4]
    assert one["best_of"][0]["gold"]["mean"] == pytest.approx(0, abs=1e-9)
    for row in one["best_of"]:
        assert row["perfect_gold"]["mean"] >= row["gold"]["mean"] - 1e-9
    assert facts["held_out"]["of"] == 9  # the rankings that rm held out
    kept = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    assert [len(row["options"]) for row in kept] == [4, 4, 4]

    # The same replies, from the file: one line that was cut is drawn again, and comes out the same.
    lines = (tmp_path / "pool.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "pool.jsonl").write_text("".join(lines[:2]) + lines[2][:40])
    said = here("study", "--reward", "rm", "--runs", "r", "--pool", "pool.jsonl", "--picture", "study.svg", *POOL)
    assert said.code == 0, said
    again = [json.loads(line) for line in (tmp_path / "pool.jsonl").read_text().splitlines() if line.endswith("}")]
    assert sorted(row["prompt"] for row in again) == sorted(row["prompt"] for row in kept)
    assert {row["prompt"]: row["options"] for row in again} == {row["prompt"]: row["options"] for row in kept}
    found = json.loads(said.out)
    assert [place["gold"] for place in found["best_of_n"]["places"]] == pytest.approx(
        [row["gold"]["mean"] for row in one["best_of"]]
    )
    assert all(
        place["text"] in {text for row in kept for text in row["options"]} for place in found["best_of_n"]["places"]
    )
    assert found["best_of_n"]["curve"] is None  # two places away from the start are too few
    (run,) = found["runs"]
    assert run["places"][2]["text"] == "The the the."
    assert [place["gold"] * found["gold_std"] for place in run["places"]] == pytest.approx([0, 2, -1, -3])
    assert run["curve"]["form"] == "rl"
    assert tree.parse(tmp_path / "study.svg").getroot().tag.endswith("svg")

    shown = here("study", "--reward", "rm", "--runs", "r", "--pool", "pool.jsonl", *POOL[:-1])
    assert shown.code == 0, shown
    assert "The the the." in shown.out
    assert "▲ r: gold" in shown.out
    assert "r: gold = d (" in shown.out
    shown = here("gap", "--reward", "rm", "--pool", "pool.jsonl", *POOL[:-1])
    assert "telling: " in shown.out
    assert "doing: " in shown.out
    refused("gap", "--pool", "pool.jsonl", "--seed", "1", *POOL, says="drawn with model pocket-sft, seed 0")


def test_refusals(refused: Refused, small: Path) -> None:
    for name in ("gap", "study"):
        refused(name, says="no reward model yet")
        refused(name, "--prompts", "1", says="--prompts 1: must be at least 2")
        refused(name, "--temp", "0", says="--temp 0.0: must lie above 0")
        refused(name, "--data", "mine.jsonl", says="--data: nothing here knows how good these replies are")
        refused(name, "--gold", "pocket-sft", says="pocket-sft: is no reward model")
        refused(name, "--pool", "none/pool.jsonl", says="no folder")
    refused("gap", "--model", "a", "--model", "b", "--pool", "p.jsonl", says="--pool keeps the replies of one model")
    refused("study", "--runs", "nobody", says="nobody: no such folder")
    refused("study", "--picture", "a.gif", says="an .svg or a .png")
