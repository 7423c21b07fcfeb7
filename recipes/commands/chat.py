"""Talk with a model in the terminal. A chat model follows its own template; a base model completes what you type.

Examples:
  lab chat                                     the newest model
  lab chat --model pocket-base --temp 0.5
  lab chat --model HuggingFaceTB/SmolLM2-135M-Instruct --system "You are brief."    from the hub, downloaded once
  lab chat --model ~/models/smollm2.gguf
  printf 'One day\\n' | lab chat --model pocket-base
"""

import io
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from lab import chat
from lab.chat import Message
from lab.display import CONTROLS
from lab.errors import UserError
from lab.sample import Sampling
from lab.stream import Stream
from lab.weights import Model
from recipes.commands import generate

HELP = """/new      forget the conversation          /seed N   the same seed, the same reply
/again    answer the last message anew     /system T  set the system message (chat models)
/exit     leave (so does Ctrl-D)           Ctrl-C     stop the reply"""


@dataclass(frozen=True)
class Config(generate.Speaking):
    system: Annotated[str, arg(aliases=["--system-prompt"])] = ""
    """System message of a chat model."""


class Conversation:
    """Messages, the ids they became, and the model's cache of them."""

    def __init__(self, model: Model, system: str, sampling: Sampling, seed: int):
        self.model, self.system, self.sampling, self.seed = model, system, sampling, seed
        self.stream = Stream(model.network, model.tokenizer, model.context)
        self.clear()

    def clear(self) -> None:
        """Back to an empty conversation."""
        self.messages: list[Message] = []
        if self.system:
            self.messages.append({"role": "system", "content": self.system})
        self.dropped = 0

    def unanswered(self) -> None:
        """Take back a message that got no reply."""
        while self.messages and self.messages[-1]["role"] == "user":
            self.messages.pop()

    def ids(self) -> list[int]:
        """The prompt for the next reply. Where it leaves no room in the context, the oldest turns go (never the system
        message), and `dropped` counts them."""
        if not self.model.chats:  # no turns: each line is a page of its own, and may fill the context
            tokenizer = self.model.tokenizer
            return [*tokenizer.begin, *tokenizer.encode(self.messages[-1]["content"])]
        room = min(self.sampling.max_tokens, self.model.context // 4)
        ids, self.messages, dropped = chat.fitting(self.model.tokenizer, self.messages, self.model.context, room)
        self.dropped += dropped
        return ids

    def reply(self) -> None:
        """Stream the answer to the last message; Ctrl-C keeps what was said so far."""
        ids, said, count = self.ids(), "", 0
        started, first = time.perf_counter(), 0.0
        pressed: list[int] = []

        def press(number: int, frame: object) -> None:
            pressed.append(number)
            raise KeyboardInterrupt

        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, press) if main else None
        try:
            for token in self.stream(ids, self.sampling, self.seed, completes=not self.model.chats):
                if pressed:  # MLX's bindings sometimes swallow an exception that a signal raises inside them
                    raise KeyboardInterrupt
                first = first or time.perf_counter()
                count += 1
                said += token.text
                generate.show(token.text)
        except KeyboardInterrupt:
            sys.stdout.write(" [stopped]")
        finally:
            if main:
                signal.signal(signal.SIGINT, before)
        self.messages.append({"role": "assistant", "content": said})
        generate.show("\n")  # here, not on stderr: where only one of them goes to a file, replies stay apart
        took = time.perf_counter() - (first or started)
        speed = max(0, count - 1) / max(took, 1e-9)
        note = f"; the {self.dropped} oldest turns no longer fit" if self.dropped else ""
        print(
            f"[{count} tokens, {speed:.0f} tok/s, first after {(first or started) - started:.2f} s, "
            f"{self.stream.prefilled} prefilled, context {len(self.stream.held)}/{self.model.context}{note}]",
            file=sys.stderr,
        )


def run(config: Config) -> int:
    sampling = generate.sampling(config)
    if sys.stdin is None:
        raise UserError("standard input is closed, so there is nobody to talk with; lab generate -p TEXT needs none")
    model = generate.open_model(config.model, config.dtype)
    seed = config.seed if config.seed is not None else generate.fresh_seed()
    talk = Conversation(model, config.system, sampling, seed)
    kind = "chat model" if model.chats else "base model: it completes what you type, each line is a page of its own"
    print(f"{model.name} ({kind}); /help shows commands, Ctrl-D leaves", file=sys.stderr)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no UTF-8 cost one line, not the chat
    asking = sys.stdin.isatty()
    while True:
        try:
            line = input("\n> " if asking else "")
        except EOFError:
            return 0
        except KeyboardInterrupt:
            print("\n/exit or Ctrl-D leaves", file=sys.stderr)
            continue
        try:
            if not _obey(talk, line):
                return 0
        except KeyboardInterrupt:  # between two tokens reply() takes it; this is the rest
            print(" [stopped]", file=sys.stderr)
            talk.unanswered()


def _obey(talk: Conversation, line: str) -> bool:
    """One line of the user; False to leave."""
    if not line.strip():
        return True
    wrong = [i for i, c in enumerate(line, 1) if "\ud800" <= c <= "\udfff"]
    if wrong:
        print(f"character {wrong[0]} is not UTF-8; type the line again", file=sys.stderr)
    elif line.startswith("/"):
        return _command(talk, line)
    else:
        talk.messages.append({"role": "user", "content": line})
        _answer(talk)
    return True


def _answer(talk: Conversation) -> None:
    try:
        talk.reply()
    except UserError as error:
        talk.unanswered()
        print(str(error).translate(CONTROLS), file=sys.stderr)


def _command(talk: Conversation, line: str) -> bool:
    """Obey a line that starts with a slash; False to leave."""
    name, _, rest = line[1:].strip().partition(" ")
    rest = rest.strip()
    said = HELP
    if name in ("exit", "quit", "q"):
        return False
    if name == "new":
        talk.clear()
        said = "a new conversation"
    elif name == "system" and talk.model.chats:
        talk.system = rest
        talk.clear()
        said = "a new conversation, " + ("with this system message" if rest else "without a system message")
    elif name == "system":
        said = f"{talk.model.name} is a base model and has no system message"
    elif name == "seed":
        if rest.isascii() and rest.isdecimal() and int(rest) < 1 << 63:
            talk.seed = int(rest)
        good = rest in ("", str(talk.seed))
        said = f"seed {talk.seed}" if good else f"/seed {rest}: give a whole number below 2^63, such as /seed 7"
    elif name == "again":
        said = "nothing to answer anew yet"
        if talk.messages and talk.messages[-1]["role"] == "assistant":
            talk.messages.pop()
            talk.seed += 1
            _answer(talk)
            return True
    elif name != "help":
        said = f"no command /{name}\n{HELP}"
    print(said, file=sys.stderr)
    return True
