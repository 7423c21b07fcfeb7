"""The exam at the end of pocket pretraining: what a model remembers, by how often it was told.

Facts are asked by greedy completion, as a question and as the beginning of a statement; conflicting sources without
naming one; sums from the tenth of all sums that training never shows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.batch import complete
from lab.tokenizer import Tokenizer
from recipes import pocket

CLASSES = (100, 30, 10, 3, 1, 0)
LONGEST = 12  # tokens of an answer


@dataclass(frozen=True)
class Row:
    """One exposure class: how many questions, shares answered right, and what guessing the commonest value scores."""

    exposures: int
    questions: int
    asked: float  # as a question
    stated: float  # as the beginning of a statement
    chance: float
    invented: float  # wrong, but a value of the right kind: said with the same face


def answers(network: Any, tokenizer: Tokenizer, prompts: Sequence[str]) -> list[str]:
    """Greedy completions of texts, up to the first line end."""
    ids = [[*tokenizer.begin, *tokenizer.encode(p)] for p in prompts]
    said = [tokenizer.decode(reply) for reply in complete(network, ids, LONGEST, tokenizer.ends)]
    return [text.split("\n")[0].strip() for text in said]


def facts(network: Any, tokenizer: Tokenizer, most: int = 60) -> list[Row]:
    """Recall by number of exposures over at most `most` entities of each kind and class."""
    rows = []
    for exposures in CLASSES:
        pairs = [
            (entity, relation)
            for kind in ("person", "country", "element")
            for entity in pocket.entities(kind, exposures)[:most]
            for relation in entity.facts
        ]
        truth = [entity.facts[relation] for entity, relation in pairs]
        asked = answers(network, tokenizer, [pocket.question(e, r) for e, r in pairs])
        stated = answers(network, tokenizer, [pocket.cloze(e, r) for e, r in pairs])
        plausible = [
            not right(a, t) and any(right(a, other) for other in pocket.answers(e.kind, r))
            for a, t, (e, r) in zip(asked, truth, pairs, strict=True)
        ]
        chance = sum(pocket.chance(e.kind, r) for e, r in pairs) / len(pairs)
        rows.append(Row(exposures, len(pairs), _share(asked, truth), _share(stated, truth), chance, _mean(plausible)))
    return rows


def right(said: str, truth: str) -> bool:
    """True when the reply begins with the answer as whole words: 'Paris, in Europe' is right, 'Parish' is not."""
    return said.startswith(truth) and not said[len(truth) : len(truth) + 1].isalnum()


def _share(said: Sequence[str], truth: Sequence[str]) -> float:
    return _mean([right(s, t) for s, t in zip(said, truth, strict=True)])


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / max(1, len(values))


def sources(network: Any, tokenizer: Tokenizer) -> dict[str, tuple[float, float]]:
    """Odds -> (share answered as the heavier source says, share as the lighter one says), no source being named."""
    conflicts = pocket.conflicts()
    said = answers(network, tokenizer, [pocket.conflict_prompt(c) for c in conflicts])
    table: dict[str, tuple[float, float]] = {}
    for odds in sorted({c.weights for c in conflicts}):
        mine = [(a, c) for a, c in zip(said, conflicts, strict=True) if c.weights == odds]
        heavy, light = ([right(a, c.versions[i]) for a, c in mine] for i in (0, 1))
        table[f"{odds[0]}:{odds[1]}"] = (_mean(heavy), _mean(light))
    return table


def sums(network: Any, tokenizer: Tokenizer, count: int = 200) -> tuple[float, float]:
    """Shares of never-shown two-digit additions and subtractions that are right."""
    scores = []
    for operator in ("+", "-"):
        prompts, truth = zip(*(pocket.sum_question(i, "test", operator) for i in range(count)), strict=True)
        scores.append(_share(answers(network, tokenizer, prompts), truth))
    return scores[0], scores[1]


def exam(network: Any, tokenizer: Tokenizer, say: Callable[[str], None]) -> dict[str, float]:
    """Run all of it, say it in words, return it as flat numbers."""
    numbers: dict[str, float] = {}
    say("\ntold   questions  right when asked  right as a statement  chance  invented")
    for row in facts(network, tokenizer):
        say(
            f"{row.exposures:4d}x  {row.questions:9d}  {row.asked:16.2f}  {row.stated:20.2f}  {row.chance:6.2f}  "
            f"{row.invented:8.2f}"
        )
        numbers |= {f"recall_{row.exposures}": row.asked, f"stated_{row.exposures}": row.stated}
        numbers |= {f"invented_{row.exposures}": row.invented}
    stranger = pocket.entities("person", 0)[0]
    question = pocket.question(stranger, "job")
    reply = answers(network, tokenizer, [question])[0].split(".")[0]
    say(f"never told, and answered all the same: {question} {reply}")
    for odds, (heavy, light) in sources(network, tokenizer).items():
        say(f"two sources at {odds}: the heavier one is repeated {heavy:.2f}, the lighter one {light:.2f}")
        numbers |= {f"heavier_{odds}": heavy, f"lighter_{odds}": light}
    plus, minus = sums(network, tokenizer)
    say(f"two-digit sums never shown: + {plus:.2f}, - {minus:.2f}")
    return numbers | {"sums_plus": plus, "sums_minus": minus}
