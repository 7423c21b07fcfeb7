"""Tools inside sampling: a call that a model closes is answered at once, and the answer enters as forced tokens. No MLX.

One row is a small state machine that needs no state: text -> (the model says <|search|>) -> query -> (it closes, or the
query grows too long) -> forced result -> text. All of it is read off the row's own ids, so chat, batches and RL use the
same code, and a row does not depend on what else is sampled.
"""

from collections.abc import Sequence
from types import TracebackType

from lab import chat
from lab.errors import UserError
from lab.parts import ALIASES
from lab.tokenizer import Tokenizer
from lab.tools import Python, Search, Tool

ENOUGH = "Error: no more calls."  # what a call beyond the last allowed one is told
UNKNOWN = "Error: there is no tool {}."


class Toolbox:
    """Tools for one vocabulary. `after` is what lab.batch and lab.stream ask after each drawn token: the ids to force next.

    At most `max_calls` calls a turn are answered; a query longer than `query_tokens` (four times as long where calls are
    JSON) is closed where it stands, and a result is cut to `result_tokens`. Every call gets a result: an error where there
    is no such tool, or where a tool fails. A model is trained on those too. A thought of `think_tokens` is closed for it.
    """

    def __init__(
        self, tokenizer: Tokenizer, tools: Sequence[Tool], max_calls: int = 3, query_tokens: int = 64,
        result_tokens: int = 128, think_tokens: int | None = None,
    ):  # fmt: skip
        self.tokenizer, self.tools = tokenizer, {tool.name: tool for tool in tools}
        self.marks = chat.marks(tokenizer)
        self.max_calls, self.result_tokens = max_calls, result_tokens
        self.query_tokens = query_tokens * (4 if self.marks.native else 1)
        self.think_tokens = think_tokens
        if think_tokens is not None and (think_tokens < 1 or not self.marks.think):
            why = "has no tokens for thoughts" if not self.marks.think else "give it at least 1 token"
            raise UserError(f"--think-budget: {tokenizer.name}: {why}")
        # Templates of models that always think end a prompt with the open mark: then a reply begins inside of its thought.
        self.begins_in_thought = think_tokens is not None and not tokenizer.ours and _opens_thought(tokenizer)
        for name in self.tools:
            if getattr(self.marks, name, None) is None or self.marks.result is None:
                raise UserError(
                    f"{tokenizer.name}: its vocabulary has no tokens for {name} calls; tune it with "
                    f"lab {name} --model ... first"
                )
        self._parts = self.marks.opens()  # id that opens a part -> (kind, tool, id that closes it)
        self._opens = frozenset(i for i, (kind, _, _) in self._parts.items() if kind == "call")
        self._closes = frozenset(self._parts[i][2] for i in self._opens)
        # Of a call that nobody answers not even the beginning is said.
        self.banned = self.marks.banned | barred(self.marks, self.tools)

    def after(self, request: int, ids: Sequence[int]) -> list[int]:
        """The ids that follow what the row has written so far (`ids` of its turn, forced ones included): a close that the
        query has outgrown and the result, or nothing."""
        outgrown = len(ids) - self.query_tokens - 1  # where a call opened that is too long by now
        if ids and (ids[-1] in self._closes or (outgrown >= 0 and ids[outgrown] in self._opens)):
            return self._answer(ids)
        if self.think_tokens is not None and self._thought(ids) >= self.think_tokens and self.marks.think:
            return [self.marks.think[1]]
        return []

    def _thought(self, ids: Sequence[int]) -> int:
        """Tokens since a thought was opened that is still open; 0 within a call, which is let come to its end."""
        assert self.marks.think
        opened, closed = self.marks.think
        count, inside, call = 0, self.begins_in_thought, False
        for i in ids:
            count += 1
            if i in (opened, closed):
                count, inside = 0, i == opened
            elif i in self._opens or i in self._closes:
                call = i in self._opens
        return count if inside and not call else 0

    def resume(self, ids: Sequence[int]) -> list[int]:
        """The ids to force where a turn goes on after `ids`, wherever these were cut: the rest of a result too."""
        start = self._last(ids)
        if start is None or self._parts[ids[start]][0] != "result":
            return self._answer(ids)
        close, said = self._parts[ids[start]][2], list(ids[start:])
        if close in said:
            return []
        before = list(ids[:start])
        answer = self._answer(before) if before else []
        return answer[len(said) :] if answer[: len(said)] == said else [close]

    def _last(self, ids: Sequence[int]) -> int | None:
        """Where the last part was opened."""
        return next((at for at in range(len(ids) - 1, -1, -1) if ids[at] in self._parts), None)

    def _answer(self, ids: Sequence[int]) -> list[int]:
        """The result of the call that `ids` end with, where it has just been closed, or is too long and is closed now."""
        start = self._last(ids)
        if start is None or ids[start] not in self._opens:
            return []
        _, tool, close = self._parts[ids[start]]
        query = list(ids[start + 1 :])
        ended = bool(query) and query[-1] == close
        if close in query[:-1] or (not ended and len(query) < self.query_tokens):
            return []
        return [*([] if ended else [close]), *self._result(tool, query[: len(query) - ended], ids)]

    def _result(self, tool: str, query: Sequence[int], ids: Sequence[int]) -> list[int]:
        """The ids of what the tool says, between their marks. Tools are told no special token, and tell none."""
        assert self.marks.result
        opened, closed = self.marks.result
        call = chat.call(self.tokenizer, query, tool)
        name = ALIASES.get(call["tool"], call["tool"])
        if sum(i == opened for i in ids) >= self.max_calls:
            said = ENOUGH
        elif name not in self.tools:
            said = UNKNOWN.format(" ".join(name.split())[:40])
        else:
            said = self.tools[name](call["text"])
        said = said.encode("utf-8", "replace").decode()  # half a surrogate pair is no text
        return [opened, *self._fitting(said), closed]

    def _fitting(self, said: str) -> list[int]:
        """The ids of a result, as many as there may be, none of them of a character cut in two."""
        ids = self.tokenizer.encode_part(said)
        if len(ids) <= self.result_tokens:
            return ids
        ids = ids[: self.result_tokens]
        while ids and not said.startswith(self.tokenizer.decode_part(ids)):
            ids.pop()
        return ids

    def cut(self, said: str) -> str:
        """A result as a model gets to read it."""
        return self.tokenizer.decode_part(self._fitting(said))

    def close(self) -> None:
        """End the tools' own processes and files."""
        for tool in self.tools.values():
            tool.close()

    def __enter__(self) -> "Toolbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opens_thought(tokenizer: Tokenizer) -> bool:
    """Whether the template opens a thought at the end of a prompt."""
    think = chat.marks(tokenizer).think
    try:
        ids = chat.prompt(tokenizer, [chat.Message(role="user", content="?")])
    except UserError:  # no template: such a model completes text
        return False
    return think is not None and next((i == think[0] for i in reversed(ids) if i in think), False)


def barred(marks: chat.Marks, tools: Sequence[str] | dict[str, Tool] = ()) -> frozenset[int]:
    """What opens a call that no tool of these answers; with a native pair one tool is enough."""
    if marks.native and tools:
        return frozenset()
    return frozenset(pair[0] for name in chat.TOOLS if name not in tools and (pair := getattr(marks, name)))


def banned(tokenizer: Tokenizer, tools: Toolbox | None = None) -> frozenset[int]:
    """The ids a model may never say in a talk with these tools."""
    found = chat.marks(tokenizer)
    return tools.banned if tools else found.banned | barred(found)


def opened(search: str | None, code: bool) -> list[Tool]:
    """The tools that a user asks for: a search in this index, code. UserError for what is no index."""
    return [*([Search(search)] if search else []), *([Python()] if code else [])]
