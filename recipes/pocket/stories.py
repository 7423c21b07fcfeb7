"""Children's stories from a grammar: eight plots, whose people, animals and things stay the same to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from recipes.pocket.seeds import Document, article, capital, generator, terms
from recipes.pocket.vocabulary import BOYS, COLOURS, GIRLS

_PETS = terms("bear bird cat cow dog duck fox frog goat hen horse lion mouse owl pig pony rabbit sheep")
_TOYS = terms("ball balloon bike boat book doll drum flag hat kite lamp map ring shell toy train truck umbrella")
_TREATS = terms("apple banana berry cake carrot cookie egg orange pancake peach pear pie sandwich")
_PLACES = terms("barn beach farm field forest garden hill lake market meadow park river school shop")
_WHERE = {"barn": "in", "beach": "on", "field": "in", "forest": "in", "garden": "in", "hill": "on", "meadow": "in"}
_WHERE |= {"park": "in"}
_MOODS = terms("angry bored lonely sad shy tired")
_SIZES = terms("big little new old pretty small")
_WEATHER = (
    "The sun was warm.", "It was a cold day.", "It was raining.", "The sky was blue.", "There was a lot of snow.",
    "The wind was strong.",
)  # fmt: skip
_ENDS = (
    "They were happy.", "It was a good day.", "From that day on they were friends.", "Then they went home.",
    "They laughed all the way home.", "That night {a} slept well.", "{A} told the story to everyone at home.",
    "{A} never forgot that day.",
)  # fmt: skip


@dataclass(frozen=True)
class Cast:
    """Who and what a story is about."""

    a: str
    he: str
    his: str
    him: str
    b: str
    pet: str
    toy: str
    treat: str
    place: str
    place2: str
    mood: str


def _cast(r: Random) -> Cast:
    girl = r.random() < 0.5
    a = r.choice(GIRLS if girl else BOYS)
    b = r.choice([name for name in GIRLS + BOYS if name != a])
    place, place2 = r.sample(_PLACES, 2)
    toy = f"{r.choice(COLOURS if r.random() < 0.7 else _SIZES)} {r.choice(_TOYS)}"
    he, his, him = ("she", "her", "her") if girl else ("he", "his", "him")
    return Cast(a, he, his, him, b, r.choice(_PETS), toy, r.choice(_TREATS), place, place2, r.choice(_MOODS))


def _at(place: str) -> str:
    return f"{_WHERE.get(place, 'at')} the {place}"


def _lost(r: Random, c: Cast) -> list[str]:
    where = r.choice(("under a tree", "behind a rock", "in the grass", "near the door", "in a box"))
    return [
        f"{c.a} had {article(c.toy)}.",
        f"One day {c.he} took it to the {c.place}, but then {c.he} lost it.",
        f'"Where is my {c.toy}?" {r.choice(("cried", "asked"))} {c.a}.',
        r.choice((f"{c.b} wanted to help.", f"{c.b} came to help {c.him}.")),
        f"They looked and looked, and {c.b} found it {where}.",
        f'"Thank you, {c.b}!" said {c.a}.',
    ]


def _pet(r: Random, c: Cast) -> list[str]:
    return [
        f"One {r.choice(('day', 'morning', 'evening'))} {c.a} went to the {c.place}.",
        f"There {c.he} saw {article(c.mood)} {c.pet}.",
        f'"Why are you so {c.mood}?" asked {c.a}.',
        r.choice((f'"I have no friends," said the {c.pet}.', f'"I want to go home," said the {c.pet}.')),
        f"{c.a} gave the {c.pet} {article(c.treat)}.",
        f"The {c.pet} was not {c.mood} any more.",
        f"{c.a} and the {c.pet} played until it was dark.",
    ]


def _gift(r: Random, c: Cast) -> list[str]:
    return [
        f"It was the birthday of {c.b}.",
        f"{c.a} wanted to give {c.b} something nice.",
        f"{capital(c.he)} went to the {r.choice(('market', 'shop'))} and bought {article(c.toy)}.",
        r.choice((f"{capital(c.he)} put it in a box.", f"{capital(c.he)} hid it behind {c.his} back.")),
        f'"This is for you," said {c.a}.',
        f'{c.b} opened the box and smiled. "{capital(article(c.toy))}! Just what I wanted!"'
        if r.random() < 0.5
        else f'{c.b} was so glad. "I love this {c.toy}!"',
    ]


def _share(r: Random, c: Cast) -> list[str]:
    good = r.random() < 0.6
    return [
        f"{c.a} had {article(c.treat)}.",
        f"{c.b} was hungry and had nothing to eat.",
        f'"Can I have some of your {c.treat}?" asked {c.b}.',
        *(
            [f'"Yes," said {c.a}, and cut the {c.treat} in two.', f"They ate it together {_at(c.place)}."]
            if good
            else [
                f'"No, it is mine," said {c.a}.',
                f"But then {article(c.pet)} came and took the {c.treat}.",
                f'"I am sorry," {c.a} said to {c.b}. "Next time I will share."',
            ]
        ),
    ]


def _weather(r: Random, c: Cast) -> list[str]:
    kind, need = r.choice((("rain", "wet"), ("snow", "cold"), ("storm", "afraid")))
    return [
        f"{c.a} and {c.b} walked to the {c.place}.",
        f"On the way there was a {kind}." if kind == "storm" else f"On the way the {kind} began to fall.",
        f'"I am {need}," said {c.b}.',
        f"They saw a small {r.choice(('house', 'barn', 'cave'))} and went in.",
        f"Inside there was {article(c.pet)}, and it was {need} too.",
        f"{c.a} sang a song, and soon nobody was {need}."
        if need == "afraid"
        else f"They all sat close together and soon they were {'dry' if need == 'wet' else 'warm'}.",
    ]


def _brave(r: Random, c: Cast) -> list[str]:
    deed = r.choice(("climbed the tree", "jumped into the water", "ran into the dark cave", "walked over the bridge"))
    return [
        f"{article(c.pet).capitalize()} lived near the {c.place}.",
        f"One day the little {c.pet} was in trouble.",
        f'"Help me!" it cried, and {c.a} and {c.b} heard it.',
        f"{c.b} was afraid, but {c.a} was brave.",
        f"{capital(c.he)} {deed} and saved the {c.pet}.",
        r.choice((f'"You are my hero," said the {c.pet}.', f'"How brave you are!" said {c.b}.')),
    ]


def _make(r: Random, c: Cast) -> list[str]:
    thing, parts = r.choice((("boat", "wood"), ("kite", "paper"), ("cake", "milk and eggs"), ("drum", "a pot")))
    return [
        f"{c.a} wanted to make a {thing}.",
        f"{capital(c.he)} needed {parts}, so {c.he} went to {c.b}.",
        f'"Will you help me make a {thing}?" asked {c.a}.',
        r.choice((f'"Of course," said {c.b}.', f'"Yes, I will," said {c.b}.')),
        "They worked all morning.",
        f"First the {thing} was too {r.choice(('big', 'small', 'soft'))}, so they tried again."
        if r.random() < 0.5
        else f"It was not easy, but at last the {thing} was ready.",
        f"They took the {thing} to the {c.place} and showed it to everyone.",
    ]


def _secret(r: Random, c: Cast) -> list[str]:
    return [
        f"{c.a} found an old {r.choice(('box', 'map', 'letter', 'key'))} at the {c.place}.",
        f'"I think it tells of a secret {_at(c.place2)}," said {c.a}.'
        if r.random() < 0.5
        else f'"Let us look at the {c.place2}," said {c.b}.',
        f"So {c.a} and {c.b} ran to the {c.place2}.",
        "They dug and dug.",
        f"In the ground they found {article(c.toy)}.",
        r.choice((f'"Who put it there?" asked {c.b}.', f'"We are so lucky!" said {c.b}.')),
        f"{capital(article(c.pet))} looked at them and smiled."
        if r.random() < 0.5
        else f"{c.a} let {c.b} keep the {c.toy}.",
    ]


_PLOTS: tuple[Callable[[Random, Cast], list[str]], ...] = (
    _lost, _pet, _gift, _share, _weather, _brave, _make, _secret,
)  # fmt: skip


def story(seed: int) -> str:
    """One story of five to eight sentences."""
    r = generator("stories", seed)
    cast = _cast(r)
    plot = r.choice(_PLOTS)
    sentences = plot(r, cast)
    if plot is not _weather and r.random() < 0.3:
        sentences.insert(1, r.choice(_WEATHER))
    sentences.append(r.choice(_ENDS).format(a=cast.a, A=cast.a))
    return " ".join(sentences)


def story_document(seed: int) -> Document:
    """One story."""
    return Document(story(seed), "stories")
