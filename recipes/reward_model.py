"""A reward model: learns from rankings which replies people prefer, and then scores any reply.

The policy's own body with a scalar head at the end of the reply learns, for every pair of a ranking, that the better one scores
higher (Bradley-Terry; all pairs of a ranking in one step, one forward pass a reply: lab/pairwise.py). One prompt in ten is
held out. Pair accuracy says how often it agrees with a held-out pair; where the judge was scripted, the ceiling is what its
noise leaves to a perfect predictor. Beside it: what length alone would tell, and whether a pair said to be 80 % sure is
right 8 times in 10. At last the scores are shifted and scaled so that the policy's replies have mean 0 and standard
deviation 1: that makes the price of divergence in RLHF comparable.

High accuracy on held-out pairs is no promise: a policy that is trained against the scores looks for replies unlike any that
were ranked. Several members (--ensemble) tell by their disagreement where they know little (Coste et al. 2023,
arXiv:2310.02743).

Measured (1,000 rankings of the jokes of the model that GRPO left, noise .5; seeds 0 / 1; 2.1 CPU-minutes on one of two busy
cores): held-out pair accuracy .79 [.76, .82] / .80 [.77, .82] where the ceiling is .91 / .89 and length alone gives .65 / .64;
its scores correlate with the hidden quality at .69 [.64, .73] / .81 [.78, .84] over 500 fresh replies (`lab score --against
gold`); calibration error .027 / .026, by chance .019. Of 80 rankings (.3 CPU-minutes): .64 [.50, .79] / .64 [.49, .76] of the
pairs of 8 held-out prompts, length .50 / .51.

A real model on real preferences: SmolLM2-135M-Instruct (LoRA, 60 steps of 4 pairs, 22 CPU-minutes) on 397 pairs of
OpenAssistant replies of up to 384 tokens tells .59 [.43, .73] of 44 held-out pairs, length alone .64 [.50, .77]: so few pairs
teach it nothing that length does not tell, and it is surer than it is right (calibration error .19).

Examples:
  lab rank --by gold --out jokes.jsonl && lab reward-model --rankings jokes.jsonl
  lab reward-model                                        your own rankings of pocket-sft's jokes (lab rank)
  lab reward-model --rankings jokes.jsonl --ensemble 3
  lab reward-model --rankings pairs.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct      prompt, chosen, rejected; LoRA
  lab score --model reward-model-1 replies.jsonl
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from lab import device, lora, rankings, reward, weights
from lab.batch import Request
from lab.errors import UserError
from lab.learn import Learner, Schedule, keeping, memory_stats
from lab.pairwise import Ranked, pairwise, passes
from lab.rankings import Ranking, Rankings
from lab.reward import RewardModel, Scorer
from lab.rollout import seed_of
from lab.run import Run
from lab.runs import read_json
from lab.talks import Bad, Tally
from lab.weights import Model
from recipes import tuning
from recipes.estimate import Plan
from recipes.preferences import Baseline, examined, told
from recipes.ranking import whole
from recipes.tuning import Tuning

MEMBER = 10_000_019  # between the seeds of two members, so that those of two runs with seeds side by side are others
CHARTS = (
    {"title": "pair accuracy: held out, trained on, length alone, ceiling",
     "keys": ["held_accuracy", "train_accuracy", "length_accuracy", "ceiling"]},
    {"title": "loss of a pair, and held out", "keys": ["loss", "val_loss"]},
    {"title": "calibration error, and what chance makes of it", "keys": ["calibration_error", "error_by_chance"]},
    {"title": "disagreement of the members, standard deviations", "keys": ["disagreement"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "learning rate", "keys": ["learning_rate"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)  # fmt: skip
PASSES = 2  # through the rankings
LOOKED = 100  # rankings that were trained on, of whom accuracy is told beside the held-out ones


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-sft"
    """The policy: whose replies were ranked, and whose body scores."""
    rankings: str | None = None
    """Rankings (lab rank) or rows {"prompt", "chosen", "rejected"}: a file, a folder, a hub data set; without it the
    rankings.jsonl of the weights folder."""
    ensemble: int = 1
    """Members, each with a head and an order of its own."""
    batch_size: int | None = None
    """Rankings a step (16 up to 30M parameters, 4 above)."""
    iters: int | None = None
    """Optimiser steps (2 passes)."""
    learning_rate: float | None = None
    """Peak rate (full: muon 0.004, adamw 1e-3 up to 30M parameters, 1e-5 above; lora: adamw 1e-4)."""
    replies: int = 256
    """Replies of the policy that the scores are normalised by."""
    temp: float = 1.0
    """Their temperature."""
    max_tokens: int = 128
    """Longest of them; one that is cut is left out."""
    steps_per_eval: int = 20
    """Steps between held-out measurements."""


def check(config: Config) -> Config:
    """Refuse bad flags before anything is written; the config with the rankings' path in full."""
    tuning.check(config)
    if not 1 <= config.ensemble <= 16:
        raise UserError(f"--ensemble {config.ensemble}: give 1 to 16 members")
    for field, least in (("replies", 8), ("max_tokens", 1)):
        if getattr(config, field) < least:
            raise UserError(f"--{field.replace('_', '-')} {getattr(config, field)}: must be at least {least}")
    if not 0 < config.temp <= 5:
        raise UserError(f"--temp {config.temp}: must lie above 0 and at most 5; greedy replies are all alike")
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


