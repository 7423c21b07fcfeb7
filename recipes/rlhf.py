"""Reinforcement learning from human feedback: a reward model stands in for the people who ranked, and the policy learns from
groups of its own replies what it likes (Ziegler et al. 2019, arXiv:1909.08593; Ouyang et al. 2022, arXiv:2203.02155).

The loop is that of `lab grpo` with another judge. A reply earns its score less --kl times log(p / p of the start), summed
over its tokens: k1, whose mean is the divergence in nats (Ziegler et al. 2019, section 2.2; Ahmadian et al. 2024,
arXiv:2402.14740, take the sum as one reward as well). --kl-target moves the price so that the divergence stays there. A reply
without END is not scored: it gets a fixed penalty. With a reward model of several members, --pessimism takes off how far they
differ.

Beside each step the model learns on lessons of the stages before (PPO-ptx: Ouyang et al. 2022, equation 2, with conversations
in place of web text): pleasing alone, even with the price, forgets what the prompts are not about.

The score is a proxy: push on it, and the policy finds replies that the reward model likes and nobody else does (Gao et al.
2022, arXiv:2210.10760). So somebody else measures beside it, under the name gold: for the pocket world's jokes the hidden
judge (of every reply), with --gold MODEL a model that compares with the replies of the start (of held-out prompts, at each
look). Gold trains nothing. Each look names and keeps the text with the highest proxy and the lowest gold; the checkpoint with
the best held-out gold stays, as NAME@best, and --patience or --max-kl end the run in time.

Measured on jokes, seeds 0 / 1, held-out prompts (a reward model of 1,000 rankings of what `lab grpo` left; gains in standard
deviations of 4,096 replies of the start, 2.4 / 2.2). With the price, 60 steps, 7 CPU-minutes on one of two busy cores: proxy
-.18 / .09 -> 1.70 / 1.48, gold -.49 / -.37 -> 1.66 / 1.69 (+.91 / +.93), best 1.71 / 1.76 at steps 20 / 40, so it stays; KL
5.4 / 6.7 nats. Beside it the lineage keeps what `lab grpo` left (`lab skills`, seeds 0 / 1): with tools .85 -> .86 / .73 ->
.82, looked up .82 -> .83 / .91 -> .89, admitted .97 -> .93 / .89 -> .92, counted .89 -> .92 / .90 -> .92, problems .96 -> .97
/ .99 -> .98; by heart .77 -> .75 / .66 -> .68. At a rate that does not fall, with as many lessons of which one in thirty admits
a stranger at once (here one in forty), by heart came to .73 / .48 on an earlier line.

Without price and lessons, against a reward model of 80 rankings (pair accuracy .64 / .64), at a rate of 3e-4 that does not
fall, 150 steps, 8 / 5.5 CPU-minutes: gold rises first (to 1.73 / .99 at steps 70 / 30, +.94 / +.61) and then falls to .51 /
-1.55, which is .42 above and .53 below where it began, while the proxy goes on from .00 / .06 to 1.58 / 3.49; KL 18 / 38 nats.
What is most overrated in the end: "At the bakery the doctor met an onion. The umbrella left first." (proxy 1.73, gold -.30),
and of seed 1 nearly every reply: "A * walked into the beach." (3.90, -1.58). Earlier lines: at the rate of 1e-3 all replies
are alike after 30 steps; run on to step 190 seed 1 stays where it is; of 40 rankings gold ends at -1.26 / -1.37, and in seed 1
never rises. It cannot well fall much further: the start's own replies, broken ones among them, spread by 2, and what is
written in the end is one fluent bad joke. Against the reward model of 1,000 rankings gold came from 1.69 to .58 (an earlier
line).

Examples:
  lab rank --model pocket-reason --by gold --out jokes.jsonl
  lab reward-model --model pocket-reason --rankings jokes.jsonl
  lab rlhf --model pocket-reason --reward reward-model-1                    jokes, with a price on divergence: as measured
  lab rank --model pocket-reason --by gold --prompts 80 --out few.jsonl
  lab reward-model --model pocket-reason --rankings few.jsonl --name few
  lab rlhf --model pocket-reason --reward few --kl 0 --replay 0 --learning-rate 3e-4 --decay 0 --iters 150      it is gamed
  lab rlhf --model pocket-reason --reward few --kl 0 --replay 0 --learning-rate 3e-4 --decay 0 --patience 3     stops in time
  lab rlhf --kl-target 6 --pessimism 1 --reward three     steered to six nats; an ensemble of reward models
  lab rlhf --model smollm2.gguf --reward mine --data prompts.jsonl --gold Qwen/Qwen3-4B     your own; LoRA
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from lab import reward
from lab.calls import Toolbox
from lab.display import CONTROLS
from lab.errors import UserError, expand
from lab.kl import Penalty
from lab.learn import memory_stats
from lab.loss import Clip, policy_gradient
from lab.parts import plain
from lab.rankings import text_of
from lab.rollout import Episode
from lab.run import Run
from lab.runs import read_lines, write_atomic
from lab.task import Score
from lab.weights import Model
from recipes import before, grpo, reinforce, tasks, taste, tuning
from recipes.commands.generate import open_model
from recipes.commands.score import newest
from recipes.estimate import Plan
from recipes.reinforce import Replies
from recipes.second_opinion import NOTE, Compared, Hidden, Opinion

CHARTS: tuple[dict[str, Any], ...] = (
    {"title": "proxy (what the reward model says) and gold (what it stands for)",
     "keys": ["reward", "gold", "held_reward", "held_gold"]},
    {"title": "KL from the start, nats a reply", "keys": ["kl", "held_kl"]},
    {"title": "price of a nat", "keys": ["kl_price"]},
    {"title": "loss on lessons of before", "keys": ["replay_loss"]},
    {"title": "entropy, nats a token", "keys": ["entropy"]},
    {"title": "tokens of a reply", "keys": ["length", "held_length"]},
    {"title": "truncated", "keys": ["truncated"]},
    {"title": "how far the members of the reward model differ", "keys": ["spread", "held_spread"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)  # fmt: skip
WORTHLESS = ("pass", "all_right", "all_wrong", "held_pass", "held_all_right", "held_all_wrong")  # nothing is right here
START = 16  # looks' worth of replies that say what the start is worth; see Practice.start
RATE = 1e-3  # peak, where all weights of a small model are trained; 3e-4 comes to the same gold in twice the steps
SHOWN = 160  # characters of a text on the screen


@dataclass(frozen=True)
class Config(Replies):
    model: str = "pocket-sft"
    """What learns: a run, a folder, a hub id or a GGUF file that can chat."""
    reward: str | None = None
    """The reward model: a run of lab reward-model, run@step or its folder; without it the newest one."""
    data: str | None = None
    """Your own prompts: rows {"prompt"} or {"messages"}; one in ten is held out. Without it the pocket world's jokes."""
    kl: float = 0.05
    """Price of a nat of divergence from the model it began as, in standard deviations of the score; 0: none."""
    kl_target: float | None = None
    """Move the price so that the divergence stays here, nats a reply."""
    kl_horizon: float = 1000.0
    """With --kl-target: replies over which the price may change by its own size."""
    max_kl: float | None = None
    """End when a step's replies diverge by more than this, nats."""
    patience: int = 0
    """End when the best gold lies so many looks back; 0: never."""
    gold: str | None = None
    """A model that measures in place of the pocket world's hidden judge: it compares with replies of the start."""
    missing_end: float = 1.0
    """What a reply costs that was cut before its END, in place of a score."""
    pessimism: float = 0.0
    """Of several reward models: mean less so many times their standard deviation."""
    replay: int = 192
    """Pocket world: conversations of the stages before that are learnt beside each step, so that nothing is forgotten."""
    learning_rate: float | None = None
    """Peak rate (full: 1e-3 up to 30M parameters, 3e-4 above; lora 1e-4)."""
    decay: float = 0.5
    """Share of the steps over which the rate falls to 2 %."""
    max_tokens: int = 128
    """Longest reply."""
    advantage: Literal["centred", "standardised", "leave_one_out"] = "centred"
    """What a reply is compared with (lab/advantage.py)."""


