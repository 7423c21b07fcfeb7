"""Reinforcement learning on what can be verified: sample a group of replies to each problem, reward the right ones, and make
every reply as much likelier as it is better than its group (GRPO: Shao et al. 2024, arXiv:2402.03300; without the division
by the spread and with one divisor for all tokens of a step: Dr. GRPO, Liu et al. 2025, arXiv:2503.20783, and DAPO, Yu et al.
2025, arXiv:2503.14476). No reference model and no KL, unless --kl asks for them.

Beside each step of a task of the pocket world the model learns on lessons of its stages before, none of which thinks, calls or
answers as the task would have it: alone, 60 steps of word problems cost known names .07 (an earlier line: .88 -> .81, .75 ->
.68 with tools), with them .78 -> .85 and .74 -> .73. Half as many, at a rate that does not fall, left seed 0 at .80, and by
heart at .66 for .72 (an earlier line too).

Expected, pocket preset, 60 steps from `lab demonstrate` (seeds 0 / 1; 9 CPU-minutes on one of two busy cores, .42 M sampled
tokens), on held-out problems of one to four operations at temperature 1: right .13 / .11 -> .88 / .92 (one of 4 tries .42 /
.33 -> .97 / 1.00; greedy replies .96 / .99, `lab skills`), replies that think .20 / .15 -> 1.00, all in prose (.12 / .09
before), though bare steps were shown as often; tokens of a reply 14 / 11 -> 62. Nearly all of it comes in the first ten steps
(.81 / .89): which way of solving suits it is found at once. What goes wrong after is a sum (15 - 9 = 7), or a sentence that is
told twice, and that changes slowly. Tried on seed 0, from one start, held out after 60 steps: rates of 3e-4 and 1e-4, falling
or not, with an optimiser of its own for the lessons or one for both, all .83 to .85; at 1.5e-3 the skill itself is lost (.49
after 20). At temperature .7 replies hardly differ any more, and nothing more is learnt (.81 after 10 and after 20 steps, an
earlier start). What had a share in it is how well thoughts are written before: asked for them, .89 at temperature 1. Run on
to 150 steps (19 CPU-minutes) it still rises a little: .88, .84, .86, .91, .88, .89, .89, .89, .90, .90 after 60, 70, ... 150
(seed 0; 64 problems, 4 replies each), .93, .93, .91, .93, .93, .93, .93, .93, .93, .94 (seed 1), one of 4 tries .98 / 1.00. One
look of the thirty lies more than .03 below the best before it: .039, in 256 replies, of which .02 is chance.

When to search (--task facts, --call-price 0.4, 200 steps, seeds 0 / 1; 18 CPU-minutes on one of two busy cores), from a model
that looks up nearly everything (600 steps of `lab search --always` after `lab search`; greedily .93 / .93 of the known names):
at temperature 1 these are looked up .85 / .81 -> .21 / .33, never-told ones .92 / .94 -> .81 / .85, right .64 / .66 -> .80 /
.77 (of known ones .61 / .66 -> .80 / .81); none of them is in a lesson. Both fall together, since a name is familiar by
degrees: after 60 steps it is .47 / .55 and .89 / .90, and longer only moves along that line. What it begins with decides: here
one known name in twenty is taught unsearched; with one in ten, in the line before, 100 steps led from .81 / .84 to .21 / .29
and .90 / .88, and only what is tried at times can be rewarded. From `lab search` itself, which has looked up .42 / .43 of them
already, a price of a quarter moved little (.36 / .47, an earlier line): what is looked up comes out right, and then a quarter
off is no reason against it.

Whether it pays to check and try again (--task countdown, from `lab demonstrate`, seed 0; 1.1 CPU-minutes): here it does not. Of
.22 attempts a reply that were taken back .00 are left after ten steps; right .04 -> .12.

Longer problems than any demonstration or training has, five and six operations (--task longer, one seed, 60 problems, 4
replies each): .03 [.00, .05] -> .14 [.08, .21], one of 4 tries .08 -> .30, tokens 14 -> 96.

A real model: SmolLM2-135M-Instruct (LoRA, rate 3e-4, --temp 0.7, 40 steps of 4 x 8 replies; 10 CPU-minutes) on sums and
differences of two one-digit numbers (reasoning_gym:chain_sum, min_terms=max_terms=2, min_digits=max_digits=1): held out (26
problems, 4 replies each) right .10 -> .48, most of it in ten steps, tokens 15 -> 8; by `lab eval` on 13 problems .06 [.00,
.14] -> .46 [.15, .77]. It learns to say "The final answer is 10." and to stop; what sums it can do comes out then, and what is
below zero stays wrong. A warning: on reasoning_gym:syllogism (.03 -> .56 of 64 replies) it gave the same word to each
question, which a question with two answers pays.

Examples:
  lab grpo --model demonstrate-1                             word problems: the model finds out that thinking pays
  lab grpo --task counting --model pocket-sft                another task of the pocket world
  lab grpo --task countdown --model demonstrate-1            make 14 out of 2, 3 and 4: does it pay to try, check, try again?
  lab search --model pocket-search --always --iters 600 --name always && lab index pocket --strangers 300 --out facts.db
  lab grpo --task facts --search facts.db --call-price 0.4 --iters 200 --max-tokens 96 --model always     when to look up
  lab grpo --task gsm8k.jsonl --model smollm2.gguf --iters 30        your rows {"prompt", "answer"}, LoRA
  lab grpo --task my_reward.py --data prompts.jsonl          reward(prompts, completions, answers) -> list of numbers
  lab grpo --task reasoning_gym:chain_sum,max_terms=2 --model NAME --temp 0.7      a task of that library
  lab eval --task problems --model demonstrate-1 --model grpo-1      before and after
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from lab import device, lora, weights
from lab.advantage import ADVANTAGES
from lab.calls import Toolbox
from lab.errors import UserError
from lab.kl import Penalty
from lab.learn import Learner, keeping, memory_stats
from lab.loss import Clip, Loss, logprobs, policy_gradient
from lab.rollout import Episode
from lab.run import Run
from lab.runs import read_json
from lab.samples import bucketed
from lab.task import Score, Task
from lab.weights import Model
from recipes import before, reinforce, tasks, tuning
from recipes.estimate import Plan
from recipes.reinforce import Asking, Replies

CHARTS = reinforce.CHARTS
PROMPTS = 16  # problems a step
TRUNCATE = (
    2.0  # the most that a ratio counts in half precision (Espeholt et al. 2018, arXiv:1802.01561, on stale actors)
)
ABOUT: dict[str, before.Skill] = {  # what a task of the pocket world trains is not demonstrated beside it
    "problems": "solving", "longer": "solving", "countdown": "solving", "counting": "computing", "facts": "knowing",
}  # fmt: skip
PATIENCE = 5  # steps without any group that teaches, before it is said


@dataclass(frozen=True)
class Config(Asking):
    advantage: Literal["centred", "standardised", "leave_one_out", "right_only"] = "centred"
    """What a reply is compared with (lab/advantage.py)."""
    call_price: float = 0.0
    """What a call of a tool costs, taken from the reward: right without one is better than right with one."""
    inner_steps: int = 1
    """Updates on the same replies; more than one clips the ratio to the policy that wrote them."""
    clip_low: float = 0.2
    """How far the ratio may fall below 1 before it stops counting (with --inner-steps)."""
    clip_high: float = 0.28
    """How far it may rise above."""
    truncate: float | None = None
    """Instead of clipping: the ratio as a weight, at most this (with one inner step 2 by default where the model computes
    in half precision)."""
    decay: float = 0.5
    """Share of the steps over which the rate falls to 2 %: what was learnt before settles as well. To run on, 0."""
    replay: int = 192
    """With a task of the pocket world: conversations of the stages before that are learnt beside each step, so that nothing is
    forgotten; none that thinks, calls or answers as the task would have it."""
    kl: float = 0.0
    """Price of a nat of divergence from the model it began as, taken from the reward."""
    kl_target: float | None = None
    """With --kl: move the price so that the divergence stays here."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    reinforce.check(config)
    if config.group_size < 2:
        raise UserError("--group-size 1: a reply is compared with others to the same problem; give 2 or more")
    if config.inner_steps < 1:
        raise UserError(f"--inner-steps {config.inner_steps}: must be at least 1")
    if config.replay < 0:
        raise UserError(f"--replay {config.replay}: must be 0 or more conversations")
    if config.call_price < 0:
        raise UserError(f"--call-price {config.call_price}: must be 0 or above")
    if not (0 < config.clip_low < 1 and config.clip_high > 0 and config.kl >= 0):
        raise UserError("--clip-low must lie between 0 and 1, --clip-high above 0, --kl at 0 or above")
    if config.kl_target is not None and not (config.kl > 0 and config.kl_target > 0):
        raise UserError("--kl-target: a divergence above 0, and --kl the price to begin with")
    if config.truncate is not None and config.truncate < 1:
        raise UserError(f"--truncate {config.truncate}: a largest ratio of 1 or more")


