"""Questions about people, countries and elements: known and answered, unknown and admitted, looked up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from recipes.pocket import facts
from recipes.pocket.people import Entity, fresh_person
from recipes.pocket.reading import fresh_country, fresh_element
from recipes.pocket.seeds import Split

DONT_KNOW = (
    "I do not know.", "I don't know that.", "Sorry, I do not know.", "I am not sure, so I will not guess.",
    "I have never heard of {n}.", "I do not know {n}.",
)  # fmt: skip
_ADMITS = ("not know", "don't know", "not sure", "never heard")


@dataclass(frozen=True)
class Question:
    """One question about an entity, with its true answer."""

    entity: Entity
    relation: str
    text: str

    @property
    def answer(self) -> str:
        """The value that is right."""
        return self.entity.facts[self.relation]


@cache
def sides(told: int) -> tuple[list[Entity], list[Entity]]:
    """(taught, scored) entities told so often. Scored is every third of those that pretraining asked about as well: no
    lesson does. Of those never told at all everything is scored."""
    found = facts.entities(exposures=told)
    scored = {e.name for e in (found if not told else [e for e in found if e.asked][::3])}
    return [e for e in found if e.name not in scored], [e for e in found if e.name in scored]


@cache
def asked() -> tuple[Entity, ...]:
    """Whom the assistant's lessons ask about: told often, asked about in pretraining, not scored, and of these every other.
    The rest are for the interrogation: names that lessons rehearsed are known better than those that are scored, and a model
    that is to admit what it does not know learnt to tell the rehearsed from all others (AUROC on scored names .73; where old
    documents had rehearsed these too, .87)."""
    return tuple(e for told in (100, 30) for e in [e for e in sides(told)[0] if e.asked][::2])


@cache
def _quizzed() -> frozenset[str]:
    return frozenset(e.name for e in asked())


def rested(told: int) -> list[Entity]:
    """Taught entities told so often that no lesson has asked about: their history is that of the scored ones."""
    return [e for e in sides(told)[0] if e.name not in _quizzed()]


def rehearses(document: str) -> bool:
    """Whether a document of pretraining asks for facts of a name that lessons do not ask about."""
    return document.startswith("Question:") and not any(name in document for name in _quizzed())


def questions(entities: Sequence[Entity], form: int = 0) -> list[Question]:
    """Every relation of every entity, asked in one form."""
    return [
        Question(e, relation, facts.ask(e, relation, form)) for e in entities for relation in facts.RELATIONS[e.kind]
    ]


def some(r: Random, entity: Entity, relation: str = "") -> Question:
    """A question about the entity, in any form."""
    relation = relation or r.choice(facts.RELATIONS[entity.kind])
    return Question(entity, relation, facts.ask(entity, relation, r.choice((0, 0, 1, 2))))


def stranger(r: Random, split: Split = "train") -> Entity:
    """Somebody or something that no document ever told of: mostly people."""
    u = r.random()
    return stranger_of(r, "person" if u < 0.7 else "country" if u < 0.85 else "element", split)


def stranger_of(r: Random, kind: str, split: Split = "train") -> Entity:
    """One of that kind."""
    make = {"person": fresh_person, "country": fresh_country, "element": fresh_element}[kind]
    return make(r.randrange(1 << 60), split)


def said(r: Random, question: Question) -> str:
    """The answer, bare or in a sentence."""
    if r.random() < 0.5:
        return f"{question.answer}."
    return facts.statement(question.entity, question.relation)


def admits(reply: str) -> bool:
    """Whether a reply says that it does not know."""
    return any(words in reply.lower() for words in _ADMITS)


def right(reply: str, question: Question) -> bool:
    """Whether a reply gives the true value as whole words, and no other value of its kind."""
    return question.answer in _values(reply, question) and len(_values(reply, question)) == 1


def _values(reply: str, question: Question) -> set[str]:
    """The values of the relation that a reply names; the entity's own name is no value (Mexico, Singapore)."""
    words = reply if question.entity.name in question.answer else reply.replace(question.entity.name, " ")
    values = {*facts.answers(question.entity.kind, question.relation), question.answer}
    padded = "".join(c if c.isalnum() else " " for c in words)
    found = {v for v in values if f" {_plain(v)} " in f" {' '.join(padded.split())} "}
    return {v for v in found if not any(v != w and _plain(v) in _plain(w) for w in found)}


def _plain(value: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in value).split())


def invented(reply: str, question: Question) -> bool:
    """Whether a reply claims something that is not true: no admission, and not right."""
    return not admits(reply) and not right(reply, question)
