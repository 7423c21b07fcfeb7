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
    recipe: str = ""  # where it is not the name

    def run(self, seed: int) -> str:
        """Name of the run folder."""
        return f"{self.name}-seed-{seed}"

    def command(self, seed: int) -> list[str]:
        """What is run, without `lab`."""
        return [
            self.recipe or self.name,
            "--model",
            self.model(seed),
            "--seed",
            str(seed),
            "--name",
            self.run(seed),
            *self.more,
        ]


FACTS = "weights/.claims-facts.db"  # what is searched where reinforcement learning learns when to
RL = (
    "lab/advantage.py", "lab/loss.py", "lab/rollout.py", "lab/task.py", "recipes/grpo.py", "recipes/reinforce.py",
    "recipes/tasks.py",
)  # fmt: skip
SOLVING = (*COMMON, *TOOLS, *LOOKING, "recipes/code.py", "recipes/demonstrate.py", "recipes/lessons/letters.py",
           "recipes/lessons/solve.py")  # fmt: skip


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
    Claim("demonstrate", lambda seed: f"code-seed-{seed}", SOLVING, (("right", ">=", 0.10), ("thinks", "<=", 0.25))),
    Claim(
        "grpo", lambda seed: f"demonstrate-seed-{seed}", (*SOLVING, *RL),
        (("held_pass", ">=", 0.95), ("before_pass", ">=", 0.30), ("before_pass", "<=", 0.60),
         ("before_thinks", "<=", 0.20), ("held_thinks", ">=", 0.90)),
    ),
    Claim(
        "rejection", lambda seed: f"demonstrate-seed-{seed}", (*SOLVING, *RL, "recipes/rejection.py"),
        (("held_pass - before_pass", ">=", 0.10),),
    ),
    Claim(
        "search-always", lambda seed: f"interrogate-seed-{seed}", (*COMMON, *TOOLS, *LOOKING), (("called_100x", ">=", 0.90),),
        ("--always",), "search",
    ),
    Claim(
        "when-to-search", lambda seed: f"search-always-seed-{seed}", (*COMMON, *TOOLS, *LOOKING, *RL),
        (("held_called known", "<=", 0.20), ("held_called never", ">=", 0.90), ("held_pass - before_pass", ">=", -0.02)),
        ("--task", "facts", "--search", FACTS, "--call-price", "0.1", "--max-tokens", "96"), "grpo",
    ),
)  # fmt: skip
