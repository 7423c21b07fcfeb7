"""A chat with one model, or with two side by side: what is asked, what comes back, what is kept. The screen draws it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tui.data import chats, draws
from tui.data.chat_files import Saver
from tui.data.chats import Chat, Node, Tree
from tui.data.client import Client
from tui.data.draws import Draw
from tui.data.watch import now

Event = dict[str, Any]
AUTOSAVE = 5.0  # seconds between two saves while a reply comes


@dataclass
class Coming:
    """A reply on its way: where its tokens go."""

    chat: Chat
    tree: Tree
    number: int
    asked: float
    first: float = 0.0
    count: int = 0

    @property
    def node(self) -> Node:
        return self.tree.nodes[self.number]


@dataclass
class Side:
    """One column: its model, and the replies on their way."""

    slot: str
    model: str = ""  # what was asked for
    state: str = "empty"  # empty, loading, ready, failed, gone
    words: str = ""  # how the load goes, or why it failed; why there is none
    done: int = 0
    total: int = 0
    unit: str = ""
    name: str = ""
    chats: bool = False
    context: int = 0
    parameters: int = 0
    memory: int = 0
    coming: dict[int, Coming] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)  # replies to ask for once the model is there

    @property
    def title(self) -> str:
        """What to call it: the run, run@step or hub id that was asked for, else the model's own name."""
        return self.model if self.model and not self.model.startswith(("/", "~", ".")) else self.name or self.model


