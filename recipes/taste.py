"""A reward model as the judge of a task: what people would say of a reply, guessed. Prompts are split as rankings are, so that
what is held out is held out from the reward model too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lab.chat import Message, plain
from lab.errors import UserError
from lab.rankings import Prompt, Ranking, held_out, key_of
from lab.reward import RewardModel
from lab.rollout import Episode
from lab.rows import Sides
from lab.task import Problem, Score, asked
from lab.weights import Model
from recipes.ranking import Asked, prompts

EVERY = 1 << 40  # prompts: all there are


@dataclass(frozen=True)
class Taste(Sides):
    """Different prompts, in a new order each pass, and the reward model that judges replies: its score, less `pessimism`
    times how far its members differ on a reply (its standard deviation; Coste et al. 2023, arXiv:2310.02743, take the
    variance)."""

    name: str
    rm: RewardModel
    train: list[Problem]
    apart: list[Problem]
    pessimism: float = 0.0

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """Part "score", in standard deviations of the replies that the reward model was normalised on, 0 their mean; of
        several members the note "spread". A reply that does not fit into the reward model's context has no score."""
        rows = [self._row(prompt_of(one), plain(reply).strip()) for one, reply in zip(problems, replies, strict=True)]
        fit = [i for i, row in enumerate(rows) if row is not None]
        each = self.rm.each([row for row in rows if row is not None])
        found = [Score(None)] * len(rows)
        for i, members in zip(fit, each.T, strict=True):
            spread = float(members.std())
            notes = {"spread": spread} if len(members) > 1 else {}
            found[i] = Score({"score": float(members.mean()) - self.pessimism * spread}, notes)
        return found

    def _row(self, prompt: Prompt, reply: str) -> np.ndarray | None:
        try:
            return self.rm.encode(prompt, reply)
        except UserError:
            return None


def opened(rm: RewardModel, model: Model, data: str | None, pessimism: float = 0.0) -> Taste:
    """The task of a policy: the pocket world's jokes, or the prompts of `data`."""
    return Taste("pocket jokes" if data is None else str(data), rm, *sides(model, data), pessimism)


def sides(model: Model, data: str | None) -> tuple[list[Problem], list[Problem]]:
    """The prompts to train on, and those held out. UserError where a side is empty."""
    found: tuple[list[Problem], list[Problem]] = ([], [])
    for one in prompts(model, data, EVERY, 0):
        found[apart(one)].append(problem_of(one.prompt))
    if not all(found):
        raise UserError(
            f"{data}: {len(found[0])} prompts to train on, {len(found[1])} held out (one in ten, by a hash); give more of them"
        )
    return found


def apart(one: Asked) -> bool:
    """Whether a prompt is held out, as `lab reward-model` holds out the rankings of it."""
    return held_out(Ranking(one.prompt, [], [], split=one.split))


def problem_of(prompt: Prompt) -> Problem:
    """A prompt as a problem."""
    return Problem(key_of(prompt), asked(prompt) if isinstance(prompt, str) else tuple(prompt))


def prompt_of(one: Problem) -> Prompt:
    """What rankings call it: text where it is one question."""
    first = one.messages[0]
    alone = len(one.messages) == 1 and first["role"] == "user" and isinstance(first["content"], str)
    return str(first["content"]) if alone else list(one.messages)


def ended(one: Episode, price: float) -> Score:
    """The score of a whole reply; one that was cut before its END gets -price instead, for a reward model only knows whole
    ones (as lm-human-preferences does where a reply lacks the token it should end with: Ziegler et al. 2019,
    arXiv:1909.08593)."""
    return one.score if one.stop == "end" else Score({"no END": -price}, one.score.notes)
