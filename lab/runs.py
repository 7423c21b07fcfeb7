"""Reading run folders: where they are, what state they are in, which weights a name means. No MLX: the TUI uses it too."""

import difflib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError, expand

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LIVE = ("starting", "queued", "running", "paused", "saving")  # states in which a process holds the lock
COMMANDS = ("pause", "resume", "checkpoint", "stop")
GUIDE = "pocket-rlhf"  # the last of its line: it answers, admits, searches, computes, thinks and jokes
MUTE = frozenset({"selfplay", "reward-model"})  # recipes whose models write no text
# The record of steps, which a resumed run cuts back to its checkpoint. Whatever else lies in the folder stays whole: orders,
# notes, an edited knowledge.jsonl, rankings that a person wrote into it.
RECORDED = ("metrics.jsonl", "samples.jsonl")


def root() -> Path:
    """Where runs live: $LAB_HOME, or `weights/` of the clone this code runs from."""
    home = os.environ.get("LAB_HOME")
    return expand(home) if home else Path(__file__).resolve().parent.parent / "weights"


def write_atomic(path: Path, text: str, sync: bool = True) -> None:
    """Replace `path` by `text`: written beside, fsynced, renamed. A reader never sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, or {} when the file is missing, half written by something else, or no object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a jsonl file; a torn last line (its writer was killed) is left out."""
    try:
        file = open(path, "rb")  # noqa: SIM115  (closed by the with below; open alone may fail)
    except OSError:
        return
    with file:
        for line in file:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                yield row


def alive(folder: Path) -> bool:
    """True while a process holds the run's lock. Survives pid reuse and kill -9, unlike a pid file."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Info:
    """What `lab runs` shows of one run folder."""

    name: str
    folder: Path
    recipe: str
    state: str  # queued, running, paused, done, stopped, failed, died, model
    step: int
    total: int
    headline: str
    parent: str | None
    created: float
    status: dict[str, Any]


def inspect(folder: Path) -> Info:
    """Read a run folder without opening it for writing."""
    run, status = read_json(folder / "run.json"), read_json(folder / "status.json")
    state = str(status.get("state", "model"))
    if state in LIVE and not alive(folder):
        status = read_json(folder / "status.json")  # it may have ended well between the two looks
        state = str(status.get("state", "model"))
        state = "died" if state in LIVE else state
    step, total = (int(_number(status.get(key))) for key in ("step", "total"))
    recipe, headline, parent = run.get("recipe") or "", status.get("headline") or "", run.get("parent")
    parent, created = parent if isinstance(parent, str) else None, _number(run.get("created"))
    return Info(folder.name, folder, str(recipe), state, step, total, str(headline), parent, created, status)


def _number(value: Any) -> float:
    """A number out of somebody's JSON; 0 for anything else, and for what is no finite one."""
    real = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not
    return float(value) if real else 0.0


def runs(look: Callable[[Path], Info] = inspect) -> list[Info]:
    """Every run and model folder in the root, newest first, shipped ones last. `look` reads one (a watcher remembers)."""
    if not root().is_dir():
        return []
    infos = [look(f) for f in root().iterdir() if not f.name.startswith(".") and _is_model(f)]
    return sorted(infos, key=lambda i: (i.name.startswith("pocket-"), -i.created, i.name))


def to_talk_with() -> list[Info]:
    """The same in the order in which a chat takes one that nobody named: of the shipped ones GUIDE first."""
    return sorted(runs(), key=lambda i: (i.name.startswith("pocket-"), i.name != GUIDE))


def _is_model(folder: Path) -> bool:
    """A run or model folder that may be looked into."""
    return any(os.path.isfile(f"{folder}/{name}") for name in ("run.json", "config.json"))


