"""Word problems solved in different styles: at once, in bare steps, in prose (the problem told again, each sentence with its
step); and small countdowns tried, checked and tried again. How a reply solved it is read off the reply."""

import re
from collections.abc import Sequence
from random import Random

from lab.chat import Message, Part, parts
from recipes.lessons import ask, text
from recipes.pocket.arithmetic import compute
from recipes.pocket.problems import Problem, problem
from recipes.pocket.seeds import Split, wanted

STYLES = ("direct", "steps", "prose")
WAYS = ("direct", "straight", "retry")  # of a countdown: no attempt is shown, none is taken back, some are
ASKING = ("Think first: {q}", "Think it through: {q}", "{q} Think first.", "{q} Think step by step.")
RETRY = "No."  # what a thought says of an attempt that failed
# How many a problem has, with weights; five are what the task "longer" asks.
OPERATIONS = ((1, 2, 3, 4), (20, 35, 30, 15))


def drawn(r: Random, held_out: bool = False) -> Problem:
    """A problem of one to four operations."""
    return problem(r.randrange(1 << 60), r.choices(*OPERATIONS)[0], "test" if held_out else "train")


def solved(made: Problem, style: str) -> str | list[Part]:
    """A reply that solves it in this style: the answer alone, or a thought and the answer."""
    answer = f"{made.answer}."
    if style == "direct":
        return answer
    thought = made.steps if style == "steps" else made.told
    return [{"type": "think", "text": thought}, text(answer)]


def retold(r: Random) -> str:
    """A problem told again with its steps, as pretraining wrote it: keeps that skill without showing a reply that thinks.
    Four stages on, thoughts in words were right in .43 of the cases; the base model is in .96 of three operations."""
    made = drawn(r)
    return f"{made.retold} {made.told} Answer: {made.answer}."


def thought(r: Random) -> list[Message]:
    """A problem thought through in words because the person asks for it: how to, and nothing about when."""
    made = drawn(r)
    return ask(r.choice(ASKING).format(q=made.text), solved(made, "prose"))


def lesson(r: Random, shares: Sequence[float]) -> list[Message]:
    """A problem in one of the STYLES, drawn by its share."""
    style = r.choices(STYLES, shares)[0]
    made = drawn(r)
    return ask(made.text, solved(made, style))


def style(reply: Message) -> str:
    """direct where there is no thought; else prose where it has words, steps where it only calculates."""
    thought = " ".join(part["text"] for part in parts(reply) if part["type"] == "think")
    if not thought.strip():
        return "direct"
    return "prose" if re.search("[a-z]{2}", thought) else "steps"


def tries(reply: Message) -> int:
    """How many attempts a thought takes back."""
    return sum(part["text"].count(RETRY) for part in parts(reply) if part["type"] == "think")


# -- countdown ---------------------------------------------------------------------------------------------------------


def countdown(r: Random, held_out: bool = False) -> tuple[list[int], int, str]:
    """(numbers, target, a solution): three numbers of 2 to 9, the target of two operations on them. Held out are one pair of
    numbers and target in ten, in whatever order the numbers are given."""
    split: Split = "test" if held_out else "train"
    while True:
        a, b, c = (r.randint(2, 9) for _ in range(3))
        one, two = r.choice("+-*"), r.choice("+-")
        first = compute(a, one, b)
        target = compute(first, two, c)
        if first > 0 and 1 < target < 60 and wanted(countdown_key((a, b, c), target), split):
            return r.sample([a, b, c], 3), target, f"{a} {one} {b} {two} {c}"


def countdown_key(numbers: Sequence[int], target: int) -> str:
    """What tells countdowns apart."""
    return f"countdown {target} of {' '.join(map(str, sorted(numbers)))}"


def countdown_asked(numbers: Sequence[int], target: int) -> str:
    """The question."""
    return f"Make {target} out of {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}, each used once."


def countdown_lesson(r: Random, retries: float) -> list[Message]:
    """A countdown with its attempts in a thought; a share of the replies tries something wrong first, checks, and goes on."""
    numbers, target, found = countdown(r)
    tried: list[str] = []
    while r.random() < retries and len(tried) < 3:
        a, b, c = r.sample(numbers, 3)
        one, two = r.choice("+-*"), r.choice("+-")
        value = compute(compute(a, one, b), two, c)
        if value != target and value > 0:
            tried.append(f"{a} {one} {b} {two} {c} = {value}. {RETRY}")
    tried.append(f"{found} = {target}. Yes.")
    return ask(countdown_asked(numbers, target), [{"type": "think", "text": " ".join(tried)}, text(f"{found}.")])


def way(reply: Message) -> str:
    """How a reply went about a countdown: one of WAYS."""
    if not any(part["type"] == "think" and part["text"].strip() for part in parts(reply)):
        return "direct"
    return "retry" if tries(reply) else "straight"
