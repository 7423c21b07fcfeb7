"""One game of self-play as the learner sees it: as a Sample, as a row of episodes/, and a step's games in numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lab import episodes
from lab.runs import write_atomic
from lab.samples import Sample
from lab.tokenizer import Tokenizer
from recipes.arena import Match, Notation
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import CORNERS

SHOWN = 8  # games of a group that are kept in episodes/


class Played(NamedTuple):
    """One game of self-play as the learner sees it."""

    match: Match
    side: str
    against: str
    group: int
    reward: float
    advantage: float

    @property
    def own(self) -> list[int]:
        """Which moves are the learner's."""
        return list(range("XO".index(self.side), len(self.match.choices), 2))


def to_sample(writes: Notation, played: Played) -> Sample:
    """The sampled tokens, its own weighted with the advantage, the opponent's with 0."""
    before, choices, own = len(writes.before), played.match.choices, set(played.own)
    ids = [*writes.before, *(choice.token for choice in choices)]
    weight = [0.0] * before + [float(i in own) for i in range(len(choices))]
    logp = [0.0] * before + [choice.logp if i in own else 0.0 for i, choice in enumerate(choices)]
    one = Sample(np.asarray(ids, np.int32), np.asarray(weight, np.float32), np.asarray(logp, np.float32))
    return one.weighted(played.advantage)


def summary(played: Sequence[Played]) -> dict[str, float]:
    """A step of self-play in numbers."""
    ended = [p.match.game.told(p.side) for p in played]
    share = {how: ended.count(how) / len(ended) for how in ("won", "drawn", "lost", "illegal")}
    share["lost"] += share["illegal"]
    groups: dict[int, set[float]] = {}
    for p in played:
        groups.setdefault(p.group, set()).add(p.reward)
    moves = [p.match.choices[i] for p in played for i in p.own]
    return share | {
        "reward": share["won"] - share["lost"],
        "entropy": float(np.mean([choice.entropy for choice in moves])),
        "moves": len(moves) / len(played),
        "alike": sum(len(found) == 1 for found in groups.values()) / len(groups),
    }


def keep_episodes(folder: Path, tokenizer: Tokenizer, writes: Notation, step: int, played: Sequence[Played]) -> None:
    """Some games of the step, as lab/episodes.py says: its first as X, and its first at the blind spot."""
    shown = [p for p in played if p.side == "X"][:SHOWN]
    shown += [p for p in played if p.side == "O" and p.match.game.moves[0] in CORNERS][:SHOWN]
    members: dict[int, int] = {}
    lines = []
    for p in shown:
        game, start = p.match.game, "XO".index(p.side)
        members[p.group] = member = members.get(p.group, -1) + 1
        own, after = set(p.own), p.match.choices[start:]
        ids = [choice.token for choice in after]
        begun = "".join(map(str, game.moves[:start]))
        asked = f"You are {p.side} against {p.against}. " + (f"X has taken {begun}." if begun else "You begin.")
        row = {
            "step": step, "group": p.group, "k": member, "key": f"{p.side} {begun}".strip(), "seed": 0,
            "messages": [{"role": "user", "content": asked}], "answer": "",
            "prompt_ids": writes.ids(game.moves[:start]), "ids": ids,
            "drawn": [int(i + start in own and not c.explored) for i, c in enumerate(after)],
            "logp": episodes.rounded([c.logp if i + start in own else 0.0 for i, c in enumerate(after)]), "ref_logp": None,
            "segments": episodes.segments(tokenizer, ids), "text": tokenizer.decode(ids, specials=True),
            "parts": {"result": p.reward}, "notes": {"explored": float(after[0].explored)},
            "reward": p.reward, "advantage": p.advantage, "stop": "end", "calls": [],
            "game": {
                "kind": tictactoe.KIND, "moves": [move for move in game.moves if move], "me": p.side,
                "result": game.told(p.side),
            },
        }  # fmt: skip
        lines.append(episodes.line(row))
    path = episodes.path_of(folder, step)
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, "".join(lines), sync=False)
