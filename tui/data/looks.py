"""Where text is, and what `lab data` says of it: a child process, whose answer is kept until the files change."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import lab.read as read
from lab.data import cache_folder
from lab.errors import UserError, expand
from lab.runs import Info, read_json, root, write_atomic
from tui.data.charts import number
from tui.data.glance import text_of
from tui.data.launch import REPO, environment, lab
from tui.data.plan import last_line
from tui.data.rows import column_of

POCKET = "pocket"
KEPT = 40  # answers in the cache
FILES = 500  # of a folder that the viewer goes through


@dataclass(frozen=True)
class Source:
    """Something to look at. `key` is what `lab data` is called with; a hub data set has no path until it is fetched."""

    key: str
    title: str
    note: str = ""
    path: Path | None = None
    tokens: tuple[int, str] | None = None  # and by whose tokenizer
    column: str = ""


def sources(runs: Sequence[Info], typed: Sequence[str] = ()) -> list[Source]:
    """The pocket world, demonstrations, what runs are trained on, and what was typed; each once."""
    found = {
        POCKET: Source(POCKET, "the pocket world", "generated: what the pocket models read", None, _tokens(runs, ""))
    }
    own = root() / "demonstrations.jsonl"
    if own.exists():
        found[str(own)] = Source(str(own), "demonstrations", "replies that you approved in Chat", own)
    for info in runs:
        config = read_json(info.folder / "run.json").get("config")
        data = config.get("data") if isinstance(config, dict) else None
        if isinstance(data, str) and data and data not in found:
            column = str(config.get("text_column") or "") if isinstance(config, dict) else ""
            found[data] = _named(data, f"{info.name} is trained on it", _tokens(runs, data), column)
    for data in [*_cleaned(), *typed]:
        if data not in found:
            found[data] = _named(data, "", _tokens(runs, data), "")
    return list(found.values())


def _cleaned() -> list[str]:
    """Folders that `lab data --out` wrote where the user stands."""
    with contextlib.suppress(OSError):
        inside = sorted(islice(Path.cwd().iterdir(), FILES))
        return [str(f) for f in inside if (f / "report.json").is_file() and (f / "train.jsonl").is_file()]
    return []


def _named(data: str, note: str, tokens: tuple[int, str] | None, column: str) -> Source:
    path = expand(data)
    if not path.exists():
        return Source(data, data, f"{note}{'; ' * bool(note)}not here", None, tokens, column)
    if path.is_dir() and (path / "report.json").exists():
        note = f"cleaned{'; ' * bool(note)}{note}"
    return Source(data, path.name or data, note, path, tokens, column)


def _tokens(runs: Sequence[Info], data: str) -> tuple[int, str] | None:
    """(tokens, name of the run) of the newest run that was trained on this text."""
    for info in runs:
        if info.recipe != "pretrain":
            continue
        config = read_json(info.folder / "run.json").get("config")
        same = isinstance(config, dict) and (config.get("data") or "") == data and not (config.get("mix") and not data)
        if same and (count := number(text_of(info.folder).get("tokens"))):
            return int(count), info.name
    return None


def files_of(source: Source) -> tuple[list[Path], str]:
    """(the files with text of a source, held-out ones last; why there are none). May walk a folder: for a thread."""
    if source.key == POCKET:
        folder = pocket_folder()
        return [p for name in ("train", "valid") if (p := folder / f"{name}.jsonl").exists()], ""
    if source.path is None:
        if read.hub_name(source.key) is None:
            return [], f"{source.key}: no such file or folder"
        return [], f"{source.key}: not on this computer; `lab data` would download a data set of the hub"
    try:
        train, valid, _ = read.look(source.path)
    except UserError as error:
        return [], str(error)
    return list(islice(train + valid, FILES)), ""


def column(path: Path) -> str:
    """Where the rows of a file keep their text, by its first row; '' for files without rows."""
    if read.suffix(path) not in read.ROWS or path.suffix.lower() in read.PACKED:
        return ""
    with contextlib.suppress(OSError, ValueError, RecursionError), open(path, "rb") as file:
        row = json.loads(file.readline(4_000_000))
        return column_of(row) if isinstance(row, dict) else ""
    return ""


# -- what lab data says ----------------------------------------------------------------------------------------------


def looks_folder() -> Path:
    """Where answers are kept."""
    return cache_folder() / "looks"


def pocket_folder() -> Path:
    """The pocket world as files, made by this version of its code."""
    return looks_folder() / f"pocket-{_stamp(sorted((REPO / 'recipes' / 'pocket').glob('*.py')))}"


def _stamp(paths: Sequence[Path], *more: str) -> str:
    told = list(more)
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.stat()
            told.append(f"{path} {status.st_size} {status.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:20]


def known(source: Source) -> dict[str, Any]:
    """What is known without a look: the report of a cleaned folder, an answer in the cache; {} for nothing."""
    if source.key == POCKET:
        return read_json(pocket_folder() / "report.json")
    if source.path is None:
        return {}
    if source.path.is_dir() and (report := read_json(source.path / "report.json")):
        return report | {"of_report": True}
    return read_json(_answer(source))


def _answer(source: Source) -> Path:
    paths = files_of(source)[0]
    return looks_folder() / f"{_stamp(paths, source.key, source.column)}.json"


@dataclass
class Look:
    """One `lab data SOURCE --json`. `follow` blocks and is for a thread; `stop` ends it from any thread."""

    source: Source
    _process: "subprocess.Popen[str] | None" = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False

    def argv(self) -> list[str]:
        """What is run."""
        if self.source.key == POCKET:
            return lab("data", POCKET, "--json", "--out", str(pocket_folder()))
        paths = files_of(self.source)[0]
        name = self.source.column or next((c for p in paths[:3] if (c := column(p))), "")
        more = ["--text-column", name] if name and name != "text" else []
        return lab("data", self.source.key, "--json", *more)

    def follow(self, hear: Callable[[str], Any]) -> dict[str, Any]:
        """Its answer, which is kept; `hear` is told each line of progress. UserError as `lab data` says it; {} once
        stopped."""
        argv = self.argv()
        with self._lock:
            if self._stopped:
                return {}
            try:
                self._process = process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    env=environment(), start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise UserError(f"lab data: {error.strerror or error}") from error
        last = [""]

        def listen() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                last[0] = line.strip() or last[0]
                hear(last[0].removeprefix("lab data: "))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        with process:
            assert process.stdout is not None
            said = process.stdout.read()
        thread.join()
        if self._stopped:
            return {}
        if process.returncode:
            raise UserError(
                last_line(last[0]).removeprefix("lab data: ") or f"lab data ended with {process.returncode}"
            )
        try:
            facts: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise UserError("lab data said nothing that can be read") from error
        if self.source.key == POCKET:
            for old in looks_folder().glob("pocket-*"):
                if old != pocket_folder():
                    shutil.rmtree(old, ignore_errors=True)
        else:
            _keep(_answer(self.source), facts)
        return facts

    def stop(self) -> None:
        """End it, as Ctrl-C does: what is half written goes."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(OSError):
                    self._process.send_signal(signal.SIGINT)


def _keep(path: Path, facts: Mapping[str, Any]) -> None:
    """Into the cache, the oldest answers out of it."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(facts, ensure_ascii=False), sync=False)
        for old in sorted(path.parent.glob("*.json"), key=os.path.getmtime)[:-KEPT]:
            old.unlink(missing_ok=True)
