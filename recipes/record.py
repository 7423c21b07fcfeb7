"""docs/claims.json, the committed record of what the recipes showed: figures of each seed, the command, the revision, and a
hash of every file the figures depend on. `make claims` writes it, `lab report` reads it. No MLX."""

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.runs import read_json

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs" / "claims.json"
ENDS = ("bits_per_byte", "val_loss", "found")  # figures of steps whose first and last value count
# Figures of looks whose last three are averaged: of 256 replies a single one is off by .05 at times.
LATE = ("held_pass",)
NAMES = ("told", "n", "name")  # what a row of a list is called by, where it has one of these
Bound = tuple[str, str, float]  # a figure, or one less another ("a - b"); >= or <=; value


def claims(path: Path = RECORD) -> dict[str, dict[str, Any]]:
    """All rows by the claim's name; {} where there is no record."""
    return {name: row for name, row in read_json(path).items() if isinstance(row, dict)}


def hashes(patterns: Iterable[str], root: Path = ROOT) -> dict[str, str]:
    """File -> sha256 (16 digits) of what figures depend on; of Python what it does, not what it says."""
    paths = sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): digest(path.suffix, path.read_bytes()) for path in paths}


@functools.cache
def digest(suffix: str, content: bytes) -> str:
    """Of code without its comments and docstrings: figures that are written into these make no figure stale."""
    if suffix == ".py":
        tree = ast.parse(content)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [x for x in body if not _words(x)]  # type: ignore[attr-defined]
        content = ast.dump(tree).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def changed(row: Mapping[str, Any], patterns: Iterable[str] = (), root: Path = ROOT) -> list[str]:
    """Files that are not what they were when the row was measured; with the patterns that it depends on also new ones."""
    then = row.get("files", {})
    now = hashes([*then, *patterns], root)
    return sorted(path for path in now.keys() | then.keys() if now.get(path) != then.get(path))


def valued(figures: Mapping[str, list[float]], key: str) -> list[float]:
    """A figure of each seed, or the difference of two; [] where one is missing."""
    one, _, other = key.partition(" - ")
    if one not in figures or (other and other not in figures):
        return []
    return [a - b for a, b in zip(figures[one], figures[other], strict=True)] if other else list(figures[one])


def holds(figures: Mapping[str, list[float]], bound: Bound) -> bool:
    """Whether the bound holds for every seed."""
    key, sign, limit = bound
    values = valued(figures, key)
    return bool(values) and all(v >= limit if sign == ">=" else v <= limit for v in values)


def numbers(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The figures of a run's metrics.jsonl: those of its report, of a way with the way's name before them, of a probe with
    the probe's; of the rows of steps the first and the last of some figures, as first.KEY and last.KEY, and the mean of the
    last three as late.KEY."""
    found: dict[str, float] = {}
    looks: dict[str, list[float]] = {key: [] for key in LATE}
    for row in rows:
        event = row.get("event")
        for key in LATE if event is None else ():
            if isinstance(row.get(key), int | float):
                looks[key].append(row[key])
        for key in ENDS if event is None else ():
            if isinstance(row.get(key), int | float):
                found.setdefault(f"first.{key}", row[key])
                found[f"last.{key}"] = row[key]
        if event in ("report", "way", "probe"):
            prefix = {"report": "", "way": f"{row.get('way')}_", "probe": f"{row.get('probe')}."}[event]
            found |= {f"{prefix}{k}": v for k, v in flat(row).items() if k not in ("step", "t")}
    return found | {f"late.{key}": sum(seen[-3:]) / len(seen[-3:]) for key, seen in looks.items() if seen}


def flat(value: Any, prefix: str = "") -> dict[str, float]:
    """The numbers of a JSON value by their dotted names."""
    if isinstance(value, Mapping):
        return {
            k: v
            for name, part in value.items()
            for k, v in flat(part, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    if isinstance(value, list):
        found: dict[str, float] = {}
        for i, part in enumerate(value):
            own = next((part[n] for n in NAMES if n in part), i) if isinstance(part, Mapping) else i
            found |= flat(part, f"{prefix}.{own}")
        return found
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {prefix: float(value)}
    return {}