def run(config: Config, record: Run) -> None:
    """Problems -> groups of replies -> rewards -> advantages -> one step of the policy gradient."""
    model = reinforce.opened(config)
    with tasks.opened(config.task, config.data) as task, reinforce.toolbox(config, model) as tools:
        learn(config, record, model, task, tools)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.trial_policy import of_task

    return of_task(config)


def learn(config: Config, record: Run, model: Model, task: Task, tools: Toolbox) -> None:
    """The loop, for any task whose replies are right or wrong."""
    iters = reinforce.steps(config)
    reference = Reference(config, model) if config.kl else None
    pupil = Pupil(reinforce.learner(config, record, model), Penalty(config.kl, config.kl_target))
    loss = policy_gradient(config.temp, clip_of(config, model), tools.banned)
    course = Course(config, record, model, task, tools, pupil, loss, lambda one: priced(one, config.call_price),
                    config.advantage, reference, config.inner_steps, config.truncate is not None or in_half(model),
                    clip_of(config, model))  # fmt: skip
    look, beside = partial(reinforce.examined, config, record, model, task, tools), rehearsal(config, model)
    asks = f"{course.per_step} problems a step" + (f" and {config.replay} lessons of before" if beside else "")
    reinforce.begin(config, record, model, task, pupil, look, asks)
    dull = 0
    for step in record.steps(iters):
        groups, told = course.step(step)
        if beside:
            told["replay_loss"] = beside.step(record, pupil.learner, step)
        dull = dull + 1 if not any(one.advantage for group in groups for one in group) else 0
        if dull == step == PATIENCE:
            record.say(nothing(config, told))
        seen, held = look(step) if step % config.steps_per_eval == 0 or step == iters else ({}, [])
        reinforce.keep(record, model, step, [*groups, *held])
        record.log(step, **told, **memory_stats(), **seen)
    reinforce.conclude(record)


