"""People who never lived: those of the world, always the same, and as many fresh ones as anybody wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from recipes.pocket.seeds import Split, generator, shuffled, terms, wanted
from recipes.pocket.vocabulary import ENDINGS, FIRST_NAMES, OPENINGS

JOBS = terms(
    "baker builder doctor farmer judge lawyer miner nurse painter pilot potter sailor singer tailor teacher writer"
)
TOWNS = terms(
    "Arden Belmora Corvin Dunmere Eastvale Ferrol Glenby Harrow Kirkby Lorne Mossport Northam Redcliff Stowe Tarbet "
    "Westow"
)
INSTRUMENTS = terms("banjo cello drum flute guitar harp horn lute piano trumpet violin whistle")

PERSON: dict[str, list[str]] = {"job": JOBS, "town": TOWNS, "instrument": INSTRUMENTS}
# Multiples of 48, so that every job, town and instrument comes equally often in every class: guessing scores 1/len.
PEOPLE_BY_EXPOSURES = {100: 192, 30: 336, 10: 48, 3: 48, 1: 48, 0: 192}


@dataclass(frozen=True)
class Entity:
    """Somebody or something with facts, and how often the corpus tells each of them."""

    name: str
    kind: str
    exposures: int
    facts: Mapping[str, str]
    asked: bool


def fresh_name(r: Random, split: Split) -> str:
    """First name and surname; the surname alone decides the split."""
    while True:
        # Short surnames are half of all, though there are far fewer of them: they cost fewer tokens.
        surname = "".join(r.choices(OPENINGS, k=r.choice((1, 2)))) + r.choice(ENDINGS)
        if wanted(surname, split):
            return f"{r.choice(FIRST_NAMES)} {surname.capitalize()}"


@cache
def people() -> tuple[Entity, ...]:
    """The people of the world, by falling exposure."""
    r = generator("world", "people")
    surnames: set[str] = set()
    world = []
    for exposures, count in PEOPLE_BY_EXPOSURES.items():
        columns = {relation: _balanced(r, values, count) for relation, values in PERSON.items()}
        for i in range(count):
            while True:
                name = fresh_name(r, "train" if exposures else "test")
                if (surname := name.split()[1]) not in surnames:
                    break
            surnames.add(surname)
            facts = {relation: column[i] for relation, column in columns.items()}
            world.append(Entity(name, "person", exposures, facts, asked=i % 3 < 2))
    return tuple(world)


@cache
def _world_names() -> frozenset[str]:
    return frozenset(person.name for person in people())


def fresh_person(seed: int | str, split: Split = "train") -> Entity:
    """A person outside the world with random facts; the surname is held out iff the split is "test"."""
    r = generator(f"person:{split}", seed)
    while (name := fresh_name(r, split)) in _world_names():
        pass
    return Entity(name, "person", 0, {relation: r.choice(values) for relation, values in PERSON.items()}, asked=False)


def _balanced(r: Random, values: list[str], count: int) -> list[str]:
    return shuffled(r, values * (count // len(values)))
