"""Direct preference optimisation: learn from rankings without a reward model and without sampling, as a line to hold RLHF
against (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

A policy implies a reward by itself: beta * log(p(reply) / p_reference(reply)), the reference being the model that it begins
as. Every pair of a ranking is learnt from like a reward model's: the better reply is to have the higher one. All pairs of a
ranking share one forward pass a reply and weigh 1 together (lab/pairwise.py); tied pairs are left out. What the reference
thinks of the replies is computed once, before the first step.

One prompt in ten is held out, as for `lab reward-model`. Looks tell how often the implied reward agrees with held-out pairs,
and of fresh replies to held-out prompts the KL from the reference (nats a reply); where the prompts ask for the pocket
world's jokes also their hidden quality (gold), which is measured and never learnt from. `lab study --runs` draws it beside
RLHF.

Measured (--model pocket-reason, 1,000 rankings of its jokes, noise .5, one pass of 56 steps; one run, 1.8 CPU-minutes): held
out, pair accuracy .71 [.67, .75] (the reward model's .79, length alone .65, ceiling .91), KL 3.9 nats, gold of 128 replies -.58
-> +.46, half a standard deviation of them; RLHF with a price comes to .9 of it at 5.4 nats. On an earlier base a second pass
raised the agreement from .68 to .70 and lowered gold from 1.20 to .92: over-optimised as well, so one pass is the default.

Examples:
  lab rank --by gold --out jokes.jsonl && lab dpo --rankings jokes.jsonl
  lab dpo                                                 your own rankings of pocket-sft's jokes (lab rank)
  lab dpo --rankings pairs.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct      prompt, chosen, rejected; LoRA
  lab dpo --rankings jokes.jsonl --beta 0.3               stays nearer to the model it begins as
  lab dpo --name try --resume                             go on after Ctrl-C
  lab study --reward reward-model-1 --runs dpo-1          beside best-of-n
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from lab import device, lora, rankings, reward, weights
from lab.batch import Request, sample
from lab.calls import banned
from lab.errors import UserError
from lab.learn import Learner, Schedule, keeping, memory_stats
from lab.loss import logprobs
from lab.pairwise import Ranked, implied, passes
from lab.rankings import Prompt, Rankings
from lab.rollout import seed_of
from lab.run import Run
from lab.runs import read_json, read_lines
from lab.sample import Sampling
from lab.samples import MOST, Sample
from lab.weights import Model
from recipes import tuning
from recipes.asking import Stopping
from recipes.bestof import worth
from recipes.commands.evaluate import spread
from recipes.estimate import Plan
from recipes.preferences import Baseline, share
from recipes.ranking import ROWS
from recipes.reward_model import Sets, encoded, who
from recipes.tuning import Tuning

CHARTS = (
    {"title": "pair accuracy of the implied reward: held out, trained on, length alone, ceiling",
     "keys": ["held_accuracy", "train_accuracy", "length_accuracy", "ceiling"]},
    {"title": "loss of a pair, and held out", "keys": ["loss", "val_loss"]},
    {"title": "quality of fresh replies", "keys": ["held_gold"]},
    {"title": "KL from the reference, nats a reply", "keys": ["held_kl"]},
    {"title": "implied reward of better and worse replies", "keys": ["better", "worse"]},
    {"title": "tokens of a reply", "keys": ["held_length"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "learning rate", "keys": ["learning_rate"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)  # fmt: skip
PASSES = 1  # through the rankings: a second one goes further from the start than is good for the replies
LOOKED = 100  # rankings that were trained on, of whom accuracy is told beside the held-out ones
TOGETHER = 64  # rankings between two looks whether to stop, before the first step
SPOKEN = 2  # held-out prompts whose replies are kept as samples


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-sft"
    """The policy: whose replies were ranked, and which learns."""
    rankings: str | None = None
    """Rankings (lab rank) or rows {"prompt", "chosen", "rejected"}: a file, a folder, a hub data set; without it the
    rankings.jsonl of the weights folder."""
    beta: float = 0.1
    """Price of leaving the reference: how many units of reward a nat is."""
    batch_size: int | None = None
    """Rankings a step (16 up to 30M parameters, 4 above)."""
    iters: int | None = None
    """Optimiser steps (1 pass)."""
    learning_rate: float | None = None
    """Peak rate (full 1e-4 up to 30M parameters, 1e-6 above; lora 5e-6)."""
    warmup: int = 10
    """Steps of linear warm-up."""
    examine: int = 128
    """Fresh replies a look, two to a held-out prompt, of which KL and quality are measured."""
    temp: float = 1.0
    """Their temperature; KL is that of the model as it is, 1."""
    max_tokens: int = 128
    """Longest of them."""
    steps_per_eval: int = 20
    """Steps between looks."""


def check(config: Config) -> Config:
    """Refuse bad flags before anything is written; the config with the rankings' path in full."""
    tuning.check(config)
    if not 0 < config.beta <= 100:
        raise UserError(f"--beta {config.beta}: must lie above 0 and at most 100 (0.1 is usual)")
    for field, least in (("examine", 2), ("max_tokens", 1)):
        if getattr(config, field) < least:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least {least}")
    if not 0 < config.temp <= 5:
        raise UserError(f"--temp {config.temp}: must lie above 0 and at most 5")
    found = replace(config, rankings=rankings.located(config.rankings))
    rankings.load(str(found.rankings))  # what is no file of rankings is told before anything is written
    return found


