"""What a policy that learns from preferences would need, for `lab plan`; apart from recipes/trial.py, since a policy's quality
is measured by a judge whom nothing that a reward model imports may know."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import mlx.core as mx
import mlx.nn as nn

from lab import rankings, reward, weights
from lab.learn import Learner, Schedule
from lab.loss import Clip, policy_gradient
from lab.pairwise import implied, passes
from recipes import grpo, reinforce, taste, tuning
from recipes.estimate import Plan, Work, step_seconds, timed
from recipes.ranking import Request, whole
from recipes.rehearsal import START
from recipes.reward_model import Sets
from recipes.trial import FEW, GENTLE, on_rankings
from recipes.trial_policy import looked, planned, stepped

if TYPE_CHECKING:
    from recipes import dpo, rlhf


def of_dpo(config: "dpo.Config") -> Plan:
    """What `lab dpo` would do."""
    from recipes import dpo as recipe

    made = on_rankings(config, recipe, config.optimizer or "adamw", 1, preferred)
    copy = 4 * (made.parameters or 0) if tuning.in_full(config, weights.load(config.model, lazy=True)) else 0
    return replace(made, memory=None if made.memory is None else made.memory + copy)  # the reference


def preferred(config: "dpo.Config", sets: Sets, found: rankings.Rankings, iters: int, safe: bool) -> Iterator[Work]:
    """The parts of the time of `lab dpo`."""
    from recipes import dpo as recipe

    model = recipe.opened(config)
    per, pad = recipe.per_step(config, model), model.tokenizer.pad or 0
    some = sets.held[: 4 * FEW]
    every, few = len(sets.train) + len(sets.held), len(some)
    yield Work("reference", every / few, lambda: (timed(lambda: recipe.thought(model.network, some, pad)), ""))
    tuning.confine(config, model)
    learner = Learner(model.network, Schedule(GENTLE, 100), config.optimizer or "adamw")
    loss: Any = implied(config.beta)
    grad_of, number = nn.value_and_grad(learner.model, loss), iter(range(1, 1 << 30))

    def step(count: int) -> None:
        learner.step(1, cast(Any, passes(sets.draw(config.seed, next(number), count), pad)), loss)

    def gradient(count: int) -> None:
        for batch in passes(sets.draw(config.seed, next(number), count), pad):
            mx.eval(grad_of(learner.model, batch))

    yield Work("steps", iters, lambda: step_seconds(step, gradient, per, safe, "rankings"), True)
    looks, rows = 1 + -(-iters // config.steps_per_eval), len(sets.held) + min(recipe.LOOKED, len(sets.train))
    yield Work("looks", looks * rows / few, lambda: (timed(lambda: recipe.thought(model.network, some, pad)), ""), True)
    asked = [Request(reward.prompt_ids(model, one.prompt), [i]) for i, one in enumerate(found.held[: 4 * FEW])]

    def answered() -> tuple[float, str]:
        return timed(lambda: whole(model, asked, config.temp, config.max_tokens)), ""

    yield Work("samples", looks * config.examine / len(asked), answered, True)
    yield Work("start", 1, lambda: (START, ""))


def of_rlhf(config: "rlhf.Config") -> Plan:
    """What `lab rlhf` would do."""
    model = tuning.open_model(config, lazy=True, chats=True)
    where, name, members = reward.located(str(config.reward))
    asked = taste.sides(model, config.data)
    per = config.batch_size or grpo.PROMPTS
    judges = members * sum(
        file.stat().st_size for file in where.glob("*.safetensors") if file.stem in ("model", "adapters")
    )
    facts = {
        "judge": f"{name}, {members} member{'s' if members > 1 else ''}",
        "prompts": f"{len(asked[0]):,}, {per} a step, {config.group_size} replies each; held out {len(asked[1]):,}",
    }
    longest = max(len(reward.prompt_ids(model, taste.prompt_of(one))) for one in asked[0][:64])
    made = planned(config, model, longest, facts, True, lambda iters, safe: pleased(config, iters, per if safe else 1))
    memory = None if made.memory is None else made.memory + judges
    return replace(made, memory=memory, checkpoints=made.checkpoints + 1)  # and the best one


def pleased(config: "rlhf.Config", iters: int, per: int) -> Iterator[Work]:
    """The parts of its time: one real step, and the replies of a look."""
    from recipes import rlhf as recipe

    model = reinforce.opened(config)
    task = taste.opened(reward.load(str(config.reward)), model, config.data, config.pessimism)
    reference = grpo.Reference(config, model)
    tuning.confine(config, model)
    with reinforce.toolbox(config, model) as tools:
        apart = grpo.in_half(model)
        loss = policy_gradient(config.temp, Clip(truncate=grpo.TRUNCATE) if apart else None, tools.banned)

        def course(few: Any, record: Any, pupil: grpo.Pupil) -> grpo.Course:
            return grpo.Course(few, record, model, task, tools, pupil, loss, lambda one: taste.ended(one, 1.0),
                               config.advantage, reference, apart=apart)  # fmt: skip

        yield stepped(config, config.kl, model, iters, per, course, recipe.rehearsal(config, model))
        few = replace(config, examine=min(config.examine, len(task.apart)))
        yield from looked(few, iters, model, task, tools)
        if not config.data and not config.gold:
            many = replace(few, examine=recipe.START * few.examine)
            yield from (
                work._replace(name="start's replies", stepwise=False) for work in looked(many, 0, model, task, tools)
            )
    yield Work("start", 1, lambda: (START, ""))
