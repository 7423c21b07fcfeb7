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

Skill = Literal["", "knowing", "computing", "solving", "joking"]
JOINED = 0.6
SOLVING = ("problems", "longer", "countdown")  # tasks of word problems
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
    if not count or "sft" not in stages(model):
        return None
    return Rehearsal(model, school(model, but), seed, count)


def stages(model: Model) -> set[str]:
    """The recipes whose lessons of the pocket world the model's lineage went through; "solving" is reinforcement on its word
    problems."""
    mine = [info for info in tuning.lineage(str(model.folder)) if not info.get("config", {}).get("data")]
    solved = any(info.get("recipe") == "grpo" and info["config"].get("task") in SOLVING for info in mine)
    return {str(info.get("recipe")) for info in mine} | ({"solving"} if solved else set())


def school(model: Model, but: Skill = "") -> Talks:
    """Conversations of the pocket world's stages that the model's lineage went through, what is known the most; no reply that
    thinks, calls, answers or jokes as the skill that is optimised itself would have it. More than half of them are two in one
    (see lessons.mixed)."""
    taught, known = stages(model), search.straight(None, model, needed=False)
    mixed: list[tuple[Skill, float, lessons.Lesson]] = [
        ("joking", 0.2, lesson) if lesson is talk.joked else ("", 0.35 * share, lesson) for share, lesson in talk.REPLAY
    ]
    if known:
        mixed += [("knowing", share, lesson) for share, lesson in (*search.answering(known, 0.9), (0.7, lookup.told))]
    if "search" in taught:
        mixed += [("knowing", 0.3, lookup.lesson), ("knowing", 0.5, lookup.bare), ("knowing", 0.1, lookup.alone)]
        # How to look up, without a word about when: with no call beside it at all, calls would fall of themselves.
        mixed += [("", 0.5, lookup.told_to)] if but == "knowing" else []
    if "code" in taught:
        mixed += [
            ("computing", 0.35, lambda r: letters.counted(r, "code")), ("computing", 0.05, letters.computed),
            ("computing", 0.1, letters.compared), ("computing", 0.1, letters.listed),
        ]  # fmt: skip
    if "solving" in taught:
        mixed += [("solving", 0.45, lambda r: solve.lesson(r, IN_WORDS))]
    if "demonstrate" in taught:
        mixed += [("solving", 0.2, solve.retold)]
    name = f"before {but}".strip()
    weighted = [(share, lesson) for skill, share, lesson in mixed if not but or skill != but]
    return talks.endless(
        f"{name} {sorted(taught)} {len(known)}", lessons.mixed(name, weighted, JOINED), model.tokenizer, model.context
    )
