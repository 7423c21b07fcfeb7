"""Lessons of all stages before, for one that has none of its own: what a model learnt is learnt on beside what is optimised."""

from lab import talks
from lab.talks import Talks
from lab.weights import Model
from recipes import lessons, search, tuning
from recipes.lessons import letters, lookup, solve, talk

JOINED = 0.6
IN_WORDS = (0.0, 0.0, 1.0)  # shares of direct, steps, prose: the way of solving that reinforcement settles on


def school(model: Model) -> Talks:
    """Conversations of the pocket world's stages that the model's lineage went through, in about equal shares; no jokes, which
    is what preferences are about. More than half of them are two in one (see lessons.mixed)."""
    stages = {str(info.get("recipe")) for info in tuning.lineage(str(model.folder))}
    mixed: search.Weighted = [(0.35 * share, lesson) for share, lesson in talk.REPLAY if lesson is not talk.joked]
    if known := search.straight(None, model, needed=False):
        mixed += [*search.answering(known, 0.4), (0.4, lookup.told)]
    if "search" in stages:
        mixed += [(0.3, lookup.lesson), (0.5, lookup.bare), (0.15, lookup.alone)]
    if "code" in stages:
        mixed += [(0.35, lambda r: letters.counted(r, "code")), (0.05, letters.computed), (0.1, letters.compared)]
    if stages & {"demonstrate", "grpo"}:
        mixed += [(0.45, lambda r: solve.lesson(r, IN_WORDS)), (0.2, solve.retold)]
    key = f"before {sorted(stages)} {len(known)}"
    return talks.endless(key, lessons.mixed("before", mixed, JOINED), model.tokenizer, model.context)
