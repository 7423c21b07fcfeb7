"""One reply of a model as `lab.worker` tells it: what was asked, the steps to it, and what each token shows."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lab import chat
from lab.errors import UserError
from lab.sample import PREFILL, Sampling
from lab.stream import Stops, Stream
from lab.tokenizer import Tokenizer
from lab.weights import Model

# What opens and closes a part of a reply: tokens of ours, and those that hub models have under these names.
PARTS = {"think": "think", "search": "call", "code": "call", "result": "result"}
MARKS = {f"<|{name}|>": (f"<|/{name}|>", kind) for name, kind in PARTS.items()} | {
    "<think>": ("</think>", "think"),
    "<tool_call>": ("</tool_call>", "call"),
    "<tool_response>": ("</tool_response>", "result"),
}
# A step: how many tokens of the prompt came into the cache, or a token said. The value at the end is why it ended.
Steps = Generator[int | dict[str, Any], None, str]


@dataclass(frozen=True)
class Asked:
    """A request to say something, checked: UserError where it is none. `ids` is the prompt, `prefix` follows it."""

    ids: list[int]
    dropped: int  # turns that no longer fit
    completes: bool  # text goes on, no turn begins
    prefix: list[int]
    sampling: Sampling
    seed: int
    stop: list[str]
    top: int


def asked(model: Model, request: dict[str, Any]) -> Asked:
    """What a request of the worker's protocol asks of this model."""
    sampling, prefix = _sampling(request.get("sampling")), _list(request, "prefix", int)
    seed, top = _int(request, "seed", 0), _int(request, "top", 5)
    if not 0 <= top <= 100:
        raise UserError(f"top {top}: ask for 0 to 100 alternatives")
    if wrong := [i for i in prefix if not 0 <= i < model.tokenizer.vocab_size]:  # MLX would not notice
        raise UserError(f"prefix: {model.name} has no token {wrong[0]}")
    ids, dropped = _prompt(model, request, sampling, prefix)
    return Asked(ids, dropped, "text" in request, prefix, sampling, seed, _list(request, "stop", str), top)


