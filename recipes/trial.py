"""What learning from preferences would need, for `lab plan`: some real steps on the real rankings and prompts."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import mlx.core as mx
import mlx.nn as nn

from lab import device, rankings, reward, weights
from lab.learn import Learner, Schedule
from lab.pairwise import pairwise, passes
from lab.reward import Scorer
from lab.weights import Model
from recipes import practice, tuning
from recipes.estimate import Plan, Work, step_seconds, timed
from recipes.ranking import Request, whole
from recipes.rehearsal import START
from recipes.reward_model import Sets, encoded

if TYPE_CHECKING:
    from recipes import reward_model

FEW = 4  # prompts whose replies are timed
GENTLE = 1e-6  # a rate that changes next to nothing while steps are tried


def of_reward_model(config: "reward_model.Config") -> Plan:
    """What `lab reward-model` would do."""
    from recipes import reward_model as recipe

    optimizer = tuning.optimizer_of(config, weights.load(config.model, lazy=True))
    return on_rankings(config, recipe, optimizer, config.ensemble, judged)


def on_rankings(config: Any, recipe: Any, optimizer: str, members: int, work: Callable[..., Iterator[Work]]) -> Plan:
    """What a recipe would do that learns from rankings."""
    model = weights.load(config.model, lazy=True)
    found = rankings.load(str(config.rankings))
    sets, per = encoded(model, found, tuning.longest(config, model)), recipe.per_step(config, model)
    iters, full = recipe.steps(config, model, sets), tuning.in_full(config, model)
    tuning.confine(config, model)
    trained = sum(v.size for _, v in device.flat(model.network.trainable_parameters()))
    drawn = [sets.draw(config.seed, step, per) for step in range(1, practice.LOOK + 1)]
    rows = [[row for one in some for row in one.rows] for some in drawn]
    tokens = sum(len(row) for some in rows for row in some) / practice.LOOK
    pairs = sum(len(one.pairs) for one in sets.train)
    facts = {
        "model": f"{model.name}: {tuning.parameters(model):,} parameters, {trained:,} trained "
                 f"({'all' if full else 'lora'}){f' x {members} members' if members > 1 else ''}",
        "ranked": f"{len(sets.train):,} prompts, {pairs:,} pairs; held out {len(sets.held):,}",
    }  # fmt: skip
    shapes = {batch.ids.shape for some in drawn for batch in passes(some, model.tokenizer.pad or 0)}
    one = memory(model, trained, sorted(shapes))
    return Plan(
        tuning.parameters(model), iters, 0, round(tokens * iters * members),
        f"{tokens:,.0f} tokens a step, as the first {practice.LOOK} have", facts,
        None if one is None else one * members,
        practice.checkpoint(model, trained, optimizer) * members,
        min(config.keep, 1 + -(-iters // config.save_every)),
        lambda safe: work(config, sets, found, iters, safe),
    )  # fmt: skip


def memory(model: Model, trained: int, batches: Sequence[tuple[int, int]]) -> int | None:
    """Bytes at the peak, as `practice.memory` reckons them; `batches` are (rows, tokens)."""
    shape = getattr(model.network, "shape", None)
    if shape is None:
        return None
    held = device.compute_dtype(shape.parameters).size
    most = max((shape.memory(rows, length) - shape.memory(0, length) for rows, length in batches), default=0)
    return int(shape.parameters * held + 16 * trained + most)


def judged(
    config: "reward_model.Config", sets: Sets, found: rankings.Rankings, iters: int, safe: bool
) -> Iterator[Work]:
    """The parts of its time."""
    from recipes import reward_model as recipe

    model = recipe.opened(config)
    per, pad = recipe.per_step(config, model), model.tokenizer.pad or 0
    asked = [Request(reward.prompt_ids(model, one.prompt), [i]) for i, one in enumerate(found.train[: 4 * FEW])]

    def answered() -> tuple[float, str]:
        return timed(lambda: whole(model, asked, config.temp, config.max_tokens)), ""

    yield Work("asking", config.replies / max(1, len(asked)), answered)
    optimizer = tuning.optimizer_of(config, model)
    tuning.confine(config, model)
    learner = Learner(Scorer(model.network, config.seed), Schedule(GENTLE, 100), optimizer)
    grad_of, number = nn.value_and_grad(learner.model, cast(Any, pairwise)), iter(range(1, 1 << 30))

    def step(count: int) -> None:
        learner.step(1, cast(Any, passes(sets.draw(config.seed, next(number), count), pad)), cast(Any, pairwise))

    def gradient(count: int) -> None:
        for batch in passes(sets.draw(config.seed, next(number), count), pad):
            mx.eval(grad_of(learner.model, batch))

    def steps() -> tuple[float, str]:
        seconds, how = step_seconds(step, gradient, per, safe, "rankings")
        return seconds * config.ensemble, how

    yield Work("steps", iters, steps, True)
    some = sets.held[: 4 * FEW]
    rm = reward.RewardModel(model, [cast(Scorer, learner.model)])
    looked = sum(len(one.rows) for one in some)
    rows = sum(len(one.rows) for one in (*sets.held, *sets.train[: recipe.LOOKED])) + config.replies
    looks = (2 + iters // config.steps_per_eval) * config.ensemble

    def look() -> tuple[float, str]:
        return timed(lambda: rm.raw([row for one in some for row in one.rows])), ""

    yield Work("looks", looks * rows / max(1, looked), look, True)
    yield Work("start", 1, lambda: (START, ""))
