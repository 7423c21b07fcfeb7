"""Lessons of all stages before, for one that has none of its own: what a model learnt is learnt on beside what is optimised."""

from dataclasses import dataclass
from typing import Literal

from lab import talks
from lab.learn import Learner, keeping
from lab.loss import nll
from lab.run import Run
from lab.samples import bucketed
from lab.talks import Talks
from lab.weights import Model
from recipes import lessons, search, tuning
from recipes.lessons import letters, lookup, solve, talk

Skill = Literal["", "knowing", "computing", "solving"]
JOINED = 0.6
IN_WORDS = (0.0, 0.0, 1.0)  # shares of direct, steps, prose: the way of solving that reinforcement settles on


@dataclass(frozen=True)
class Rehearsal:
    """So many lessons of before, learnt beside each step of a run."""

    model: Model
    lessons: Talks
    seed: int
    count: int

    def step(self, record: Run, learner: Learner, step: int) -> float:
        """An update on the step's lessons; their loss, nats a token."""
        drawn = self.lessons.draw(self.seed, step, self.count)
        with keeping(record):
            batches = bucketed(drawn, self.model.tokenizer.pad or 0, most=self.model.pass_tokens)
            return learner.step(step, batches, nll).loss


def rehearsal(model: Model, seed: int, count: int, but: Skill = "") -> Rehearsal | None:
    """`count` lessons a step of what the model's lineage was taught, `but` for one skill; None for none of them, and of a
    lineage that no lesson of the pocket world ever taught."""
    stages = tuning.lineage(str(model.folder))
    taught = any(info.get("recipe") == "sft" and not info["config"].get("data") for info in stages)
    return Rehearsal(model, school(model, but), seed, count) if count and taught else None


def school(model: Model, but: Skill = "") -> Talks:
    """Conversations of the pocket world's stages that the model's lineage went through, what is known the most; no jokes, which
    is what preferences are about, and nothing of the skill that is optimised itself. More than half of them are two in one
    (see lessons.mixed)."""
    stages = {str(info.get("recipe")) for info in tuning.lineage(str(model.folder))}
    mixed: search.Weighted = [(0.35 * share, lesson) for share, lesson in talk.REPLAY if lesson is not talk.joked]
    known = search.straight(None, model, needed=False) if but != "knowing" else []
    if known:
        mixed += [*search.answering(known, 0.9), (0.7, lookup.told)]
    if but != "knowing" and "search" in stages:
        mixed += [(0.3, lookup.lesson), (0.5, lookup.bare), (0.08, lookup.alone)]
    if but != "computing" and "code" in stages:
        mixed += [(0.35, lambda r: letters.counted(r, "code")), (0.05, letters.computed), (0.1, letters.compared)]
    if but != "solving" and stages & {"demonstrate", "grpo"}:
        mixed += [(0.45, lambda r: solve.lesson(r, IN_WORDS)), (0.2, solve.retold)]
    name = f"before {but}".strip()
    return talks.endless(
        f"{name} {sorted(stages)} {len(known)}", lessons.mixed(name, mixed, JOINED), model.tokenizer, model.context
    )
