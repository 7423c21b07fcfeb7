"""Calibration: of the tokens a model is 80 % sure of, do 80 % come?"""

from dataclasses import asdict

import numpy as np

from recipes.probing.figures import calibration_error, error_by_chance, reliability
from recipes.probing.subject import Found, Subject
from recipes.probing.text import score


def parts(subject: Subject) -> dict[str, np.ndarray]:
    """Windows as long as those the model was trained on."""
    return {"held_out": subject.windows(min(subject.window, subject.trained_length), subject.sizes.tokens)}


def measure(subject: Subject, windows: np.ndarray) -> Found:
    """Every id counts, specials too: they are predicted like any other."""
    scores = score(subject.network, windows)
    top, hit = scores.top.ravel(), scores.hit.ravel()
    rows = reliability(top, hit)
    return Found(
        {
            "tokens": len(top),
            "nll": float(scores.nll.mean()),
            "confidence": float(top.mean()),
            "accuracy": float(hit.mean()),
            "ece": calibration_error(rows),
            "ece_by_chance": error_by_chance(top, subject.seed),
            "bins": {f"{row.low:.1f}-{row.high:.1f}": asdict(row) for row in rows if row.count},
        }
    )


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The reliability table and its reading."""
    found = parts["held_out"].numbers
    lines = ["probability of the likeliest token   mean  came true  tokens"]
    for key, n in found["bins"].items():
        bar = "#" * round(30 * n["accuracy"])
        lines.append(f"  {key:31}   {n['confidence']:.3f}  {n['accuracy']:9.3f}  {n['count']:6}  {bar}")
    lines.append(
        f"{found['tokens']:,} tokens: {found['nll']:.3f} nats a token, calibration error {found['ece']:.3f} "
        f"(a perfect model on so many tokens: {found['ece_by_chance']:.3f})"
    )
    gap = found["confidence"] - found["accuracy"]
    side = "too sure of itself" if gap > 0 else "not sure enough of itself"
    if abs(gap) < 0.01:
        side = "right on the whole, but not at every probability"
    said = f"It gives its first choice {100 * found['confidence']:.0f} % and is right {100 * found['accuracy']:.0f} %"
    well = found["ece"] < max(0.03, 2 * found["ece_by_chance"])
    said += ": its probabilities can be taken at their word." if well else f": it is {side}."
    return "\n".join([*lines, said])
