"""One reply of a run: what lists show of it, its tokens, its game. Read out of a line of episodes/*.jsonl (lab/episodes.py);
a line of another program may lack anything."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lab import chat
from lab.task import Score
from lab.tokenizer import Tokenizer
from tui.data.charts import number
from tui.data.chats import Token

LONGEST = 4_000  # characters of a reply that a filter looks at
ROUNDING = 1e-4  # by which the parts may miss the reward
TASTE = {
    "score",
    "no END",
}  # parts of a reply that a reward model judged (recipes/taste.py): its zero is a mean, not a fault
HEATS = ("", "log-probability", "minus the reference", "advantage")


@dataclass(frozen=True)
class Brief:
    """A row without its tokens. `surprise` and `kl` are means over the tokens that the model drew, nats."""

    group: int
    k: int
    key: str
    prompt: str  # what is asked, on one line
    answer: str
    text: str
    reward: float | None  # None: it could not be judged
    advantage: float
    parts: Mapping[str, float]
    notes: Mapping[str, float]
    drawn: int  # tokens of the model's own
    calls: int
    surprise: float | None
    kl: float | None
    right: bool | None  # None: a taste knows no right and wrong, as it could not be judged
    cut: bool
    at: int = 0  # where its line begins in the file, and how long it is
    size: int = 0

    @property
    def off(self) -> float:
        """By how much the parts miss the reward; 0 where they sum to it."""
        if self.reward is None or not self.parts:
            return 0.0
        by = sum(self.parts.values()) - self.reward
        return by if abs(by) > ROUNDING else 0.0

    def figure(self, name: str) -> float | None:
        """A part or a note by its name."""
        return self.parts.get(name, self.notes.get(name))


# -- out of somebody's JSON ------------------------------------------------------------------------------------------


def figures(value: Any) -> dict[str, float]:
    """The numbers of an object."""
    found = {str(name): number(v) for name, v in value.items()} if isinstance(value, dict) else {}
    return {name: v for name, v in found.items() if v is not None}


def numbers(value: Any, count: int) -> list[float | None]:
    """`count` numbers of a list; None for what is none."""
    found = [number(v) for v in value[:count]] if isinstance(value, list) else []
    return found + [None] * (count - len(found))


def whole(value: Any) -> int:
    return int(number(value) or 0)


def ids_of(row: Mapping[str, Any]) -> list[int]:
    """The reply's ids."""
    ids = row.get("ids")
    return [whole(i) for i in ids] if isinstance(ids, list) else []


def drawn_of(row: Mapping[str, Any], count: int) -> list[bool]:
    """Of each token whether the model drew it; without that list, whether it lies outside of what tools said."""
    given = row.get("drawn")
    if isinstance(given, list):
        return [bool(number(v)) for v in given[:count]] + [True] * (count - len(given))
    return [kind != "result" for kind in kinds_of(row, count)]


def kinds_of(row: Mapping[str, Any], count: int) -> list[str]:
    """Of each token what it is part of: text, think, call, result or end."""
    found = ["text"] * count
    given = row.get("segments")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, list) and len(one) == 3 and isinstance(one[0], str):
            start, end = (max(0, min(count, whole(v))) for v in one[1:])
            found[start:end] = [one[0]] * (end - start)
    return found


