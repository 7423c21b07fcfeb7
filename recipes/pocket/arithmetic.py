"""Sums, differences and small products, written and spoken."""

from __future__ import annotations

from random import Random

from recipes.pocket.seeds import Document, Split, generator, held_out, wanted

_SPOKEN = {"+": "plus", "-": "minus", "*": "times"}


def sum_key(a: int, operator: str, b: int) -> str:
    """The key of a calculation in the split; sums and products are the same both ways round."""
    if operator != "-" and a > b:
        a, b = b, a
    return f"{a}{operator}{b}"


def trained(a: int, operator: str, b: int) -> bool:
    """Whether this calculation may occur in training."""
    return not held_out(sum_key(a, operator, b))


def compute(a: int, operator: str, b: int) -> int:
    """The result."""
    return a + b if operator == "+" else a - b if operator == "-" else a * b


def _operands(r: Random, split: Split) -> tuple[int, str, int]:
    while True:
        u = r.random()
        operator = "*" if u < 0.03 else "+" if u < 0.52 else "-"
        if operator == "*":
            a, b = r.randint(2, 9), r.randint(2, 9)
        else:
            # Three of four are like the links of word problems: a small number on, or off, one that is not large.
            a, b = (r.randint(2, 79), r.randint(2, 15)) if r.random() < 0.75 else (r.randint(2, 99), r.randint(2, 99))
            if r.random() < 0.25:
                a, b = b, a
        if operator == "-" and a < b:
            a, b = b, a
        if wanted(sum_key(a, operator, b), split):
            return a, operator, b


def sum_question(
    seed: int, split: Split = "test", operator: str | None = None, spoken: bool = False
) -> tuple[str, str]:
    """Prompt and answer of one calculation of two-digit numbers (one-digit for products)."""
    r = generator(f"sum:{split}:{operator}", seed)
    while True:
        a, sign, b = _operands(r, split)
        if a < 100 and operator in (None, sign):
            prompt = f"Question: What is {a} {_SPOKEN[sign]} {b}? Answer:" if spoken else f"{a} {sign} {b} ="
            return prompt, str(compute(a, sign, b))


def arithmetic_document(seed: int) -> Document:
    """Four to six calculations; now and then they are asked in words."""
    r = generator("arithmetic", seed)
    spoken = r.random() < 0.1
    lines = []
    for _ in range(2 if spoken else r.randint(4, 6)):
        a, sign, b = _operands(r, "train")
        value = compute(a, sign, b)
        lines.append(
            f"Question: What is {a} {_SPOKEN[sign]} {b}? Answer: {value}." if spoken else f"{a} {sign} {b} = {value}."
        )
    return Document(" ".join(lines), "arithmetic")
