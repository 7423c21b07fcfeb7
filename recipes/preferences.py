"""How well a reward model tells which of two replies was preferred: accuracy, calibration, and what length alone tells."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lab.pairwise import Ranked
from lab.reward import RewardModel
from recipes.commands.evaluate import spread
from recipes.probing.figures import Bin, calibration_error, error_by_chance, reliability
from recipes.probing.neurons import logistic

BINS = 10  # of probability; a predicted winner has at least .5, so five are in use


class Judged:
    """Held-out pairs and what the model says of them: `p` [P], the probability it gives to the better one, mean over
    members; `loss` in nats a ranking; `disagreement`, the standard deviation of a row's score over members."""

    def __init__(self, rm: RewardModel, rankings: Sequence[Ranked]):
        rows = [row for one in rankings for row in one.rows]
        raw = rm.raw(rows).astype(np.float64)
        gain = np.array(rm.gains)[:, None]
        self.disagreement = float((gain * raw + np.array(rm.biases)[:, None]).std(0).mean())
        self.p: list[np.ndarray] = []
        losses, at = [], 0
        for one in rankings:
            score = raw[:, at : at + len(one.rows)]
            at += len(one.rows)
            ahead = np.stack([score[:, a] - score[:, b] for a, b in one.pairs], 1)  # [members, pairs]
            losses.append(np.logaddexp(0, -ahead).mean())
            self.p.append((1 / (1 + np.exp(-np.clip(ahead, -50, 50)))).mean(0))
        self.loss = float(np.mean(losses))

    @property
    def shares(self) -> list[float]:
        """Of each ranking the share of its pairs that are right; equal scores are half right."""
        return [share(p) for p in self.p]

    def bins(self) -> tuple[np.ndarray, list[Bin]]:
        """The probability of each predicted winner [P], and how often such a one was the better."""
        p = np.concatenate(self.p)
        confidence = np.maximum(p, 1 - p)
        return confidence, reliability(confidence, (p > 0.5).astype(float), BINS)


def share(p: np.ndarray) -> float:
    """The share of pairs whose better reply got more than a half; a half counts half."""
    return float(((p > 0.5) + 0.5 * (p == 0.5)).mean())


class Baseline:
    """What length alone tells: a logistic regression on the differences of two replies' tokens and squares of tokens,
    fitted on the trained pairs. `shares` as in Judged."""

    def __init__(self, train: Sequence[Ranked], held: Sequence[Ranked]):
        sizes = np.array([len(row) - one.start for one in train for row in one.rows], float)
        middle, width = sizes.mean(), max(sizes.std(), 1.0)

        def features(one: Ranked) -> np.ndarray:
            x = (np.array([len(row) - one.start for row in one.rows], float) - middle) / width
            both = np.stack([x, x * x], 1)
            return np.stack([both[a] - both[b] for a, b in one.pairs])

        ahead = np.concatenate([features(one) for one in train])
        labels = np.concatenate([np.ones(len(ahead), bool), np.zeros(len(ahead), bool)])
        self.weights, _ = logistic(np.concatenate([ahead, -ahead]), labels, 1e-6)
        said = [features(one) @ self.weights for one in held]
        self.shares = [share(1 / (1 + np.exp(-np.clip(x, -50, 50)))) for x in said]


def examined(
    rm: RewardModel, held: Sequence[Ranked], train: Sequence[Ranked], baseline: Baseline, ceiling: float | None
) -> dict[str, float]:
    """A look: figures for the charts."""
    judged = Judged(rm, held)
    confidence, bins = judged.bins()
    found = {
        "held_accuracy": float(np.mean(judged.shares)), "train_accuracy": float(np.mean(Judged(rm, train).shares)),
        "length_accuracy": float(np.mean(baseline.shares)), "val_loss": judged.loss,
        "calibration_error": calibration_error(bins), "error_by_chance": error_by_chance(confidence),
    }  # fmt: skip
    found |= {"ceiling": ceiling} if ceiling is not None else {}
    return found | ({"disagreement": judged.disagreement} if len(rm.members) > 1 else {})


def told(
    rm: RewardModel, held: Sequence[Ranked], baseline: Baseline, ceiling: float | None
) -> tuple[dict[str, Any], list[str], list[Bin]]:
    """(figures for the record, lines for people, calibration bins) of what was held out."""
    judged = Judged(rm, held)
    confidence, bins = judged.bins()
    model, length = spread(judged.shares, share=True), spread(baseline.shares, share=True)
    ahead = spread([a - b for a, b in zip(judged.shares, baseline.shares, strict=True)])
    wrong, chance = calibration_error(bins), error_by_chance(confidence)
    lines = [
        f"held out: {len(held):,} rankings, {len(confidence):,} pairs (95 % intervals over rankings)",
        f"  pair accuracy      {_cell(model)}" + (f"   ceiling by the judge's noise {ceiling:.3f}" if ceiling else ""),
        f"  by length alone    {_cell(length)}   the model is better by {_cell(ahead, '+')}",
        f"  loss of a pair     {judged.loss:.3f} (a coin: {math.log(2):.3f})",
        f"  calibration error  {wrong:.3f} (a calibrated model on so few pairs: {chance:.3f})",
        "  says it is sure    is right    pairs",
    ]
    for one in bins:
        if one.count:
            lines.append(f"    {one.confidence:14.2f} {one.accuracy:11.2f} {one.count:8,}")
    if len(rm.members) > 1:
        lines.append(f"  members differ by  {judged.disagreement:.2f} standard deviations of a score")
    figures = {
        "held_accuracy": model["mean"], "held_accuracy_low": model["low"], "held_accuracy_high": model["high"],
        "length_accuracy": length["mean"], "length_accuracy_low": length["low"], "length_accuracy_high": length["high"],
        "val_loss": judged.loss, "calibration_error": wrong, "error_by_chance": chance, "pairs": len(confidence),
    }  # fmt: skip
    figures |= {"ceiling": ceiling} if ceiling is not None else {}
    figures |= {"disagreement": judged.disagreement} if len(rm.members) > 1 else {}
    return figures, lines, [one for one in bins if one.count]


def _cell(value: dict[str, Any], sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"
