"""`lab dpo`: the loss against its closed form, what it leaves out, and a run that learns, stops and goes on."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import device
from lab.learn import Learner, Schedule
from lab.loss import cross_entropy
from lab.model import Transformer
from lab.pairwise import Ranked, implied, passes, together
from lab.runs import read_json
from recipes.dpo import CHARTS, agreement, shared, thought
from tests.recipes.conftest import Here, Refused, same
from tests.recipes.taught import report, rows, timeless
from tests.recipes.test_reward_model import jokes

FEW = ["--batch-size", "4", "--iters", "3", "--steps-per-eval", "2", "--examine", "4", "--max-tokens", "40"]


def ranked(seed: int, pairs: list[tuple[int, int]], start: int = 4) -> Ranked:
    """Replies of unequal length behind one prompt."""
    r = np.random.default_rng(seed)
    prompt = r.integers(10, 300, start).astype(np.int32)
    count = 1 + max(max(pair) for pair in pairs)
    return Ranked(
        [np.append(prompt, r.integers(10, 300, int(r.integers(3, 9)))).astype(np.int32) for _ in range(count)],
        pairs,
        start,
    )


def known(network: Any, one: Ranked) -> Ranked:
    """With what the network thinks now as the reference."""
    return replace(one, reference=thought(network, [one], 0)[0])


def log_p(network: Any, row: np.ndarray, start: int) -> mx.array:
    """log p of a reply, row by row and without padding."""
    ids = mx.array(row)[None]
    return -cross_entropy(network(ids[:, :-1]), ids[:, 1:])[0, start - 1 :].sum()


def test_a_policy_that_is_its_reference_loses_ln_2_and_thinks_all_replies_equal(tiny: Transformer) -> None:
    some = [known(tiny, ranked(i, [(0, 1), (0, 2), (1, 2)])) for i in range(5)]
    total, weight = implied(0.5)(tiny, together(some, 0))
    assert device.number(weight) == pytest.approx(5)
    assert device.number(total) / 5 == pytest.approx(math.log(2), abs=1e-5)
    found = agreement(tiny, some, 0.5, 0)
    assert found.loss == pytest.approx(math.log(2), abs=1e-6)
    assert (found.better, found.worse) == pytest.approx((0, 0), abs=1e-6)


def test_what_a_model_thinks_is_the_sum_over_the_reply_alone(tiny: Transformer) -> None:
    one = ranked(3, [(0, 1), (2, 1)])
    alone = [device.number(log_p(tiny, row, one.start)) for row in one.rows]
    np.testing.assert_allclose(thought(tiny, [one, ranked(4, [(0, 1)])], 0)[0], alone, atol=2e-5)


def test_the_gradient_is_that_of_equation_7(tiny: Transformer) -> None:
    """-beta * sigmoid(-(reward of the better - of the worse)) * (gradient of log p(better) - of log p(worse)), as the paper
    writes it below its equation 7, averaged over the pairs of a ranking."""
    beta, pairs = 0.3, [(0, 1), (0, 2), (2, 1)]
    one = replace(ranked(7, pairs), reference=np.array([-31.0, -24.0, -40.0]))
    _, gradient = nn.value_and_grad(tiny, lambda model: implied(beta)(model, together([one], 0))[0])(tiny)
    values, slopes = [], []
    for row in one.rows:
        value, slope = nn.value_and_grad(tiny, lambda model, row=row: log_p(model, row, one.start))(tiny)
        values.append(device.number(value))
        slopes.append(dict(device.flat(slope)))
    assert one.reference is not None
    rewards = beta * (np.array(values) - one.reference)
    shares = [1 / (1 + math.exp(rewards[a] - rewards[b])) for a, b in pairs]
    assert max(shares) - min(shares) > 0.1  # pairs weigh differently, so that a wrong weight would be seen
    for name, found in device.flat(gradient):
        wanted = (
            sum(-beta * w * (slopes[a][name] - slopes[b][name]) for w, (a, b) in zip(shares, pairs, strict=True)) / 3
        )
        np.testing.assert_allclose(np.array(found), np.array(wanted), atol=2e-5, rtol=2e-3, err_msg=name)


def test_a_step_raises_the_better_reply_over_the_worse_and_a_tie_is_left_out(tiny: Transformer) -> None:
    one = known(tiny, ranked(1, [(0, 2), (1, 2)]))  # 0 and 1 are equally good
    learner = Learner(tiny, Schedule(1e-3, 10, 1), "adamw")
    for step in range(1, 6):
        learner.step(step, passes([one], 0), implied(0.1))  # type: ignore[arg-type]
    gained = thought(tiny, [one], 0)[0] - one.reference
    assert gained[0] > gained[2]
    assert gained[1] > gained[2]
    assert agreement(tiny, [one], 0.1, 0).loss < math.log(2) - 0.01


def test_replies_begin_behind_what_they_share_where_the_prompt_is_written_otherwise() -> None:
    row = np.array([1, 2, 3, 9, 9], np.int32)
    assert shared(Ranked([row, np.array([1, 2, 3, 4], np.int32)], [(0, 1)], 3)) == 3
    assert (
        shared(Ranked([row, np.array([1, 2, 7, 4], np.int32)], [(0, 1)], 4)) == 2
    )  # the template closes the prompt later
    assert (
        shared(Ranked([row, np.array([1, 2, 3, 9], np.int32)], [(0, 1)], 5)) == 3
    )  # one is the beginning of the other


@pytest.mark.slow
def test_a_run_learns_and_tells(here: Here, small: Path, tmp_path: Path) -> None:
    jokes(tmp_path / "jokes.jsonl")
    said = here("dpo", "--rankings", "jokes.jsonl", "--name", "d", "--iters", "12", "--batch-size", "9",
                "--steps-per-eval", "6", "--examine", "8", "--max-tokens", "40")  # fmt: skip
    assert said.code == 0, said
    assert "ranked  27 prompts, 81 pairs; held out 9, 27; by me (of pocket-sft)" in said.out
    assert "pair accuracy of the implied reward" in said.out
    looks = [row for row in rows(small / "d") if "held_accuracy" in row and "event" not in row]
    assert [row["step"] for row in looks] == [0, 6, 12]
    assert looks[0]["val_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert looks[0]["held_kl"] == pytest.approx(0, abs=1e-4)
    assert looks[-1]["held_accuracy"] > 0.85  # socks are easy to like
    assert looks[-1]["val_loss"] < looks[0]["val_loss"] - 0.02
    assert looks[-1]["better"] > looks[-1]["worse"]
    assert looks[-1]["held_kl"] > 0.01
    drawn = {key for chart in CHARTS for key in chart["keys"]}  # type: ignore[attr-defined]
    assert drawn - {"ceiling"} <= {key for row in rows(small / "d") for key in row}
    end = report(small / "d")
    assert end["held_accuracy_low"] <= end["held_accuracy"] <= end["held_accuracy_high"]
    assert end["held_gold"] == pytest.approx(looks[-1]["held_gold"])
    assert len({row["prompt"] for row in rows(small / "d", "samples")}) == 2
    assert here("generate", "--model", "d", "-p", "Hi!", "-m", "3").code == 0


@pytest.mark.slow
def test_it_goes_on_bit_for_bit_and_only_with_the_same_rankings(
    here: Here, refused: Refused, small: Path, tmp_path: Path
) -> None:
    jokes(tmp_path / "jokes.jsonl")
    for name in ("whole", "cut"):
        said = here("dpo", "--rankings", "jokes.jsonl", "--name", name, "--save-every", "1", "--keep", "9", *FEW)
        assert said.code == 0, said
    for step in (2, 3):  # as a kill after step 1 leaves it
        shutil.rmtree(small / "cut" / "checkpoints" / f"{step:06d}")
    said = here("dpo", "--name", "cut", "--resume")
    assert said.code == 0, said
    for file in ("model.safetensors", "checkpoints/000003/optimizer.safetensors"):
        same(small / "whole" / file, small / "cut" / file)
    assert timeless(small / "whole") == timeless(small / "cut")
    assert read_json(small / "whole" / "run.json")["parent"] == "pocket-sft"
    shutil.rmtree(small / "cut" / "checkpoints" / "000003")
    with open(tmp_path / "jokes.jsonl", "a") as file:
        file.write(json.dumps({"prompt": "More.", "options": ["x", "y"], "order": [0, 1], "id": "more"}) + "\n")
    said = here("dpo", "--name", "cut", "--resume")
    assert (said.code, "the rankings have changed since this run began" in said.err) == (2, True)


def test_refusals(refused: Refused, small: Path, tmp_path: Path) -> None:
    jokes(tmp_path / "jokes.jsonl")
    refused("dpo", says="no rankings yet .*make some with `lab rank`")
    refused("dpo", "--rankings", "none.jsonl", says="no such file")
    refused("dpo", "--rankings", "jokes.jsonl", "--beta", "0", says="--beta 0.0: must lie above 0")
    refused("dpo", "--rankings", "jokes.jsonl", "--examine", "1", says="--examine 1: must be at least 2")
    refused("dpo", "--rankings", "jokes.jsonl", "--model", "nobody", says="nobody: no such folder")
    refused("dpo", "--rankings", "jokes.jsonl", "--max-seq-length", "5", says="too few rankings: 0 to train on")


@pytest.mark.slow
def test_a_plan_says_its_steps_and_times_them(here: Here, small: Path, tmp_path: Path) -> None:
    jokes(tmp_path / "jokes.jsonl")
    said = here("plan", "dpo", "--rankings", "jokes.jsonl", "--json", *FEW)
    assert said.code == 0, said
    told = {row["event"]: row for row in map(json.loads, said.out.splitlines())}
    assert told["plan"]["steps"] == 3
    assert told["plan"]["facts"]["ranked"] == "27 prompts, 81 pairs; held out 9"
    assert (
        told["plan"]["memory"]["need"] > 4 * 5 * told["plan"]["parameters"]
    )  # weights, gradient, moments; the reference
    assert told["time"]["seconds"] > 0
    assert not list(small.glob("dpo*"))
