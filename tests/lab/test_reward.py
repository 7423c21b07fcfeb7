"""Reward models: the loss of all pairs at once, invariances, what is saved, and that other programs still open the folder."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import chat, device, lora, reward, weights
from lab.batch import Request, sample
from lab.errors import UserError
from lab.learn import Learner, Schedule
from lab.model import Transformer
from lab.pairwise import Pass, Ranked, pairwise, passes, together
from lab.rankings import Ranking
from lab.reward import RewardModel, Scorer
from lab.sample import Sampling
from lab.tokenizer import Tokenizer
from lab.weights import Model
from tests.conftest import REPO


@pytest.fixture
def model(tiny: Transformer, tokenizer: Tokenizer) -> Model:
    return Model(tiny, tokenizer, {}, 512, Path("tiny"), "tiny")


@pytest.fixture
def rm(model: Model) -> RewardModel:
    return RewardModel(model, [Scorer(model.network, 0)])


def rows(count: int, seed: int = 0, high: int = 300) -> list[np.ndarray]:
    r = np.random.default_rng(seed)
    return [r.integers(10, high, int(r.integers(3, 40))).astype(np.int32) for _ in range(count)]


def ranked(seed: int = 0, k: int = 5) -> Ranked:
    return Ranked(rows(k, seed), list(combinations(range(k), 2)))


def cost(scorer: Any, batch: Pass) -> float:
    total, weight = pairwise(scorer, batch)
    return device.number(total) / device.number(weight)


# -- the loss ----------------------------------------------------------------------------------------------------------


def test_the_loss_of_five_is_the_mean_of_their_ten_two_way_losses(rm: RewardModel) -> None:
    five = ranked()
    two_way = [
        cost(rm.members[0], together([Ranked([five.rows[a], five.rows[b]], [(0, 1)])], 0)) for a, b in five.pairs
    ]
    assert len(two_way) == 10
    assert cost(rm.members[0], together([five], 0)) == pytest.approx(np.mean(two_way), abs=1e-5)
    score = rm.raw(five.rows)[0].astype(float)
    by_hand = [np.log(1 + np.exp(-(score[a] - score[b]))) for a, b in five.pairs]
    assert np.mean(two_way) == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_its_gradient_too(rm: RewardModel) -> None:
    five, scorer = ranked(), rm.members[0]
    grad = nn.value_and_grad(scorer, lambda m, batch: pairwise(m, batch)[0])
    _, whole = grad(scorer, together([five], 0))
    singles = [grad(scorer, together([Ranked([five.rows[a], five.rows[b]], [(0, 1)])], 0))[1] for a, b in five.pairs]
    for name, value in device.flat(whole):
        parts = [dict(device.flat(one))[name] for one in singles]
        mean = np.mean([np.array(part) for part in parts], 0)
        np.testing.assert_allclose(np.array(value), mean, atol=2e-5)


def test_a_ranking_weighs_one_however_many_pairs_it_has(rm: RewardModel) -> None:
    five, two = ranked(1), ranked(2, 2)
    both = together([five, two], 0)
    assert both.share.sum() == pytest.approx(2)
    each = [cost(rm.members[0], together([one], 0)) for one in (five, two)]
    assert cost(rm.members[0], both) == pytest.approx(np.mean(each), abs=1e-5)


def test_one_forward_pass_a_reply_and_whole_rankings_in_a_pass() -> None:
    some = [ranked(i) for i in range(40)] + [Ranked(rows(5, 99), [])]
    found = passes(some, 0, most=1000)
    assert sum(len(one.ids) for one in found) == 40 * 5  # what has no pair is left out
    assert sum(len(one.better) for one in found) == 40 * 10
    assert all(one.ids.size <= 1000 for one in found)
    assert len(found) < 40
    for one in found:
        assert (one.better // 5 == one.worse // 5).all()
        assert one.share.sum() == pytest.approx(len(one.ids) / 5)
    alone = passes([ranked(0)], 0, most=10)  # too large for any pass: it goes alone
    assert len(alone) == 1


def test_a_step_raises_the_better_above_the_worse(rm: RewardModel) -> None:
    five = ranked(3)
    learner = Learner(rm.members[0], Schedule(3e-3, 20, 2), "adamw")
    before = cost(rm.members[0], together([five], 0))
    for step in range(1, 21):
        learner.step(step, passes([five], 0), pairwise)  # type: ignore[arg-type]
    assert cost(rm.members[0], together([five], 0)) < 0.5 * before
    score = rm.raw(five.rows)[0]
    assert (np.diff(score) < 0).all()


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_padding_or_on_what_shares_the_batch(rm: RewardModel) -> None:
    some = rows(12, 5)
    together_, alone = rm.raw(some)[0], np.array([rm.raw([row])[0, 0] for row in some])
    np.testing.assert_allclose(together_, alone, atol=2e-5)
    scorer = rm.members[0]
    for pad in (0, 7):
        ids = np.full((1, 200), pad, np.int32)
        ids[0, : len(some[0])] = some[0]
        score = float(np.array(scorer(mx.array(ids), mx.array([len(some[0]) - 1])))[0])
        assert score == pytest.approx(alone[0], abs=2e-5)
    end = rm.model.tokenizer.end  # a row may hold what is padding elsewhere
    assert rm.raw([np.array([*some[0], end, end], np.int32)])[0, 0] != pytest.approx(alone[0], abs=1e-3)


def test_the_score_is_read_at_the_last_token(rm: RewardModel) -> None:
    row = rows(1, 8)[0]
    h = reward.hidden(rm.model.network, mx.array(row[None]))
    want = float((np.array(h)[0, -1] * np.array(rm.members[0].head)).sum())
    assert rm.raw([row])[0, 0] == pytest.approx(want, abs=1e-5)


def test_heads_begin_small_and_differ_by_seed(model: Model) -> None:
    heads = [np.array(Scorer(model.network, seed).head) for seed in range(200)]
    assert np.std(heads) == pytest.approx((64 + 1) ** -0.5, rel=0.03)
    assert not np.allclose(heads[0], heads[1])
    assert np.allclose(heads[0], np.array(Scorer(model.network, 0).head))


@pytest.mark.parametrize("members", [1, 3])
def test_normalised_scores_have_mean_0_and_standard_deviation_1(model: Model, members: int) -> None:
    rm = RewardModel(model, [Scorer(model.network, k) for k in range(members)])
    some = rows(60, 4)
    raw = rm.raw(some)
    rm.normalise(some)
    scores = rm.scores(some)
    assert scores.mean() == pytest.approx(0, abs=1e-5)
    assert scores.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(scores, ((raw - raw.mean(1, keepdims=True)) / raw.std(1, keepdims=True)).mean(0))[0, 1] > 0.9999
    assert rm.each(some).mean(1) == pytest.approx(np.zeros(members), abs=1e-5)
    assert all(gain > 0 for gain in rm.gains)  # what is better stays better


def test_a_flat_head_is_not_divided_by_nothing(rm: RewardModel) -> None:
    rm.members[0].head = mx.zeros_like(rm.members[0].head)
    rm.normalise(rows(10))
    assert np.isfinite(rm.scores(rows(10))).all()


# -- ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pocket-sft", "pocket-base"])
def test_a_reply_is_encoded_as_it_was_sampled(name: str) -> None:
    model = weights.load(REPO / "weights" / name)
    mark = "." if model.chats else ":"
    prompt = f"Tell a dry joke about a pelican at the bank{mark}"
    before = reward.prompt_ids(model, prompt)
    told = sample(
        model.network,
        [Request(before, range(24))],
        Sampling(temp=1.0, max_tokens=64),
        model.tokenizer.ends,
        model.context,
    )
    whole = [reply.ids.tolist() for reply in told if reply.stop == "end"]
    same = [reward.encode(model, prompt, reward.said(model, ids)).tolist() == [*before, *ids] for ids in whole]
    assert len(same) > 15
    assert sum(same) >= len(same) - 1  # a word may be spelt in several ways of which text knows one
    assert all(ids[-1] in model.tokenizer.ends for ids in whole)


def test_messages_end_with_the_replys_end_whatever_a_template_adds() -> None:
    model = weights.load(REPO / "weights" / "pocket-sft")
    talk: list[chat.Message] = [
        {"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Who?"},
    ]  # fmt: skip
    ids = reward.encode(model, talk, "Me.")
    assert ids[-1] == model.tokenizer.end
    assert ids[: len(chat.prompt(model.tokenizer, talk))].tolist() == chat.prompt(model.tokenizer, talk)
    made = reward.ranked(model, Ranking(talk, ["a", "b c"], [1, 0]))
    assert (made.pairs, made.start) == ([(1, 0)], len(chat.prompt(model.tokenizer, talk)))


def test_a_base_model_reads_texts_alone(model: Model) -> None:
    with pytest.raises(UserError, match="base model and reads no messages"):
        reward.encode(model, [{"role": "user", "content": "Hi"}], "Ho")
    assert reward.encode(model, "Ada took", "a ball.").tolist() == reward.encode(model, "Ada took", " a ball.").tolist()
    with pytest.raises(UserError, match="does not fit into the context of 512"):
        RewardModel(model, [Scorer(model.network, 0)]).encode("word " * 800, "x")


# -- on disk -----------------------------------------------------------------------------------------------------------


def saved(folder: Path, members: int = 1) -> RewardModel:
    """A reward model on pocket-sft's body, in a folder as a run leaves it."""
    source = REPO / "weights" / "pocket-sft"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.jsonl", "run.json", "status.json"))
    models = [weights.load(source) for _ in range(members)]
    rm = RewardModel(models[0], [Scorer(m.network, k) for k, m in enumerate(models)])
    for k, one in enumerate(models):
        layer = one.network.layers[0].mlp.down_proj
        layer.weight = layer.weight + 0.01 * (k + 1)
        at = reward.member_folder(folder, k)
        at.mkdir(exist_ok=True)
        weights.save_arrays(at / "model.safetensors", dict(device.flat(one.network.parameters())))
    rm.normalise([rm.encode("Hi", text) for text in ("one", "two", "three", "The end.")])
    rm.save_heads(folder)
    return rm


