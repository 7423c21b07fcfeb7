"""run.json: all that made a run, written once when it starts."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.runs import lineage_of

VERSION = 1  # of the run folder's format


def passport(
    recipe: str, config: dict[str, Any], parent: str | None, charts: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """run.json: all that made the run, written once, and what to draw of it: charts of {"title", "keys", "log"}, the
    main one first."""
    versions, now = {"python": sys.version.split()[0]}, time.time()
    for package in ("mlx", "mlx-lm", "sentencepiece", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "version": VERSION, "recipe": recipe, "config": config, "parent": parent, "lineage": lineage_of(parent, now),
        "argv": sys.argv[1:], "versions": versions, "git": _git_revision(), "created": now, "seed": config.get("seed"),
    } | ({"charts": list(charts)} if charts else {})  # fmt: skip


def _git_revision() -> str | None:
    here = Path(__file__).resolve().parent
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()
    return None