def check(config: Config) -> Config:
    """Refuse bad flags before anything is written; the config with the reward model named."""
    reinforce.check(config)
    if config.group_size < 2:
        raise UserError("--group-size 1: a reply is compared with others to the same prompt; give 2 or more")
    for field in ("kl", "missing_end", "pessimism", "patience"):
        if not 0 <= getattr(config, field) < math.inf:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be 0 or above")
    if config.replay < 0:
        raise UserError(f"--replay {config.replay}: must be 0 or more conversations")
    for field in ("kl_target", "kl_horizon", "max_kl"):
        value = getattr(config, field)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{field.replace('_', '-')} {value}: must be above 0")
    if config.kl_target is not None and config.kl == 0:
        raise UserError("--kl-target moves the price --kl, which must be above 0 to begin with")
    if config.patience and config.data and not config.gold:
        raise UserError("--patience waits for gold, and nobody measures it; name a model with --gold")
    name = config.reward or newest()
    members = reward.located(name)[2]
    if config.pessimism and members < 2:
        raise UserError(
            f"--pessimism: {name} has one member, so nothing differs; lab reward-model --ensemble 3 has three"
        )
    path = expand(name)
    # Each look is a checkpoint too: it may be the best one.
    often = math.gcd(config.save_every, config.steps_per_eval)
    return replace(config, reward=str(path.resolve()) if path.exists() else name, save_every=often)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.trial_taste import of_rlhf

    return of_rlhf(config)


