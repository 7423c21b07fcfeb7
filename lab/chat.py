"""Messages to token ids and back. No MLX.

What a user types is encoded with special tokens off, so `<|end|>` typed by a user stays text. Our own models get their
roles as ids; a hub model follows its own chat template, whose pieces alone may yield special tokens.

A template may trim a message, cut thoughts out of it or quote it as JSON, so messages go through it as they are, but
for the special tokens they spell: each of those travels as a single private-use character and is text again after.
A template that makes a special out of something else (it lowers letters, or cuts out the middle of "<|im_\\nend|>") is
caught by a second rendering, of messages that spell nothing.
"""

import datetime
import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypedDict

from lab.errors import UserError
from lab.tokenizer import Tokenizer
from lab.vocabulary import HuggingFace

ROLES = ("system", "user", "assistant")
BLANK = "\U0010fffd"  # the last character of private use


class Message(TypedDict):
    """One turn: a role out of ROLES and what was said."""

    role: str
    content: str


def prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids that end where the assistant's next reply begins."""
    _check(tokenizer, messages)
    if tokenizer.ours:
        return [*_ours(tokenizer, messages)[0], tokenizer.special["<|assistant|>"]]
    return _hub(tokenizer, messages)


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    """(ids, weights) of a whole conversation, to train on: weight 1 for what the assistant says and the END after it, 0
    for all else (roles, users, system, what a template adds).

    A trained reply follows just the ids that `prompt` of the messages before it gives. Ours: every turn is trained.
    Some hub templates tell an old turn otherwise than when it was said (they drop its thoughts): such a turn is not
    trained. The last one always is: what follows it is left out where it changes it, and where the template alone does
    so, the turn's prompt and its plain text stand in.
    """
    _check(tokenizer, messages)
    if tokenizer.ours:
        return _ours(tokenizer, messages)
    ids = _hub(tokenizer, messages, reply=False)
    weights = [0.0] * len(ids)
    turns = [i for i, message in enumerate(messages) if message["role"] == "assistant" and i]
    for i in turns:
        before = _hub(tokenizer, messages[:i])
        then = ids if i + 1 == len(messages) else _hub(tokenizer, messages[: i + 1], reply=False)
        end = next((at for at in range(len(before), len(then)) if then[at] in tokenizer.ends), len(then) - 1) + 1
        if ids[: len(before)] == before and ids[:end] == then[:end]:
            weights[len(before) : end] = [1.0] * (end - len(before))
        elif i == turns[-1] and i + 1 < len(messages):  # what follows has changed it, and is not trained
            return render(tokenizer, messages[: i + 1])
        elif i == turns[-1]:
            said = [*_said(tokenizer, messages[i]["content"], before), tokenizer.end]
            return before + said, [0.0] * len(before) + [1.0] * len(said)
    return ids, weights


def fitting(
    tokenizer: Tokenizer, messages: Sequence[Message], context: int, room: int
) -> tuple[list[int], list[Message], int]:
    """(`prompt` ids, the messages they hold, how many were dropped), such that `room` tokens of `context` stay free.

    The oldest turns go, a question with its answer, never the system message. UserError where the last message alone
    does not fit.
    """
    turns = [i for i, message in enumerate(messages) if message["role"] != "system"]
    starts = sorted({0, *turns[2::2], *turns[1:][-1:]})

    def since(start: int) -> tuple[list[int], list[Message]]:
        kept = [m for i, m in enumerate(messages) if i >= start or m["role"] == "system"]
        return prompt(tokenizer, kept), kept

    start, (ids, kept) = 0, since(0)
    if len(ids) + room > context and len(starts) > 1:
        start = starts[-1]
        ids, kept = since(start)
    if len(ids) + room > context:
        raise UserError(
            f"the message has {len(ids)} tokens and the context {context}; "
            f"shorten it to about {max(1, context - room)} tokens"
        )
    low, high = 0, starts.index(start)  # what starts at `low` does not fit, at `high` it does
    while high - low > 1:
        middle = (low + high) // 2
        more = since(starts[middle])
        if len(more[0]) + room <= context:
            high, start, (ids, kept) = middle, starts[middle], more
        else:
            low = middle
    return ids, kept, sum(1 for i in turns if i < start)


def _check(tokenizer: Tokenizer, messages: Sequence[Message]) -> None:
    for i, message in enumerate(messages):
        if message["role"] not in ROLES:
            raise UserError(f"message {i + 1}: role {message['role']!r}; use {', '.join(ROLES)}")
    if not tokenizer.ours and tokenizer.chat_template is None:
        raise UserError(
            f"{tokenizer.name} is a base model without a chat template; it completes text (lab generate -p)"
        )


