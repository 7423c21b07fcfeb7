"""Models in a child process, by requests and events: `python -m lab.worker`, or another. No MLX, no Textual.

No call waits for the child: requests go through a queue, events come in a thread. The child ends when the pipe to it
does, so it never outlives this process, however that ends.
"""

import contextlib
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.display import CONTROLS

Event = dict[str, Any]
REPO = Path(__file__).resolve().parent.parent.parent
PATIENCE = 0.5  # seconds for the child to go when it is asked to


class Process:
    """A child that is asked in JSON lines and tells in JSON lines: `python -m module`, such as lab.worker.

    `hear` is called from a thread, one event at a time, with what the module's docstring lists, and with {"event": "gone",
    "code", "message"} when the child ended by itself; the next `begin` starts a new one.
    """

    def __init__(self, hear: Callable[[Event], None], module: str) -> None:
        self._module = module
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._lock, closed = threading.Lock(), threading.Event()
        self._children: list[_Child] = []  # the last one, running or not
        threading.Thread(target=_dispatch, args=(self._events, hear, closed), daemon=True).start()
        self._finish = weakref.finalize(self, _finish, self._children, self._events, closed)  # at exit too

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return any(child.runs for child in self._children)

    def begin(self) -> str:
        """Start the child where none runs; why that does not work, "" where it does."""
        with self._lock:
            if self._finish.alive and not self.alive:
                before = [child.listener for child in self._children]
                try:
                    self._children[:] = [_Child(self._module, self._events, before)]
                except OSError as error:
                    return f"the model process does not start: {error.strerror}"
        return ""

    def ask(self, request: Event) -> bool:
        """Queue a request; False where no child is there to hear it."""
        with self._lock:
            return bool(self._finish.alive and self._children and self._children[-1].ask(request))

    def close(self) -> None:
        """End the child; nothing is heard any more, and none can be started. Takes a second and a half at most."""
        with self._lock:
            self._finish()


class Client(Process):
    """Models in named slots of one child process, which starts with the first `load`.

    All its models and replies are gone when that process ends; the next `load` starts a new one.
    """

    def __init__(self, hear: Callable[[Event], None]) -> None:
        super().__init__(hear, "lab.worker")
        self._ids = itertools.count(1)

    def load(self, slot: str, model: str, dtype: str | None = None) -> None:
        """Load a model (what `lab generate --model` takes) into a slot, in place of what it holds: progress, then loaded
        or failed."""
        if wrong := self.begin():
            self._fail(None, slot, wrong)
        else:
            self._ask({"do": "load", "slot": slot, "model": model, "dtype": dtype})

    def say(
        self,
        slot: str,
        *,
        messages: Sequence[Mapping[str, Any]] | None = None,
        text: str | None = None,
        prefix: Sequence[int] = (),
        sampling: Mapping[str, float] | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        top: int = 5,
        tools: Mapping[str, Any] | None = None,
    ) -> int:
        """Ask for a reply to `messages`, or for `text` to go on; the id that its events bear: begin, tokens, end, or
        failed. The reply begins with the ids of `prefix` where some are given; `sampling` holds fields of
        lab.sample.Sampling, `tools` what the model may call."""
        number = next(self._ids)
        asked: Event = {
            "do": "say",
            "id": number,
            "slot": slot,
            "prefix": list(prefix),
            "seed": seed,
            "stop": list(stop),
        }
        asked |= {"sampling": dict(sampling or {}), "top": top}
        if messages is not None:
            asked["messages"] = [dict(message) for message in messages]
        if text is not None:
            asked["text"] = text
        if tools:
            asked["tools"] = dict(tools)
        self._ask(asked)
        return number

    def cancel(self, id: int) -> None:
        """End a reply between two tokens: its end event says cancelled."""
        self._ask({"do": "cancel", "id": id})

    def unload(self, slot: str) -> None:
        """Free a slot's memory; ends a download that goes on for it."""
        self._ask({"do": "unload", "slot": slot})

    def _ask(self, request: Event) -> None:
        if not self.ask(request) and request["do"] != "cancel":
            self._fail(request.get("id"), request["slot"], f"no model is loaded in slot {request['slot']}")

    def _fail(self, number: int | None, slot: str, message: str) -> None:
        self._events.put({"event": "failed", "id": number, "slot": slot, "message": message})


class _Child:
    """One process with threads that write to it and listen to it. They hold no Client, so one left behind can go."""

    def __init__(self, module: str, events: "queue.SimpleQueue[Event]", before: Sequence[threading.Thread]):
        paths = [str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
        # -P: else Python would import whatever the current folder holds under a name that the child needs. That folder
        # stays the child's, for the models that are named from there.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._words: deque[str] = deque(maxlen=20)  # the last lines of its stderr
        threading.Thread(target=self._write, daemon=True).start()
        self._reader = threading.Thread(target=self._read_words, daemon=True)
        self._reader.start()
        self.listener = threading.Thread(target=self._listen, args=(events, before), daemon=True)
        self.listener.start()

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def ask(self, request: Event) -> bool:
        """Queue a request; False where nobody is there to read it."""
        if not self.listener.is_alive():
            return False
        self._requests.put(json.dumps(request).encode() + b"\n")
        return True

    def _write(self) -> None:
        """A child that does not read blocks this thread and nobody else."""
        assert self.process.stdin
        with contextlib.suppress(OSError):  # it is gone
            while (line := self._requests.get()) is not None:
                data = memoryview(line)
                while data:
                    data = data[os.write(self.process.stdin.fileno(), data) :]

    def _read_words(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._words.append(line.decode("utf-8", "replace").strip()[:300])

    def _listen(self, events: "queue.SimpleQueue[Event]", before: Sequence[threading.Thread]) -> None:
        for thread in before:
            thread.join()  # all that the last child said, and that it is gone, comes first
        assert self.process.stdout
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # half a line, of a process that died over it
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    events.put(event)
        code = self.process.wait()
        self._requests.put(None)
        self._reader.join(1)  # another process may still hold the pipe
        events.put({"event": "gone", "code": code, "message": _farewell(code, list(self._words))})

    def end(self) -> None:
        """Ask it to go, and see to it that it does."""
        self._requests.put(b'{"do": "quit"}\n')
        for insist in (self.process.terminate, self.process.kill, lambda: None):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
                return
            insist()


def _dispatch(events: "queue.SimpleQueue[Event]", hear: Callable[[Event], None], closed: threading.Event) -> None:
    while event := events.get():
        if not closed.is_set():
            try:
                hear(event)
            except Exception:  # the events after it are still wanted
                traceback.print_exc()


def _finish(children: list[_Child], events: "queue.SimpleQueue[Event]", closed: threading.Event) -> None:
    closed.set()
    events.put({})  # the last
    for child in children:
        child.end()


def _farewell(code: int, words: list[str]) -> str:
    """Why the child ended, in one line."""
    last = next((line for line in reversed(words) if line), "").translate(CONTROLS)
    if code >= 0:
        return f"the model process ended with exit code {code}" + (f": {last}" if last else "")
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "the model process was killed (SIGKILL); a system short of memory does that: take a smaller model"
    if name in ("SIGTERM", "SIGHUP", "SIGINT"):
        return f"the model process was ended from outside ({name})"
    return f"the model process crashed ({name})" + (f": {last}" if last else "")
