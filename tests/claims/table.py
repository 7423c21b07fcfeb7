"""The claims: what is run, what it depends on, what must be seen."""

from collections.abc import Callable
from dataclasses import dataclass, field

from recipes.record import Bound

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


@dataclass(frozen=True)
class Claim:
    """One recipe of the chain, or a command that measures and prints JSON. `must` holds for every seed."""

    name: str
    model: Callable[[int], str]  # "" = it takes none
    depends: tuple[str, ...]
    must: tuple[Bound, ...]
    more: tuple[str, ...] = field(default=())  # HOME/ is the seed's weights root, SEED the seed
    recipe: str = ""  # where it is not the name
    json: bool = False
    keep: str = ""  # a pattern: of very many figures those that are kept
    makes: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (file in HOME, the command that makes it) before
    seeded: bool = True

    def run(self, seed: int) -> str:
        """Name of the run folder."""
        return f"{self.name}-seed-{seed}"

    def command(self, seed: int) -> list[str]:
        """What is run, without `lab`."""
        words = [self.recipe or self.name]
        words += ["--model", model] if (model := self.model(seed)) else []
        words += ["--seed", str(seed)] * self.seeded + ([] if self.json else ["--name", self.run(seed)])
        return [*words, *(word.replace("SEED", str(seed)) for word in self.more), *["--json"] * self.json]

    def first(self, seed: int) -> list[tuple[str, list[str]]]:
        """(file in HOME, command without --out) of what it reads."""
        return [(out, [word.replace("SEED", str(seed)) for word in words]) for out, words in self.makes]


FACTS = "weights/.claims-facts.db"  # what is searched where reinforcement learning learns when to
RL = (
    "lab/advantage.py", "lab/loss.py", "lab/rollout.py", "lab/task.py", "recipes/before.py", "recipes/grpo.py",
    "recipes/reinforce.py", "recipes/tasks.py",
)  # fmt: skip
SOLVING = (*COMMON, *TOOLS, *LOOKING, "recipes/code.py", "recipes/demonstrate.py", "recipes/lessons/letters.py",
           "recipes/lessons/solve.py")  # fmt: skip
BASE = ("lab/model.py", "lab/learn.py", "lab/loss.py", "lab/data.py", "lab/tokenizer.py", "lab/lookback.py",
        "recipes/pretrain.py", "recipes/recall.py", "recipes/pocket/*.py")  # fmt: skip
GAMES = ("lab/model.py", "lab/learn.py", "lab/loss.py", "recipes/selfplay.py", "recipes/arena.py", "recipes/tournament.py",
         "recipes/pocket/games.py")  # fmt: skip
TASTE = ("lab/rankings.py", "lab/pairwise.py", "lab/reward.py", "lab/sample.py", "recipes/ranking.py",
         "recipes/commands/rank.py", "recipes/reward_model.py", "recipes/preferences.py", "recipes/pocket/jokes.py",
         "recipes/pocket/gold.py")  # fmt: skip
PLEASING = (
    *TASTE,
    "lab/kl.py",
    "lab/advantage.py",
    "lab/rollout.py",
    "recipes/reinforce.py",
    "recipes/grpo.py",
    "recipes/rlhf.py",
)
RANK = ("rank", "--model", "grpo-seed-SEED", "--by", "gold", "--seed", "SEED")
RANKED, FEW = (("jokes.jsonl", RANK),), (("few.jsonl", (*RANK, "--prompts", "80")),)


