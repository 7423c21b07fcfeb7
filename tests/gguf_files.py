"""Small GGUF files, written by MLX (plain types) or by llama.cpp's own package (block types)."""

import io
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lab import device
from lab.model import Shape, Transformer
from tests.conftest import stories

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def byte_level(size: int = 400) -> Any:
    """A byte-level BPE tokenizer of the tokenizers library, cut as SmolLM's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    fast = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    fast.pre_tokenizer = pre_tokenizers.Sequence(parts)
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    fast.train_from_iterator(stories(300), trainer)
    return fast


def byte_level_meta(fast: Any, pre: str = "smollm") -> dict[str, Any]:
    """What a GGUF says of that tokenizer."""
    spec = json.loads(fast.to_str())
    tokens = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in SPECIALS else 1 for t in tokens], "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False, "tokenizer.chat_template": CHATML,
    }  # fmt: skip


def sentencepiece_model(size: int = 400) -> Any:
    """A real sentencepiece BPE model with byte fallback and a space in front, as Llama 2's."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(stories(300)), model_writer=out, vocab_size=size, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    processor = SentencePieceProcessor()
    processor.LoadFromSerializedProto(out.getvalue())
    return processor


def sentencepiece_meta(sp: Any) -> dict[str, Any]:
    ids = range(sp.vocab_size())
    types = [2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 1 for i in ids]
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": [sp.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": [float(sp.get_score(i)) for i in ids], "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": sp.bos_id(), "tokenizer.ggml.eos_token_id": sp.eos_id(),
        "tokenizer.ggml.unknown_token_id": sp.unk_id(), "tokenizer.ggml.add_bos_token": True,
    }  # fmt: skip


def network_of(vocabulary: int, kind: str, tie: bool = True, width: int = 64, layers: int = 2) -> Transformer:
    """A random model: grouped queries, and for qwen3 heads wider than their share."""
    shape = Shape(
        vocabulary, width, layers, 4, 2, width // 4 if kind == "llama" else width // 2, 3 * width // 2, 128,
        rms_norm_eps=1e-5, rope_theta=50_000.0, tie_word_embeddings=tie, qk_norm=kind == "qwen3",
    )  # fmt: skip
    network = Transformer(shape)
    network.initialise(0)
    key, noisy = mx.random.key(4), []
    for name, value in device.flat(network.parameters()):
        key, draw = mx.random.split(key)
        noisy.append((name, value + 0.1 * mx.random.normal(value.shape, key=draw)))
    network.load_weights(noisy)
    return network


def meta_of(shape: Shape, kind: str) -> dict[str, Any]:
    return {
        "general.architecture": kind, "general.name": "tiny", f"{kind}.block_count": shape.num_hidden_layers,
        f"{kind}.embedding_length": shape.hidden_size, f"{kind}.feed_forward_length": shape.intermediate_size,
        f"{kind}.attention.head_count": shape.num_attention_heads,
        f"{kind}.attention.head_count_kv": shape.num_key_value_heads, f"{kind}.attention.key_length": shape.head_dim,
        f"{kind}.context_length": shape.max_position_embeddings, f"{kind}.rope.freq_base": shape.rope_theta,
        f"{kind}.attention.layer_norm_rms_epsilon": shape.rms_norm_eps,
    }  # fmt: skip


def theirs(network: Transformer, kind: str) -> dict[str, mx.array]:
    """The weights under llama.cpp's names; of a llama the rows of q and k are woven, as its converter does."""
    shape, found = network.shape, {}
    for name, value in device.flat(network.parameters()):
        parts = name.removesuffix(".weight").split(".")
        if parts[1:2] == ["layers"]:
            inside = NAMES[".".join(parts[3:])]
            if kind == "llama" and inside in ("attn_q", "attn_k"):
                heads = shape.num_attention_heads if inside == "attn_q" else shape.num_key_value_heads
                value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            found[f"blk.{parts[2]}.{inside}.weight"] = value
        else:
            found[{"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[parts[-1]] + ".weight"] = (
                value
            )
    return found


def write_plain(path: Path, arrays: dict[str, mx.array], meta: dict[str, Any]) -> Path:
    """Through MLX: float32 and float16."""

    def told(value: Any) -> Any:
        if isinstance(value, bool):
            return mx.array(value)
        if isinstance(value, int):
            return mx.array(value, mx.uint32 if value >= 0 else mx.int32)
        if isinstance(value, float):
            return mx.array(value, mx.float32)
        if isinstance(value, list) and not isinstance(value[0], str):
            return mx.array(value)
        return value

    mx.save_gguf(str(path), arrays, {k: told(v) for k, v in meta.items()})
    return path


def tiny_chat(folder: Path) -> Path:
    """A small llama with a chat template, in float16."""
    fast = byte_level()
    network = network_of(fast.get_vocab_size(), "llama")
    arrays = {k: v.astype(mx.float16) if v.ndim > 1 else v for k, v in theirs(network, "llama").items()}
    return write_plain(folder / "tiny-chat.F16.gguf", arrays, meta_of(network.shape, "llama") | byte_level_meta(fast))


def write_blocks(path: Path, arrays: dict[str, mx.array], meta: dict[str, Any], kind: str) -> dict[str, np.ndarray]:
    """Through llama.cpp's package: matrices in a block type, the rest float32. Returns what the file stands for."""
    package = pytest.importorskip("gguf")
    number = package.GGMLQuantizationType[kind]
    writer = package.GGUFWriter(path, meta["general.architecture"])
    for key, value in meta.items():
        if key == "general.architecture":
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    means = {}
    for name, array in arrays.items():
        plain = np.array(array.astype(mx.float32))
        if plain.ndim < 2:
            writer.add_tensor(name, plain)
            means[name] = plain
            continue
        try:
            raw = package.quants.quantize(plain, number)
        except NotImplementedError:  # the package can read K quants and not write them: blocks with sane scales
            raw = _blocks(package, plain, number)
        writer.add_tensor(name, raw, raw_dtype=number)
        means[name] = package.quants.dequantize(raw, number).reshape(plain.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return means


def _blocks(package: Any, plain: np.ndarray, number: Any) -> np.ndarray:
    weights, size = package.GGML_QUANT_SIZES[number]
    rows, width = plain.shape
    assert width % weights == 0
    raw = np.random.default_rng(rows).integers(0, 256, (rows, width // weights, size), dtype=np.uint8)
    small = np.frombuffer(np.array([0.0007, 0.0005], np.float16).tobytes(), np.uint8)
    if number.name in ("Q4_K", "Q5_K"):  # d and dmin come first
        raw[..., :4] = small
    else:  # Q6_K, Q3_K: d comes last
        raw[..., -2:] = small[:2]
    return raw.reshape(rows, -1)
