"""The child process of lab/hosted.py: a user's Python file, or a generator of reasoning-gym, asked by JSON lines. No MLX of
ours.

`python -m lab.host` reads {"do": "file", "path"} or {"do": "gym", "spec"} first, then {"do": "problem" or "held_out",
"seed"} and {"do": "judge", ...}, each with "limit", seconds. It answers with {"event": "ok", "value"}, {"event": "none"}
for a LookupError, or {"event": "failed", "message"}, one line, and ends when its standard input does.
"""

import contextlib
import importlib.util
import inspect
import io
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from lab.errors import UserError
from lab.parts import check
from lab.task import Problem, Score
from lab.worker import Pipe


class Late(threading.Thread):
    """Tells where the main thread stands when it is late, and ends the process."""

    def __init__(self, pipe: Pipe, where: "Host"):
        super().__init__(daemon=True)
        self.pipe, self.where, self.due, self.limit, self.what = pipe, where, math.inf, 0.0, ""

    def run(self) -> None:
        while True:
            time.sleep(0.05)
            if time.monotonic() > self.due:
                frame = sys._current_frames().get(threading.main_thread().ident or 0)
                line = self.where.line(_frames(frame))
                self.pipe.tell("late", message=f"{line}: {self.what} takes over {self.limit:g} s")
                os._exit(1)

    @contextlib.contextmanager
    def limited(self, what: str, seconds: float) -> Iterator[None]:
        """A time for what runs in here."""
        self.what, self.limit, self.due = what, seconds, time.monotonic() + seconds
        try:
            yield
        finally:
            self.due = math.inf


