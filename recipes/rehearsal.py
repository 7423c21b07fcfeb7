"""What pretraining would need: how many tokens the text has, and a few real steps on random ids."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import data, device, hub, read
from lab.batch import complete
from lab.errors import UserError, expand
from lab.learn import Learner, Schedule
from lab.loss import Batch, bits_per_byte, nll
from lab.model import Shape, Transformer, new_cache
from lab.runs import read_json, runs
from lab.tokenizer import Tokenizer
from recipes import pocket, recall
from recipes.estimate import Plan, Work, step_seconds, timed

# UTF-8 bytes a token of our BPE by size of the vocabulary, BOS and END of each document counted: means of the pocket world
# and of 4.7 MB of English documentation, which differ by 3 to 22 %; the pocket world repeats itself and stops growing.
BYTES_A_TOKEN = {384: 1.37, 512: 1.64, 1024: 2.24, 1536: 2.5, 4096: 2.92, 8192: 3.08, 16384: 3.16}
# Characters of what the pocket world tells an exact number of times; its other kinds are generated up to a size.
TOLD = {"facts": 3_416_279, "conflicts": 141_862, "lists": 269_822}
# Seconds on one core of an AMD server: starting the process and its first step; generating the pocket world; a tokenizer
# from 4M characters; encoding a MB.
START, WORLD, TOKENIZER, ENCODE = 1.0, 2.6, 0.6, 0.17
SHORT = 4.0  # seconds that a look at the held-out text may take to be tried whole
SAMPLE = 300_000  # bytes of a file that are read to see how much of it is text


def pretraining(config: Any, form: Shape) -> Plan:
    """What `lab pretrain` would do with these flags and a model of this shape."""
    from recipes.pretrain import POCKET_PROMPTS

    known, rows, length = text(config, form.vocab_size), config.batch_size, config.max_seq_length
    a_step = rows * config.grad_accumulation_steps
    windows = (known.tokens - 1) // length if known.tokens else 0
    steps = config.iters or (max(1, -(-windows // a_step)) if known.tokens else None)
    tokens = steps * a_step * length if steps else None
    facts = {
        "model": f"{form.parameters:,} parameters: {form.num_hidden_layers} layers, width {form.hidden_size}, "
        f"{form.num_attention_heads} heads, vocabulary {form.vocab_size:,}",
    }
    if known.tokens is None:
        facts["text"] = known.about
    elif tokens:
        facts["text"] = f"{'about ' if known.about else ''}{known.tokens:,} tokens, {tokens / known.tokens:.2f} passes"
    saves = min(config.keep, 1 + -(-(steps or config.save_every) // config.save_every))
    looks = 1 + -(-(steps or 0) // config.steps_per_eval)
    prompts = len(POCKET_PROMPTS) if not config.data else 1

    def work(whole: bool) -> Iterator[Work]:
        return rehearse(config, form, steps or 0, known, whole, looks, prompts)

    return Plan(
        form.parameters, steps, 0, tokens, "" if config.iters else known.about, facts, form.memory(rows, length),
        checkpoint(form, config.optimizer), saves, work if steps else None,
    )  # fmt: skip


class Text(NamedTuple):
    """How much text there is to train on."""

    tokens: int | None  # None where it must be downloaded first
    held_out: int  # tokens
    prepare: float  # seconds until its tokens are there
    about: str  # '' = counted


def text(config: Any, vocabulary: int) -> Text:
    """What is known of a pretraining's text without reading all of it: as a run counted it, as the cache holds it, as a
    run with the same flags came out; else from its bytes."""
    from recipes.pretrain import pocket_source

    name = "the pocket world" if not config.data else str(config.data)
    if config.data and not expand(config.data).exists() and not _at_hand(config.data):
        return Text(None, 0, 0.0, f"{name} is not on this computer: the run downloads it first")
    source = data.source(config.data, config.text_column) if config.data else pocket_source(config)
    if found := _cached(source, vocabulary, config.max_seq_length):
        return found
    size, prepare = _bytes(config)
    prepare += TOKENIZER * min(1.0, size / 4e6) + ENCODE * size / 1e6
    for info in runs():
        told = read_json(info.folder / "data.json")
        if told.get("key") == source.key and read_json(info.folder / "config.json").get("vocab_size") == vocabulary:
            with suppress(KeyError, TypeError, ZeroDivisionError):
                share = told["held_out_bytes"] / told["bytes"]
                return Text(int(told["tokens"]), int(told["tokens"] * share), prepare, "")
        if not config.data and (tokens := _passed(info.folder, info.total, config, vocabulary)):
            return Text(tokens, tokens // 45, prepare, f"as {info.name} came out")
    table = BYTES_A_TOKEN
    tokens = int(size / np.interp(np.log(vocabulary), np.log(list(table)), list(table.values())))
    return Text(tokens, tokens // 49, prepare, f"from the {size / 1e6:.1f} MB of {name}")


def _at_hand(name: str) -> bool:
    """Whether a data set of the hub is in its cache."""
    repo = name.partition(":")[0].partition("@")[0]
    return hub.is_id(repo) and hub.store_of(repo, "dataset").is_dir()


def _cached(source: data.Source, vocabulary: int, length: int) -> Text | None:
    """Exact: its tokens lie in the cache."""
    folder = data.cache_folder() / "tokenizers" / f"{source.key}-{vocabulary}"
    if not (folder / "tokenizer.model").exists():
        return None
    with suppress(UserError, OSError, ValueError):
        tokenizer, sides = Tokenizer.load(folder), []
        for held_out in (False, True):
            print_ = data.fingerprint(source.key, held_out, tokenizer.fingerprint, length)
            sides.append(len(np.load(data.cache_folder() / "tokens" / print_ / "ids.npy", mmap_mode="r")))
        return Text(sides[0], sides[1], 0.5, "")
    return None


def _passed(folder: Path, total: int, config: Any, vocabulary: int) -> int:
    """Tokens of the pocket world as a run went through it once; 0 where it was another text."""
    from recipes.pretrain import SIZES

    was = read_json(folder / "run.json").get("config")
    if not isinstance(was, dict) or was.get("data") or was.get("iters") or not total:
        return 0
    with suppress(KeyError, TypeError):
        if (was["mix"], was["seed"], was["vocab_size"] or SIZES[was["size"]].vocab_size) == (
            config.mix, config.seed, vocabulary,
        ):  # fmt: skip
            return (
                int(total) * int(was["batch_size"]) * int(was["grad_accumulation_steps"]) * int(was["max_seq_length"])
            )
    return 0


def _bytes(config: Any) -> tuple[int, float]:
    """(bytes of text to train on, seconds until it can be read)."""
    from recipes.pretrain import parse_mix

    if not config.data:
        mix = parse_mix(config.mix)
        generated = sum(size * mix.get(kind, 1.0) for kind, size in pocket.CHARACTERS.items())
        return int(generated + sum(size * mix.get(kind, 1.0) for kind, size in TOLD.items())), WORLD
    train, valid = data.files(config.data)
    size = sum(path.stat().st_size * _share(path, config.text_column) for path in train)
    return int(size if valid else size * 49 / 50), 0.0


def _share(path: Path, column: str) -> float:
    """Bytes of text in a byte of the file as it lies on the disk, by its beginning."""
    got = 0
    for document in read.documents(path, column):
        got += len(document.text.encode())
        if got > SAMPLE:
            return got / max(1, document.done) if document.done < path.stat().st_size else 1.0
    return got / max(1, path.stat().st_size)


def checkpoint(form: Shape, optimizer: str) -> int:
    """Bytes of one: the weights, two moments of AdamW for each, or for a matrix under Muon one, and the fp32 masters of
    weights in half precision."""
    outside = form.vocab_size * form.hidden_size * (1 if form.tie_word_embeddings else 2)
    norms = form.num_hidden_layers * (2 * form.hidden_size + 2 * form.head_dim * form.qk_norm) + form.hidden_size
    matrices = form.parameters - outside - norms
    state = 8 * form.parameters - (4 * matrices if optimizer == "muon" else 0)
    half = device.compute_dtype(form.parameters) != mx.float32
    return form.parameters * (2 + 4 if half else 4) + state


# -- time ------------------------------------------------------------------------------------------------------------


def rehearse(
    config: Any, form: Shape, steps: int, known: Text, whole: bool, looks: int, prompts: int
) -> Iterator[Work]:
    """The parts of a pretraining's time, each measured when asked for: `steps` optimiser steps, `looks` at the held-out
    text and `prompts` samples each, the exam. `known` is the text; without `whole` no full batch is tried."""
    network = Transformer(form)
    network.initialise(config.seed)
    network.set_dtype(device.compute_dtype(form.parameters))
    learner = Learner(network, Schedule(1e-4, 100), config.optimizer, config.weight_decay)
    draw, length = np.random.default_rng(0), config.max_seq_length

    def ids(*shape: int) -> np.ndarray:
        return draw.integers(0, form.vocab_size, shape, dtype=np.int32)

    grad_of = nn.value_and_grad(network, nll)
    rows, passes = config.batch_size, config.grad_accumulation_steps
    some = list(ids(min(32, 2 * rows), length + 1))  # a look takes 32 at once; fewer where memory may be short

    def step(count: int) -> None:
        learner.step(1, [Batch(ids(count, length + 1)) for _ in range(passes)], nll)

    def gradient(count: int) -> None:
        for _ in range(passes):
            mx.eval(grad_of(network, Batch(ids(count, length + 1))))

    yield Work("steps", steps, lambda: step_seconds(step, gradient, rows, whole), True)
    windows = looks * 64 + known.held_out / length
    ones = np.ones(form.vocab_size, dtype=np.int64)
    bits_per_byte(network, some[:1], ones)
    alone = timed(lambda: bits_per_byte(network, some[:1], ones))
    many = len(some) if alone * len(some) <= SHORT else 1  # of a big model fewer, which costs a window no less
    yield Work("looks", windows / many, lambda: (timed(lambda: bits_per_byte(network, some[:many], ones)), ""), True)
    yield Work("samples", looks * prompts * 48 / 16, lambda: (timed(lambda: talk(network, ids)), ""), True)
    if not config.data:
        ask = 64 if many > 1 else 4
        asked = [ids(int(draw.integers(10, 30))).tolist() for _ in range(ask)]
        questions = 2 * sum(
            len(entity.facts)
            for exposures in recall.CLASSES
            for kind in ("person", "country", "element")
            for entity in pocket.entities(kind, exposures)[:60]
        )
        exam = 1.3 * (questions + len(pocket.conflicts()) + 400) / ask  # a third more for judging the answers
        yield Work("exam", exam, lambda: (timed(lambda: complete(network, asked, recall.LONGEST, frozenset())), ""))
    yield Work("start", 1, lambda: (START + known.prepare, ""))


def talk(network: Transformer, ids: Any) -> None:
    """Sixteen tokens, one after the other."""
    cache = new_cache(network)
    for _ in range(16):
        mx.eval(network(mx.array(ids(1, 1)), cache))
