"""Write a model as a folder for other programs, quantised if you like. mlx_lm, LM Studio and friends open it as it is.

Quantised, each row of a matrix is cut into groups, and each group keeps a scale and a bias in half precision.

Examples:
  lab export sft-1 --to ~/models/mine
  lab export sft-1 --to ~/models/mine-4bit --quantize 4
  lab export HuggingFaceTB/SmolLM2-135M-Instruct --to smol-8bit --quantize 8 --group-size 32
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlx.core as mx
from tyro.conf import Positional

from lab import convert, device, display, hub, weights
from lab.errors import UserError, expand

TEXT = "One day Ada took a red ball to the park. She threw it to her dog, and the dog ran after it. They were happy."


@dataclass(frozen=True)
class Config:
    model: Positional[str] = ""
    """A run, a folder, run@step, a hub id, or a .gguf file."""
    to: str = ""
    """The new folder."""
    quantize: Literal[0, 2, 3, 4, 5, 6, 8] = 0
    """Bits a weight; 0 leaves them whole."""
    group_size: Literal[32, 64, 128] = 64
    """Weights that share a scale."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """What whole weights (and scales) are stored in."""


def run(config: Config) -> int:
    if not config.model or not config.to:
        raise UserError("give a model and --to FOLDER; `lab models` lists the models")
    target = expand(config.to)
    with convert.aside(target) as folder:
        model = hub.local(config.model)
        if not config.quantize:
            with display.busy(f"writing {config.model}"):
                convert.write(model, folder, config.dtype)
        else:
            with tempfile.TemporaryDirectory(dir=folder) as whole:
                with display.busy(f"reading {config.model}"):
                    convert.write(model, Path(whole), config.dtype)
                with display.busy(f"quantising to {config.quantize} bits"):
                    convert.quantise(Path(whole), folder, config.quantize, config.group_size)
        with display.busy("checking what was written"):
            note = _compare(model, folder)
    print(f"{target}: {convert.size_of(target) / 1e6:.2f} MB; {note}")
    if config.quantize and device.on_cpu():
        print(
            "on this computer's CPU quantised weights are slow in mlx_lm (use --dtype float32 to run them at all); "
            "the lab unpacks them when it loads them"
        )
    return 0


def _compare(model: str, folder: Path) -> str:
    """Open the new folder, as a user will, and say how far it is from the model on a short text."""
    before, nats = convert.surprise(weights.load(model), TEXT)
    after, now = convert.surprise(weights.load(folder), TEXT)
    if not mx.isfinite(after).all():
        raise UserError(
            f"the new weights give numbers that are none; try more --quantize bits, or --dtype float32 ({model})"
        )
    apart = device.number((mx.exp(before) * (before - after)).sum(-1).mean())
    same = device.number((before.argmax(-1) == after.argmax(-1)).astype(mx.float32).mean())
    return (
        f"on a test text {now:.2f} nats a token ({nats:.2f} before), {apart:.4f} nats apart, "
        f"the likeliest token is the same in {same:.0%}"
    )