@dataclass(frozen=True)
class Course:
    """A step of the policy gradient, for any judge: `judged` is what a reply's score becomes before it is compared with those
    of its group. With a `reference` the reward is that score less the price of the reply's divergence from it."""

    config: Replies
    record: Run
    model: Model
    task: Task
    tools: Toolbox
    pupil: "Pupil"
    loss: Loss
    judged: Callable[[Episode], Score]
    advantage: str = "centred"
    reference: "Reference | None" = None
    updates: int = 1  # on the same replies
    apart: bool = False  # sampler and trainer may differ: it computes in half precision, or a ratio is asked for
    clip: Clip | None = None

    @property
    def per_step(self) -> int:
        """Problems a step."""
        return self.config.batch_size or PROMPTS

    def step(self, step: int) -> tuple[list[list[Episode]], dict[str, Any]]:
        """(judged replies with their advantages, figures) of a step, whose update is done."""
        pad, clock = self.model.tokenizer.pad or 0, time.perf_counter()
        problems = reinforce.asked(self.config, self.task, step, self.per_step)
        groups = reinforce.replies(
            self.config, self.model, self.task, problems, self.config.group_size, f"{step}", self.tools
        )
        ones = [one for group in groups for one in group]
        for one in ones:
            one.score = self.judged(one)
        if self.reference:
            self.reference(ones, pad, self.tools.banned)
        for group in groups:
            rewards = [reward(one, self.pupil.penalty.price) for one in group]
            for one, advantage in zip(group, ADVANTAGES[self.advantage](rewards), strict=True):
                one.advantage = advantage
        samples, drawn = [one.sample.weighted(one.advantage) for one in ones], sum(one.drawn for one in ones)
        sampled = time.perf_counter() - clock
        told: dict[str, Any] = {"gap": self.ratios(ones, pad)[1]} if self.apart else {}
        for _ in range(self.updates):
            with keeping(self.record):
                batches = bucketed(samples, pad, most=self.model.pass_tokens)
                stats = self.pupil.learner.step(step, batches, self.loss, per=drawn)
        if self.updates > 1 and self.clip:
            ratio = self.ratios(ones, pad)[0]
            told["clip_fraction"] = float(np.mean((ratio < 1 - self.clip.low) | (ratio > 1 + self.clip.high)))
        took = time.perf_counter() - clock
        told |= reinforce.figures(groups) | asdict(stats) | {"sampled": drawn, "tok_s": round(drawn / took)}
        told |= {"rollout_s": round(sampled, 3), "train_s": round(took - sampled, 3)}
        self.pupil.penalty.update(told.get("kl", 0.0), len(ones))
        return groups, told

    def ratios(self, ones: Sequence[Episode], pad: int) -> tuple[np.ndarray, float]:
        """(the probability of each drawn token now over the sampler's, the mean distance of their logarithms, nats)."""
        some = [one.sample for one in ones]
        now = logprobs(self.model.network, some, pad, self.config.temp, self.tools.banned, self.model.pass_tokens)
        drawn = [s.weight != 0 for s in some]
        off = np.concatenate([(p - s.logp)[d] for p, s, d in zip(now, some, drawn, strict=True) if s.logp is not None])
        return np.exp(off), float(np.abs(off).mean()) if off.size else 0.0


