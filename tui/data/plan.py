"""What a run would do, asked of `lab plan` in a child process: the recipes and their flags; then, for flags, size, memory,
time and what is wrong with them."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import UserError
from lab.runs import free
from tui.data.launch import environment, lab


@dataclass(frozen=True)
class Flag:
    """One flag of a recipe, as `lab plan --json` tells it."""

    name: str
    flag: str
    type: str
    default: Any
    choices: tuple[str, ...]
    help: str
    many: bool
    main: bool

    @property
    def shown(self) -> str:
        """Its default as it is typed; '' where the recipe decides."""
        if self.default is None or isinstance(self.default, list):
            return ""
        return ("yes" if self.default else "no") if isinstance(self.default, bool) else f"{self.default}"


@dataclass(frozen=True)
class Recipe:
    """One recipe."""

    name: str
    line: str
    flags: tuple[Flag, ...]


_known: list[Recipe] = []  # they do not change while we live


def recipes() -> list[Recipe]:
    """All recipes and their flags; asked once, which takes a fifth of a second. UserError where `lab plan` does not work."""
    if not _known:
        try:
            done = subprocess.run(
                lab("plan", "--json"), capture_output=True, text=True, timeout=60, env=environment(), stdin=subprocess.DEVNULL
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise UserError(f"lab plan: {error}") from error
        found = [_recipe(row) for row in _rows(done.stdout.splitlines()) if row.get("event") == "recipe"]
        if done.returncode or not found:
            raise UserError(f"{last_line(done.stderr) or 'lab plan said nothing'}")
        _known.extend(found)
    return list(_known)


def _recipe(row: Mapping[str, Any]) -> Recipe:
    flags = [
        Flag(f["name"], f["flag"], f["type"], f["default"], tuple(f["choices"]), f["help"], f["many"], f["main"])
        for f in row["flags"]
    ]
    return Recipe(str(row["recipe"]), str(row["line"]), tuple(flags))


def arguments(flags: Sequence[Flag], values: Mapping[str, Any]) -> list[str]:
    """The flags to type for these values (text as typed, or what stood in a config); those at their default are left
    out."""
    out: list[str] = []
    for flag in flags:
        value = values.get(flag.name)
        if value is None or value == flag.default or (isinstance(value, str) and value.strip() == flag.shown):
            continue
        if flag.type == "bool" and not flag.many:
            on = value if isinstance(value, bool) else str(value).strip().lower() in ("yes", "true", "on", "1")
            if on != flag.default:
                out.append(flag.flag if on else "--no-" + flag.flag.removeprefix("--"))
            continue
        parts = _parts(value) if flag.many else [str(value).strip()]
        for part in parts:
            if part:
                out += [f"{flag.flag}={part}"] if part.startswith("-") else [flag.flag, part]
    return out


def _parts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [str(part) for part in value] if isinstance(value, list | tuple) else [str(value)]


def typed(flag: Flag, value: Any) -> str:
    """A value as it stands in a form."""
    if value is None:
        return flag.shown
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def fresh_name(recipe: str, taken: Sequence[str]) -> str:
    """The next free name, those left out that are on their way but have no folder yet."""
    name = free(recipe)
    number = int(name.rpartition("-")[2])
    while name in taken:
        number += 1
        name = f"{recipe}-{number}"
    return name


class Planner:
    """One `lab plan RECIPE ... --json`; `follow` blocks and is for a thread, `stop` ends it at once from any thread."""

    def __init__(self, recipe: str, args: Sequence[str]):
        self._argv = lab("plan", recipe, *args, "--json")
        self._lock, self._stopped = threading.Lock(), False
        self._process: subprocess.Popen[str] | None = None

    def follow(self, hear: Callable[[dict[str, Any]], Any]) -> None:
        """Tell `hear` each object it prints; {"event": "failed", "message"} where it ends badly, nothing once stopped."""
        with self._lock:
            if self._stopped:
                return
            try:
                self._process = subprocess.Popen(
                    self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    env=environment(), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                hear({"event": "failed", "message": f"lab plan: {error.strerror or error}"})
                return
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            for row in _rows(process.stdout):
                if not self._stopped:
                    hear(row)
            said = process.stderr.read()
        if process.returncode and not self._stopped:
            hear({"event": "failed", "message": last_line(said).removeprefix("lab plan: ") or "lab plan ended badly"})

    def stop(self) -> None:
        """End it; nothing more is heard."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(OSError):
                    self._process.kill()


def _rows(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                yield row


def last_line(text: str) -> str:
    """The last line with anything in it."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
