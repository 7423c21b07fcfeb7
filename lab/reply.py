"""One reply of a model as `lab.worker` tells it: what was asked, the steps to it, and what each token shows."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from lab import chat
from lab.calls import Toolbox, banned
from lab.errors import UserError
from lab.hub_chat import offering
from lab.parts import check
from lab.sample import PREFILL, Sampling
from lab.stream import Stops, Stream
from lab.tokenizer import Tokenizer
from lab.weights import Model

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
    search: str | None = None  # the index to search in
    code: bool = False
    think: int | None = None  # tokens of a thought before it is closed


def asked(model: Model, request: dict[str, Any]) -> Asked:
    """What a request of the worker's protocol asks of this model."""
    sampling, prefix = _sampling(request.get("sampling")), _list(request, "prefix", int)
    seed, top = _int(request, "seed", 0), _int(request, "top", 5)
    if not 0 <= top <= 100:
        raise UserError(f"top {top}: ask for 0 to 100 alternatives")
    if wrong := [i for i in prefix if not 0 <= i < model.tokenizer.vocab_size]:  # MLX would not notice
        raise UserError(f"prefix: {model.name} has no token {wrong[0]}")
    search, code, think = _tools(model, request)
    able = [name for name, on in (("search", search), ("code", code)) if on]
    ids, dropped = _prompt(replace(model, tokenizer=offering(model.tokenizer, able)), request, sampling, prefix)
    stop = _list(request, "stop", str)
    return Asked(ids, dropped, "text" in request, prefix, sampling, seed, stop, top, search, code, think)


