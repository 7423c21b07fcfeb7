"""A run's log.txt as it grows, and its events and notes in words."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.display import CONTROLS
from tui.data.charts import number

FIRST = 1 << 18  # bytes of an old log that are read at all
CHUNK = 1 << 18
FIGURES = 4  # of an event that are told


class TextTail:
    """Lines of a text file, the end of an old one first; then what is appended. A file cut or replaced begins anew."""

    def __init__(self, path: Path):
        self.path = path
        self._read, self._node, self._rest = -1, 0, b""

    def poll(self) -> tuple[list[str], bool]:
        """(whole lines that are new, whether they are all there is: the file began anew)."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                anew = self._read < 0 or status.st_ino != self._node or status.st_size < self._read
                if anew:
                    self._read, self._node, self._rest = max(0, status.st_size - FIRST), status.st_ino, b""
                if status.st_size == self._read and not anew:
                    return [], False
                file.seek(self._read)
                chunk = file.read(CHUNK)
                begins_inside = anew and self._read > 0
        except OSError:
            gone, self._read = self._read >= 0, -1
            return [], gone
        self._read += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > CHUNK:
            lines, self._rest = [*lines, self._rest], b""
        return [_line(line) for line in lines[begins_inside:]], anew


def _line(line: bytes) -> str:
    """One line, safe to show. What a progress bar drew over (\\r) is left out."""
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2].expandtabs(4).translate(CONTROLS)


def event_words(row: Mapping[str, Any]) -> tuple[float, float, str, str]:
    """(time, step, kind, words) of an event or a note."""
    at, step = number(row.get("t")) or 0.0, number(row.get("step")) or 0.0
    what = row.get("event")
    if what is None:
        return at, step, "note", str(row.get("text", "")).translate(CONTROLS)
    said = {"checkpoint": "checkpoint saved", "resume": "went on from here"}.get(str(what))
    if what == "control":
        said = {
            "pause": "asked to pause", "resume": "asked to go on", "checkpoint": "asked for a checkpoint",
            "stop": "asked to stop and save",
        }.get(str(row.get("cmd")), f"asked to {row.get('cmd')}")  # fmt: skip
    if said is None and row.get("probe"):
        said = f"{what} {row['probe']}"  # its figures are in the log, and in the table
    elif said is None:
        figures = [f"{k} {_short(v)}" for k, v in row.items() if k not in ("t", "step", "event") and not _long(v)]
        more = ", …" if len(figures) > FIGURES else ""
        said = f"{what}: {', '.join(figures[:FIGURES])}{more}" if figures else str(what)
    return at, step, str(what).translate(CONTROLS), said.translate(CONTROLS)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]


def _long(value: Any) -> bool:
    return isinstance(value, dict | list)


def time_of_day(t: float) -> str:
    """'12:03:41'; blank for the unknown."""
    return time.strftime("%H:%M:%S", time.localtime(t)) if t > 0 else " " * 8
