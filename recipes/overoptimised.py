"""Roads away from a model, as best-of-n and as reinforcement learning: how far (d, the square root of the KL in nats), what
the reward says there (proxy) and what it stands for (gold); and the curves of Gao et al. 2022 (arXiv:2210.10760, section 3)
through them. Pure arithmetic over figures and records.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from lab.errors import UserError
from lab.runs import find, read_json, read_lines
from recipes.bestof import Told, best_of, divergence, powers, scale
from recipes.commands.evaluate import DRAWS, spread

Form = Literal["best-of-n", "rl"]


@dataclass(frozen=True)
class Place:
    """A place on a road: its label (n, or the step), KL in nats, proxy and gold in standard deviations of the start's
    replies, 0 at the start, NaN where nobody measured; where known their intervals."""

    label: int
    kl: float
    proxy: float
    gold: float
    spans: Mapping[str, Any] = field(default_factory=dict)

    @property
    def d(self) -> float:
        """The distance: sqrt(KL). An estimate of a KL may fall below 0."""
        return math.sqrt(max(self.kl, 0.0))


@dataclass(frozen=True)
class Curve:
    """R(d) = d * (alpha - beta * d) of best-of-n, d * (alpha - beta * log d) of reinforcement learning."""

    form: Form
    alpha: float
    beta: float
    r2: float

    def __call__(self, d: float) -> float:
        """R at a distance."""
        if d <= 0:
            return 0.0
        return d * (self.alpha - self.beta * (d if self.form == "best-of-n" else math.log(d)))

    @property
    def top(self) -> float | None:
        """Where R is highest: alpha / (2 beta), or exp(alpha / beta - 1); None where it only rises."""
        if self.beta <= 0:
            return None
        if self.form == "best-of-n":
            return self.alpha / (2 * self.beta)
        ratio = self.alpha / self.beta - 1
        return math.exp(ratio) if ratio < 50 else None

    def __str__(self) -> str:
        where = "d" if self.form == "best-of-n" else "log d"
        sign = "-" if self.beta >= 0 else "+"
        return f"d ({self.alpha:.3f} {sign} {abs(self.beta):.3f} {where})"


SPAN = 1.5  # the farthest place over the nearest, in d


def fitted(form: Form, d: Sequence[float], reward: Sequence[float]) -> Curve | None:
    """The curve through rewards at distances, by least squares; None with fewer than three places away from the start, or where
    these lie so close together (see SPAN) that the curve would be made up: of seven looks between 2.26 and 2.32 it began with a
    fall of 1.7 standard deviations that nobody had seen."""
    far, said = np.asarray(d, np.float64), np.asarray(reward, np.float64)
    kept = (far > 0) & np.isfinite(said)
    far, said = far[kept], said[kept]
    if len(far) < 3 or far.max() < SPAN * far.min():
        return None
    columns = np.stack([far, -far * (far if form == "best-of-n" else np.log(far))], 1)
    (alpha, beta), *_ = np.linalg.lstsq(columns, said, rcond=None)
    left = said - columns @ np.array([alpha, beta])
    total = float(((said - said.mean()) ** 2).sum())
    return Curve(form, float(alpha), float(beta), 1 - float((left**2).sum()) / total if total > 0 else math.nan)


# -- best of n ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooled:
    """What best-of-n makes of a pool: gains [prompts, places] of proxy and gold."""

    ns: list[int]
    proxy: np.ndarray
    gold: np.ndarray

    @property
    def places(self) -> list[Place]:
        """The road, n = 1 first."""
        rows = []
        for i, n in enumerate(self.ns):
            spans = {"proxy": spread(list(self.proxy[:, i])), "gold": spread(list(self.gold[:, i]))}
            rows.append(Place(n, divergence(n), spans["proxy"]["mean"], spans["gold"]["mean"], spans))
        return rows

    def curves(self, which: Literal["proxy", "gold"]) -> tuple[Curve | None, dict[str, list[float]]]:
        """The fit to the means over prompts, and 95 % intervals of alpha and beta (bootstrap over prompts)."""
        d, values = [math.sqrt(divergence(n)) for n in self.ns], getattr(self, which)
        picks = np.random.default_rng(0).integers(len(values), size=(DRAWS // 4, len(values)))
        drawn = [fitted("best-of-n", d, list(values[pick].mean(0))) for pick in picks]
        spans = {
            name: [float(v) for v in np.quantile([getattr(one, name) for one in drawn if one], (0.025, 0.975))]
            for name in ("alpha", "beta")
            if all(drawn)
        }
        return fitted("best-of-n", d, list(values.mean(0))), spans


def pooled(found: Sequence[Told], samples: int) -> Pooled:
    """Best of 1, 2, 4, ... of a pool's replies by proxy, in standard deviations of all of them."""
    ns = powers(samples)
    (pm, ps), (gm, gs) = scale([one.proxy for one in found]), scale([one.gold for one in found])
    proxy = [[(best_of(n, one.proxy, one.proxy) - pm) / ps for n in ns] for one in found]
    gold = [[(best_of(n, one.proxy, one.gold) - gm) / gs for n in ns] for one in found]
    return Pooled(ns, np.array(proxy), np.array(gold))


# -- runs --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Road:
    """A run: its looks as places, the text that each look found most overrated, what it began as."""

    name: str
    parent: str
    places: list[Place]
    texts: dict[int, dict[str, Any]]


def road(run: str, proxy_std: float, gold_std: float) -> Road:
    """The looks of a run of `lab rlhf` or `lab dpo`: held-out figures where it has them, else those of its steps. Gains over
    its first look, in standard deviations of the start's replies. UserError where it has no KL and gold."""
    folder, _ = find(run)
    rows = [row for row in read_lines(folder / "metrics.jsonl") if isinstance(row, dict)]
    for prefix in ("held_", ""):
        seen = [row for row in rows if "event" not in row and _number(row.get(f"{prefix}gold")) is not None]
        seen = [row for row in seen if _number(row.get(f"{prefix}kl")) is not None or row.get("step") == 0]
        if len(seen) > 1:
            break
    else:
        raise UserError(
            f"--runs {run}: has no looks with KL and gold; runs of lab rlhf and lab dpo on the pocket's jokes do"
        )
    first = seen[0]

    def gain(row: dict[str, Any], name: str, width: float) -> float:
        now, then = _number(row.get(prefix + name)), _number(first.get(prefix + name))
        return math.nan if now is None or then is None else (now - then) / width

    places = [
        Place(
            int(row["step"]),
            _number(row.get(f"{prefix}kl")) or 0.0,
            gain(row, "reward", proxy_std),
            gain(row, "gold", gold_std),
        )
        for row in seen
    ]
    base = _number(first.get(f"{prefix}gold")) or 0.0
    texts = {}
    for row in rows:
        if row.get("event") == "gap" and isinstance(row.get("text"), str) and _number(row.get("gold")) is not None:
            proxy = _number(row.get("proxy"))
            texts[int(row["step"])] = {
                "text": row["text"], "prompt": row.get("prompt", ""), "text_gold": (row["gold"] - base) / gold_std,
                "text_proxy": math.nan if proxy is None else proxy / proxy_std,
            }  # fmt: skip
    return Road(run, str(read_json(folder / "run.json").get("parent") or ""), places, texts)


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None