def run(config: Config, record: Run) -> None:
    """Prompts -> groups of replies -> the reward model's scores -> one step of the policy gradient."""
    model = reinforce.opened(config)
    record.note = "opening the reward model"
    task = taste.opened(reward.load(str(config.reward)), model, config.data, config.pessimism)
    record.note = ""
    with reinforce.toolbox(config, model) as tools:
        Practice(config, record, model, task, tools).learn()


def rehearsal(config: Config, model: Model) -> before.Rehearsal | None:
    """What is learnt beside each step, where prompts are the pocket world's: no jokes, which is what preferences are about."""
    return None if config.data else before.rehearsal(model, config.seed, config.replay, "joking")


class Look(NamedTuple):
    """What is known of a look at held-out prompts: gold is NaN where nobody measures."""

    step: int
    proxy: float
    gold: float
    kl: float


class Practice:
    """A run: what it is made of, and its loop."""

    def __init__(self, config: Config, record: Run, model: Model, task: taste.Taste, tools: Toolbox):
        self.config, self.record, self.model, self.task, self.tools = config, record, model, task, tools
        self.reference = grpo.Reference(config, model)  # also without a price: how far it went is to be seen
        self.looks: list[Look] = []
        self.opinion: Opinion | None = None if config.data or config.gold else Hidden()

    def learn(self) -> None:
        """The loop."""
        config, record, model = self.config, self.record, self.model
        small = tuning.in_full(config, model) and tuning.parameters(model) <= tuning.SMALL
        rate = config.learning_rate or (RATE if small else None)
        learner = reinforce.learner(replace(config, learning_rate=rate), record, model)
        pupil = grpo.Pupil(learner, Penalty(config.kl, config.kl_target, config.kl_horizon))
        apart = grpo.in_half(model)
        loss = policy_gradient(config.temp, Clip(truncate=grpo.TRUNCATE) if apart else None, self.tools.banned)
        course = grpo.Course(config, record, model, self.task, self.tools, pupil, loss, self.judged, config.advantage,
                             self.reference, apart=apart)  # fmt: skip
        beside = rehearsal(config, model)
        asks = f"{course.per_step} prompts a step" + (f" and {config.replay} lessons of before" if beside else "")
        reinforce.begin(config, record, model, self.task, pupil, self.look, asks)
        rows = list(read_lines(record.folder / "metrics.jsonl"))
        self.looks = looks(rows)
        ended = [int(row["step"]) for row in rows if row.get("event") == "end"]
        iters = ended[0] if ended else reinforce.steps(config)
        for step in record.steps(iters):
            price = pupil.penalty.price
            groups, told = course.step(step)
            told = worth(told) | {"kl_price": price}
            if beside:
                told["replay_loss"] = beside.step(record, learner, step)
            due = step % config.steps_per_eval == 0 or step == iters
            seen, held = self.look(step) if due else ({}, [])
            why = over(config, self.looks, told["kl"]) if step < iters else ""
            if why and not due:  # what it ends with is looked at
                seen, held = self.look(step)
            reinforce.keep(record, model, step, [*groups, *held])
            record.log(step, **told, **memory_stats(), **seen)
            if why:
                record.say(f"step {step}: ends here, {why}")
                record.event("end", step=step, why=why)
                record.total = step
        conclude(config, record)

    def judged(self, one: Episode) -> Score:
        """The score of a sampled reply, with gold noted where that is cheap."""
        one.score = taste.ended(one, self.config.missing_end)
        one.extra["said"] = plain(one.reply).strip()
        if self.opinion and self.opinion.always:
            self.opinion([one])
        return one.score

    def look(self, step: int) -> tuple[dict[str, float], list[list[Episode]]]:
        """Proxy, gold and divergence of replies to held-out prompts; the text that the reward model likes most beyond what
        it is worth. The best look so far is remembered as the run's best checkpoint."""
        config, record = self.config, self.record
        groups = reinforce.held_out(config, self.model, self.task, self.tools)
        ones = [one for group in groups for one in group]
        for one in ones:
            self.judged(one)
        self.reference(ones, self.model.tokenizer.pad or 0, self.tools.banned)
        if config.gold:
            self.compare([group[0] for group in groups])
        told, kept = reinforce.followed(record, self.model, step, groups)
        told = worth(told)
        known = [one for one in ones if NOTE in one.score.notes and one.score.value is not None]
        if known:
            told["held_gold_std"] = float(np.std([one.score.notes[NOTE] for one in known]))
            told["held_correlation"] = correlation(known)
        if step == 0 and self.opinion and self.opinion.always:
            told |= self.start()
        first = next((row for row in read_lines(record.folder / "metrics.jsonl") if "held_gold" in row), told)
        if known:
            self.tell_gap(step, known, first)
        found = Look(step, told["held_reward"], told.get("held_gold", math.nan), told["held_kl"])
        self.looks.append(found)
        if best(self.looks) is found:
            write_atomic(record.folder / "best", f"{step:06d}\n")
        if known:
            record.headline = f"proxy {found.proxy:+.2f}, gold {found.gold:.2f}"
        return told, kept

    def start(self) -> dict[str, float]:
        """Mean and standard deviation of the gold of START looks' worth of replies, 4,096, of the model it begins as: what all
        gains are measured in. Gold has no lower bound, and about one reply in 2,000 runs on to the last token it may have
        and is worth -25 to -50: the spread of a look's 256 replies alone came to anything from 1.5 to 4.0 (seeds 0 / 1: 2.15 /
        2.14 of the 5,000 that were ranked)."""
        config, record = self.config, self.record
        problems, golds, began = tasks.held_out(self.task, config.examine), list[float](), time.monotonic()
        for i in range(START):
            left = f", {(time.monotonic() - began) * (START / i - 1):.0f} s left" if i else ""
            record.note = f"what the start is worth: look {i + 1} of {START}{left}"
            record.tell("starting")
            groups = reinforce.replies(
                config, self.model, self.task, problems, reinforce.LOOKS, f"start {i}", self.tools
            )
            ones = [one for group in groups for one in group]
            Hidden()(ones)
            golds += [one.score.notes[NOTE] for one in ones]
        record.note = ""
        return {"held_gold": float(np.mean(golds)), "held_gold_std": float(np.std(golds))}

    def compare(self, ones: Sequence[Episode]) -> None:
        """Ask the model of --gold, which learns at the first look what the start says."""
        if self.opinion is None:
            said = [plain(one.reply).strip() for one in ones]
            start = tuning.once(self.record, "start", lambda: {"replies": said})["replies"]
            self.opinion = Compared(open_model(str(self.config.gold), None), start)
        self.opinion(ones)

    def tell_gap(self, step: int, ones: Sequence[Episode], first: dict[str, float]) -> None:
        """Of the half that the reward model likes better the reply whose proxy is furthest above its gold, both in standard
        deviations of the start: shown, and kept as an event."""
        liked = sorted(ones, key=lambda one: -float(one.score.value or 0.0))[: (len(ones) + 1) // 2]
        width = first["held_gold_std"] or 1.0

        def gap(one: Episode) -> float:
            return float(one.score.value or 0.0) - (one.score.notes[NOTE] - first["held_gold"]) / width

        most = max(liked, key=gap)
        prompt, text = text_of(taste.prompt_of(most.problem)), plain(most.reply).strip()
        proxy, gold = float(most.score.value or 0.0), most.score.notes[NOTE]
        self.record.event("gap", step=step, prompt=prompt, text=text, proxy=proxy, gold=gold, gap=gap(most))
        shown = " ".join(text.split()).translate(CONTROLS)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
        self.record.say(f"step {step:3}  most overrated: proxy {proxy:+.2f}, gold {gold:+.2f}  {shown}")


def worth(told: dict[str, Any]) -> dict[str, Any]:
    """Figures without those of right and wrong, which a taste does not know."""
    return {k: v for k, v in told.items() if k not in WORTHLESS and not k.removeprefix("held_").startswith("pass@")}


def correlation(ones: Sequence[Episode]) -> float:
    """Pearson's r of proxy and gold over replies; NaN where one is flat."""
    a, b = np.array([[float(one.score.value or 0.0), one.score.notes[NOTE]] for one in ones]).T
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 else math.nan


def looks(rows: Sequence[dict[str, Any]]) -> list[Look]:
    """The looks of a record, in their order."""
    found = [row for row in rows if "held_reward" in row]
    return [
        Look(
            row["step"],
            row["held_reward"] or 0.0,
            math.nan if (g := row.get("held_gold")) is None else g,
            row["held_kl"],
        )
        for row in found
    ]


def best(found: Sequence[Look]) -> Look | None:
    """The look with the most gold, the first of equals; None where nobody measured."""
    known = [one for one in found if not math.isnan(one.gold)]
    return max(known, key=lambda one: one.gold) if known else None


def over(config: Config, found: Sequence[Look], kl: float) -> str:
    """Why to end now, by the looks so far and the divergence of the step's replies; '' = go on."""
    if config.max_kl is not None and kl > config.max_kl:
        return f"the replies diverge by {kl:.1f} nats, more than --max-kl {config.max_kl:g}"
    top = best(found)
    if config.patience and top and (since := len(found) - 1 - list(found).index(top)) >= config.patience:
        return f"gold was best at step {top.step}, {since} looks ago (--patience {config.patience})"
    return ""


def conclude(config: Config, record: Run) -> None:
    """Before and after, on held-out prompts, and where the best checkpoint lies."""
    if record.cut_short():
        return
    rows = list(read_lines(record.folder / "metrics.jsonl"))
    seen = [row for row in rows if "held_reward" in row]
    first, last, top = seen[0], seen[-1], best(looks(rows))
    lines = [f"held out: proxy {first['held_reward']:+.2f} -> {last['held_reward']:+.2f}, KL {last['held_kl']:.1f} nats, "
             f"tokens of a reply {first['held_length']:.1f} -> {last['held_length']:.1f}"]  # fmt: skip
    figures = {f"before_{name[5:]}": value for name, value in first.items() if name.startswith("held_")}
    figures |= {name: value for name, value in last.items() if name.startswith("held_")}
    record.headline = f"proxy {first['held_reward']:+.2f} -> {last['held_reward']:+.2f}"
    if top is not None:
        base, width = first["held_gold"], first["held_gold_std"] or 1.0
        gained, most = (last["held_gold"] - base) / width, (top.gold - base) / width
        unit = "" if config.gold else f" ({gained:+.2f} standard deviations of the start's replies)"
        lines.append(
            f"          gold {base:.2f} -> {last['held_gold']:.2f}{unit}, best {top.gold:.2f} at step {top.step}"
        )
        lines.append(f"that checkpoint is kept: lab chat --model {record.name}@best")
        figures |= {"gold_gain": gained, "best_step": top.step, "best_gold": top.gold, "best_gain": most}
        record.headline += f", gold {base:.2f} -> {last['held_gold']:.2f}"
    cpu = time.process_time()
    lines.append(f"CPU time of this process {cpu / 60:.1f} min; talk to it: lab chat --model {record.name}")
    record.say("\n".join(lines))
    sampled = sum(row.get("sampled", 0) for row in rows)
    record.event("report", **figures, sampled=sampled, cpu_s=round(cpu, 1))
