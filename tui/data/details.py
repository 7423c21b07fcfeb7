"""What stands in a run's folder besides its figures: its passport, its model's size, its checkpoints; and taking it away."""

import json
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.runs import Info, checkpoints, lock, read_json
from tui.data.launch import last_lines
from tui.data.watch import LIVE, root

HEADER = 32 << 20  # bytes; a longer safetensors header is no header


@dataclass(frozen=True)
class Details:
    """Of one folder. parameters: 0 where unknown; checkpoints: steps that can be gone back to."""

    passport: dict[str, Any]
    parameters: int
    checkpoints: tuple[int, ...]
    text: dict[str, Any]  # data.json: documents, bytes, tokens

    @property
    def config(self) -> dict[str, Any]:
        found = self.passport.get("config")
        return found if isinstance(found, dict) else {}


_kept: dict[Path, tuple[tuple[int, ...], Details]] = {}


def details(folder: Path) -> Details:
    """Read again only where something changed: the screens ask twice a second."""
    names = ("run.json", "model.safetensors", "model.safetensors.index.json", "checkpoints", "data.json")
    stamp = tuple(_stamp(folder / name) for name in names)
    kept = _kept.get(folder)
    if kept and kept[0] == stamp:
        return kept[1]
    if len(_kept) > 200:
        _kept.clear()
    weights = kept[1].parameters if kept and kept[0][1:3] == stamp[1:3] else parameters(folder)
    steps = tuple(int(path.name) for path in checkpoints(folder))
    found = Details(read_json(folder / "run.json"), weights, steps, read_json(folder / "data.json"))
    _kept[folder] = (stamp, found)
    return found


def _stamp(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def parameters(folder: Path) -> int:
    """How many numbers a model has, out of the headers of its safetensors files (https://huggingface.co/docs/safetensors);
    0 where there are none, or where they are packed."""
    total = 0
    try:
        for path in sorted(folder.glob("model*.safetensors")):
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > HEADER:
                    return 0
                header = json.loads(file.read(length))
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                if entry["dtype"] not in ("F64", "F32", "F16", "BF16"):
                    return 0
                count = 1
                for size in entry["shape"]:
                    count *= int(size)
                total += count
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return 0
    return total


def last_words(folder: Path, count: int = 4) -> list[str]:
    """The last lines a run said: what its process printed where we started it, else its log."""
    printed, log = root() / ".starts" / f"{folder.name}.log", folder / "log.txt"
    newest = max((printed, log), key=_stamp)
    return last_lines(newest, count) or last_lines(log, count)


def remove(info: Info) -> None:
    """Delete a run's folder for good. UserError for what lives, for shipped models, and where the disk refuses."""
    if info.name.startswith("pocket-"):
        raise UserError(f"{info.name} is a shipped model and stays")
    if info.state in LIVE:
        raise UserError(f"{info.name} is {info.state}; stop it first (x)")
    folder = info.folder
    try:
        if folder.is_symlink():
            folder.unlink()  # the folder it stands for belongs to somebody else
            return
        handle = lock(folder / "lock", f"{info.name} is being written by another process")
        try:
            gone = folder.with_name(f".deleted-{folder.name}-{os.getpid()}")
            os.rename(folder, gone)  # at once: no half of it is ever listed
        finally:
            os.close(handle)
        shutil.rmtree(gone)
    except OSError as error:
        raise UserError(f"{info.name}: cannot be deleted ({error.strerror or error})") from error
