"""Chats: trees of messages in which nothing is ever lost. A reply that is asked for again, a message that is edited, a
token that is taken otherwise: each makes a branch beside the old one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from tui.data.watch import now

SIDES = ("a", "b")  # slots of the model process, and columns


class Token(NamedTuple):
    """One token of a reply. p is the model's own, logp (nats) of the distribution it was drawn from; None where a person
    chose it. `top` holds the model's most probable (id, piece, p) at this place, best first. What a tool put in is `forced`;
    p is then what the model thought of it."""

    id: int
    piece: str
    text: str
    kind: str = "text"  # text, think, call, result or special
    p: float | None = None
    logp: float | None = None
    top: tuple[tuple[int, str, float], ...] = ()
    forced: bool = False

    @property
    def own(self) -> bool:
        """Whether the model said it, or a person in its place."""
        return not self.forced and self.kind != "result"

    @property
    def rank(self) -> int | None:
        """Its place among the most probable, from 1; None where it is not one of those known."""
        return next((i for i, (other, _, _) in enumerate(self.top, 1) if other == self.id), None)


def token(event: dict[str, Any]) -> Token:
    """A token as the model process tells it."""
    top = tuple((int(i), str(piece), float(p)) for i, piece, p in event.get("top", ()))
    forced = event.get("forced") is True
    return Token(
        event["id"], event["piece"], event["text"], event["kind"], event.get("p"), event.get("logp"), top, forced
    )


@dataclass
class Node:
    """A message. A user's, or an edited reply, says `content`; any other reply says what its tokens say."""

    role: str  # user or assistant
    parent: int = -1
    content: str = ""
    tokens: list[Token] = field(default_factory=list)
    edited: bool = False
    page: bool = False  # a reply that completes the text above it, without turns
    joins: bool = False  # for a base model: goes on where the page above ends
    note: str = ""  # what a demonstration wants to be watched
    model: str = ""
    seed: int = 0
    sampling: dict[str, float] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)  # strings that stop the reply
    tools: dict[str, Any] = field(default_factory=dict)  # what the model could call: search (an index), code
    said: list[dict[str, str]] = field(default_factory=list)  # a turn's typed parts, where it holds more than text
    prompt: list[int] = field(default_factory=list)  # the exact ids that the model saw before it
    pieces: list[str] = field(default_factory=list)  # how each of them is shown
    dropped: int = 0  # turns that no longer fitted into the context
    stop: str = ""  # end, length, context, stop, cancelled, lost; "" while it comes
    failed: str = ""  # why there is no reply
    facts: dict[str, float] = field(default_factory=dict)  # first, speed, prefilled, used, seconds
    saved: str = ""  # this message as JSON, once it no longer changes

    @property
    def text(self) -> str:
        """What it says."""
        return self.content if self.role == "user" or self.edited else "".join(t.text for t in self.tokens)

    @property
    def plain(self) -> str:
        """What it says without thoughts, calls and results."""
        return (
            self.content
            if self.role == "user" or self.edited
            else "".join(t.text for t in self.tokens if t.kind == "text")
        )

    @property
    def empty(self) -> bool:
        """A reply that was not given: the model is not shown that question again."""
        return self.role == "assistant" and not self.text and self.stop != "end"

    @property
    def mean(self) -> float | None:
        """The mean probability of the tokens that the model wrote."""
        ps = [t.p for t in self.tokens if t.p is not None and t.own]
        return sum(ps) / len(ps) if ps else None


