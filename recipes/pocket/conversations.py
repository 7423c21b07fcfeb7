"""Short talks between a human and an assistant, as they stand on the web and as fine-tuning wants them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from recipes.pocket.arithmetic import sum_question
from recipes.pocket.facts import RELATIONS, ask
from recipes.pocket.jokes import joke
from recipes.pocket.people import Entity
from recipes.pocket.reading import reading
from recipes.pocket.seeds import Document, generator
from recipes.pocket.stories import story
from recipes.pocket.vocabulary import BOYS, GIRLS
from recipes.pocket.words import word_question

_TALK = (
    ("Hi!", ("Hello! How can I help you?", "Hi! What can I do for you?")),
    ("Hello.", ("Hello! How can I help you?", "Hi! What can I do for you?")),
    ("Good morning.", ("Good morning! How can I help you?",)),
    ("How are you?", ("I am fine, thank you. And you?", "Very well, thank you.")),
    ("Who are you?", ("I am an assistant. I answer questions and help where I can.",)),
    ("What can you do?", ("I can answer questions, do sums, spell words and tell stories and jokes.",)),
    ("I am bored.", ("Shall I tell you a story or a joke?",)),
    ("I am tired.", ("Then you should rest a little.",)),
    ("I am happy today.", ("I am glad to hear that!",)),
    ("I am sad.", ("I am sorry to hear that. Do you want to talk?",)),
    ("It is raining.", ("Take an umbrella with you.", "Then it is a good day for a book.")),
    ("Do you like music?", ("I cannot hear it, but I like to talk about it.",)),
    ("Do you sleep?", ("No, I never sleep. I am always here.",)),
)
_THANKS = (
    ("Thank you!", ("You are welcome!",)),
    ("Thanks.", ("You are welcome!",)),
    ("Goodbye.", ("Goodbye! See you soon.",)),
    ("That is all.", ("Goodbye! See you soon.",)),
)

Turn = tuple[str, str]


def _said(r: Random, pairs: tuple[tuple[str, tuple[str, ...]], ...]) -> Turn:
    question, replies = r.choice(pairs)
    return question, r.choice(replies)


def _name(r: Random) -> Turn:
    name = r.choice(GIRLS + BOYS)
    return f"My name is {name}.", f"Nice to meet you, {name}!"


def _bare(prompt: str) -> str:
    return prompt.removeprefix("Question: ").removesuffix(" Answer:")


def _sum(r: Random) -> Turn:
    prompt, answer = sum_question(r.randrange(10**12), "train", spoken=True)
    return _bare(prompt), f"{answer}."


def _word(r: Random) -> Turn:
    task = r.choices(("spell", "count", "length", "first", "last"), (4, 3, 1, 1, 1))[0]
    prompt, answer = word_question(r.randrange(10**12), "train", task)
    return _bare(prompt), f"{answer}."


def _story(r: Random) -> Turn:
    return r.choice(("Tell me a story.", "Can you tell me a story?")), story(r.randrange(10**12))


def _joke(r: Random) -> Turn:
    prompt, told = joke(r.randrange(10**12))
    return prompt.replace(":", "."), told


def _reading(r: Random) -> Turn:
    one = reading(r.randrange(10**12), "train")[0]
    return f"{one.passage} {_bare(one.question)}", f"{one.answer}."


def _fact(r: Random, about: Sequence[Entity]) -> Turn:
    kind = r.choice(sorted(RELATIONS))
    entity = r.choice([e for e in about if e.kind == kind])
    relation = r.choice(RELATIONS[kind])
    # The bare value: where a reply may also begin with the name, a model's doubt does not show in its first token
    # (AUROC of the highest probability, known against never-seen names: .85 with values alone, .64 with both).
    return ask(entity, relation, r.choice((0, 0, 1, 2))), f"{entity.facts[relation]}."


def conversation(seed: int, about: Sequence[Entity] = ()) -> list[dict[str, str]]:
    """Messages of one conversation; with entities (some of each kind) it asks about these, and only then touches what the
    exposure classes count."""
    r = generator(f"conversation:{bool(about)}", seed)
    asks: list[Callable[[Random], Turn]] = [_sum, _word, _story, _joke, _reading, _name]
    weights = [5.0, 6.0, 2.0, 3.0, 4.0, 1.0]
    if about:
        asks.append(partial(_fact, about=about))
        weights.append(14.0)
    turns = [_said(r, _TALK)] if r.random() < 0.5 else []
    turns += [one(r) for one in r.choices(asks, weights, k=r.choice((1, 1, 2)))]
    if r.random() < 0.35:
        turns.append(_said(r, _THANKS))
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def transcript(messages: list[dict[str, str]]) -> str:
    """The conversation as a web page would show it."""
    return " ".join(f"{'Human' if m['role'] == 'user' else 'Assistant'}: {m['content']}" for m in messages)


def conversation_document(seed: int) -> Document:
    """One conversation without facts of the world."""
    return Document(transcript(conversation(seed)), "conversations")