def asked(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The messages of the prompt that have a role and a content."""
    given = row.get("messages")
    kept = [m for m in given if isinstance(m, dict)] if isinstance(given, list) else []
    return [{"role": str(m["role"]), "content": m["content"]} for m in kept if "role" in m and said(m.get("content"))]


def said(content: Any) -> str:
    """A content as text; "" where there is none."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def brief(row: Mapping[str, Any], at: int = 0, size: int = 0) -> Brief:
    """What lists show of a row; a row of another program may lack anything."""
    ids = ids_of(row)
    drawn = drawn_of(row, len(ids))
    logp = numbers(row.get("logp"), len(ids))
    ref = numbers(row.get("ref_logp"), len(ids))
    own = [p for p, mine in zip(logp, drawn, strict=True) if mine and p is not None]
    both = [p - q for p, q, mine in zip(logp, ref, drawn, strict=True) if mine and p is not None and q is not None]
    parts, reward = figures(row.get("parts")), number(row.get("reward"))
    messages, stop = asked(row), str(row.get("stop") or "")
    given = parts if parts or reward is None else {"reward": reward}
    return Brief(
        group=whole(row.get("group")), k=whole(row.get("k")), key=str(row.get("key") or ""),
        prompt=" ".join(said(messages[-1]["content"]).split())[:400] if messages else "",
        answer=str(row.get("answer") or ""), text=str(row.get("text") or "")[:LONGEST],
        reward=reward, advantage=number(row.get("advantage")) or 0.0, parts=parts, notes=figures(row.get("notes")),
        drawn=sum(drawn), calls=whole(row.get("calls")), surprise=-fmean(own) if own else None,
        kl=fmean(both) if both else None,
        right=None if reward is None or (parts and TASTE.issuperset(parts)) else Score(given).passed,
        cut=stop not in ("end", ""), at=at, size=size,
    )  # fmt: skip


def parsed(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None for a torn one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


# -- tokens ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A row with its tokens; `why` says in words why there are none. `kinds` as of `kinds_of`, `ref` the reference's
    log-probabilities; `p` of a token is that of the distribution it was drawn from."""

    brief: Brief
    row: Mapping[str, Any]
    tokens: list[Token]
    kinds: list[str]
    ref: list[float | None]
    why: str = ""

    def difference(self, place: int) -> float | None:
        """Log-probability minus the reference's, nats."""
        logp, ref = self.tokens[place].logp, self.ref[place]
        return None if logp is None or ref is None else logp - ref

    @property
    def referred(self) -> bool:
        """Whether there is a reference."""
        return any(value is not None for value in self.ref)

    @property
    def tops(self) -> bool:
        """Whether what else was probable was kept."""
        return any(token.top for token in self.tokens)


def told(one: Brief, row: Mapping[str, Any], tokenizer: Tokenizer | None, why: str = "") -> Told:
    """The row's tokens as this tokenizer spells them; none where what it spells is not the row's text."""
    ids = ids_of(row)
    if tokenizer is None:
        return Told(one, row, [], [], [], why)
    text = row.get("text")
    if isinstance(text, str) and tokenizer.decode(ids, specials=True) != text:
        return Told(one, row, [], [], [], "the tokenizer found does not spell this text: its tokens are not shown")
    drawn, kinds = drawn_of(row, len(ids)), kinds_of(row, len(ids))
    logp, ref, tops = numbers(row.get("logp"), len(ids)), numbers(row.get("ref_logp"), len(ids)), row.get("top")
    found, stream, marks = list[Token](), tokenizer.stream(specials=True), marks_of(tokenizer)
    for i, (id, mine, p) in enumerate(zip(ids, drawn, logp, strict=True)):
        top = alternatives(tops[i], tokenizer) if isinstance(tops, list) and i < len(tops) else ()
        kind = "special" if id in marks else kinds[i]
        said = p if mine else None
        spelt = stream.push(id) + (stream.flush() if i + 1 == len(ids) else "")
        chance = None if said is None else math.exp(min(0.0, said))
        found.append(Token(id, tokenizer.piece(id), spelt, kind, chance, said, top, not mine))
    return Told(one, row, found, kinds, ref)


def marks_of(tokenizer: Tokenizer) -> set[int]:
    """Ids that are no text: ENDs, roles, what opens and closes thoughts, calls and results."""
    pairs = chat.marks(tokenizer).opens()
    return {*tokenizer.core.hidden, *tokenizer.ends, *pairs, *(close for _, _, close in pairs.values())}


def alternatives(given: Any, tokenizer: Tokenizer) -> tuple[tuple[int, str, float], ...]:
    """(id, piece, p) of the most probable tokens of one place, written as [id, p]; log-probabilities are read too."""
    found = []
    for one in given if isinstance(given, list) else ():
        pair = numbers(one, 2)
        if pair[0] is not None and pair[1] is not None:
            p = pair[1] if 0 <= pair[1] <= 1 else math.exp(min(0.0, pair[1]))
            found.append((int(pair[0]), tokenizer.piece(int(pair[0])), p))
    return tuple(found)


def warmth(one: Told, heat: str, scale: float) -> list[float | None]:
    """How warm each token is under one of HEATS; None for no colour. Log-probability: p, 0 to 1. Minus the reference: -1 (the
    policy says it less than the reference) to 1, tanh of the difference in nats. Advantage: what the token is trained
    with, by the largest of the group."""
    if heat == HEATS[1]:
        return [token.p for token in one.tokens]
    if heat == HEATS[2]:
        gaps = (one.difference(i) for i in range(len(one.tokens)))
        return [None if gap is None else math.tanh(gap) for gap in gaps]
    if heat == HEATS[3]:
        return [None if token.forced else one.brief.advantage / scale for token in one.tokens]
    return [None] * len(one.tokens)


# -- games -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Game:
    """Tic-tac-toe: moves are squares 1 to 9 in order, X begins; one that cannot be is the last, and ended it."""

    moves: tuple[int, ...]
    me: str
    result: str

    def board(self, count: int) -> list[str]:
        """The nine squares after `count` moves: X, O or ""."""
        found = [""] * 9
        for i, move in enumerate(self.moves[:count]):
            if 1 <= move <= 9 and not found[move - 1]:
                found[move - 1] = "XO"[i % 2]
        return found

    def player(self, move: int) -> str:
        """Who made a move, from 0."""
        return "XO"[move % 2]


def game_of(row: Mapping[str, Any]) -> Game | None:
    """The game of a row; None where there is none that is known here."""
    given = row.get("game")
    if not isinstance(given, dict) or given.get("kind") != "tic-tac-toe" or not isinstance(given.get("moves"), list):
        return None
    me = given.get("me")
    return Game(tuple(map(whole, given["moves"])), me if me in ("X", "O") else "", str(given.get("result") or ""))
