"""What recipes that learn from their own replies share: flags of asking, figures of replies in training and held out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, arg

from lab import calls, chat, device, lora
from lab.advantage import pass_at
from lab.calls import Toolbox
from lab.errors import UserError
from lab.hub_chat import offering
from lab.learn import Learner, Schedule
from lab.rollout import Episode, episode_row, rollout
from lab.run import Part, Run
from lab.runs import read_lines
from lab.sample import Sampling
from lab.task import Problem, Score, Task
from lab.weights import Model
from recipes import tasks, tuning
from recipes.lessons import solve
from recipes.tuning import Tuning

WAYS = tuple(dict.fromkeys((*solve.STYLES, *solve.WAYS)))
CHARTS: tuple[dict[str, Any], ...] = (
    {"title": "right: in training, and held out", "keys": ["pass", "held_pass"]},
    {"title": "reward", "keys": ["reward", "held_reward"]},
    {"title": "tokens of a reply", "keys": ["length", "held_length"]},
    {"title": "entropy, nats a token", "keys": ["entropy"]},
    {"title": "how it solves: shares", "keys": [*(f"style {way}" for way in WAYS), "thinks"]},
    {"title": "how often each way is right", "keys": [f"right {way}" for way in WAYS]},
    {"title": "tokens of a reply, by way", "keys": [f"length {way}" for way in WAYS]},
    {"title": "attempts taken back, a reply", "keys": ["retries", "held_retries"]},
    {"title": "groups that teach nothing", "keys": ["all_right", "all_wrong"]},
    {"title": "calls: of known names, of never-told ones", "keys": ["held_called known", "held_called never", "calls"]},
    {"title": "truncated", "keys": ["truncated"]},
    {"title": "KL from the reference, nats a reply", "keys": ["kl"]},
    {"title": "loss on lessons of before", "keys": ["replay_loss"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)
ITERS = 60  # steps
LOOKS = 4  # replies to a held-out problem
FOLLOWED = 4  # held-out problems whose replies are kept
Look = Callable[[int], tuple[dict[str, float], list[list[Episode]]]]  # of a step: (figures, groups that are kept)


@dataclass(frozen=True)
class Replies(Tuning):
    batch_size: Annotated[int | None, arg(aliases=["--prompts"])] = None
    """Problems a step (16)."""
    group_size: int = 8
    """Replies to each problem."""
    temp: float = 1.0
    """Temperature of the replies; training uses the same."""
    max_tokens: int = 192
    """Longest reply; one that is cut is never right."""
    search: str | None = None
    """An index the model may search in its replies (lab index)."""
    code: Annotated[bool, FlagCreatePairsOff] = False
    """Let it compute with Python in its replies."""
    examine: int = 64
    """Held-out problems a look (4 replies each)."""
    steps_per_eval: int = 10
    """Steps between looks at held-out problems."""
    optimizer: Literal["muon", "adamw"] | None = None
    """AdamW by default."""
    learning_rate: float | None = None
    """Peak rate (full 3e-4, lora 1e-4)."""
    decay: float = 0.0
    """Share of the steps over which the rate falls to 2 %."""
    warmup: int = 2
    """Steps of linear warm-up."""
    save_every: int = 10
    """Steps between checkpoints."""


@dataclass(frozen=True)
class Asking(Replies):
    model: str = "pocket-code"
    """What learns: a run, a folder, a hub id or a GGUF file that can chat."""
    task: str = "problems"
    """problems, longer, counting, countdown, facts; rows.jsonl, a folder or a hub data set; reasoning_gym:NAME; or a python
    file."""
    data: str | None = None
    """With a python file as --task: rows {"prompt", "answer"} to ask."""


def check(config: Replies) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    for field in ("group_size", "max_tokens", "examine"):
        if getattr(config, field) < 1:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least 1")
    if not 0 < config.temp <= 5:
        raise UserError(f"--temp {config.temp}: must lie above 0 and at most 5; greedy replies are all alike")
    if isinstance(config, Asking):
        with tasks.opened(config.task, config.data):
            pass  # what is no task is told before anything is written


def opened(config: Replies, lazy: bool = False) -> Model:
    """The model that learns, able to write calls where it has tools, and told of them as in a chat."""
    model = tuning.open_model(config, lazy, tools=bool(config.search or config.code), chats=True)
    names = ["search"] * bool(config.search) + ["code"] * config.code
    return replace(model, tokenizer=offering(model.tokenizer, names))


def toolbox(config: Replies, model: Model) -> Toolbox:
    """The tools of its replies; close it."""
    return Toolbox(model.tokenizer, calls.opened(config.search, config.code))


def steps(config: Replies) -> int:
    """Optimiser steps."""
    return config.iters or ITERS


def learner(config: Replies, record: Run, model: Model) -> Learner:
    """What is trained unfrozen, the run folder a model folder, and an optimiser."""
    peak = config.learning_rate or (3e-4 if tuning.in_full(config, model) else 1e-4)
    tuning.dress(config, record, model)
    schedule = Schedule(peak, steps(config), config.warmup, config.decay)
    return Learner(model.network, schedule, config.optimizer or "adamw")


def begin(config: Replies, record: Run, model: Model, task: Task, part: Part, look: Look, asks: str) -> None:
    """Say what is ahead, stand where the run stood, and take the first look."""
    how = "lora" if lora.adapters(model.network) else "all"
    record.say(
        f"task    {task.name}, {asks}, {config.group_size} replies each\n"
        f"model   {tuning.named(model)}, {tuning.parameters(model):,} parameters ({how})\n"
        f"device  {device.name()}"
    )
    record.save_every, record.keep = config.save_every, config.keep
    record.attach(part)
    if record.saved_step < 0:
        seen, held = look(0)
        keep(record, model, 0, held)
        record.log(0, **seen)


def asked(config: Replies, task: Task, number: int, count: int) -> list[Problem]:
    """The problems of a step or round: a stretch of the task's own stream, which a seed begins elsewhere."""
    at = config.seed * 10_000_019 + (number - 1) * count
    return [task.problem(at + i) for i in range(count)]


