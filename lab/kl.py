"""The price of leaving the reference: k1 in the reward, fixed or steered to a divergence."""

from dataclasses import dataclass

WINDOW, HORIZON = 0.2, 10_000.0  # the largest error that counts; replies over which the price may move by e * error


@dataclass
class Penalty:
    """`price` of a nat. With a `target` it is the controller of Ziegler et al. 2019 (arXiv:1909.08593, section 2.2): after
    `n` replies of mean divergence d it is multiplied by 1 + clip(d / target - 1, -.2, .2) * n / horizon."""

    price: float
    target: float | None = None
    horizon: float = HORIZON

    def update(self, divergence: float, n: int) -> None:
        """Steer by what the last `n` replies diverged on average, nats; without a target nothing moves."""
        if self.target is not None:
            error = min(WINDOW, max(-WINDOW, divergence / self.target - 1))
            self.price *= 1 + error * n / self.horizon
