"""The claims: what is run, what it depends on, what must be seen."""

from collections.abc import Callable
from dataclasses import dataclass, field

ENGINE = (
    "lab/chat.py",
    "lab/model.py",
    "lab/learn.py",
    "lab/loss.py",
    "lab/talks.py",
    "lab/samples.py",
    "lab/sample.py",
)
COMMON = (
    *ENGINE,
    "recipes/tuning.py",
    *(f"recipes/lessons/{name}.py" for name in ("__init__", "talk", "facts", "exam")),
    "recipes/pocket/*.py",
    "weights/pocket-base/*.safetensors",
)
TOOLS = ("lab/calls.py", "lab/tools.py", "lab/index.py")
KNOWING = ("recipes/sft.py", "recipes/interrogate.py", "recipes/lessons/knowledge.py")
LOOKING = (*KNOWING, "recipes/search.py", "recipes/lessons/lookup.py")
Bound = tuple[str, str, float]  # a figure, or one less another ("a - b"); >= or <=; value


@dataclass(frozen=True)
class Claim:
    """One recipe of the chain. `must` holds for every seed."""

    name: str
    model: Callable[[int], str]
    depends: tuple[str, ...]
    must: tuple[Bound, ...]
    more: tuple[str, ...] = field(default=())

    def run(self, seed: int) -> str:
        """Name of the run folder."""
        return f"{self.name}-seed-{seed}"

    def command(self, seed: int) -> list[str]:
        """What is run, without `lab`."""
        return [self.name, "--model", self.model(seed), "--seed", str(seed), "--name", self.run(seed), *self.more]


CLAIMS = (
    Claim(
        "sft", lambda seed: "pocket-base", (*COMMON, "recipes/sft.py"),
        (("ends", ">=", 0.95), ("right_100", ">=", 0.90), ("sunny", ">=", 0.60), ("sunny", "<=", 0.80),
         ("refused", ">=", 0.90), ("refused_neighbours", "<=", 0.05)),
    ),
    Claim(
        "interrogate", lambda seed: f"sft-seed-{seed}", (*COMMON, *KNOWING),
        (("kept", ">=", 0.80), ("invented", "<=", 0.25), ("auroc", ">=", 0.90), ("invented_never_before", ">=", 0.80)),
    ),
    Claim(
        "search", lambda seed: f"interrogate-seed-{seed}",
        (*COMMON, *TOOLS, *LOOKING),
        (("right_never", ">=", 0.90), ("copied_never", ">=", 0.95), ("called_never", ">=", 0.90),
         ("invented_empty_absent", "<=", 0.05), ("invented_pocket_absent", "<=", 0.10)),
    ),
    Claim(
        "code", lambda seed: f"search-seed-{seed}",
        (*COMMON, *TOOLS, *LOOKING, "recipes/code.py", "recipes/lessons/letters.py"),
        (("counting_code", ">=", 0.95), ("counting_head", "<=", 0.60)),
    ),
    Claim(
        "think", lambda seed: f"sft-seed-{seed}",
        (*COMMON, "lab/calls.py", "lab/tools.py", "recipes/sft.py", "recipes/think.py", "recipes/lessons/letters.py"),
        (("steps_problems - answer_problems", ">=", 0.30), ("steps_problems - answer x3_problems", ">=", 0.30),
         ("after_problems - answer_problems", "<=", 0.05), ("code_counting", ">=", 0.95), ("answer_counting", "<=", 0.60)),
    ),
)  # fmt: skip
