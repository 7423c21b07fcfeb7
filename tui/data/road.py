"""The road from text to a model that people like: its stages, what each needs, how far each is, and the tree of models.
Pure; figures of runs are read in tui/data/glance.py."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from lab.rankings import path_of
from lab.runs import Info
from tui.data.watch import LIVE

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
State = Literal["done", "running", "queued", "paused", "ready", "waiting", "later", "failed", "died", "stopped"]
Form = Literal["number", "percent", "of"]


class Figure(NamedTuple):
    """A headline figure of a run: `before` is read where the run began, `after` where it stands; both name what stands
    in metrics.jsonl, `event.key` for a figure of an event."""

    label: str
    after: tuple[str, ...]  # the first of these that the run has
    before: tuple[str, ...] = ()
    form: Form = "number"


@dataclass(frozen=True)
class Stage:
    """One chapter of the road."""

    key: str
    title: str
    says: str
    makes: str = ""  # what later stages need of it, in words
    recipes: tuple[str, ...] = ()  # names of its recipes, as far as they can be guessed, in the order they are run in
    needs: str = ""  # the stage whose model it starts from
    rather: tuple[str, ...] = ()  # stages after that one whose models it starts from where there are some, best first
    figures: tuple[Figure, ...] = ()
    spark: tuple[str, ...] = ()  # figures for the line of bars: one over the steps, or one value each


LOSS = Figure("loss", ("loss",), ("loss",))
HELD_OUT = Figure("held out", ("val_loss",), ("val_loss",))
ANY = (
    Figure("pass@1", ("report.pass_at_1", "pass_at_1", "report.accuracy", "accuracy"), ("pass_at_1", "accuracy"), "percent"),
    Figure("reward", ("report.reward", "reward"), ("reward",)),
    LOSS,
)  # fmt: skip
STAGES = (
    Stage("data", "data", "Text of a whole world, cleaned: what a model will know", "text"),
    Stage("tokenizer", "tokenizer", "Text as numbers: the byte pairs that meet most often become tokens", "a tokenizer"),
    Stage(
        "pretrain", "pretrain", "Guess the next token, over and over: a base model", "a base model", ("pretrain",), "",
        figures=(
            Figure("bits a byte", ("report.bits_per_byte_final", "bits_per_byte"), ("bits_per_byte",)),
            Figure("facts told 100×", ("report.recall_100",), (), "percent"), LOSS,
        ),
        spark=("loss",),
    ),
    Stage(
        "probes", "probes", "What a base model is: it recites, continues, imitates", "", ("probes",), "pretrain",
        figures=(
            Figure("few-shot", ("few-shot.shots_8_right_share",), ("few-shot.shots_0_right_share",), "percent"),
            Figure("assistant", ("assistant.turns_1_kinds_talk_share",), ("assistant.bare_kinds_talk_share",), "percent"),
            Figure("recites", ("regurgitation.told_100_recited_share",), (), "percent"),
        ),
        spark=tuple(f"few-shot.shots_{n}_right_share" for n in (0, 1, 4, 8)),
    ),
    Stage(
        "sft", "sft", "Conversations turn the base into an assistant", "an assistant", ("sft",), "pretrain",
        figures=(HELD_OUT, Figure("told 100×, right", ("report.right_100",), (), "percent"), *ANY), spark=("loss",),
    ),
    Stage(
        "honesty", "I don't know", "Ask what it knows, and teach it to admit the rest", "",
        ("interrogate", "honesty", "honest"), "sft",
        figures=(
            Figure("invented", ("report.invented_never_after",), ("report.invented_never_before",), "percent"),
            Figure("told 100×, right", ("report.right_100x_after",), ("report.right_100x_before",), "percent"),
            HELD_OUT, *ANY,
        ),
        spark=("loss",),
    ),
    Stage(
        "search", "tools", "Look it up instead of making it up", "", ("search", "code", "tools"), "sft", ("search", "honesty"),
        (
            Figure("never told, right", ("report.right_never",), (), "percent"),
            Figure("searches what it knows", ("report.called_100x",), (), "percent"), HELD_OUT, *ANY,
        ),
        ("loss", "reward"),
    ),
    Stage(
        "reasoning", "reasoning", "Practice on problems with known answers, and thinking appears", "a model that reasons",
        ("think", "demonstrate", "grpo", "rejection", "selfplay", "reasoning", "rlvr"), "sft", ("search", "honesty"),
        (
            Figure("right, held out", ("held_pass",), ("held_pass",), "percent"),
            Figure("tokens", ("held_length",), ("held_length",)),
            Figure(
                "against its teacher", ("report.teacher_score_after", "teacher_score"),
                ("report.teacher_score_before", "teacher_score"),
            ),
            *ANY,
        ),
        ("reward", "pass_at_1", "loss"),
    ),
    Stage(
        "reward-model", "reward model", "Learn from rankings what people like", "a reward model", ("reward_model",), "sft",
        ("reasoning", "search", "honesty"),
        (Figure("pairs told", ("held_accuracy",), ("held_accuracy",), "percent"), HELD_OUT, *ANY),
        ("held_accuracy", "loss"),
    ),
    Stage(
        "rlhf", "rlhf", "Train towards the learned taste, and stop before it is gamed", "", ("rlhf",), "reward-model",
        figures=(
            Figure("proxy", ("held_reward",), ("held_reward",)),
            Figure("gold", ("held_gold",), ("held_gold",)), *ANY,
        ),
        spark=("reward", "loss"),
    ),
)  # fmt: skip
BY_KEY = {stage.key: stage for stage in STAGES}
RANK = "needs rankings: press 6 and make some"


@dataclass(frozen=True)
class Card:
    """How far a stage is."""

    number: int
    stage: Stage
    state: State
    why: str = ""  # what it waits for, in words
    run: Info | None = None  # whose figures it shows
    trouble: Info | None = None  # a newer run that failed or died
    recipe: str = ""  # what to start; '' where there is nothing to start


def there(name: str) -> bool:
    """Whether this version has the recipe."""
    return (RECIPES / f"{name}.py").is_file()


def ranked() -> bool:
    """Whether anybody has ranked replies."""
    return path_of().is_file()


def cards(
    runs: Sequence[Info], has: Callable[[str], bool] = there, rankings: Callable[[], bool] = ranked
) -> list[Card]:
    """All stages in order, by the runs (newest first), the recipes that there are, and whether there are rankings."""
    return [_card(number, stage, runs, has, rankings) for number, stage in enumerate(STAGES, 1)]


def _card(
    number: int, stage: Stage, runs: Sequence[Info], has: Callable[[str], bool], rankings: Callable[[], bool]
) -> Card:
    if stage.key in ("data", "tokenizer"):
        used = next((i for i in of_stage("pretrain", runs) if i.state not in ("failed", "queued", "starting")), None)
        return Card(number, stage, "done" if used else "ready", run=used)
    mine = of_stage(stage.key, runs)
    recipe = _next(stage, mine, has)
    live = min((i for i in mine if i.state in LIVE), key=lambda i: i.state == "queued", default=None)
    done = next((i for i in mine if i.state in ("done", "model")), None)
    if live:
        state: State = "paused" if live.state == "paused" else "queued" if live.state == "queued" else "running"
        return Card(number, stage, state, run=live, recipe=recipe)
    trouble = mine[0] if mine and mine[0].state in ("failed", "died") else None
    if done:
        return Card(number, stage, "done", run=done, trouble=trouble, recipe=recipe)
    if mine:
        state = "failed" if mine[0].state == "failed" else "stopped" if mine[0].state == "stopped" else "died"
        return Card(number, stage, state, run=mine[0], trouble=trouble, recipe=recipe)
    if not recipe:
        return Card(number, stage, "later", "not part of this version")
    if stage.needs and not any(map(usable, made_by(stage.needs, runs))):
        need = BY_KEY[stage.needs]
        can = any(has(name) for name in need.recipes)
        how = f"press r on {need.title}" if can else "which this version cannot make"
        return Card(number, stage, "waiting", f"needs {need.makes}: {how}", recipe=recipe)
    if stage.key == "reward-model" and not rankings():
        return Card(number, stage, "waiting", RANK, recipe=recipe)
    return Card(number, stage, "ready", recipe=recipe)


def _next(stage: Stage, mine: Sequence[Info], has: Callable[[str], bool]) -> str:
    """What to start: the first of its recipes that no run has finished; after that what was run last, anew."""
    there = [name for name in stage.recipes if has(name)]
    over = [info.recipe.replace("-", "_") for info in mine if info.state in ("done", "model")]
    return next((name for name in there if name not in over), next((name for name in over if name in there), ""))


def of_stage(key: str, runs: Sequence[Info]) -> list[Info]:
    """The runs of a stage, newest first."""
    names = {name.replace("_", "-") for name in BY_KEY[key].recipes}
    return [info for info in runs if info.recipe.replace("_", "-") in names]


def made_by(key: str, runs: Sequence[Info]) -> list[Info]:
    """Models that can serve where a stage needs those of stage `key`: its own; as a base also models from elsewhere, and
    those that later stages made of one."""
    order = [stage.key for stage in STAGES]
    if key == "reward-model":
        return of_stage(key, runs)
    found = [i for k in order[order.index(key) :] if k != "reward-model" for i in of_stage(k, runs)]
    return found + [info for info in runs if info.state == "model" and not info.recipe]


def usable(info: Info) -> bool:
    """Whether the folder holds weights."""
    return any((info.folder / name).exists() for name in ("model.safetensors", "adapters.safetensors"))


def best_parent(card: Card, runs: Sequence[Info]) -> Info | None:
    """The model that a stage would start from: the newest of the stages it would rather have, else of the one it needs,
    else any that serves; a finished one before one that was stopped or died on the way. Of its own stage only what comes
    before: code from search, search not from code."""
    stage, own = card.stage, card.recipe
    if not stage.needs:
        return None
    later = stage.recipes[stage.recipes.index(own) :] if own in stage.recipes else stage.recipes
    groups = [
        [info for info in of_stage(key, runs) if usable(info) and info.recipe.replace("-", "_") not in later]
        for key in (*stage.rather, stage.needs)
    ]
    groups.append([info for info in made_by(stage.needs, runs) if usable(info)])
    found = [info for group in groups for info in group]
    return next((info for info in found if info.state in ("done", "model")), next(iter(found), None))


# -- the tree of models ----------------------------------------------------------------------------------------------


class Leaf(NamedTuple):
    """A line of the tree: what is drawn before it, the name, and the run, None for a parent that is not here."""

    branch: str
    name: str
    info: Info | None
    note: str  # at which checkpoint the parent was taken; what became of a parent


def parent_of(info: Info, runs: Iterable[Info]) -> tuple[str, str]:
    """(name of a run, or what stands in run.json where it is none of ours; step of the checkpoint or '')."""
    told = info.parent if isinstance(info.parent, str) else ""
    if not told:
        return "", ""
    known = {other.name: other for other in runs}
    if told in known:
        return told, ""
    name, at, step = told.rpartition("@")
    if at and name in known:
        return name, step
    for text, more in ((told, ""), (name, step)):
        path = Path(text) if text else None
        if path and path.is_absolute():
            for other in known.values():
                if path in (other.folder, other.folder.resolve()):
                    return other.name, more
    return told, ""


def lineage(runs: Sequence[Info], shown: Callable[[Info], bool] = usable) -> list[Leaf]:
    """The models as a tree by their parents, oldest first; a parent that is not here stands at the root by its name. A
    circle of parents, which somebody wrote by hand, is cut."""
    models = sorted((i for i in runs if shown(i)), key=lambda i: (i.created, i.name))
    parents = {info.name: parent_of(info, runs) for info in models}
    own = {info.name: info for info in models}
    children: dict[str, list[Info]] = {}
    roots = list[str]()
    for info in models:
        parent = parents[info.name][0]
        if parent and parent != info.name:
            children.setdefault(parent, []).append(info)
            if parent not in own and parent not in roots:
                roots.append(parent)
        else:
            roots.append(info.name)
    leaves, seen = list[Leaf](), set[str]()

    def grow(name: str, before: str, branch: str) -> None:
        if name in seen:
            return
        seen.add(name)
        step = parents[name][1] if name in parents else ""
        note = f"from step {step}" if step else "" if name in own else "from elsewhere" if "/" in name else "gone"
        leaves.append(Leaf(before + branch, name, own.get(name), note))
        below = [child for child in children.get(name, []) if child.name not in seen]
        before += {"├─ ": "│  ", "└─ ": "   "}.get(branch, "")
        for child in below:
            grow(child.name, before, "└─ " if child is below[-1] else "├─ ")

    for name in roots:
        grow(name, "", "")
    for info in models:  # what is only reached in a circle
        grow(info.name, "", "")
    return leaves
