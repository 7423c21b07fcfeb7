"""One transformer in Llama / Qwen3 shape. Parameter names and numerics are those of `mlx_lm.models.llama` and `.qwen3`,
so a saved folder opens in mlx-lm, LM Studio and friends as it is.

RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467), rotary positions (Su et al. 2021, arXiv:2104.09864), SwiGLU (Shazeer
2020, arXiv:2002.05202), grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245), QK-norm (Henry et al. 2020,
arXiv:2010.04245).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn

from lab import cpu, device, lookback
from lab.errors import UserError


class Cache(Protocol):
    """mlx-lm's cache protocol: keys and values [B, kv_heads, T, head_dim] of all tokens so far."""

    offset: int

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]: ...
    def trim(self, n: int) -> int: ...


@dataclass(frozen=True)
class Shape:
    """The numbers that make a model; field names are those of a Hugging Face config.json."""

    vocab_size: int
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 32
    intermediate_size: int = 384
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = True
    qk_norm: bool = True

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if not isinstance(value, bool) and value <= 0:
                raise UserError(f"model shape: {key} is {value}, it must be above zero")
        if self.num_attention_heads % self.num_key_value_heads:
            raise UserError(
                f"model shape: {self.num_attention_heads} heads do not divide into {self.num_key_value_heads} "
                "key/value heads; make the first a multiple of the second"
            )
        if self.head_dim % 2:
            raise UserError(f"model shape: head_dim {self.head_dim} is odd; rotary positions turn pairs, make it even")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        d, h = self.hidden_size, self.head_dim
        attention = 2 * d * h * (self.num_attention_heads + self.num_key_value_heads) + (2 * h if self.qk_norm else 0)
        block = attention + 3 * d * self.intermediate_size + 2 * d
        return self.num_hidden_layers * block + d + self.vocab_size * d * (1 if self.tie_word_embeddings else 2)

    def flops(self, length: int) -> float:
        """FLOPs to train on one token in a window of `length`: 6 a matmul weight (2 forward, 4 backward) and
        12 * layers * width * length for attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). The embedding
        look-up is free, the output matrix is not."""
        norms = self.num_hidden_layers * (2 * self.hidden_size + (2 * self.head_dim if self.qk_norm else 0))
        matmul = self.parameters - norms - self.hidden_size
        if not self.tie_word_embeddings:
            matmul -= self.vocab_size * self.hidden_size
        attention = 12 * self.num_hidden_layers * self.num_attention_heads * self.head_dim * length
        return 6.0 * matmul + attention

    def memory(self, batch: int, length: int, state: float = 2.0) -> int:
        """Rough bytes at the peak of an fp32 training step: weights, gradients and `state` copies of optimiser state,
        the activations kept for the backward pass, and copies of the logits: three with our kernels, five (20.3 bytes of
        each were measured) with MLX's. `batch` x `length` tokens."""
        tokens, d = batch * length, self.hidden_size
        scores = self.num_attention_heads * length
        copies = 3 if device.on_cpu() else 5
        activations = self.num_hidden_layers * (12 * d + 5 * self.intermediate_size + 2 * scores)
        return int(4 * (self.parameters * (2 + state) + tokens * (activations + copies * self.vocab_size)))


# One dial: a name gives every number. Widths and ffn sizes are multiples of 64, as 4-bit quantising wants them.
SIZES: dict[str, Shape] = {
    "pocket": Shape(vocab_size=2560),
    "5m": Shape(4096, 256, 5, 4, 4, 64, 704, 1024),
    "20m": Shape(4096, 512, 6, 8, 8, 64, 1408, 1024),
    "60m": Shape(8192, 768, 8, 12, 12, 64, 2048, 2048),
    "125m": Shape(16384, 768, 16, 12, 12, 64, 2048, 2048),
}


