"""Messages, the typed parts they are made of, and the OpenAI form of both. No MLX."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from lab.errors import UserError

ROLES = ("system", "user", "assistant")
KINDS = ("text", "think", "call", "result")
TOOLS = ("search", "code")
ARGUMENT = {"search": "query", "code": "code"}  # what a tool's one argument is called where calls are JSON
NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "developer": "system"}
ALIASES = {"web_search": "search", "python": "code", "code_interpreter": "code", "ipython": "code"}


class Part(TypedDict):
    """A piece of a reply: `type` out of KINDS, its text, and of a call the `tool` (TOOLS) that is asked."""

    type: str
    text: str
    tool: NotRequired[str]


class Message(TypedDict):
    """One turn: a role out of ROLES and what was said, a string or typed parts (only an assistant's are more than text).

    `ids` (assistant only) are the very ids a model of ours sampled for this turn, END and forced results included. They
    are used in place of `content`: whoever changes the content takes them away.
    """

    role: str
    content: str | list[Part]
    ids: NotRequired[list[int]]


def parts(message: Message) -> list[Part]:
    """The parts of a message; a string is one text part."""
    content = message["content"]
    return [Part(type="text", text=content)] if isinstance(content, str) else list(content)


def plain(message: Message) -> str:
    """What counts as the answer: the text, without thoughts, calls and results."""
    return "".join(part["text"] for part in parts(message) if part["type"] == "text")


def canonical(message: Message) -> list[Part]:
    """`parts` as their ids tell them: neighbouring texts are one, empty texts none."""
    found: list[Part] = []
    for part in parts(message):
        if part["type"] != "text":
            found.append(part)
        elif found and found[-1]["type"] == "text":
            found[-1] = Part(type="text", text=found[-1]["text"] + part["text"])
        elif part["text"]:
            found.append(Part(type="text", text=part["text"]))
    return found


def check(messages: Sequence[Message]) -> None:
    """UserError for a role, content or part that is none."""
    for i, message in enumerate(messages, 1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise UserError(f"message {i}: role {str(role)[:40]!r}; use {', '.join(ROLES)}")
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise UserError(f"message {i}: its content is no text and no list of parts")
        for part in content:
            _check_part(part, i, role)


def _check_part(part: Any, i: int, role: str) -> None:
    if not isinstance(part, dict) or part.get("type") not in KINDS:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        raise UserError(f"message {i}: a part of type {str(kind)[:40]!r}; use {', '.join(KINDS)}")
    if not isinstance(part.get("text"), str):
        raise UserError(f'message {i}: a {part["type"]} part without "text"')
    if part["type"] != "text" and role != "assistant":
        raise UserError(f"message {i}: a {part['type']} part of the {role}; only an assistant's message holds one")
    if part["type"] == "call" and not isinstance(part.get("tool"), str):
        raise UserError(f'message {i}: a call without "tool"; use {", ".join(TOOLS)}')


# -- the OpenAI form -------------------------------------------------------------------------------------------------


def normal(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Messages of a file as ours: OpenAI's `tool_calls`, role "tool" and `reasoning_content` (also `reasoning`) become
    parts of one assistant turn, each result behind its call; ShareGPT's from/value are read too. Only role and content
    stay. UserError for a role, part or tool that is unknown."""
    found: list[Message] = []
    waiting: list[tuple[str, int]] = []  # (id, place in the last turn) of calls without a result
    before = ""
    for i, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise UserError(f"message {i} is no object")
        role = str(message.get("role", message.get("from", "")))
        role = NAMES.get(role, role)
        content = _content(message.get("content", message.get("value")), i)
        if role in ("tool", "function"):
            if not found or found[-1]["role"] != "assistant":
                raise UserError(f"message {i}: a tool's result without a call")
            _answer(parts(found[-1]), found[-1], waiting, str(message.get("tool_call_id") or ""), plain_of(content))
        elif role == "assistant":
            said = _turn(message, content, i)
            if before in ("tool", "function"):  # the same turn goes on
                said = [*parts(found.pop()), *said]
            calls = [at for at, part in enumerate(said) if part["type"] == "call"]
            given = [str(call.get("id") or "") for call in _calls(message, i)]
            waiting = list(zip(given, calls[len(calls) - len(given) :], strict=True)) if given else []
            typed = any(part["type"] != "text" for part in said)
            found.append(Message(role=role, content=said if typed else "".join(part["text"] for part in said)))
        else:
            found.append(Message(role=role, content=content if isinstance(content, str) else plain_of(content)))
        before = role
    check(found)
    return found


def plain_of(content: str | list[Part]) -> str:
    """A content as text; UserError where it holds more."""
    if isinstance(content, str):
        return content
    if other := next((part["type"] for part in content if part["type"] != "text"), ""):
        raise UserError(f"a {other} part outside of an assistant's message")
    return "".join(part["text"] for part in content)


def _content(value: Any, i: int) -> str | list[Part]:
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, list):
        raise UserError(f"message {i}: its content is {type(value).__name__}, not text")
    return [_part(part, i) for part in value]


