"""Model folders: a Hugging Face directory that `mlx_lm.load`, LM Studio and friends open as it is.

Only safetensors and JSON are read; nothing is ever unpickled, no code in a folder is run.
"""

import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from lab import device, gguf, gguf_tokenizer, hub, lora
from lab.errors import UserError
from lab.hub import expected_size, find_gguf
from lab.model import Shape, Transformer
from lab.runs import NAME, read_json, write_atomic
from lab.samples import pass_tokens
from lab.tokenizer import Tokenizer

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
# What a config may ask for that our class does not do; such a model runs through mlx_lm's own class.
NOT_OURS = (
    "rope_scaling", "sliding_window", "attention_bias", "mlp_bias", "rope_traditional", "quantization",
    "quantization_config",
)  # fmt: skip


@dataclass
class Model:
    """What `load` returns: the network, its tokenizer, its config.json, the longest context in tokens, the folder (or
    GGUF file) it came from and what to call it."""

    network: Any
    tokenizer: Tokenizer
    config: dict[str, Any]
    context: int
    folder: Path
    name: str = ""

    @property
    def chats(self) -> bool:
        """True for a chat model (one with a template); a base model completes text."""
        return self.tokenizer.chat_template is not None

    @property
    def pass_tokens(self) -> int:
        """Tokens that one forward and backward pass takes at most (lab/samples.py)."""
        return pass_tokens(self.tokenizer.vocab_size)


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
            raise OSError(errno.ENOSPC, f"cannot be written ({error})", str(path)) from error
        want, have = expected_size(beside), beside.stat().st_size
        if want != have:
            raise OSError(errno.ENOSPC, f"cannot be written whole ({have} of {want} bytes)", str(path))
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load_arrays(path: Path) -> dict[str, mx.array]:
    """Read one safetensors file; a missing, truncated or broken one is a UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    want, have = expected_size(path), path.stat().st_size
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
        **_ids(tokenizer, tokenizer.end),
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
    save_tokenizer(folder, tokenizer)


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """What turns text into ids, and which ids end a turn: all that a folder of adapters needs beside them."""
    eos = sorted(tokenizer.ends)
    write_json(folder / "generation_config.json", _ids(tokenizer, eos[0] if len(eos) == 1 else eos))
    tokenizer.save(folder)


def _ids(tokenizer: Tokenizer, end: int | list[int]) -> dict[str, Any]:
    """The special ids a model has, by their names in its configs."""
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": end, "pad_token_id": tokenizer.pad}
    return {name: value for name, value in ids.items() if value is not None}


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
    if rope.get("rope_type", "default") != "default" or any(isinstance(value, dict) for value in rope.values()):
        return None  # stretched, or another one for each kind of layer
    if any(part.get("partial_rotary_factor") not in (None, 1) for part in (config, rope)):
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


def load(model: str | Path, dtype: str | None = None, lazy: bool = False) -> Model:
    """Open a model: a folder, a run, one checkpoint of a run (`run@400`), a hub id (`owner/name`, `owner/name@revision`;
    downloaded once), or a GGUF file (also one on the hub, `owner/name/file.gguf`). Of a folder with adapters the base is
    opened and the adapters attached.

    Weights are cast to `dtype`, by default to what this device computes best in; those of a quantised folder stay
    packed on an accelerator and are unpacked on the CPU. Raises UserError for what is no model, a cut file, weights
    that do not fit the config, or a tokenizer that does not fit the model. `lazy` checks all that but leaves the
    weights of a folder (without adapters) unread and in the type they are stored in.
    """
    name = str(model)
    if (path := find_gguf(name)) is not None:
        return load_gguf(gguf.read(path), dtype)
    folder, weights = hub.locate(name)
    if is_adapter(folder):
        return _load_adapted(name, folder, weights, dtype)
    config = read_config(folder)
    tokenizer = Tokenizer.load(folder)
    tokenizer.name = name = name if hub.is_id(name) else folder.resolve().name
    arrays = read_all(weights)  # lazy: only the headers
    try:
        # Where config.json does not say, the weights do: a model with an output matrix of its own is not tied.
        shape = shape_from({"tie_word_embeddings": "lm_head.weight" not in arrays} | config)
        told = (config.get("text_config") or {}) | config  # a model that also sees keeps its text's numbers apart
        context = int(told.get("max_position_embeddings") or told.get("n_positions") or told.get("n_ctx") or 2048)
        rows = int(told.get("vocab_size") or 0)
    except UserError as error:
        raise UserError(f"{folder}/config.json: {error}; copy or download it again") from error
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise UserError(f"{folder}/config.json: a number is no number ({error}); copy or download it again") from error
    if shape is None:
        network = _load_foreign(folder, config, keep=lazy)
    else:
        network = _build(shape, folder)
        _fill(network, arrays, weights)
    _belong(folder, tokenizer, rows)
    if not lazy:
        _settle(network, dtype)
    return Model(network, tokenizer, config, context, folder, name)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters, in mlx-lm's form, and no model of its own."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").exists()


def base_of(folder: Path) -> str:
    """What the adapters in a folder are for, as `load` takes it: the "model" of adapter_config.json. A run of that name
    beside the folder goes first: two runs that were moved together still belong together. UserError when it is not here.
    """
    path = folder / "adapter_config.json"
    base = read_json(path).get("model")
    if not isinstance(base, str) or not base:
        raise UserError(f'{path}: names no base; mend: add "model", a folder, a run or a hub id')
    beside = folder.resolve().parent / base.partition("@")[0]
    named = str(beside.parent / base) if NAME.fullmatch(beside.name) and beside.is_dir() else base
    try:
        if hub.find_gguf(named) is None and hub.locate(named)[0].resolve() == folder.resolve():
            raise UserError("that is this very folder")
    except UserError as error:
        raise UserError(
            f'{folder}: its base {base} is not here; mend: put it back, or give its place as "model" in {path.name} ({error})'
        ) from error
    return named


def _load_adapted(name: str, folder: Path, weights: Path, dtype: str | None) -> Model:
    """The base of the adapters in `folder` with those of `weights` (the folder or a checkpoint in it) attached. The base
    may have adapters of its own; these are merged. The tokenizer is the folder's, where it has one."""
    path = folder / "adapter_config.json"
    adapter = lora.described(read_json(path), path)
    model = load(base_of(folder), dtype)
    if any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        model.tokenizer = Tokenizer.load(folder)
        told = (model.config.get("text_config") or {}) | model.config
        _belong(folder, model.tokenizer, int(told.get("vocab_size") or 0))
    lora.attach(model.network, **adapter)
    arrays = weights / "adapters.safetensors"
    lora.fill(model.network, load_arrays(arrays), arrays)
    model.network.eval()
    mx.eval(model.network.parameters())
    model.folder = folder
    model.name = model.tokenizer.name = name if hub.is_id(name) else folder.resolve().name
    return model


