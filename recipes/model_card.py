"""README.md of a shipped model, out of its own record: what it is, how it came to be, what was measured."""

import dataclasses
import importlib
import math
import re
import shlex
from pathlib import Path
from typing import Any

from lab.runs import inspect, read_json, read_lines
from recipes import cli

SKIPPED = re.compile(r"cpu_s|tokens|trained_tokens|.*_(low|high)")  # told elsewhere, or an interval's ends
MOST = 60  # figures


def text(folder: Path, name: str) -> str:
    """The card, Markdown with the header that model hubs read. Figures are those of the run's last report, of the step it
    ended at, which of a run with a best checkpoint is not that of the weights."""
    info, passport = inspect(folder), read_json(folder / "run.json")
    config, shape = passport.get("config") or {}, read_json(folder / "config.json")
    parent, recipe = passport.get("parent") or "", str(passport.get("recipe"))
    report = next((r for r in list(read_lines(folder / "metrics.jsonl"))[::-1] if r.get("event") == "report"), {})
    head = ["library_name: mlx", "tags: [mlx, lab]"]
    head += [f"base_model: {parent}"] if parent else []
    step = passport.get("weights_step")
    weights = f"step {step}, the best of {info.step}" if step is not None else f"step {info.step}"
    command = shlex.join(["lab", recipe, *_flags(recipe, config)])
    made = [
        ("recipe", f"`{recipe}`: {cli.RECIPES[recipe][1]}" if recipe in cli.RECIPES else recipe),
        ("command", f"`{command}`"),
        ("parent", f"`{parent}`" if parent else "none: trained from nothing"),
        ("lineage", str(passport.get("lineage") or "not recorded")),
        ("weights", f"{weights}, {shape.get('torch_dtype', '')}"),
        ("shape", _shape(shape)),
        ("code", f"git {passport.get('git')}, {_versions(passport.get('versions') or {})}"),
        (
            "CPU time",
            f"{report['cpu_s'] / 60:.1f} minutes" if isinstance(report.get("cpu_s"), int | float) else "not recorded",
        ),
    ]
    lines = ["---", *head, "---", f"# {name}", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value.replace('|', '/')} |" for name, value in made), ""]
    figures = _figures(report)
    lines += ["## Measured", ""]
    lines += (
        [f"By the run itself, at step {info.step}, on what no training holds.", ""] if figures else ["Nothing.", ""]
    )
    lines += ["| figure | value |", "|---|---|", *figures, ""] if figures else []
    lines += ["## Use", "", "```", *_use(name, recipe), "```", ""]
    lines += [
        "A small model that shows how such models are made. Ask it nothing that matters: it invents, and what it was never "
        "taught it does not do.",
        "",
    ]
    return "\n".join(lines)


def _flags(recipe: str, config: dict[str, Any]) -> list[str]:
    """The flags of the command: what it began from, and what is not the recipe's default."""
    if recipe not in cli.RECIPES:
        return []
    fields = {f.name: f.default for f in dataclasses.fields(importlib.import_module(cli.RECIPES[recipe][0]).Config)}
    found: list[str] = []
    for key, value in config.items():
        default = fields.get(key, dataclasses.MISSING)
        if key in ("name", "resume") or value in (None, "") or (key != "model" and _plain(value) == _plain(default)):
            continue
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            found += [flag if value else f"--no-{flag.removeprefix('--')}"]
        else:
            found += [flag, *map(str, value if isinstance(value, list) else [value])]
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shape(shape: dict[str, Any]) -> str:
    width, layers = shape.get("hidden_size"), shape.get("num_hidden_layers")
    return (
        f"{layers} layers, width {width}, vocabulary {shape.get('vocab_size')}, context "
        f"{shape.get('max_position_embeddings')}, {shape.get('model_type')}"
    )


def _versions(versions: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _figures(report: dict[str, Any]) -> list[str]:
    """Rows of the table: numbers of the report, most of them shares."""
    rows = []
    for key, value in report.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if number and key not in ("step", "t", "event") and not SKIPPED.fullmatch(key):
            said = f"{int(value):,}" if float(value).is_integer() else f"{value:.3g}"
            rows.append(f"| {key.replace('_', ' ')} | {said} |")
    more = len(rows) - MOST
    return rows[:MOST] + ([f"| and {more} more | in metrics.jsonl |"] if more > 0 else [])


def _use(name: str, recipe: str) -> list[str]:
    if recipe == "reward-model":
        return [f"lab score --model {name} replies.jsonl"]
    if recipe == "selfplay":
        return [f"lab play --model {name}"]
    lines = (
        [f"lab chat --model {name}"] if recipe != "pretrain" else [f'lab generate --model {name} --prompt "One day"']
    )
    return [*lines, f"mlx_lm.generate --model weights/{name} --prompt hello"]
