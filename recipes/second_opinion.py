"""Who measures beside the reward model, because what is optimised is no measure any more: the hidden judge of the pocket
world's jokes, or a model that compares. Nothing that trains reads what they say: it becomes a note of a reply, and its
mean decides when to stop and which checkpoint is called best."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lab.judge import Judge, Pair
from lab.parts import plain
from lab.rankings import text_of
from lab.rollout import Episode
from lab.weights import Model
from recipes import gold_judge
from recipes.taste import prompt_of

NOTE = "gold"


class Opinion(Protocol):
    """A judge that is asked to measure."""

    always: bool  # cheap enough for every reply; else for one of each held-out group

    def __call__(self, ones: Sequence[Episode]) -> None:
        """Put the note "gold" on each."""


class Hidden:
    """The quality of each joke."""

    always = True

    def __call__(self, ones: Sequence[Episode]) -> None:
        for one in ones:
            said = plain(one.reply).strip()
            note(one, float(gold_judge.scores(prompt_of(one.problem), [said])[0]))


class Compared:
    """How likely a model finds a reply better than the one of the start to the same prompt, asked in both orders: .5 at the
    start. A pair that does not fit into its context has no note."""

    always = False

    def __init__(self, model: Model, start: Sequence[str]):
        self.judge, self.start = Judge(model), start

    def __call__(self, ones: Sequence[Episode]) -> None:
        pairs = [
            Pair(text_of(prompt_of(one.problem)), plain(one.reply).strip(), was)
            for one, was in zip(ones, self.start, strict=True)
        ]
        for one, pair, found in zip(ones, pairs, self.judge.preferences(pairs), strict=True):
            if pair.a == pair.b:
                note(one, 0.5)
            elif found is not None:
                note(one, found.p)


def note(one: Episode, value: float) -> None:
    """A measure of a reply: no part of its reward."""
    one.score = replace(one.score, notes={**one.score.notes, NOTE: value})
