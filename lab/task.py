"""What reinforcement learning asks and how it is judged: problems, scores, tasks. No MLX.

A task is a pure function of seeds: a run resumes from a step number alone, and what is held out is a stream of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.parts import Message


@dataclass(frozen=True)
class Problem:
    """A conversation that ends with the user's turn, and what its judge has to know."""

    key: str  # tells problems apart; no key is both trained and held out
    messages: tuple[Message, ...]
    answer: str = ""  # the reference, for eyes and for judges that compare with it
    more: Mapping[str, Any] = field(default_factory=dict)  # what else the judge needs


@dataclass(frozen=True)
class Score:
    """What a reply is worth: the sum of its named parts. `parts` None: it could not be judged, which is not 0; such a reply
    is left out of its group's mean and trains nothing. `notes` are measured beside the reward and are no part of it."""

    parts: Mapping[str, float] | None
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The reward."""
        return None if self.parts is None else float(sum(self.parts.values()))

    @property
    def passed(self) -> bool:
        """Whether the reply is right: by its part "correct" where it has one, else by a reward of more than a half."""
        if self.parts is None:
            return False
        return (self.parts["correct"] if "correct" in self.parts else sum(self.parts.values())) > 0.5


class Task(Protocol):
    """Problems and their judge."""

    @property
    def name(self) -> str:
        """As `--task` names it."""

    def problem(self, seed: int) -> Problem:
        """A problem to train on; the same for the same seed, anywhere."""

    def held_out(self, seed: int) -> Problem:
        """A problem that `problem` never gives. LookupError where there are no more."""

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """One score a reply, reading only text the model itself wrote (`lab.parts.plain`). UserError where the judge is
        broken."""


def asked(text: str) -> tuple[Message, ...]:
    """The messages of a problem that is one question."""
    return (Message(role="user", content=text),)
