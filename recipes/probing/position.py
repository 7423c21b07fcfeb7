"""Bits per byte by position in the window: what reading more of the text before is worth."""

import math

import numpy as np

from lab import data
from recipes.probing.subject import Found, Subject
from recipes.probing.text import buckets, score


def parts(subject: Subject) -> dict[str, np.ndarray]:
    """Windows of the model's whole context (at most LONGEST_WINDOW tokens)."""
    return {"held_out": subject.windows(subject.window, subject.sizes.tokens)}


def measure(subject: Subject, windows: np.ndarray) -> Found:
    """Bits a byte in each bucket of positions, and over all. Specials are no text and do not count."""
    nll, bytes_of = score(subject.network, windows).nll, data.byte_lengths(subject.tokenizer)[windows[:, 1:]]
    bits = np.where(bytes_of > 0, nll, 0) / math.log(2)
    rows = {
        f"{a}-{b - 1}": {
            "bits_per_byte": float(bits[:, a:b].sum() / max(1, bytes_of[:, a:b].sum())),
            "nll": float(nll[:, a:b].mean()),
            "tokens": int(nll[:, a:b].size),
        }
        for a, b in buckets(windows.shape[1] - 1)
    }
    total = float(bits.sum() / max(1, bytes_of.sum()))
    return Found({"bits_per_byte": total, "tokens": int(nll.size), "buckets": rows})


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table and its reading."""
    found = parts["held_out"].numbers
    lines = [f"on {subject.text}: {found['bits_per_byte']:.3f} bits per byte over {found['tokens']:,} tokens"]
    lines.append("position   bits per byte  nats a token  tokens")
    for key, n in found["buckets"].items():
        beyond = "  beyond its training window" if int(key.split("-")[0]) >= subject.trained_length else ""
        lines.append(f"{key:9}  {n['bits_per_byte']:13.3f}  {n['nll']:12.3f}  {n['tokens']:6}{beyond}")
    trained = [k for k in found["buckets"] if int(k.split("-")[0]) < subject.trained_length]
    first, best = found["buckets"][trained[0]]["bits_per_byte"], found["buckets"][trained[-1]]["bits_per_byte"]
    if len(trained) > 1:
        said = f"A byte costs {first:.2f} bits at the window's start and {best:.2f} at positions {trained[-1]}: "
        lines.append(
            said + ("it uses what it has read." if best < first * 0.97 else "it gains nothing from what stands before.")
        )
    if later := [k for k in found["buckets"] if k not in trained]:
        last = found["buckets"][later[-1]]["bits_per_byte"]
        said = f"At {later[-1]}, positions it was never trained on, {last:.2f}: "
        lines.append(said + ("it does not reach beyond its training window." if last > best * 1.1 else "no worse."))
    return "\n".join(lines)
