"""Rows of jsonl: what in them is text, what is a conversation, and which of its tokens are trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.chat import ROLES, Message, render
from lab.errors import UserError
from lab.tokenizer import Stream

TALKS = ("messages", "conversations", "conversation")


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
        return "\n\n".join(f"{m['role']}: {m['content']}" for m in messages)
    value = row.get(column or column_of(row))
    return value if isinstance(value, str) else json.dumps(row, ensure_ascii=False, indent=1)


def conversation(row: Mapping[str, Any] | None) -> list[Message] | None:
    """The messages of a row: {"messages"}, {"conversations"} (from and value), {"prompt", "completion"} or {"prompt",
    "chosen"}; None where there are none."""
    if row is None:
        return None
    turns: list[Any] = next((row[name] for name in TALKS if isinstance(row.get(name), list)), [])
    if not turns:
        said = row.get("completion", row.get("chosen"))
        asked = row.get("prompt", row.get("question"))
        if not isinstance(said, str) or not isinstance(asked, str):
            return None
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    names = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
    found: list[Message] = []
    for turn in turns:
        if not isinstance(turn, dict):
            return None
        role = str(turn.get("role", turn.get("from", "")))
        content = _content(turn.get("content", turn.get("value", "")))
        if content is None:
            return None
        found.append({"role": names.get(role, role), "content": content})
    return found or None


def _content(value: Any) -> str | None:
    """A message's content: a string, or a list of parts with texts."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return "\n".join(str(part.get("text", "")) for part in value)
    return None


@dataclass(frozen=True)
class Piece:
    """Neighbouring tokens that are trained, or are not; or one special token. `ends` a turn or the text."""

    text: str
    trained: bool
    special: bool
    tokens: int
    ends: bool = False


def masked(tokenizer: Any, messages: list[Message]) -> list[Piece]:
    """A conversation as the ids it is trained as, in pieces. UserError for a role or template that does not take it."""
    if unknown := next((m["role"] for m in messages if m["role"] not in ROLES), ""):
        raise UserError(f"a message of {unknown!r}, which chat templates of this version do not know")
    ids, weights = render(tokenizer, messages)
    special, stream = set(tokenizer.special.values()), Stream(tokenizer, specials=True)
    pieces: list[Piece] = []
    for i, (token, weight) in enumerate(zip(ids, weights, strict=True)):
        text = stream.push(token) + (stream.flush() if i + 1 == len(ids) else "")
        trained, own = weight > 0, token in special
        if pieces and not own and not pieces[-1].special and pieces[-1].trained == trained:
            pieces[-1] = Piece(pieces[-1].text + text, trained, False, pieces[-1].tokens + 1)
        else:
            pieces.append(Piece(text, trained, own, 1, token in tokenizer.ends))
    return pieces
