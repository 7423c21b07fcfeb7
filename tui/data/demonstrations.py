"""Replies that a person wrote or approved, as rows that `lab sft` reads: {"messages": [...]}, one a line."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.runs import read_lines, root


def path() -> Path:
    """demonstrations.jsonl in the weights root."""
    return root() / "demonstrations.jsonl"


def add(messages: Sequence[dict[str, Any]]) -> tuple[int, bool]:
    """(rows in the file now, whether this one is new). The row is on the disk when this returns. UserError where it cannot
    be written, or where there is nothing to learn from it."""
    if len(messages) < 2 or messages[-1]["role"] != "assistant" or not _says(messages[-1]["content"]):
        raise UserError("a demonstration ends with a reply; there is none yet")
    row = {"messages": [{"role": m["role"], "content": _turn(m)} for m in messages]}
    rows = [old.get("messages") for old in read_lines(path())]
    if row["messages"] in rows:
        return len(rows), False
    try:
        data = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        path().parent.mkdir(parents=True, exist_ok=True)
        with open(path(), "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the last writer was killed
                    data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except UnicodeEncodeError as error:
        raise UserError("the reply holds half of a surrogate pair, which is no text; edit it away") from error
    except OSError as error:
        raise UserError(f"{path()}: cannot be written ({error.strerror})") from error
    return len(rows) + 1, True


def _turn(message: dict[str, Any]) -> Any:
    """The content of a row. What a base model goes on with begins with a space, which is no part of a turn."""
    content = message["content"]
    return content.removeprefix(" ") if message["role"] == "assistant" and isinstance(content, str) else content


def _says(content: str | list[dict[str, str]]) -> bool:
    """Whether text, or one of typed parts, says anything."""
    return any(text.strip() for text in ([content] if isinstance(content, str) else (part["text"] for part in content)))