class Talk:
    """`hear` is called from another thread with every event; hand each to `take` on the thread that owns this."""

    def __init__(self, hear: Callable[[Event], None]):
        self._hear = hear
        self.client: Client | None = None
        self.chat, self.draw, self.saver = chats.fresh(), Draw(), Saver()
        self.sides = {"a": Side("a")}
        self._saved = 0.0

    # -- models --------------------------------------------------------------------------------------------------------

    def load(self, slot: str, model: str) -> None:
        """Load a model into a column. Replies of the one before end; those not begun yet are asked of this one."""
        old = self.sides[slot]
        for id in old.coming:
            if self.client:
                self.client.cancel(id)
        self.sides[slot] = Side(slot, model, "loading", f"loading {model}", coming=old.coming, waiting=old.waiting)
        if self.chat.models.get(slot) != model:
            self.chat.models[slot] = model
            self.save()
        if self.client is None:
            self.client = Client(self._hear)
        self.client.load(slot, model)

    def cancel_load(self, slot: str) -> None:
        """Forget a model that is being fetched or read."""
        side = self.sides[slot]
        if side.state == "loading" and self.client:
            self.client.unload(slot)
            side.state, side.words = "failed", f"{side.model} was not loaded: you stopped it"
            self._give_up(side)

    def again(self, slot: str) -> None:
        """Load a column's model once more: its process ended, or the load failed."""
        if self.sides[slot].model:
            self.load(slot, self.sides[slot].model)

    def compare(self, model: str) -> None:
        """A second column: another model is asked what the first was asked last, after the same turns."""
        tree = self.chat.trees.setdefault("b", Tree())
        side = self.sides["b"] = Side("b")
        mine = self.chat.trees["a"]
        asked = mine.last("user")
        if asked is not None:
            at = tree.graft([mine.nodes[i] for i in mine.back(asked)])
            self._reply(side, at, self.draw)
        self.load("b", model)
        self.save()

    def single(self) -> None:
        """Close the second column; what was said in it stays in the chat's file."""
        self._stop(self.sides["b"])
        for coming in self.sides["b"].coming.values():
            coming.node.stop = "cancelled"
        if self.client:
            self.client.unload("b")
        del self.sides["b"]
        self.chat.models.pop("b", None)
        self.save()

    def close(self) -> None:
        """End the model process and save. Replies that were on their way can go on when the chat is resumed."""
        if self.busy:
            for side in self.sides.values():
                self._give_up(side)
                for coming in side.coming.values():
                    coming.node.stop = "cancelled"
                side.coming.clear()
            self.save()
        if self.client:
            self.client.close()
        self.saver.flush()

    # -- what a person does --------------------------------------------------------------------------------------------

    def tree(self, slot: str) -> Tree:
        return self.chat.trees[slot]

    @property
    def busy(self) -> bool:
        """Whether replies are on their way."""
        return any(side.coming or side.waiting for side in self.sides.values())

    def send(
        self, text: str, joins: bool = False, note: str = "", ends: Sequence[str] = (), several: Sequence[Draw] = ()
    ) -> None:
        """A message to every column; with `several`, one reply to it for each of these settings."""
        for slot, side in self.sides.items():
            tree = self.tree(slot)
            path = tree.path()
            while path and tree.nodes[path[-1]].role == "user":  # it never got its reply
                path.pop()
            joined = joins and bool(path) and not side.chats
            at = tree.add(Node("user", path[-1] if path else -1, text, joins=joined, note=note))
            for draw in several or [self.draw]:
                self._reply(side, at, draw, ends)
        self.save()

    def regenerate(self, slot: str, number: int) -> None:
        """Another reply beside this one; in its place where there is nothing in it."""
        node, side = self.tree(slot).nodes[number], self.sides[slot]
        if not node.empty or not node.stop:
            self._reply(side, node.parent, self.draw, node.ends)
        else:
            node.sampling, node.seed, node.tools = self.draw.sampling(), self.draw.draw_seed(), self.draw.tools()
            node.stop = node.failed = node.saved = ""
            self._ask(side, number)
        self.save()

    def edit(self, slot: str, number: int, text: str) -> None:
        """A branch that says `text` instead: a user's message is answered anew, in each column that has it; a reply stays
        as it was written."""
        node = self.tree(slot).nodes[number]
        if node.role == "assistant":
            fixed = Node("assistant", node.parent, text, edited=True, model=node.model, stop="end")
            self.tree(slot).add(fixed)
            self.save()
            return
        depth = self.tree(slot).back(number).index(number)
        for side in self.sides.values():
            tree = self.tree(side.slot)
            path = tree.back(number) if side.slot == slot else tree.path()
            if depth < len(path) and tree.nodes[path[depth]].content == node.content:
                old = tree.nodes[path[depth]]
                at = tree.add(Node("user", old.parent, text, joins=old.joins))
                self._reply(side, at, self.draw)
        self.save()

    def branch(self, slot: str, number: int, place: int, other: int) -> None:
        """A reply beside this one: the same up to a token, there one of its alternatives, and on from there."""
        node = self.tree(slot).nodes[number]
        tokens = chats.alternative(node, place, other)
        self._reply(self.sides[slot], node.parent, self.draw, node.ends, tokens)
        self.save()

    def carry_on(self, slot: str, number: int) -> None:
        """Let a reply that was cut off go on where it ends."""
        tree, side = self.tree(slot), self.sides[slot]
        node = tree.nodes[number]
        if node.edited or any(c.node is node for c in side.coming.values()):
            return
        if node.stop == "end" and node.tokens and node.tokens[-1].kind == "special":
            node.tokens.pop()
        node.stop = node.failed = ""
        self._changed(tree)
        self._ask(side, number)

    def switch(self, slot: str, number: int, by: int) -> None:
        """Show another branch."""
        self.tree(slot).switch(number, by)
        self.save()

    def stop(self) -> None:
        """End all replies; what has come stays."""
        if self.busy:
            for side in self.sides.values():
                self._stop(side)
            self.save()

    def new(self) -> None:
        """An empty chat with the same models and settings."""
        self.stop()
        models = {slot: side.model for slot, side in self.sides.items() if side.model}
        self.chat = replace(chats.fresh(), models=models, sampling=draws.as_dict(self.draw))
        for slot in self.sides:
            self.chat.trees[slot] = Tree()

    def resume(self, chat: Chat) -> None:
        """Go on with a chat, with the models it was held with."""
        self.stop()
        if "b" in self.sides and not chat.models.get("b"):
            self.single()
        mine = {slot: side.model for slot, side in self.sides.items()}
        self.chat, self.draw = chat, draws.read(chat.sampling)
        for slot in ("a", "b"):
            if slot == "b" and chat.models.get("b"):
                chat.trees.setdefault("b", Tree())
                self.sides.setdefault("b", Side("b"))
            if (model := chat.models.get(slot)) and model != mine.get(slot):
                self.load(slot, model)
        chat.models.setdefault("a", mine["a"])

    def set_draw(self, draw: Draw) -> None:
        """Other settings from the next reply on."""
        self.draw = draw
        self.save()

    def messages(self, slot: str, number: int) -> list[dict[str, Any]]:
        """The turns up to and with this message, the system message first."""
        system = self.draw.system if self.sides[slot].chats else ""
        return self.tree(slot).messages(number, system)

    def save(self) -> None:
        """Put the chat to disk, in a thread."""
        self.chat.updated = self._saved = now()
        self.chat.sampling = draws.as_dict(self.draw)
        self.saver.put(self.chat)

    # -- asking --------------------------------------------------------------------------------------------------------

    def _reply(
        self, side: Side, parent: int, draw: Draw, ends: Sequence[str] = (), tokens: Sequence[chats.Token] = ()
    ) -> None:
        node = Node("assistant", parent, tokens=list(tokens), ends=list(ends))
        node.sampling, node.seed, node.tools = draw.sampling(), draw.draw_seed(), draw.tools()
        self._ask(side, self.tree(side.slot).add(node))

    def _ask(self, side: Side, number: int) -> None:
        """Ask for a reply now, or when the model is there."""
        tree = self.tree(side.slot)
        node = tree.nodes[number]
        if side.state != "ready" or not self.client:
            side.waiting.append(number)
            if side.state in ("gone", "failed"):
                self.again(side.slot)
            return
        node.model, node.page = side.title, not side.chats
        if side.chats:
            messages = tree.messages(node.parent, self.draw.system, node.model)
            request: Event = {"messages": messages, "tools": node.tools}
        else:
            request = {"text": tree.page(node.parent)}
        id = self.client.say(
            side.slot, prefix=[t.id for t in node.tokens], sampling=node.sampling, seed=node.seed, stop=node.ends, **request
        )  # fmt: skip
        side.coming[id] = Coming(self.chat, tree, number, time.perf_counter())

    def _stop(self, side: Side) -> None:
        for id in side.coming:
            if self.client:
                self.client.cancel(id)
        self._give_up(side)

    def _give_up(self, side: Side, why: str = "cancelled", failed: str = "") -> None:
        """Replies that wait for a model get none."""
        for number in side.waiting:
            node = self.tree(side.slot).nodes[number]
            node.stop, node.failed = why, failed
        side.waiting.clear()

    def _changed(self, tree: Tree) -> None:
        """A message that was over goes on: what is saved of it and of those after it no longer holds."""
        for node in tree.nodes:
            node.saved = ""

    # -- what comes back -----------------------------------------------------------------------------------------------

    def take(self, event: Event) -> str:
        """Take in an event of the model process; what it changed: 'model', 'tokens', 'reply', or '' for nothing."""
        kind, side = event.get("event"), self.sides.get(str(event.get("slot")))
        if kind == "gone":
            return self._gone(event)
        if side is None:
            return ""
        if kind == "progress" and side.state == "loading":
            side.words, side.done, side.total = str(event["what"]), event["done"], event["total"]
            side.unit = str(event.get("unit", ""))
            return "model"
        if kind == "loaded" and event.get("model") == side.model:
            self._loaded(side, event)
            return "model"
        if kind == "failed" and event.get("id") is None and side.state == "loading":
            side.state, side.words = "failed", str(event["message"])
            self._give_up(side, "failed", f"{side.title} was not loaded")
            self.save()
            return "model"
        coming = side.coming.get(event.get("id"))  # type: ignore[arg-type]
        return self._heard(side, coming, event) if coming else ""

    def _loaded(self, side: Side, event: Event) -> None:
        side.state, side.words, side.name = "ready", "", str(event["name"])
        side.chats, side.context = bool(event["chats"]), event["context"]
        side.parameters, side.memory = event["parameters"], event["memory"]
        waiting, side.waiting = side.waiting, []
        for number in waiting:
            self._ask(side, number)

    def _gone(self, event: Event) -> str:
        for side in self.sides.values():
            for coming in side.coming.values():
                coming.node.stop = "lost"
            side.coming.clear()
            if side.state != "empty":
                self._give_up(side, "lost")
                side.state, side.words = "gone", str(event["message"])
        self.save()
        return "model"

    def _heard(self, side: Side, coming: Coming, event: Event) -> str:
        kind, node, clock = event["event"], coming.node, time.perf_counter()
        if kind == "begin":
            node.prompt, node.pieces, node.dropped = event["ids"], event["pieces"], event["dropped"]
            node.tokens = chats.retold(node.tokens, event.get("prefix", ()))
            coming.tree.choose(coming.number)
            return "reply"
        if kind == "tokens":
            node.tokens += [chats.token(told) for told in event["tokens"]]
            coming.first = coming.first or clock
            coming.count += len(event["tokens"])
            node.facts["first"] = coming.first - coming.asked
            node.facts["used"] = len(node.prompt) + len(node.tokens)
            if clock > coming.first:
                node.facts["speed"] = (coming.count - 1) / (clock - coming.first)
            if coming.chat is self.chat and now() - self._saved > AUTOSAVE:
                self.save()
            return "tokens"
        if kind == "end":
            node.stop, content = str(event["stop"]), event.get("content")
            node.said = content if isinstance(content, list) else []
            node.facts = {name: event[name] for name in ("first", "speed", "prefilled", "used", "seconds")}
        elif kind == "failed":
            node.failed, node.stop = str(event["message"]), "failed"
        else:
            return ""
        del side.coming[event["id"]]
        coming.chat.updated = now()
        self.saver.put(coming.chat)
        return "reply"