def opened(config: Config) -> Model:
    """The policy as it speaks: a base model stays one (its replies go on with a text)."""
    model = weights.load(config.model)
    lora.merge(model.network)  # adapters of an earlier tuning are part of what this one begins with
    return model


def per_step(config: Config, model: Model) -> int:
    """Rankings a step."""
    return config.batch_size or (16 if tuning.parameters(model) <= tuning.SMALL else 4)


def peak(config: Config, model: Model, full: bool) -> float:
    """The highest learning rate."""
    return config.learning_rate or (5e-6 if not full else 1e-4 if tuning.parameters(model) <= tuning.SMALL else 1e-6)


def steps(config: Config, model: Model, sets: Sets) -> int:
    """Optimiser steps."""
    return config.iters or max(1, round(PASSES * len(sets.train) / per_step(config, model)))


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.trial_taste import of_dpo

    return of_dpo(config)


# -- what a model thinks of replies ------------------------------------------------------------------------------------


def thought(
    network: Any, some: Sequence[Ranked], pad: int, tell: Callable[[int], None] = lambda done: None, most: int = MOST
) -> list[np.ndarray]:
    """log p of every reply of each ranking, its END included, float64 [rows], nats. `tell(done)` hears how many rankings
    are."""
    found: list[np.ndarray] = []
    for at in range(0, len(some), TOGETHER):
        chunk = some[at : at + TOGETHER]
        rows = [Sample(row, np.ones(len(row), np.float32)) for one in chunk for row in one.rows]
        said = iter(logprobs(network, rows, pad, most=most))
        found += [
            np.array([float(next(said)[one.start :].astype(np.float64).sum()) for _ in one.rows]) for one in chunk
        ]
        tell(len(found))
    return found


def shared(one: Ranked) -> int:
    """Where the replies of a ranking begin: behind the prompt, or ahead of where any two differ, whatever comes first. What
    they share cancels in every pair, and a template may write the prompt of a finished talk otherwise."""
    shortest = min(map(len, one.rows))
    same = np.all([row[:shortest] == one.rows[0][:shortest] for row in one.rows], axis=0)
    return min(one.start, int(np.argmin(same)) if not same.all() else shortest - 1)


def referred(record: Run, model: Model, sets: Sets) -> Sets:
    """The rankings with what the reference thinks of each reply, from the run folder where that is known already."""
    sides, pad = (sets.train, sets.held), model.tokenizer.pad or 0
    total, before = sum(map(len, sides)), 0

    def tell(done: int) -> None:
        record.note = f"reference: {before + done:,}/{total:,} rankings"
        record.tell("starting")
        if record.stopped:
            raise Stopping

    def measure() -> dict[str, Any]:
        nonlocal before
        told = []
        for side in sides:
            told.append([[float(v) for v in one] for one in thought(model.network, side, pad, tell, model.pass_tokens)])
            before += len(side)
        return dict(zip(("train", "held"), told, strict=True))

    known = tuning.once(record, "reference", measure)
    train, held = (
        [replace(one, reference=np.array(row)) for one, row in zip(side, known[name], strict=True)]
        for side, name in zip(sides, ("train", "held"), strict=True)
    )
    return replace(sets, train=train, held=held)


@dataclass(frozen=True)
class Agreement:
    """How the implied reward agrees with pairs: of each ranking the share that is right, the mean loss, and the mean
    reward of better and worse replies."""

    shares: list[float]
    loss: float
    better: float
    worse: float


def agreement(network: Any, some: Sequence[Ranked], beta: float, pad: int, most: int = MOST) -> Agreement:
    """Measured on rankings that know their reference."""
    shares, losses, sides = [], [], []
    for one, said in zip(some, thought(network, some, pad, most=most), strict=True):
        assert one.reference is not None
        scores = beta * (said - one.reference)
        better, worse = (scores[[pair[k] for pair in one.pairs]] for k in (0, 1))
        shares.append(share(1 / (1 + np.exp(-np.clip(better - worse, -50, 50)))))
        losses.append(np.logaddexp(0, worse - better).mean())
        sides.append((better.mean(), worse.mean()))
    ahead, behind = np.mean(sides, axis=0)
    return Agreement(shares, float(np.mean(losses)), float(ahead), float(behind))


