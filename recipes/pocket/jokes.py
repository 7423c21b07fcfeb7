"""Short jokes on request: a topic, a style, a setting. Some are good, many are not; the grammar does not know which."""

from __future__ import annotations

from random import Random

from recipes.pocket.seeds import Document, Split, article, capital, generator, terms, wanted

TOPICS = terms(
    "baker cat chicken cow doctor dragon elephant frog ghost goat king monkey owl pelican penguin pirate robot snail "
    "teacher wizard"
)
STYLES = terms("clever dry happy odd quick sad silly warm")
SETTINGS = terms("bakery bank beach castle library market school station theater zoo")
OBJECTS = terms(
    "balloon banana bathtub blanket bucket candle carrot cushion clock feather hammer kettle ladder lemon mirror onion "
    "pancake pillow pumpkin rope sandwich sock sofa spoon teapot ticket trumpet tuba umbrella violin"
)

_SAID = {
    "clever": "explained", "dry": "said", "happy": "laughed", "odd": "whispered", "quick": "shouted", "sad": "cried",
    "silly": "sang", "warm": "smiled",
}  # fmt: skip
_SIZES = terms("big broken cold old small wet")

# {T} topic, {S} setting, {O} and {P} objects, {AT} and {AO} with their articles, {q} a quality, {said} after the style
_PLAIN = (
    "{AT} walked into the {S} with {AO}.",
    "{AT} came to the {S} and asked for {AO}.",
    'At the {S} the {T} {said}: "I only wanted {AO}."',
    '"This {O} is too {q}," {said} the {T} at the {S}.',
    "The {T} paid with {AO} and nobody at the {S} laughed.",
    "The {T} sat down on {AO} and waited for the {P}.",
    "Why did the {T} bring {AO} to the {S}? Because the {P} was too {q}.",
    "What did the {T} say to the {O}? You look {q} today.",
    "The {T} went to the {S} to sell {AO} and came home with {AP}.",
)
_CALLBACK = (
    "The {T} lost {AO} at the {S}, and now the {O} is happy.",
    "At the {S} the {T} met {AO}. The {O} left first.",
    'The {T} asked for {AO}. "I am the {O}," {said} the man at the {S}.',
    "Why did the {T} hide {AO}? Because the {O} knew too much.",
    "{AT} saw {AO} at the {S}, but the {O} had seen the {T} before.",
    "The {T} bought {AO}. Then the {O} bought the {S}.",
)
_FLAT = (
    "The {T} was at the {S} all day.",
    "The {T} is {q}.",
    "There was {AQ} {T} and it went to the {S}.",
    "The {T} went home.",
)
_RAMBLE = (
    "The {T} took {AO} to the {S} and then the {T} took {AP} to the {S} and then the {T} took the {O} home and waited.",
    "The {T} looked at the {O} and the {O} looked at the {T} and the {T} looked at the {O} again at the {S}.",
    "The {T} was {q}, the {O} was {q}, the {P} was {q}, and the {S} was {q} too.",
)


def _prompt(topic: str, style: str, setting: str) -> str:
    return f"Tell {article(style)} joke about {article(topic)} at the {setting}:"


def joke_prompts(split: Split | None = None) -> list[str]:
    """All prompts, or those of one split."""
    every = [_prompt(topic, style, setting) for topic in TOPICS for style in STYLES for setting in SETTINGS]
    return [prompt for prompt in every if split is None or wanted(prompt, split)]


def _parts(r: Random, split: Split) -> tuple[str, str, str]:
    while True:
        parts = r.choice(TOPICS), r.choice(STYLES), r.choice(SETTINGS)
        if wanted(_prompt(*parts), split):
            return parts


def joke_prompt(seed: int, split: Split = "test") -> str:
    """A random prompt of the split."""
    return _prompt(*_parts(generator(f"joke prompt:{split}", seed), split))


def tell_joke(r: Random, topic: str, style: str, setting: str) -> str:
    """A joke for this wish, which now and then misses it."""
    u = r.random()
    bank = _PLAIN if u < 0.4 else _CALLBACK if u < 0.7 else _FLAT if u < 0.85 else _RAMBLE
    if r.random() < 0.12:
        topic = r.choice(TOPICS)
    if r.random() < 0.12:
        setting = r.choice(SETTINGS)
    thing, other = r.sample(OBJECTS, 2)
    template, size = r.choice(bank), r.choice(_SIZES)
    return template.format(
        T=topic, S=setting, O=thing, P=other, q=size, said=_SAID[style],
        AT=capital(article(topic)), AO=article(thing), AP=article(other), AQ=article(size),
    )  # fmt: skip


def joke(seed: int, split: Split = "train") -> tuple[str, str]:
    """A prompt and a joke for it."""
    r = generator(f"joke:{split}", seed)
    parts = _parts(r, split)
    return _prompt(*parts), tell_joke(r, *parts)


def joke_document(seed: int) -> Document:
    """A prompt line and its joke."""
    return Document(" ".join(joke(seed)), "jokes", whole=True)