def shape_of(size: str, **overrides: Any) -> Shape:
    """The shape called `size`, with every override that is not None put in place of its number."""
    if size not in SIZES:
        raise UserError(f"--size {size}: no such size; choose one of {', '.join(SIZES)}")
    given = {k: v for k, v in overrides.items() if v is not None}
    return replace(SIZES[size], **given)


def silu(x: mx.array) -> mx.array:
    """x * sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118)."""
    return cpu.silu(x) if cpu.serves(x) else nn.silu(x)


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        d, h = shape.hidden_size, shape.head_dim
        self.n_heads, self.n_kv_heads, self.scale = shape.num_attention_heads, shape.num_key_value_heads, h**-0.5
        self.q_proj = nn.Linear(d, self.n_heads * h, bias=False)
        self.k_proj = nn.Linear(d, self.n_kv_heads * h, bias=False)
        self.v_proj = nn.Linear(d, self.n_kv_heads * h, bias=False)
        self.o_proj = nn.Linear(self.n_heads * h, d, bias=False)
        if shape.qk_norm:
            self.q_norm = nn.RMSNorm(h, eps=shape.rms_norm_eps)
            self.k_norm = nn.RMSNorm(h, eps=shape.rms_norm_eps)
        self.rope = nn.RoPE(h, traditional=False, base=shape.rope_theta)

    def __call__(self, x: mx.array, mask: mx.array | str | None, cache: Cache | None) -> mx.array:
        B, T, _ = x.shape
        q = self.q_proj(x).reshape(B, T, self.n_heads, -1)
        k = self.k_proj(x).reshape(B, T, self.n_kv_heads, -1)
        v = self.v_proj(x).reshape(B, T, self.n_kv_heads, -1).transpose(0, 2, 1, 3)
        if "q_norm" in self:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(0, 2, 1, 3), k.transpose(0, 2, 1, 3)
        offset = cache.offset if cache is not None else 0
        if T == 1:  # one call for both: on the CPU it is a dozen small operations, a tenth of the time of a token
            q, k = mx.split(self.rope(mx.concatenate([q, k], 1), offset=offset), [self.n_heads], 1)
        else:
            q, k = self.rope(q, offset=offset), self.rope(k, offset=offset)
        if cache is not None:
            k, v = cache.update_and_fetch(k, v)
        if mask == "causal" and k.shape[2] == T and cpu.serves(q):  # nothing cached before
            y = cpu.causal_attention(q, k, v, self.scale)
        else:
            y = mx.fast.scaled_dot_product_attention(q, k, v, scale=self.scale, mask=mask)
        return self.o_proj(y.transpose(0, 2, 1, 3).reshape(B, T, -1))


