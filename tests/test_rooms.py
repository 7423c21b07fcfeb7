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
    "lab.episodes", "lab.task",
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


def test_the_pocket_world_and_jokes_do_not_know_the_gold_judge() -> None:
    """The hidden judge is for measuring; nothing that trains may import it."""
    for room in ("lab", "recipes"):
        for path in (REPO / room).rglob("*.py"):
            if path.name != "gold.py":
                assert not any(name.endswith(".gold") for name in imports(path)), path