def _tools(model: Model, request: dict[str, Any]) -> tuple[str | None, bool, int | None]:
    """(index to search in, whether code may be run, tokens of a thought). What has no thoughts cannot spend them."""
    given = request.get("tools")
    given = {} if given is None else given
    if not isinstance(given, dict) or not given.keys() <= {"search", "code", "think"}:
        raise UserError(
            'tools: give {"search": the path of an index or null, "code": true or false, "think": tokens or null}'
        )
    search, code = given.get("search") or None, given.get("code") or False
    if not isinstance(search, str | None) or not isinstance(code, bool):
        raise UserError('tools: "search" is the path of an index or null, "code" true or false')
    if (search or code) and "text" in request:
        raise UserError(f"{model.name} completes text here, and calls no tools; ask it with messages")
    think = given.get("think")
    if think is not None and (type(think) is not int or think < 1):
        raise UserError(f'tools: "think" {str(think)[:40]}: give a thought at least 1 token, or null')
    thinks = "text" not in request and chat.marks(model.tokenizer).think
    return search, code, think if thinks else None


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
    if not isinstance(messages, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) for m in messages
    ):
        raise UserError("messages: each needs a role, and a content of text or parts")
    if not messages:
        raise UserError("there is no message to answer")
    said = [_message(model.tokenizer, m) for m in messages]
    check(said)
    room = max(min(sampling.max_tokens, model.context // 4), len(prefix) + 1)
    ids, _, dropped = chat.fitting(model.tokenizer, said, model.context, room)
    return ids, dropped


def _message(tokenizer: Tokenizer, given: dict[str, Any]) -> chat.Message:
    """A message with the ids it was sampled as, where these are of our own vocabulary: a hub template tells turns anew."""
    said = chat.Message(role=given["role"], content=given.get("content", ""))
    if tokenizer.ours and (ids := _list(given, "ids", int)):
        said["ids"] = ids
    return said


class Shown:
    """What each id of a reply shows: its text as far as it is final, and what part of the reply it belongs to (`part`,
    and of a call the `tool`, as its marks name it)."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], completes: bool, stop: Sequence[str]):
        found = chat.marks(tokenizer)
        self._opens, self._close, self._inside = found.opens(), -1, False
        self._think = found.think
        self._closes = frozenset(close for _, _, close in self._opens.values())
        self._special = tokenizer.core.hidden | self._opens.keys() | self._closes
        self._tokenizer, self._decoder, self._stops = tokenizer, tokenizer.stream(), Stops(stop)
        # Each part of ours begins with a space (Tokenizer.encode_part), which is no part of what it says.
        self._spaced = tokenizer.ours and not completes
        self._fresh, self._held, self.part, self.tool = self._spaced, "", "text", ""
        self.over = ""  # end or stop, once the reply is
        for token in prompt:
            self._kind(token)  # some templates open a thought themselves
            if completes:
                self._decoder.push(token)  # text that goes on keeps its first space, and ends a character begun

    def opens(self, token: int) -> str:
        """What part this id opens; "" for none."""
        return self._opens[token][0] if token in self._opens else ""

    def marks(self, token: int) -> bool:
        """Whether this id opens or closes a part: what such tokens of hub models spell is no part of what is said."""
        return token in self._opens or token in self._closes

    def _kind(self, token: int) -> str:
        """The kind of this id; what is open is followed as lab.chat.parse follows it."""
        if token not in self._special:
            return self.part
        self._fresh |= self._spaced and (token in self._opens or token == self._close)
        if token in self._opens:
            before = self.part
            self.part, self.tool, self._close = self._opens[token]
            self._inside = self.part != "think" and (self._inside or before == "think")
        elif token == self._close:
            self._inside = self._inside and self.part != "think"
            self.part, self.tool, self._close = "text", "", -1
            if self._inside and self._think:  # a thought goes on after a call
                self.part, self._close = "think", self._think[1]
        elif token in self._tokenizer.ends or token not in self._closes:
            self.part, self.tool, self._close, self._inside = "text", "", -1, False  # a role, an end: all is over
        return "special"

    def push(self, token: int, last: bool = False, forced: bool = False) -> dict[str, Any]:
        """The next id. Text that may still become a stop string, or a part of a character, comes with a later one,
        unless this is the `last`. What was `forced` ends nothing."""
        cut, ready = False, 0
        if token in self._tokenizer.ends and not forced:
            self.over = "end"
        else:
            self._held += self._said(self._decoder.push(token))
            cut, ready = (False, len(self._held)) if forced else self._stops.scan(self._held)
            self.over = "stop" if cut else ""
        if (last or self.over) and not cut:  # nothing more comes, so nothing is held back
            self._held += self._decoder.flush()
            ready = len(self._held)
        text, self._held = self._held[:ready], self._held[ready:]
        told = {"id": token, "piece": self._tokenizer.piece(token), "text": text, "kind": self._kind(token)}
        return told | {"forced": True} if forced else told

    def _said(self, text: str) -> str:
        """New text without the space that a part begins with."""
        if text and self._fresh:
            self._fresh, text = False, text.removeprefix(" ")
        return text


def begun(shown: Shown, prefix: Sequence[int]) -> list[dict[str, Any]]:
    """The tokens that the reply begins with; results among them were put in by a tool."""
    told = []
    for token in prefix:
        before = shown.part
        told.append(shown.push(token, forced=before == "result" or shown.opens(token) == "result"))
    return told


def steps(stream: Stream, ask: Asked, shown: Shown, tools: Toolbox | None = None) -> Steps:
    """Work on the reply, a step a time; `shown` has seen the prefix. UserError at once where the prompt leaves no room.
    Closing it cancels, and the stream keeps what it holds."""
    ids, forced = [*ask.ids, *ask.prefix], tools.resume(ask.prefix) if tools and not shown.over else []
    stream.after = tools.after if tools else None
    stream.banned = frozenset() if ask.completes else banned(stream.tokenizer, tools)
    tokens = stream(ids, ask.sampling, ask.seed, top=ask.top, said=len(ask.prefix), forced=forced)

    def go() -> Steps:
        drawn = 0
        if not shown.over:
            yield from _prefill(stream, ids)
        for count, token in enumerate(() if shown.over else tokens, 1):
            if count == 1:
                yield stream.prefilled
            if not math.isfinite(token.p):
                raise UserError(
                    "the model's scores are no numbers (NaN): its weights are broken; take another checkpoint"
                )
            drawn += not token.forced
            top = [[i, stream.tokenizer.piece(i), _short(p)] for i, p in token.top]
            told = {"p": _short(token.p), "logp": _short(token.logp), "top": top}
            yield shown.push(token.id, token.last, token.forced) | told
            if shown.over:
                break
        return shown.over or ("length" if drawn >= ask.sampling.max_tokens else "context")

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
        next(stream(ids[:at], Sampling(temp=1.0, max_tokens=1)))  # what it draws is not kept
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