def replies(
    config: Replies, model: Model, task: Task, problems: Sequence[Problem], n: int, seed: str, tools: Toolbox
) -> list[list[Episode]]:
    """Judged replies, `n` a problem."""
    sampling = Sampling(temp=config.temp, max_tokens=config.max_tokens)
    return rollout(model, task, problems, n, sampling, f"{config.seed}:{seed}", tools)


def keep(record: Run, model: Model, step: int, groups: Sequence[Sequence[Episode]]) -> None:
    """The step's replies in the run folder."""
    rows = ((e, g, k) for g, group in enumerate(groups) for k, e in enumerate(group))
    record.episodes(step, (episode_row(e, model.tokenizer, step, g, k) for e, g, k in rows))


def conclude(record: Run) -> None:
    """Before and after, on what was held out."""
    if record.cut_short():
        return
    rows = list(read_lines(record.folder / "metrics.jsonl"))
    looks = [row for row in rows if "held_pass" in row]
    first, last = looks[0], looks[-1]
    record.headline = f"right {first['held_pass']:.2f} -> {last['held_pass']:.2f}"
    record.say(
        f"held out: right {first['held_pass']:.2f} -> {last['held_pass']:.2f}, "
        f"tokens of a reply {first['held_length']:.1f} -> {last['held_length']:.1f}\n"
        f"CPU time of this process {time.process_time() / 60:.1f} min; talk to it: lab chat --model {record.name}"
    )
    figures = {f"before_{name[5:]}": value for name, value in first.items() if name.startswith("held_")}
    figures |= {name: value for name, value in last.items() if name.startswith("held_")}
    sampled = sum(row.get("sampled", 0) for row in rows)
    record.event("report", **figures, sampled=sampled, cpu_s=round(time.process_time(), 1))


# -- figures -----------------------------------------------------------------------------------------------------------


def figures(groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """What a step's replies were like: reward and its parts, shares right, lengths, entropy, groups that teach nothing, and
    by style (a note "style NAME") its share, how often it is right and how long it is."""
    ones = [one for group in groups for one in group]
    n = min(len(group) for group in groups)
    judged = [
        [one for one in group if one.score.value is not None] for group in groups
    ]  # what nobody could is no failure
    right = [(sum(one.score.passed for one in group), len(group)) for group in judged if group]
    told = {
        "reward": mean([one.score.value for one in ones]),
        "pass": mean([one.score.passed for group in judged for one in group]),
        f"pass@{n}": mean([pass_at(min(n, count), count, r) for r, count in right]),
        "length": mean([one.drawn for one in ones]),
        "entropy": sum(one.surprise * one.drawn for one in ones) / max(1, sum(one.drawn for one in ones)),
        "all_right": mean([r == count for r, count in right]),
        "all_wrong": mean([r == 0 for r, _ in right]),
        "unscored": mean([one.score.value is None for one in ones]),
    }
    if ones[0].reference is not None:
        told["kl"] = mean([one.kl() for one in ones])
    for part in sorted({name for one in ones for name in one.score.parts or {}}):
        told[f"part {part}"] = mean([(one.score.parts or {}).get(part) for one in ones])
    return told | noted([one.score for one in ones], [one.drawn for one in ones])


def noted(scores: Sequence[Score], lengths: Sequence[int]) -> dict[str, float]:
    """Notes of replies and, of a style, how often it is right and how long it is."""
    told: dict[str, float] = {}
    for note in sorted({name for score in scores for name in score.notes}):
        told[note] = mean([score.notes.get(note) for score in scores])
        such = [at for at, score in enumerate(scores) if score.notes.get(note)]
        if note.startswith("style ") and such:
            told[note.replace("style", "right", 1)] = mean([scores[at].passed for at in such])
            told[note.replace("style", "length", 1)] = mean([lengths[at] for at in such])
    return told


def mean(values: Sequence[float | None]) -> float:
    """The mean of those there are; NaN of none."""
    have = [float(v) for v in values if v is not None]
    return sum(have) / len(have) if have else math.nan


def examined(
    config: Replies, record: Run, model: Model, task: Task, tools: Toolbox, step: int
) -> tuple[dict[str, float], list[list[Episode]]]:
    """The same figures on held-out problems, the same each time; and the groups of the first of them, to be kept beside the
    step's, so that one problem can be followed over the steps."""
    return followed(record, model, step, held_out(config, model, task, tools))


def held_out(config: Replies, model: Model, task: Task, tools: Toolbox) -> list[list[Episode]]:
    """Replies to held-out problems, the same problems and draws each time."""
    return replies(config, model, task, tasks.held_out(task, config.examine), LOOKS, "held out", tools)


def followed(
    record: Run, model: Model, step: int, groups: list[list[Episode]]
) -> tuple[dict[str, float], list[list[Episode]]]:
    """(figures of held-out replies, the groups that are kept). The first two replies are samples as well."""
    for group in groups[:2]:
        row = episode_row(group[0], model.tokenizer, step, 0, 0)
        said = chat.plain(group[0].problem.messages[-1]) + "\n"
        record.sample(step, said, row["text"], row["ids"], [p or 0.0 for p in row["logp"]])
    for one in (one for group in groups[:FOLLOWED] for one in group):
        one.extra["held_out"] = True
    return {f"held_{name}": value for name, value in figures(groups).items()}, groups[:FOLLOWED]
