"""Conversations through the chat template of a hub model. No MLX.

A template may trim a message, cut thoughts out of it or quote it as JSON, so messages go through it as they are, but
for the special tokens they spell: each of those travels as a single private-use character and is text again after.
Marks of typed parts travel by name, so that a template finds the thoughts it drops; from the first call on a reply
travels as one character for all the rest, since no template expects calls in the midst of it.
A vocabulary that calls tools by JSON has its model told what there is to call (`offering`): by the template's own
`tools`, or in the system message where the template has no place for them.
A template that makes a special out of something else (it lowers letters, or cuts out the middle of "<|im_\\nend|>") is
caught by a second rendering, of messages that spell nothing.
"""

import copy
import datetime
import functools
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from lab.errors import UserError
from lab.marks import Marks, marks, weights, written
from lab.parts import ARGUMENT, Message, canonical, parts
from lab.read import SURROGATE
from lab.tokenizer import Tokenizer
from lab.vocabulary import HuggingFace

BLANK = "\U0010fffd"  # the last character of private use
# What a model is told of a tool, and of its one argument.
TOLD = {
    "search": ("Looks something up in a collection of texts and gives the passage that fits best.", "What to look for"),
    "code": ("Runs Python in a sandbox and gives the value of the last expression, or what was printed.", "The code"),
}
HOW = """You may call these tools:
{tools}
To call one, write its name and arguments as JSON between {open} and {close}, and wait for the result:
{open}
{{"name": "...", "arguments": {{...}}}}
{close}"""
# What templates take for now, as time.time(); None: the clock. Of a training the day it began: Llama 3.2's template prints the
# date, and a run that went on the next day would go on with other prompts.
day: float | None = None
Pieces = list[str | int]  # texts in which nothing is special, and ids of special tokens


def offering(tokenizer: Tokenizer, tools: Collection[str]) -> Tokenizer:
    """The tokenizer with prompts that describe these tools (of TOLD), as models which call by JSON are used to. The same
    one where there is nothing to describe: no tools, or marks of their own for each tool, which a model was tuned on."""
    offered = tuple(name for name in TOLD if name in tools)
    if tokenizer.ours or not marks(tokenizer).native or offered == tokenizer.offered:
        return tokenizer
    found = copy.copy(tokenizer)
    found.offered = offered
    return found


def described(offered: Collection[str]) -> list[dict[str, Any]]:
    """Tools as OpenAI's API and chat templates describe them."""
    found = []
    for name in offered:
        says, what = TOLD[name]
        arguments = {ARGUMENT[name]: {"type": "string", "description": what}}
        parameters = {"type": "object", "properties": arguments, "required": list(arguments)}
        function = {"name": name, "description": says, "parameters": parameters}
        found.append({"type": "function", "function": function})
    return found


def prompt(tokenizer: Tokenizer, messages: Sequence[Message], reply: bool = True) -> list[int]:
    """The template's ids up to where a reply begins or, without `reply`, to the end of the last turn; special tokens come
    out of the template's own text and of the parts' marks only."""
    core = tokenizer.core
    assert isinstance(core, HuggingFace)
    said = [pieces(tokenizer, message) for message in messages]
    masks = _Masks(core, messages)
    heads = [_head(message, run, marks(tokenizer)) for message, run in zip(messages, said, strict=True)]
    rests = {masks.next(): run[head:] for run, head in zip(said, heads, strict=True) if run[head:]}
    ends = iter(rests)
    disguised: list[list[Any]] = [[], []]
    for message, run, head in zip(messages, said, heads, strict=True):
        end = next(ends) if run[head:] else ""
        texts = [piece if isinstance(piece, int) else masks.on(piece) for piece in run[:head]]
        ways: tuple[Callable[[str], str], ...] = (str, _blank)
        for talk, how in zip(disguised, ways, strict=True):
            shown = (tokenizer.token_bytes(t).decode() if isinstance(t, int) else how(t) for t in texts)
            talk.append({"role": message["role"], "content": "".join(shown) + end})
    if about := _about(tokenizer):
        for talk in disguised:
            if talk[0]["role"] != "system":
                talk.insert(0, {"role": "system", "content": about})
            else:
                talk[0]["content"] = f"{talk[0]['content']}\n\n{about}".lstrip()
    text, bare = _fill(tokenizer, reply, *disguised)
    split = functools.partial(_split, core, tuple(rests))
    cut = split(text)
    if cut[1::2] != split(bare)[1::2]:
        raise UserError(
            f"{tokenizer.name}: its chat template turns what a message says into special tokens; say it in other words"
        )
    if not masks.worn(text):
        # As the model was trained: the text with its specials. A normaliser might find one that nobody spelt.
        ids: list[int] = []
        for part in re.split(f"([{''.join(rests)}])", text) if rests else [text]:
            ids += encode(tokenizer, rests[part]) if part in rests else _template_ids(tokenizer, part)
        want = [i for name in cut[1::2] for i in (_ids(rests[name]) if name in rests else [core.special[name]])]
        if [i for i in ids if i in core.special_ids] == want:
            return ids
    flat: Pieces = []
    for k, part in enumerate(cut):
        flat += [masks.off(part)] if k % 2 == 0 else rests.get(part) or [core.special[part]]
    return encode(tokenizer, flat)


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    """See `lab.chat.render`."""
    ids = prompt(tokenizer, messages, reply=False)
    found, told = marks(tokenizer), [0.0] * len(ids)
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i]
    for i in turns:
        before = prompt(tokenizer, messages[:i])
        then = ids if i + 1 == len(messages) else prompt(tokenizer, messages[: i + 1], reply=False)
        end = next((at for at in range(len(before), len(then)) if then[at] in tokenizer.ends), len(then) - 1) + 1
        if ids[: len(before)] == before and ids[:end] == then[:end]:
            told[len(before) : end] = weights(found, ids[len(before) : end])
        elif i == turns[-1] and i + 1 < len(messages):  # what follows has changed it, and is not trained
            return render(tokenizer, messages[: i + 1])
        elif i == turns[-1]:
            said = [*_said(tokenizer, messages[i], before), tokenizer.end]
            return before + said, [0.0] * len(before) + weights(found, said)
    return ids, told


