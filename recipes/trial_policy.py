"""What a policy that learns from preferences would need, for `lab plan`; apart from recipes/trial.py, since a policy's quality
is measured by a judge whom nothing that a reward model imports may know."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import mlx.core as mx
import mlx.nn as nn

from lab import chat, device, rankings, reward, weights
from lab.calls import Toolbox
from lab.kl import Penalty
from lab.learn import Learner, Schedule
from lab.loss import Clip, nll, policy_gradient
from lab.pairwise import implied, passes
from lab.rollout import Episode
from lab.samples import bucketed
from lab.task import Task
from lab.weights import Model
from recipes import grpo, practice, reinforce, tasks, taste, tuning
from recipes.estimate import Plan, Work, step_seconds, timed
from recipes.ranking import Request, whole
from recipes.rehearsal import START
from recipes.reward_model import Sets
from recipes.trial import FEW, GENTLE, memory, on_rankings

if TYPE_CHECKING:
    from recipes import dpo, rejection, rlhf


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


def planned(
    config: reinforce.Replies, model: Model, longest: int, facts: dict[str, str], reference: bool,
    work: Callable[[int, bool], Iterator[Work]],
) -> Plan:  # fmt: skip
    """What learning from sampled replies would take: prompts of at most `longest` tokens, with a `reference` or without."""
    full, optimizer = tuning.in_full(config, model), config.optimizer or "adamw"
    tuning.confine(config, model)
    trained = sum(v.size for _, v in device.flat(model.network.trainable_parameters()))
    iters, longest = reinforce.steps(config), min(model.context, longest + config.max_tokens)
    one = memory(model, trained, [(max(1, model.pass_tokens // longest), longest)])
    copy = 4 * tuning.parameters(model) if full and reference else 0
    about = f"{tuning.parameters(model):,} parameters, {trained:,} trained ({'all' if full else 'lora'})"
    return Plan(
        tuning.parameters(model), iters, facts={"model": f"{model.name}: {about}"} | facts,
        memory=None if one is None else one + copy, checkpoint=practice.checkpoint(model, trained, optimizer),
        checkpoints=min(config.keep, 1 + iters // config.save_every), work=lambda safe: work(iters, safe),
    )  # fmt: skip


def of_task(config: "grpo.Config") -> Plan:
    """What `lab grpo` would do."""
    model, per = reinforce.opened(config, lazy=True), config.batch_size or grpo.PROMPTS
    with tasks.opened(config.task, config.data) as task:
        facts = {"task": f"{task.name}, {per} problems a step, {config.group_size} replies each"}
        longest = asked(model, task)
    return planned(
        config, model, longest, facts, config.kl > 0, lambda iters, safe: practised(config, iters, per if safe else 1)
    )


def of_rounds(config: "rejection.Config") -> Plan:
    """What `lab rejection` would do."""
    from recipes import rejection as recipe

    model, per = reinforce.opened(config, lazy=True), config.batch_size or recipe.PROMPTS
    with tasks.opened(config.task, config.data) as task:
        facts = {"task": f"{task.name}, {per} problems a round, {config.group_size} replies each"}
        longest = asked(model, task)
    return planned(
        config, model, longest, facts, False, lambda iters, safe: kept(config, iters, per if safe else 1, per)
    )


def asked(model: Model, task: Task) -> int:
    """Tokens of the longest of some prompts."""
    return max(len(chat.prompt(model.tokenizer, task.problem(seed).messages)) for seed in range(FEW))


def practised(config: "grpo.Config", iters: int, per: int) -> Iterator[Work]:
    """The parts of the time of `lab grpo`: a real step, and the replies of a look."""
    model, whole_step = reinforce.opened(config), config.batch_size or grpo.PROMPTS
    reference = grpo.Reference(config, model) if config.kl else None
    tuning.confine(config, model)
    pupil = grpo.Pupil(Learner(model.network, Schedule(GENTLE, 100), config.optimizer or "adamw"), Penalty(config.kl))
    record = cast(Any, SimpleNamespace(name="plan", saved_step=0))
    with tasks.opened(config.task, config.data) as task, reinforce.toolbox(config, model) as tools:
        loss = policy_gradient(config.temp, grpo.clip_of(config, model), tools.banned)

        def step(count: int) -> float:
            course = grpo.Course(replace(config, batch_size=count), record, model, task, tools, pupil, loss,
                                 lambda one: grpo.priced(one, config.call_price), config.advantage, reference,
                                 config.inner_steps, config.truncate is not None or grpo.in_half(model),
                                 grpo.clip_of(config, model))  # fmt: skip
            return timed(lambda: course.step(1))

        def steps() -> tuple[float, str]:
            step(1)  # warms up
            return step(per) * whole_step / per, "a step measured here"

        yield Work("steps", iters, steps, True)
        yield from looked(config, iters, model, task, tools)
    yield Work("start", 1, lambda: (START, ""))


def kept(config: "rejection.Config", iters: int, per: int, whole_round: int) -> Iterator[Work]:
    """The parts of the time of `lab rejection`: a round of sampling, steps on replies as long as they come, and looks."""
    model = reinforce.opened(config)
    tuning.confine(config, model)
    learner, pad = Learner(model.network, Schedule(GENTLE, 100), config.optimizer or "adamw"), model.tokenizer.pad or 0
    with tasks.opened(config.task, config.data) as task, reinforce.toolbox(config, model) as tools:
        groups: list[list[Episode]] = []

        def sampled() -> tuple[float, str]:
            problems = reinforce.asked(config, task, 1, per)
            began = time.perf_counter()
            groups[:] = reinforce.replies(config, model, task, problems, config.group_size, "plan", tools)
            return (time.perf_counter() - began) * whole_round / per, "a round measured here"

        yield Work("rounds", -(-iters // config.steps_per_round), sampled, True)
        ones = [one.sample for group in groups for one in group]
        some = [ones[i % len(ones)] for i in range(config.rows)]
        batches = bucketed(some, pad, most=model.pass_tokens)
        yield Work("steps", iters, lambda: (timed(lambda: learner.step(1, batches, nll)), ""), True)
        yield from looked(config, iters, model, task, tools)
    yield Work("start", 1, lambda: (START, ""))


def looked(config: reinforce.Replies, iters: int, model: Model, task: Task, tools: Toolbox) -> Iterator[Work]:
    """The looks at held-out problems."""
    count = 1 + -(-iters // config.steps_per_eval)

    def look() -> tuple[float, str]:
        return timed(lambda: reinforce.held_out(replace(config, examine=FEW), model, task, tools)), ""

    yield Work("looks", count * config.examine / FEW, look, True)


def pleased(config: "rlhf.Config", iters: int, per: int) -> Iterator[Work]:
    """The parts of its time: one real step, and the replies of a look."""
    model = reinforce.opened(config)
    task = taste.opened(reward.load(str(config.reward)), model, config.data, config.pessimism)
    reference = grpo.Reference(config, model)
    tuning.confine(config, model)
    pupil = grpo.Pupil(Learner(model.network, Schedule(GENTLE, 100), config.optimizer or "adamw"), Penalty(config.kl))
    record = cast(Any, SimpleNamespace(name="plan", saved_step=0))
    whole_step = config.batch_size or grpo.PROMPTS
    with reinforce.toolbox(config, model) as tools:
        apart = grpo.in_half(model)
        loss = policy_gradient(config.temp, Clip(truncate=grpo.TRUNCATE) if apart else None, tools.banned)

        def step(count: int) -> float:
            few = replace(config, batch_size=count)
            course = grpo.Course(few, record, model, task, tools, pupil, loss, lambda one: taste.ended(one, 1.0),
                                 config.advantage, reference, apart=apart)  # fmt: skip
            return timed(lambda: course.step(1))

        def steps() -> tuple[float, str]:
            step(1)  # warms up
            return step(per) * whole_step / per, "a step measured here"

        yield Work("steps", iters, steps, True)
        yield from looked(replace(config, examine=min(config.examine, len(task.apart))), iters, model, task, tools)
    yield Work("start", 1, lambda: (START, ""))
