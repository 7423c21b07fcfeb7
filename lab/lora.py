"""LoRA: a frozen matrix W and, learned beside it, the product of two thin ones: y = x W' + scale (x a) b (Hu et al. 2021,
arXiv:2106.09685).

Names, shapes, beginnings and sums are those of `mlx_lm.tuner.lora` (importing which takes 2.3 s), so that the adapters of
either open in the other. Works on our Transformer and on mlx_lm's classes: on every nn.Linear of their layers, and on
embeddings; packed ones, of a quantised model, stay packed beside their adapters (QLoRA: Dettmers et al. 2023,
arXiv:2305.14314). a and b are float32 whatever the model is in; with b zero an attached model computes what it did before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from lab.errors import UserError

RANK, SCALE, LAYERS = 8, 20.0, 16  # mlx-lm's own defaults


Linear = nn.Linear | nn.QuantizedLinear
Embedding = nn.Embedding | nn.QuantizedEmbedding


def packed(module: nn.Module) -> int:
    """Weights that a quantised module holds packed; 0 of any other. `bits` each, in words of 32."""
    if not isinstance(module, nn.QuantizedLinear | nn.QuantizedEmbedding):
        return 0
    return int(module.weight.size * 32 // module.bits)


def _sides(module: Linear | Embedding) -> tuple[int, int]:
    """Rows and columns of its matrix, unpacked."""
    rows, columns = module.weight.shape
    return rows, columns * 32 // module.bits if packed(module) else columns


class LoRALinear(nn.Module):
    """A frozen `linear` and lora_a [inputs, rank], lora_b [rank, outputs]: x [..., inputs] -> [..., outputs]."""

    def __init__(self, linear: Linear, rank: int, scale: float, key: mx.array):
        super().__init__()
        outputs, inputs = _sides(linear)
        self.linear, self.scale = linear, scale
        self.lora_a, self.lora_b = _begin(inputs, rank, outputs, key)

    def __call__(self, x: mx.array) -> mx.array:
        z = (x @ self.lora_a) @ self.lora_b
        return self.linear(x) + (self.scale * z).astype(x.dtype)

    def merged(self) -> nn.Linear:
        """The linear layer that computes the same; a packed one comes out unpacked, since packing it again would round the
        sum away."""
        plain: Any = self.linear
        if packed(self.linear):
            outputs, inputs = _sides(self.linear)
            plain = nn.Linear(inputs, outputs, bias=False)
            plain.weight = _unpacked(self.linear)
            if "bias" in self.linear:
                plain.bias = self.linear.bias
        plain.weight = _added(plain.weight, (self.scale * self.lora_b.T) @ self.lora_a.T)
        return cast(nn.Linear, plain)


class LoRAEmbedding(nn.Module):
    """A frozen `embedding` and lora_a [ids, rank], lora_b [rank, width]: what new tokens need to become sayable."""

    def __init__(self, embedding: Embedding, rank: int, scale: float, key: mx.array):
        super().__init__()
        rows, width = _sides(embedding)
        self.embedding, self.scale = embedding, scale
        self.lora_a, self.lora_b = _begin(rows, rank, width, key)

    def __call__(self, ids: mx.array) -> mx.array:
        y = self.embedding(ids)
        return y + (self.scale * (self.lora_a[ids] @ self.lora_b)).astype(y.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """As the output matrix: x [..., width] -> logits [..., ids]."""
        z = (x @ self.lora_b.T) @ self.lora_a.T
        return self.embedding.as_linear(x) + (self.scale * z).astype(x.dtype)

    def merged(self) -> nn.Embedding:
        """The embedding that computes the same, unpacked."""
        plain: Any = self.embedding
        if packed(self.embedding):
            plain = nn.Embedding(*_sides(self.embedding))
            plain.weight = _unpacked(self.embedding)
        plain.weight = _added(plain.weight, (self.scale * self.lora_a) @ self.lora_b)
        return cast(nn.Embedding, plain)


Adapter = LoRALinear | LoRAEmbedding


def _begin(inputs: int, rank: int, outputs: int, key: mx.array) -> tuple[mx.array, mx.array]:
    side = inputs**-0.5
    return mx.random.uniform(-side, side, (inputs, rank), key=key), mx.zeros((rank, outputs))


def _unpacked(module: Any) -> mx.array:
    """The matrix of a quantised module: in the dtype of its scales or, where these are of 8 bits (mxfp4 and its like, which
    unpack to bf16), in fp32, since in bf16 small adapters would be rounded away."""
    found = mx.dequantize(
        module.weight, module.scales, module.get("biases"), group_size=module.group_size, bits=module.bits, mode=module.mode
    )  # fmt: skip
    return found if module.mode == "affine" else found.astype(mx.float32)


def _added(weight: mx.array, delta: mx.array) -> mx.array:
    return (weight.astype(mx.float32) + delta).astype(weight.dtype)


def attach(
    network: Any, rank: int = RANK, scale: float = SCALE, num_layers: int = LAYERS, keys: Sequence[str] | None = None,
    seed: int = 0, embed: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Put adapters beside matrices of `network`, in place, and freeze all else. Returns what adapter_config.json says of
    them; the caller adds "model", the base's name.

    `keys` are names inside a layer, such as self_attn.q_proj, in the last `num_layers` layers (-1: in all), or whole
    names, such as model.embed_tokens; by default every linear layer of those. `embed` adds the embedding and, where
    the model has one, the output matrix, for tokens that the model has yet to learn. Adapters that were there before
    are merged. UserError when nothing bears such a name.
    """
    if rank < 1:
        raise UserError(f"LoRA rank {rank}: must be at least 1")
    merge(network)
    layers = network.layers
    chosen = layers[-max(num_layers, 0) :]
    wanted = sorted({name for layer in chosen for name, m in layer.named_modules() if isinstance(m, Linear)})
    wanted = wanted if keys is None else list(keys)
    if embed:
        wanted += [name for name in _outer(network) if name not in wanted]
    network.freeze()
    key = mx.random.key(seed)
    found = set()
    for place in (*chosen, network):
        put: list[tuple[str, nn.Module]] = []
        for name, module in sorted(place.named_modules(), key=lambda item: item[0]):
            if name in wanted and isinstance(module, Linear | Embedding):
                key, own = mx.random.split(key)
                make: Any = LoRALinear if isinstance(module, Linear) else LoRAEmbedding
                put.append((name, make(module, rank, scale, own)))
        if put:
            place.update_modules(tree_unflatten(put))
            found |= {name for name, _ in put}
    if not wanted:
        raise UserError(
            "LoRA: the last layers of the model have no linear layer to adapt; give more of them, --num-layers -1"
        )
    if lost := sorted(set(wanted) - found):
        raise UserError(f"LoRA: the model has no matrix called {lost[0]}, which adapter_config.json names")
    mx.eval(arrays(network))
    parameters = {"rank": rank, "scale": scale, "dropout": 0.0, "keys": wanted}
    return {"fine_tune_type": "lora", "num_layers": min(num_layers, len(layers)), "lora_parameters": parameters}


