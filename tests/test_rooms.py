"""The arrows between the rooms: tui -> files, recipes -> lab, lab -> nothing of ours."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
ALLOWED = {"lab": {"lab"}, "recipes": {"recipes", "lab"}, "tui": {"tui", "lab"}}
FOR_TUI = (
    "lab.runs", "lab.run", "lab.tokenizer", "lab.chat", "lab.data", "lab.errors", "lab.explain", "lab.models", "lab.hub",
    "lab.words", "lab.display", "lab.read", "lab.clean", "lab.gguf", "lab.gguf_tokenizer", "lab.talks", "lab.mask", "lab.parts",
    "lab.episodes", "lab.task", "lab.rankings", "lab.letters",
)  # fmt: skip
NO_MLX = (
    *FOR_TUI, "lab.fetch", "lab.forms", "lab.match", "lab.passages", "lab.near", "lab.rules", "lab.tools", "lab.calls",
    "lab.index", "lab.worker", "lab.advantage", "lab.episodes", "lab.hosted", "lab.kl", "lab.rows", "lab.run", "lab.task",
    "lab.task_files", "lab.verify", "tui.app", "tui.palette", "tui.data.client", "recipes.cli",
    "recipes.commands.doctor", "recipes.commands.tokens",
    "recipes.commands.show_chat", "recipes.pocket", "tui",
)  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in ALLOWED:  # from lab import hub
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_they_may(room: str) -> None:
    for path in (REPO / room).rglob("*.py"):
        tops = {name.split(".")[0] for name in imports(path)}
        assert not (tops & set(ALLOWED)) - ALLOWED[room], path
        if room == "tui":
            assert not tops & {"mlx", "mlx_lm"}, path
            assert all(name in FOR_TUI for name in imports(path) if name.split(".")[0] == "lab"), path


def test_no_source_file_is_over_400_lines() -> None:
    for room in ALLOWED:
        for path in (REPO / room).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path


@pytest.mark.parametrize("module", NO_MLX)
def test_these_modules_never_load_mlx(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in sys.modules if m.split('.')[0] in ('mlx', 'mlx_lm', 'transformers')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


GOLD = "recipes.pocket.gold"
DOOR = "recipes/gold_judge.py"  # the one file that may import it
MEASURES = (  # who may come in by that door
    "recipes/commands/rank.py", "recipes/commands/score.py", "recipes/second_opinion.py", "recipes/bestof.py",
    "recipes/commands/skills.py",
)  # fmt: skip


def test_the_hidden_judge_has_one_door_and_only_those_who_measure_come_in() -> None:
    """The hidden judge ranks as a scripted person and measures; nothing that trains may import it."""
    knows, enters = set(), set()
    for room in ("lab", "recipes"):
        for path in (REPO / room).rglob("*.py"):
            found, name = imports(path), str(path.relative_to(REPO))
            knows |= {name} if any(one.endswith(".gold") or ".gold." in one for one in found) else set()
            enters |= {name} if any("gold_judge" in one for one in found) else set()
    assert knows == {DOOR}
    assert enters == set(MEASURES)


@pytest.mark.parametrize(
    "module",
    ["lab.reward", "lab.pairwise", "lab.loss", "lab.learn", "recipes.reward_model", "recipes.grpo", "recipes.taste"],
)
def test_no_reward_model_and_no_loss_reaches_the_hidden_judge_by_any_way(module: str) -> None:
    seen = reached(module)
    assert module in seen
    assert GOLD not in seen
    assert "recipes.gold_judge" not in seen


def test_the_walk_finds_what_is_imported_inside_functions() -> None:
    assert GOLD in reached("recipes.commands.rank")


def reached(module: str) -> set[str]:
    """All modules of ours that a module imports, directly or not, at its top or inside of a function."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        path = REPO / name.replace(".", "/")
        file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if name in seen or not file.is_file():
            continue
        seen.add(name)
        for found in every_import(file):
            todo += [".".join(found.split(".")[: i + 1]) for i in range(found.count(".") + 1)]
    return seen


def every_import(path: Path) -> set[str]:
    """Modules a file may mean: `from a.b import c` is a.b, and a.b.c, which may be a module too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ALLOWED}
