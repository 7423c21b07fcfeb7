"""What a person ranks: model, prompts, file; checked as it is typed, and remembered. No MLX, no Textual."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lab.errors import UserError, expand
from lab.hub import is_id
from lab.letters import MOST
from lab.rankings import path_of
from lab.runs import read_json, root, write_atomic

KEPT = ".rank.json"  # in the weights root: what was ranked last
WORDS = {
    "model": "model", "data": "prompts from", "out": "rankings into", "prompts": "prompts", "samples": "replies to each",
    "temp": "temperature", "max_tokens": "longest reply", "seed": "seed", "reward": "reward model",
}  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What is ranked: the flags of `lab rank`, and the reward model to compare with ("" for the newest)."""

    model: str = ""
    data: str = ""
    out: str = ""
    prompts: int = 1000
    samples: int = 5
    temp: float = 1.0
    max_tokens: int = 128
    seed: int = 0
    reward: str = ""

    @property
    def file(self) -> Path:
        """Where rankings go."""
        return (expand(self.out) if self.out else path_of()).resolve()


def check(given: dict[str, str]) -> Setup:
    """A setup of what was typed; UserError says what is wrong with it."""
    values: dict[str, Any] = {name: given[name].strip() for name in ("model", "data", "out", "reward")}
    for name, low, high in (("prompts", 1, 10**6), ("samples", 2, MOST), ("max_tokens", 1, 10**5), ("seed", 0, 2**31)):
        text = given[name].strip()
        if not text.isdecimal() or not low <= int(text) <= high:
            raise UserError(f"{WORDS[name]}: give a whole number from {low:,} to {high:,}")
        values[name] = int(text)
    try:
        values["temp"] = float(given["temp"])
    except ValueError:
        values["temp"] = 0.0
    if not 0 < values["temp"] <= 5:
        raise UserError(f"{WORDS['temp']}: above 0 and at most 5; greedy replies are all alike")
    if not values["model"]:
        raise UserError(f"{WORDS['model']}: name one, such as pocket-sft")
    found = Setup(**values)
    if found.data and not expand(found.data).exists() and not is_id(found.data):
        raise UserError(f"{WORDS['data']}: no file or folder {found.data}")
    if not found.file.parent.is_dir():
        raise UserError(f"{WORDS['out']}: no folder {found.file.parent}; make it first")
    return found


def kept() -> Setup:
    """What was ranked last, else an empty one."""
    found = read_json(root() / KEPT)
    good = {f.name: found[f.name] for f in fields(Setup) if type(found.get(f.name)) is type(f.default)}
    return Setup(**good)


def keep(setup: Setup) -> None:
    """Remember it."""
    try:
        write_atomic(root() / KEPT, json.dumps(asdict(setup)), sync=False)
    except (OSError, UserError):
        return  # then the next window asks again
