"""GGUF files: what their header says of model, tokenizer and tensors. No MLX.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; sizes of the block types: ggml-common.h there.
"""

import math
import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError

MAGIC = b"GGUF"
# number -> (name, weights in a block, bytes of a block)
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
}  # fmt: skip
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
SIMPLE = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0")  # the lab unpacks these; the rest takes the `gguf` package
STRING, ARRAY = 8, 9
NONSENSE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)  # what a broken header's values raise
FEW = 64  # longer arrays are skipped where only a glance is asked for

# Our names of llama.cpp's tensors.
PLACES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INSIDE = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: its shape (rows first), type name, first byte in the file and number of bytes."""

    shape: tuple[int, ...]
    kind: str
    begin: int
    size: int


@dataclass(frozen=True)
class Header:
    """Metadata by key, tensors by llama.cpp's names, and where the data begin."""

    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def architecture(self) -> str:
        return str(self.meta.get("general.architecture", "?"))

    def get(self, key: str, default: Any = None) -> Any:
        """A value of this architecture, as in get("embedding_length")."""
        return self.meta.get(f"{self.architecture}.{key}", default)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(math.prod(t.shape) for t in self.tensors.values())

    @property
    def kind(self) -> str:
        """The type most weights are stored in."""
        sizes: dict[str, int] = {}
        for t in self.tensors.values():
            sizes[t.kind] = sizes.get(t.kind, 0) + math.prod(t.shape)
        return max(sizes, key=lambda kind: sizes[kind], default="?")


def is_gguf(path: Path) -> bool:
    """Whether a file begins as a GGUF does, whatever its name (Ollama's have none)."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


class _Reader:
    """Values one after another out of the mapped file."""

    def __init__(self, data: "mmap.mmap", glance: bool):
        self.data, self.at, self.glance = data, 0, glance

    def number(self, form: str) -> Any:
        size = struct.calcsize(form)
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return value

    def text(self) -> str:
        length = self.number("Q")
        if self.at + length > len(self.data):
            raise struct.error("a text goes beyond the end")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner in NUMBERS:
            form = f"<{count}{NUMBERS[inner]}"
            begin = self.at
            self.at += struct.calcsize(form)
            if self.glance and count > FEW:
                return None
            return list(struct.unpack_from(form, self.data, begin))
        if self.glance and count > FEW and inner == STRING:
            for _ in range(count):
                length = self.number("Q")
                self.at += length
            return None
        return [self.value(inner) for _ in range(count)]


@contextmanager
def mapped(path: Path) -> Iterator["mmap.mmap"]:
    """The file's bytes, read as they are touched. UserError when it cannot be opened."""
    try:
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError:
        raise UserError(f"{path}: an empty file; copy or download it again") from None
    with data:
        yield data


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """UserError where a value of the header is of a type, or a size, that nothing can be made of."""
    try:
        yield
    except NONSENSE as error:
        raise UserError(f"{path}: a value in its header makes no sense ({error}); copy or download it again") from error


