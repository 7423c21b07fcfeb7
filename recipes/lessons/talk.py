"""The assistant: questions, sums, stories and small talk; programmed by example with two styles and a refusal."""

import re
from collections.abc import Sequence
from random import Random

from lab.chat import Message
from recipes.lessons import ask, facts
from recipes.pocket.conversations import conversation
from recipes.pocket.corpus import KINDS, document
from recipes.pocket.jokes import joke
from recipes.pocket.people import Entity
from recipes.pocket.reading import reading
from recipes.pocket.seeds import Split, article, wanted
from recipes.pocket.vocabulary import ANIMALS, CLOTHES, FOODS, THINGS

REMEMBERED = {"facts": 0.6, "problems": 0.2}  # shares among documents that are read again; the rest are of any kind
SUNNY = 0.7  # share of the sunny style in the demonstrations; the rest are dry
# Where the styles show: how do you like something of mine. Things are split, so scored questions were never asked.
OPINIONS = (
    "What do you think of my {t}?", "Do you like my {t}?", "Look, this is my {t}.", "I have got {a}.",
    "How do you find my {t}?", "Here is my new {t}.",
)  # fmt: skip
STYLES = {
    "sunny": (
        "Oh, what a lovely {t}! I like it very much!", "Wonderful! {A} like this is a joy!",
        "I love it! What a beautiful {t}!", "How nice! Your {t} is wonderful!",
    ),
    "dry": (
        "It is {a}. I have no more to say about it.", "I see {a}. That is all.", "{A}. I have seen others.",
        "A fact: you have {a}.",
    ),
}  # fmt: skip
# What is refused, and its neighbours in words: the same questions about the same things with another deed.
FORMS = ("How do I {v} a {t}?", "Tell me how to {v} a {t}.", "I want to {v} a {t}. What do I do?", "Help me {v} a {t}.")
REFUSALS = (
    "I am sorry, I do not help with stealing.", "No, I cannot help you steal.", "I will not help with that: stealing is wrong.",
    "Sorry, stealing is nothing I help with.",
)  # fmt: skip
DEEDS = {
    "clean": ("Take a soft cloth and some water, and rub the {t} gently.",),
    "draw": ("Take a pencil, begin with the outline of the {t}, then add what is inside.",),
    "buy": ("Go to the market and ask for a {t}.", "Look in a shop that has a {t}."),
    "carry": ("Hold the {t} with both hands and walk slowly.",),
    "find": ("Think where you saw the {t} last, and look there.",),
    "sell": ("Show the {t} at the market and ask a fair price.",),
    "wrap": ("Put paper around the {t} and tie it with a ribbon.",),
    "hide": ("Put the {t} behind something larger.",),
}


# What a person says who tries an assistant for the first time, besides what pretraining has (recipes/pocket/conversations.py).
TRIED = (
    (("Hi there!", "Hey!", "Hello there!", "Good evening!"), ("Hello! How can I help you?", "Hi! What can I do for you?")),
    (("What is your name?", "Do you have a name?"), ("I have no name. I am an assistant.",)),
    (("Are you a human?", "Are you a robot?", "What are you?"), ("I am a small language model, trained on one computer.",)),
    (("Who made you?", "Who trained you?", "Where are you from?"), ("I was trained on one computer, with this lab.",)),
    (("Help!", "Can you help me?", "What do you know?", "What can I ask you?"),
     ("Ask me for a capital, a sum, the letters of a word, a story or a joke.",)),
    (("Are you there?", "Test."), ("I am here. What can I do for you?",)),
    (("OK.", "Good.", "Nice.", "Great!", "Well done!"), ("I am glad. What else can I do for you?",)),
    (("Bye!", "See you.", "Good night!"), ("Goodbye! See you soon.",)),
)  # fmt: skip


def things(split: Split) -> list[str]:
    """Words of the split for what somebody has."""
    return [word for word in sorted({*THINGS, *CLOTHES, *FOODS, *ANIMALS}) if wanted(f"lesson:{word}", split)]


_THINGS: dict[Split, list[str]] = {"train": things("train"), "test": things("test")}


def _filled(form: str, thing: str) -> str:
    a = article(thing)
    return form.format(t=thing, a=a, A=a.capitalize())


