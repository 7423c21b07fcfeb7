"""A prompt of a run taken to Chat, alone or with the beginning of a reply that its model is to go on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.runs import Info, read_json
from tui.data import chats, draws
from tui.data.chats import Chat, Node
from tui.data.draws import Draw
from tui.data.rollout_rows import Told, asked, said


@dataclass(frozen=True)
class Handed:
    """`draft` is what the field holds, `reply` the number of the message that goes on by itself."""

    chat: Chat
    draft: str = ""
    reply: int | None = None


def model_at(info: Info, step: int, checkpoints: Sequence[int]) -> str:
    """The weights nearest to those that wrote a step's replies: the last checkpoint before it, else the run's own (a shipped
    one's are of its last or best step) or what it began from, whichever is nearer; "" where there are none."""
    before = [one for one in checkpoints if one < step]
    if before:
        return f"{info.name}@{max(before)}"
    own = read_json(info.folder / "run.json").get("weights_step", info.step)
    near = not isinstance(own, int) or abs(own - step) < step or not info.parent
    if near and (info.folder / "config.json").exists():
        return info.name
    return info.parent or ""


def handed(one: Told, model: str, tokens: int | None = None) -> Handed:
    """The prompt, its last turn to be sent; or, with a number of tokens, all of it and a reply of the first so many."""
    chat, messages = chats.fresh(), asked(one.row)
    chat.models["a"] = model
    system = "\n\n".join(said(m["content"]) for m in messages if m["role"] == "system")
    draw = Draw(system=system)
    chat.sampling = draws.as_dict(draw)
    turns = [m for m in messages if m["role"] != "system"]
    draft = ""
    if tokens is None and turns and turns[-1]["role"] == "user":
        draft = said(turns.pop()["content"])
    tree, at = chat.trees["a"], -1
    for turn in turns:
        mine = turn["role"] == "assistant"
        stop = "end" if mine else ""
        at = tree.add(Node(turn["role"] if mine else "user", at, said(turn["content"]), edited=mine, stop=stop))
    if tokens is None or at < 0:
        return Handed(chat, draft)
    node = Node("assistant", at, tokens=list(one.tokens[:tokens]), stop="cancelled")
    node.sampling, node.seed, node.tools = draw.sampling(), draw.draw_seed(), draw.tools()
    return Handed(chat, "", tree.add(node))


def tokenizer_folders(info: Info, root: Path, checkpoints: Sequence[int]) -> list[Path]:
    """Where a run's tokenizer may lie: in its folder, its last checkpoint, what it began from."""
    found = [info.folder]
    if checkpoints:
        found.append(info.folder / "checkpoints" / f"{checkpoints[-1]:06d}")
    if info.parent:
        name = info.parent.partition("@")[0]
        found += [root / name, Path(name).expanduser()]
    return [folder for folder in found if any((folder / f).is_file() for f in ("tokenizer.json", "tokenizer.model"))]