def steps(config: Config, model: Model, sets: "Sets") -> int:
    """Optimiser steps."""
    return config.iters or max(1, round(PASSES * len(sets.train) / per_step(config, model)))


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.trial import of_reward_model

    return of_reward_model(config)


def peak(config: Config, model: Model, full: bool, optimizer: str) -> float:
    """The highest learning rate."""
    if config.learning_rate:
        return config.learning_rate
    if not full:
        return 1e-4
    return 0.004 if optimizer == "muon" else 1e-3 if tuning.parameters(model) <= tuning.SMALL else 1e-5


@dataclass(frozen=True)
class Sets:
    """Rankings as ids, with the ceilings that scripted judges told of the held-out ones."""

    train: list[Ranked]
    held: list[Ranked]
    ceiling: float | None
    bad: dict[str, int]
    key: str

    def draw(self, seed: int, step: int, n: int) -> list[Ranked]:
        """Those of a step, from 1: each pass in an order of its own, nothing twice within one."""
        first, count = (step - 1) * n, len(self.train)
        return [self.train[int(_order(seed, i // count, count)[i % count])] for i in range(first, first + n)]


@lru_cache(maxsize=32)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def encoded(model: Model, found: Rankings, longest: int) -> Sets:
    """Rankings as ids; those with a reply that does not fit are left out, and counted."""
    tally, sides = Tally(), list[list[Ranked]]()
    tops: list[float] = []
    for some in (found.train, found.held):
        side: list[Ranked] = []
        for i, one in enumerate(some, 1):
            try:
                made = reward.ranked(model, one)
            except UserError as error:
                tally.add(f"ranking {i}", Bad("it cannot be told in this vocabulary", str(error)))
                continue
            if made.longest > longest:
                tally.add(f"ranking {i}", Bad(f"longer than {longest:,} tokens"))
                continue
            side.append(made)
            tops += [one.ceiling] if some is found.held and one.ceiling is not None else []
        sides.append(side)
    train, held = sides
    if not train or not held:
        why = "; ".join(f"{count} x {reason}" for reason, count in tally.bad.most_common(3))
        raise UserError(
            f"too few rankings: {len(train)} to train on, {len(held)} held out{': ' + why if why else ''}; "
            "rank more prompts, or raise --max-seq-length"
        )
    print_of = hashlib.sha256()
    for ranked in (*train, *held):
        print_of.update(b"".join(row.tobytes() + b"|" for row in ranked.rows) + repr(ranked.pairs).encode())
    ceiling = float(np.mean(tops)) if len(tops) == len(held) else None
    return Sets(train, held, ceiling, dict(found.bad + tally.bad), print_of.hexdigest())


def replies(config: Config, model: Model, found: Rankings) -> dict[str, Any]:
    """What the policy says now to prompts that were ranked: [prompt, reply] pairs, whole replies alone."""
    asked = list({one.key: one.prompt for one in found.train}.values())[: max(1, config.replies // 2)]
    each = -(-config.replies // len(asked))
    requests = [
        Request(reward.prompt_ids(model, prompt), [seed_of(f"policy {config.seed}", i, k) for k in range(each)])
        for i, prompt in enumerate(asked)
    ]
    said = whole(model, requests, config.temp, config.max_tokens)
    rows = [[prompt, text] for prompt, texts in zip(asked, said, strict=True) for text in texts][: config.replies]
    if len(rows) < 4:
        raise UserError(f"{model.name}: only {len(rows)} of its replies came to their end; raise --max-tokens")
    return {"replies": rows}


class Pupils:
    """The members and their learners: what checkpoints hold."""

    def __init__(self, found: RewardModel, learners: Sequence[Learner]):
        self.reward, self.learners = found, learners

    def save(self, folder: Path) -> None:
        """Weights under the names they have in a model folder, optimisers, heads."""
        for k, learner in enumerate(self.learners):
            at = reward.member_folder(folder, k)
            at.mkdir(exist_ok=True)
            with _body(learner):
                learner.save(at)
        self.reward.save_heads(folder)

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        self.reward.load_heads(folder)
        for k, learner in enumerate(self.learners):
            with _body(learner):
                learner.load(reward.member_folder(folder, k))


@contextmanager
def _body(learner: Learner) -> Iterator[None]:
    """Inside, the learner's model is the network alone: heads have a file of their own."""
    scorer = cast(Scorer, learner.model)
    learner.model = scorer.network
    try:
        yield
    finally:
        learner.model = scorer


def prepared(config: Config, record: Run, model: Model, full: bool) -> RewardModel:
    """The members, what is trained of them unfrozen, and the run folder a model folder."""
    models = [model, *(opened(config) for _ in range(config.ensemble - 1))]
    for one in models[1:]:
        one.network.update(model.network.parameters())  # what stays as it is is held once
    scorers = []
    for k, one in enumerate(models):
        own = replace(config, seed=(config.seed + k * MEMBER) % (1 << 26))
        if full:
            tuning.freeze(own, one)
            if "lm_head" in one.network:
                one.network.lm_head.freeze()  # no part of a score
        else:
            kept = tuning.adapt(own, one) | {"model": tuning.base_of(config.model)}
        scorers.append(Scorer(one.network, own.seed))
    if full:
        weights.save_config(record.folder, model.network, model.tokenizer)
    else:
        weights.save_tokenizer(record.folder, model.tokenizer)
        weights.write_json(record.folder / "adapter_config.json", kept)
    return RewardModel(model, scorers, about={"policy": config.model})


def run(config: Config, record: Run) -> None:
    """Rankings -> ids -> steps on all pairs of some rankings -> accuracy, calibration, gain and bias."""
    model = opened(config)
    found = rankings.load(str(config.rankings))
    sets = encoded(model, found, tuning.longest(config, model))
    began = read_json(record.folder / "data.json")
    if began and began.get("key") != sets.key:
        raise UserError(f"{record.name}: the rankings have changed since this run began; start a new run")
    weights.write_json(record.folder / "data.json", {"key": sets.key, "bad": sets.bad})
    full, optimizer = tuning.in_full(config, model), tuning.optimizer_of(config, model)
    record.note = "asking the policy"
    policy = [reward.encode(model, prompt, text) for prompt, text in
              tuning.once(record, "policy", lambda: replies(config, model, found))["replies"]]  # fmt: skip
    per = per_step(config, model)
    iters = steps(config, model, sets)
    rm = prepared(config, record, model, full)
    schedule = Schedule(
        peak(config, model, full, optimizer), iters, min(config.warmup, max(1, iters // 5)), config.decay
    )
    pupils = Pupils(rm, [Learner(member, schedule, optimizer) for member in rm.members])
    introduce(config, record, rm, found, sets, iters, per, full)
    baseline = Baseline(sets.train, sets.held)
    record.save_every, record.keep, record.note = config.save_every, config.keep, ""
    record.attach(pupils)

    def look() -> dict[str, float]:
        rm.normalise(policy)
        return examined(rm, sets.held, sets.train[:LOOKED], baseline, sets.ceiling)

    if record.saved_step < 0:
        record.log(0, **look())
    for step in record.steps(iters):
        clock, stats, tokens = time.perf_counter(), [], 0
        for k, learner in enumerate(pupils.learners):
            batches = passes(sets.draw(config.seed + k * MEMBER, step, per), model.tokenizer.pad or 0)
            tokens += sum(int(batch.weight.sum()) for batch in batches)
            with keeping(record):
                stats.append(asdict(learner.step(step, cast(Any, batches), cast(Any, pairwise))))
        mean = {name: float(np.mean([one[name] for one in stats])) for name in stats[0]}
        mean |= {"tokens": tokens, "seen": tokens, "tok_s": round(tokens / (time.perf_counter() - clock))}
        more = look() if step % config.steps_per_eval == 0 or step == iters else {}
        if more:
            record.headline = f"pair accuracy {more['held_accuracy']:.2f}"
        record.log(step, **mean, **memory_stats(), **more)
    finish(record, rm)
    if record.cut_short():
        return
    report(record, rm, sets, baseline, policy)


def introduce(
    config: Config, record: Run, rm: RewardModel, found: Rankings, sets: Sets, iters: int, per: int, full: bool
) -> None:  # fmt: skip
    """One screen of facts before the first step."""
    pairs = [sum(len(one.pairs) for one in side) for side in (sets.train, sets.held)]
    trained = sum(v.size for _, v in device.flat(rm.members[0].trainable_parameters()))
    members = f" x {config.ensemble} members" if config.ensemble > 1 else ""
    record.say(
        f"ranked  {len(sets.train):,} prompts, {pairs[0]:,} pairs; held out {len(sets.held):,}, {pairs[1]:,}; "
        f"by {who(found.train)}\n"
        f"model   {tuning.named(rm.model)}, {tuning.parameters(rm.model):,} parameters, {trained:,} trained "
        f"({'all' if full else 'lora'}){members}\n"
        f"run     {iters} steps of {per} rankings, {iters * per / len(sets.train):.1f} passes\n"
        f"device  {device.name()}"
    )
    for reason, count in sets.bad.items():
        record.say(f"left out {count:,} rows: {reason}")
    record.print(f"folder  {record.folder}")


def who(some: Sequence[Ranking]) -> str:
    """Who ranked whose replies, most first: 'gold (of pocket-sft)'."""
    count: dict[str, int] = {}
    for one in some:
        name = (one.by or "somebody") + (f" (of {one.model})" if one.model else "")
        count[name] = count.get(name, 0) + 1
    told = sorted(count.items(), key=lambda item: -item[1])
    return ", ".join(name if len(told) == 1 else f"{name} {times:,}" for name, times in told[:4])


def finish(record: Run, rm: RewardModel) -> None:
    """Heads and members of the last checkpoint into the root of the run folder, whose weights Run has put there."""
    last = record.folder / "checkpoints" / f"{record.saved_step:06d}"
    for k in range(len(rm.members)):
        source, target = reward.member_folder(last, k), reward.member_folder(record.folder, k)
        target.mkdir(exist_ok=True)
        names = ("adapters.safetensors", "model.safetensors") if k else (reward.HEADS, reward.TOLD)
        for name in names:
            if (source / name).exists():
                beside = target / f".{name}.tmp"
                shutil.copyfile(source / name, beside)
                beside.replace(target / name)


def report(record: Run, rm: RewardModel, sets: Sets, baseline: Baseline, policy: Sequence[np.ndarray]) -> None:
    """The numbers at the end: to the terminal, and to metrics.jsonl."""
    figures, lines, bins = told(rm, sets.held, baseline, sets.ceiling)
    scores = rm.scores(policy)
    lines.append(
        f"scores of {rm.model.name}'s {len(policy)} replies: mean {scores.mean():+.2f}, standard deviation {scores.std():.2f}"
    )
    cpu = time.process_time()
    lines.append(f"CPU time of this process {cpu / 60:.1f} min; use it: lab score --model {record.name} replies.jsonl")
    record.say("\n".join(lines))
    for one in bins:
        record.event("calibration", **asdict(one))
    record.event("report", **figures, members=len(rm.members), gain=rm.gains[0], cpu_s=round(cpu, 1))
