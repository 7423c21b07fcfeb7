"""Messages to token ids and back. No MLX.

What a user types, a tool answers or a document holds is encoded with special tokens off, so `<|end|>` in it stays text.
Our own models get their roles and the marks of their parts as ids; a hub model follows its own chat template
(lab/hub_chat.py), whose pieces alone may yield special tokens.
"""

from collections.abc import Sequence

from lab import hub_chat
from lab.errors import UserError
from lab.marks import Marks, marks, read, weights, written
from lab.parts import KINDS, ROLES, TOOLS, Message, Part, canonical, check, normal, openai, parts, plain
from lab.template import OURS
from lab.tokenizer import Tokenizer

__all__ = [
    "KINDS", "OURS", "ROLES", "TOOLS", "Marks", "Message", "Part", "call", "canonical", "fitting", "marks", "normal",
    "openai", "parse", "parts", "plain", "prompt", "query", "render",
]  # fmt: skip


def prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids that end where the assistant's next reply begins."""
    _check(tokenizer, messages)
    if tokenizer.ours:
        return [*_ours(tokenizer, messages)[0], tokenizer.special["<|assistant|>"]]
    return hub_chat.prompt(tokenizer, messages)


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    """(ids, weights) of a whole conversation, to train on: weight 1 for what the assistant says (thoughts and calls with
    their marks too) and the END after it, 0 for all else (roles, users, system, results, what a template adds).

    A trained reply follows just the ids that `prompt` of the messages before it gives. Ours: every turn is trained.
    Some hub templates tell an old turn otherwise than when it was said (they drop its thoughts): such a turn is not
    trained. The last one always is: what follows it is left out where it changes it, and where the template alone does
    so, the turn's prompt and its plain text stand in.
    """
    _check(tokenizer, messages)
    return _ours(tokenizer, messages) if tokenizer.ours else hub_chat.render(tokenizer, messages)


def parse(tokenizer: Tokenizer, ids: Sequence[int]) -> Message:
    """The message of a reply's ids, those that follow `prompt`; END and what comes after it do not count. A part that is
    not closed is what it is. A thought goes on after a call inside of it, and what the first close of a thought ends is
    one too: some prompts open it. Text alone is a string."""
    found = marks(tokenizer)
    opens, thought = found.opens(), found.think
    said: list[Part] = []
    run: list[int] = []
    kind, tool, close = "text", "", -1
    resumed = inside = False  # a thought that goes on; a call or result in the midst of one

    def finish() -> None:
        text = tokenizer.decode_part(run)
        run.clear()
        if text or (kind != "text" and not resumed):
            said.append(read(found, kind, tool, text))

    for i in ids:
        if i in tokenizer.ends:
            break
        if i in opens:
            finish()
            inside = opens[i][0] != "think" and (inside or kind == "think")
            (kind, tool, close), resumed = opens[i], False
        elif i == close:
            finish()
            resumed = inside = inside and kind != "think"
            kind, tool, close = ("think", "", thought[1]) if inside and thought else ("text", "", -1)
        elif thought and i == thought[1] and kind == "text" and all(part["type"] != "think" for part in said):
            kind = "think"
            finish()
            said = [Part(type="think", text=part["text"]) if part["type"] == "text" else part for part in said]
            kind = "text"
        else:
            run.append(i)
    finish()
    if any(part["type"] != "text" for part in said):
        return Message(role="assistant", content=said)
    text = "".join(part["text"] for part in said)
    spelt = not tokenizer.ours and any(name in text for name in tokenizer.special)
    return Message(role="assistant", content=[Part(type="text", text=text)] if spelt else text)


def query(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """What a call asks, from the ids between its marks."""
    return call(tokenizer, ids)["text"]


def call(tokenizer: Tokenizer, ids: Sequence[int], tool: str = "search") -> Part:
    """The call of the ids between its marks. `tool` is the one its marks name; a native call names its own."""
    return read(marks(tokenizer), "call", tool, tokenizer.decode_part(ids))


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
    check(messages)
    if not tokenizer.ours and tokenizer.chat_template is None:
        raise UserError(
            f"{tokenizer.name} is a base model without a chat template; it completes text (lab generate -p)"
        )


def _ours(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[float]]:
    """BOS, then role and content of each message, and END after the assistant's; these and their contents weigh 1, but for
    results.

    Nothing but a role stands between a question and its reply: pretraining packs documents as BOS text END, so a base
    model has learnt that what lies before an END says nothing about what follows. Asked what it knows (pocket-base, facts
    told 100 times), it answers .91 right without an END behind the question and .14 with one.
    """
    found = marks(tokenizer)
    ids, told = list(tokenizer.begin), [0.0] * len(tokenizer.begin)
    for i, message in enumerate(messages, 1):
        said = _said(tokenizer, found, message, i)
        ids += [tokenizer.special[f"<|{message['role']}|>"], *said]
        told += [0.0, *(weights(found, said) if message["role"] == "assistant" else [0.0] * len(said))]
    return ids, told


def _said(tokenizer: Tokenizer, found: Marks, message: Message, i: int) -> list[int]:
    """Ids of a message, the assistant's with its END, which ends a result that is not closed as well."""
    if sampled := message.get("ids"):
        if message["role"] != "assistant" or not all(0 <= id < tokenizer.vocab_size for id in sampled):
            raise UserError(f"message {i}: its ids are not of {tokenizer.name}'s vocabulary; leave them out")
        over = next((at for at, id in enumerate(sampled) if id in tokenizer.ends), len(sampled))
        return [*sampled[:over], tokenizer.end]
    ids: list[int] = []
    for part in canonical(message):
        pair = found.of(part)
        if pair is None and part["type"] != "text":
            raise UserError(f"message {i}: a call of {part['tool'][:40]!r}; tools are {', '.join(TOOLS)}")
        text = tokenizer.encode_part(written(found, part))
        ids += text if pair is None else [pair[0], *text, pair[1]]
    return [*ids, tokenizer.end] if message["role"] == "assistant" else ids
