"""Lessons: conversations of the pocket world that tune a model, pure functions of a seed, and how their replies are judged.

Apart from recipes/pocket, which generates what a model is pretrained on: a change here leaves that text as it was.
"""

from collections.abc import Callable, Sequence
from random import Random

from lab.chat import Message, Part
from recipes.pocket.seeds import generator

Lesson = Callable[[Random], list[Message] | str]  # a conversation, or a text
# Share of the conversations whose person types in a hurry: no sign at the end, no capital at the beginning.
TYPED = 0.25


def ask(question: str, reply: str | list[Part]) -> list[Message]:
    """One question and its reply."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def text(said: str) -> Part:
    """A part of a reply: words."""
    return {"type": "text", "text": said}


def call(tool: str, query: str) -> Part:
    """A part of a reply: a tool is asked."""
    return {"type": "call", "tool": tool, "text": query}


def result(said: str) -> Part:
    """A part of a reply that the tool wrote."""
    return {"type": "result", "text": said}


def mixed(
    name: str, lessons: Sequence[tuple[float, Lesson]], joined: float = 0.0
) -> Callable[[int], list[Message] | str]:
    """One lesson a seed, drawn by weight; a share of the conversations `joined`, two in one, and some `typed` in a hurry. Where
    lessons of single questions taught to answer the first turn alone, the second was "France</search> Eastvale."."""
    weights = [weight for weight, _ in lessons]

    def draw(seed: int) -> list[Message] | str:
        r = generator(name, seed)
        first = r.choices(lessons, weights)[0][1](r)
        if isinstance(first, str):
            return first
        second = r.choices(lessons, weights)[0][1](r) if r.random() < joined else ""
        both = first if isinstance(second, str) else [*first, *second]
        return [typed(r, turn) for turn in both] if r.random() < TYPED else both

    return draw


def typed(r: Random, turn: Message) -> Message:
    """What a person said, as somebody in a hurry types it. Taught with whole sentences alone, "Hi!" was answered and "hi" with
    "hihog, I cannot help you stis." Of two sentences the first keeps its capital: it may begin with a name, a question of one
    never does."""
    if turn["role"] != "user" or not isinstance(turn["content"], str):
        return turn
    said = turn["content"].rstrip(".?!") if r.random() < 0.7 else turn["content"]
    if r.random() < 0.7 and ". " not in said:
        word = said.split(" ", 1)[0]
        said = word.lower() + said[len(word) :]
    return Message(role="user", content=said)
