"""What is said below a message and around a column, in words. No Textual."""

from lab.words import short as count_of
from lab.words import size
from tui.data.chats import Node, Tree
from tui.data.draws import Draw, short
from tui.data.talk import Side

STOPS = {
    "length": "cut at the most it may say; ctrl+b goes on",
    "context": "the context is full",
    "cancelled": "stopped; ctrl+b goes on",
    "lost": "lost: the model process ended; ctrl+r asks again",
}


def chance(p: float | None) -> str:
    """A probability in two digits: .93, 1.0, <.01."""
    if p is None:
        return "-"
    if p < 0.005:
        return "<.01"
    return "1.0" if p >= 0.995 else f"{p:.2f}"[1:]


def visible(piece: str) -> str:
    """A token in quotes, with its line breaks and tabs to be seen."""
    return "'" + piece.replace("\n", "⏎").replace("\t", "⇥") + "'"


def facts(tree: Tree, number: int, side: Side, lowest: bool) -> str:
    """The line below a reply, without its switcher."""
    node = tree.nodes[number]
    if node.edited:
        return "written by you; ctrl+d keeps it as a demonstration"
    parts = []
    if node.model and node.model != side.title:
        parts.append(node.model)
    if node.tokens:
        foreign = sum(not t.own for t in node.tokens)
        parts.append(f"{len(node.tokens)} tokens" + (f" ({foreign} not its own)" if foreign else ""))
        parts.append(f"mean p {chance(node.mean)}")
    if lowest and (own := [t for t in node.tokens if t.p is not None and t.own]):
        worst = min(own, key=lambda t: t.p or 0.0)
        parts.append(f"least likely {visible(worst.piece)} {chance(worst.p)}")
    beside = [tree.nodes[i] for i in tree.siblings(number)]
    if any(other.sampling.get("temp") != node.sampling.get("temp") for other in beside):
        parts.append(f"T {short(node.sampling.get('temp', 0))}")
    if node.stop and len(beside) > 1:
        parts.append(f"seed {node.seed}")
    if node.dropped:
        parts.append(f"{node.dropped} old turns no longer fit")
    if node.stop in STOPS:
        parts.append(STOPS[node.stop])
    return " · ".join(parts)


def last_reply(tree: Tree) -> Node | None:
    """The reply that a column's figures are of."""
    number = tree.last("assistant")
    return tree.nodes[number] if number is not None else None


def subtitle(tree: Tree, side: Side, draw: Draw, wide: bool) -> str:
    """What a column says below: settings, speed, context, mean probability."""
    node, parts = last_reply(tree), [draw.brief()]
    if node and node.facts.get("speed"):
        parts.append(f"{node.facts['speed']:.0f} tok/s")
        if wide:
            parts.append(f"first {_time(node.facts.get('first', 0.0))}")
    if side.context:
        used = node.facts.get("used", 0) if node else 0
        parts.append(f"{used:,.0f}/{side.context:,} context")
    if wide and node and node.mean is not None:
        parts.append(f"mean p {chance(node.mean)}")
    return " · ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def kind(side: Side) -> str:
    """What a model is: how it is to be talked with, how large."""
    talks = "chat model: it answers in turns" if side.chats else "base model: it continues your text"
    return f"{talks} · {count_of(side.parameters)} parameters, {size(side.memory)}, context {side.context:,}"


def brief_kind(side: Side) -> str:
    """The same in few words, for a title."""
    return "chat model" if side.chats else "base model, it continues your text"


def state(side: Side, width: int) -> str:
    """How a load goes, or what became of a model and what to press."""
    if side.state == "failed":
        return f"{side.words}\nctrl+l takes another model; a message tries this one again"
    if side.state == "gone":
        return f"{side.words}. Nothing of the chat is lost.\nctrl+r or a message loads {side.title} again"
    if side.state != "loading":
        return ""
    if not side.total:
        return f"{side.words} ..."
    done = min(1.0, side.done / side.total)
    of = f"{size(side.done)} of {size(side.total)}" if side.unit == "MB" else f"{100 * done:.0f} %"
    room = max(5, min(40, width - len(of) - 4))
    full = round(done * room)
    return f"{side.words}\n{'━' * full}{'─' * (room - full)}  {of}   escape stops it"
