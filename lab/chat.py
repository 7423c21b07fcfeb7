"""Messages to token ids and back. No MLX.

What a user types is encoded with special tokens off, so `<|end|>` typed by a user stays text. Our own models get their
roles as ids; a hub model follows its own chat template, whose pieces alone may yield special tokens.
"""

import datetime
import json
from collections.abc import Sequence
from typing import Any, TypedDict

from lab.errors import UserError
from lab.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn: a role out of ROLES and what was said."""

    role: str
    content: str


def prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids that end where the assistant's next reply begins."""
    for i, message in enumerate(messages):
        if message["role"] not in ROLES:
            raise UserError(f"message {i + 1}: role {message['role']!r}; use {', '.join(ROLES)}")
    if tokenizer.ours:
        return _ours(tokenizer, messages)
    if tokenizer.chat_template is None:
        raise UserError(
            f"{tokenizer.name} is a base model without a chat template; it completes text (lab generate -p)"
        )
    return _hub(tokenizer, messages)


def _ours(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """BOS, then role, content, END for each message, then the assistant's role."""
    ids = list(tokenizer.begin)
    for message in messages:
        ids += [tokenizer.special[f"<|{message['role']}|>"], *tokenizer.encode(message["content"]), tokenizer.end]
    return [*ids, tokenizer.special["<|assistant|>"]]


def _hub(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The template of the model's own folder.

    The whole rendering is encoded at once, as the model was trained, unless a message spells a special token: then the
    contents are encoded apart from the template, specials off.
    """
    forged = any(name in m["content"] for m in messages for name in tokenizer.special)
    if not forged:
        return tokenizer.encode_template(_render(tokenizer, messages))
    marks = [f"\ue0f0{i}\ue0f1" for i in range(len(messages))]
    text = _render(tokenizer, [{"role": m["role"], "content": mark} for m, mark in zip(messages, marks, strict=True)])
    ids: list[int] = []
    for message, mark in zip(messages, marks, strict=True):
        before, found, text = text.partition(mark)
        if not found:  # the template drops or moves this message
            return tokenizer.encode(_render(tokenizer, messages))
        ids += tokenizer.encode_template(before) + tokenizer.encode(message["content"])
    return ids + tokenizer.encode_template(text)


def _render(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    from jinja2 import TemplateError  # 60 ms: only for hub templates
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.globals.update(raise_exception=refuse, strftime_now=lambda form: datetime.datetime.now().strftime(form))
    env.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
    names: dict[str, Any] = {"bos_token": "", "eos_token": ""}
    names |= {"bos_token": tokenizer.piece(tokenizer.bos)} if tokenizer.bos is not None else {}
    names |= {"eos_token": tokenizer.piece(tokenizer.end)}
    try:
        template = env.from_string(tokenizer.chat_template or "")
        return template.render(messages=list(messages), add_generation_prompt=True, tools=None, **names)
    except (TemplateError, TypeError, KeyError) as error:
        raise UserError(f"{tokenizer.name}: its chat template refuses these messages: {error}") from error