class Tree:
    """Messages by number, each under the one it follows; one child of each is chosen, and these make the path shown."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.chosen: dict[int, int] = {}

    def add(self, node: Node) -> int:
        """Append a message and choose it; its number."""
        number = len(self.nodes)
        self.nodes.append(node)
        self.chosen[node.parent] = number
        return number

    def siblings(self, number: int) -> list[int]:
        """The messages under the same one, itself too, oldest first."""
        parent = self.nodes[number].parent
        return [i for i, other in enumerate(self.nodes) if other.parent == parent]

    def path(self) -> list[int]:
        """The messages shown, first to last."""
        found, at = list[int](), self.chosen.get(-1)
        while at is not None:
            found.append(at)
            at = self.chosen.get(at)
        return found

    def back(self, number: int) -> list[int]:
        """The messages from the first one up to this."""
        found = list[int]()
        while number >= 0:
            found.append(number)
            number = self.nodes[number].parent
        return found[::-1]

    def choose(self, number: int) -> None:
        """Show the branch that this message lies on."""
        for i in self.back(number):
            self.chosen[self.nodes[i].parent] = i

    def switch(self, number: int, by: int) -> int:
        """Show the sibling `by` places further on, round the end; its number. Where a message has no sibling, those of
        the message before it are gone through."""
        beside, parent = self.siblings(number), self.nodes[number].parent
        if len(beside) < 2 and parent >= 0:
            number, beside = parent, self.siblings(parent)
        at = beside[(beside.index(number) + by) % len(beside)]
        self.choose(at)
        return at

    def last(self, role: str) -> int | None:
        """The last shown message of a role."""
        return next((i for i in reversed(self.path()) if self.nodes[i].role == role), None)

    def messages(self, number: int, system: str = "", model: str = "") -> list[dict[str, Any]]:
        """Role and content of all up to this message: text, or typed parts where a reply holds more; what `model` said with
        its very ids. A question without a reply is left out with its empty reply."""
        kept = list[dict[str, Any]]()
        for i in self.back(number):
            node = self.nodes[i]
            if node.empty and i != number:
                kept.pop()
            elif not node.empty:
                turn = node.role == "assistant" and not node.edited and not node.page
                kept.append({"role": node.role, "content": (node.said or node.plain) if turn else node.text})
                if turn and model and node.model == model:
                    kept[-1]["ids"] = [t.id for t in node.tokens]
        return ([{"role": "system", "content": system}] if system else []) + kept

    def page(self, number: int) -> str:
        """For a base model: the text up to and with this message, since the last one that began a page."""
        parts = list[str]()
        for i in reversed(self.back(number)):
            node = self.nodes[i]
            parts.append(node.text)
            if node.role == "user" and not node.joins:
                break
        return "".join(reversed(parts))

    def graft(self, nodes: Sequence[Node]) -> int:
        """Put a path beside what is here and show it; messages that are here already are taken. The last one's number."""
        at = -1
        for node in nodes:
            same = (
                i for i, n in enumerate(self.nodes) if n.parent == at and (n.role, n.text) == (node.role, node.text)
            )
            found = next(same, None)
            at = self.add(replace(node, parent=at, tokens=[*node.tokens], saved="")) if found is None else found
            self.choose(at)
        return at


@dataclass
class Chat:
    """One chat: a tree for each column, the settings it was held with, the models."""

    id: str
    created: float
    updated: float
    trees: dict[str, Tree]
    models: dict[str, str] = field(default_factory=dict)  # column -> what to load
    sampling: dict[str, Any] = field(default_factory=dict)
    seen: tuple[int, ...] | None = None  # its file as this window last read or wrote it

    @property
    def title(self) -> str:
        """The first line of the first message."""
        return title_of(node.content for node in self.trees["a"].nodes)

    @property
    def empty(self) -> bool:
        return not any(tree.nodes for tree in self.trees.values())


def title_of(contents: Iterable[str]) -> str:
    first = next((line for text in contents for line in text.splitlines() if line.strip()), "")
    return " ".join(first.split())[:80]


def fresh() -> Chat:
    """An empty chat; its id is the time, to the microsecond."""
    t = now()
    return Chat(f"{t:.6f}".replace(".", "-"), t, t, {"a": Tree()})


def alternative(node: Node, place: int, other: int) -> list[Token]:
    """The tokens before `place`, and there the `other` of its alternatives instead. Its text is that of its piece until
    the model process says better."""
    id, piece, p = node.tokens[place].top[other]
    kind = node.tokens[place].kind if node.tokens[place].kind != "special" else "text"
    return [*node.tokens[:place], Token(id, piece, piece, kind, p, None, node.tokens[place].top)]


def retold(tokens: Sequence[Token], told: Sequence[dict[str, Any]]) -> list[Token]:
    """Tokens that a reply begins with, with the text and kind that the model process tells of them."""
    if [t.id for t in tokens] != [e["id"] for e in told]:
        return list(tokens)
    pairs = zip(tokens, told, strict=True)
    return [t._replace(text=e["text"], kind=e["kind"], forced=t.forced or e.get("forced") is True) for t, e in pairs]
