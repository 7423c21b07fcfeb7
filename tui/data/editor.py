"""A run's config as YAML in the user's editor."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import UserError

HEAD = "# Flags of `lab {recipe}`, as {name} had them. Save and close: the start dialog shows them. An empty file: nothing.\n"


def command() -> list[str]:
    """$VISUAL or $EDITOR with its arguments; vi where neither is set. UserError where it cannot be understood."""
    said = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        return shlex.split(said)
    except ValueError as error:
        raise UserError(f"EDITOR={said}: {error}; set it to a command, such as EDITOR=nano") from error


def edited(name: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What came out of the editor, None where nothing was to be done (empty, or the editor failed). Blocks until the
    editor ends: the screen is lent to it. UserError for a missing editor, and for YAML that is no `flag: value` a line."""
    kept = {key: value for key, value in config.items() if key not in ("name", "resume")}
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        path = Path(folder) / f"{name}.yaml"
        path.write_text(
            HEAD.format(recipe=name.rpartition("-")[0] or name, name=name) + yaml.safe_dump(kept, sort_keys=False)
        )
        words = command()
        try:
            done = subprocess.run([*words, str(path)], check=False)
        except OSError as error:
            raise UserError(f"{words[0]}: {error.strerror}; set EDITOR to an editor, such as EDITOR=nano") from error
        if done.returncode:
            raise UserError(f"{words[0]} ended with {done.returncode}; nothing was started")
        return parsed(path.read_text(encoding="utf-8", errors="replace"), path.name)


def parsed(text: str, name: str) -> dict[str, Any] | None:
    """Flags out of YAML. UserError in one line."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: {' '.join(str(error).split())[:160]}") from error
    if values is None:
        return None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{name}: write one `flag: value` a line")
    return {key.replace("-", "_"): value for key, value in values.items()}
