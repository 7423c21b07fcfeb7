"""A model in a process of its own, for a watcher that must stay alive and quick: JSON lines over pipes.

`python -m lab.worker` reads one request a line from standard input and prints one event a line. Models live in named
slots; replies in several slots go on in turn, token by token; a second reply in one slot waits for the first.

requests  {"do": "load", "slot", "model", "dtype"?}     the slot's old model is unloaded first
          {"do": "say", "id", "slot", "messages" or "text", "prefix"?, "sampling"?, "seed"?, "stop"?, "top"?, "tools"?}
              messages go through the chat template, text is completed as it is; a message's content is text or typed
              parts (lab/parts.py), and an assistant's may bring the `ids` it was sampled as; `prefix` holds the ids that
              the reply already begins with, `sampling` the fields of lab.sample.Sampling (max_tokens counts drawn
              tokens), `top` how many alternatives of each token to tell (5), `tools` what the model may call:
              {"search": the path of an index or null, "code": true or false, "think": the tokens of a thought before it is
              closed for the model, or null}
          {"do": "cancel", "id"}    {"do": "unload", "slot"}, which also ends a download    {"do": "quit"}
events    {"event": "progress", "slot", "what", "done", "total", "unit"}    total 0: nobody knows how long
          {"event": "loaded", "slot", "name", "model", "chats", "context", "vocabulary", "parameters", "seconds",
           "memory"}    {"event": "unloaded", "slot", "memory"}    bytes: of the weights; what MLX still holds
          {"event": "begin", "id", "slot", "ids", "pieces", "dropped", "prefix"}    the exact prompt; turns that no longer
              fit; {id, piece, text, kind} of each token that the reply begins with
          {"event": "tokens", "id", "slot", "tokens": [{"id", "piece", "text", "p", "logp", "kind", "top", "forced"?}]},
              twenty times a second at most; `text` is what became final, `kind` one of text, think, call, result,
              special; `forced` is true for what a tool put in, and not there for what the model said
          {"event": "end", "id", "slot", "stop", "first", "speed", "prefilled", "used", "seconds", "content"?}    stop is
              one of end, length, context, stop, cancelled; `content` is what a turn said, text or typed parts
          {"event": "failed", "id" or null, "slot", "message"}    one line; the worker lives on. A load that fails leaves
              its slot empty

The process ends when standard input does, whatever it is doing: no parent, however it died, leaves it behind.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

Event = dict[str, Any]


class Pipe:
    """Both ends of the conversation with the parent: requests that have come, events that go."""

    def __init__(self, requests: BinaryIO, events: int):
        self.inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._events, self._lock = events, threading.Lock()
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()

    def _read(self, requests: BinaryIO) -> None:
        for line in requests:
            try:
                asked = json.loads(line)
                if not isinstance(asked, dict):
                    raise ValueError("no JSON object")
            except (ValueError, RecursionError) as error:
                asked = {"do": "complain", "why": f"a request is no JSON object: {error}"}
            if asked.get("do") == "quit":
                break
            self.inbox.put(asked)
        os._exit(0)  # at once, also out of a download or a forward pass

    def obey(
        self, busy: Callable[[], object], do: Callable[[Event], None], failed: Callable[[Event, Exception], None]
    ) -> None:
        """Do all that has been asked for; wait for a request where there is nothing else to do."""
        while True:
            try:
                request = self.inbox.get(block=not busy())
            except queue.Empty:
                return
            try:
                do(request)
            except Exception as error:
                failed(request, error)

    def tell(self, event: str, **more: Any) -> None:
        """Send one event; any thread may. Waits while the parent does not read."""
        data = memoryview(json.dumps({"event": event} | more).encode() + b"\n")
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._events, data) :]
            except OSError:
                os._exit(0)  # nobody listens any more


def talk(serve: Callable[[Pipe], None]) -> None:
    """Be the child: `serve` gets the pipe to the parent and goes on until the process ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches the whole group; the parent decides
    events = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not get between the events
    pipe = Pipe(sys.stdin.buffer, events)
    try:
        serve(pipe)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the reading thread would hold up an orderly end


def main() -> None:
    def serve(pipe: Pipe) -> None:
        from lab.serve import Server  # MLX, half a second in which the pipe is watched already

        Server(pipe).serve()

    talk(serve)


if __name__ == "__main__":
    main()