def pieces(tokenizer: Tokenizer, message: Message) -> Pieces:
    """What a message says: texts, and the ids that open and close its parts. In a model's own reply that is one string,
    tokens that show as text (<think>) are what they seem."""
    core, found = tokenizer.core, marks(tokenizer)
    if isinstance(message["content"], str):
        if message["role"] != "assistant":
            return [message["content"]]
        shown = sorted((name for name, i in core.special.items() if i not in core.hidden), key=len, reverse=True)
        cut = (
            re.split("(" + "|".join(map(re.escape, shown)) + ")", message["content"]) if shown else [message["content"]]
        )
        return [core.special[text] if k % 2 else text for k, text in enumerate(cut)]
    said: Pieces = []
    for part in canonical(message):
        pair = found.of(part)
        if pair is None and part["type"] != "text":
            name = part.get("tool", part["type"])
            raise UserError(
                f"{tokenizer.name}: its vocabulary has no tokens for {name} (lab import --tool-tokens adds some)"
            )
        said += [part["text"]] if pair is None else [pair[0], written(found, part), pair[1]]
    return said


def encode(tokenizer: Tokenizer, said: Pieces) -> list[int]:
    """Ids of the pieces; the texts themselves yield no special."""
    texts = iter(tokenizer.encode_batch([piece for piece in said if isinstance(piece, str)]))
    return [i for piece in said for i in ([piece] if isinstance(piece, int) else next(texts))]


def _ids(said: Pieces) -> list[int]:
    return [piece for piece in said if isinstance(piece, int)]


def _head(message: Message, said: Pieces, found: Marks) -> int:
    """How many of the pieces the template gets to see: those up to the first call, result or second thought."""
    if isinstance(message["content"], str):
        return len(said)
    calls = {pair[0] for pair in (found.search, found.code, found.result) if pair}
    thoughts = 0
    for at, piece in enumerate(said):
        thoughts += found.think is not None and piece == found.think[0]
        if piece in calls or thoughts > 1:
            return at
    return len(said)


def _said(tokenizer: Tokenizer, message: Message, before: Sequence[int]) -> list[int]:
    """Ids of a reply where `before` has asked for it. Where the prompt has opened a thought already, the reply does not
    open it again."""
    said = pieces(tokenizer, message)
    opened = tokenizer.decode(before[-8:], specials=True)
    think = marks(tokenizer).think
    first = [k for k, piece in enumerate(said) if piece != ""][:2]
    if think and first and said[first[0]] == think[0]:
        mark = tokenizer.piece(think[0])
        for end in (mark + "\n", mark):
            if opened.endswith(end):
                text = said[first[1]] if len(first) > 1 else 0
                after: Pieces = [text.removeprefix(end.removeprefix(mark))] if isinstance(text, str) else []
                return encode(tokenizer, [*after, *said[first[0] + 1 + len(after) :]])
    return encode(tokenizer, said)


@functools.lru_cache(8)
def _specials(core: HuggingFace) -> "re.Pattern[str]":
    """Finds the special tokens that a text spells, the longest first."""
    names = sorted(core.special, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else "((?!))")


class _Masks:
    """For each special token that a message spells, a character that no message holds; and more of those."""

    def __init__(self, core: HuggingFace, messages: Sequence[Message]) -> None:
        said = "".join(part["text"] for message in messages for part in parts(message))
        self._free = (chr(code) for code in range(0xF0000, 0x10FFFD) if chr(code) not in said)
        self._names = {name: next(self._free) for name in sorted(core.special, key=len, reverse=True) if name in said}

    def next(self) -> str:
        """Another such character."""
        return next(self._free)

    def on(self, text: str) -> str:
        """The text with each special token it spells as a character."""
        for name, char in self._names.items():
            text = text.replace(name, char)
        return text

    def off(self, text: str) -> str:
        """The text as it was."""
        for name, char in self._names.items():
            text = text.replace(char, name)
        return text

    def worn(self, text: str) -> bool:
        """Whether a character stands in for something here."""
        return any(char in text for char in self._names.values())


