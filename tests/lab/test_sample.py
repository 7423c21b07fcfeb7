"""How a token is drawn: filters by hand, impossible options."""

import mlx.core as mx
import numpy as np
import pytest

from lab.errors import UserError
from lab.sample import Sampling, distribution, draw


def probabilities(logits: list[float], recent: tuple[int, ...] = (), **options) -> np.ndarray:
    return np.array(mx.exp(distribution(mx.array(logits), Sampling(**options), recent)))


LOGITS = np.log([0.5, 0.25, 0.15, 0.07, 0.03]).tolist()


def test_filters_keep_what_they_say() -> None:
    assert np.allclose(probabilities(LOGITS, temp=1.0), [0.5, 0.25, 0.15, 0.07, 0.03])
    assert np.allclose(probabilities(LOGITS, temp=0), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_k=2), [2 / 3, 1 / 3, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_p=0.7), [2 / 3, 1 / 3, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_p=0.01), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, min_p=0.29), np.array([0.5, 0.25, 0.15, 0, 0]) / 0.9)
    square = np.square([0.5, 0.25, 0.15, 0.07, 0.03])
    assert np.allclose(probabilities(LOGITS, temp=0.5), square / square.sum())


def test_repetition_penalty_makes_recent_tokens_less_likely() -> None:
    plain = probabilities([2.0, 1.0, -1.0], temp=1.0)
    punished = probabilities([2.0, 1.0, -1.0], recent=(0, 2), temp=1.0, repetition_penalty=1.5)
    assert punished[0] < plain[0]
    assert punished[2] < plain[2]
    assert punished[1] > plain[1]


@pytest.mark.parametrize(
    "bad", [{"temp": -1}, {"top_p": 0}, {"min_p": 2}, {"max_tokens": 0}, {"repetition_penalty": 0}]
)
def test_impossible_options_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="--" + next(iter(bad)).replace("_", "-")):
        Sampling(**bad)  # type: ignore[arg-type]


def test_a_temperature_too_small_to_divide_by_is_zero() -> None:
    for temp in (1e-42, 1e-30, 1e-5):
        assert np.array_equal(probabilities(LOGITS, temp=temp), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities([80.0, 79.9, -80.0], temp=1e-4), [1, 0, 0])


def test_every_token_of_a_large_vocabulary_can_be_drawn() -> None:
    """One sum in fp32 over 50,000 tokens passes over most of a flat tail."""
    V, best = 50_000, 100
    p = np.full(V, 0.0002 / (V - best))
    p[:best] = 0.9998 / best
    logits = mx.array(np.log(p)[None].repeat(64, 0))
    reach = np.cumsum(p)
    goal = np.random.default_rng(0).uniform(reach[best], 1, (40, 64))  # only where the tail is
    for row in goal:
        ids, logp = draw(logits, row, Sampling(temp=1.0))
        want = np.searchsorted(reach, row)
        assert np.abs(ids - want).max() <= V * 0.01  # of the tail; the masses themselves are fp32
        assert np.allclose(logp, np.log(p[ids]), atol=1e-4)
    drawn = np.concatenate([draw(logits, row, Sampling(temp=1.0))[0] for row in goal])
    assert len(set(drawn.tolist())) > 2300  # of 2,560; birthdays alone leave 2,495


def test_a_token_without_mass_is_never_drawn() -> None:
    logits = mx.array([[-np.inf, 3.0, -np.inf, 1.0, -np.inf]] * 4)
    for uniform in (0.0, 0.5, 1 - 2**-53):
        ids, logp = draw(logits, np.full(4, uniform), Sampling(temp=1.0))
        assert set(ids.tolist()) <= {1, 3}
        assert np.isfinite(logp).all()
