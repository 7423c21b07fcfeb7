"""Rows of jsonl: what in them is text, what is a conversation, and which of its tokens are trained."""

import json
from collections.abc import Mapping
from typing import Any

from lab import talks
from lab.chat import Message, normal, parts
from lab.errors import UserError
from lab.mask import Piece, pieces
from lab.parts import NAMES

TALKS = talks.COLUMNS


def column_of(row: Mapping[str, Any]) -> str:
    """Where a row keeps what there is to read."""
    for name in ("text", *TALKS, "content", "prompt", "question"):
        if isinstance(row.get(name), str | list):
            return name
    return next((str(name) for name, value in row.items() if isinstance(value, str)), "")


def row_text(row: Mapping[str, Any], column: str = "") -> str:
    """A row as text: its column; a conversation turn by turn; else the row itself."""
    messages = conversation(row)
    if messages and (not column or column in TALKS):
        return "\n\n".join(f"{m['role']}: {said(m)}" for m in messages)
    value = row.get(column or column_of(row))
    return value if isinstance(value, str) else json.dumps(row, ensure_ascii=False, indent=1)


def said(message: Message) -> str:
    """All that a message says, calls and results with their names."""
    return "\n".join(f"{label}: {text}" if label else text for label, text in labelled(message))


def labelled(message: Message) -> list[tuple[str, str]]:
    """(label, text) of each part: "think", "search" or "code" for a call, "result", "" for text."""
    kinds = {"text": ""}
    return [(part.get("tool", kinds.get(part["type"], part["type"])), part["text"]) for part in parts(message)]


def conversation(row: Mapping[str, Any] | None) -> list[Message] | None:
    """The messages of a row, as `lab.talks` reads them: {"messages"}, {"conversations"} (from and value), {"prompt",
    "completion"} or, to look at, {"prompt", "chosen"}. Messages that no training would take are shown too, as far as they
    have a role and text; None where there are none."""
    if row is None:
        return None
    turns: list[Any] = next((row[name] for name in TALKS if isinstance(row.get(name), list)), [])
    if not turns:
        told = row.get("completion", row.get("chosen"))
        asked = row.get("prompt", row.get("question"))
        if not isinstance(told, str) or not isinstance(asked, str):
            return None
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    try:
        return normal(turns) or None
    except UserError:
        return _as_it_is(turns)


def _as_it_is(turns: list[Any]) -> list[Message] | None:
    """Messages that are none of ours, as texts."""
    found: list[Message] = []
    for turn in turns:
        content = turn.get("content", turn.get("value")) if isinstance(turn, dict) else 0
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            content = "\n".join(str(part.get("text", f"({part.get('type')})")) for part in content)
        if not isinstance(content, str | None):
            return None
        role = str(turn.get("role", turn.get("from", "")))
        found.append({"role": NAMES.get(role, role), "content": content or ""})
    return found or None


def masked(tokenizer: Any, messages: list[Message]) -> list[Piece]:
    """A conversation as the ids it is trained as, in pieces. UserError says why it is not trained at all."""
    try:
        made = next(talks.samples(tokenizer, [("", _whole(messages))], talks.LONGEST))
    except talks.Bad as error:
        raise UserError(f"not trained: {error}") from error
    if isinstance(made.sample, talks.Bad):
        raise UserError(f"not trained: {made.sample}")
    return pieces(tokenizer, made.sample)


def _whole(messages: list[Message]) -> list[Message]:
    found = talks.conversation({"messages": messages})
    assert not isinstance(found, str)
    return found
