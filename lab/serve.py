"""What `lab.worker` does between its pipes: models in slots, and their replies, one token of each in turn."""

import gc
import os
import re
import sys
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from lab import chat, device, display, hub, reply, weights
from lab.calls import Toolbox
from lab.errors import UserError, expand
from lab.stream import Stream
from lab.tools import Python, Search, Tool
from lab.worker import Event, Pipe

BATCH = 0.05  # seconds between two events with tokens
PROGRESS = 0.2  # seconds between two events of a download
ROOM = 4 << 30  # bytes for caches and activations, beside the weights


@dataclass
class Going:
    """A reply in the making."""

    id: int
    steps: reply.Steps
    used: int  # tokens of the context
    began: float
    first: float = 0.0  # when the first token came
    count: int = 0
    prefilled: int = 0
    batch: list[Event] = field(default_factory=list)  # tokens not sent yet
    ids: list[int] | None = None  # of a turn, what the reply begins with too; None where text is completed


@dataclass
class Slot:
    """A model and what is asked of it; without a model it is being loaded."""

    name: str
    asked: Event  # the request that loads it
    model: weights.Model | None = None
    stream: Stream | None = None
    going: Going | None = None
    waiting: deque[Event] = field(default_factory=deque)


class _Over(Exception):
    """The slot was unloaded, or loaded with something else, before its model had come."""


