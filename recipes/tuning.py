"""What sft, interrogate, search, code and think share: flags, and the loop that tunes a model on conversations."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import mlx.core as mx
from tyro.conf import FlagCreatePairsOff, arg

from lab import chat, device, lora, talks, weights
from lab.chat import Message
from lab.errors import UserError
from lab.learn import Learner, Schedule, keeping, memory_stats
from lab.loss import nll
from lab.model import Transformer
from lab.run import Run
from lab.runs import find, inspect, read_json, read_lines
from lab.sample import Sampling
from lab.samples import Sample, bucketed
from lab.stream import Stream
from lab.talks import Bad, Conversation, Talks
from lab.weights import Model

CHARTS = (
    {"title": "loss on the replies, and held out", "keys": ["loss", "val_loss"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "learning rate", "keys": ["learning_rate"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "padding, share of all tokens", "keys": ["padding"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)
SMALL = 30_000_000  # parameters up to which all weights are tuned by default, in steps of 24 conversations
Prompt = Sequence[Message]


@dataclass(frozen=True)
class Tuning:
    model: str = "pocket-base"
    """What to start from: a run, a folder, a hub id or a GGUF file."""
    fine_tune_type: Literal["full", "lora"] | None = None
    """All weights or low-rank adapters beside them; by default full up to 30M parameters."""
    iters: int | None = None
    """Optimiser steps."""
    batch_size: int | None = None
    """Conversations a step (24 up to 30M parameters, 4 above)."""
    learning_rate: float | None = None
    """Peak rate (full: muon 0.004, adamw 2e-5; lora: adamw 2e-4, in search 1e-3 where its tokens for calls are new)."""
    optimizer: Literal["muon", "adamw"] | None = None
    """Muon for small models tuned in full, else AdamW."""
    warmup: int = 20
    """Steps of linear warm-up."""
    decay: float = 0.8
    """Share of the steps over which the rate falls to 2 %."""
    max_seq_length: int | None = None
    """Longest conversation in tokens; longer ones lose their last turns (the model's context, at most 2,048)."""
    num_layers: int | None = None
    """How many of the last layers are tuned or get adapters, -1 for all (lora: 16; full: all, and the embeddings too but for
    search, code and demonstrate)."""
    lora_rank: Annotated[int, arg(aliases=["--rank"])] = 8
    """LoRA: inner size of the adapters (Hu et al. 2021, arXiv:2106.09685)."""
    lora_scale: Annotated[float, arg(aliases=["--scale"])] = 20.0
    """LoRA: factor on what the adapters add."""
    seed: int = 0
    """Everything random follows from it."""
    steps_per_eval: int = 50
    """Steps between held-out measurements and samples."""
    save_every: int = 100
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints to keep."""
    name: str | None = None
    """Name of the run folder."""
    resume: Annotated[bool, FlagCreatePairsOff] = False
    """Go on with a run from its last checkpoint, bit for bit."""


def check(config: Tuning) -> None:
    """Refuse bad flags before anything is written."""
    for field in ("iters", "batch_size", "max_seq_length", "lora_rank", "steps_per_eval", "save_every", "keep"):
        value = getattr(config, field)
        if value is not None and value < 1:
            raise UserError(f"--{field.replace('_', '-')} {value}: must be at least 1")
    if config.num_layers is not None and config.num_layers < 1 and config.num_layers != -1:
        raise UserError(f"--num-layers {config.num_layers}: give 1 or more, or -1 for all")
    if not 0 <= config.seed < 1 << 26:
        raise UserError(f"--seed {config.seed}: must lie between 0 and {(1 << 26) - 1}")
    if config.warmup < 0 or not 0 <= config.decay <= 1:
        raise UserError("--warmup must be 0 or more steps, --decay a share between 0 and 1")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise UserError(
            f"--learning-rate {config.learning_rate}: must lie between 0 and 10 (muon .004, adamw 2e-5, lora 2e-4)"
        )
    if not 0 < config.lora_scale < 1e4:
        raise UserError(f"--lora-scale {config.lora_scale}: must be above 0 (20 is usual)")
    if config.fine_tune_type == "lora" and config.optimizer == "muon":
        raise UserError("--optimizer muon is for whole matrices; with lora use adamw")


def open_model(config: Tuning, lazy: bool = False, tools: bool = False, chats: bool = False) -> Model:
    """The model to tune. A base model of ours gets our chat template: its vocabulary has the roles already. With `tools`
    a hub vocabulary gives unused specials to the calls and results it has no tokens for. `lazy` as in `weights.load`.
    UserError where it has to answer questions already (`chats`) and is a base model."""
    model = weights.load(config.model, lazy=lazy)
    lora.merge(model.network)  # adapters of an earlier tuning are part of what this one begins with
    if not lazy:
        held = device.flat(model.network.parameters())
        device.limit_memory(4 * sum(value.nbytes for _, value in held))  # weights, gradients, two moments
    tokenizer = model.tokenizer
    if chats and not model.chats:
        raise UserError(f"{model.name} has no chat template, so it answers no questions; tune it with lab sft first")
    if tokenizer.ours and not model.chats:
        tokenizer.chat_template = chat.OURS
    if tools and not tokenizer.ours and tokenizer.missing() and not tokenizer.reserve():
        raise UserError(
            f"{model.name}: too few unused tokens for {', '.join(tokenizer.missing())}; "
            f"lab import {config.model} --tool-tokens adds some"
        )
    return model


def named(model: Model) -> str:
    """Its name, and how far it is where its own training has not ended."""
    info = inspect(model.folder)
    if info.state in ("done", "model"):
        return model.name
    return f"{model.name} ({info.state}, step {info.step} of {info.total})"


def parameters(model: Model) -> int:
    """Weights of the network, those of packed matrices each by itself."""
    packed = sum(lora.packed(m) for _, m in model.network.named_modules())
    return packed + sum(value.size for _, value in device.flat(model.network.parameters()) if value.dtype != mx.uint32)


def longest(config: Tuning, model: Model) -> int:
    """Tokens of the longest conversation."""
    return min(config.max_seq_length or 2048, model.context)


def rows(config: Tuning, model: Model) -> int:
    """Conversations a step."""
    return config.batch_size or (24 if parameters(model) <= SMALL else 4)


def in_full(config: Tuning, model: Model) -> bool:
    """Whether all weights are tuned, not adapters. UserError where they cannot be."""
    ours = isinstance(model.network, Transformer)  # and not packed: such a one is mlx_lm's
    full = (config.fine_tune_type or ("full" if ours and parameters(model) <= SMALL else "lora")) == "full"
    if full and not ours:
        raise UserError(f"{model.name}: {model.config['model_type']} models are tuned with --fine-tune-type lora")
    return full


def optimizer_of(config: Tuning, model: Model) -> Literal["muon", "adamw"]:
    """Muon for small models tuned in full, AdamW else; asked before adapters are put beside the weights."""
    small = in_full(config, model) and parameters(model) <= SMALL
    return config.optimizer or ("muon" if small else "adamw")


def adapt(config: Tuning, model: Model) -> dict[str, Any]:
    """Put adapters beside the weights, which freeze; what adapter_config.json says of them."""
    return lora.attach(
        model.network, config.lora_rank, config.lora_scale, config.num_layers or lora.LAYERS, seed=config.seed,
        embed=model.tokenizer.reserved,
    )  # fmt: skip


def freeze(config: Tuning, model: Model) -> None:
    """With --num-layers only the last layers, the last norm and an output matrix of its own are tuned: those before hold
    what the model knows by name, and the embeddings too where it is all layers."""
    if config.num_layers is None or config.num_layers < 1:
        return
    network = model.network
    network.freeze()
    for part in (*network.layers[-config.num_layers :], network.model.norm):
        part.unfreeze()
    if "lm_head" in network:
        network.lm_head.unfreeze()


def still(config: Tuning, model: Model) -> Tuning:
    """With the embeddings left as they are, where all weights are tuned and the flags do not say: what is to be done with
    names then shows in how they are read, not in the names that lessons have. Trained along in lab search, .77 of the known
    names that no lesson has were looked up (seed 1); left, .68 (seed 0)."""
    if config.num_layers or not in_full(config, model):
        return config
    return replace(config, num_layers=len(model.network.layers))


def confine(config: Tuning, model: Model) -> dict[str, Any] | None:
    """Train what the flags ask for: all weights, the last layers, or adapters; of these what adapter_config.json says."""
    if in_full(config, model):
        freeze(config, model)
        return None
    return adapt(config, model)


def dress(config: Tuning, record: Run, model: Model) -> None:
    """`confine`, and the run folder a model folder but for the weights, which come with each checkpoint."""
    adapters = confine(config, model)
    if adapters is None:
        weights.save_config(record.folder, model.network, model.tokenizer)
    else:
        weights.save_tokenizer(
            record.folder, model.tokenizer
        )  # and what ends a turn, if only the base's config says it
        weights.write_json(record.folder / "adapter_config.json", adapters | {"model": base_of(config.model)})


def learner_of(config: Tuning, model: Model, iters: int, full: bool, optimizer: Literal["muon", "adamw"]) -> Learner:
    """A learner for so many steps, at a rate that suits what it trains."""
    peak = config.learning_rate or (0.004 if optimizer == "muon" else 2e-5 if full else 2e-4)
    return Learner(
        model.network, Schedule(peak, iters, min(config.warmup, max(1, iters // 5)), config.decay), optimizer
    )


def to_sample(model: Model, talk: Conversation, longest: int) -> Sample:
    """A lesson as a Sample; UserError where it does not fit."""
    try:
        return talks.to_sample(model.tokenizer, talk, longest)
    except Bad as error:
        raise UserError(f"a lesson does not fit: {error}; raise --max-seq-length") from error


def tune(
    config: Tuning, record: Run, model: Model, talks: Talks, iters: int, prompts: Sequence[Prompt],
    exam: Callable[[], dict[str, float]] | None = None, looks: Callable[[int], dict[str, float]] | None = None,
) -> Learner:  # fmt: skip
    """Train on `talks` for `iters` steps: loss on what the assistant says, held-out loss and replies to `prompts` every
    `steps_per_eval` steps, and whatever `looks(step)` measures. At the end `exam` gives figures, which go into the
    record's report. All in `record`; the run folder opens as a model."""
    tokenizer = model.tokenizer
    began = read_json(record.folder / "data.json")
    if began and began.get("key") != talks.key:
        raise UserError(f"{record.name}: the conversations have changed since this run began; start a new run")
    full, optimizer = in_full(config, model), optimizer_of(config, model)
    dress(config, record, model)
    learner = learner_of(config, model, iters, full, optimizer)
    facts = {"key": talks.key, "conversations": talks.total, "tokens": talks.tokens or None, "bad": dict(talks.bad)}
    weights.write_json(record.folder / "data.json", facts)
    introduce(config, record, model, talks, iters, full)
    pad = tokenizer.pad if tokenizer.pad is not None else 0
    record.save_every, record.keep, record.note = config.save_every, config.keep, ""
    record.attach(learner)

    def look(step: int) -> dict[str, float]:
        speak(record, step, model, prompts, config.seed)
        return {"val_loss": held_out_loss(model, talks.valid, pad)} | (looks(step) if looks else {})

    if record.saved_step < 0:
        record.log(0, **look(0))
    for step in record.steps(iters):
        clock = time.perf_counter()
        samples = talks.draw(config.seed, step, rows(config, model))
        batches = bucketed(samples, pad, most=model.pass_tokens)
        with keeping(record):
            stats = learner.step(step, batches, nll)
        tokens, slots = sum(len(s.ids) for s in samples), sum(b.ids.size for b in batches)
        told = asdict(stats) | {"seen": tokens, "tok_s": round(tokens / (time.perf_counter() - clock))}
        told |= {"padding": round(1 - tokens / max(slots, tokens), 4), "conversations": len(samples)}
        more = look(step) if step % config.steps_per_eval == 0 or step == iters else {}
        record.log(step, **told, **memory_stats(), **more)
    if record.cut_short():
        return learner
    record.note = "measuring"
    report(config, record, model, exam)
    record.note = ""
    return learner


def report(config: Tuning, record: Run, model: Model, exam: Callable[[], dict[str, float]] | None) -> None:
    """The numbers at the end: to the terminal and, as one row, to metrics.jsonl. Tokens are those of every step, also of
    those before a resume."""
    figures = exam() if exam else {}
    done = [row for row in read_lines(record.folder / "metrics.jsonl") if "loss" in row]
    seen, used = (sum(row.get(key, 0) for row in done) for key in ("seen", "tokens"))
    if (spent := compute(config.model)) and isinstance(model.network, Transformer) and seen:
        share = model.network.shape.flops(100) * seen / spent
        record.say(f"compute: {seen:,} tokens, {used:,} of them trained: {100 * share:.1f} % of what pretraining took")
        figures |= {"compute_share": share}
    cpu = time.process_time()
    verb = "talk to it: lab chat --model " + record.name
    record.say(f"CPU time of this process {cpu / 60:.1f} min; {verb}")
    record.event("report", **figures, tokens=seen, trained_tokens=used, cpu_s=round(cpu, 1))


def once(record: Run, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures of before the first step, kept in the run folder: a resumed run cannot measure them again."""
    path = record.folder / f"{name}.json"
    if not path.exists():
        weights.write_json(path, measure())
    return read_json(path)


def base_of(model: str) -> str:
    """How an adapter names its base: a run of the weights root by its name, a folder in full, a hub id as it is."""
    from lab import hub
    from lab.errors import expand

    return model if hub.is_id(model) or not expand(model).exists() else str(expand(model).resolve())


def introduce(config: Tuning, record: Run, model: Model, talks: Talks, iters: int, full: bool) -> None:
    """One screen of facts before the first step."""
    trained = sum(value.size for _, value in device.flat(model.network.trainable_parameters()))
    told = (
        f"{talks.total:,} conversations, {talks.tokens:,} tokens" if talks.total else "generated, fresh in every step"
    )
    per = rows(config, model)
    passes = f", {iters * per / talks.total:.1f} passes" if talks.total else ""
    record.say(
        f"talks   {told}; {len(talks.valid)} held out\n"
        f"model   {named(model)}, {parameters(model):,} parameters, {trained:,} trained ({'all' if full else 'lora'})\n"
        f"run     {iters} steps of {per} conversations{passes}\n"
        f"device  {device.name()}"
    )
    if talks.cut:
        record.say(
            f"cut     {talks.cut:,} conversations lost their last turns: longer than {longest(config, model):,} tokens"
        )
    for reason, count in talks.bad.most_common():
        record.say(f"left out {count:,} rows: {reason}")
    record.print(f"folder  {record.folder}")


def held_out_loss(model: Model, samples: Sequence[Sample], pad: int) -> float:
    """Mean loss, nats a trained token; NaN without any."""
    total = weight = 0.0
    for batch in bucketed(samples, pad, most=model.pass_tokens):
        value, share = nll(model.network, batch)
        total, weight = total + device.number(value), weight + device.number(share)
    return total / weight if weight else math.nan


def speak(record: Run, step: int, model: Model, prompts: Sequence[Prompt], seed: int) -> None:
    """What the model replies to fixed prompts, the same seed each time, so that only the model changes."""
    stream = Stream(model.network, model.tokenizer, model.context)
    for messages in prompts:
        ids = chat.prompt(model.tokenizer, messages)
        options = Sampling(temp=0.7, max_tokens=64)
        told = list(stream(ids, options, seed))
        text = model.tokenizer.decode([t.id for t in told], specials=True)
        record.sample(step, chat.plain(messages[-1]) + "\n", text, [t.id for t in told], [t.logp for t in told])


def compute(model: str) -> float | None:
    """FLOPs that the pretraining at the root of a run's lineage took; None where that is not recorded."""
    for info in lineage(model):
        config = info.get("config") or {}
        if info.get("recipe") == "pretrain" and (steps := info.get("steps")):
            shape = weights.shape_from(weights.read_config(info["folder"]))
            length = int(config["max_seq_length"])
            tokens = steps * config["batch_size"] * config["grad_accumulation_steps"] * length
            return shape.flops(length) * tokens if shape else None
    return None


def lineage(model: str) -> Iterator[dict[str, Any]]:
    """run.json of a run and of those it came from, youngest first, with `folder` and the `steps` they took."""
    seen: set[str] = set()
    while model and model not in seen:
        seen.add(model)
        try:
            folder, _ = find(model.split("@")[0])
        except UserError:
            return
        passport = read_json(folder / "run.json")
        yield passport | {"folder": folder, "steps": read_json(folder / "status.json").get("step")}
        model = passport.get("parent") or ""