def find(model: str) -> tuple[Path, Path]:
    """(model folder, folder of the weights) of a path, a run name, or `run@400` (one checkpoint of a run; `run@best` is the one
    that the run calls so, `run@last` its newest)."""
    name, at, step = model.rpartition("@")
    if not at or expand(model).is_dir():
        name, step = model, ""
    folder = expand(name)
    if not folder.is_dir() and (root() / name).is_dir():
        folder = root() / name
    if not folder.is_dir():
        near = difflib.get_close_matches(name, [i.name for i in runs()], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{name}: no such folder, and no such run in {root()}; {hint}`lab runs` lists them")
    if not step:
        return folder, folder
    if step in ("best", "last"):
        try:
            step = (folder / step).read_text(encoding="utf-8").strip()
        except OSError:
            raise UserError(f"{model}: this run names no {step} checkpoint; leave out @{step}") from None
    checkpoint = folder / "checkpoints" / (f"{int(step):06d}" if step.isascii() and step.isdecimal() else "none")
    if not checkpoint.is_dir():
        have = ", ".join(str(int(c.name)) for c in checkpoints(folder)) or "none"
        raise UserError(f"{model}: no checkpoint at step {step}; there are: {have}")
    return folder, checkpoint


def lineage_of(parent: str | None, created: float) -> str:
    """The id that all runs of a line bear, ten hex digits: its parent's; of what came from elsewhere made of its name; of a
    run without a parent, of when it began."""
    for _ in range(100):  # run.json of older runs names none: their root's is found
        if not parent:
            break
        name = parent
        try:
            folder = find(parent)[0]
            told, name = read_json(folder / "run.json"), folder.resolve().name
        except UserError:  # of the hub
            told = {}
        if told.get("lineage"):
            return str(told["lineage"])
        if not told:
            return hashlib.sha256(name.encode()).hexdigest()[:10]
        above = told.get("parent")
        parent, created = above if isinstance(above, str) else None, _number(told.get("created"))
    return hashlib.sha256(f"{created}".encode()).hexdigest()[:10]


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    inside = folder / "checkpoints"
    found = [c for c in inside.glob("*") if c.name.isdigit()] if inside.is_dir() else []
    return sorted(found, key=lambda c: int(c.name))


def send(name: str, command: str) -> None:
    """Append a control line to a live run; it obeys between two steps."""
    folder, _ = find(name)
    if command not in COMMANDS:
        raise UserError(f"{command}: no such control; choose {', '.join(COMMANDS)}")
    if not alive(folder):
        raise UserError(f"{name}: no process runs it (state: {inspect(folder).state}); nothing to {command}")
    with open(folder / "control.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"cmd": command, "t": time.time()}) + "\n")


def add_note(name: str, step: int, text: str) -> None:
    """A person's words on a run, at a step: one more line of notes.jsonl."""
    folder, _ = find(name)
    try:
        with open(folder / "notes.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "t": time.time(), "text": text}, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{folder}: the note cannot be written ({error.strerror})") from error


def free(recipe: str) -> str:
    n = 1
    while (root() / f"{recipe}-{n}").exists():
        n += 1
    return f"{recipe}-{n}"


def newest(recipe: str) -> str:
    """The name of the last run of a recipe, for --resume without a name."""
    mine = [i for i in runs() if i.recipe == recipe and (i.folder / "checkpoints").is_dir()]
    if not mine:
        raise UserError(f"--resume: no {recipe} run in {root()}; start one without --resume")
    return mine[0].name


def check_name(name: str) -> None:
    """A run's name is one plain folder name, and not that of a shipped model."""
    if not NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: use letters, digits, dots, dashes and underscores")
    if name.startswith("pocket-"):
        raise UserError(
            f"--name {name}: pocket-* are the shipped models, which runs do not overwrite; choose another name"
        )


def lock(path: Path, busy: str, patience: float = 0.5) -> int:
    """Take a file's lock and return its handle. Tries for `patience` seconds, because a watcher that asks `alive` holds
    it for an instant too."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except OSError:
            if time.monotonic() >= until:
                os.close(handle)
                stop = f"wait for it, or stop it with `lab ctl {path.parent.name} stop`"
                raise UserError(f"{busy}; {stop}") from None
            time.sleep(0.02)
