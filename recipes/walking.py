"""What `lab journey` does while a stage runs: start its process, show how far all of it is, stop it with saving; and what it
reckons before: time and memory, from `lab plan` of the first stage."""

import contextlib
import fcntl
import functools
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lab.display import CONTROLS, busy
from lab.runs import read_json
from lab.words import duration, size
from recipes.progress import Outlived
from recipes.stages import LAPTOP_STEPS, Road, Stage

REPO = Path(__file__).resolve().parent.parent
REFERENCE = 2000.0  # tokens a second that the minutes of the table are for
UNKNOWN = "not known before the model is here: then its first stage is timed, and the others after it"
WORK = 300  # seconds that `lab plan` may take


def lab(*args: str) -> list[str]:
    """argv of `lab ...` with this Python. -P: a folder called recipes where the user stands must not be taken for ours."""
    return [sys.executable, "-P", "-m", "recipes", *args]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "NO_COLOR": "1"}


@dataclass(frozen=True)
class Reckoned:
    """Seconds of each stage: the minutes of the table, as much slower or faster as this machine is in the one that was
    planned, whose own `first_seconds` are known."""

    road: Road
    pace: float = 1.0
    first: Stage | None = None
    first_seconds: float | None = None
    said: str = "as on a core that trains 2,000 tokens a second; nothing was measured here"
    memory: str = "not known"

    def seconds(self, stage: Stage) -> float | None:
        """None for the unknown."""
        if stage == self.first:
            return self.first_seconds
        if self.first_seconds is None and self.road.preset != "pocket" and not stage.alike:
            return None  # the table is of another model
        pace = 1.0 if stage.alike and self.road.preset != "pocket" else self.pace
        return 60 * table_minutes(self.road, stage) * pace or None

    @classmethod
    def of(cls, road: Road, todo: Sequence[Stage]) -> "Reckoned":
        """Ask `lab plan` about the first stage that leaves a run and whose input is there; where it cannot tell, about
        tuning the same model."""
        for stage in todo:
            alone = road.preset == "laptop" and stage.name == "pretrain"  # its text need not be there
            if stage.out or (road.missing(stage) and not alone):
                continue
            told = plan(_plan_arguments(road, stage, alone))
            time, of = told.get("time", {}), stage.name
            first: Stage | None = stage
            if time.get("seconds") is None and (model := road.model(stage)):
                told, first = plan(["sft", "--model", model]), None
                time, of = told.get("time", {}), f"lab sft --model {model}"
            memory = _memory(told.get("memory"), of)
            if (seconds := time.get("seconds")) is None:
                why = f" ({time['said']})" if "said" in time else ""
                return cls(road, said=cls.said + why if road.preset == "pocket" else UNKNOWN, memory=memory)
            said = f"{of}: {time['said']}; the others as much slower or faster"
            minutes = table_minutes(road, first or road.find("sft"))
            pace = REFERENCE / time["tok_s"] if alone else seconds / (60 * minutes) if minutes else 1.0
            return cls(road, pace, first, seconds, said, memory)
        return cls(road) if road.preset == "pocket" else cls(road, said=UNKNOWN)


def table_minutes(road: Road, stage: Stage) -> float:
    """Minutes of the table for as many steps as the stage's own flags ask for."""
    given = (road.flags or {}).get(stage.name, ())
    if stage.steps and "--iters" in given:
        with contextlib.suppress(ValueError, IndexError):
            return stage.minutes * int(given[list(given).index("--iters") + 1]) / stage.steps
    return stage.minutes


def _plan_arguments(road: Road, stage: Stage, alone: bool) -> list[str]:
    """A plan needs no name; steps on a text that is not there yet cost what they cost on any."""
    args = road.arguments(stage)
    if alone and "--iters" not in args:
        args += ["--iters", str(LAPTOP_STEPS)]
    for flag in ("--data", "--name") if alone else ("--name",):
        if flag in args:
            del args[args.index(flag) : args.index(flag) + 2]
    return args


def _memory(told: dict[str, Any] | None, of: str) -> str:
    if not told or not told.get("need"):
        return "not known"
    how = "measured" if told["measured"] else "about"
    need, free = size(told["need"]), size(told["available"])
    return f"{told['band']}: {of} takes {how} {need} of {free} free; later stages less or as much"


