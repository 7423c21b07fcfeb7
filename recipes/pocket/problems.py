"""Word problems of one to five operations whose space is far too large to learn by heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from recipes.pocket.arithmetic import compute, trained
from recipes.pocket.seeds import Document, Split, generator, wanted
from recipes.pocket.vocabulary import BOYS, GIRLS

# Numbers stay small, so that the difficulty is the chain and not its links: with numbers up to 99 and no upper bound on
# what they add up to, a model of a million parameters got the form of every step and hardly a result; with 20 and 99, one
# carry in twenty went wrong. Three operations still have hundreds of thousands of calculations.
MOST, START, HIGHEST = 15, 40, 79  # a number on or off; the first one; every result


@dataclass(frozen=True)
class Problem:
    """A word problem: text up to the question mark, worked steps, the answer, its key in the split, and `told`: its sentences
    again, each with its steps behind it."""

    text: str
    steps: str
    answer: int
    key: str
    told: str = ""

    @property
    def direct(self) -> str:
        """The prompt that wants the bare answer."""
        return f"{self.text} Answer:"

    @property
    def stepwise(self) -> str:
        """The prompt that wants the steps first."""
        return f"{self.text} Step by step:"

    @property
    def retold(self) -> str:
        """The prompt that wants the problem told again, with its steps."""
        return f"{self.text} Once more:"

    @property
    def worked(self) -> str:
        """What follows the stepwise prompt."""
        return f"{self.steps} Answer: {self.answer}."


@dataclass(frozen=True)
class Schema:
    """A situation with a running number; {a} acts, {b} is another, {t} are things, {n} a number, {m} times {n}."""

    things: str
    start: tuple[str, ...]
    gain: tuple[str, ...]
    loss: tuple[str, ...]
    group: tuple[str, ...]
    ask: str


SCHEMAS = (
    Schema(
        "apples pears eggs cakes lemons onions",
        ("{a} has {n} {t}.", "{a} buys {n} {t}."),
        ("{he} buys {n} more.", "{b} gives {a} {n} more."),
        ("{he} eats {n}.", "{he} gives {n} to {b}.", "{he} sells {n}."),
        ("{he} buys {m} bags with {n} {t} each.",),
        "How many {t} does {a} have now?",
    ),
    Schema(
        "marbles stamps cards shells coins buttons",
        ("{a} has {n} {t} in a box.", "In the box of {a} are {n} {t}."),
        ("{he} finds {n} more.", "{he} puts {n} more into the box."),
        ("{he} loses {n}.", "{b} takes {n}.", "{he} gives {n} to {b}."),
        ("{m} friends bring {n} {t} each.",),
        "How many {t} are in the box now?",
    ),
    Schema(
        "people",
        ("There are {n} {t} on the bus.", "A bus starts with {n} {t}."),
        ("{n} more get on.", "At the school {n} get on."),
        ("{n} get off.", "At the bank {n} get off."),
        ("At {m} stops {n} {t} get on each time.",),
        "How many {t} are on the bus now?",
    ),
    Schema(
        "books",
        ("The library has {n} {t}.", "There are {n} {t} in the library."),
        ("It buys {n} more.", "{a} brings {n} back."),
        ("{a} takes {n} home.", "{n} are lost."),
        ("It buys {m} boxes with {n} {t} each.",),
        "How many {t} are in the library now?",
    ),
    Schema(
        "flowers trees roses carrots",
        ("There are {n} {t} in the garden.", "{a} plants {n} {t} in the garden."),
        ("{a} plants {n} more.", "{b} plants {n} more."),
        ("{a} cuts {n}.", "A storm breaks {n}."),
        ("{a} plants {m} rows with {n} {t} each.",),
        "How many {t} are in the garden now?",
    ),
    Schema(
        "sheep cows hens goats",
        ("The farm has {n} {t}.", "There are {n} {t} on the farm."),
        ("{n} more are born.", "{a} buys {n} more."),
        ("{n} run away.", "{a} sells {n}."),
        ("{m} farmers bring {n} {t} each.",),
        "How many {t} are on the farm now?",
    ),
    Schema(
        "dollars",
        ("{a} has {n} {t}.", "{a} saves {n} {t}."),
        ("{he} earns {n} more.", "{b} gives {a} {n} more."),
        ("{he} spends {n} on a book.", "{he} pays {n} for a coat."),
        ("{he} works {m} days for {n} {t} a day.",),
        "How many {t} does {a} have now?",
    ),
    Schema(
        "boxes",
        ("A ship carries {n} {t}.", "There are {n} {t} on the ship."),
        ("At the harbor it takes {n} more.", "{a} loads {n} more."),
        ("{a} takes {n} off.", "{n} fall into the sea."),
        ("{m} trucks bring {n} {t} each.",),
        "How many {t} are on the ship now?",
    ),
    Schema(
        "guests children",
        ("There are {n} {t} at the party.", "{a} asks {n} {t} to a party and all come."),
        ("{n} more come.", "{b} brings {n} more."),
        ("{n} go home.", "{n} leave early."),
        ("{m} cars come with {n} {t} each.",),
        "How many {t} are at the party now?",
    ),
    Schema(
        "pages",
        ("{a} has written {n} {t}.", "The book of {a} has {n} {t}."),
        ("Then {he} writes {n} more.", "{b} adds {n} more."),
        ("{he} throws {n} away.", "{b} takes out {n}."),
        ("{he} writes for {m} days, {n} {t} a day.",),
        "How many {t} are there now?",
    ),
)


def _moves(r: Random, operations: int) -> list[str]:
    """Gains, losses and groups (which take two operations), as many as asked for."""
    moves: list[str] = []
    while (left := operations - sum(2 if move == "group" else 1 for move in moves)) > 0:
        moves.append("group" if left >= 2 and r.random() < 0.25 else r.choice(("gain", "loss")))
    return moves


def _attempt(r: Random, operations: int) -> Problem | None:
    schema = r.choice(SCHEMAS)
    girl = r.random() < 0.5
    a = r.choice(GIRLS if girl else BOYS)
    names = {"a": a, "b": r.choice([n for n in GIRLS + BOYS if n != a]), "t": r.choice(schema.things.split())}
    value = r.randint(2, START)
    sentences = [r.choice(schema.start).format(n=value, he="", **names)]
    key, steps, told = str(value), [], [sentences[0]]
    # "She" must have somebody to point at.
    named = a in sentences[0]

    def calculate(x: int, operator: str, y: int) -> int:
        steps.append((x, operator, y))
        return compute(x, operator, y)

    for move in _moves(r, operations):
        before = len(steps)
        he = ("She" if girl else "He") if named else a
        n, m = r.randint(2, MOST), 0
        if move == "group":
            m = r.randint(2, 5)
            n = r.randint(2, MOST // m)
            key += f"+{m}*{n}"
            value = calculate(value, "+", calculate(m, "*", n))
        elif move == "gain":
            key += f"+{n}"
            value = calculate(value, "+", n)
        else:
            if value < 4:
                return None
            n = r.randint(2, min(MOST, value - 1))
            key += f"-{n}"
            value = calculate(value, "-", n)
        template = r.choice(getattr(schema, move))
        # Inside a sentence the pronoun is small, unless it is a name.
        if not template.startswith("{he}") and named:
            he = he.lower()
        sentences.append(template.format(n=n, m=m, he=he, **names))
        named = named or a in sentences[-1]
        told.append(f"{sentences[-1][:-1]}: {_written(steps[before:])}.")
    if max(compute(*step) for step in steps) > HIGHEST or not all(trained(*step) for step in steps):
        return None
    return Problem(
        " ".join([*sentences, schema.ask.format(**names)]), f"{_written(steps, '. ')}.", value, key, " ".join(told)
    )


def _written(steps: Sequence[tuple[int, str, int]], separator: str = ", ") -> str:
    return separator.join(f"{x} {operator} {y} = {compute(x, operator, y)}" for x, operator, y in steps)


def problem(seed: int, operations: int = 3, split: Split = "test") -> Problem:
    """A problem of so many operations; the whole calculation is held out iff the split is "test"."""
    # Its single steps are always trained ones: a test problem asks for a new chain, not for new sums.
    r = generator(f"problem:{split}:{operations}", seed)
    while True:
        made = _attempt(r, operations)
        if made and wanted(made.key, split):
            return made


# How problems are written, with weights, and how many operations they then have (1 to 5). Told again they are long: four take
# 130 tokens, five 155. Answered at once only the short ones can be learnt at all.
_FORMS = {"direct": (16, (45, 25, 15, 10, 5)), "bare": (15, (10, 30, 30, 20, 10)), "told": (69, (10, 25, 33, 24, 8))}


def problem_document(seed: int) -> Document:
    """One problem: with the bare answer, with bare steps, or told again with its steps."""
    r = generator("problems", seed)
    form = r.choices(tuple(_FORMS), [weight for weight, _ in _FORMS.values()])[0]
    made = problem(seed, r.choices((1, 2, 3, 4, 5), _FORMS[form][1])[0], "train")
    if form == "direct":
        return Document(f"{made.direct} {made.answer}.", "problems", whole=True)
    if form == "bare":
        return Document(f"{made.stepwise} {made.worked}", "problems", whole=True)
    return Document(f"{made.retold} {made.told} Answer: {made.answer}.", "problems", whole=True)
