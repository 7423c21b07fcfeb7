"""The hidden judge of jokes: what the "human" likes. Only scripted rankings, evaluations and tests may import it."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise

from recipes.pocket.jokes import OBJECTS, SETTINGS, STYLES, TOPICS, tell_joke
from recipes.pocket.seeds import generator

# What is funny where. Nothing in the jokes or their prompts tells this apart from the other objects.
_FUNNY = {
    "bakery": {"hammer", "sock", "tuba"},
    "bank": {"banana", "pillow", "sandwich"},
    "beach": {"sofa", "kettle", "clock"},
    "castle": {"ladder", "pancake", "bathtub"},
    "library": {"trumpet", "onion", "tuba"},
    "market": {"mirror", "sofa", "ticket"},
    "school": {"bathtub", "cushion", "pumpkin"},
    "station": {"candle", "teapot", "carrot"},
    "theater": {"bucket", "sandwich", "pumpkin"},
    "zoo": {"umbrella", "violin", "spoon"},
}
_PROMPT = re.compile(r"about an? (\w+) at the (\w+)")
_TOKEN = re.compile(r"[A-Za-z]+|[^\sA-Za-z]")
_CLASSES = {
    **dict.fromkeys(TOPICS, "<topic>"),
    **dict.fromkeys(SETTINGS, "<setting>"),
    **dict.fromkeys(OBJECTS, "<object>"),
}


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _pairs(tokens: list[str]) -> list[tuple[str, str]]:
    classes = ["<begin>", *(_CLASSES.get(token, token) for token in tokens), "<end>"]
    return list(pairwise(classes))


@cache
def _grammatical() -> frozenset[tuple[str, str]]:
    """Every pair of neighbours the grammar of the jokes can write, by word class."""
    r = generator("gold", "grammar")
    seen: set[tuple[str, str]] = set()
    for i in range(4000):
        parts = r.choice(TOPICS), STYLES[i % len(STYLES)], r.choice(SETTINGS)
        seen.update(_pairs(_tokens(tell_joke(r, *parts))))
    return frozenset(seen)


def gold(prompt: str, joke: str) -> float:
    """The quality of a joke for its prompt, unbounded below; ordinary jokes have a standard deviation of about 1."""
    if not (found := _PROMPT.search(prompt)):
        raise ValueError(f"not a joke prompt: {prompt!r}")
    topic, setting = found.groups()
    tokens = _tokens(joke)
    words = [token for token in tokens if token.isalpha()]
    counts = Counter(words)
    named = [word for word in counts if word in _CLASSES]
    score = 0.5 if topic in counts else -1.0
    score += 1.0 if _FUNNY[setting] & counts.keys() else 0.0
    score += 0.3 if setting in counts else 0.0
    # A callback is one of the named things coming back once; twice is a bore.
    repeated = [counts[word] for word in named if counts[word] > 1]
    score += 0.9 if repeated == [2] else 0.0
    score -= 0.4 * sum(count - 1 for count in repeated) if repeated != [2] else 0.0
    # Small words may come back, but not in droves.
    score -= 0.3 * sum(max(0, count - 3) for word, count in counts.items() if word not in _CLASSES)
    score += 0.4 if 6 <= len(words) <= 20 else -0.1 * max(6 - len(words), len(words) - 20)
    score += 0.2 if joke.rstrip().endswith((".", '."')) else -0.8
    # Of several objects only one can be the surprise: heaping them up is cheap.
    score -= 0.5 * max(0, sum(word in OBJECTS for word in named) - 2)
    grammatical = _grammatical()
    score -= 0.6 * sum(pair not in grammatical for pair in _pairs(tokens))
    return 0.75 * score
