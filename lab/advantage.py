"""Rewards of a group of replies to one prompt -> how much each is to be learnt from. None = unscorable: no part of any mean,
and 0. Pure arithmetic, no MLX.

With 0/1 rewards `centred` ascends the pass rate p, `standardised` arcsin(sqrt p), `right_only` log p (Davis & Recht 2025,
arXiv:2510.13651).
"""

import math
from collections.abc import Callable, Sequence

Rewards = Sequence[float | None]
EQUAL = 1e-8  # rewards closer than this are the same


def known(rewards: Rewards) -> list[float]:
    """The rewards there are."""
    return [r for r in rewards if r is not None]


def centred(rewards: Rewards) -> list[float]:
    """r - mean: no division by the spread, which weighs very easy and very hard prompts up (Dr. GRPO, Liu et al. 2025,
    arXiv:2503.20783)."""
    have = known(rewards)
    if not have or max(have) - min(have) < EQUAL:  # exactly 0, not what rounding leaves of it
        return [0.0] * len(rewards)
    mean = sum(have) / len(have)
    return [0.0 if r is None else r - mean for r in rewards]


def standardised(rewards: Rewards) -> list[float]:
    """(r - mean) / std, std over the group's members (GRPO, Shao et al. 2024, arXiv:2402.03300)."""
    centre, have = centred(rewards), known(rewards)
    if not any(centre):
        return centre
    mean = sum(have) / len(have)
    std = math.sqrt(sum((r - mean) ** 2 for r in have) / len(have))
    return [c / (std + 1e-6) for c in centre]


def leave_one_out(rewards: Rewards) -> list[float]:
    """r - the mean of the others (RLOO, Ahmadian et al. 2024, arXiv:2402.14740): an unbiased baseline, centred's times
    n / (n - 1)."""
    n = len(known(rewards))
    return [c * n / (n - 1) for c in centred(rewards)] if n > 1 else [0.0] * len(rewards)


def right_only(rewards: Rewards) -> list[float]:
    """1 for a reward of more than a half, else 0: keep the right ones and imitate them."""
    return [1.0 if r is not None and r > 0.5 else 0.0 for r in rewards]


ADVANTAGES: dict[str, Callable[[Rewards], list[float]]] = {
    "centred": centred, "standardised": standardised, "leave_one_out": leave_one_out, "right_only": right_only,
}  # fmt: skip


def pass_at(k: int, n: int, right: int) -> float:
    """The chance that at least one of k replies is right, unbiased from n >= k of which `right` are (Chen et al. 2021,
    arXiv:2107.03374)."""
    if not 0 < k <= n:
        raise ValueError(f"pass@{k} of {n} replies")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)