def plan(args: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The last object of each kind that `lab plan ... --json` tells; {} where it ends badly."""
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError, subprocess.SubprocessError), busy("measuring some steps"):
        done = subprocess.run(lab("plan", *args, "--json"), capture_output=True, text=True, timeout=WORK, env=environment(),
                              stdin=subprocess.DEVNULL)  # fmt: skip
        for line in done.stdout.splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                found[row["event"]] = row
                if row["event"] == "plan":
                    found["memory"] = row["memory"]
    return found


PARSE = """
import importlib, json, sys
from lab.errors import UserError
from recipes import cli
for stage, (name, *words) in json.load(sys.stdin).items():
    try:
        cli.parse(name, importlib.import_module((cli.RECIPES | cli.COMMANDS)[name][0]), words)
    except UserError as error:
        sys.exit(print(f"{stage}: {error}"))
"""


def unknown(stages: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with the first command line (stage -> words) that its recipe would not read; "" for nothing. Recipes bring
    MLX along, so another process reads them."""
    done = subprocess.run([sys.executable, "-P", "-c", PARSE], input=json.dumps(stages), capture_output=True, text=True,
                          env=environment(), check=False)  # fmt: skip
    return done.stdout.strip()


class Ended(NamedTuple):
    """A stage's process has ended. `said`: its last line."""

    code: int
    seconds: float
    cpu: float
    said: str
    log: Path


class Watch:
    """The journey's eyes and hands: a panel on a terminal, else lines; Ctrl-C goes to the stage, which saves."""

    def __init__(self, name: str):
        self.name, self.stopping, self.note = name, False, ""
        self.reckoned: Reckoned | None = None
        self.todo: list[Stage] = []
        self.number, self.of, self.stage, self.status = 0, 0, "", dict[str, Any]()
        self.began, self.spent, self.expected = time.monotonic(), 0.0, 0.0
        self.since = self.began  # of the stage
        self.now: Stage | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._handlers: dict[int, Any] = {}
        screen: Any = Outlived(sys.stdout)
        self._console = Console(file=screen, highlight=False)
        self._live: Live | None = None
        self._plain = functools.partial(print, file=screen, flush=True)

    def __enter__(self) -> "Watch":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)
        self._handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # outlive the terminal
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: Any) -> None:
        self.stopping, self.note = True, "stopping after this step and saving; Ctrl-C again stops at once"
        if self._process is None:
            raise KeyboardInterrupt
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        if self._live is None:
            self.say(self.note)

    def say(self, text: str) -> None:
        """A line for people, above the panel."""
        if self._console.is_terminal:
            self._console.print(text.translate(CONTROLS), markup=False)
        else:
            self._plain(text.translate(CONTROLS))

    def reckon(self, road: Road, part: Sequence[Stage], todo: Sequence[Stage]) -> None:
        """Time and memory of what is to be done, before the first step of it."""
        if not todo:
            return
        self.todo = list(todo)
        self.reckoned = Reckoned.of(road, todo)
        known = [s for s in map(self.reckoned.seconds, todo) if s is not None]
        self.say(f"{len(todo)} of {len(part)} stages to do, about {duration(sum(known))} ({self.reckoned.said})")
        self.say(f"memory {self.reckoned.memory}")

    def wait_for_orphan(self, path: Path) -> None:
        """A stage holds this lock as long as it lives. One whose journey was killed goes on by itself: wait for it."""
        with open(path, "a") as file:
            told = 0.0
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except OSError:
                    if time.monotonic() - told > 10:
                        self.say("the stage of a journey that was killed is still running; waiting for it to end")
                        told = time.monotonic()
                    time.sleep(0.3)

    def follow(self, stage: Stage, number: int, of: int, args: Sequence[str], folder: Path, journal: Any) -> Ended:
        """Run a stage to its end, and show it."""
        self.now, self.number, self.of, self.stage, self.since = stage, number, of, stage.name, time.monotonic()
        self.todo = [one for one in self.todo if one != stage]
        log = journal.folder / f"{stage.name}.log"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(log, "ab") as out, open(journal.folder / "stage.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            out.write(f"$ lab {shlex.join(args)}\n".encode())
            out.flush()
            self._process = subprocess.Popen(
                lab(*args), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=environment(), pass_fds=(lock.fileno(),), cwd=os.getcwd(),
            )  # fmt: skip
        self._show(folder, journal)
        code = self._process.wait()
        self._process = None
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = f"it was killed (signal {-code})" if code < 0 else said
        return Ended(code, time.monotonic() - self.since, cpu, said.removeprefix(f"lab {args[0]}: "), log)

    def _show(self, folder: Path, journal: Any) -> None:
        """Until the process has ended: a panel on a terminal, elsewhere a line every ten seconds."""
        process, shown, kept, line = self._process, time.monotonic() - 8, 0.0, ""
        assert process is not None
        with contextlib.ExitStack() as stack:
            if self._console.is_terminal:
                self._live = stack.enter_context(
                    Live(self, console=self._console, refresh_per_second=4, transient=True)
                )
            while process.poll() is None:
                self.status = read_json(folder / "status.json")
                now = time.monotonic()
                if now - kept > 2:
                    journal.keep(left=self.left(), number=self.number, of=self.of)
                    kept = now
                if not self._console.is_terminal and now - shown >= 10:
                    shown = now
                    if (text := self.line()) != line:
                        self._plain(line := text)
                time.sleep(0.1)
        self._live = None

    def done(self, stage: Stage, seconds: float, resumed: bool) -> None:
        """What it took corrects what the others will take."""
        expected = self.reckoned.seconds(stage) if self.reckoned else None
        if expected and not resumed:
            self.spent, self.expected = self.spent + seconds, self.expected + expected
        self.status = {}

    def left(self) -> float | None:
        """Seconds to the end of the journey, as far as they are known."""
        if self.reckoned is None or self.now is None:
            return None
        factor = self.spent / self.expected if self.expected else 1.0
        now = self.reckoned.seconds(self.now)
        eta = self.status.get("eta")
        here = max(0.0, factor * now - (time.monotonic() - self.since)) if now is not None else 0.0
        here = float(eta) if isinstance(eta, int | float) and self.status.get("state") == "running" else here
        return here + factor * sum(filter(None, map(self.reckoned.seconds, self.todo)))

    def line(self) -> str:
        """How far it is, in a line."""
        status = self.status
        step = f"step {status.get('step')}/{status.get('total') or '?'}  " if status else ""
        note = status.get("note") or status.get("state") or "starting"
        loss = f"loss {status['loss']:.3f}  " if isinstance(status.get("loss"), float) else ""
        return (f"{self.name} [{self.number}/{self.of}] {self.stage} {note}: {step}{loss}"
                f"stage left {duration(status.get('eta'))}, all left about {duration(self.left())}")  # fmt: skip

    def __rich__(self) -> Panel:
        status, left = self.status, self.left()
        done, total = int(status.get("step") or 0), int(status.get("total") or 0)
        grid = Table.grid(padding=(0, 2))
        until = time.strftime(" (%H:%M)", time.localtime(time.time() + left)) if left else ""
        loss = f"{status['loss']:.3f}" if isinstance(status.get("loss"), float) else "-"
        grid.add_row("stage", f"{self.number} of {self.of}, {self.stage}", "all left", f"about {duration(left)}{until}")
        grid.add_row("step", f"{done:,} of {f'{total:,}' if total else '?'}", "stage left", duration(status.get("eta")))
        grid.add_row("loss", loss, "memory", f"{status.get('mem_process', 0):.2f} GB")
        gone = time.monotonic() - self.began
        share = gone / (gone + left) if left is not None and gone + left else (self.number - 1) / max(1, self.of)
        parts: list[Any] = [Padding(ProgressBar(total=1.0, completed=share), 0), grid]
        if note := self.note or str(status.get("note") or ""):
            parts.append(Text(note.translate(CONTROLS), style="dim"))
        return Panel(Group(*parts), title=f"journey {self.name}", subtitle="Ctrl-C saves and stops", title_align="left")
