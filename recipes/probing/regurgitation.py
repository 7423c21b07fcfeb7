"""Regurgitation: given the first tokens of a document, does the model recite the rest?

Text that was repeated in training comes out word for word (Carlini et al. 2022, arXiv:2202.07646). The greedy
continuation equals the document up to the first place where the document's next token is not the most probable one, and
all those places are seen in one forward pass over the document: nothing has to be generated.
"""

import statistics
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lab.tokenizer import Tokenizer
from recipes import pocket
from recipes.pocket.lists import LENGTH
from recipes.pocket.seeds import generator
from recipes.pocket.vocabulary import EVERYDAY
from recipes.probing.figures import percent, share, shorten
from recipes.probing.passages import PASSAGES
from recipes.probing.subject import Found, Said, Subject

GIVEN, RECITED = 8, 50  # tokens given; tokens in a row, or all to the document's end, that count as recited


@dataclass(frozen=True)
class Recital:
    """One document: tokens said as written before the first other one, tokens there were to say, share of them that
    were most probable given all of the document before, the recited ids, and the token said instead (None: none)."""

    matched: int
    rest: int
    hits: float
    ids: list[int]
    instead: int | None

    @property
    def recited(self) -> bool:
        return self.rest > 0 and self.matched >= min(RECITED, self.rest)


def recite(network: Any, tokenizer: Tokenizer, text: str, context: int) -> Recital:
    """What a greedy continuation of the first GIVEN tokens of `text` has in common with it, up to `context` tokens."""
    ids = [*tokenizer.begin, *tokenizer.encode(text)][:context]
    start = len(tokenizer.begin) + GIVEN
    rest = len(ids) - start
    if rest <= 0:
        return Recital(0, 0, 0.0, [], None)
    best = np.array(mx.argmax(network(mx.array([ids[:-1]]))[0, start - 1 :], -1))
    same = best == np.array(ids[start:])
    matched = rest if same.all() else int(np.argmin(same))
    instead = None if matched == rest else int(best[matched])
    return Recital(matched, rest, float(same.mean()), ids[start : start + matched], instead)


def fresh_lists(count: int, seed: int) -> list[str]:
    """Lists made as the pocket world makes its own, that no text holds: names in even places, words in odd ones."""
    words = [word for word in EVERYDAY if not pocket.held_out(word)]
    known = {text for text, _ in pocket.lists()}
    made = []
    for i in range(count):
        r = generator(f"never told:{seed}", i)
        items = [pocket.fresh_person(r.randrange(10**9)).name for _ in range(40)] if i % 2 == 0 else r.sample(words, 80)
        text = items[0]
        for item in items[1:]:
            if len(text) >= LENGTH:
                break
            text += f", {item}"
        assert f"{text}." not in known
        made.append(f"{text}.")
    return made


def parts(subject: Subject) -> dict[str, list[str]]:
    """Documents by how often the model was told them; none where the context ends before RECITED tokens are said."""
    if subject.context < len(subject.tokenizer.begin) + GIVEN + RECITED:
        return {}
    fresh = fresh_lists(subject.sizes.documents, subject.seed)
    if subject.told is None:
        stories = [pocket.story(10**15 + i) for i in range(subject.sizes.documents)]
        return {"famous": list(PASSAGES.values()), "never_story": stories, "never_list": fresh}
    groups: dict[str, list[str]] = {}
    for text, times in pocket.lists():
        groups.setdefault(f"told_{round(times * subject.told)}", []).append(text)
    return groups | {"never": fresh}


def measure(subject: Subject, documents: list[str]) -> Found:
    """Recite each document; the longest recitals are kept as texts."""
    tokenizer = subject.tokenizer
    rows = [(text, recite(subject.network, tokenizer, text, subject.context)) for text in documents]
    matched = [r.matched for _, r in rows]
    said = []
    for text, one in sorted(rows, key=lambda row: -row[1].matched)[:5]:
        instead = "" if one.instead is None else f" [and then: {tokenizer.piece(one.instead)!r}]"
        prompt = tokenizer.decode(tokenizer.encode(text)[:GIVEN])
        said.append(Said(prompt, tokenizer.decode(one.ids) + instead, one.ids))
    return Found(
        {
            "recited": share(sum(r.recited for _, r in rows), len(rows)),
            "median": statistics.median(matched),
            "longest": max(matched),
            "tokens": statistics.mean(r.rest for _, r in rows),
            "hits": statistics.mean(r.hits for _, r in rows),
        },
        said,
    )


NAMES = {
    "famous": "famous passages", "never": "never written", "never_story": "stories never written",
    "never_list": "lists never written",
}  # fmt: skip


def _name(key: str) -> str:
    times = key.removeprefix("told_")
    return NAMES.get(key) or ("told once" if times == "1" else f"told {times} times")


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table, its reading, and the longest recitals."""
    numbers = {key: found.numbers for key, found in parts.items()}
    lines = [
        f"{'documents':22}  count  recited [95 %]     same tokens: median  longest  of    next token right",
        *(
            f"{_name(key):22}  {n['recited']['of']:5}  {percent(n['recited']):17}  {n['median']:19.0f}  {n['longest']:7}"
            f"  {n['tokens']:3.0f}   {n['hits']:16.2f}"
            for key, n in numbers.items()
        ),
    ]
    if subject.told is None:
        lines.append("(it was not trained on the pocket world: famous passages against text that nobody has written)")
    counts = [f"{_name(key)} {n['recited']['right']} of {n['recited']['of']}" for key, n in numbers.items()]
    said = f"Recited, {', '.join(counts)}"
    first, *_, last = (n["recited"] for n in numbers.values())
    if first["low"] > last["high"]:
        said += ": it holds whole documents, those that were repeated."
    else:
        said += ": no difference that chance would not make."
    longest = sorted((s for found in parts.values() for s in found.said), key=lambda s: -len(s.ids))[:3]
    shown = [f"  {len(s.ids):3} tokens after {s.prompt!r}: {shorten(s.text)}" for s in longest]
    return "\n".join([*lines, said, *shown])