def rehearsal(config: Config, model: Model) -> before.Rehearsal | None:
    """What is learnt beside each step: with a task of the pocket world, what its lineage was taught before."""
    if config.task not in ABOUT:
        return None
    return before.rehearsal(model, config.seed, config.replay, ABOUT[config.task])


def priced(one: Episode, price: float) -> Score:
    """A reply's score less what its calls cost."""
    if not price or one.score.parts is None:
        return one.score
    return replace(one.score, parts={**one.score.parts, "calls": -price * one.calls})


def reward(one: Episode, price: float) -> float | None:
    """What a reply earns: its score less the price of its divergence; None where it could not be judged."""
    value = one.score.value
    return value if value is None or one.reference is None else value - price * one.kl()


def clip_of(config: Config, model: Model) -> Clip | None:
    """No ratio on fresh samples in fp32. Of a model in half precision, whose sampler and trainer differ a little, truncated;
    after several updates clipped."""
    half = config.inner_steps == 1 and in_half(model)
    if config.inner_steps == 1 and config.truncate is None and not half:
        return None
    return Clip(config.clip_low, config.clip_high, config.truncate or (TRUNCATE if half else None))


def in_half(model: Model) -> bool:
    """Whether it computes in less than fp32."""
    return any(v.dtype in (mx.bfloat16, mx.float16) for _, v in device.flat(model.network.parameters()))


class Reference:
    """log p under the model that the run began as: adapters switched off, or a second copy of all weights."""

    def __init__(self, config: Replies, model: Model):
        self.model, self.temp = model, config.temp
        self.network = tuning.open_model(config).network if tuning.in_full(config, model) else None

    def __call__(self, ones: Sequence[Episode], pad: int, banned: Collection[int]) -> None:
        """Put them into the episodes."""
        network = self.model.network if self.network is None else self.network
        with lora.off(network):  # a second copy has no adapters to switch off
            found = logprobs(network, [one.sample for one in ones], pad, self.temp, banned, self.model.pass_tokens)
        for one, said in zip(ones, found, strict=True):
            one.reference = said


@dataclass
class Pupil:
    """What checkpoints hold: the learner, and where the price of divergence stands."""

    learner: Learner
    penalty: Penalty

    def save(self, folder: Path) -> None:
        """Beside the weights: penalty.json."""
        self.learner.save(folder)
        weights.write_json(folder / "penalty.json", {"price": self.penalty.price})

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        self.learner.load(folder)
        self.penalty.price = float(read_json(folder / "penalty.json").get("price", self.penalty.price))


def nothing(config: Config, told: dict[str, float]) -> str:
    """What to do where no group taught anything in the first steps."""
    if told["unscored"] == 1:
        return f"no reply of the first {PATIENCE} steps could be judged; look at the task's reward"
    if told["pass"] > 0.5:
        return f"every reply of the first {PATIENCE} steps was right: there is nothing to learn; take a harder --task"
    return (
        f"all rewards of the first {PATIENCE} steps are equal within their groups, so nothing is learnt yet: none is right. "
        "Begin above 1 right in 20: an easier --task, demonstrations first (lab demonstrate, lab sft), or a larger --group-size"
    )
