"""What recipes that learn from their own replies share: flags of asking, figures of replies in training and held out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, arg

from lab import calls, chat
from lab.advantage import pass_at
from lab.calls import Toolbox
from lab.errors import UserError
from lab.rollout import Episode, episode_row, rollout
from lab.run import Run
from lab.sample import Sampling
from lab.task import Problem, Task
from lab.weights import Model
from recipes import tasks, tuning
from recipes.tuning import Tuning

LOOKS = 4  # replies to a held-out problem
FOLLOWED = 4  # held-out problems whose replies are kept
PROMPTS = 16  # problems a step


@dataclass(frozen=True)
class Asking(Tuning):
    model: str = "pocket-code"
    """What learns: a run, a folder, a hub id or a GGUF file that can chat."""
    task: str = "problems"
    """problems, longer, counting; rows.jsonl, a folder or a hub data set; reasoning_gym:NAME; or a python file."""
    data: str | None = None
    """With a python file as --task: rows {"prompt", "answer"} to ask."""
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
    save_every: int = 10
    """Steps between checkpoints."""


def check(config: Asking) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    for field in ("group_size", "max_tokens", "examine"):
        if getattr(config, field) < 1:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least 1")
    if not 0 < config.temp <= 5:
        raise UserError(f"--temp {config.temp}: must lie above 0 and at most 5; greedy replies are all alike")
    with tasks.opened(config.task, config.data):
        pass  # what is no task is told before anything is written


def opened(config: Asking) -> Model:
    """The model that learns, able to write calls where it has tools."""
    return tuning.open_model(config, tools=bool(config.search or config.code), chats=True)


def toolbox(config: Asking, model: Model) -> Toolbox:
    """The tools of its replies; close it."""
    return Toolbox(model.tokenizer, calls.opened(config.search, config.code))


def asked(config: Asking, task: Task, step: int) -> list[Problem]:
    """The problems of a step: a stretch of the task's own stream, which a seed begins elsewhere."""
    count = config.batch_size or PROMPTS
    at = config.seed * 10_000_019 + (step - 1) * count
    return [task.problem(at + i) for i in range(count)]


def replies(
    config: Asking, model: Model, task: Task, problems: Sequence[Problem], n: int, seed: str, tools: Toolbox | None
) -> list[list[Episode]]:
    """Judged replies, `n` a problem."""
    sampling = Sampling(temp=config.temp, max_tokens=config.max_tokens)
    return rollout(
        model, task, problems, n, sampling, f"{config.seed}:{seed}", tools if tools and tools.tools else None
    )


def keep(record: Run, model: Model, step: int, groups: Sequence[Sequence[Episode]]) -> None:
    """The step's replies in the run folder."""
    rows = ((e, g, k) for g, group in enumerate(groups) for k, e in enumerate(group))
    record.episodes(step, (episode_row(e, model.tokenizer, step, g, k) for e, g, k in rows))


# -- figures -----------------------------------------------------------------------------------------------------------


def figures(groups: Sequence[Sequence[Episode]]) -> dict[str, float]:
    """What a step's replies were like: reward and its parts, shares right, lengths, entropy, groups that teach nothing, and
    by style (a note "style NAME") its share, how often it is right and how long it is."""
    ones = [one for group in groups for one in group]
    n = min(len(group) for group in groups)
    right = [sum(one.score.passed for one in group) for group in groups]
    told = {
        "reward": mean([one.score.value for one in ones]),
        "pass": mean([one.score.passed for one in ones]),
        f"pass@{n}": mean([pass_at(n, len(group), r) for group, r in zip(groups, right, strict=True)]),
        "length": mean([one.drawn for one in ones]),
        "entropy": sum(one.surprise * one.drawn for one in ones) / max(1, sum(one.drawn for one in ones)),
        "all_right": mean([r == len(group) for group, r in zip(groups, right, strict=True)]),
        "all_wrong": mean([r == 0 for r in right]),
        "unscored": mean([one.score.value is None for one in ones]),
    }
    if ones[0].reference is not None:
        told["kl"] = mean([one.kl() for one in ones])
    for part in sorted({name for one in ones for name in one.score.parts or {}}):
        told[f"part {part}"] = mean([(one.score.parts or {}).get(part) for one in ones])
    for note in sorted({name for one in ones for name in one.score.notes}):
        told[note] = mean([one.score.notes.get(note) for one in ones])
        if note.startswith("style ") and (such := [one for one in ones if one.score.notes.get(note)]):
            told[note.replace("style", "right", 1)] = mean([one.score.passed for one in such])
            told[note.replace("style", "length", 1)] = mean([one.drawn for one in such])
    return told


def mean(values: Sequence[float | None]) -> float:
    """The mean of those there are; NaN of none."""
    have = [float(v) for v in values if v is not None]
    return sum(have) / len(have) if have else math.nan


def examined(
    config: Asking, record: Run, model: Model, task: Task, tools: Toolbox | None, step: int
) -> tuple[dict[str, float], list[list[Episode]]]:
    """The same figures on held-out problems, the same each time; and the groups of the first of them, to be kept beside the
    step's, so that one problem can be followed over the steps. The first two replies are samples as well."""
    problems = some(task, config.examine)
    groups = replies(config, model, task, problems, LOOKS, "held out", tools)
    for group in groups[:2]:
        row = episode_row(group[0], model.tokenizer, step, 0, 0)
        said = chat.plain(group[0].problem.messages[-1]) + "\n"
        record.sample(step, said, row["text"], row["ids"], [p or 0.0 for p in row["logp"]])
    for one in (one for group in groups[:FOLLOWED] for one in group):
        one.extra["held_out"] = True
    return {f"held_{name}": value for name, value in figures(groups).items()}, groups[:FOLLOWED]


def some(task: Task, count: int) -> list[Problem]:
    """So many held-out problems, or as many as there are."""
    found = []
    for i in range(count):
        try:
            found.append(task.held_out(i))
        except LookupError:
            break
    if not found:
        raise UserError(f"--task {task.name}: nothing is held out to measure with; give it more rows, or a valid.jsonl")
    return found
