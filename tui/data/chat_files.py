"""Chats on disk, one JSON file each below `.chats` in the weights root: saved by themselves, listed, searched, deleted."""

import json
import math
import threading
from pathlib import Path
from typing import Any, NamedTuple

from lab.errors import UserError
from lab.runs import root, write_atomic
from tui.data.chats import SIDES, Chat, Node, Token, Tree, fresh, title_of

VERSION = 1
LARGEST = 64 << 20  # bytes; a file of ours with 100 long replies has 10 MB


def folder() -> Path:
    """Where chats are."""
    return root() / ".chats"


# -- as JSON -----------------------------------------------------------------------------------------------------------


def dumps(chat: Chat) -> str:
    """The whole chat. Messages that no longer change are put into JSON once."""
    trees = []
    for side, tree in chat.trees.items():
        nodes = ",".join(_node(tree, i) for i in range(len(tree.nodes)))
        chosen = json.dumps({str(parent): child for parent, child in tree.chosen.items()})
        trees.append(f'"{side}":{{"chosen":{chosen},"nodes":[{nodes}]}}')
    head = {"version": VERSION, "id": chat.id, "title": chat.title, "created": chat.created, "updated": chat.updated}
    head |= {"models": chat.models, "sampling": chat.sampling}
    return f'{_json(head)[:-1]},"trees":{{{",".join(trees)}}}}}\n'


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):  # half a pair: no UTF-8
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def _before(tree: Tree, node: Node) -> Node | None:
    """The reply before the question that `node` answers: its prompt mostly begins as that one's ended."""
    up = tree.nodes[node.parent] if node.parent >= 0 else None
    return tree.nodes[up.parent] if up and up.parent >= 0 else None


def _node(tree: Tree, number: int) -> str:
    node = tree.nodes[number]
    if node.saved:
        return node.saved
    plain = (
        "role",
        "parent",
        "content",
        "edited",
        "page",
        "joins",
        "note",
        "model",
        "seed",
        "sampling",
        "ends",
        "dropped",
        "tools",
        "said",
    )
    blank = Node("user")
    out = {name: value for name in plain if (value := getattr(node, name)) != getattr(blank, name)}
    more = ("stop", "failed", "facts")
    out |= {"role": node.role, "parent": node.parent} | {name: v for name in more if (v := getattr(node, name))}
    if node.prompt:
        keep, before = 0, _before(tree, node)
        if before:
            seen = [*before.prompt, *(t.id for t in before.tokens)]
            pairs = zip(seen, node.prompt, strict=False)
            keep = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(seen), len(node.prompt)))
        out["prompt"] = [keep, node.prompt[keep:], node.pieces[keep:]]
    if node.tokens:
        out["tokens"] = [
            [t.id, t.piece, None if t.text == t.piece else t.text, t.kind, _number(t.p), _number(t.logp), t.top]
            + ([True] if t.forced else [])
            for t in node.tokens
        ]
    try:
        text = _json(out)
    except ValueError:  # a number that is none
        text = json.dumps(out, allow_nan=True)
    if node.role == "user" or node.stop or node.failed:
        node.saved = text
    return text


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def loads(text: str) -> Chat:
    """The chat in a file's text. ValueError, TypeError, KeyError or IndexError where it is none of ours."""
    value = json.loads(text)
    if not isinstance(value, dict) or type(value["version"]) is not int:
        raise ValueError("no chat")
    if value["version"] > VERSION:
        raise ValueError(f"version {value['version']}")
    trees = {side: _tree(value["trees"][side]) for side in SIDES if side in value["trees"]}
    models = {side: _as(name, str) for side, name in _as(value["models"], dict).items() if side in SIDES}
    times = [float(value[key]) for key in ("created", "updated")]
    if "a" not in trees or not all(map(math.isfinite, times)):
        raise ValueError("no chat")
    return Chat(_as(value["id"], str), times[0], times[1], trees, models, _as(value["sampling"], dict))