def read(path: Path, glance: bool = False) -> Header:
    """The header of a GGUF file; `glance` leaves the vocabulary out. UserError for a broken or a cut file."""
    broken = "copy or download it again"
    with mapped(path) as data:
        reader = _Reader(data, glance)
        try:
            if data[:4] != MAGIC:
                raise UserError(f"{path}: not a GGUF file; {broken}")
            reader.at = 4
            version = reader.number("I")
            if version not in (2, 3):
                raise UserError(f"{path}: GGUF version {version}, the lab reads 2 and 3; take a newer file")
            count, keys = reader.number("Q"), reader.number("Q")
            meta: dict[str, Any] = {}
            for _ in range(keys):
                key = reader.text()
                meta[key] = reader.value(reader.number("I"))
            found = []
            for _ in range(count):
                name = reader.text()
                dims = [reader.number("Q") for _ in range(reader.number("I"))]
                found.append((name, dims, reader.number("I"), reader.number("Q")))
            grain = int(meta.get("general.alignment", 32))
            base, size = -(-reader.at // grain) * grain, len(data)
        except (struct.error, MemoryError, RecursionError, *NONSENSE) as error:
            raise UserError(f"{path}: its header is broken or cut ({type(error).__name__}); {broken}") from None
    tensors = {name: _place(path, name, dims, number, base + offset) for name, dims, number, offset in found}
    want = max((t.begin + t.size for t in tensors.values()), default=base)
    if size < want:
        raise UserError(f"{path}: {size} bytes, its header asks for {want}; the file is cut, {broken}")
    return Header(path, meta, tensors)


def _place(path: Path, name: str, dims: list[int], number: int, begin: int) -> Tensor:
    if number not in TYPES:
        raise UserError(f"{path}: {name} is of type {number}, which the lab does not know; take another quantisation")
    kind, weights, size = TYPES[number]
    if not dims or dims[0] % weights:
        raise UserError(f"{path}: {name} has {dims} weights, no whole blocks of {kind}; copy or download it again")
    return Tensor(tuple(reversed(dims)), kind, begin, math.prod(dims) // weights * size)


def our_name(name: str) -> str | None:
    """blk.3.attn_q.weight -> model.layers.3.self_attn.q_proj.weight; None for a tensor our model has no place for."""
    if found := re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight)", name):
        place = INSIDE.get(found[2])
        return f"model.layers.{found[1]}.{place}.weight" if place else None
    place = PLACES.get(name.removesuffix(".weight"))
    return f"{place}.weight" if place and name.endswith(".weight") else None


def config(header: Header) -> dict[str, Any]:
    """config.json of the model in the words of transformers. UserError for a model that our class cannot run."""
    with sound(header.path):
        return _config(header)


def _config(header: Header) -> dict[str, Any]:
    kind, path = header.architecture, header.path
    other = "take its safetensors folder from the hub, which runs through mlx_lm"
    if kind not in ("llama", "qwen3"):
        raise UserError(f"{path}: architecture {kind}; from GGUF the lab runs llama and qwen3 only; {other}")
    if header.meta.get("split.count", 1) > 1:
        raise UserError(f"{path}: one of {header.meta['split.count']} parts; join them with llama-gguf-split --merge")
    odd = [name for name in header.tensors if our_name(name) is None]
    unlike = {
        "experts": header.get("expert_count"),
        "a sliding window": header.get("attention.sliding_window"),
        "stretched positions": "rope_freqs.weight" in odd or header.get("rope.scaling.type", "none") != "none",
        "layers of unequal size": any(isinstance(header.get(f"attention.head_count{k}"), list) for k in ("", "_kv")),
    }
    if found := next((name for name, there in unlike.items() if there), odd[0] if odd else None):
        raise UserError(f"{path}: it has {found}, which the lab's own model does not; {other}")
    try:
        heads, width = int(header.get("attention.head_count")), int(header.get("embedding_length"))
        size = int(header.get("attention.key_length", width // heads))
        vocabulary = header.tensors["token_embd.weight"].shape[0]
        eps, base = header.get("attention.layer_norm_rms_epsilon"), header.get("rope.freq_base", 10_000.0)
        numbers = {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": int(header.get("block_count")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(header.get("attention.head_count_kv", heads)),
            "head_dim": size,
            "intermediate_size": int(header.get("feed_forward_length")),
            "max_position_embeddings": int(header.get("context_length")),
            "rms_norm_eps": float(f"{eps:.7g}"),  # 1e-5 in the file's float32 is 9.9999997e-06
            "rope_theta": float(f"{base:.7g}"),
        }
    except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:
        raise UserError(f"{path}: a number of the model is missing in its header; copy or download it again") from error
    if wrong := next((f"{name} {value}" for name, value in numbers.items() if not value > 0), None):
        raise UserError(f"{path}: its header says {wrong}, which must be above zero; copy or download it again")
    groups = numbers["num_key_value_heads"]
    for name, rows in (("q", heads), ("k", groups), ("v", groups)):
        if any(
            tensor.shape != (rows * size, width)
            for place, tensor in header.tensors.items()
            if place.endswith(f".attn_{name}.weight")
        ):
            raise UserError(f"{path}: its header does not fit its weights (attn_{name}); copy or download it again")
    if header.get("rope.dimension_count", size) != size:
        raise UserError(f"{path}: it turns a part of each head only, which the lab's own model does not; {other}")
    return {
        "architectures": ["Qwen3ForCausalLM" if kind == "qwen3" else "LlamaForCausalLM"],
        "model_type": kind,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": "output.weight" not in header.tensors,
        **numbers,
    }