# -- what it says ------------------------------------------------------------------------------------------------------


@dataclass
class Speech:
    """Fresh replies of a policy to held-out prompts, the same ones with the same seeds at each look."""

    config: Config
    model: Model
    prompts: list[Prompt]
    reference: Any  # a second network, or None where adapters can be switched off

    def __call__(self, record: Run, step: int) -> dict[str, float]:
        """KL (k1: mean of log p / p_reference over replies), length, share cut, quality where it is known."""
        config, model, tokenizer = self.config, self.model, self.model.tokenizer
        requests = [
            Request(reward.prompt_ids(model, one), [seed_of(f"dpo {config.seed}", i, k) for k in range(2)])
            for i, one in enumerate(self.prompts)
        ]
        sampling, never = Sampling(temp=config.temp, max_tokens=config.max_tokens), banned(tokenizer)
        replies = sorted(
            sample(model.network, requests, sampling, tokenizer.ends, model.context, ROWS, banned=never),
            key=lambda one: (one.request, one.member),
        )
        rows = []
        for one in replies:
            ids = np.concatenate([np.asarray(requests[one.request].ids, np.int32), one.ids])
            rows.append(Sample(ids, np.ones(len(ids), np.float32)))
        pad = tokenizer.pad or 0
        own = logprobs(model.network, rows, pad, banned=never, most=model.pass_tokens)
        with lora.off(model.network):
            known = logprobs(self.reference or model.network, rows, pad, banned=never, most=model.pass_tokens)
        ratios = [
            float((a - b)[len(row.ids) - len(one.ids) :].sum())
            for a, b, row, one in zip(own, known, rows, replies, strict=True)
        ]
        texts = [reward.said(model, one.ids.tolist()) for one in replies]
        for one in (replies[at] for at in range(0, 2 * min(SPOKEN, len(requests)), 2)):
            said = rankings.text_of(self.prompts[one.request]) + "\n"
            record.sample(
                step, said, tokenizer.decode(one.ids.tolist(), specials=True), one.ids.tolist(), one.logp.tolist()
            )
        told = {"held_length": float(np.mean([len(one.ids) for one in replies]))}
        told |= {"held_truncated": float(np.mean([one.stop != "end" for one in replies]))}
        if config.temp == 1:
            told["held_kl"] = float(np.mean(ratios))
        ended = [i for i, one in enumerate(replies) if one.stop == "end"]
        gold = worth([self.prompts[replies[i].request] for i in ended], [texts[i] for i in ended])
        if gold is not None and len(gold):  # of whole replies: a single one that runs on outweighs a hundred
            told |= {"held_gold": float(np.mean(gold)), "held_gold_std": float(np.std(gold))}
        return told


# -- the run -----------------------------------------------------------------------------------------------------------


