"""A model from anywhere as a folder of ours, and as a smaller, quantised one."""

import contextlib
import glob
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from lab import dequantise, device, gguf, hub, lora, weights
from lab.errors import UserError
from lab.model import Transformer
from lab.runs import read_json

# What a model folder holds besides its weights.
KEPT = (
    "config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "LICENSE",
)  # fmt: skip


@contextlib.contextmanager
def aside(target: Path, replace: bool = False) -> Iterator[Path]:
    """A fresh folder beside `target`, renamed to it when the block ends well and removed when it does not. UserError
    where `target` exists, before or after the block, unless it is to be replaced."""
    path, older = (target.with_name(f".{target.name}.{os.getpid()}.{what}") for what in ("tmp", "older"))
    new = [folder for folder in target.parents if not folder.exists()]
    _free(target, replace)
    _sweep(target)
    try:
        with _writable(target):
            path.mkdir(parents=True)
        yield path
        _free(target, replace)
        with _writable(target):
            try:
                if target.exists():
                    os.rename(target, older)
                os.rename(path, target)
            except BaseException:
                if older.exists() and not target.exists():
                    os.rename(older, target)
                raise
        shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):  # not empty: all went well
                folder.rmdir()


def _free(target: Path, replace: bool) -> None:
    if target.exists() and not replace:
        raise UserError(f"{target} is there already; remove it, or name another")


@contextlib.contextmanager
def _writable(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); free some space or name another") from error


def _sweep(target: Path) -> None:
    """Remove what a killed process left half made under this name."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        with contextlib.suppress(ValueError, PermissionError):  # another's file; another user's process
            try:
                os.kill(int(left.name.split(".")[-2]), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)


def write(model: str, folder: Path, dtype: str | None = None) -> None:
    """Write the model (anything that `lab.weights.load` takes) into `folder` as config, tokenizer and one safetensors
    file, adapters merged. `dtype` casts the weights; without it they stay as they are, and block types of a GGUF become
    bfloat16."""
    path = hub.find_gguf(model)
    if path is not None:
        header = gguf.read(path)
        plain = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
        into = dtype or plain.get(header.kind, "bfloat16")
        loaded = weights.load_gguf(header, into)
        weights.save(folder, loaded.network, loaded.tokenizer, weights.DTYPES[into])
        return
    source, inside = hub.locate(model)
    if weights.is_adapter(source):
        _write_merged(model, source, folder, dtype)
        return
    weights.load(model, lazy=True)  # all checks, nothing read
    arrays = weights.read_all(inside)
    config = weights.read_config(source)
    if dtype:
        want = weights.DTYPES[dtype]
        for name in [k for k, v in arrays.items() if mx.issubdtype(v.dtype, mx.floating)]:
            arrays[name] = dequantise.cast(arrays[name], want, f"{model}: {name}")
        config |= {"torch_dtype": dtype} | ({"dtype": dtype} if "dtype" in config else {})
    for name in KEPT:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    weights.write_json(folder / "config.json", config)
    weights.save_arrays(folder / "model.safetensors", arrays)


def _write_merged(model: str, source: Path, folder: Path, dtype: str | None) -> None:
    """The base of the adapters in `source` with these added in, in float32, before anything is rounded."""
    loaded = weights.load(model, "float32")
    network, config = loaded.network, dict(loaded.config)
    lora.merge(network)
    if any(lora.packed(m) for _, m in network.named_modules()):  # what had no adapter, on an accelerator
        from mlx_lm.utils import dequantize_model

        network = dequantize_model(network)
    into = dtype or str(config.get("torch_dtype") or config.get("dtype"))
    want = weights.DTYPES.get(into, mx.float32)
    if isinstance(network, Transformer):
        weights.save_config(folder, network, loaded.tokenizer, want)
    else:
        config = {k: v for k, v in config.items() if k not in ("quantization", "quantization_config", "dtype")}
        config["torch_dtype"] = str(want).removeprefix("mlx.core.")
        weights.save_tokenizer(folder, loaded.tokenizer)
        weights.write_json(folder / "config.json", config)
    arrays = dict(device.flat(network.parameters()))
    for name in [k for k, v in arrays.items() if mx.issubdtype(v.dtype, mx.floating)]:
        arrays[name] = dequantise.cast(arrays[name], want, f"{model}: {name}")
    weights.save_arrays(folder / "model.safetensors", arrays)


def quantise(folder: Path, target: Path, bits: int, group_size: int) -> None:
    """A model folder's matrices in `bits` a weight, a scale and a bias for each `group_size` of a row, by mlx_lm;
    written into the folder `target`, as `mlx_lm.load` opens it."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model  # 2.3 s: only here

    config = read_json(folder / "config.json")
    if config.get("quantization") or config.get("quantization_config"):
        raise UserError(f"{folder}: is quantised already; take the model it was made from")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            network, config = load_model(folder, lazy=True)
            network, config = quantize_model(network, config, group_size, bits)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: mlx_lm cannot quantise it: {' '.join(str(error).split())[:200]}") from error
    if not any(name.endswith(".scales") for name, _ in device.flat(network.parameters())):
        raise UserError(f"no row of its matrices divides into groups of {group_size}; take a smaller --group-size")
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    save_model(target, network, donate_model=True)
    save_config(config, config_path=target / "config.json")


def surprise(model: weights.Model, text: str) -> tuple[mx.array, float]:
    """(log-probabilities [T, V] of what follows each token of the text, mean nats a token the model gives the text)."""
    ids = mx.array([[*model.tokenizer.begin, *model.tokenizer.encode(text)][: model.context]])
    logits = model.network(ids)[0].astype(mx.float32)
    logp = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    nats = -mx.take_along_axis(logp[:-1], ids[0, 1:, None], axis=-1).mean()
    mx.eval(logp, nats)
    return logp, device.number(nats)


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
