"""What was appended to a jsonl file since the last look. A training writes it meanwhile, may be killed in the middle of a
line, and on --resume cuts it back."""

import json
import os
from pathlib import Path
from typing import Any

CHUNK = 1 << 18  # bytes a read: a few milliseconds of parsing
LONGEST = 16 << 20  # bytes of one line; more is no record of ours
LAST = 64  # bytes before the place read up to, which must still be there


class Tail:
    """Whole lines only; a torn one is read when it is whole. A file that was replaced, or cut (also when it has grown
    past the old place since), is read from its beginning again."""

    def __init__(self, path: Path):
        self.path = path
        self.size = 0  # of the file at the last look
        self._start()

    def _start(self) -> None:
        self.read, self._rest, self._last, self._node = 0, b"", b"", (0, 0)

    @property
    def behind(self) -> float:
        """Share of the file not read yet."""
        return max(0.0, 1 - self.read / self.size) if self.size else 0.0

    def poll(self) -> tuple[list[dict[str, Any]], bool]:
        """(rows that are new, at most CHUNK bytes of them; whether the file began anew before them)."""
        try:
            status = os.stat(self.path)
        except OSError:
            anew, self.size = self.read > 0, 0
            self._start()
            return [], anew
        self.size, node, anew = status.st_size, (status.st_dev, status.st_ino), False
        if self.read and (node != self._node or self.size < self.read):
            self._start()
            anew = True
        self._node = node
        if self.size == self.read:
            return [], anew
        try:
            with open(self.path, "rb") as file:
                back = len(self._last)
                file.seek(self.read - back)
                chunk = file.read(back + CHUNK)
                if chunk[:back] != self._last:  # cut and grown again between two looks
                    self._start()
                    self._node, anew, back = node, True, 0
                    file.seek(0)
                    chunk = file.read(CHUNK)
        except OSError:
            self.size = self.read  # a folder of that name, or not ours to read: nothing is behind
            return [], anew
        new = chunk[back:]
        self.read += len(new)
        self._last = (self._last + new)[-LAST:]
        *lines, self._rest = (self._rest + new).split(b"\n")
        if len(self._rest) > LONGEST:
            self._rest = b""
        return parse(lines), anew


def parse(lines: list[bytes]) -> list[dict[str, Any]]:
    """The objects among the lines. All at once, which takes half the time; one by one where a line is broken."""
    try:
        rows = json.loads(b"[" + b",".join(line for line in lines if line.strip()) + b"]")
    except (ValueError, RecursionError):
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
    return [row for row in rows if isinstance(row, dict)]
