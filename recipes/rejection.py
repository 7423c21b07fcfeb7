"""Keep the right ones, retrain, repeat: sample replies to each problem, keep those that are right, and imitate them (rejection
sampling as in Llama 2, Touvron et al. 2023, arXiv:2307.09288, section 3.2; expert iteration, Anthony et al. 2017,
arXiv:1705.08439). The same loss as `lab sft`: its demonstrations are the model's own.

Of a problem's right replies at most --most are kept, each once, the shortest first or at random.

Expected, pocket preset, 60 steps in six rounds from `lab demonstrate` (seeds 0 / 1; 5.4 CPU-minutes on one of two busy cores),
held out at temperature 1: right .13 / .11 -> .81 / .79, replies that think .20 / .15 -> 1.00. `lab grpo` on as many problems,
with lessons of before beside it, comes to .88 / .92.

Examples:
  lab rejection --model demonstrate-1                    word problems, in rounds
  lab rejection --choose shortest --most 1               the shortest right reply alone
  lab rejection --task gsm8k.jsonl --model smollm2.gguf  your rows {"prompt", "answer"}, LoRA
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import Any, Literal

import numpy as np

from lab import episodes
from lab.calls import Toolbox
from lab.errors import UserError
from lab.learn import keeping, memory_stats
from lab.loss import nll
from lab.rollout import Episode
from lab.run import Run
from lab.samples import Sample, bucketed
from lab.task import Task
from lab.weights import Model
from recipes import reinforce, tasks
from recipes.estimate import Plan
from recipes.reinforce import Asking

CHARTS = reinforce.CHARTS
STEPS = 10  # on the replies of one round
PROMPTS = 160  # problems a round


@dataclass(frozen=True)
class Config(Asking):
    batch_size: int | None = None
    """Problems a round (160): as many as 10 steps of lab grpo ask."""
    steps_per_round: int = STEPS
    """Steps of training between two rounds of sampling."""
    rows: int = 64
    """Kept replies a step."""
    most: int = 4
    """Right replies kept of one problem."""
    choose: Literal["random", "shortest"] = "random"
    """Which of them."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    reinforce.check(config)
    for field in ("steps_per_round", "rows", "most"):
        if getattr(config, field) < 1:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least 1")


def run(config: Config, record: Run) -> None:
    """Rounds of sampling and keeping, each followed by steps on what was kept."""
    model = reinforce.opened(config)
    with tasks.opened(config.task, config.data) as task, reinforce.toolbox(config, model) as tools:
        rounds(config, record, model, task, tools)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.trial_policy import of_rounds

    return of_rounds(config)


def rounds(config: Config, record: Run, model: Model, task: Task, tools: Toolbox) -> None:
    """The loop: the first step of a round samples."""
    pad, iters, each = model.tokenizer.pad or 0, reinforce.steps(config), config.steps_per_round
    learner, per_round = reinforce.learner(config, record, model), config.batch_size or PROMPTS
    look = partial(reinforce.examined, config, record, model, task, tools)
    reinforce.begin(config, record, model, task, learner, look, f"{per_round} problems a round")
    pool: list[Sample] = []
    for step in record.steps(iters):
        first, told = step - (step - 1) % each, dict[str, Any]()
        if step == first:
            record.note = f"round {1 + step // each}: sampling"
            asked = reinforce.asked(config, task, 1 + (step - 1) // each, per_round)
            groups = reinforce.replies(config, model, task, asked, config.group_size, f"{step}", tools)
            pool = choose(config, groups, Random(f"{config.seed}:{step}"))
            reinforce.keep(record, model, step, groups)
            told = reinforce.figures(groups) | {"kept": len(pool)}
            told["sampled"] = sum(one.drawn for group in groups for one in group)
            record.note = ""
        elif not pool:  # resumed within a round
            pool = read_back(record, first)
        if not pool:
            raise UserError(
                f"{record.name}: no reply of this round is right, so there is nothing to keep; take an easier --task"
            )
        clock = time.perf_counter()
        some = Random(f"{config.seed}:rows:{step}").choices(pool, k=min(config.rows, len(pool)))
        with keeping(record):
            stats = learner.step(step, bucketed(some, pad, most=model.pass_tokens), nll)
        told |= asdict(stats) | {"tok_s": round(stats.tokens / (time.perf_counter() - clock))}
        seen = look(step)[0] if step % config.steps_per_eval == 0 or step == iters else {}
        record.log(step, **told, **memory_stats(), **seen)
    reinforce.conclude(record)


def choose(config: Config, groups: Sequence[Sequence[Episode]], r: Random) -> list[Sample]:
    """Of each group its right replies, no text twice, at most `most`. They get advantage 1, the others 0."""
    kept: list[Sample] = []
    for group in groups:
        for one in group:
            one.advantage = 0.0
        right = {tuple(one.sample.ids.tolist()): one for one in group if one.score.passed}
        found = list(right.values())
        r.shuffle(found)
        if config.choose == "shortest":
            found.sort(key=lambda one: one.drawn)
        for one in found[: config.most]:
            one.advantage = 1.0
        # In the order of the file, from which a resumed run reads them back.
        kept += [Sample(one.sample.ids, one.sample.weight) for one in group if one.advantage]
    return kept


def read_back(record: Run, first: int) -> list[Sample]:
    """What was kept of the round that began with step `first`."""
    kept = []
    for row in episodes.read(record.folder, first):
        if row["advantage"]:
            prompt, ids = row["prompt_ids"], row["ids"]
            weight = np.array([0] * len(prompt) + row["drawn"], np.float32)
            kept.append(Sample(np.array(prompt + ids, np.int32), weight))
    return kept
