"""What learning from sampled replies would need, for `lab plan`: of tasks with a judge of their own (lab grpo, lab rejection).
Apart from recipes/trial_taste.py, since nothing that these import may know the hidden judge of jokes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from lab import chat, device
from lab.calls import Toolbox
from lab.kl import Penalty
from lab.learn import Learner, Schedule
from lab.loss import nll, policy_gradient
from lab.rollout import Episode
from lab.samples import bucketed
from lab.task import Task
from lab.weights import Model
from recipes import before, grpo, practice, reinforce, tasks, tuning
from recipes.estimate import Plan, Work, timed
from recipes.rehearsal import START
from recipes.trial import FEW, GENTLE, memory

if TYPE_CHECKING:
    from recipes import rejection


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
    per = config.batch_size or grpo.PROMPTS
    return asked(config, per, "step", config.kl > 0, lambda iters, safe: practised(config, iters, per if safe else 1))


def of_rounds(config: "rejection.Config") -> Plan:
    """What `lab rejection` would do."""
    from recipes import rejection as recipe

    per = config.batch_size or recipe.PROMPTS
    return asked(config, per, "round", False, lambda iters, safe: kept(config, iters, per if safe else 1, per))


def asked(
    config: "grpo.Config | rejection.Config",
    per: int,
    when: str,
    reference: bool,
    work: Callable[[int, bool], Iterator[Work]],
) -> Plan:
    """`planned`, for so many problems of a task each step or round; prompts are as long as the longest of some."""
    model = reinforce.opened(config, lazy=True)
    with tasks.opened(config.task, config.data) as task:
        facts = {"task": f"{task.name}, {per} problems a {when}, {config.group_size} replies each"}
        longest = max(len(chat.prompt(model.tokenizer, task.problem(seed).messages)) for seed in range(FEW))
    return planned(config, model, longest, facts, reference, work)


def practised(config: "grpo.Config", iters: int, per: int) -> Iterator[Work]:
    """The parts of the time of `lab grpo`: a real step, and the replies of a look."""
    model = reinforce.opened(config)
    reference = grpo.Reference(config, model) if config.kl else None
    tuning.confine(config, model)
    with tasks.opened(config.task, config.data) as task, reinforce.toolbox(config, model) as tools:
        clip, half = grpo.clip_of(config, model), grpo.in_half(model)
        loss = policy_gradient(config.temp, clip, tools.banned)

        def course(few: Any, record: Any, pupil: grpo.Pupil) -> grpo.Course:
            return grpo.Course(few, record, model, task, tools, pupil, loss,
                               lambda one: grpo.priced(one, config.call_price), config.advantage, reference,
                               config.inner_steps, config.truncate is not None or half, clip)  # fmt: skip

        yield stepped(config, config.kl, model, iters, per, course, grpo.rehearsal(config, model))
        yield from looked(config, iters, model, task, tools)
    yield Work("start", 1, lambda: (START, ""))


def stepped(
    config: reinforce.Replies, kl: float, model: Model, iters: int, per: int,
    course: Callable[[Any, Any, grpo.Pupil], grpo.Course], beside: before.Rehearsal | None,
) -> Work:  # fmt: skip
    """The steps, of which one is taken for real with `per` problems, and as large a share of the lessons `beside` it:
    `course(config, record, pupil)` takes it."""
    pupil = grpo.Pupil(Learner(model.network, Schedule(GENTLE, 100), config.optimizer or "adamw"), Penalty(kl))
    record = cast(Any, SimpleNamespace(name="plan", saved_step=0))
    whole_step = config.batch_size or grpo.PROMPTS

    def one(count: int) -> None:
        course(replace(config, batch_size=count), record, pupil).step(1)
        if beside:
            some = replace(beside, count=max(1, beside.count * count // whole_step))
            some.step(record, pupil.learner, 1)

    def step(count: int) -> float:
        return timed(lambda: one(count))

    def steps() -> tuple[float, str]:
        step(1)  # warms up
        return step(per) * whole_step / per, "a step measured here"

    return Work("steps", iters, steps, True)


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
