"""Starting recipes: the command a person could type, as a process that outlives us, with its first words kept."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UserError
from lab.runs import Info, root

REPO = Path(__file__).resolve().parents[2]
KEEP = 20  # files of first words


def lab(*args: str) -> list[str]:
    """argv of `lab ...` with this Python. -P: a folder called recipes where the user stands must not be taken for ours."""
    return [sys.executable, "-P", "-m", "recipes", *args]


def environment() -> dict[str, str]:
    """Ours, with the clone importable from wherever the user stands."""
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def command(recipe: str, flags: Sequence[str]) -> str:
    """The line to type for the same: 'lab pretrain --name try'."""
    return shlex.join(["lab", recipe, *flags])


@dataclass
class Started:
    """A recipe on its way. `failed` is its last line where it ended with an error."""

    recipe: str
    name: str
    line: str
    log: Path
    process: "subprocess.Popen[bytes]"
    failed: str = ""

    def poll(self) -> bool:
        """Whether it has ended."""
        code = self.process.poll()
        if code and not self.failed:
            self.failed = last_line(self.log) or f"ended with {code}"
        return code is not None


class Starts:
    """The recipes started from here."""

    def __init__(self) -> None:
        self.started: list[Started] = []

    def start(self, recipe: str, name: str, flags: Sequence[str] = ()) -> Started:
        """Run `lab RECIPE --name NAME ...` detached: it goes on when the TUI ends or its terminal closes. It waits by
        itself while another training holds the accelerator."""
        folder = root() / ".starts"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in sorted(folder.glob("*.log"), key=os.path.getmtime)[:-KEEP]:
                old.unlink(missing_ok=True)
            log = folder / f"{name}.log"
            args = ["--name", name, *flags]
            with open(log, "wb") as file:
                process = subprocess.Popen(
                    lab(recipe, *args), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                    start_new_session=True, env=environment(),
                )  # fmt: skip
        except OSError as error:
            raise UserError(f"{recipe} cannot be started: {error.strerror or error}") from error
        started = Started(recipe, name, command(recipe, args), log, process)
        self.started.append(started)
        return started

    def resume(self, info: Info) -> Started:
        """Go on with a run that was stopped or died."""
        return self.start(info.recipe, info.name, ["--resume"])

    def ended(self) -> list[Started]:
        """Those that ended since the last look."""
        over = [s for s in self.started if s.poll()]
        self.started = [s for s in self.started if s not in over]
        return over


def last_line(path: Path, size: int = 8192) -> str:
    """The last line with anything in it."""
    lines = last_lines(path, 1, size)
    return lines[0] if lines else ""


def last_lines(path: Path, count: int, size: int = 65_536) -> list[str]:
    """The last lines of a text file, out of its last `size` bytes."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def wait(started: Started, seconds: float) -> bool:
    """Until its folder is there, or it has ended; False when neither came in time. For scripts and tests."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if started.poll() or (root() / started.name / "run.json").exists():
            return True
        time.sleep(0.05)
    return False