def _as(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected")
    return value


def _tree(value: dict[str, Any]) -> Tree:
    tree = Tree()
    for given in _as(value["nodes"], list):
        tree.nodes.append(_read_node(tree, _as(given, dict)))
    for parent, child in _as(value["chosen"], dict).items():
        if type(child) is int and 0 <= child < len(tree.nodes) and tree.nodes[child].parent == int(parent):
            tree.chosen[int(parent)] = child
    for i, node in enumerate(tree.nodes):  # a branch without a choice shows its newest
        if node.parent not in tree.chosen:
            tree.chosen[node.parent] = max(tree.siblings(i))
    return tree


KINDS: dict[str, type] = {
    "role": str, "parent": int, "content": str, "edited": bool, "page": bool, "joins": bool, "note": str, "model": str,
    "seed": int, "sampling": dict, "ends": list, "dropped": int, "stop": str, "failed": str, "facts": dict,
    "tools": dict, "said": list,
}  # fmt: skip


def _read_node(tree: Tree, given: dict[str, Any]) -> Node:
    node = Node(**{name: _as(given[name], kind) for name, kind in KINDS.items() if name in given})
    if node.role not in ("user", "assistant") or not -1 <= node.parent < len(tree.nodes):
        raise ValueError("a message out of place")
    if node.parent >= 0 and tree.nodes[node.parent].role == node.role:
        raise ValueError("a message out of place")
    node.facts = {name: float(fact) for name, fact in node.facts.items()}
    if not all(isinstance(part, dict) and all(isinstance(v, str) for v in part.values()) for part in node.said):
        raise ValueError("a part that is none")
    for id, piece, text, kind, p, logp, top, *forced in given.get("tokens", ()):
        best = tuple((int(i), _as(name, str), float(q)) for i, name, q in top)
        text = piece if text is None else _as(text, str)
        numbers = (None if p is None else float(p), None if logp is None else float(logp))
        node.tokens.append(Token(int(id), _as(piece, str), text, _as(kind, str), *numbers, best, forced == [True]))
    if "prompt" in given:
        keep, ids, pieces = given["prompt"]
        before = _before(tree, node)
        seen = [*before.prompt, *(t.id for t in before.tokens)] if before else []
        names = [*before.pieces, *(t.piece for t in before.tokens)] if before else []
        node.prompt = [*seen[:keep], *(int(i) for i in ids)]
        node.pieces = [*names[:keep], *(_as(piece, str) for piece in pieces)]
        if len(node.prompt) != len(node.pieces):
            raise ValueError("a prompt without its pieces")
    if node.role == "assistant" and not node.stop and not node.failed and not node.edited:
        node.stop = "lost"  # the window was gone before the reply was there
    return node


# -- files -------------------------------------------------------------------------------------------------------------


class Summary(NamedTuple):
    """A chat in the list."""

    path: Path
    title: str
    model: str
    turns: int
    updated: float
    text: str  # all that was ever said in it


class Shelf:
    """The chats that there are. `look` reads the files that changed since it looked last."""

    def __init__(self) -> None:
        self.skipped = 0  # files that are no chats of this version
        self._seen: dict[Path, tuple[tuple[int, int], Summary | None]] = {}

    def look(self) -> list[Summary]:
        """All of them, the newest first. For a thread: a hundred long ones take a second."""
        found: dict[Path, tuple[tuple[int, int], Summary | None]] = {}
        for path in sorted(folder().glob("*.json")):
            try:
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_size)
            except OSError:
                continue
            seen = self._seen.get(path)
            found[path] = seen if seen and seen[0] == stamp else (stamp, _summary(path, stamp[1]))
        self._seen = found
        good = [summary for _, summary in found.values() if summary]
        self.skipped = len(found) - len(good)
        return sorted(good, key=lambda s: -s.updated)


def _summary(path: Path, size: int) -> Summary | None:
    try:
        chat = _read(path, size)
    except (OSError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, AttributeError):
        return None
    nodes = [node for tree in chat.trees.values() for node in tree.nodes]
    turns = sum(node.role == "user" for node in chat.trees["a"].nodes)
    return Summary(
        path, title_of(node.content for node in nodes), " and ".join(dict.fromkeys(chat.models.values())), turns, chat.updated,
        "\n".join(node.text for node in nodes),
    )  # fmt: skip


def _read(path: Path, size: int) -> Chat:
    if size > LARGEST:
        raise ValueError("too large")
    return loads(path.read_text(encoding="utf-8"))


def matching(chats: list[Summary], words: str) -> list[tuple[Summary, str]]:
    """The chats that hold all words, each with the line around the first of them; all of them where there is no word."""
    wanted = words.casefold().split()
    found = []
    for chat in chats:
        text = chat.text.casefold()
        if all(word in text or word in chat.model.casefold() for word in wanted):
            at = chat.text.lower().find(wanted[0]) if wanted else -1
            start = max(chat.text.rfind("\n", 0, max(at, 0)) + 1, at - 30)
            around = chat.text[start : at + 60].partition("\n")[0] if at >= 0 else ""
            found.append((chat, " ".join(around.split())))
    return found


def load(path: Path) -> Chat:
    """One chat. UserError where it cannot be read."""
    try:
        seen = _stamp(path)
        chat = _read(path, path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); it may have been deleted") from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, AttributeError) as error:
        raise UserError(f"{path}: no chat of this version ({str(error)[:80]})") from error
    chat.id, chat.seen = path.stem, seen  # a copied file is a chat of its own
    return chat


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes with each version of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def delete(path: Path) -> None:
    """Remove a chat's file. UserError where that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be deleted ({error.strerror})") from error


class Saver:
    """Writes chats in a thread of its own, each as it was last; `trouble` says what went wrong, `parted` that a chat went
    on under another name because its file was written by another window."""

    def __init__(self) -> None:
        self.trouble = self.parted = ""
        self._waiting: dict[Path, tuple[str, Chat]] = {}
        self._writing: Path | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, chat: Chat) -> None:
        """Save this chat soon; an empty one is no file."""
        if chat.empty:
            return
        path = folder() / f"{chat.id}.json"
        with self._lock:
            ours = path in self._waiting or path == self._writing
            if not ours and _stamp(path) not in (None, chat.seen):
                chat.id, chat.seen = fresh().id, None
                path = folder() / f"{chat.id}.json"
                self.parted = "another window changed this chat too: yours goes on as a chat of its own"
            self._waiting[path] = dumps(chat), chat
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, daemon=True)
                self._thread.start()

    def _write(self) -> None:
        while True:
            with self._lock:
                self._writing = next(iter(self._waiting), None)
                if self._writing is None:
                    self._thread = None
                    return
                path = self._writing
                text, chat = self._waiting.pop(path)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, text)
                self.trouble, chat.seen = "", _stamp(path)
            except OSError as error:
                self.trouble = f"{path}: the chat cannot be saved ({error.strerror}); it is kept here meanwhile"

    def forget(self, path: Path) -> None:
        """Do not write this one: it is being deleted."""
        with self._lock:
            self._waiting.pop(path, None)

    def flush(self, seconds: float = 5) -> None:
        """Wait until all is written."""
        thread = self._thread
        if thread:
            thread.join(seconds)
