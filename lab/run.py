"""Run folders, the owner's side: the record of a training, which is also its model folder. No MLX (lab/runs.py reads).

run.json (once), status.json (replaced), lock (held by the owner = alive), checkpoints/000400/ (renamed into place once),
last and best (one line each), metrics.jsonl, samples.jsonl, control.jsonl, log.txt. Every write survives kill -9.
"""

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from lab import episodes
from lab.errors import UserError
from lab.passport import VERSION, passport
from lab.runs import (
    COMMANDS,
    RECORDED,
    check_name,
    checkpoints,
    free,
    lock,
    newest,
    read_json,
    root,
    runs,
    write_atomic,
)


class Part(Protocol):
    """Anything whose state belongs in a checkpoint (a Learner)."""

    def save(self, folder: Path) -> None: ...
    def load(self, folder: Path) -> None: ...


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Run:
    """The owner's side: one process, one lock. Use as a context manager; `steps` is the loop of every recipe."""

    def __init__(
        self, recipe: str, config: dict[str, Any], name: str | None, resume: bool, parent: str | None = None,
        charts: Sequence[dict[str, Any]] = (),
    ):  # fmt: skip
        self.recipe, self.config, self.charts = recipe, config, charts
        self.step, self.total, self.state, self.headline = 0, 0, "starting", ""
        self.latest: dict[str, Any] = {}  # last metrics, for whoever shows progress
        self.samples_now: dict[str, dict[str, Any]] = {}  # the last sample of each fixed prompt
        self.note = ""  # what it is busy with, in words
        self.print: Callable[[str], Any] = print
        self.panel = False  # True while a live view shows the note
        self.save_every, self.keep = 0, 3
        self._part: Part | None = None
        self._stop = self._paused = self._want_checkpoint = False
        self._interrupts = 0
        self._said = 0.0
        self.saved_step = -1
        self._clock: list[tuple[float, int]] = []
        self._files: dict[str, IO[str]] = {}
        self._handlers: dict[int, Any] = {}
        self._locks: list[int] = []
        root().mkdir(parents=True, exist_ok=True)
        self.name = name or (newest(recipe) if resume else free(recipe))
        self.folder = root() / self.name
        self._open(resume, parent)

    # -- opening -------------------------------------------------------------------------------------------------

    def _open(self, resume: bool, parent: str | None) -> None:
        check_name(self.name)
        if resume and not (self.folder / "run.json").is_file():
            raise UserError(f"--resume: {self.folder} is no run; `lab runs` lists them")
        if resume and not (self.folder / "checkpoints").is_dir():
            raise UserError(f"--resume: {self.folder} keeps no checkpoints to go on from; start a new run")
        if not resume and self.folder.exists():
            raise UserError(f"{self.folder} is there already; choose another --name, or add --resume to go on with it")
        self._fresh = not resume
        self.folder.mkdir(exist_ok=True)
        self._locks.append(lock(self.folder / "lock", f"{self.folder} is being written by another process"))
        try:
            self._begin(resume, parent)
        except (OSError, UserError):
            self._clear_away()
            os.close(self._locks.pop())
            raise

    def _begin(self, resume: bool, parent: str | None) -> None:
        if resume:
            self._look_back()
        else:
            made = passport(self.recipe, self.config, parent, self.charts)
            write_atomic(self.folder / "run.json", json.dumps(made, indent=2) + "\n")
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        control = self.folder / "control.jsonl"
        self._control_read = control.stat().st_size if control.exists() else 0  # older orders are not for this start
        self.tell("starting", force=True)

    def _look_back(self) -> None:
        """Stand where the last checkpoint was taken; `attach` loads it and cuts the record back to it."""
        shutil.rmtree(self.folder / "checkpoints" / ".tmp", ignore_errors=True)
        if last := checkpoints(self.folder)[-1:]:
            step = read_json(last[0] / "state.json").get("step")
            if step != int(last[0].name):
                raise UserError(
                    f"{last[0]}: state.json is broken; delete this folder, and --resume takes the one before"
                )
            self.step = self.saved_step = step

    def _cut_back(self, lengths: dict[str, int]) -> None:
        """Cut the record of steps to the length it had at the checkpoint; what came later is written again."""
        for file in filter(Path.is_file, (self.folder / name for name in RECORDED)):
            os.truncate(file, min(int(lengths.get(file.name, 0)), file.stat().st_size))
        for file in (self.folder / "episodes").glob("*.jsonl"):
            if file.stem.isdigit() and int(file.stem) > self.step:
                file.unlink()

    def _clear_away(self) -> None:
        """A new run that never saved anything leaves no folder behind."""
        if self._fresh and self.saved_step < 0 and not checkpoints(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Run":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._interrupt)
            self._handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # outlive the terminal
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that is on its way
                if kind is None:
                    self.tell("stopped" if self.stopped else "done", force=True)
                elif issubclass(kind, KeyboardInterrupt):
                    self.tell("stopped", force=True)
                else:
                    reason = str(error) if isinstance(error, UserError | OSError) else f"{kind.__name__}: {error}"
                    self.say("".join(traceback.format_exception(kind, error, trace)), quiet=True)
                    self.tell("failed", force=True, error=reason)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            for file in self._files.values():
                with contextlib.suppress(OSError):
                    file.close()
            if isinstance(error, UserError | OSError | KeyboardInterrupt):
                self._clear_away()
            for handle in reversed(self._locks):
                os.close(handle)

    def _take_device(self) -> None:
        """One accelerator, one training: wait until no other run holds it, or this one is told to stop."""
        while not self._stop:
            try:
                self._locks.append(lock(root() / ".device.lock", "", patience=0))
                self.note = ""
                return
            except UserError:
                busy = [i.name for i in runs() if i.state in ("running", "paused", "saving") and i.name != self.name]
                self.note = f"waiting for {', '.join(busy) or 'another training'} to end"
                self.tell("queued")
                self._read_control()
                time.sleep(0.3)

    def _interrupt(self, number: int, frame: Any) -> None:
        """Ctrl-C or SIGTERM: stop after this step; the second time stop at once."""
        self._interrupts += 1
        self._stop = True
        if self._interrupts > 1:
            # MLX's bindings can swallow the exception, so it is raised again until the run's block ends.
            self._handlers.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, self._interrupt))
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            raise KeyboardInterrupt
        self.note = "stopping after this step and saving; Ctrl-C again stops at once"
        if number == signal.SIGINT and not self.panel:
            with contextlib.suppress(OSError):  # the terminal may be gone
                sys.stderr.write(f"\n{self.note}\n")
                sys.stderr.flush()

    # -- the loop ------------------------------------------------------------------------------------------------

    def attach(self, part: Part) -> None:
        """The part whose state checkpoints hold. On a resumed run it is loaded from the last one, and the record cut back
        to it; log nothing before."""
        self._part = part
        last = checkpoints(self.folder)
        if not last:
            self._cut_back({})
            return
        try:
            part.load(last[-1])
        except (UserError, ValueError, KeyError) as error:
            raise UserError(f"{error}; delete {last[-1]}, and --resume takes the one before") from error
        self._cut_back(read_json(last[-1] / "state.json").get("lengths", {}))
        told = self.folder / "last"
        if not told.exists() or told.read_text().strip() != last[-1].name:
            self._publish(last[-1])  # the kill came between saving and publishing
        self.event("resume")

    def steps(self, total: int) -> Iterator[int]:
        """Step numbers from where the run stands to `total`; waits for the accelerator first, obeys controls between two
        steps, saves at the end."""
        self.total = total
        self._take_device()
        if self._stop:
            return
        self.tell("running", force=True)
        self._clock = [(time.time(), self.step)]
        if self.saved_step < 0:
            self.checkpoint()
        while self.step < self.total:  # which the recipe may lower: it has seen enough
            self._obey()
            if self._stop:
                break
            yield self.step + 1
            self.step += 1
            if self.save_every and self.step % self.save_every == 0 and self.step < self.total:
                self.checkpoint()
            self.tell("running")
        if self.saved_step != self.step:
            self.checkpoint()

    @property
    def stopped(self) -> bool:
        """True when the loop ended early, by Ctrl-C or `lab ctl`."""
        return self._stop and self.step < self.total

    def cut_short(self) -> bool:
        """Whether the loop ended early; if so, people are told how to go on."""
        if self.stopped:
            how = f"lab {self.recipe} --name {self.name} --resume"
            self.say(f"Stopped at step {self.step} of {self.total}, saved. Go on: {how}")
        return self.stopped

    def _obey(self) -> None:
        while True:
            self._read_control()
            if self._want_checkpoint and self.saved_step != self.step:
                self.checkpoint()
            self._want_checkpoint = False
            if not self._paused or self._stop:
                return
            self.tell("paused")
            self._clock = []  # a pause is no part of the speed
            time.sleep(0.1)

    def _read_control(self) -> None:
        path = self.folder / "control.jsonl"
        if not path.exists() or path.stat().st_size <= self._control_read:
            return
        with open(path, "rb") as file:
            file.seek(self._control_read)
            chunk = file.read()
        whole = chunk[: chunk.rfind(b"\n") + 1]  # a torn line is read when it is whole
        self._control_read += len(whole)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError, AttributeError):
                command = json.loads(line).get("cmd")
                if command in COMMANDS:
                    self._paused = command == "pause" or (self._paused and command == "checkpoint")
                    self._stop |= command == "stop"
                    self._want_checkpoint |= command == "checkpoint"
                    self.event("control", cmd=command)

    # -- the record ----------------------------------------------------------------------------------------------

    def _append(self, name: str, row: dict[str, Any]) -> None:
        row = {k: (None if isinstance(v, float) and not math.isfinite(v) else v) for k, v in row.items()}
        if name not in self._files:
            self._files[name] = open(self.folder / name, "a", encoding="utf-8")  # noqa: SIM115  (closed at exit)
        self._files[name].write(json.dumps(row, ensure_ascii=False) + "\n")
        self._files[name].flush()

    def log(self, step: int, **scalars: float | int | str) -> None:
        """One row of metrics.jsonl. Not-a-number is written as null, JSON has no NaN."""
        self.latest.update(scalars)
        self._append("metrics.jsonl", {"step": step, "t": round(time.time(), 3)} | scalars)

    def event(self, what: str, **more: Any) -> None:
        """Something that happened at this step: checkpoint, resume, control."""
        self._append("metrics.jsonl", {"step": self.step, "t": round(time.time(), 3), "event": what} | more)

    def sample(self, step: int, prompt: str, text: str, ids: list[int], logprobs: list[float]) -> None:
        """What the model says to a fixed prompt now."""
        row = {"step": step, "prompt": prompt, "text": text, "ids": ids, "logprobs": [round(p, 4) for p in logprobs]}
        self.samples_now[prompt] = row
        self._append("samples.jsonl", row)

    def episodes(self, step: int, rows: Iterable[dict[str, Any]]) -> None:
        """The rollouts of a step, as lab/episodes.py describes them: one file, put in place whole."""
        file = episodes.path_of(self.folder, step)
        file.parent.mkdir(exist_ok=True)
        write_atomic(file, "".join(map(episodes.line, rows)))  # synced: a checkpoint may rest on it (lab rejection)

    def say(self, text: str, quiet: bool = False) -> None:
        """A line for people: to the terminal (unless quiet) and to log.txt."""
        if not quiet:
            self.print(text)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(text.rstrip("\n") + "\n")

    def tell(self, state: str, force: bool = False, **more: Any) -> None:
        """Replace status.json, at most twice a second unless the state changed."""
        now = time.time()
        if not force and state == self.state and now - self._said < 0.5:
            return
        self.state, self._said = state, now
        status = {
            "version": VERSION, "state": state, "step": self.step, "total": self.total, "pid": os.getpid(), "t": now,
            "eta": self.eta(), "headline": self.headline, "note": self.note,
        }  # fmt: skip
        for key in ("loss", "tok_s", "mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"):
            if key in self.latest:
                status[key] = self.latest[key]
        write_atomic(self.folder / "status.json", json.dumps(status | more) + "\n", sync=False)

    def eta(self) -> float | None:
        """Seconds left at the speed of the last steps; None before the second step."""
        clock = self._clock  # a copy: the panel's thread asks too
        if not clock or clock[-1][1] != self.step:
            self._clock = clock = [*clock[-50:], (time.time(), self.step)]
        (t0, s0), (t1, s1) = clock[0], clock[-1]
        return (t1 - t0) / (s1 - s0) * (self.total - self.step) if s1 > s0 else None

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoint(self) -> Path:
        """Save the attached part and the lengths of the record's files: written aside, synced, renamed once."""
        assert self._part is not None, "attach() comes before steps()"
        self.tell("saving", force=True)
        target, aside = self.folder / "checkpoints" / f"{self.step:06d}", self.folder / "checkpoints" / ".tmp"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            self._part.save(aside)
            self.event("checkpoint")
            for file in self._files.values():  # a recorded length must be on the disk before the record of it
                os.fsync(file.fileno())
            record = [self.folder / name for name in RECORDED]
            lengths = {file.name: file.stat().st_size for file in record if file.is_file()}
            write_atomic(aside / "state.json", json.dumps({"step": self.step, "lengths": lengths}) + "\n")
            _sync_folder(aside)
            if target.exists():
                shutil.rmtree(target)
            os.rename(aside, target)
            _sync_folder(target.parent)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            last = checkpoints(self.folder)
            good = f"the checkpoint of step {int(last[-1].name)} is whole" if last else "nothing was saved yet"
            raise UserError(
                f"{self.folder}: saving step {self.step} failed ({error.strerror or error}); {good}. "
                f"Free some space and go on with --name {self.name} --resume"
            ) from error
        self.saved_step = self.step
        self._publish(target)
        self._thin()
        self.tell("running", force=True)
        return target

    def _thin(self) -> None:
        best = (self.folder / "best").read_text().strip() if (self.folder / "best").exists() else ""
        for old in checkpoints(self.folder)[: -max(1, self.keep)]:
            if old.name != best:
                gone = old.with_name(".old")  # renamed first: a kill leaves no half of one under its name
                shutil.rmtree(gone, ignore_errors=True)
                os.rename(old, gone)
                shutil.rmtree(gone)

    def _publish(self, checkpoint: Path) -> None:
        """The root's weights or adapters are a copy of the newest checkpoint's, so that the run folder opens as a model."""
        name = "adapters" if (checkpoint / "adapters.safetensors").exists() else "model"
        beside = self.folder / f".{name}.tmp.safetensors"
        try:
            shutil.copyfile(checkpoint / f"{name}.safetensors", beside)
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, self.folder / f"{name}.safetensors")
            write_atomic(self.folder / "last", f"{checkpoint.name}\n")
        except OSError as error:
            raise UserError(f"{self.folder}: copying the weights failed ({error.strerror}); free some space") from error
        finally:
            beside.unlink(missing_ok=True)