def _prompt(model: Model, request: dict[str, Any], sampling: Sampling, prefix: list[int]) -> tuple[list[int], int]:
    """(prompt ids, turns dropped). The same turns are kept with and without a prefix, as long as it fits."""
    text, messages = request.get("text"), request.get("messages")
    if (text is None) == (messages is None):
        raise UserError("a request to say something holds either messages or text")
    if text is not None:
        if not isinstance(text, str):
            raise UserError("text: this is no text")
        if not (ids := [*model.tokenizer.begin, *model.tokenizer.encode(text)]):
            raise UserError("the prompt is empty; type at least one character")
        return ids, 0
    if not model.chats:
        raise UserError(f"{model.name} is a base model without a chat template; it completes text")
    keys = ("role", "content")
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and all(isinstance(m.get(key), str) for key in keys) for m in messages
    ):
        raise UserError("messages: each needs a role and a content, both text")
    if not messages:
        raise UserError("there is no message to answer")
    room = max(min(sampling.max_tokens, model.context // 4), len(prefix) + 1)
    said = [chat.Message(role=m["role"], content=m["content"]) for m in messages]
    ids, _, dropped = chat.fitting(model.tokenizer, said, model.context, room)
    return ids, dropped


class Shown:
    """What each id of a reply shows: its text as far as it is final, and what part of the reply it belongs to."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], completes: bool, stop: Sequence[str]):
        special = tokenizer.special
        self._opens = {special[name]: kind for name, (_, kind) in MARKS.items() if name in special}
        self._special = tokenizer.core.hidden | {*self._opens} | {special.get(name, -1) for name, _ in MARKS.values()}
        self._tokenizer, self._decoder, self._stops = tokenizer, tokenizer.stream(), Stops(stop)
        self._held, self._part = "", "text"
        self.over = ""  # end or stop, once the reply is
        for token in prompt:
            self._kind(token)  # some templates open a thought themselves
            if completes:
                self._decoder.push(token)  # text that goes on keeps its first space, and ends a character begun

    def _kind(self, token: int) -> str:
        if token not in self._special:
            return self._part
        self._part = self._opens.get(token, "text")  # a close, a role, an end: what was open is over
        return "special"

    def push(self, token: int, last: bool = False) -> dict[str, Any]:
        """The next id. Text that may still become a stop string, or a part of a character, comes with a later one,
        unless this is the `last`."""
        cut = False
        if token in self._tokenizer.ends:
            self.over = "end"
        else:
            self._held += self._decoder.push(token)
            cut, ready = self._stops.scan(self._held)
            self.over = "stop" if cut else ""
        if (last or self.over) and not cut:  # nothing more comes, so nothing is held back
            self._held += self._decoder.flush()
            ready = len(self._held)
        text, self._held = self._held[:ready], self._held[ready:]
        return {"id": token, "piece": self._tokenizer.piece(token), "text": text, "kind": self._kind(token)}


def steps(stream: Stream, ask: Asked, shown: Shown) -> Steps:
    """Work on the reply, a step a time; `shown` has seen the prefix. UserError at once where the prompt leaves no room.
    Closing it cancels, and the stream keeps what it holds."""
    ids = [*ask.ids, *ask.prefix]
    tokens = stream(ids, ask.sampling, ask.seed, top=ask.top)

    def go() -> Steps:
        room = stream.context - len(ids)
        limit = min(ask.sampling.max_tokens, room)
        if not shown.over:
            yield from _prefill(stream, ids)
        for count, token in enumerate(() if shown.over else tokens, 1):
            if count == 1:
                yield stream.prefilled
            if not math.isfinite(token.p):
                raise UserError(
                    "the model's scores are no numbers (NaN): its weights are broken; take another checkpoint"
                )
            top = [[i, stream.tokenizer.piece(i), _short(p)] for i, p in token.top]
            told = {"p": _short(token.p), "logp": _short(token.logp), "top": top}
            yield shown.push(token.id, count == limit) | told
            if shown.over:
                break
        return shown.over or ("length" if ask.sampling.max_tokens <= room else "context")

    return go()


def _prefill(stream: Stream, ids: list[int]) -> Iterator[int]:
    """Bring all of `ids` but the last chunk into the cache, a chunk a step, so that other work comes in between."""
    at, most = 0, min(len(stream.held), len(ids))
    while at < most and stream.held[at] == ids[at]:
        at += 1
    if at < len(stream.held) and not all(layer.is_trimmable() for layer in stream.cache):
        at = 0  # such a cache begins anew
    while len(ids) - at > PREFILL:
        at += PREFILL
        next(stream(ids[:at], Sampling(temp=1.0, max_tokens=1)))
        yield stream.prefilled


def _sampling(given: Any) -> Sampling:
    """Sampling from a JSON object; UserError for a name or value that is none."""
    kinds: dict[str, Any] = {f.name: f.type for f in fields(Sampling)}
    given = {} if given is None else given
    if not isinstance(given, dict) or not given.keys() <= kinds.keys():
        raise UserError(f"sampling: give an object with some of {', '.join(kinds)}")
    for name, value in given.items():
        if type(value) not in (int, kinds[name]):
            raise UserError(
                f"sampling: {name} {str(value)[:40]}: give a {'whole ' if kinds[name] is int else ''}number"
            )
    return Sampling(**{name: kinds[name](value) for name, value in given.items()})


def _int(request: dict[str, Any], name: str, default: int) -> int:
    value = request.get(name)
    if value is not None and type(value) is not int:
        raise UserError(f"{name} {str(value)[:40]}: give a whole number")
    return default if value is None else int(value)


def _list(request: dict[str, Any], name: str, kind: type) -> list[Any]:
    value = request.get(name) or []
    if not isinstance(value, list) or any(type(v) is not kind for v in value):
        raise UserError(f"{name}: give a list of {'texts' if kind is str else 'token ids'}")
    return value


def _short(value: float) -> float:
    """Six digits: what is shown needs no more, and the line is shorter."""
    return float(f"{value:.6g}")