def _ours(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    """BOS, then role, content, END for each message; the assistant's contents and ENDs weigh 1."""
    ids, weights = list(tokenizer.begin), [0.0] * len(tokenizer.begin)
    for message in messages:
        said = [*tokenizer.encode(message["content"]), tokenizer.end]
        ids += [tokenizer.special[f"<|{message['role']}|>"], *said]
        weights += [0.0, *([float(message["role"] == "assistant")] * len(said))]
    return ids, weights


def _hub(tokenizer: Tokenizer, messages: Sequence[Message], reply: bool = True) -> list[int]:
    """The template of the model's own folder, up to where a reply begins or, without `reply`, to the end of the last
    turn; special tokens come out of the template's own text only."""
    core = tokenizer.core
    assert isinstance(core, HuggingFace)
    stand_ins = _stand_ins(core, messages)
    disguised = [_disguised(core, message, stand_ins) for message in messages]
    text, bare = _fill(tokenizer, reply, disguised, [_blank(core, message) for message in disguised])
    parts = _split(core, text)
    if parts[1::2] != _split(core, bare)[1::2]:
        raise UserError(
            f"{tokenizer.name}: its chat template turns what a message says into special tokens; say it in other words"
        )
    if not any(char in text for char in stand_ins.values()):
        # As the model was trained: the whole text at once. A normaliser might find a special that nobody spelt.
        ids = tokenizer.encode_template(text)
        if [i for i in ids if i in core.special_ids] == [core.special[part] for part in parts[1::2]]:
            return ids
    names = {char: name for name, char in stand_ins.items()}
    return _encode(tokenizer, ["".join(names.get(char, char) for char in part) for part in parts[::2]], parts[1::2])


def _encode(tokenizer: Tokenizer, plain: Sequence[str], specials: Sequence[str]) -> list[int]:
    """Ids of text, special token, text, ..., text; the texts themselves yield no special."""
    runs = tokenizer.encode_batch(plain)
    marks = [[tokenizer.special[name]] for name in specials] + [[]]
    return [i for run, mark in zip(runs, marks, strict=True) for i in (*run, *mark)]


def _said(tokenizer: Tokenizer, content: str, before: Sequence[int]) -> list[int]:
    """Ids of a reply where `before` has asked for it. Tokens that show as text (<think>) mean themselves; where the
    prompt has opened a thought already, the reply does not open it again."""
    core = tokenizer.core
    opened = tokenizer.decode(before[-8:], specials=True)
    content = next((content.removeprefix(t) for t in ("<think>\n", "<think>") if opened.endswith(t)), content)
    names = sorted((name for name, i in core.special.items() if i not in core.hidden), key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", content) if names else [content]
    return _encode(tokenizer, parts[::2], parts[1::2])


def _stand_ins(core: HuggingFace, messages: Sequence[Message]) -> dict[str, str]:
    """For each special token that a message spells, a character that no message holds."""
    said = "".join(message["content"] for message in messages)
    free = (chr(code) for code in range(0xF0000, 0x10FFFE) if chr(code) not in said)
    return {name: next(free) for name in sorted(core.special, key=len, reverse=True) if name in said}


def _disguised(core: HuggingFace, message: Message, stand_ins: dict[str, str]) -> Message:
    """The message with stand-ins. In a model's own reply tokens that show as text (<think>) stay what they are, so that
    a template can find the thoughts it drops."""
    content = message["content"]
    for name, char in stand_ins.items():
        if message["role"] != "assistant" or core.special[name] in core.hidden:
            content = content.replace(name, char)
    return {"role": message["role"], "content": content}


def _blank(core: HuggingFace, message: Message) -> Message:
    """The message as long, with the same white space and special tokens, and nothing else of which one could be made."""
    parts = _cut(core, message["content"])
    parts[::2] = [re.sub(r"\S", BLANK, part) for part in parts[::2]]
    return {"role": message["role"], "content": "".join(parts)}


def _cut(core: HuggingFace, text: str) -> list[str]:
    """Text, special token, text, ..., special token, text."""
    names = sorted(core.special, key=len, reverse=True)
    return re.split("(" + "|".join(map(re.escape, names)) + ")", text) if names else [text]


def _split(core: HuggingFace, text: str) -> list[str]:
    """`_cut`, without the white space that a token swallows."""
    parts = _cut(core, text)
    for i in range(1, len(parts), 2):
        left, right = core.strips.get(parts[i], (False, False))
        parts[i - 1] = parts[i - 1].rstrip() if left else parts[i - 1]
        parts[i + 1] = parts[i + 1].lstrip() if right else parts[i + 1]
    return parts


def _fill(tokenizer: Tokenizer, reply: bool, *talks: Sequence[Message]) -> list[str]:
    """The template's text for each talk; with `reply`, up to where the next one begins."""
    given = {"tools": None, "documents": None, "add_generation_prompt": reply, **dict(_names(tokenizer))}
    try:
        fill = _template(tokenizer.chat_template or "")
        return [fill(messages=[dict(m) for m in messages], **given) for messages in talks]
    except Exception as error:  # a template can raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{tokenizer.name}: its chat template refuses these messages: {reason}") from error


@functools.lru_cache(8)
def _template(text: str) -> Callable[..., str]:
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
    env.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.datetime.now().strftime(form))
    env.filters["tojson"] = to_json
    return env.from_string(text).render


def _names(tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """The names of special tokens that a template may use."""
    yield "bos_token", tokenizer.piece(tokenizer.bos) if tokenizer.bos is not None else ""
    yield "eos_token", tokenizer.piece(tokenizer.end) if tokenizer.ends else ""
    if tokenizer.pad is not None:
        yield "pad_token", tokenizer.piece(tokenizer.pad)
