"""Train a transformer from scratch: tokenizer, packing, next-token prediction, samples that turn from noise into text.

Without --data the text is the pocket world, a small generated internet, and the run ends with an exam: which facts
were seen how often, and which of them are known. With --data it is your own text (txt, md, jsonl {"text"}, .gz).

Expected, pocket preset (1.5M parameters, one pass of 2,097 steps, 4.43M tokens; seeds 0 / 1, 13 CPU-minutes of a core that
trains 6,000 tokens a second): first loss 7.65 / 7.66, a little below ln V = 7.85 because two heads begin as an induction head
(lab/lookback.py); held-out bits per byte 0.68; facts told 100, 30, 10, 3, 1, 0 times are recalled .98, .66, .16, .11, .13, .11
/ .99, .74, .26, .17, .09, .07 (guessing .08); two-digit sums never shown: + 0.94 / 0.85, - 0.72 / 0.86; of 100 held-out word
problems of 1, 2, 3, 4, 5 operations, told again with steps, right: 94, 95, 92, 95, 66 / 95, 94, 91, 95, 79. With windows of 128
tokens, which cut off problems of four and five operations, it was 85 / 79 of four and 16 / 23 of five.

What a model copies it has seen copied. In a list of words said again the next one is right in .81 / .85 for names told 100
times, .75 / .73 for names never told, .69 / .68 for long invented words, .42 / .36 for everyday ones. With a third of the
echoes (recipes/pocket/echoes.py), and no names told often among them, it was .31, .67, .49 and .09 (seed 0).

The vocabulary of 2,560 is chosen so that names told 100 times are whole tokens (2.2 a person's name, 3.7 one never told): see
lab interrogate for what that decides. With 1,536 they were in pieces like all others (3.6 and 4.0).

Examples:
  lab pretrain                                   the pocket world, 13 minutes of one core
  lab pretrain --data books/ --size 5m           your own text; train.txt and valid.txt, or any files
  lab pretrain --iters 200 --name try            a short one
  lab pretrain --name try --resume               go on after Ctrl-C, kill or a power cut
  lab pretrain --mix stories=2,jokes=0           other weights for the pocket world's sources
  lab pretrain -c my.yaml                        flags from a file; the command line wins
"""

import difflib
import functools
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff

from lab import data, device, weights
from lab.errors import UserError
from lab.learn import Learner, Schedule, keeping, memory_stats
from lab.loss import Batch, bits_per_byte, nll
from lab.model import SIZES, Shape, Transformer, shape_of
from lab.run import Run
from lab.runs import read_json, read_lines
from lab.sample import Sampling
from lab.stream import Stream
from lab.tokenizer import Tokenizer
from recipes import pocket, recall
from recipes.estimate import Plan

