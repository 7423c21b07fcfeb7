"""Talk with a model in the terminal. A chat model follows its own template; a base model completes what you type.

With tools a model may look things up in an index (lab index) and compute with Python, which runs in a sandbox without
files or network. What it thinks and asks and what it is told stands in brackets.

Examples:
  lab chat                                     the newest model
  lab chat --model pocket-base --temp 0.5
  lab chat --model HuggingFaceTB/SmolLM2-135M-Instruct --system "You are brief."    from the hub, downloaded once
  lab chat --model ~/models/smollm2.gguf
  lab chat --model pocket-search --search pocket.db     it looks up what it does not know (lab index pocket --out pocket.db)
  lab chat --model pocket-code --code                   it counts and computes with Python
  printf 'One day\\n' | lab chat --model pocket-base
"""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, arg

from lab import calls, chat
from lab.calls import Toolbox
from lab.chat import Message
from lab.display import CONTROLS
from lab.errors import UserError
from lab.hub_chat import offering
from lab.reply import Shown
from lab.sample import Sampling
from lab.stream import Stream, Token
from lab.tools import Search, Tool
from lab.weights import Model
from recipes.commands import generate

HELP = """/new      forget the conversation          /seed N   the same seed, the same reply
/again    answer the last message anew     /system T  set the system message (chat models)
/exit     leave (so does Ctrl-D)           Ctrl-C     stop the reply"""


@dataclass(frozen=True)
class Config(generate.Speaking):
    system: Annotated[str, arg(aliases=["--system-prompt"])] = ""
    """System message of a chat model."""
    search: str = ""
    """An index (lab index) that the model may search in."""
    code: Annotated[bool, FlagCreatePairsOff] = False
    """The model may run Python, in a sandbox."""
    think_budget: int | None = None
    """Tokens of a thought before it is closed for the model."""


class Voice:
    """Writes a reply as it comes: text as it is, and in brackets, dim on a terminal, thoughts, calls and results."""

    def __init__(self, model: Model, prompt: Sequence[int]):
        self.tokenizer, self.shown = model.tokenizer, Shown(model.tokenizer, prompt, not model.chats, ())
        self.native = chat.marks(model.tokenizer).native
        self.ids: list[int] = []
        self.call: list[int] = []  # of a call in JSON, which is told once it is whole
        self.dim = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.inside, self.column = False, 0

    def __call__(self, token: Token) -> None:
        """Write what this token shows."""
        before = self.shown.part
        text = self.shown.push(token.id, token.last, token.forced)["text"]
        self.ids.append(token.id)
        if before != self.shown.part or self.shown.opens(token.id):
            self.close()
            if self.shown.part in ("call", "result"):
                self._open()
        elif self.native and before == "call":
            self.call.append(token.id)
        elif not self.shown.marks(token.id):
            # A thought opens with its first word: some say nothing, and some templates open them themselves.
            if before == "think" and not self.inside and (text := text.lstrip()):
                self._open()
            self._write(text)
        if self.shown.over:
            self.close()

    def _open(self) -> None:
        self._write("\n" if self.column else "")
        if self.dim:
            sys.stdout.write("\x1b[2m")
        self.inside, part = True, self.shown.part
        if not (self.native and part == "call"):
            self._write(f"[{'thought' if part == 'think' else self.shown.tool or part}: ")

    def close(self) -> None:
        """End what is in brackets; the reply may end inside of it."""
        if not self.inside:
            return
        if self.call:
            call = chat.call(self.tokenizer, self.call)
            self._write(f"[{call['tool']}: {call['text']}")
            self.call = []
        self._write("]")
        if self.dim:
            sys.stdout.write("\x1b[22m")
        self._write("\n")
        self.inside = False

    def _write(self, text: str) -> None:
        if text:
            self.column = 0 if text.endswith("\n") else self.column + len(text)
            generate.show(text)


class Conversation:
    """Messages, the ids they became, and the model's cache of them."""

    def __init__(
        self,
        model: Model,
        system: str,
        sampling: Sampling,
        seed: int,
        tools: Sequence[Tool] = (),
        budget: int | None = None,
    ):
        self.model, self.system, self.sampling, self.seed = model, system, sampling, seed
        if tools and not model.chats:
            raise UserError(
                f"{model.name} is a base model: it completes text and calls no tools; tune it with "
                f"lab {tools[0].name} --model {model.name} first"
            )
        self.model = model = replace(model, tokenizer=offering(model.tokenizer, [tool.name for tool in tools]))
        box = Toolbox(model.tokenizer, tools, think_tokens=budget) if tools or budget is not None else None
        banned = calls.banned(model.tokenizer, box) if model.chats else ()
        self.stream = Stream(model.network, model.tokenizer, model.context, box.after if box else None, banned)
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
            return [*tokenizer.begin, *tokenizer.encode(chat.plain(self.messages[-1]))]
        room = min(self.sampling.max_tokens, self.model.context // 4)
        ids, self.messages, dropped = chat.fitting(self.model.tokenizer, self.messages, self.model.context, room)
        self.dropped += dropped
        return ids

    def reply(self) -> None:
        """Stream the answer to the last message; Ctrl-C keeps what was said so far."""
        ids = self.ids()
        voice, count, put = Voice(self.model, ids), 0, 0
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
                put += token.forced
                voice(token)
            voice.close()
        except KeyboardInterrupt:
            voice.close()
            sys.stdout.write(" [stopped]")
        finally:
            if main:
                signal.signal(signal.SIGINT, before)
        self.messages.append(self._message(voice.ids))
        generate.show("\n")  # here, not on stderr: where only one of them goes to a file, replies stay apart
        took = time.perf_counter() - (first or started)
        speed = max(0, count - 1) / max(took, 1e-9)
        note = f"; {put} of them from tools" if put else ""
        note += f"; the {self.dropped} oldest turns no longer fit" if self.dropped else ""
        print(
            f"[{count} tokens, {speed:.0f} tok/s, first after {(first or started) - started:.2f} s, "
            f"{self.stream.prefilled} prefilled, context {len(self.stream.held)}/{self.model.context}{note}]",
            file=sys.stderr,
        )

    def _message(self, ids: list[int]) -> Message:
        """What was said. Of our own vocabulary the very ids stay, so that later turns see what was sampled."""
        if not self.model.chats:
            return Message(role="assistant", content=self.model.tokenizer.decode(ids))
        said = chat.parse(self.model.tokenizer, ids)
        if self.model.tokenizer.ours and ids:
            said["ids"] = ids
        return said


def run(config: Config) -> int:
    sampling = generate.sampling(config)
    if sys.stdin is None:
        raise UserError("standard input is closed, so there is nobody to talk with; lab generate -p TEXT needs none")
    with contextlib.ExitStack() as stack:
        tools = calls.opened(config.search, config.code)
        for tool in tools:
            stack.callback(tool.close)
        model = generate.open_model(config.model, config.dtype)
        seed = config.seed if config.seed is not None else generate.fresh_seed()
        talk = Conversation(model, config.system, sampling, seed, tools, config.think_budget)
        kind = "chat model" if model.chats else "base model: it completes what you type, each line is a page of its own"
        kind += "".join(f"; {_able(tool)}" for tool in tools)
        print(f"{model.name} ({kind}); /help shows commands, Ctrl-D leaves", file=sys.stderr)
        return _talk(talk)


def _able(tool: Tool) -> str:
    """What a tool lets a model do."""
    return f"it may search {tool.path.name}, {tool.count:,} passages" if isinstance(tool, Search) else "it may run code"


def _talk(talk: Conversation) -> int:
    """Line by line, until there are no more."""
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
