"""How replies are drawn: the settings of a chat, and their check in words. lab.sample draws; it needs MLX, which no screen
loads, so the ranges stand here once more."""

import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lab.errors import UserError, expand


@dataclass(frozen=True)
class Draw:
    """What lab.sample.Sampling takes, a seed (None: another one each time), and of a chat model the system message and the
    tools it may call: the path of an index to search in, whether code may be run; and how many tokens a thought may have."""

    temp: float = 0.8
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int = 256
    seed: int | None = None
    think_budget: int | None = None
    system: str = ""
    search: str = ""
    code: bool = False

    def sampling(self) -> dict[str, float]:
        """What the model process is told."""
        return {name: getattr(self, name) for name in RULES if name not in MAYBE}

    def tools(self) -> dict[str, Any]:
        """What the model may call and how long it may think, as the model process is told; nothing where nothing is set."""
        given: dict[str, Any] = {"search": self.search or None, "code": self.code} if self.search or self.code else {}
        return given | ({"think": self.think_budget} if self.think_budget else {})

    def draw_seed(self) -> int:
        """The fixed seed, or one that is short enough to type again."""
        return secrets.randbelow(1_000_000) if self.seed is None else self.seed

    def brief(self) -> str:
        """What is not as usual, as a pane's subtitle has it: 'T .8 · top-p .95'."""
        parts = [f"T {short(self.temp)}"]
        parts += [f"top-p {short(self.top_p)}"] if self.top_p < 1 else []
        parts += [f"top-k {self.top_k}"] if self.top_k else []
        parts += [f"min-p {short(self.min_p)}"] if self.min_p else []
        parts += [f"penalty {short(self.repetition_penalty)}"] if self.repetition_penalty != 1 else []
        parts += [f"seed {self.seed}"] if self.seed is not None else []
        parts += [f"thinks {self.think_budget:,} at most"] if self.think_budget else []
        parts += [f"search {Path(self.search).name}"] if self.search else []
        parts += ["code"] if self.code else []
        return " · ".join(parts)


# name -> (title, whole number, test, what it may be, what it does)
RULES: dict[str, tuple[str, bool, Any, str, str]] = {
    "temp": ("temperature", False, lambda v: 0 <= v <= 100, "0 to 100", "0: always the best, 1: as trained"),
    "top_p": ("top-p", False, lambda v: 0 < v <= 1, "above 0, up to 1", "only the best that add up to this"),
    "top_k": ("top-k", True, lambda v: v >= 0, "0 or more", "only the k best; 0: all"),
    "min_p": ("min-p", False, lambda v: 0 <= v <= 1, "0 to 1", "only those with this share of the best"),
    "repetition_penalty": ("repetition penalty", False, lambda v: 0 < v <= 100, "above 0", "1: none, 1.1: a little"),
    "max_tokens": ("max tokens", True, lambda v: 1 <= v <= 1_000_000, "1 or more", "how long a reply may be"),
    "seed": ("seed", True, lambda v: 0 <= v < 1 << 63, "a whole number, or empty", "empty: another one each time"),
    "think_budget": ("think budget", True, lambda v: 1 <= v <= 1_000_000, "1 or more, or empty",
                     "a thought is closed after so many tokens"),
}  # fmt: skip
MAYBE = ("seed", "think_budget")  # those that may be left empty


def check(name: str, text: str) -> float | int | None:
    """The value that a person typed for a setting; None for one that may be left empty. UserError says what it may be."""
    title, whole, fits, may_be, _ = RULES[name]
    typed = text.strip().replace(",", ".") if not whole else text.strip().replace(",", "").replace("_", "")
    if name in MAYBE and not typed:
        return None
    try:
        value: float | int = int(typed) if whole else float(typed)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not fits(value):
        raise UserError(f"{title}: {may_be}, not {text.strip()[:30] or 'nothing'}")
    return value


def index(text: str) -> str:
    """The full path of the index that a person named; "" for none. UserError where there is no such file."""
    if not text.strip():
        return ""
    path = expand(text.strip())
    if not os.path.isfile(path):
        raise UserError("search: no such file; lab index FOLDER --out index.db makes one")
    return str(path.absolute())


def read(values: Mapping[str, Any]) -> Draw:
    """Settings out of a file; what is wrong there is as usual."""
    kept: dict[str, Any] = {}
    for field in fields(Draw):
        value = values.get(field.name)
        if field.name in ("system", "search"):
            kept[field.name] = value if isinstance(value, str) else ""
        elif field.name == "code":
            kept["code"] = value is True
        elif isinstance(value, int | float) and not isinstance(value, bool):
            try:
                kept[field.name] = check(field.name, str(value))
            except UserError:
                continue
    return Draw(**kept)


def as_dict(draw: Draw) -> dict[str, Any]:
    """For a file."""
    return asdict(draw)


def short(value: float) -> str:
    """.8 for 0.8, 1 for 1.0."""
    return f"{value:.3g}".removeprefix("0") or "0"