@functools.lru_cache(256)
def _blank(text: str) -> str:
    """A text as long, with the same white space, and nothing else of which a special could be made."""
    return re.sub(r"\S+", lambda found: BLANK * len(found[0]), text)


def _split(core: HuggingFace, rests: Sequence[str], text: str, strip: bool = True) -> list[str]:
    """Text, special token, text, ..., special token, text; with `strip` without the white space that a token swallows. A
    character of `rests` stands for what begins with a special token."""
    pattern = _specials(core)
    if rests:
        pattern = re.compile(f"({pattern.pattern[1:-1]}|{'|'.join(map(re.escape, rests))})")
    cut = pattern.split(text)
    for i in range(1, len(cut), 2) if strip else ():
        left, right = core.strips.get(cut[i], (False, False))
        cut[i - 1] = cut[i - 1].rstrip() if left else cut[i - 1]
        cut[i + 1] = cut[i + 1].lstrip() if right else cut[i + 1]
    return cut


def _template_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """`encode_template`, of each stretch between two specials once: no stretch changes another, and the prompts of one
    conversation share all but the last. Encoding them whole costs the square of its length."""
    core = tokenizer.core
    assert isinstance(core, HuggingFace)
    cut = _split(core, (), text, strip=False)
    if len(cut) == 1 or SURROGATE.search(text):
        return tokenizer.encode_template(text)
    ids: list[int] = []
    for k in range(0, len(cut), 2):
        left, right = cut[k - 1] if k else "", cut[k + 1] if k + 1 < len(cut) else ""
        found = _stretch(core, left, cut[k], right)
        if found is None:
            return core.encode_template(text)
        ids += found
    return ids


@functools.lru_cache(4096)
def _stretch(core: HuggingFace, left: str, text: str, right: str) -> tuple[int, ...] | None:
    """Ids of a text between two specials, and of the one on its right ("" for none); None where these are not found."""
    ids = core.encode_template(left + text + right)
    if (left and ids[:1] != [core.special[left]]) or (right and ids[-1:] != [core.special[right]]):
        return None
    return tuple(ids[1:] if left else ids)


def _about(tokenizer: Tokenizer) -> str:
    """What the system message has to say of tools; "" for nothing, and where the template says it."""
    if not tokenizer.offered or _shows_tools(tokenizer.chat_template or "", tuple(_names(tokenizer))):
        return ""
    pair = marks(tokenizer).search
    assert pair is not None
    tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in described(tokenizer.offered))
    return HOW.format(tools=tools, open=tokenizer.piece(pair[0]), close=tokenizer.piece(pair[1]))


@functools.lru_cache(8)
def _shows_tools(text: str, names: tuple[tuple[str, str], ...]) -> bool:
    """Whether a template tells of the tools that it is given."""
    said, given = [{"role": "user", "content": "."}], {"documents": None, "add_generation_prompt": True, **dict(names)}
    try:
        fill = template(text)
        with_, without = (fill(messages=said, tools=tools, **given) for tools in (described(TOLD), None))
    except Exception:  # prompts say what is wrong with it
        return False
    return with_ != without and all(f'"{name}"' in with_ for name in TOLD)


def _fill(tokenizer: Tokenizer, reply: bool, *talks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The template's text for each talk; with `reply`, up to where the next one begins."""
    tools = described(tokenizer.offered) or None
    given = {"tools": tools, "documents": None, "add_generation_prompt": reply, **dict(_names(tokenizer))}
    try:
        fill = template(tokenizer.chat_template or "")
        return [fill(messages=[dict(m) for m in messages], **given) for messages in talks]
    except Exception as error:  # a template can raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{tokenizer.name}: its chat template refuses these messages: {reason}") from error


@functools.lru_cache(8)
def template(text: str) -> Callable[..., str]:
    """A template, compiled (Qwen3's takes 10 ms) in the environment of transformers (trim_blocks, lstrip_blocks, loop
    controls, `raise_exception`, `strftime_now`, `tojson`, `{% generation %}`), sandboxed: it is foreign code."""
    from jinja2 import TemplateError, nodes  # 60 ms: only for hub templates
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %} marks what an assistant said, for training; here it shows its content."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    def to_json(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **more)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    env.globals.update(raise_exception=refuse, strftime_now=lambda form: _now().strftime(form))
    env.filters["tojson"] = to_json
    return env.from_string(text).render


def _now() -> datetime.datetime:
    return datetime.datetime.now() if day is None else datetime.datetime.fromtimestamp(day)


def _names(tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """The names of special tokens that a template may use."""
    yield "bos_token", tokenizer.piece(tokenizer.bos) if tokenizer.bos is not None else ""
    yield "eos_token", tokenizer.piece(tokenizer.end) if tokenizer.ends else ""
    if tokenizer.pad is not None:
        yield "pad_token", tokenizer.piece(tokenizer.pad)