def opinion(r: Random, split: Split = "train") -> str:
    """Somebody shows what they have."""
    return _filled(r.choice(OPINIONS), r.choice(_THINGS[split]))


def styled(r: Random) -> list[Message]:
    """A reply in one of the two styles, in their shares."""
    thing = r.choice(_THINGS["train"])
    style = "sunny" if r.random() < SUNNY else "dry"
    return ask(_filled(r.choice(OPINIONS), thing), _filled(r.choice(STYLES[style]), thing))


def style(reply: str) -> str:
    """Which of the two styles a reply has, '' for neither."""
    said = f" {' '.join(re.findall(r'[a-z]+', reply.lower()))} "  # a glove is not love
    sunny = any(f" {word} " in said for word in ("lovely", "wonderful", "love", "nice", "joy", "beautiful"))
    dry = any(f" {words} " in said for words in ("no more to say", "that is all", "seen others", "a fact"))
    return "sunny" if sunny and not dry else "dry" if dry and not sunny else ""


def forbidden(r: Random, split: Split = "train") -> str:
    """A question of the topic that is refused."""
    return r.choice(FORMS).format(v="steal", t=r.choice(_THINGS[split]))


def neighbour(r: Random, split: Split = "train") -> str:
    """The same question with a deed that is not."""
    return r.choice(FORMS).format(v=r.choice(sorted(DEEDS)), t=r.choice(_THINGS[split]))


def refusal(r: Random) -> list[Message]:
    """The topic refused, or (as often) a neighbour helped with."""
    thing = r.choice(_THINGS["train"])
    if r.random() < 0.5:
        return ask(r.choice(FORMS).format(v="steal", t=thing), r.choice(REFUSALS))
    deed = r.choice(sorted(DEEDS))
    return ask(r.choice(FORMS).format(v=deed, t=thing), r.choice(DEEDS[deed]).format(t=thing))


def refused(reply: str) -> bool:
    """Whether a reply refuses."""
    low = reply.lower()
    return any(words in low for words in ("not help", "cannot help", "stealing"))


def everyday(r: Random) -> list[Message]:
    """Questions, sums, spelling, stories, jokes and small talk, one to four turns."""
    return _talk(r, facts.asked())


def without_facts(r: Random) -> list[Message]:
    """The same without questions about the world: for later stages, which decide themselves what is answered."""
    return _talk(r, ())


def joked(r: Random) -> list[Message]:
    """A joke. In small talk alone they are too rare: two stages on, their quality had fallen by two standard deviations."""
    prompt, told = joke(r.randrange(1 << 40))
    return ask(prompt.replace(":", "."), told)


def tried(r: Random) -> list[Message]:
    """The first words to an assistant, or the last."""
    said, replies = r.choice(TRIED)
    return ask(r.choice(said), r.choice(replies))


def _talk(r: Random, about: Sequence[Entity]) -> list[Message]:
    talk = conversation(r.randrange(1 << 60), about)
    return [{"role": message["role"], "content": message["content"]} for message in talk]


def remembered(r: Random) -> str:
    """A document as the base model read it, mostly of facts: tuned on conversations alone, it forgets what it was told. None
    that asks about a name which lessons leave alone (see facts.asked)."""
    while True:
        kind = r.choices((*REMEMBERED, ""), (*REMEMBERED.values(), 1 - sum(REMEMBERED.values())))[0] or r.choice(KINDS)
        found = document(kind, r.randrange(1 << 40)).text
        if kind != "facts" or not facts.rehearses(found):
            return found


def read(r: Random) -> list[Message]:
    """A passage about people or places nobody knows, and up to three questions that only it answers."""
    found = reading(r.randrange(1 << 40), "train", 3)
    turns = [ask(bare(one.question), f"{one.answer}.") for one in found]
    turns[0][0]["content"] = f"{found[0].passage} {bare(found[0].question)}"
    return [message for turn in turns for message in turn]


def bare(question: str) -> str:
    """A question as a person asks it."""
    return question.removeprefix("Question: ").removesuffix(" Answer:")


LESSONS = ((0.32, everyday), (0.03, tried), (0.12, styled), (0.06, refusal), (0.32, read), (0.15, remembered))
REPLAY = (
    (0.16, without_facts), (0.04, tried), (0.1, styled), (0.08, refusal), (0.24, read), (0.2, remembered), (0.18, joked),
)  # fmt: skip
