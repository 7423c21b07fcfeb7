"""Continue a prompt once, streaming.

Examples:
  lab generate -p "One day"                                   with the newest model
  lab generate --model pocket-base -p "The capital of France is" --temp 0
  echo "One day" | lab generate -p -                          the prompt from standard input
  lab generate --model mine@400 -p "One day" --top-p 0.9 --seed 7
  lab generate --model HuggingFaceTB/SmolLM2-135M-Instruct -p "Name three fruits."     from the hub, downloaded once
  lab generate --model ~/models/smollm2.gguf -p "Once" --no-chat-template
"""

import sys
import time
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from lab import calls, chat, device, weights
from lab.display import CONTROLS
from lab.errors import UserError
from lab.runs import MUTE, inspect, to_talk_with
from lab.sample import Sampling
from lab.stream import Stream
from lab.tokenizer import text_from_bytes


@dataclass(frozen=True)
class Speaking:
    """Which model speaks and how its tokens are drawn: the flags of `lab generate` and `lab chat`."""

    model: str | None = None
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    max_tokens: Annotated[int, arg(aliases=["-m"])] = 256
    """Longest answer, in tokens."""
    temp: float = 0.8
    """Temperature; 0 takes the most probable token each time."""
    top_k: int = 0
    """Draw from the k most probable tokens only; 0 = all."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens with this probability."""
    min_p: float = 0.0
    """Leave out tokens with less than this share of the best one's probability."""
    repetition_penalty: float = 1.0
    """Above 1: recent tokens become less likely."""
    repetition_context: int = 64
    """How many tokens back count as recent."""
    seed: int | None = None
    """The same seed gives the same text; without it a new one is drawn."""
    dtype: str | None = None
    """float32, bfloat16 or float16; without it what this device computes best in."""


@dataclass(frozen=True)
class Config(Speaking):
    prompt: Annotated[str, arg(aliases=["-p"])] = ""
    """What to continue; - reads standard input."""
    stop: UseAppendAction[tuple[str, ...]] = ()
    """Stop before this text; may be given several times."""
    chat_template: bool = True
    """A chat model gets the prompt as a user's message; with --no-chat-template it completes it."""


def sampling(config: Speaking) -> Sampling:
    """The flags that `lab.sample` takes."""
    return Sampling(
        config.temp, config.top_k, config.top_p, config.min_p, config.repetition_penalty, config.repetition_context,
        config.max_tokens,
    )  # fmt: skip


def newest_model() -> str:
    """The newest run with weights that writes text, shipped models last, of these the one that knows most first."""
    for info in to_talk_with():
        if (info.folder / "model.safetensors").exists() and info.recipe not in MUTE:
            return info.name
    raise UserError("no model yet; make one with `lab pretrain`, or name a folder with --model")


def open_model(name: str | None, dtype: str | None) -> weights.Model:
    """Load a model for use on a terminal."""
    if dtype is not None and dtype not in weights.DTYPES:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(weights.DTYPES)}")
    model = weights.load(name or newest_model(), dtype)
    if inspect(model.folder).recipe == "selfplay":  # a reward model's body still writes
        raise UserError(f"{model.name}: made by lab selfplay, it writes no text; lab play is for it")
    size = sum(v.nbytes for _, v in device.flat(model.network.parameters()))
    device.limit_memory(size + (4 << 30))  # the weights, and room for cache and activations
    return model


def fresh_seed() -> int:
    """A seed short enough to type again."""
    return time.time_ns() // 1000 % 1_000_000


def show(text: str) -> None:
    """Write at once. On a terminal control characters become signs: a model must not move the cursor or set colours."""
    sys.stdout.write(text.translate(CONTROLS) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def from_stdin(otherwise: str = "with -p TEXT") -> str:
    """A text from standard input, without the line end that `echo` adds; `otherwise` is how to give one without it."""
    if sys.stdin is None:
        raise UserError(f"standard input is closed; give the text {otherwise}")
    if sys.stdin.isatty():
        print("type the text; Ctrl-D on an empty line ends it", file=sys.stderr)
    return text_from_bytes(sys.stdin.buffer.read(), "standard input").removesuffix("\n").removesuffix("\r")


def run(config: Config) -> int:
    options = sampling(config)
    text = from_stdin() if config.prompt == "-" else config.prompt
    model = open_model(config.model, config.dtype)
    tokenizer = model.tokenizer
    talks = model.chats and config.chat_template
    if talks:
        if not text.strip():
            raise UserError("the prompt is empty; say something with -p TEXT, or -p - for standard input")
        ids = chat.prompt(tokenizer, [{"role": "user", "content": text}])
        shown = ""
    else:
        ids = [*tokenizer.begin, *tokenizer.encode(text)]
        shown = text
    stream = Stream(model.network, tokenizer, model.context, banned=calls.banned(tokenizer) if talks else ())
    seed = config.seed if config.seed is not None else fresh_seed()
    tokens = stream(ids, options, seed, config.stop, completes=bool(shown))
    show(shown)
    started, count, first = time.perf_counter(), 0, 0.0
    try:
        for token in tokens:
            first = first or time.perf_counter()
            count += 1
            # A reply of ours begins with a space (Tokenizer.encode_part).
            show(token.text.removeprefix(" ") if talks and tokenizer.ours and count == 1 else token.text)
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        raise
    sys.stdout.write("\n")
    took = time.perf_counter() - (first or started)
    print(
        f"[{model.name}: {len(ids)} tokens in, first after {(first or started) - started:.2f} s; {count} out, "
        f"{max(0, count - 1) / max(took, 1e-9):.0f} tok/s; seed {seed}]",
        file=sys.stderr,
    )
    return 0