def _outer(network: Any) -> list[str]:
    """Names of the embedding and the output matrix: whatever is outside the layers and has a row for each id."""
    inside = {id(m) for layer in network.layers for _, m in layer.named_modules()}
    outer = [(name, m) for name, m in network.named_modules() if id(m) not in inside]
    rows = {m.weight.shape[0] for _, m in outer if isinstance(m, Embedding)}
    return sorted(
        name for name, m in outer if isinstance(m, Embedding) or (isinstance(m, Linear) and m.weight.shape[0] in rows)
    )


def adapters(network: Any) -> dict[str, Adapter]:
    """The adapters of a network, by the name of what they stand in for; {} for a plain one."""
    found = {name: m for name, m in network.named_modules() if isinstance(m, LoRALinear | LoRAEmbedding)}
    return dict(sorted(found.items()))  # classes list their parts in orders of their own


def arrays(network: Any) -> dict[str, mx.array]:
    """The adapters' matrices, by the names in adapters.safetensors: model.layers.0.self_attn.q_proj.lora_a."""
    return {f"{k}.{part}": m[part] for k, m in adapters(network).items() for part in ("lora_a", "lora_b")}


def fill(network: Any, given: dict[str, mx.array], where: Path) -> None:
    """Put the matrices of adapters.safetensors in place, as float32; UserError unless names and shapes match."""
    want = arrays(network)
    for name in sorted(given.keys() ^ want.keys()):
        what = "is missing" if name in want else "has no place in the model"
        raise UserError(f"{where}: adapters and adapter_config.json do not match: {name} {what}")
    for name, value in given.items():
        if value.shape != want[name].shape:
            raise UserError(
                f"{where}: {name} is {tuple(value.shape)}, the model and adapter_config.json ask for "
                f"{tuple(want[name].shape)}; it is another model's, or of another rank"
            )
    network.load_weights([(k, v.astype(mx.float32)) for k, v in given.items()], strict=False)


def merge(network: Any) -> None:
    """Add the adapters into the matrices they stand beside, in place: a plain network again, all of it trainable. Each
    sum is taken in float32 and rounded to the matrix's own type."""
    if found := adapters(network):
        network.update_modules(tree_unflatten([(name, m.merged()) for name, m in found.items()]))
        network.unfreeze()
        mx.eval(network.parameters())


@contextmanager
def off(network: Any) -> Iterator[None]:
    """Inside, the network is what it was before its adapters: the reference of a policy, without a second copy."""
    found = adapters(network).values()
    scales = [m.scale for m in found]
    for m in found:
        m.scale = 0.0
    try:
        yield
    finally:
        for m, scale in zip(found, scales, strict=True):
            m.scale = scale


def described(config: dict[str, Any], where: Path) -> dict[str, Any]:
    """The arguments of `attach` that an adapter_config.json stands for. UserError for what is no LoRA in mlx-lm's form."""
    kind, told = config.get("fine_tune_type", "lora"), config.get("lora_parameters")
    if kind != "lora":
        raise UserError(f"{where}: fine_tune_type is {kind}, the lab opens lora; merge it with mlx_lm.fuse first")
    try:
        told = cast(dict[str, Any], told)
        keys = told.get("keys")
        return {
            "rank": int(told["rank"]),
            "scale": float(told["scale"]),
            "num_layers": int(config["num_layers"]),
            "keys": None if keys is None else [str(key) for key in keys],
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{where}: no adapter in mlx-lm's form: it needs num_layers, and lora_parameters with rank and scale; "
            "convert it, or merge it with the program it was made by"
        ) from error
