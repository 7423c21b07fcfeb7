"""Tasks that live in a child process with a time limit: a user's Python file, and reasoning-gym. No MLX.

A file that raises, hangs, dies or answers nonsense becomes a UserError of one line; it never blocks the run, nor ends it
unasked.
"""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.parts import Message, plain
from lab.rows import Rows
from lab.task import Problem, Score

LOADING = 120.0  # seconds that opening a file may take, since some import large libraries, and making a problem
BATCH = 10.0  # for one call of a judge
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COLUMNS")  # of reasoning-gym's child
GRACE = 2.0  # more that the child has to say itself where it hangs


class Late(Exception):
    """The child took too long and was ended; one line."""


class Died(UserError):
    """The child ended by itself."""


class Child:
    """A process of lab.host, started again with the next question after it died."""

    def __init__(self, opening: Mapping[str, Any], name: str):
        self.opening, self.name = dict(opening), name
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.told = self._start()

    def ask(self, what: str, limit: float, **request: Any) -> Any:
        """The value of an answer. LookupError where the child has none; Late; UserError for what it complains of."""
        if self._process is None:
            self._start()
        return self._ask(request | {"what": what}, limit)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _start(self) -> Any:
        paths = [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        # reasoning-gym's judges read what a model wrote (lab/guard.py), so they are told none of the user's secrets.
        given = {k: v for k, v in os.environ.items() if self.opening["do"] == "file" or k in ENVIRONMENT}
        if (
            self.opening["do"] == "gym"
        ):  # some of its generators walk over sets of texts: the same seed, the same problem
            given["PYTHONHASHSEED"] = "0"
        # A session of its own: what the file starts ends with it, and Ctrl-C is the parent's to handle.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lab.host"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
            env=given | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        self._process, self._answers = process, queue.SimpleQueue()
        weakref.finalize(self, _end, process)
        threading.Thread(target=_listen, args=(process, self._answers), daemon=True).start()
        try:
            return self._ask(self.opening | {"what": "opening it"}, LOADING)
        except (Late, Died) as error:
            raise UserError(f"{error}; mend the file") from None

    def _ask(self, request: dict[str, Any], limit: float) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request | {"limit": limit}, default=str).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=limit + GRACE)
        except BrokenPipeError:
            answer = None
        except queue.Empty:
            self.close()
            raise Late(f"{self.name}: {request['what']} takes over {limit:g} s") from None
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next question
            self.close()
            raise
        if answer is None:
            code = _end(self._process)
            self._process = None
            raise Died(f"{self.name}: its process ended with exit code {code} while {request['what']} ran")
        if answer["event"] == "ok":
            return answer["value"]
        if answer["event"] == "none":
            raise LookupError(answer["message"])
        if answer["event"] == "late":
            self.close()
            raise Late(str(answer["message"]))
        if request.get("do") in ("file", "gym"):
            self.close()
        raise UserError(str(answer["message"]))


