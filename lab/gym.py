"""Problems of reasoning-gym (Stojanovski et al. 2025, arXiv:2505.24760): a hundred generators with judges of their own. No
MLX. Lives in the child process of lab/hosted.py, since some of those judges evaluate what a model wrote (lab/guard.py)."""

import ast
import contextlib
import difflib
import hashlib
import inspect
import resource
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from lab import guard, verify
from lab.errors import UserError
from lab.parts import Message, plain
from lab.rows import held, key_of
from lab.task import Problem, Score, asked

RANGE = 1 << 30  # seeds of training lie below, those of what is held out from here up to twice as much
TRIES = 300  # draws for a prompt of the side that is asked for: one in ten is held out
CREDIT = 0.1  # least that counts: several judges give any answer .01 or .05, which would teach to answer something
MEMORY = 4 << 30  # bytes of address space, where the system keeps to it: 9**9**9 is not computed


class Gym:
    """The generator that `spec` names: NAME, or NAME,option=value,... as reasoning-gym's own configuration has them.

    An item is a pure function of a seed. Seeds of training and of what is held out are ranges of their own, and a prompt's
    hash decides which side it may come on: small spaces give the same prompt under many seeds."""

    def __init__(self, spec: str):
        try:
            import reasoning_gym  # type: ignore[import-not-found, import-untyped, unused-ignore]
            from reasoning_gym.factory import DATASETS  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise UserError(
                f"reasoning_gym:{spec} needs the extra `tasks`: uv sync --extra tasks, or pip install -e '.[tasks]'"
            ) from error
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        self.name = f"reasoning_gym:{spec}"
        kind, *given = spec.split(",")
        if kind not in DATASETS:
            near = difflib.get_close_matches(kind, DATASETS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"some are {', '.join(sorted(DATASETS)[::12])}"
            raise UserError(f"reasoning_gym has no task {kind or 'without a name'}; {hint}")
        fields = [name for name in inspect.signature(DATASETS[kind][1]).parameters if name not in ("seed", "size")]
        options = {}
        for one in given:
            option, equals, value = one.partition("=")
            if option not in fields or not equals:
                raise UserError(
                    f"{self.name}: {one or 'an empty option'}; give option=value out of {', '.join(fields)}"
                )
            try:
                options[option] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                options[option] = value
        self._make = lambda seed: reasoning_gym.create_dataset(kind, seed=seed, size=1, **options)
        # Most take any index. Some hold a list as long as their `size`: of those each item is a set of its own.
        self._shared: Any = None
        try:
            made = self._make(0)
            made[0]
            with contextlib.suppress(Exception):
                made[RANGE]
                self._shared = made
        except Exception as error:
            raise UserError(f"{self.name}: {' '.join(str(error).split())[:200] or type(error).__name__}") from error
        guard.install("reasoning_gym")

    @lru_cache(maxsize=4096)  # noqa: B019  the process ends with its one Gym
    def _item(self, index: int) -> tuple[Any, Mapping[str, Any]]:
        if self._shared is not None:
            return self._shared, self._shared[index]
        made = self._make(index)
        return made, made[0]

    def _problem(self, side: str, seed: int) -> Problem:
        for attempt in range(TRIES):
            digest = hashlib.sha256(f"{side}:{seed}:{attempt}".encode()).digest()
            index = int.from_bytes(digest[:8], "big") % RANGE + (RANGE if side == "held out" else 0)
            _, item = self._item(index)
            messages = asked(str(item["question"]))
            if held(key_of(messages)) == (side == "held out"):
                return Problem(key_of(messages), messages, str(item["answer"] or ""), {"index": index})
        raise LookupError(f"{self.name} has no more prompts to be {side}")

    def problem(self, seed: int) -> Problem:
        """A problem to train on."""
        return self._problem("trained", seed)

    def held_out(self, seed: int) -> Problem:
        """A problem with a prompt that is never trained. LookupError where the space of prompts is so small that it has
        none; the same prompt may come under several seeds."""
        return self._problem("held out", seed)

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """Part "correct": what reasoning-gym's score_answer gives the final answer (lab/verify.py), 0 to 1; 0 where it
        stumbles over it, and below CREDIT."""
        return [Score({"correct": self._score(p, plain(said))}) for p, said in zip(problems, replies, strict=True)]

    def _score(self, problem: Problem, said: str) -> float:
        made, item = self._item(int(problem.more["index"]))
        answer = verify.final(said[-verify.TAIL :])
        if not answer:
            return 0.0
        try:
            value = min(1.0, max(0.0, float(made.score_answer(answer, item))))
            return value if value >= CREDIT else 0.0
        except Exception:  # what a model wrote is not what it expects
            return 0.0
