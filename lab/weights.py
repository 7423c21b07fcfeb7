"""Model folders: a Hugging Face directory that `mlx_lm.load`, LM Studio and friends open as it is.

Only safetensors and JSON are read; nothing is ever unpickled, no code in a folder is run.
"""

import json
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from lab import device
from lab.errors import UserError
from lab.model import Shape, Transformer
from lab.runs import find, write_atomic
from lab.tokenizer import Tokenizer

LONGEST_HEADER = 100_000_000  # bytes, the format's own limit
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
# What a config may ask for that our class does not do; such a model runs through mlx_lm's own class.
NOT_OURS = ("rope_scaling", "sliding_window", "attention_bias", "mlp_bias", "rope_traditional", "quantization")


@dataclass
class Model:
    """What `load` returns: the network, its tokenizer, its config.json, the longest context in tokens, the folder."""

    network: Any
    tokenizer: Tokenizer
    config: dict[str, Any]
    context: int
    folder: Path

    @property
    def chats(self) -> bool:
        """True for a chat model (one with a template); a base model completes text."""
        return self.tokenizer.chat_template is not None


def save_arrays(path: Path, arrays: dict[str, mx.array]) -> None:
    """Write a safetensors file beside `path`, check its size, fsync it and rename it over `path`.

    Raises OSError when the disk is full: MLX's writer does not report a short write by itself.
    """
    mx.eval(arrays)
    beside = path.with_name(f".{path.stem}.tmp.safetensors")
    try:
        try:
            mx.save_safetensors(str(beside), arrays, {"format": "mlx"})
        except RuntimeError as error:
            raise OSError(f"{path}: {error}") from error
        want, have = _expected_size(beside), beside.stat().st_size
        if want != have:
            raise OSError(f"{path}: wrote {have} of {want} bytes, the disk is full")
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _expected_size(path: Path) -> int:
    """Bytes a safetensors file must have by its own header (8-byte length, JSON header, data)."""
    with open(path, "rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return 8
        (length,) = struct.unpack("<Q", head)
        if length > LONGEST_HEADER:
            return -1
        if 8 + length > path.stat().st_size:
            return 8 + int(length)
        try:
            header = json.loads(file.read(length))
            ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return -1
    return 8 + int(length) + max(ends, default=0)


def load_arrays(path: Path) -> dict[str, mx.array]:
    """Read one safetensors file; a missing, truncated or broken one is a UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    want, have = _expected_size(path), path.stat().st_size
    if want < 0:
        raise UserError(f"{path}: not a safetensors file (its header is broken); copy or download it again")
    if want != have:
        raise UserError(f"{path}: {have} bytes, its header asks for {want}; the file is cut, copy or download it again")
    try:
        arrays = mx.load(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from error
    assert isinstance(arrays, dict)
    return arrays


def config_of(shape: Shape, tokenizer: Tokenizer, dtype: mx.Dtype) -> dict[str, Any]:
    """config.json in the words of transformers: a qwen3 model with QK-norm, a llama without."""
    kind = "qwen3" if shape.qk_norm else "llama"
    numbers = {k: v for k, v in asdict(shape).items() if k != "qk_norm"}
    return {
        "architectures": ["Qwen3ForCausalLM" if shape.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        "hidden_act": "silu",
        "attention_bias": False,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.end,
        "pad_token_id": tokenizer.pad,
        "torch_dtype": str(dtype).removeprefix("mlx.core."),
        **numbers,
    }


def save(folder: Path, network: Transformer, tokenizer: Tokenizer, dtype: mx.Dtype | None = None) -> None:
    """Write config, tokenizer and weights (cast to `dtype` if given) into `folder`, each file renamed into place."""
    save_config(folder, network, tokenizer, dtype)
    arrays = dict(device.flat(network.parameters()))
    save_arrays(folder / "model.safetensors", {k: v.astype(dtype) if dtype else v for k, v in arrays.items()})


def save_config(folder: Path, network: Transformer, tokenizer: Tokenizer, dtype: mx.Dtype | None = None) -> None:
    """All of a model folder but its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype or network.model.norm.weight.dtype
    write_json(folder / "config.json", config_of(network.shape, tokenizer, dtype))
    eos = sorted(tokenizer.ends)
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": tokenizer.bos,
            "eos_token_id": eos[0] if len(eos) == 1 else eos,
            "pad_token_id": tokenizer.pad,
        },
    )
    tokenizer.save(folder)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder, or a UserError that says what the folder is instead."""
    path = folder / "config.json"
    if not path.is_file():
        what = "is not a folder" if not folder.is_dir() else "has no config.json, so it is no model folder"
        raise UserError(
            f"{folder} {what}; give a folder made by `lab pretrain` or downloaded from a hub (lab runs lists)"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: broken JSON ({error}); copy or download it again") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"{path}: no model_type in it; this is no language model's config")
    return config


def shape_from(config: dict[str, Any]) -> Shape | None:
    """The Shape of a llama or qwen3 config that our class runs exactly; None for anything else."""
    if config.get("model_type") not in ("llama", "qwen3") or any(config.get(k) for k in NOT_OURS):
        return None
    if config.get("hidden_act", "silu") != "silu":
        return None
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        return None
    try:
        heads, width = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Shape(
            vocab_size=int(config["vocab_size"]),
            hidden_size=width,
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or width // heads),
            intermediate_size=int(config["intermediate_size"]),
            max_position_embeddings=int(config.get("max_position_embeddings") or 2048),
            rms_norm_eps=float(config["rms_norm_eps"]),
            rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
            tie_word_embeddings=bool(config.get("tie_word_embeddings")),
            qk_norm=config["model_type"] == "qwen3",
        )
    except KeyError as error:
        raise UserError(f"{error.args[0]} is missing for model_type {config['model_type']}") from error


def load(model: str | Path, dtype: str | None = None) -> Model:
    """Open a model folder, a run, or one checkpoint of a run (`run@400`).

    Weights are cast to `dtype`, by default to what this device computes best in. Raises UserError for a folder that is
    no model, a cut file, or weights that do not fit the config.
    """
    folder, weights = find(str(model))
    config = read_config(folder)
    tokenizer = Tokenizer.load(folder)
    arrays = _read_all(weights)  # lazy: only the headers
    try:
        # Where config.json does not say, the weights do: a model with an output matrix of its own is not tied.
        shape = shape_from({"tie_word_embeddings": "lm_head.weight" not in arrays} | config)
        context = config.get("max_position_embeddings") or config.get("n_positions") or config.get("n_ctx") or 2048
        context = int(context)
    except UserError as error:
        raise UserError(f"{folder}/config.json: {error}; copy or download it again") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder}/config.json: a number is no number ({error}); copy or download it again") from error
    if shape is None:
        network = _load_foreign(folder, config)
    else:
        network = Transformer(shape)
        _fill(network, arrays, weights)
    count = sum(v.size for _, v in device.flat(network.parameters()))
    want = DTYPES[dtype] if dtype else device.compute_dtype(count)
    network.apply(lambda v: v.astype(want) if mx.issubdtype(v.dtype, mx.floating) else v)
    network.eval()
    mx.eval(network.parameters())
    if shape is not None and tokenizer.vocab_size > shape.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids, the model only {shape.vocab_size}; "
            "they do not belong together"
        )
    return Model(network, tokenizer, config, context, folder)


def _read_all(folder: Path) -> dict[str, mx.array]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise UserError(
            f"{folder}: no model*.safetensors in it; the run saved nothing yet, or the download is not whole"
        )
    arrays: dict[str, mx.array] = {}
    for file in files:
        arrays.update(load_arrays(file))
    return arrays


def _fill(network: Transformer, arrays: dict[str, mx.array], folder: Path) -> None:
    """Put arrays into the network; names and shapes must match one for one."""
    if network.shape.tie_word_embeddings:
        twice = arrays.pop("lm_head.weight", None)  # some exporters write the tied matrix twice
        if twice is not None and not mx.array_equal(twice, arrays.get("model.embed_tokens.weight", mx.zeros(0))):
            raise UserError(
                f"{folder}: config.json ties lm_head.weight to the embedding, but the two differ; "
                "set tie_word_embeddings to false in it"
            )
    arrays = {k: v for k, v in arrays.items() if "rotary_emb.inv_freq" not in k}
    want = {k: tuple(v.shape) for k, v in device.flat(network.parameters())}
    for key, shape in want.items():
        if key not in arrays:
            raise UserError(f"{folder}: weights and config.json do not match: {key} is missing")
        if tuple(arrays[key].shape) != shape:
            raise UserError(
                f"{folder}: weights and config.json do not match: {key} is {tuple(arrays[key].shape)}, "
                f"config.json says {shape}"
            )
    extra = sorted(set(arrays) - set(want))
    if extra:
        raise UserError(f"{folder}: weights and config.json do not match: {extra[0]} has no place in the model")
    network.load_weights(list(arrays.items()))


def _load_foreign(folder: Path, config: dict[str, Any]) -> Any:
    """Any other architecture, through mlx_lm's model of that name (its Python comes from mlx_lm, never from the folder)."""
    from mlx_lm.utils import load_model  # 2.3 s: only here

    try:
        network, _ = load_model(folder, lazy=True)
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder}: model_type {config['model_type']} does not load through mlx_lm: {reason}"
        ) from error
    return network