def _frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    """(file, line) from the innermost call outwards."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


class Host:
    """What is hosted, and how it is asked."""

    def __init__(self) -> None:
        self.path, self.task, self.reward, self.takes = Path("reasoning_gym"), None, None, None  # type: Any, Any, Any, Any

    def line(self, frames: Iterator[tuple[str, int]]) -> str:
        """file:line of the innermost call in the user's file."""
        found = next((number for file, number in frames if file == str(self.path)), None)
        return self.path.name if found is None else f"{self.path.name}:{found}"

    def explain(self, error: BaseException) -> str:
        """One line: file, line, what."""
        if isinstance(error, UserError):
            return str(error)
        if isinstance(error, SyntaxError) and error.filename == str(self.path):
            return f"{self.path.name}:{error.lineno}: {type(error).__name__}: {error.msg}"
        frames = reversed([(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)])
        said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(": ")
        return f"{self.line(iter(frames))}: {said[:300]}"

    def do(self, asked: Mapping[str, Any]) -> Any:
        """The answer to one request."""
        if asked["do"] == "file":
            return self.load(Path(asked["path"]))
        if asked["do"] == "gym":
            from lab.gym import Gym

            self.task = Gym(asked["spec"])
            return {"name": self.task.name, "kind": "task"}
        if asked["do"] == "judge":
            return self.judge(asked)
        return self.problem(asked["do"], int(asked["seed"]))

    def load(self, path: Path) -> dict[str, Any]:
        """What the file holds: `task`, or `reward`."""
        self.path = path
        sys.path.insert(0, str(path.parent))  # it may import its neighbours
        spec = importlib.util.spec_from_file_location("lab_user_task", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        self.task, self.reward = getattr(module, "task", None), getattr(module, "reward", None)
        if self.task is not None:
            if isinstance(self.task, type):
                self.task = self.task()
            if lacks := [n for n in ("problem", "held_out", "judge") if not callable(getattr(self.task, n, None))]:
                raise UserError(f"{path.name}: its task has no {', no '.join(lacks)}; see Task in lab/task.py")
            return {"name": str(getattr(self.task, "name", path.stem)), "kind": "task"}
        if not callable(self.reward):
            raise UserError(f"{path.name}: holds neither `def reward(prompts, completions, answers)` nor `task`")
        taken = inspect.signature(self.reward).parameters.values()
        if not any(p.kind == p.VAR_KEYWORD for p in taken):
            self.takes = {p.name for p in taken if p.kind != p.VAR_POSITIONAL}
        needed = [p.name for p in taken if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        return {"name": path.stem, "kind": "reward", "needs": needed}

    def problem(self, do: str, seed: int) -> dict[str, Any]:
        """A problem of a task, as JSON can hold it."""
        made = getattr(self.task, do)(seed)
        if not isinstance(made, Problem):
            raise UserError(f"{self.path.name}: {do}({seed}) gave {type(made).__name__}; return lab.task.Problem(...)")
        check(made.messages)
        told = asdict(made) | {"more": dict(made.more)}
        try:
            json.dumps(told, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.path.name}: {do}({seed}) holds what is no JSON ({error}); keep to text and numbers"
            ) from error
        return told

    def judge(self, asked: Mapping[str, Any]) -> list[Any]:
        """Scores as JSON: {"parts", "notes"} of a task, a number or null of a reward function."""
        if self.task is not None:
            problems = [problem_from(p) for p in asked["problems"]]
            given = self.task.judge(problems, asked["replies"])
            return [self._score(v, i) for i, v in enumerate(self._list(given, "judge", len(problems)), 1)]
        arguments = {k: v for k, v in asked["arguments"].items() if self.takes is None or k in self.takes}
        given = self.reward(**arguments)
        return [self._number(v, i) for i, v in enumerate(self._list(given, "reward", int(asked["count"])), 1)]

    def _list(self, given: Any, what: str, count: int) -> Sequence[Any]:
        if hasattr(given, "tolist") and not isinstance(given, list):
            given = given.tolist()  # an array
        if not isinstance(given, list | tuple):
            if inspect.iscoroutine(given):
                given.close()
            raise UserError(
                f"{self.path.name}: {what} gave {_kind(given)}; return a list of {count} values, one a reply"
            )
        if len(given) != count:
            raise UserError(
                f"{self.path.name}: {what} gave {len(given)} values for {count} replies; return one a reply"
            )
        return given

    def _number(self, given: Any, at: int) -> float | None:
        if given is None:
            return None
        if isinstance(given, str | bytes) or not hasattr(given, "__float__"):
            raise UserError(f"{self.path.name}: reward gave {_kind(given)} for reply {at}; give a number, or None")
        number = float(given)
        return number if math.isfinite(number) else None

    def _score(self, given: Any, at: int) -> dict[str, Any]:
        if not isinstance(given, Score):
            raise UserError(f"{self.path.name}: judge gave {_kind(given)} for reply {at}; return lab.task.Score(...)")
        parts = None if given.parts is None else {str(k): self._number(v, at) for k, v in given.parts.items()}
        notes = {str(k): self._number(v, at) for k, v in given.notes.items()}
        return {
            "parts": None if parts is None or None in parts.values() else parts,
            "notes": {k: v for k, v in notes.items() if v is not None},
        }


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def problem_from(told: Mapping[str, Any]) -> Problem:
    """A problem out of JSON."""
    return Problem(told["key"], tuple(told["messages"]), told["answer"], told["more"])


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = os.dup(1)
    os.dup2(2, 1)  # what the file prints must not get between the answers
    requests = sys.stdin.buffer
    sys.stdin = io.StringIO()  # nobody types: input() fails at once
    pipe = Pipe(requests, answers)
    host = Host()
    late = Late(pipe, host)
    late.start()
    while True:
        asked = pipe.inbox.get()
        try:
            with late.limited(str(asked.get("what", "it")), float(asked.get("limit", math.inf))):
                value = host.do(asked)
            pipe.tell("ok", value=value)
        except LookupError as error:
            if asked.get("do") == "held_out":
                pipe.tell("none", message=" ".join(str(error).split())[:200])
            else:
                pipe.tell("failed", message=host.explain(error))
        except BaseException as error:  # SystemExit too: a file must not end what asks it
            pipe.tell("failed", message=host.explain(error))


if __name__ == "__main__":
    main()
