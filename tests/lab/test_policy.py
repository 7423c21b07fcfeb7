"""Reinforcement learning's arithmetic: advantages, the policy gradient, rollouts against the trainer's log-probabilities."""

import math
from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import chat, device, episodes
from lab.advantage import ADVANTAGES, centred, leave_one_out, pass_at, right_only, standardised
from lab.calls import Toolbox, banned
from lab.learn import Learner, Schedule
from lab.loss import Clip, logprobs, policy_gradient
from lab.model import Shape, Transformer
from lab.parts import Message, plain
from lab.rollout import Episode, episode_row, rollout
from lab.sample import Sampling
from lab.samples import Sample, bucketed
from lab.task import Problem, Score, asked
from lab.tokenizer import Tokenizer
from lab.tools import Python
from lab.weights import Model


class Vowels:
    """A task with a judge that any text satisfies or not: the share of vowels."""

    name = "vowels"

    def problem(self, seed: int) -> Problem:
        return Problem(str(seed), asked(f"Say {seed}."), "aeiou")

    def held_out(self, seed: int) -> Problem:
        return self.problem(-1 - seed)

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        said = [plain(reply) for reply in replies]
        return [Score({"vowels": sum(c in "aeiou" for c in text) / max(1, len(text))}) for text in said]


@pytest.fixture
def model(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    shape = Shape(
        vocab_size=tokenizer.vocab_size, hidden_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=24, intermediate_size=96, max_position_embeddings=256,
    )  # fmt: skip
    network = Transformer(shape)
    network.initialise(3)
    monkeypatch.setattr(tokenizer, "chat_template", chat.OURS)  # all tests share this tokenizer
    return Model(network, tokenizer, {}, 256, tmp_path, "tiny")


def rolled(
    model: Model, n: int = 4, temp: float = 1.0, tools: Toolbox | None = None, longest: int = 24
) -> list[list[Episode]]:
    task = Vowels()
    return rollout(
        model, task, [task.problem(i) for i in range(3)], n, Sampling(temp=temp, max_tokens=longest), 7, tools
    )


def flat(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in device.flat(network.parameters())}


# -- advantages ---------------------------------------------------------------------------------------------------------


def test_advantages_by_hand() -> None:
    rewards = [1.0, 0.0, 0.0, None]
    assert centred(rewards) == pytest.approx([2 / 3, -1 / 3, -1 / 3, 0])
    assert standardised(rewards) == pytest.approx([math.sqrt(2), -math.sqrt(0.5), -math.sqrt(0.5), 0], abs=1e-4)
    assert leave_one_out(rewards) == pytest.approx([1, -0.5, -0.5, 0])
    assert right_only(rewards) == [1, 0, 0, 0]


@pytest.mark.parametrize("name", ["centred", "standardised", "leave_one_out"])
def test_equal_rewards_teach_nothing_and_all_sum_to_zero(name: str) -> None:
    advantage = ADVANTAGES[name]
    assert advantage([0.1] * 7) == [0.0] * 7  # .1 * 7 / 7 is not .1 in floating point
    assert advantage([None, 0.3]) == advantage([None, None]) == [0.0, 0.0]
    assert advantage([]) == []
    r = np.random.default_rng(0)
    for _ in range(50):
        assert sum(advantage(list(r.normal(size=r.integers(2, 9))))) == pytest.approx(0, abs=1e-9)


def test_pass_at_k_is_the_share_of_draws_with_a_right_one() -> None:
    from itertools import combinations

    for n, right, k in [(6, 2, 3), (5, 0, 2), (4, 4, 1), (8, 1, 8), (7, 3, 2)]:
        draws = list(combinations(range(n), k))
        assert pass_at(k, n, right) == pytest.approx(sum(min(d) < right for d in draws) / len(draws))


# -- rollouts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temp", [0.7, 1.0])
def test_the_samplers_log_probabilities_are_the_trainers(model: Model, temp: float) -> None:
    ones = [one for group in rolled(model, temp=temp) for one in group]
    again = logprobs(model.network, [one.sample for one in ones], 0, temp, banned(model.tokenizer))
    for one, said in zip(ones, again, strict=True):
        drawn = one.sample.weight != 0
        assert one.sample.logp is not None
        assert drawn[one.start :].all()
        assert not drawn[: one.start].any()
        assert np.abs(one.sample.logp[drawn] - said[drawn]).max() <= 2e-5


@pytest.mark.parametrize("temp", [0.7, 1.0])
def test_in_half_precision_too_but_for_what_the_network_itself_rounds(model: Model, temp: float) -> None:
    """The sampler goes token by token, the trainer over all at once: a bf16 network rounds these differently. Divided by the
    temperature in bf16 as well, the gap at .7 was .02 in the mean."""
    model.network.set_dtype(mx.bfloat16)
    gaps = []
    for one in (one for group in rolled(model, temp=temp) for one in group):
        said = logprobs(model.network, [one.sample], 0, temp, banned(model.tokenizer))[0]
        drawn = one.sample.weight != 0
        assert one.sample.logp is not None
        gaps.append(np.abs(one.sample.logp[drawn] - said[drawn]))
    assert np.concatenate(gaps).mean() < 2e-3


def test_a_ratio_away_from_one_counts_as_published(model: Model) -> None:
    """PPO's min(r A, clip(r) A) and its gradient by hand: beyond the clip on the side that gains nothing moves, on the other
    all does; truncated, the ratio is a weight of at most so much."""
    target, logits = 3, mx.array([[[0.3, -0.2, 0.1, 0.5, -0.4]]])
    logp = float((logits[0, 0, target] - mx.logsumexp(logits[0, 0])).item())

    def told(ratio: float, weight: float, clip: Clip) -> tuple[float, float]:
        ids, w = np.array([0, target], np.int32), np.array([0, weight], np.float32)
        batch = bucketed([Sample(ids, w, np.array([0, logp - math.log(ratio)], np.float32))], 0)[0]

        def value(x: mx.array) -> mx.array:
            return policy_gradient(1.0, clip)(lambda _: x, batch)[0]

        found, slope = mx.value_and_grad(value)(logits)
        return float(found.item()), float(slope[0, 0, target].item())

    inside = -(1 - math.exp(logp))  # d(-log p)/d logit of the target
    for ratio, weight in (
        (1.1, 1.0),
        (0.9, 1.0),
        (1.1, -1.0),
        (0.5, 1.0),
        (1.5, -1.0),
    ):  # within, or on the losing side
        value, slope = told(ratio, weight, Clip(0.2, 0.28))
        assert value == pytest.approx(-ratio * weight, rel=1e-4)
        assert slope == pytest.approx(ratio * weight * inside, rel=1e-3)
    for ratio, weight, edge in ((1.5, 1.0, 1.28), (0.5, -1.0, 0.8)):
        value, slope = told(ratio, weight, Clip(0.2, 0.28))
        assert value == pytest.approx(-edge * weight, rel=1e-4)
        assert slope == 0
    for ratio, weight, counts in ((1.5, 1.0, 1.5), (5.0, 1.0, 2.0), (5.0, -1.0, 2.0), (0.1, 1.0, 0.1)):
        value, slope = told(ratio, weight, Clip(truncate=2.0))
        assert value == pytest.approx(-logp * weight * counts, rel=1e-3)
        assert slope == pytest.approx(weight * counts * inside, rel=1e-3)


def test_a_rollout_is_the_same_alone_and_in_company(model: Model) -> None:
    task = Vowels()
    problems = [task.problem(i) for i in range(5)]
    options = Sampling(temp=1.0, max_tokens=12)
    together = rollout(model, task, problems, 3, options, "s", rows=64)
    slowly = rollout(model, task, problems, 3, options, "s", rows=2)
    for a, b in zip([e for g in together for e in g], [e for g in slowly for e in g], strict=True):
        assert a.sample.ids.tolist() == b.sample.ids.tolist()
    assert len({tuple(e.sample.ids.tolist()) for e in together[0]}) == 3


def test_what_is_cut_never_earns_and_what_cannot_be_judged_is_none(model: Model) -> None:
    for one in (e for group in rolled(model, longest=3) for e in group):
        value = one.score.value
        assert value is not None
        assert one.score.notes["truncated"] == float(one.stop != "end")
        assert value == 0 or one.stop == "end"
    assert Score(None).value is None
    assert not Score(None).passed
    assert Score({"correct": 1.0, "price": -0.9}).passed


def test_an_episodes_line_adds_up(model: Model) -> None:
    group = rolled(model)[0]
    row = episode_row(group[1], model.tokenizer, 4, 0, 1)
    length = len(row["ids"])
    assert length == len(row["drawn"]) == len(row["logp"])
    assert row["reward"] == pytest.approx(sum(row["parts"].values()))
    assert [row["segments"][0][1], row["segments"][-1][2]] == [0, length]
    assert all(a[2] == b[1] for a, b in zip(row["segments"], row["segments"][1:], strict=False))
    assert row["prompt_ids"] == chat.prompt(model.tokenizer, group[1].problem.messages)
    assert episodes.line(row).count("\n") == 1


def test_segments_of_a_reply_with_a_thought_a_call_and_a_result(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", chat.OURS)
    said: list[chat.Part] = [
        {"type": "think", "text": "hm"}, {"type": "call", "tool": "code", "text": "1+1"}, {"type": "result", "text": "2"},
        {"type": "text", "text": "Two."},
    ]  # fmt: skip
    talk = [Message(role="user", content="?"), Message(role="assistant", content=said)]
    ids = chat.render(tokenizer, talk)[0][len(chat.prompt(tokenizer, talk[:1])) :]
    found = episodes.segments(tokenizer, ids)
    assert [kind for kind, _, _ in found] == ["think", "call", "result", "text", "end"]
    assert found[-1][2] == len(ids)


# -- one step -----------------------------------------------------------------------------------------------------------


def stepped(model: Model, ones: Sequence[Episode], weights: Sequence[float], clip: Clip | None = None) -> None:
    learner = Learner(model.network, Schedule(1e-3, 10, warmup=1), "adamw")
    samples = [e.sample.weighted(w) for e, w in zip(ones, weights, strict=True)]
    per = float(sum(e.drawn for e in ones))
    loss = policy_gradient(1.0, clip, banned(model.tokenizer))
    learner.step(1, bucketed(samples, 0), loss, per)


def total(model: Model, one: Episode) -> float:
    said = logprobs(model.network, [one.sample], 0, 1.0, banned(model.tokenizer))[0]
    return float((said * one.sample.weight).sum())


@pytest.mark.parametrize("clip", [None, Clip(), Clip(truncate=2.0)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_step_on_plus_one_raises_its_probability_and_on_minus_one_lowers_it(
    model: Model, sign: float, clip: Clip | None
) -> None:
    one = rolled(model)[0][0]
    before = total(model, one)
    stepped(model, [one], [sign], clip)
    assert sign * (total(model, one) - before) > 0.01


def test_equal_rewards_leave_the_weights_bit_for_bit(model: Model) -> None:
    group = rolled(model)[0]
    before = flat(model.network)
    stepped(model, group, centred([0.5] * len(group)))
    after = flat(model.network)
    assert all((before[name] == after[name]).all() for name in before)


def gradient(model: Model, samples: Sequence[Sample], clip: Clip | None = None) -> dict[str, np.ndarray]:
    loss, found = policy_gradient(1.0, clip, banned(model.tokenizer)), dict[str, np.ndarray]()
    for batch in bucketed(samples, 0):
        _, grad = nn.value_and_grad(model.network, lambda m, b: loss(m, b)[0])(model.network, batch)
        for name, value in device.flat(grad):
            found[name] = found.get(name, np.float32(0)) + np.array(value)
    return found


def test_the_gradient_is_that_of_reinforce_and_the_ratio_changes_nothing_on_fresh_samples(model: Model) -> None:
    group = rolled(model)[0]
    samples = [e.sample.weighted(w) for e, w in zip(group, (1.0, -0.5, 0.25, -0.75), strict=True)]
    plain_one, clipped = gradient(model, samples), gradient(model, samples, Clip())

    def reference(network: nn.Module) -> mx.array:
        value = mx.array(0.0)
        for s in samples:
            ids = mx.array(s.ids)[None]
            logits = network(ids[:, :-1])
            keep = [i for i in range(logits.shape[-1]) if i not in banned(model.tokenizer)]
            norm = mx.logsumexp(logits[..., mx.array(keep)], axis=-1)
            for t in np.flatnonzero(s.weight):
                value = value - float(s.weight[t]) * (logits[0, t - 1, int(s.ids[t])] - norm[0, t - 1])
        return value

    exact = dict(device.flat(nn.value_and_grad(model.network, reference)(model.network)[1]))
    for name, value in plain_one.items():
        scale = np.abs(np.array(exact[name])).max() + 1e-8
        assert np.abs(value - np.array(exact[name])).max() / scale < 1e-4, name
        assert np.abs(value - clipped[name]).max() / scale < 1e-3, name


def test_prompt_and_tool_tokens_get_no_gradient_and_end_does(model: Model) -> None:
    """Moved by one token's logits alone: the gradient of the output matrix's rows shows who is trained."""
    with Python() as tool, Toolbox(model.tokenizer, [tool]) as tools:
        ids = chat.prompt(model.tokenizer, asked("What?"))
        made = [*model.tokenizer.encode_part("ab"), model.tokenizer.special["<|code|>"]]
        made += [*model.tokenizer.encode_part("1+1"), model.tokenizer.special["<|/code|>"]]
        forced = tools.after(0, made)
        assert forced
        tail = [*model.tokenizer.encode_part("b"), model.tokenizer.end]
    whole = np.array([*ids, *made, *forced, *tail], np.int32)
    weight = np.zeros(len(whole), np.float32)
    weight[len(ids) : len(ids) + len(made)] = 1
    weight[-len(tail) :] = 1
    one = Sample(whole, weight, np.zeros(len(whole), np.float32))
    clean = gradient(model, [one])
    # Other tokens where nothing is trained change the gradient through attention only: so the targets are what counts.
    head = policy_gradient(1.0, None, ())
    x = model.network(mx.array(whole[None, :-1]))

    def of(logits: mx.array) -> mx.array:
        return head(lambda ids: logits, next(iter(bucketed([one], 0))))[0]

    moved = np.abs(np.array(mx.grad(of)(x)))[0].sum(-1)
    assert (moved[weight[1:] != 0] > 0).all()
    assert (moved[weight[1:] == 0] == 0).all()
    assert weight[-1] == 1
    assert whole[-1] == model.tokenizer.end
    assert all(np.isfinite(v).all() for v in clean.values())


def test_all_sampled_tokens_divide_the_step(model: Model) -> None:
    """Token-level normalisation: the same step among groups that teach nothing is smaller by their tokens."""
    group = rolled(model)[0]
    samples = [group[0].sample.weighted(1.0)]
    loss = policy_gradient(1.0, None, banned(model.tokenizer))
    norms = []
    for per in (10.0, 40.0):
        learner = Learner(model.network, Schedule(1e-9, 10, warmup=1), "adamw", clip=1e9)
        norms.append(learner.step(1, bucketed(samples, 0), loss, per).grad_norm)
    assert norms[0] == pytest.approx(4 * norms[1], rel=1e-3)


def test_the_penalty_in_the_reward_has_the_gradient_of_the_divergence() -> None:
    """k1 in the reward on a toy of six tokens: E[(log p/q - mean) d log p] is d KL(p | q), summed exactly over all tokens
    (Schulman 2020, http://joschu.net/blog/kl-approx.html)."""
    r = np.random.default_rng(1)
    a, b = mx.array(r.normal(size=6)), mx.array(r.normal(size=6))

    def log(x: mx.array) -> mx.array:
        return x - mx.logsumexp(x)

    def divergence(x: mx.array) -> mx.array:
        return (mx.exp(log(x)) * (log(x) - log(b))).sum()

    p, k1 = np.exp(np.array(log(a))), np.array(log(a) - log(b))
    weight = mx.array(p * (k1 - (p * k1).sum()))  # each token as often as it is drawn, with its centred penalty
    estimate = mx.grad(lambda x: (weight * log(x)).sum())(a)
    assert np.abs(np.array(estimate) - np.array(mx.grad(divergence)(a))).max() < 1e-6


def test_the_penalty_pulls_to_the_reference(model: Model) -> None:
    """A policy that has moved away, rewarded by -k1 alone, comes back."""
    reference = Transformer(model.network.shape)
    reference.load_weights([(name, mx.array(value)) for name, value in device.flat(model.network.parameters())])
    embedding = model.network.model.embed_tokens
    embedding.weight = embedding.weight * 8  # tied to the output: a policy that is sure of what it says
    stop = banned(model.tokenizer)

    def distance(seed: int) -> tuple[float, list[Episode]]:
        task = Vowels()
        options = Sampling(temp=1.0, max_tokens=6)
        ones = [e for g in rollout(model, task, [task.problem(0)], 32, options, seed) for e in g]
        for one, said in zip(ones, logprobs(reference, [e.sample for e in ones], 0, 1.0, stop), strict=True):
            one.reference = said
        return float(np.mean([e.kl() for e in ones])), ones

    before = distance(0)[0]
    learner = Learner(model.network, Schedule(1e-2, 40, warmup=1, decay=0.0), "adamw")
    for step in range(1, 21):
        _, ones = distance(step)
        weights = centred([-e.kl() for e in ones])
        samples = [e.sample.weighted(w) for e, w in zip(ones, weights, strict=True)]
        learner.step(step, bucketed(samples, 0), policy_gradient(1.0, None, stop), float(sum(e.drawn for e in ones)))
    after = distance(0)[0]
    assert before > 0.1, (before, after)
    assert after < 0.6 * before