@pytest.mark.parametrize("members", [1, 2])
def test_what_is_saved_scores_the_same(tmp_path: Path, home: Path, members: int) -> None:
    rm = saved(home / "rm", members)
    some = [rm.encode("Tell me.", text) for text in ("A joke.", "The cow went home.", "No.")]
    for name in ("rm", str(home / "rm")):
        again = reward.load(name)
        np.testing.assert_allclose(again.each(some), rm.each(some), atol=2e-5)
        assert (again.gains, again.biases) == (rm.gains, rm.biases)
    assert members == 1 or not np.allclose(rm.raw(some)[0], rm.raw(some)[1], atol=1e-2)


def test_adapters_are_saved_as_adapters(home: Path) -> None:
    (home / "pocket-sft").symlink_to(REPO / "weights" / "pocket-sft")
    folder = home / "rm"
    folder.mkdir()
    model = weights.load("pocket-sft")
    kept = lora.attach(model.network, rank=4)
    for adapter in lora.adapters(model.network).values():
        adapter.lora_b = adapter.lora_b + 0.02
    rm = RewardModel(model, [Scorer(model.network, 0)])
    trained = {name for name, _ in device.flat(rm.members[0].trainable_parameters())}
    assert "head" in trained
    assert all(name == "head" or ".lora_" in name for name in trained)
    weights.save_arrays(folder / "adapters.safetensors", lora.arrays(model.network))
    weights.write_json(folder / "adapter_config.json", kept | {"model": "pocket-sft"})
    model.tokenizer.save(folder)
    rm.save_heads(folder)
    some = [rm.encode("Tell me.", text) for text in ("A joke.", "The cow went home.", "No.")]
    again = reward.load("rm")
    np.testing.assert_allclose(again.raw(some), rm.raw(some), atol=2e-5)
    with lora.off(again.model.network):
        assert not np.allclose(again.raw(some), rm.raw(some), atol=1e-2)