CHARTS = (
    {"title": "loss, and held-out bits per byte", "keys": ["loss", "bits_per_byte"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "learning rate", "keys": ["learning_rate"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
    {"title": "memory, GB", "keys": ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]},
)
EVAL_WINDOWS = 64  # held-out windows a look; the report at the end takes all
POCKET_PROMPTS = ["One day", "The capital of France is", "Question: What is 23 plus 45? Answer:"]


@dataclass(frozen=True)
class Config:
    data: str | None = None
    """A file or folder of text, or a hub data set (owner/name); without it the pocket world."""
    text_column: str = "text"
    """What holds the text in rows of .jsonl and .parquet."""
    size: Literal["pocket", "5m", "20m", "60m", "125m"] = "pocket"
    """Model size, one dial; the numbers below override single parts of it."""
    vocab_size: int | None = None
    """Tokenizer vocabulary, special tokens included."""
    layers: int | None = None
    """Number of blocks."""
    width: int | None = None
    """Size of the residual stream."""
    heads: int | None = None
    """Attention heads (head size = width / heads)."""
    kv_heads: int | None = None
    """Key/value heads; fewer than heads = grouped-query attention."""
    ffn: int | None = None
    """Inner size of the feed-forward part."""
    tie: bool = False
    """Share input and output embeddings: fewer parameters, but what a token means and when it comes pull at one vector."""
    qk_norm: bool = True
    """Normalise queries and keys (Qwen3 shape); without it Llama shape."""
    max_seq_length: int = 192
    """Tokens a training window."""
    context: int | None = None
    """Longest context the model will accept later."""
    iters: int | None = None
    """Optimiser steps; without it one pass over the text."""
    batch_size: int = 11
    """Windows a forward pass."""
    grad_accumulation_steps: int = 1
    """Forward passes an optimiser step."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Muon on matrices with AdamW on the rest, or AdamW alone."""
    learning_rate: float | None = None
    """Peak rate (0.02 for muon, 0.003 for adamw)."""
    warmup: int = 20
    """Steps of linear warm-up."""
    decay: float = 0.5
    """Share of the steps over which the rate falls to 2 %."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    mix: str = ""
    """Weights of the pocket world's sources, such as stories=2,jokes=0."""
    seed: int = 0
    """Everything random follows from it."""
    steps_per_eval: int = 100
    """Steps between held-out measurements and samples."""
    save_every: int = 200
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints to keep."""
    name: str | None = None
    """Name of the run folder."""
    resume: Annotated[bool, FlagCreatePairsOff] = False
    """Go on with a run from its last checkpoint, bit for bit."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    positive = (
        "vocab_size", "layers", "width", "heads", "kv_heads", "ffn", "context", "iters", "batch_size",
        "grad_accumulation_steps", "max_seq_length", "steps_per_eval", "save_every", "keep",
    )  # fmt: skip
    for field in positive:
        value = getattr(config, field)
        if value is not None and value < 1:
            raise UserError(f"--{field.replace('_', '-')} {value}: must be at least 1")
    if config.context is not None and config.context < config.max_seq_length:
        raise UserError(
            f"--context {config.context} is shorter than --max-seq-length {config.max_seq_length}; raise it"
        )
    if not 0 <= config.seed < 1 << 63:
        raise UserError(f"--seed {config.seed}: must lie between 0 and 2^63 - 1")
    if config.warmup < 0:
        raise UserError(f"--warmup {config.warmup}: must be 0 or more steps")
    if not 0 <= config.decay <= 1:
        raise UserError(f"--decay {config.decay}: must lie between 0 and 1, a share of the steps")
    if not 0 <= config.weight_decay < math.inf:
        raise UserError(f"--weight-decay {config.weight_decay}: must be 0 or more")
    if config.learning_rate is not None and not 0 < config.learning_rate < 10:
        raise UserError(
            f"--learning-rate {config.learning_rate}: must lie above 0 and below 10 (muon 0.02, adamw 0.003)"
        )
    shape(config, config.vocab_size or SIZES[config.size].vocab_size)
    parse_mix(config.mix)
    if config.data:
        data.files(config.data)
        if config.mix:
            raise UserError("--mix weighs the pocket world's sources; with --data there are none, leave it out")


def run(config: Config, record: Run) -> None:
    """Text -> tokenizer -> windows -> steps -> exam."""
    if device.slow_blas():
        record.say(device.NO_OPENBLAS)
    text = data.source(config.data, config.text_column) if config.data else pocket_source(config)
    record.note = "training the tokenizer"
    tokenizer = same_text(record, text) or data.fit(text, config.vocab_size or SIZES[config.size].vocab_size)
    record.note = "tokenising"
    length, rows = config.max_seq_length, config.batch_size
    train = data.tokenised(text, False, tokenizer, length)
    held_out = data.tokenised(text, True, tokenizer, length)
    if not train.windows(length):
        raise UserError(
            f"{config.data}: {len(train.ids)} tokens, less than one window; lower --max-seq-length {length}"
        )
    if not held_out.windows(1):
        raise UserError(f"{config.data}: the held-out text is empty; put some into its valid file, or leave that out")

    form = shape(config, tokenizer.vocab_size)
    network = Transformer(form)
    network.initialise(config.seed)
    network.set_dtype(device.compute_dtype(form.parameters))
    device.limit_memory(form.memory(config.batch_size, config.max_seq_length))
    passes = config.grad_accumulation_steps
    iters = config.iters or -(-train.windows(length) // (rows * passes))  # rounded up: a pass leaves nothing out
    peak = config.learning_rate or (0.02 if config.optimizer == "muon" else 0.003)
    schedule = Schedule(peak, iters, min(config.warmup, max(1, iters // 5)), config.decay)
    learner = Learner(network, schedule, config.optimizer, config.weight_decay)
    weights.save_config(record.folder, network, tokenizer)
    weights.write_json(record.folder / "data.json", facts_of(text, train, held_out))
    introduce(config, record, train, form, iters)

    eyes = Eyes(config, record, network, tokenizer, held_out)
    record.save_every, record.keep, record.note = config.save_every, config.keep, ""
    record.attach(learner)
    if record.saved_step < 0:  # a new run, not one that goes on from its checkpoint 0
        record.log(0, **eyes.look(0))
    for step in record.steps(iters):
        clock = time.perf_counter()
        windows = [train.batch(config.seed, (step - 1) * passes + i + 1, rows, length) for i in range(passes)]
        with keeping(record):
            stats = learner.step(step, [Batch(w) for w in windows], nll)
        speed = stats.tokens / (time.perf_counter() - clock)
        seen = eyes.look(step) if step % config.steps_per_eval == 0 or step == iters else {}
        record.log(step, **asdict(stats), tok_s=round(speed), **memory_stats(), **seen)
    if not record.cut_short():
        eyes.report()


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.rehearsal import pretraining  # it looks at this module

    return pretraining(config, shape(config, config.vocab_size or SIZES[config.size].vocab_size))


def same_text(record: Run, text: data.Source) -> Tokenizer | None:
    """The tokenizer of the run that goes on, None for a new one. The text must be what the run began with: another
    would bring another order, and half of the tokens would mean something else."""
    began = read_json(record.folder / "data.json")
    if not began:
        return None
    if began.get("key") != text.key:
        raise UserError(f"{record.name}: the text has changed since this run began; start a new run on it")
    return Tokenizer.load(record.folder)


def facts_of(text: data.Source, train: data.Tokens, held_out: data.Tokens) -> dict[str, Any]:
    """data.json: what the run is trained on, for --resume to compare and for people to read."""
    sizes = {"documents": train.documents, "bytes": train.bytes, "tokens": len(train.ids)}
    return {"key": text.key, **sizes, "held_out_documents": held_out.documents, "held_out_bytes": held_out.bytes}


def pocket_source(config: Config) -> data.Source:
    """The pocket world as a source; its key changes with the code that generates it."""
    mix = parse_mix(config.mix)
    code = [f.read_text() for f in sorted(Path(pocket.__file__).parent.glob("*.py"))]
    world = functools.cache(lambda: [(d.text, d.whole) for d in pocket.corpus(config.seed, mix=mix)])
    unseen = functools.cache(lambda: [(d.text, False) for d in pocket.validation(config.seed)])
    return data.Source(data.fingerprint("pocket", code, config.seed, sorted(mix.items())), world, unseen)


def check_kind(flag: str, kind: str) -> None:
    """UserError, beginning with what was typed, where the pocket world has no such source."""
    if kind not in pocket.KINDS:
        near = difflib.get_close_matches(kind, pocket.KINDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{flag}: no source {kind}; {hint}there are {', '.join(pocket.KINDS)}")


def parse_mix(mix: str) -> dict[str, float]:
    """'stories=2,jokes=0' -> {'stories': 2.0, 'jokes': 0.0}."""
    weights_of: dict[str, float] = {}
    for part in filter(None, mix.replace(" ", "").split(",")):
        kind, _, value = part.partition("=")
        check_kind(f"--mix {part}", kind)
        try:
            weights_of[kind] = float(value)
        except ValueError:
            raise UserError(f"--mix {part}: write a number, such as {kind}=2") from None
        if not 0 <= weights_of[kind] <= 100:
            raise UserError(f"--mix {part}: the weight must lie between 0 and 100")
    return weights_of


def shape(config: Config, vocab_size: int) -> Shape:
    """The model's numbers from the dial and the flags that override it."""
    base = SIZES[config.size]
    width = config.width or base.hidden_size
    heads = config.heads or (base.num_attention_heads if config.width is None else max(1, width // base.head_dim))
    if width % heads:
        raise UserError(f"--width {width} does not divide into --heads {heads}; make the width a multiple of the heads")
    return shape_of(
        config.size,
        vocab_size=vocab_size,
        num_hidden_layers=config.layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=config.kv_heads or heads,
        head_dim=width // heads,
        intermediate_size=config.ffn or (base.intermediate_size if config.width is None else 3 * width),
        max_position_embeddings=max(config.context or base.max_position_embeddings, config.max_seq_length),
        tie_word_embeddings=config.tie,
        qk_norm=config.qk_norm,
    )


def introduce(config: Config, record: Run, train: data.Tokens, form: Shape, iters: int) -> None:
    """One screen of facts before the first step."""
    tokens = iters * config.grad_accumulation_steps * config.batch_size * config.max_seq_length
    flops = form.flops(config.max_seq_length) * tokens
    record.say(
        f"text    {train.documents:,} documents, {train.bytes / 1e6:.1f} MB, {len(train.ids):,} tokens "
        f"({train.bytes / max(1, len(train.ids)):.2f} bytes a token)\n"
        f"model   {form.parameters:,} parameters: {form.num_hidden_layers} layers, width {form.hidden_size}, "
        f"{form.num_attention_heads} heads, vocabulary {form.vocab_size}\n"
        f"run     {iters} steps, {tokens:,} tokens ({tokens / max(1, len(train.ids)):.2f} passes), {flops:.2e} FLOPs, "
        f"about {form.memory(config.batch_size, config.max_seq_length) / 1e9:.2f} GB\n"
        f"device  {device.name()}"
    )
    record.print(f"folder  {record.folder}")  # not into the log, which travels with a shipped model


class Eyes:
    """What a person watches: held-out bits per byte, and what the model says to fixed prompts."""

    def __init__(self, config: Config, record: Run, network: Transformer, tokenizer: Tokenizer, held_out: data.Tokens):
        self.config, self.record, self.network, self.tokenizer = config, record, network, tokenizer
        self.byte_lengths = data.byte_lengths(tokenizer)
        self.held_out = held_out
        self.prompts = [""] if config.data else POCKET_PROMPTS

    def measure(self, limit: int) -> float:
        """Bits per byte on at most `limit` held-out windows (one shorter window where there is no more text)."""
        length = max(1, min(self.config.max_seq_length, len(self.held_out.ids) - 1))
        count = min(limit, self.held_out.windows(length))
        return bits_per_byte(self.network, (self.held_out.window(i, length) for i in range(count)), self.byte_lengths)

    def look(self, step: int) -> dict[str, float]:
        """Held-out bits per byte; and a sample for each fixed prompt, the same seed each time, so only the model changes."""
        context, options = self.network.shape.max_position_embeddings, Sampling(temp=0.7, max_tokens=48)
        for prompt in self.prompts:
            ids = [*self.tokenizer.begin, *self.tokenizer.encode(prompt)][: context - 1]
            told = list(Stream(self.network, self.tokenizer, context)(ids, options, self.config.seed))
            text = "".join(t.text for t in told)
            self.record.sample(step, prompt, text, [t.id for t in told], [t.logp for t in told])
        return {"bits_per_byte": self.measure(EVAL_WINDOWS)}

    def report(self) -> None:
        """The numbers at the end: to the terminal and, as one row, to metrics.jsonl."""
        ln_v = math.log(self.tokenizer.vocab_size)
        rows = list(read_lines(self.record.folder / "metrics.jsonl"))
        first = next((r["loss"] for r in rows if r.get("step") == 1 and "loss" in r), math.nan)
        start = next((r["bits_per_byte"] for r in rows if r.get("step") == 0 and "bits_per_byte" in r), math.nan)
        end = self.measure(1 << 30)
        self.record.say(f"loss before the first update {first:.3f}; a uniform guess costs ln V = {ln_v:.3f}")
        self.record.say(f"held-out bits per byte {start:.2f} -> {end:.3f}")
        numbers = {"bits_per_byte_final": end, "first_loss": first, "ln_v": ln_v}
        if not self.config.data:
            numbers |= recall.exam(self.network, self.tokenizer, self.record.say)
        self.record.headline = f"{end:.3f} bits/byte"
        cpu = time.process_time()
        self.record.say(f"CPU time of this process {cpu / 60:.1f} min. Talk to it: lab chat --model {self.record.name}")
        self.record.event("report", **numbers, cpu_s=round(cpu, 1))
