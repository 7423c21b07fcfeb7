"""What a person set: theme, glyphs and keys, in one YAML file that may be written by hand."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lab.errors import UserError
from lab.runs import write_atomic

GLYPHS = ("auto", "braille", "block")
NAMES = ("theme", "glyphs", "send")  # what the window itself changes
HEAD = """# Settings of `lab tui`. `glyphs: block` where braille dots look broken; `keys:` gives an action another key, such as
#   keys:
#     train.pause: f6
# `lab tui --keys` lists the names of the actions and their keys.
"""


@dataclass
class Settings:
    """Read once at the start; `wrong` says what of the file could not be used."""

    theme: str = "lab-dark"
    glyphs: Literal["auto", "braille", "block"] = "auto"
    send: Literal["enter", "ctrl+j"] = "enter"  # what sends a message; the other one makes a new line
    keys: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict, compare=False, repr=False)  # what needs no writing


def path() -> Path:
    """~/.config/lab/tui.yaml, or below $XDG_CONFIG_HOME."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "lab" / "tui.yaml"


def load() -> Settings:
    """The file's settings; what is wrong in it is said and left out."""
    settings = _load()
    settings.kept = {name: getattr(settings, name) for name in NAMES}
    return settings


def _load() -> Settings:
    settings, file = Settings(), path()
    try:
        read = _parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return settings
    except (OSError, ValueError) as error:
        settings.wrong.append(f"{file}: {' '.join(str(error).split())[:120]}; mend or delete it")
        return settings
    for name, value in read.items():
        if name == "theme" and isinstance(value, str):
            settings.theme = value
        elif name == "glyphs" and value in GLYPHS:
            settings.glyphs = value
        elif name == "send" and value in ("enter", "ctrl+j"):
            settings.send = value
        elif name == "keys" and isinstance(value, dict):
            settings.keys = {str(k): ",".join(map(str, v if isinstance(v, list) else [v])) for k, v in value.items()}
        elif name != "keys" or value is not None:
            settings.wrong.append(f"{file}: {name}: {value} is not known; there are theme, glyphs, send and keys")
    return settings


def _parse(text: str) -> dict[Any, Any]:
    """The file's mapping. ValueError where it holds none."""
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(read, dict | None):
        raise ValueError("write one `name: value` a line")
    return read or {}


def save(settings: Settings) -> None:
    """Write what has changed, each into its line: what a person wrote beside it stays, and what another window set
    meanwhile. UserError when the file cannot be written, or is broken: then it is left as it is."""
    file = path().resolve()  # it may be a link into somebody's dotfiles
    changed = {name: getattr(settings, name) for name in NAMES if getattr(settings, name) != settings.kept.get(name)}
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else HEAD
        if settings.keys and not _parse(text).get("keys"):
            text = f"{text.rstrip()}\n{yaml.safe_dump({'keys': settings.keys})}"
        for name, value in changed.items():
            line = yaml.safe_dump({name: value}).strip()
            text, found = re.subn(rf"(?m)^{name}[ \t]*:.*$", lambda _, line=line: line, text, count=1)  # type: ignore[misc]
            text = text if found else f"{text.rstrip()}\n{line}\n"
        if not changed.items() <= _parse(text).items():
            raise ValueError("not one `name: value` a line")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, text, sync=False)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        raise UserError(f"{path()}: cannot be written ({why}); settings last until you quit") from error
    settings.kept |= changed


def glyphs(settings: Settings) -> str:
    """braille, or block where the terminal is known to draw braille with gaps (Apple's Terminal)."""
    if settings.glyphs != "auto":
        return settings.glyphs
    return "block" if os.environ.get("TERM_PROGRAM") == "Apple_Terminal" else "braille"