class MLP(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        d, f = shape.hidden_size, shape.intermediate_size
        self.gate_proj = nn.Linear(d, f, bias=False)
        self.up_proj = nn.Linear(d, f, bias=False)
        self.down_proj = nn.Linear(f, d, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)

    def __call__(self, x: mx.array, mask: mx.array | str | None, cache: Cache | None) -> mx.array:
        x = x + self.self_attn(self.input_layernorm(x), mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Everything below the output matrix: ids [B, T] -> hidden states [B, T, D]."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = [Block(shape) for _ in range(shape.num_hidden_layers)]
        self.norm = nn.RMSNorm(shape.hidden_size, eps=shape.rms_norm_eps)

    def __call__(self, ids: mx.array, cache: Sequence[Cache] | None = None) -> mx.array:
        x = self.embed_tokens(ids)
        T = ids.shape[1]
        mask: mx.array | str | None = None
        if cache and hasattr(cache[0], "make_mask"):  # mlx-lm's caches know their own mask (padding, windows)
            mask = cache[0].make_mask(T, return_array=False, window_size=None)
        elif T > 1:
            mask = "causal"
        for i, layer in enumerate(self.layers):
            x = layer(x, mask, cache[i] if cache else None)
        return self.norm(x)


class Transformer(nn.Module):
    """ids int32 [B, T] -> logits [B, T, vocab]. With a cache (one entry a layer) the ids continue what it holds.

    MLX does not check that an id is inside the vocabulary: validate ids where they enter (tokenizer, data).
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        if not shape.tie_word_embeddings:
            self.lm_head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)

    def __call__(self, ids: mx.array, cache: Sequence[Cache] | None = None) -> mx.array:
        return self.head(self.model(ids, cache))

    def head(self, x: mx.array) -> mx.array:
        """Hidden states [..., D] -> logits [..., vocab]."""
        return self.lm_head(x) if "lm_head" in self else self.model.embed_tokens.as_linear(x)

    @property
    def layers(self) -> list[Block]:
        """mlx-lm's tools (caches, LoRA, quantising) look for the blocks here."""
        return self.model.layers

    def initialise(self, seed: int) -> None:
        """Fresh weights: matrices 1/sqrt(inputs), every projection back into the residual stream zero (as in nanochat's
        gpt.py), embeddings std 0.3. The output matrix is zero, or where it is the embedding, the last norm is small: the
        first logits are near zero and the first loss is ln(vocab). Embeddings begun near zero are soon all alike, because
        tokens of one role get one gradient, and then nothing in the prompt can be told apart and copied: from eight
        examples the pocket model takes an unseen rule in .47 of cases begun at 0.3, in .17 begun at 0.1 (one run each).
        Two heads begin as an induction head (lab/lookback.py)."""
        device.seed(seed)
        new = []
        for key, value in device.flat(self.parameters()):
            if value.ndim < 2:
                small = key == "model.norm.weight" and self.shape.tie_word_embeddings
                new.append((key, mx.full(value.shape, 0.02 if small else 1.0)))
            elif key.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                new.append((key, mx.zeros_like(value)))
            else:
                std = 0.3 if "embed" in key else value.shape[1] ** -0.5
                new.append((key, mx.random.normal(value.shape, scale=std)))
        self.load_weights(new)
        lookback.begin(self, seed)
        mx.eval(self.parameters())


class KVCache:
    """Keys and values of one layer for a lock-step batch; grows in steps, so appending a token copies nothing.

    The part of mlx-lm's KVCache that the lab needs, without its 2.3 s import.
    """

    step = 256

    def __init__(self) -> None:
        self.keys: mx.array | None = None
        self.values: mx.array | None = None
        self.offset = 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append [B, H, T, D] and return everything held so far."""
        B, H, T, D = keys.shape
        end = self.offset + T
        if self.keys is None or self.values is None or end > self.keys.shape[2]:
            room = -(-T // self.step) * self.step
            k = mx.zeros((B, H, room, D), keys.dtype)
            v = mx.zeros((B, H, room, values.shape[3]), values.dtype)
            if self.keys is not None and self.values is not None:
                k = mx.concatenate([self.keys[:, :, : self.offset], k], 2)
                v = mx.concatenate([self.values[:, :, : self.offset], v], 2)
            self.keys, self.values = k, v
        self.keys[:, :, self.offset : end] = keys
        self.values[:, :, self.offset : end] = values
        self.offset = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    @property
    def state(self) -> tuple[mx.array | None, mx.array | None]:
        """The arrays to evaluate after a prefill."""
        return self.keys, self.values

    def trim(self, n: int) -> int:
        """Forget the last `n` tokens (at most all of them); returns how many."""
        n = min(n, self.offset)
        self.offset -= n
        return n

    def is_trimmable(self) -> bool:
        return True


def new_cache(model: Any) -> list[Any]:
    """An empty cache for `model`: ours for a Transformer, mlx-lm's choice for any other architecture."""
    if isinstance(model, Transformer):
        return [KVCache() for _ in model.layers]
    from mlx_lm.models.cache import make_prompt_cache  # 2.3 s: only for models that mlx-lm defines

    return list(make_prompt_cache(model))
