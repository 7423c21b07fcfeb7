"""Tokens for thoughts, calls and results in a hub model that has none: unused special tokens get a use, or new ones are
added to its tokenizer and new rows to its matrices.

A new row is the mean of those that are there: so the model finds the new tokens unlikely from the start, and what it said
before stays as likely (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"; rows of small random
numbers can be the likeliest of all). A hundredth of the spread is added, so that no two are the same.
"""

import json
import re
from pathlib import Path
from typing import Any

import mlx.core as mx

from lab import weights
from lab.errors import UserError
from lab.runs import read_json
from lab.tokenizer import Tokenizer
from lab.vocabulary import HuggingFace

NOISE = 0.01  # of the standard deviation of each column
MATRICES = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|embed_out|tok_embeddings|lm_head|output)\.(weight|bias)$"
)


def tool_tokens(folder: Path, seed: int = 0) -> str:
    """See to it that the model in `folder` has tokens for thoughts, calls and results; in words, what was done. UserError
    for a quantised model, whose matrices cannot grow."""
    tokenizer = Tokenizer.load(folder)
    missing = tokenizer.missing()
    if not missing:
        return "its vocabulary has tokens for thoughts, calls and results already"
    if tokenizer.reserve():
        tokenizer.save(folder)
        return f"unused special tokens got a use: {_told(tokenizer)}"
    _grow(folder, tokenizer, missing, seed)
    return f"new special tokens: {_told(Tokenizer.load(folder))}"


def _told(tokenizer: Tokenizer) -> str:
    return ", ".join(f"{name} {opens} {closes}" for name, (opens, closes) in tokenizer.marks.items())


def _grow(folder: Path, tokenizer: Tokenizer, missing: list[str], seed: int) -> None:
    core, config = tokenizer.core, weights.read_config(folder)
    assert isinstance(core, HuggingFace)
    if config.get("quantization") or config.get("quantization_config"):
        raise UserError(f"{folder}: a quantised model cannot grow; import the model it was made from")
    pairs = {name: _pair(core, name) for name in missing}
    first, names = tokenizer.vocab_size, [token for pair in pairs.values() for token in pair]
    told = [part for part in (config, config.get("text_config")) if isinstance(part, dict) and "vocab_size" in part]
    rows = int(told[-1]["vocab_size"]) if told else 0
    arrays = _grown(folder, first, len(names), rows, seed)
    for part in told:
        part["vocab_size"] = max(rows, first + len(names))
    files = _files(folder, tokenizer, names, pairs)
    _check(files["tokenizer.json"], {name: first + i for i, name in enumerate(names)}, folder)
    weights.save_arrays(folder / "model.safetensors", arrays)
    weights.write_json(folder / "config.json", config)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _pair(core: HuggingFace, name: str) -> tuple[str, str]:
    """Names that nothing in the vocabulary has."""
    for stem in (name, f"lab_{name}"):
        pair = f"<|{stem}|>", f"<|/{stem}|>"
        if not any(token in core.ids for token in pair):
            break
    return pair


def _grown(folder: Path, first: int, count: int, rows: int, seed: int) -> dict[str, mx.array]:
    """The arrays of a folder with `count` rows from row `first` on: rows that only padded the table are taken first."""
    arrays = weights.read_all(folder)
    found = [name for name, value in arrays.items() if MATRICES.search(name) and value.shape[0] == rows]
    if not any(arrays[name].ndim == 2 for name in found):
        raise UserError(f"{folder}: it has no embedding of {rows} rows that could grow; take another model")
    for name in found:
        old = arrays[name]
        used = old[:first].astype(mx.float32)
        more = mx.random.normal((count, *old.shape[1:]), key=mx.random.key(seed))  # the same for a matrix stored twice
        new = used.mean(axis=0) + NOISE * mx.sqrt(used.var(axis=0)) * more
        arrays[name] = mx.concatenate([old[:first], new.astype(old.dtype), old[first + count :]])
    return arrays


def _files(folder: Path, tokenizer: Tokenizer, names: list[str], pairs: dict[str, tuple[str, str]]) -> dict[str, bytes]:
    """tokenizer.json with the new tokens, and tokenizer_config.json with what they are for."""
    spec: dict[str, Any] = json.loads(tokenizer.core.data)
    config = read_json(folder / "tokenizer_config.json")
    for i, name in enumerate(names, tokenizer.vocab_size):
        token = {
            "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
        }  # fmt: skip
        spec["added_tokens"] = [*(spec.get("added_tokens") or []), {"id": i, **token}]
        if isinstance(config.get("added_tokens_decoder"), dict):
            config["added_tokens_decoder"][str(i)] = token
    config["lab_marks"] = {name: list(pair) for name, pair in (tokenizer.marks | pairs).items()}
    made = {"tokenizer.json": spec, "tokenizer_config.json": config}
    return {name: (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode() for name, value in made.items()}


def _check(data: bytes, want: dict[str, int], folder: Path) -> None:
    """UserError where the tokenizers library counts otherwise than we do: ids with gaps."""
    from tokenizers import Tokenizer as Fast

    fast = Fast.from_str(data.decode())
    if any(fast.token_to_id(name) != i for name, i in want.items()):
        raise UserError(f"{folder}: the ids of its vocabulary have gaps, so that it cannot grow; take another model")