def _part(part: Any, i: int) -> Part:
    """A content part: ours, or OpenAI's and Anthropic's texts and thoughts."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("text", "input_text", "output_text", "refusal"):
        text = part.get("refusal" if kind == "refusal" else "text")
        made = Part(type="text", text=text)
    elif kind in ("think", "thinking", "reasoning"):
        made = Part(type="think", text=part.get("text", part.get("thinking", part.get("reasoning"))))
    elif kind == "call":
        made = Part(type="call", tool=_tool(part.get("tool"), i), text=part.get("text"))
    elif kind == "result":
        made = Part(type="result", text=part.get("text"))
    else:
        raise UserError(f"message {i}: a part of type {str(kind)[:40]!r}; use {', '.join(KINDS)}")
    if not isinstance(made["text"], str):
        raise UserError(f'message {i}: a {kind} part without "text"')
    return made


def _tool(name: Any, i: int) -> str:
    known = ALIASES.get(str(name), str(name))
    if known not in TOOLS:
        raise UserError(f"message {i}: a call of {str(name)[:40]!r}; tools are {', '.join(TOOLS)}")
    return known


def _turn(message: Mapping[str, Any], content: str | list[Part], i: int) -> list[Part]:
    """What an assistant's message says: its reasoning, its content, its calls."""
    said: list[Part] = []
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str):
        said.append(Part(type="think", text=thought))
    said += [Part(type="text", text=content)] if isinstance(content, str) else content
    for call in _calls(message, i):
        function = call.get("function", call)
        if not isinstance(function, Mapping):
            raise UserError(f"message {i}: a call whose function is no object")
        tool = _tool(function.get("name"), i)
        said.append(Part(type="call", tool=tool, text=argument(function.get("arguments"), tool)))
    return [part for part in said if part["text"] or part["type"] != "text"]


def _calls(message: Mapping[str, Any], i: int) -> list[Mapping[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise UserError(f"message {i}: its tool_calls are no list of objects")
    return calls


def argument(given: Any, tool: str) -> str:
    """The one argument of a call as text. Given as an object or its JSON: the argument of the tool's own name, else the
    only string in it, else all of it; what is no object is the argument itself, and nothing is an empty one."""
    if given is None:
        return ""
    value = given
    if isinstance(given, str):
        try:
            value = json.loads(given)
        except (ValueError, RecursionError):
            return given
    if not isinstance(value, Mapping):
        return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    named = value.get(ARGUMENT.get(tool, "query"))
    texts = [v for v in value.values() if isinstance(v, str)]
    if isinstance(named, str):
        return named
    return texts[0] if len(texts) == 1 == len(value) else json.dumps(value, ensure_ascii=False)


def _answer(said: list[Part], turn: Message, waiting: list[tuple[str, int]], name: str, text: str) -> None:
    """Put a result behind the call of that id; without one, behind the first that waits."""
    pick = next((k for k, (given, _) in enumerate(waiting) if name and given == name), 0)
    at = waiting.pop(pick)[1] + 1 if waiting else len(said)
    said.insert(at, Part(type="result", text=text))
    waiting[:] = [(given, place + (place >= at)) for given, place in waiting]
    turn["content"] = said


def openai(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form, which `normal` reads back where each stretch of a reply up to a result goes thought,
    text, call: that form has no other order."""
    found: list[dict[str, Any]] = []
    count = 0
    for message in messages:
        said = canonical(message)
        if message["role"] != "assistant" or all(part["type"] == "text" for part in said):
            found.append({"role": message["role"], "content": plain(message)})
            continue
        turn: dict[str, Any] = {}
        open_calls: list[str] = []
        for part in said:
            if part["type"] == "result":
                answered = open_calls.pop(0) if open_calls else ""
                found.append({"role": "tool", "tool_call_id": answered, "content": part["text"]})
                continue
            if not turn or found[-1] is not turn:
                turn = {"role": "assistant", "content": ""}
                found.append(turn)
            if part["type"] == "text":
                turn["content"] += part["text"]
            elif part["type"] == "think":
                turn["reasoning_content"] = turn.get("reasoning_content", "") + part["text"]
            else:
                key = ARGUMENT.get(part["tool"], "query")
                function = {"name": part["tool"], "arguments": json.dumps({key: part["text"]}, ensure_ascii=False)}
                count += 1
                open_calls.append(f"call_{count}")
                turn.setdefault("tool_calls", []).append(
                    {"id": open_calls[-1], "type": "function", "function": function}
                )
    return found
