"""The tokens that open and close the parts of a reply, of ours and of hub vocabularies. No MLX."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lab.parts import ARGUMENT, Part, argument
from lab.tokenizer import Tokenizer
from lab.vocabulary import HuggingFace, Ours

Pair = tuple[int, int]
NAMES = ("think", "search", "code", "result")
# What hub models have of themselves. Qwen3 and Hermes call every tool by JSON between <tool_call> and </tool_call>.
THINK, CALL, RESULT = (
    ("<think>", "</think>"), ("<tool_call>", "</tool_call>"), ("<tool_response>", "</tool_response>"),
)  # fmt: skip
# gpt-oss says these itself, between its thoughts and its answer; they are no less its own for being special.
SAYABLE = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>", "<|call|>")


@dataclass(frozen=True)
class Marks:
    """For each kind of part the ids (open, close), None where the vocabulary has none. `banned` are the ids that a model
    may never say: results, roles, BOS, PAD, spares; never END, nor what it may open and close. With `native` one pair
    serves all tools, and a call is JSON that names the tool."""

    think: Pair | None
    search: Pair | None
    code: Pair | None
    result: Pair | None
    banned: frozenset[int]
    native: bool = False

    def of(self, part: Part) -> Pair | None:
        """The pair around this part; None for text, and where there is none."""
        if part["type"] != "call":
            return {"think": self.think, "result": self.result}.get(part["type"])
        return self.search if self.native else {"search": self.search, "code": self.code}.get(part["tool"])

    def opens(self) -> dict[int, tuple[str, str, int]]:
        """Opening id -> (type of part, tool, closing id). A native call is "search" until its JSON is read."""
        named = (("think", "", self.think), ("call", "code", self.code), ("call", "search", self.search))
        return {pair[0]: (kind, tool, pair[1]) for kind, tool, pair in (*named, ("result", "", self.result)) if pair}


def marks(tokenizer: Tokenizer) -> Marks:
    """The marks of this vocabulary: ours; of a hub model those its tokenizer_config.json keeps as "lab_marks" (see
    `Tokenizer.reserve`), else its own."""
    given = tuple(sorted((name, *pair) for name, pair in tokenizer.marks.items()))
    return _marks(tokenizer.core, given, tokenizer.ends, tokenizer.bos, tokenizer.pad)


@lru_cache(8)
def _marks(
    core: Ours | HuggingFace, given: tuple[tuple[str, str, str], ...], ends: frozenset[int], bos: int | None, pad: int | None
) -> Marks:  # fmt: skip
    ids = core.special

    def pair(*names: str) -> Pair | None:
        return (ids[names[0]], ids[names[1]]) if all(name in ids for name in names) else None

    named = {name: pair(*tokens) for name, *tokens in given}
    found = {name: named.get(name) or pair(f"<|{name}|>", f"<|/{name}|>") for name in NAMES}
    found["think"] = found["think"] or pair(*THINK)
    found["result"] = found["result"] or pair(*RESULT)
    calls = pair(*CALL)
    native = calls is not None and not (found["search"] or found["code"])
    if native:
        found["search"] = found["code"] = calls
    said = {i for name, both in found.items() if both and name != "result" for i in both}
    said |= {ids[name] for name in SAYABLE if name in ids and isinstance(core, HuggingFace)} | ends
    others = {*core.hidden, *(found["result"] or ()), *(i for i in (bos, pad) if i is not None)}
    return Marks(**found, banned=frozenset(others - said), native=native)


def written(found: Marks, part: Part) -> str:
    """The text between the marks of a part."""
    if part["type"] != "call" or not found.native:
        return part["text"]
    call = {"name": part["tool"], "arguments": {ARGUMENT.get(part["tool"], "query"): part["text"]}}
    return f"\n{json.dumps(call, ensure_ascii=False)}\n"


def read(found: Marks, kind: str, tool: str, text: str) -> Part:
    """The part of this text between marks. A native call that is no JSON is a search of all of it."""
    if kind != "call":
        return Part(type=kind, text=text)
    if found.native:
        try:
            call = json.loads(text)
            tool = str(call["name"])
            text = argument(call.get("arguments", ""), tool)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            text = text.strip()
    return Part(type="call", tool=tool, text=text)


def weights(found: Marks, ids: Sequence[int]) -> list[float]:
    """1 for each id of a reply and its END, and 0 from where a result opens to where it closes."""
    told, inside = [], False
    for i in ids:
        inside = inside or (found.result is not None and i == found.result[0])
        told.append(0.0 if inside else 1.0)
        inside = inside and found.result is not None and i != found.result[1]
    return told