def load_gguf(header: gguf.Header, dtype: str | None) -> Model:
    """The model in the GGUF file with that header, its weights unpacked."""
    from lab import dequantise

    path, config = header.path, gguf.config(header)
    tokenizer = Tokenizer.from_files(gguf_tokenizer.files(header), path.stem, str(path))
    shape = shape_from(config)
    assert shape is not None
    _belong(path, tokenizer, shape.vocab_size)
    network = _build(shape, path)
    want = DTYPES[dtype] if dtype else device.compute_dtype(header.parameters)
    _fill(network, dict(dequantise.arrays(header, want)), path)
    _settle(network, dtype)
    config |= {"torch_dtype": str(want).removeprefix("mlx.core."), "bos_token_id": tokenizer.bos}
    return Model(network, tokenizer, config, shape.max_position_embeddings, path, path.stem)


def _build(shape: Shape, where: Path) -> Transformer:
    try:
        return Transformer(shape)  # lazy: nothing is allocated yet
    except (OverflowError, ValueError, TypeError) as error:
        raise UserError(f"{where}: its numbers make no model ({error}); copy or download it again") from error


def _settle(network: Any, dtype: str | None) -> None:
    """Cast to the dtype to compute in, and leave training mode."""
    count = sum(v.size for _, v in device.flat(network.parameters()))
    want = DTYPES[dtype] if dtype else device.compute_dtype(count)
    network.apply(lambda v: v.astype(want) if mx.issubdtype(v.dtype, mx.floating) else v)
    network.eval()
    mx.eval(network.parameters())


def _belong(where: Path, tokenizer: Tokenizer, rows: int) -> None:
    """UserError where the tokenizer is not the model's: more ids than rows, or so few that no padding explains it
    (models pad their tables to a round number, by a fiftieth at most among those in use)."""
    if rows and not 0.85 * rows <= tokenizer.vocab_size <= rows:
        few = "only " if rows < tokenizer.vocab_size else ""
        raise UserError(
            f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the model {few}{rows}; "
            "they do not belong together, copy the model's own tokenizer files beside it"
        )


def read_all(folder: Path) -> dict[str, mx.array]:
    """Every array of a model folder, by name, unread yet."""
    files = hub.weight_files(folder)
    if not files:
        raise UserError(
            f"{folder}: no model*.safetensors in it; the run saved nothing yet, or the download is not whole"
        )
    arrays: dict[str, mx.array] = {}
    for file in files:
        more = load_arrays(file)
        if twice := sorted(arrays.keys() & more):
            raise UserError(f"{file}: holds {twice[0]}, as another file of the model does; copy or download it again")
        arrays |= more
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


def _load_foreign(folder: Path, config: dict[str, Any], keep: bool) -> Any:
    """Any other architecture, through mlx_lm's model of that name (its Python comes from mlx_lm, never from the folder).

    On the CPU packed weights are unpacked, unless `keep`: products with half-precision scales do not finish there, and
    with float32 ones a prompt takes 28 times as long as unpacked (SmolLM2-135M: 6 tokens a second against 164).
    """
    from mlx_lm.utils import dequantize_model, load_model  # 2.3 s: only here

    if stale := sorted({*folder.glob("model*.safetensors")} - {*hub.weight_files(folder)}):  # mlx_lm reads them all
        raise UserError(f"{stale[0]}: is beside the model's weights and none of them; move it elsewhere")
    try:
        network, config = load_model(folder, lazy=True)
        if config.get("quantization") and device.on_cpu() and not keep:
            network = dequantize_model(network)
    except (Exception, SystemExit) as error:  # a hundred architectures, each with checks (or none) of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder}: model_type {config['model_type']} does not load through mlx_lm: {reason or type(error).__name__}"
        ) from error
    return network