def _listen(process: "subprocess.Popen[bytes]", answers: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                answers.put(json.loads(line))
    answers.put(None)


def _end(process: "subprocess.Popen[bytes]", wait: float = 0.5) -> int:
    """End a child, and what it started; its exit code. One that has closed its pipe gets half a second to end itself."""
    if process.returncode is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.stdout is None or process.stdout.closed:
                process.wait(wait)
        if process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
    return int(process.returncode)


def _told(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [asdict(p) | {"more": dict(p.more)} for p in problems]


class Hosted:
    """A task of a child process, asked for each problem."""

    def __init__(self, child: Child, name: str, limit: float):
        self.name, self._child, self._limit = name, child, limit

    def problem(self, seed: int) -> Problem:
        """As the task has it."""
        return self._problem("problem", seed)

    def held_out(self, seed: int) -> Problem:
        """As the task has it."""
        return self._problem("held_out", seed)

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """As the task judges; one that takes too long is a UserError."""
        try:
            return self._judge(problems, replies, self._limit)
        except Late as error:
            raise UserError(f"{error} for {len(replies)} replies; make it quicker") from None

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def _problem(self, do: str, seed: int) -> Problem:
        try:
            told = self._child.ask(f"{do}({seed})", LOADING, do=do, seed=seed)
        except Late as error:
            raise UserError(f"{error}; make it quicker") from None
        return Problem(told["key"], tuple(told["messages"]), told["answer"], told["more"])

    def _judge(self, problems: Sequence[Problem], replies: Sequence[Message], limit: float) -> list[Score]:
        if not problems:
            return []
        told = self._child.ask("judge", limit, do="judge", problems=_told(problems), replies=_bare(replies))
        scores = [Score(one["parts"], one["notes"]) for one in told]
        if len(scores) > 1 and all(score.parts is None for score in scores):
            raise UserError(f"{self.name}: judge could not judge one of {len(scores)} replies; None is for single ones")
        return scores


def _bare(replies: Sequence[Message]) -> list[Message]:
    """Replies without their ids: JSON that nobody there reads."""
    return [Message(role=reply["role"], content=reply["content"]) for reply in replies]


class GymTask(Hosted):
    """A generator of reasoning-gym."""

    SINGLE = 5.0  # seconds for one reply, where a batch took too long

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """Part "correct". Its own judge may never end for what a model wrote, or run out of memory: that reply is wrong."""
        with contextlib.suppress(Late, Died):
            return self._judge(problems, replies, self._limit)
        scores = []
        for problem, reply in zip(problems, replies, strict=True):
            try:
                scores += self._judge([problem], [reply], self.SINGLE)
            except (Late, Died):
                scores.append(Score({"correct": 0.0}))
        return scores


class RewardFile:
    """Problems of rows, judged by `reward` of a Python file: called as TRL and mlx-lm-lora call it, by name.

    It gets those it has parameters for (with **kwargs all): prompts and completions, text where all prompts of the data
    are text, else messages ([{"role": "assistant", "content": ...}]); answers as they stand in the rows (also as `answer`);
    every other field of the rows as a list; and `replies`, messages with their thoughts and calls as parts. It gives a
    number a reply, None or NaN where it cannot be judged."""

    def __init__(self, child: Child, rows: Rows, name: str, limit: float):
        self.name, self.rows, self._child, self._limit = name, rows, child, limit
        self.bad = rows.bad
        fields = {k for p in (*rows.train, *rows.apart) for k in p.more}
        have = {"prompts", "completions", "answers", "answer", "replies"} | fields
        if unknown := [name for name in child.told["needs"] if name not in have]:
            raise UserError(
                f"{name}: reward asks for {unknown[0]}, which no row of {rows.name} has; add the field, or **kwargs"
            )

    def problem(self, seed: int) -> Problem:
        """Of the rows."""
        return self.rows.problem(seed)

    def held_out(self, seed: int) -> Problem:
        """Of the rows."""
        return self.rows.held_out(seed)

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """Part "reward". UserError where the function raises, hangs, or judges not one of several replies."""
        if not problems:
            return []
        said: list[Any] = [plain(reply) for reply in replies]
        prompts: list[Any] = [plain(p.messages[0]) for p in problems]
        if self.rows.talks:
            prompts = [list(p.messages) for p in problems]
            said = [[{"role": "assistant", "content": text}] for text in said]
        answers = [p.more.get("answer") for p in problems]
        arguments: dict[str, Any] = {
            k: [p.more.get(k) for p in problems] for k in dict.fromkeys(k for p in problems for k in p.more)
        }
        arguments |= {"prompts": prompts, "completions": said, "answers": answers, "answer": answers}
        try:
            given = self._child.ask(
                "reward",
                self._limit,
                do="judge",
                count=len(problems),
                arguments=arguments | {"replies": _bare(replies)},
            )
        except Late as error:
            raise UserError(f"{error} for {len(replies)} replies; make it quicker") from None
        known = [value for value in given if value is not None and math.isfinite(value)]
        if not known and len(given) > 1:
            raise UserError(f"{self.name}: reward gave None or NaN for all {len(given)} replies; give numbers")
        return [Score(None if value is None else {"reward": float(value)}) for value in given]

    def close(self) -> None:
        """End the process."""
        self._child.close()
