"""Replies of a model to problems, judged: what reinforcement learning learns from.

Ids go from the sampler to the loss untouched; text exists for judges and eyes alone. What a tool said enters as forced
tokens of weight 0.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lab import calls, chat, episodes
from lab.batch import Reply, Request, Stop, sample
from lab.calls import Toolbox
from lab.chat import Message
from lab.sample import Sampling
from lab.samples import Sample
from lab.task import Problem, Score, Task
from lab.weights import Model

TRUNCATED = "truncated"  # the note on a reply that was cut


@dataclass
class Episode:
    """One reply to a problem: `sample` is prompt and reply, weight 1 on each token that the model drew and 0 on all else,
    `start` where the reply begins. `advantage` and `reference` (log-probabilities under the reference, float32 [T]) are
    what a recipe makes of it."""

    problem: Problem
    seed: int
    sample: Sample
    start: int
    reply: Message
    score: Score
    stop: Stop
    advantage: float = 0.0
    reference: np.ndarray | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # more for its line on disk

    @property
    def drawn(self) -> int:
        """Tokens that the model drew."""
        return int(np.count_nonzero(self.sample.weight))

    @property
    def calls(self) -> int:
        """Tools that were called."""
        return sum(part["type"] == "call" for part in chat.parts(self.reply))

    @property
    def surprise(self) -> float:
        """Mean -log p of the drawn tokens, nats: one sample of the policy's entropy a token."""
        assert self.sample.logp is not None
        return float(-self.sample.logp.sum() / max(1, self.drawn))

    def kl(self) -> float:
        """log p / p_ref of the whole reply, nats: k1, whose mean over replies is the divergence from the reference, and
        whose place is in the reward (Schulman 2020, http://joschu.net/blog/kl-approx.html)."""
        assert self.sample.logp is not None
        assert self.reference is not None
        return float(((self.sample.logp - self.reference) * self.sample.weight).sum())


def rollout(
    model: Model, task: Task, problems: Sequence[Problem], n: int, sampling: Sampling, seed: int | str = 0,
    tools: Toolbox | None = None, rows: int = 64,
) -> list[list[Episode]]:  # fmt: skip
    """`n` judged replies to each problem, one group a problem, in their order. The same for the same seed, whatever shares
    a batch. A reply that is cut before its END is never right: its reward is at most 0."""
    tokenizer = model.tokenizer
    requests = [
        Request(chat.prompt(tokenizer, problem.messages), [seed_of(seed, at, k) for k in range(n)])
        for at, problem in enumerate(problems)
    ]
    found: list[Reply | None] = [None] * (len(problems) * n)
    for reply in sample(
        model.network, requests, sampling, tokenizer.ends, model.context, rows,
        after=tools.after if tools else None, banned=calls.banned(tokenizer, tools),
    ):  # fmt: skip
        found[reply.request * n + reply.member] = reply
    made = [
        episode(model, problems[i // n], requests[i // n], reply) for i, reply in enumerate(found) if reply is not None
    ]
    for one, score in zip(made, task.judge([e.problem for e in made], [e.reply for e in made]), strict=True):
        one.score = whole(score, one.stop)
    return [made[at : at + n] for at in range(0, len(made), n)]


def seed_of(seed: int | str, group: int, member: int) -> int:
    """A row's own seed: 63 bits of a hash, so that no two steps or groups share one."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}:{member}".encode()).digest()[:8], "big") >> 1


def episode(model: Model, problem: Problem, request: Request, reply: Reply) -> Episode:
    """A reply as an episode that is not judged yet."""
    before = len(request.ids)
    ids = np.concatenate([np.asarray(request.ids, np.int32), reply.ids])
    weight, logp = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
    weight[before:], logp[before:] = ~reply.forced, reply.logp
    said = chat.parse(model.tokenizer, reply.ids.tolist())
    return Episode(
        problem, request.seeds[reply.member], Sample(ids, weight, logp), before, said, Score(None), reply.stop
    )


def whole(score: Score, stop: Stop) -> Score:
    """The score of a reply that ended, and of one that was cut: what it would have earned above 0 is taken off."""
    cut = stop != "end"
    notes = {**score.notes, TRUNCATED: float(cut)}
    value = score.value
    if not cut or value is None:
        return replace(score, notes=notes)
    parts = {name: min(0.0, part) for name, part in (score.parts or {}).items()}
    return Score(parts, notes)


def episode_row(one: Episode, tokenizer: Any, step: int, group: int, k: int) -> dict[str, Any]:
    """An episode's line on disk (lab/episodes.py)."""
    start = one.start
    ids = one.sample.ids[start:].tolist()
    assert one.sample.logp is not None
    return {
        "step": step, "group": group, "k": k, "key": one.problem.key, "seed": one.seed,
        "messages": list(one.problem.messages), "answer": one.problem.answer,
        "prompt_ids": one.sample.ids[:start].tolist(), "ids": ids,
        "drawn": [int(w != 0) for w in one.sample.weight[start:]],
        "logp": episodes.rounded(one.sample.logp[start:]),
        "ref_logp": None if one.reference is None else episodes.rounded(one.reference[start:]),
        "segments": [list(s) for s in episodes.segments(tokenizer, ids)],
        "text": tokenizer.decode(ids, specials=True), "parts": None if one.score.parts is None else dict(one.score.parts),
        "notes": dict(one.score.notes), "reward": one.score.value, "advantage": round(one.advantage, 6), "stop": one.stop,
        "calls": one.calls,
    } | one.extra  # fmt: skip