CLAIMS = (
    Claim(
        "sft", lambda seed: f"pretrain-seed-{seed}" if seed else "pocket-base", (*COMMON, "recipes/sft.py"),
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
        "imitate-on", lambda seed: f"demonstrate-seed-{seed}", SOLVING, (("right", "<=", 0.30),), recipe="demonstrate",
    ),
    Claim(  # what searches for everything, and then learns when to
        "always", lambda seed: f"search-seed-{seed}", (*COMMON, *TOOLS, *LOOKING), (("called_100x", ">=", 0.90),),
        ("--always", "--iters", "600"), "search",
    ),
    Claim(
        "when-to-search", lambda seed: f"always-seed-{seed}", (*COMMON, *TOOLS, *LOOKING, *RL),
        (("before_called known", ">=", 0.90), ("held_called known", "<=", 0.20), ("held_called never", ">=", 0.90),
         ("held_pass - before_pass", ">=", -0.02)),
        ("--task", "facts", "--search", FACTS, "--call-price", "0.4", "--iters", "200", "--max-tokens", "96"), "grpo",
    ),
    Claim(
        "pretrain", lambda seed: "", BASE,
        (("recall_100", ">=", 0.90), ("recall_0", "<=", 0.20), ("heavier_9:1", ">=", 0.80), ("lighter_9:1", "<=", 0.20),
         ("ln_v - first_loss", ">=", -0.10), ("ln_v - first_loss", "<=", 0.50)),
    ),
    Claim(
        "probes", lambda seed: f"pretrain-seed-{seed}",
        (*BASE, "recipes/probes.py", "recipes/probing/*.py", "lab/batch.py", "lab/sample.py"),
        (("few-shot.shots_8_right_share - few-shot.shots_0_right_share", ">=", 0.30),
         ("assistant.turns_1_kinds_talk_share - assistant.bare_kinds_talk_share", ">=", 0.30),
         ("regurgitation.told_100_recited_share", ">=", 0.90), ("regurgitation.told_1_recited_share", "<=", 0.10)),
        keep=r"cpu_s|.*(right|recited|talk|know)_share|calibration.*(error|gap)",
    ),
    Claim(
        "context", lambda seed: f"search-seed-{seed}", (*COMMON, *TOOLS, *LOOKING, "recipes/commands/context.py"),
        (("rows.0.context - rows.0.weights", ">=", 0.50), ("rows.3.context - rows.3.weights", ">=", 0.50)), json=True,
        keep=r"cpu_s|.*(?<!_low)(?<!_high)",
    ),
    Claim(
        "probe-knowledge", lambda seed: f"pretrain-seed-{seed}",
        (*BASE, "recipes/commands/probe_knowledge.py", "recipes/probing/neurons.py"),
        (("neuron.auroc - spelling.auroc", ">=", 0.05), ("neuron.low - shuffled.neuron.auroc", ">=", 0.0)), json=True,
    ),
    Claim(
        "selfplay", lambda seed: "", GAMES,
        (("teacher_score_before", "<=", 0.0), ("teacher_score_after", ">=", 0.30), ("blind_spot_before", "<=", 0.01),
         ("blind_spot_after", ">=", 0.50)),
    ),
    Claim(
        "reward-model", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *TASTE),
        (("held_accuracy - length_accuracy", ">=", 0.05),), ("--rankings", "HOME/jokes.jsonl"), makes=RANKED,
    ),
    Claim(
        "rlhf", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *PLEASING), (("gold_gain", ">=", 0.80),),
        ("--reward", "reward-model-seed-SEED"),
    ),
    Claim(  # of a few rankings, as a person makes them: what is learnt of a taste is little, and what is pushed on that
        "reward-model-few", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *TASTE), (),
        ("--rankings", "HOME/few.jsonl"), "reward-model", makes=FEW,
    ),
    Claim(  # at the rate of the recipe its replies are all alike after 30 steps, and nothing more is found out
        "rlhf-free", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *PLEASING),
        (("held_reward - before_reward", ">=", 0.0), ("gold_gain", "<=", -1.0)),
        ("--reward", "reward-model-few-seed-SEED", "--kl", "0", "--replay", "0", "--learning-rate", "3e-4", "--decay", "0",
         "--iters", "150"),
        "rlhf",
    ),
    Claim(
        "harden", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *PLEASING, "recipes/harden.py"),
        (("last.found", ">=", 1.0),), ("--rankings", "HOME/jokes.jsonl", "--reward", "reward-model-seed-SEED"),
    ),
    Claim(
        "grpo-long", lambda seed: f"demonstrate-seed-{seed}", (*SOLVING, *RL), (("held_pass - before_pass", ">=", 0.10),),
        ("--iters", "150"), "grpo",
    ),
    Claim(
        "skills", lambda seed: f"rlhf-seed-{seed}", (*SOLVING, *RL, *PLEASING, "recipes/commands/skills.py"),
        (("worst", "<=", 0.05),), json=True, keep=r"cpu_s|worst|lost.*|stages.*", seeded=False,
    ),
    Claim(
        "gap", lambda seed: f"grpo-seed-{seed}", (*SOLVING, *RL, *TASTE, "recipes/commands/gap.py", "recipes/bestof.py"),
        (("models.0.tells.mean", ">=", 0.60), ("models.0.best_of.16.gold.mean", ">=", 0.30)),
        ("--reward", "reward-model-seed-SEED"), json=True,
        keep=r"cpu_s|.*(mean|tells).*",
    ),
)  # fmt: skip
