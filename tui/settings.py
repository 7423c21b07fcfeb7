"""What a person set: theme, glyphs and keys, in one YAML file that may be written by hand."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lab.errors import UserError
from lab.runs import write_atomic

GLYPHS = ("auto", "braille", "block")
HEAD = """# Settings of `lab tui`. `glyphs: block` where braille dots look broken; `keys:` gives an action another key, such as
#   keys:
#     train.pause: space
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


def path() -> Path:
    """~/.config/lab/tui.yaml, or below $XDG_CONFIG_HOME."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "lab" / "tui.yaml"


def load() -> Settings:
    """The file's settings; what is wrong in it is said and left out."""
    settings, file = Settings(), path()
    try:
        read: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return settings
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        settings.wrong.append(f"{file}: {' '.join(str(error).split())[:120]}; mend or delete it")
        return settings
    if not isinstance(read, dict):
        settings.wrong.append(f"{file}: write one `name: value` a line")
        return settings
    for name, value in read.items():
        if name == "theme" and isinstance(value, str):
            settings.theme = value
        elif name == "glyphs" and value in GLYPHS:
            settings.glyphs = value
        elif name == "send" and value in ("enter", "ctrl+j"):
            settings.send = value
        elif name == "keys" and isinstance(value, dict):
            settings.keys = {str(k): str(v) for k, v in value.items()}
        else:
            settings.wrong.append(f"{file}: {name}: {value} is not known; there are theme, glyphs, send and keys")
    return settings


def save(settings: Settings) -> None:
    """Write the file. UserError when it cannot be written."""
    values: dict[str, Any] = {"theme": settings.theme, "glyphs": settings.glyphs, "send": settings.send}
    if settings.keys:
        values["keys"] = settings.keys
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path(), HEAD + yaml.safe_dump(values, sort_keys=False), sync=False)
    except OSError as error:
        raise UserError(f"{path()}: cannot be written ({error.strerror}); settings last until you quit") from error


def glyphs(settings: Settings) -> str:
    """braille, or block where the terminal is known to draw braille with gaps (Apple's Terminal)."""
    if settings.glyphs != "auto":
        return settings.glyphs
    return "block" if os.environ.get("TERM_PROGRAM") == "Apple_Terminal" else "braille"