class Server:
    """Takes requests out of the pipe and works on the replies they ask for; `serve` does all MLX work on one thread."""

    def __init__(self, pipe: Pipe):
        self.pipe, self.slots = pipe, dict[str, Slot]()
        self.searches: dict[str, tuple[Any, Search]] = {}  # path -> (which file it is, its index)
        self.python: Python | None = None
        self._flushed = 0.0

    def serve(self) -> None:
        """For ever; the pipe ends the process."""
        while True:
            self._requests()
            began = time.perf_counter()
            for name in [slot.name for slot in self.slots.values() if slot.going]:
                self._step(self.slots[name])  # no name here holds a slot, or unloading would free nothing
            now = time.perf_counter()
            if now - self._flushed >= BATCH or now - began >= BATCH:  # slow tokens: none is kept for the next
                self._flush(now)

    def _requests(self) -> None:
        self.pipe.obey(lambda: any(slot.going for slot in self.slots.values()), self._obey, self._failed)

    def _obey(self, request: Event) -> None:
        what, name = request.get("do"), request.get("slot")
        if what == "complain":
            raise UserError(request["why"])
        if what == "cancel":
            self._cancel(request.get("id"))
        elif what not in ("load", "loaded", "say", "unload"):
            raise UserError(f"unknown request {str(what)[:40]!r}; there are load, say, cancel, unload and quit")
        elif not isinstance(name, str):
            raise UserError(f"a request to {what} names no slot")
        elif what == "load":
            self._load(name, request)
        elif what == "loaded":
            self._open(request)
        elif name not in self.slots:
            raise UserError(f"no model is loaded in slot {name[:40]}")
        elif what == "unload":
            self._unload(name)
            memory = device.memory()
            self.pipe.tell("unloaded", slot=name, memory=memory.active + memory.cache)
        elif type(request.get("id")) is not int:
            raise UserError("a request to say something has no id, a whole number")
        else:
            self.slots[name].waiting.append(request)
            self._next(self.slots[name])

    def _failed(self, request: Event, error: Exception) -> None:
        if not isinstance(error, UserError):
            traceback.print_exception(error, file=sys.stderr)
        number, slot = request.get("id"), request.get("slot")
        self.pipe.tell("failed", id=number if type(number) is int else None, slot=slot, message=_line(error))

    # -- models --------------------------------------------------------------------------------------------------------

    def _load(self, name: str, request: Event) -> None:
        model, dtype = request.get("model"), request.get("dtype")
        if not isinstance(model, str) or not model:
            raise UserError("a request to load names no model")
        if dtype is not None and dtype not in (*weights.DTYPES,):
            raise UserError(f"dtype {str(dtype)[:40]}: choose one of {', '.join(weights.DTYPES)}")
        self._unload(name)
        self.slots[name] = Slot(name, request)
        # Downloads go on in a thread, for the sake of replies in other slots; there is no MLX in them.
        threading.Thread(target=self._fetch, args=(request,), daemon=True).start()

    def _fetch(self, request: Event) -> None:
        tell = self._progress(request)
        display.listener.set(tell)
        done: Event = {"do": "loaded", "slot": request["slot"], "for": request, "began": time.perf_counter()}
        try:
            tell(f"looking for {request['model']}", 0, 0, "")
            done["path"] = hub.local(request["model"])
        except _Over:
            return
        except Exception as error:
            done["error"] = error
        self.pipe.inbox.put(done)

    def _progress(self, request: Event) -> display.Listener:
        """What lab.display tells while the model of `request` comes goes to the parent."""
        told, before = 0.0, ""

        def tell(what: str, done: int, total: int, unit: str) -> None:
            nonlocal told, before
            slot, now = self.slots.get(request["slot"]), time.monotonic()
            if slot is None or slot.asked is not request:
                raise _Over
            if now - told >= PROGRESS or what != before or done == total > 0:
                told, before = now, what
                self.pipe.tell("progress", slot=slot.name, what=what, done=int(done), total=int(total), unit=unit)

        return tell

    def _open(self, done: Event) -> None:
        """Load what `_fetch` has brought."""
        request = done["for"]
        slot, said = self.slots.get(request["slot"]), request["model"]
        if slot is None or slot.asked is not request:
            return
        self._flush(time.perf_counter())
        tell = self._progress(request)
        display.listener.set(tell)
        try:
            if "error" in done:
                raise done["error"]
            tell(f"reading {said}", 0, 0, "")
            model = weights.load(done["path"], request.get("dtype"))
        except Exception as error:
            del self.slots[slot.name]
            for other in (request, *slot.waiting):
                self._failed({"id": other.get("id"), "slot": slot.name}, error)
            return
        finally:
            display.listener.set(None)
            mx.clear_cache()  # what loading needed beside the weights
        if hub.is_id(said):  # else it would be called after a folder of the hub's cache
            model.name = model.tokenizer.name = said
        slot.model, slot.stream = model, Stream(model.network, model.tokenizer, model.context)
        sizes = {s.name: _bytes(s.model.network) for s in self.slots.values() if s.model}
        device.limit_memory(sum(sizes.values()) + ROOM)
        self.pipe.tell(
            "loaded", slot=slot.name, name=model.name, model=said, chats=model.chats, context=model.context,
            vocabulary=model.tokenizer.vocab_size, parameters=_parameters(model.network),
            seconds=round(time.perf_counter() - done["began"], 3), memory=sizes[slot.name],
        )  # fmt: skip
        self._next(slot)

    def _unload(self, name: str) -> None:
        slot = self.slots.get(name)
        if slot is None:
            return
        for number in [request["id"] for request in slot.waiting] + ([slot.going.id] if slot.going else []):
            self._cancel(number)
        del self.slots[name], slot
        gc.collect()  # modules hold each other
        mx.clear_cache()

    # -- replies -------------------------------------------------------------------------------------------------------

    def _next(self, slot: Slot) -> None:
        """Begin the next reply that waits, once the one before has ended."""
        while slot.waiting and slot.model and not slot.going:
            request = slot.waiting.popleft()
            try:
                self._begin(slot, request)
            except Exception as error:
                self._failed(request, error)

    def _begin(self, slot: Slot, request: Event) -> None:
        assert slot.model
        assert slot.stream
        began, tokenizer = time.perf_counter(), slot.model.tokenizer
        ask = reply.asked(slot.model, request)
        tools = self._toolbox(slot.model, ask)
        shown = reply.Shown(tokenizer, ask.ids, ask.completes, ask.stop)
        prefix = reply.begun(shown, ask.prefix)
        steps = reply.steps(slot.stream, ask, shown, tools)
        self._flush(began)  # the first step may take long
        pieces = [tokenizer.piece(i) for i in ask.ids]
        self.pipe.tell(
            "begin", id=request["id"], slot=slot.name, ids=ask.ids, pieces=pieces, dropped=ask.dropped, prefix=prefix
        )
        said = None if ask.completes else list(ask.prefix)
        slot.going = Going(request["id"], steps, len(ask.ids) + len(prefix), began, ids=said)

    def _toolbox(self, model: weights.Model, ask: reply.Asked) -> Toolbox | None:
        """The tools that a reply may call, and how long it may think. An index stays open until its file is another one."""
        if not (ask.search or ask.code or ask.think):
            return None
        tools: list[Tool] = [self._searching(ask.search)] if ask.search else []
        if ask.code:
            self.python = self.python or Python()
            tools.append(self.python)
        return Toolbox(model.tokenizer, tools, think_tokens=ask.think)

    def _searching(self, path: str) -> Search:
        try:
            seen = os.stat(expand(path))
            mark = (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)
        except (OSError, ValueError):
            mark = None
        if path not in self.searches or self.searches[path][0] != mark:
            self.searches[path] = mark, Search(path)  # a reply that goes on may still ask the one before
        return self.searches[path][1]

    def _step(self, slot: Slot) -> None:
        going = slot.going
        assert going
        try:
            step = next(going.steps)
        except StopIteration as over:
            self._end(slot, over.value)
        except Exception as error:
            self._send(slot)
            slot.going = None
            self._failed({"id": going.id, "slot": slot.name}, error)
            self._next(slot)
        else:
            if isinstance(step, int):
                going.prefilled += step
                return
            going.batch.append(step)
            if going.ids is not None:
                going.ids.append(step["id"])
            going.count += 1
            going.used += 1
            if going.count == 1:
                going.first = time.perf_counter()
                self._send(slot)  # at once

    def _send(self, slot: Slot) -> None:
        """Tell the tokens that have gathered."""
        if slot.going and slot.going.batch:
            self.pipe.tell("tokens", id=slot.going.id, slot=slot.name, tokens=slot.going.batch)
            slot.going.batch = []

    def _flush(self, now: float) -> None:
        self._flushed = now
        for slot in self.slots.values():
            self._send(slot)

    def _end(self, slot: Slot, stop: str) -> None:
        going, now = slot.going, time.perf_counter()
        assert going
        assert slot.model
        self._send(slot)
        slot.going = None
        first = going.first or now
        turn = {} if going.ids is None else {"content": chat.parse(slot.model.tokenizer, going.ids)["content"]}
        self.pipe.tell(
            "end", id=going.id, slot=slot.name, stop=stop, first=round(first - going.began, 4),
            speed=round(max(0, going.count - 1) / max(now - first, 1e-9), 2), prefilled=going.prefilled,
            used=going.used, seconds=round(now - going.began, 4), **turn,
        )  # fmt: skip
        self._next(slot)

    def _cancel(self, number: Any) -> None:
        """End that reply, or forget that it was asked for. One that has ended meanwhile is no error."""
        for slot in self.slots.values():
            for request in [r for r in slot.waiting if r["id"] == number]:
                slot.waiting.remove(request)
                nothing = dict.fromkeys(("first", "speed", "prefilled", "used", "seconds"), 0)
                self.pipe.tell("end", id=number, slot=slot.name, stop="cancelled", **nothing)
            if slot.going and slot.going.id == number:
                slot.going.steps.close()
                self._end(slot, "cancelled")


def _line(error: Exception) -> str:
    """One line in words."""
    text = re.sub(r"\s+", " ", str(error)).strip()[:500]
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError) or "allocate" in text:
        return f"the memory is full ({text}); take a smaller or a quantised model, or unload the other one"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _bytes(network: Any) -> int:
    return sum(value.nbytes for _, value in device.flat(network.parameters()))


def _parameters(network: Any) -> int:
    """Number of weights; a packed matrix counts as the weights it stands for."""
    count = sum(value.size for _, value in device.flat(network.parameters()))
    for module in network.modules():
        if "scales" in module and hasattr(module, "bits"):
            packed = sum(module[key].size for key in ("weight", "scales", "biases") if key in module)
            count += module["weight"].size * 32 // module.bits - packed
    return count
