"""Looking things up: conversations with searches in them, and what a model does with a question when it can search."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from lab.calls import Toolbox
from lab.chat import Message, parts
from lab.tools import BROKEN, NOTHING, Tool, shown, terms
from lab.weights import Model
from recipes.lessons import ask, call, exam, facts, result, text
from recipes.lessons.facts import Question
from recipes.lessons.knowledge import Item
from recipes.pocket import entities, passage
from recipes.pocket.corpus import document
from recipes.pocket.people import Entity, fresh_person

ALONE = 0.12  # share of questions about strangers that are answered without a search: "I do not know"
ECHOED = 0.12  # share of echoes among the lookups: names of all kinds said again
TOLD_TO = 0.5  # share of the lookups that a person asks for: they teach how to look up, and nothing about when
# Of these, shares of names that documents told often, and of others that have such a surname: what is remembered of that name
# is not what is found. With .3 and .3 the town was a remembered one, whatever had been found (right .84 of names never told).
OFTEN, NAMESAKES = 0.12, 0.45
ASKING = ("Look it up: {q}", "Search for it: {q}", "Please look this up. {q}", "{q} Look it up.")
NOT_FOUND = ("I do not know: my search found nothing.", "I found nothing about {n}, so I do not know.")
UNREADABLE = ("I do not know: my search does not work right now.",)


def found(r: Random, question: Question) -> list[Message]:
    """A question, the search, the passage it finds, and the answer read from it."""
    told = shown(question.entity.name, passage(question.entity))
    return _asked(question, told, facts.said(r, question))


def missing(r: Random, question: Question) -> list[Message]:
    """A search that finds nothing, somebody of nearly the same name, or cannot read its index: so it does not know."""
    name, u = question.entity.name, r.random()
    if u < 0.45:
        return _asked(question, NOTHING, r.choice(NOT_FOUND).format(n=name))
    if u < 0.6:
        return _asked(question, BROKEN, r.choice(UNREADABLE))
    other = namesake(r, question)
    return _asked(question, shown(other.entity.name, passage(other.entity)), r.choice(NOT_FOUND).format(n=name))


def namesake(r: Random, question: Question) -> Question:
    """The same question about what BM25 finds where the name itself is in no passage: one that shares a word."""
    name, kind = question.entity.name, question.entity.kind
    while True:  # there are not many names of elements, nor first names
        if kind != "person":
            other = facts.stranger_of(r, kind)
        else:
            first, surname = name.split()
            other = fresh_person(r.randrange(1 << 60))
            shared = f"{first} {other.name.split()[1]}" if r.random() < 0.9 else f"{other.name.split()[0]} {surname}"
            other = replace(other, name=shared)
        if other.name != name:
            return replace(question, entity=other)


def _asked(question: Question, told: str, reply: str) -> list[Message]:
    return ask(question.text, [call("search", question.entity.name), result(told), text(reply)])


def lesson(r: Random) -> list[Message] | str:
    """A lookup or, now and then, an echo as pretraining has them: what no lesson ever writes becomes unlikely, and names told
    often, tokens of their own, are in no stranger's name. Without echoes the query for such a name was right in .45, though the
    base copies it in .81."""
    if r.random() < ECHOED:
        return document("echoes", r.randrange(1 << 40)).text
    return looked_up(r)


def looked_up(r: Random) -> list[Message]:
    """A question about somebody or something new each time; one search in eight does not help. With one in three, most of
    somebody else, the model gives up on good passages as well (answers right .72, with one in four .86): it hardly tells
    two names apart that share a word. Now and then it admits at once that it does not know: what it says where no search is
    at hand and calls cannot be drawn. Without these it invented there as it did before the interrogation."""
    if r.random() < TOLD_TO:
        return told_to(r)
    question = facts.some(r, facts.stranger(r))
    if r.random() < ALONE:
        return _admitted(r, question)
    return searched(r, question)


def bare(r: Random) -> list[Message]:
    """A question about somebody new, with a search nobody asked for: when to look up, which less than half of `lesson` says."""
    return searched(r, facts.some(r, facts.stranger(r)))


def searched(r: Random, question: Question) -> list[Message]:
    """A search that helps, mostly."""
    return found(r, question) if r.random() < 7 / 8 else missing(r, question)


def told_to(r: Random) -> list[Message]:
    """A name looked up because the person says so: one that documents told often, somebody who has such a surname, or a
    stranger. Surnames told often are tokens of their own, which strangers' never are, and what no lesson writes becomes
    unlikely: of the known names that no lesson has, every second query was another name."""
    u = r.random()
    entity = r.choice(_told_often()) if u < OFTEN else surnamed(r) if u < OFTEN + NAMESAKES else facts.stranger(r)
    question = facts.some(r, entity)
    question = replace(question, text=r.choice(ASKING).format(q=question.text))
    return found(r, question) if u < OFTEN else searched(r, question)


def surnamed(r: Random) -> Entity:
    """Somebody nobody knows, with a surname that documents told often."""
    while True:
        made = fresh_person(r.randrange(1 << 60))
        name = f"{made.name.split()[0]} {r.choice(_surnames())}"
        if name not in _names():
            return replace(made, name=name)


@cache
def _surnames() -> tuple[str, ...]:
    return tuple(e.name.split()[1] for told in (100, 30) for e in entities("person", told))


@cache
def _names() -> frozenset[str]:
    return frozenset(e.name for e in entities())


@cache
def _told_often() -> tuple[Entity, ...]:
    return tuple(e for told in (100, 30) for e in facts.sides(told)[0])


def alone(r: Random) -> list[Message]:
    """Somebody unknown, admitted at once."""
    return _admitted(r, facts.some(r, facts.stranger(r)))


def _admitted(r: Random, question: Question) -> list[Message]:
    return ask(question.text, r.choice(facts.DONT_KNOW).format(n=question.entity.name))


def answered(r: Random) -> list[Message]:
    """A name told 100 times that lab sft asked about, answered. Nothing else rehearses these afterwards: of them, .52 were
    looked up, of those that the interrogation found known .11."""
    question = facts.some(r, r.choice(_answered()))
    return ask(question.text, facts.said(r, question))


@cache
def _answered() -> tuple[Entity, ...]:
    return tuple(e for e in facts.asked() if e.exposures == 100)


def told(r: Random) -> str:
    """A document of facts as the base model read it, of names as often told as there. It asks about no name that lessons
    leave alone (see facts.asked)."""
    while True:
        made = document("facts", r.randrange(1 << 40)).text
        if not facts.rehearses(made):
            return made


def known(r: Random) -> list[Message]:
    """A name that is well known, looked up all the same: teaches how to search, not when."""
    return found(r, facts.some(r, r.choice(facts.asked())))


# -- what a model does -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Did:
    """What became of a question: whether it searched, whether its first query was the right one, and the verdict."""

    called: bool
    copied: bool
    verdict: str
    reply: Message


def did(model: Model, items: Sequence[Item], tool: Tool, longest: int = 96) -> list[Did]:
    """Greedy replies to questions, with a search at hand."""
    tools = Toolbox(model.tokenizer, [tool])
    out = []
    for one, reply in zip(
        items, exam.replies(model, [i.question for i in items], tools=tools, longest=longest), strict=True
    ):
        asked = [part["text"] for part in parts(reply) if part["type"] == "call"]
        copied = bool(asked) and terms(asked[0]) == terms(one.query)
        out.append(Did(bool(asked), copied, one.verdict(exam.chat.plain(reply)), reply))
    return out


def shares(found: Sequence[Did]) -> dict[str, float]:
    """Shares of the questions: called, copied (of the calls), right, admitted, invented."""
    told = {"called": exam.mean([d.called for d in found]), "copied": exam.mean([d.copied for d in found if d.called])}
    return told | {v: exam.mean([d.verdict == v for d in found]) for v in ("right", "admitted", "invented")}