@pytest.mark.slow
def test_mlx_lm_opens_the_folder_as_the_language_model_it_is(home: Path) -> None:
    from mlx_lm.utils import load

    rm = saved(home / "rm", 2)
    network, _ = load(str(home / "rm"))  # type: ignore[misc]
    ids = mx.array(rm.encode("Hi", "one")[None])
    np.testing.assert_allclose(np.array(network(ids)), np.array(rm.model.network(ids)), atol=2e-3)


def test_mlx_lms_own_classes_have_bodies_too() -> None:
    from mlx_lm.models import gpt2, llama

    sizes: dict[str, Any] = dict(hidden_size=32, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4,
                                 rms_norm_eps=1e-5, vocab_size=100)  # fmt: skip
    llama_ = llama.Model(llama.ModelArgs(model_type="llama", **sizes))
    gpt2_ = gpt2.Model(gpt2.ModelArgs("gpt2", 64, 32, 4, 2, 64, 1e-5, 100))
    for network in (llama_, gpt2_):
        scorer = Scorer(network, 0)
        assert scorer.head.shape == (32,)
        assert scorer(mx.array([[1, 2, 3]]), mx.array([2])).shape == (1,)


def test_refusals(home: Path) -> None:
    (home / "pocket-sft").symlink_to(REPO / "weights" / "pocket-sft")
    with pytest.raises(UserError, match="pocket-sft: is no reward model"):
        reward.load("pocket-sft")
    with pytest.raises(UserError, match="nobody: no such folder"):
        reward.load("nobody")
    rm = saved(home / "rm")
    weights.save_arrays(home / "rm" / "reward.safetensors", {"head.0": mx.zeros(7)})
    with pytest.raises(UserError, match="head 0 is missing or not of width 128; it is another model's"):
        reward.load("rm")
    rm.save_heads(home / "rm")
    weights.write_json(
        home / "rm" / "reward.json", {"version": 1, "members": 1, "gains": [float("nan")], "biases": [0]}
    )
    with pytest.raises(UserError, match="gains and biases do not fit 1 members"):
        reward.load("rm")
    with pytest.raises(UserError, match="no body that a reward head could read"):
        reward.hidden(nn.Linear(2, 2), mx.zeros((1, 1), mx.int32))
    with pytest.raises(UserError, match="no samples to normalise"):
        rm.normalise([])