def run(config: Config, record: Run) -> None:
    """Rankings -> what the reference thinks of them -> steps on all pairs of some rankings -> accuracy, KL, quality."""
    model = opened(config)
    found = rankings.load(str(config.rankings))
    sets = encoded(model, found, tuning.longest(config, model))
    train, held = ([replace(one, start=shared(one)) for one in side] for side in (sets.train, sets.held))
    sets = replace(sets, train=train, held=held)
    began = read_json(record.folder / "data.json")
    if began and began.get("key") != sets.key:
        raise UserError(f"{record.name}: the rankings have changed since this run began; start a new run")
    weights.write_json(record.folder / "data.json", {"key": sets.key, "bad": sets.bad})
    full, pad, per = tuning.in_full(config, model), model.tokenizer.pad or 0, per_step(config, model)
    iters = record.total = steps(config, model, sets)
    try:
        sets = referred(record, model, sets)
    except Stopping:
        record.cut_short()
        return
    reference = opened(config).network if full else None
    tuning.dress(config, record, model)
    schedule = Schedule(peak(config, model, full), iters, min(config.warmup, max(1, iters // 5)), config.decay)
    learner = Learner(model.network, schedule, config.optimizer or "adamw")
    introduce(config, record, model, sets, found, iters, per)
    baseline, loss = Baseline(sets.train, sets.held), implied(config.beta)
    prompts = list({one.key: one.prompt for one in found.held}.values())[: max(1, config.examine // 2)]
    speech = Speech(config, model, prompts, reference)
    record.save_every, record.keep, record.note = config.save_every, config.keep, ""
    record.attach(learner)

    def look(step: int) -> dict[str, float]:
        held = agreement(model.network, sets.held, config.beta, pad, model.pass_tokens)
        told = {
            "held_accuracy": float(np.mean(held.shares)), "val_loss": held.loss, "better": held.better, "worse": held.worse,
            "train_accuracy": float(
                np.mean(agreement(model.network, sets.train[:LOOKED], config.beta, pad, model.pass_tokens).shares)
            ),
            "length_accuracy": float(np.mean(baseline.shares)),
        }  # fmt: skip
        return told | ({} if sets.ceiling is None else {"ceiling": sets.ceiling}) | speech(record, step)

    if record.saved_step < 0:
        record.log(0, **look(0))
    for step in record.steps(iters):
        clock = time.perf_counter()
        batches = passes(sets.draw(config.seed, step, per), pad, model.pass_tokens)
        with keeping(record):
            told = asdict(learner.step(step, cast(Any, batches), cast(Any, loss)))
        told |= {"seen": told["tokens"], "tok_s": round(told["tokens"] / (time.perf_counter() - clock))}
        more = look(step) if step % config.steps_per_eval == 0 or step == iters else {}
        if more:
            record.headline = f"pair accuracy {more['held_accuracy']:.2f}" + (
                f", gold {more['held_gold']:+.2f}" if "held_gold" in more else ""
            )
        record.log(step, **told, **memory_stats(), **more)
    if not record.cut_short():
        report(config, record, model, sets, baseline)


def introduce(
    config: Config, record: Run, model: Model, sets: Sets, found: Rankings, iters: int, per: int
) -> None:  # fmt: skip
    """One screen of facts before the first step."""
    pairs = [sum(len(one.pairs) for one in side) for side in (sets.train, sets.held)]
    trained = sum(v.size for _, v in device.flat(model.network.trainable_parameters()))
    record.say(
        f"ranked  {len(sets.train):,} prompts, {pairs[0]:,} pairs; held out {len(sets.held):,}, {pairs[1]:,}; "
        f"by {who(found.train)}\n"
        f"model   {tuning.named(model)}, {tuning.parameters(model):,} parameters, {trained:,} trained "
        f"({'lora' if lora.adapters(model.network) else 'all'}), beta {config.beta:g}\n"
        f"run     {iters} steps of {per} rankings, {iters * per / len(sets.train):.1f} passes\n"
        f"device  {device.name()}"
    )
    for reason, count in sets.bad.items():
        record.say(f"left out {count:,} rows: {reason}")
    record.print(f"folder  {record.folder}")


def report(config: Config, record: Run, model: Model, sets: Sets, baseline: Baseline) -> None:
    """Before and after, to the terminal and to metrics.jsonl."""
    held = agreement(model.network, sets.held, config.beta, model.tokenizer.pad or 0)
    own, length = spread(held.shares, share=True), spread(baseline.shares, share=True)
    looks = [
        row for row in read_lines(record.folder / "metrics.jsonl") if "held_accuracy" in row and "event" not in row
    ]
    first, last = looks[0], looks[-1]
    lines = [
        f"held out: {len(sets.held):,} rankings (95 % intervals over rankings)",
        f"  pair accuracy of the implied reward {cell(own)}"
        + (f"   ceiling by the judge's noise {sets.ceiling:.3f}" if sets.ceiling is not None else ""),
        f"  by length alone                     {cell(length)}",
        f"fresh replies to held-out prompts: tokens {first['held_length']:.1f} -> {last['held_length']:.1f}"
        + (f", KL from the reference {last['held_kl']:.2f} nats" if last.get("held_kl") is not None else ""),
    ]
    figures: dict[str, Any] = {
        "held_accuracy": own["mean"], "held_accuracy_low": own["low"], "held_accuracy_high": own["high"],
        "length_accuracy": length["mean"], "val_loss": held.loss, "held_kl": last.get("held_kl"),
    }  # fmt: skip
    if first.get("held_gold") is not None and last.get("held_gold") is not None:
        before, after, width = first["held_gold"], last["held_gold"], first["held_gold_std"] or 1.0
        lines.append(
            f"  their hidden quality (gold, never learnt from) {before:+.2f} -> {after:+.2f}: "
            f"{(after - before) / width:+.2f} standard deviations of the start's replies"
        )
        figures |= {"before_gold": before, "held_gold": after, "gold_gain": (after - before) / width}
    cpu = time.process_time()
    lines.append(f"CPU time of this process {cpu / 60:.1f} min; talk to it: lab chat --model {record.name}")
    record.say("\n".join(lines))
    record.event("report", **figures, cpu_s=round(cpu, 1))


def cell(value: dict[str, Any]) -> str:
    """A mean with its interval."""
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
