"""Entities and their facts, in exposure classes: told 100, 30, 10, 3, 1 or 0 times in the whole corpus."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random

from recipes.pocket.atlas import COUNTRIES, ELEMENTS, FAMOUS_COUNTRIES, FAMOUS_ELEMENTS
from recipes.pocket.people import PERSON, Entity, people
from recipes.pocket.phrases import COMBINED, PASSAGES, QUESTIONS, STATEMENTS
from recipes.pocket.seeds import Document, generator, shuffled

COUNTRIES_BY_EXPOSURES = {100: 60, 30: 30, 10: 20, 3: 12, 1: 8, 0: 14}
ELEMENTS_BY_EXPOSURES = {100: 30, 30: 10, 10: 8, 3: 6, 1: 4, 0: 6}
RELATIONS: dict[str, tuple[str, ...]] = {
    "person": ("job", "town", "instrument"),
    "country": ("capital", "continent"),
    "element": ("symbol",),
}
# How the relations of one telling are spread over documents, with weights: all at once is cheap in tokens,
# one at a time makes each fact stand alone.
_SPREADS: dict[int, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    1: (((1,),), (1,)),
    2: (((2,), (1, 1)), (65, 35)),
    3: (((3,), (2, 1), (1, 1, 1)), (65, 22, 13)),
}


@cache
def _world() -> tuple[Entity, ...]:
    rows: dict[str, dict[str, dict[str, str]]] = {
        "country": {name: {"capital": city, "continent": part} for name, (city, part) in COUNTRIES.items()},
        "element": {name: {"symbol": symbol} for name, symbol in ELEMENTS.items()},
    }
    world = list(people())
    for kind, famous, sizes in (
        ("country", FAMOUS_COUNTRIES, COUNTRIES_BY_EXPOSURES),
        ("element", FAMOUS_ELEMENTS, ELEMENTS_BY_EXPOSURES),
    ):
        # What everybody has heard of is what the web repeats; the rest falls where it falls.
        rest = shuffled(generator("world", kind), [name for name in rows[kind] if name not in famous])
        names = iter([*famous, *rest])
        for exposures, count in sizes.items():
            for i, name in zip(range(count), names, strict=False):
                world.append(Entity(name, kind, exposures, rows[kind][name], asked=i % 3 < 2))
    return tuple(world)


def entities(kind: str | None = None, exposures: int | None = None) -> list[Entity]:
    """The entities of the world, filtered; the list and its order never change."""
    return [e for e in _world() if kind in (None, e.kind) and exposures in (None, e.exposures)]


def answers(kind: str, relation: str) -> list[str]:
    """All candidate values of a relation, sorted."""
    return sorted(PERSON[relation]) if kind == "person" else sorted({e.facts[relation] for e in entities(kind)})


def chance(kind: str, relation: str) -> float:
    """The share of the commonest value: what the best constant answer scores."""
    values = [e.facts[relation] for e in entities(kind)]
    return max(values.count(value) for value in set(values)) / len(values)


def ask(entity: Entity, relation: str, form: int = 0) -> str:
    """The bare question, as a person would ask it in a chat."""
    forms = QUESTIONS[relation]
    return forms[form % len(forms)].format(n=entity.name)


def question(entity: Entity, relation: str, form: int = 0) -> str:
    """The question as the corpus writes it, ending right before the space of the answer."""
    return f"Question: {ask(entity, relation, form)} Answer:"


def statement(entity: Entity, relation: str, form: int = 0) -> str:
    """One sentence that tells one fact."""
    forms = STATEMENTS[relation]
    return forms[form % len(forms)].format(n=entity.name, v=entity.facts[relation])


def cloze(entity: Entity, relation: str) -> str:
    """The beginning of a statement, up to the space before the value."""
    return STATEMENTS[relation][0].format(n=entity.name, v="\0").split(" \0")[0]


def passage(entity: Entity) -> str:
    """All facts of an entity in one or two sentences."""
    return PASSAGES[entity.kind].format(n=entity.name, **entity.facts)


def index() -> list[tuple[str, str]]:
    """Title and text of every entity, the never-told ones too: the documents of the search index."""
    return [(e.name, passage(e)) for e in entities()]


def tell(r: Random, entity: Entity, relations: tuple[str, ...]) -> str:
    """One sentence or two that tell these facts, in a random form."""
    if len(relations) == 1:
        return statement(entity, relations[0], r.randrange(len(STATEMENTS[relations[0]])))
    order = tuple(relation for relation in RELATIONS[entity.kind] if relation in relations)
    return r.choice(COMBINED[order]).format(n=entity.name, **entity.facts)


def _quiz(r: Random, entity: Entity, relations: tuple[str, ...]) -> str:
    parts = []
    for relation in relations:
        # The first form is the one that is scored, so it comes in half of all questions.
        form = 0 if r.random() < 0.5 else r.randrange(1, len(QUESTIONS[relation]))
        parts.append(f"{question(entity, relation, form)} {entity.facts[relation]}.")
    return " ".join(parts)


def exposures(entity: Entity, seed: int, times: int) -> Iterator[Document]:
    """Documents that tell each fact of an entity exactly so many times."""
    r = generator(f"facts:{seed}", entity.name)
    relations = RELATIONS[entity.kind]
    spreads, weights = _SPREADS[len(relations)]
    for i in range(times):
        asking = entity.asked and times >= 3 and i % 3 == 2
        order = shuffled(r, relations)
        for size in r.choices(spreads, weights)[0]:
            part, order = tuple(order[:size]), order[size:]
            yield Document(_quiz(r, entity, part) if asking else tell(r, entity, part), "facts", whole=True)


def fact_documents(seed: int, weight: float = 1.0) -> list[Document]:
    """All documents of all facts, in world order; the weight multiplies every exposure and rounds."""
    return [d for e in entities() for d in exposures(e, seed, round(e.exposures * weight))]


def fact_document(seed: int) -> Document:
    """One of the fact documents, drawn as often as the corpus has it."""
    r = generator("facts", seed)
    world = entities()
    entity = r.choices(world, [e.exposures for e in world])[0]
    return r.choice(list(exposures(entity, seed, entity.exposures)))
