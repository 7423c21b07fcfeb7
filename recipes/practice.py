"""What tuning would need: a step's cost from real conversations, tried in a few real steps on the real model."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import device, lora
from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Transformer
from lab.runs import checkpoints, root
from lab.samples import Batch, Sample, bucketed
from lab.talks import Talks
from lab.weights import Model
from recipes import tuning
from recipes.estimate import Plan, Work, step_seconds, timed
from recipes.rehearsal import START, talk
from recipes.tuning import Tuning

LOOK = 8  # steps whose conversations are drawn to see how long they are
REPLY = 24  # tokens of a reply, the usual number; a model that learned to end says no more
FEW = 8  # held-out conversations that are measured where memory is short or the model large


def practising(
    config: Tuning,
    school: Callable[[Model, int], Talks],
    iters: Callable[[Talks, int], int],
    prompts: int,
    exam: int = 0,
    *,
    before: int = 0,
    like: Sequence[str] = ("What is 12 plus 30?",),
    times: int = 1,
    reply: int | None = REPLY,
    tools: bool = False,
    chats: bool = False,
    rows: int | None = None,
    looks: bool = True,
    more: Mapping[str, str] | None = None,
) -> Plan:
    """What a recipe would do that calls `tuning.tune`: `school(model, longest)` gives its conversations and
    `iters(talks, rows)` its steps, as the recipe's `run` finds them; `prompts` replies a look; ahead of the first step so
    many questions (`before`, `like` these, `times` replies each), answered as the model does; behind the last `exam`
    replies of `reply` tokens (None: as many as the conversations teach to say). `rows` conversations a step where the
    flags do not say; `looks` = False where nothing is looked at between the steps.

    Opens the model without reading its weights; they are read when the steps are tried.
    """
    model = tuning.open_model(config, lazy=True, tools=tools, chats=chats)
    count, rows, longest = tuning.parameters(model), rows or tuning.rows(config, model), tuning.longest(config, model)
    found = school(model, longest)
    full, optimizer, steps = tuning.in_full(config, model), tuning.optimizer_of(config, model), iters(found, rows)
    drawn = [found.draw(config.seed, step, rows) for step in range(1, LOOK + 1)]
    tokens = sum(len(s.ids) for step in drawn for s in step) / LOOK
    tuning.confine(config, model)
    trained = sum(v.size for _, v in device.flat(model.network.trainable_parameters()))
    saves = min(config.keep, 1 + -(-steps // config.save_every))
    count_looks = 1 + -(-steps // config.steps_per_eval) if looks else 0
    told = f"{found.total:,} conversations" if found.total else "generated, fresh in every step"
    passes = f", {steps * rows / found.total:.1f} passes" if found.total else ""
    mean = max(1, sum(map(len, drawn)) / LOOK)
    facts = {
        "model": f"{model.name}: {count:,} parameters, {trained:,} trained ({'all' if full else 'lora'})",
        "talks": f"{told}; {mean:.0f} a step, {tokens / mean:.0f} tokens each{passes}",
    } | dict(more or {})
    about = f"{tokens:,.0f} tokens a step, as the first {LOOK} have"
    said = reply or taught(drawn)
    asked = Asked(count_looks, prompts, 0 if begun(config) else before, like, times, exam, said)
    return Plan(
        count, steps, 0, round(tokens * steps), about, facts, memory(model, drawn, trained),
        checkpoint(model, trained, optimizer), saves,
        lambda whole: rehearse(config, found, steps, rows, whole, asked, tools),
    )  # fmt: skip


class Asked(NamedTuple):
    """What a tuning asks of its model; see `practising`."""

    looks: int
    prompts: int
    before: int
    like: Sequence[str]
    times: int
    exam: int
    reply: int


def taught(drawn: Sequence[Sequence[Sample]]) -> int:
    """Tokens from the first to the last that a conversation trains, results in between too; the mean."""
    spans = [np.flatnonzero(s.weight) for step in drawn for s in step]
    return max(1, round(sum(int(at[-1] - at[0]) + 1 for at in spans if len(at)) / max(1, len(spans))))


def begun(config: Tuning) -> bool:
    """Whether it goes on behind its first step: what is asked ahead of it is done."""
    if not config.resume or not config.name:
        return False
    return any(int(path.name) for path in checkpoints(root() / config.name))


def memory(model: Model, drawn: Sequence[Sequence[Any]], trained: int) -> int | None:
    """Bytes at the peak of a step: the weights, two copies of the gradient (one pass's, and their sum), the optimiser's
    two moments, and of the largest pass the activations. None for architectures whose numbers we do not know."""
    shape = getattr(model.network, "shape", None)
    if not isinstance(model.network, Transformer) or shape is None:
        return None
    pad = model.tokenizer.pad or 0
    passes = {batch.ids.shape for step in drawn for batch in bucketed(step, pad, most=model.pass_tokens)}
    most = max((shape.memory(*size) - shape.memory(0, size[1]) for size in passes), default=0)
    held = device.compute_dtype(shape.parameters).size  # bytes of a weight
    return shape.parameters * held + 16 * trained + most


def checkpoint(model: Model, trained: int, optimizer: str) -> int:
    """Bytes of one: what is trained, the optimiser's two moments of it (of a matrix under Muon one), and fp32 masters of
    weights in half precision."""
    matrices = sum(
        v.size
        for path, v in device.flat(model.network.trainable_parameters())
        if v.ndim == 2 and "embed" not in path and "lm_head" not in path
    )
    adapted = bool(lora.adapters(model.network))
    half = not adapted and device.compute_dtype(tuning.parameters(model)) != mx.float32
    return trained * (6 if half else 4) + 8 * trained - (4 * matrices if optimizer == "muon" else 0)


def rehearse(
    config: Tuning, talks: Talks, steps: int, rows: int, whole: bool, asked: Asked, tools: bool
) -> Iterator[Work]:
    """The parts of a tuning's time, each measured when asked for. The weights change on the way, which nobody keeps."""
    from recipes.lessons.exam import replies

    model = tuning.open_model(config, tools=tools)
    network, pad, count = model.network, model.tokenizer.pad or 0, tuning.parameters(model)
    optimizer, ask = tuning.optimizer_of(config, model), 64 if whole else 4

    if asked.before:
        some = spread(asked.like, ask)

        def answered() -> tuple[float, str]:
            return timed(lambda: replies(model, some, temp=0.8, samples=asked.times)), ""

        yield Work("asking", asked.before / ask, answered)
    tuning.confine(config, model)
    learner = Learner(network, Schedule(1e-6, 100), optimizer)
    grad_of, number = nn.value_and_grad(network, nll), iter(range(1, 1 << 30))

    def batches(count: int) -> list[Batch]:
        return bucketed(talks.draw(config.seed, next(number), count), pad, most=model.pass_tokens)

    def step(count: int) -> None:
        learner.step(1, batches(count), nll)

    def gradient(count: int) -> None:
        for batch in batches(count):
            mx.eval(grad_of(network, batch))

    if steps:
        yield Work("steps", steps, lambda: step_seconds(step, gradient, rows, whole, "conversations"), True)
    held = talks.valid if whole and count <= tuning.SMALL else talks.valid[:FEW]
    if held and asked.looks:
        times = asked.looks * len(talks.valid) / len(held)
        yield Work("looks", times, lambda: (timed(lambda: tuning.held_out_loss(model, held, pad)), ""), True)
    ids = random.Random(0)

    def babble(*shape: int) -> list[list[int]]:
        return [[ids.randrange(1, model.tokenizer.vocab_size) for _ in range(shape[-1])]]

    if asked.looks * asked.prompts:
        yield Work(
            "samples",
            asked.looks * asked.prompts * REPLY / 16,
            lambda: (timed(lambda: talk(network, babble)), ""),
            True,
        )
    if asked.exam:
        ends = model.tokenizer.ends  # one that would end sooner goes on: it does not know yet what it is taught

        def examined() -> tuple[float, str]:
            return timed(lambda: replies(model, spread(asked.like, ask), longest=asked.reply, never=ends)), ""

        yield Work("exam", asked.exam / ask, examined)
    yield Work("start", 1, lambda: (START, ""))


def spread(questions: Sequence[str], count: int) -> list[str]:
    """So many of them from all over."""
    return [questions[i * len(questions) // count] for i in range(count)]
