"""Passages about people and places nobody has met, and questions that only the passage answers."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from recipes.pocket.atlas import COUNTRIES, ELEMENTS
from recipes.pocket.facts import RELATIONS, passage, question, tell
from recipes.pocket.people import Entity, fresh_person
from recipes.pocket.seeds import Document, Split, article, generator, shuffled, terms, wanted
from recipes.pocket.vocabulary import COLOURS, OPENINGS, THINGS

_CONTINENTS = sorted({continent for _, continent in COUNTRIES.values()})
_PLACES = terms(
    "bakery bank beach castle farm harbor lake library market museum palace school shop station theater zoo"
)
_FOODS = terms("bread butter cake candy cheese corn fish fruit honey jam milk pie rice salad salt soup sugar")
_CAPITALS = {city for city, _ in COUNTRIES.values()}


@dataclass(frozen=True)
class Reading:
    """A passage, a question up to the space before its answer, and the answer."""

    passage: str
    question: str
    answer: str

    @property
    def prompt(self) -> str:
        """Passage and question as the corpus writes them."""
        return f"Passage: {self.passage} {self.question}"


def _syllables(r: Random, split: Split, endings: tuple[str, ...], taken: set[str]) -> str:
    while True:
        name = "".join(r.choices(OPENINGS, k=r.choice((1, 2)))) + r.choice(endings)
        if wanted(name, split) and name not in taken and name.capitalize() not in taken:
            return name


def fresh_country(seed: int | str, split: Split = "train") -> Entity:
    """A country that does not exist, with an invented capital."""
    r = generator(f"country:{split}", seed)
    name = _syllables(r, split, ("via", "land", "nia", "stan"), set(COUNTRIES)).capitalize()
    city = _syllables(r, split, ("burg", "polis", "dam", "ville"), _CAPITALS).capitalize()
    return Entity(name, "country", 0, {"capital": city, "continent": r.choice(_CONTINENTS)}, asked=False)


def fresh_element(seed: int | str, split: Split = "train") -> Entity:
    """An element that does not exist, with a symbol no real one has."""
    r = generator(f"element:{split}", seed)
    name = _syllables(r, split, ("dium", "nium", "tium"), set(ELEMENTS))
    while (symbol := name[0].upper() + r.choice("bdgklmprstxz")) in ELEMENTS.values():
        pass
    return Entity(name, "element", 0, {"symbol": symbol}, asked=False)


def _fresh(r: Random, split: Split) -> list[Entity]:
    seed = str(r.randrange(10**12))
    u = r.random()
    if u < 0.12:
        return [fresh_country(f"{seed}:{i}", split) for i in range(r.choice((1, 2)))]
    if u < 0.2:
        return [fresh_element(f"{seed}:{i}", split) for i in range(r.choice((1, 2)))]
    return [fresh_person(f"{seed}:{i}", split) for i in range(r.choice((1, 1, 1, 2, 2, 3)))]


def reading(seed: int, split: Split = "test", questions: int = 1) -> list[Reading]:
    """One passage about fresh entities and some different questions on it."""
    r = generator(f"reading:{split}", seed)
    found = _fresh(r, split)
    told = [passage(e) if r.random() < 0.5 else tell(r, e, RELATIONS[e.kind]) for e in found]
    text = " ".join(told)
    pairs = shuffled(r, [(e, relation) for e in found for relation in RELATIONS[e.kind]])[:questions]
    forms = (0, 0, 1, 2)
    return [Reading(text, question(e, relation, r.choice(forms)), e.facts[relation]) for e, relation in pairs]


def _recurring(r: Random) -> str:
    """A little report in which the same full names come back, so that copying them pays."""
    seed = r.randrange(10**12)
    one, two = (fresh_person(f"{seed}:{i}") for i in range(2))
    thing, other = r.sample(THINGS, 2)
    thing, other = f"{r.choice(COLOURS)} {thing}", f"{r.choice(COLOURS)} {other}"
    place, food = r.choice(_PLACES), r.choice(_FOODS)
    style = r.randrange(4)
    if style == 0:
        text = (
            f"{one.name} met {two.name} at the {place}. {one.name} had {article(thing)}. "
            f"{two.name} had {article(other)}. Question: Who had the {thing}? Answer: {one.name}. "
            f"Question: Who had the {other}? Answer: {two.name}."
        )
        return text
    if style == 1:
        facts = shuffled(r, [f"the {thing} to {one.name}", f"the {other} to {two.name}"])
        asked = r.choice(((thing, one), (other, two)))
        return (
            f"At the {place} they gave {facts[0]} and {facts[1]}. Now {one.name} has the {thing} and "
            f"{two.name} has the {other}. Question: Who has the {asked[0]}? Answer: {asked[1].name}."
        )
    if style == 2:
        names = [fresh_person(f"{seed}:{i}").name for i in range(3)]
        at = r.randrange(3)
        return (
            f"First came {names[0]}, then {names[1]}, then {names[2]}. "
            f"Question: Who came {('first', 'second', 'third')[at]}? Answer: {names[at]}."
        )
    return (
        f"{one.name} sells {food} at the {place}. Everybody at the {place} knows {one.name}. "
        f"When {two.name} wants {food}, {two.name} asks {one.name}. "
        f"Question: Who sells {food}? Answer: {one.name}."
    )


def reading_document(seed: int) -> Document:
    """A passage with one or two questions, or a report full of recurring names."""
    r = generator("readings", seed)
    if r.random() < 0.25:
        return Document(_recurring(r), "reading")
    found = reading(seed, "train", questions=r.choice((1, 2, 3)))
    asked = " ".join(f"{one.question} {one.answer}." for one in found)
    return Document(f"Passage: {found[0].passage} {asked}", "reading")
