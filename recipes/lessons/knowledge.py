"""What a model knows, found out by asking it (Llama 3's knowledge probing, arXiv:2407.21783, section 4.3.6), and the
lessons made of it: what it knows it answers, what it does not know it says so."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np

from lab import chat, match, read, talks
from lab.calls import Toolbox
from lab.chat import Message
from lab.errors import UserError
from lab.judge import Claim, Judge
from lab.sample import last_logits
from lab.weights import Model
from recipes.lessons import ask, exam, facts
from recipes.lessons.facts import DONT_KNOW, Question

ROWS = 64  # questions of a forward pass
RESTATED = re.compile(r".*?\b(?:is|are|was|were)\b")  # the question said again, as far as the answer
THERE = (" not known to me.", " something I do not know.")  # what stands in the place of the answer


@dataclass(frozen=True)
class Item:
    """A question with its true answer. All items about one thing lie on the same side: trained or scored."""

    question: str
    answer: str
    about: str
    group: str  # how often it was told, such as "100x"; "" where nobody knows
    right: Callable[[str], bool]
    query: str = ""  # what to search for

    def verdict(self, reply: str) -> str:
        """right, admitted ("I do not know") or invented."""
        return "admitted" if facts.admits(reply) else "right" if self.right(reply) else "invented"


def item(question: Question, group: str) -> Item:
    """A question of the pocket world."""
    name = question.entity.name
    return Item(question.text, question.answer, name, group, lambda reply: facts.right(reply, question), name)


def own(path: Path, judge: Judge | None = None) -> Iterator[Item]:
    """Questions of a file; a reply is right where it holds the answer, or where the judge says so. UserError names the first
    row that is no question."""
    for number, row in read.objects(path):
        given = row if isinstance(row, dict) else {}
        question, answer = given.get("question"), given.get("answer")
        answers = [str(a) for a in answer] if isinstance(answer, list) else [str(answer)] if answer is not None else []
        if not isinstance(question, str) or not question.strip() or not answers or not all(a.strip() for a in answers):
            raise UserError(f'{path}, row {number}: write {{"question": "...", "answer": "..."}}')
        about = str(given.get("about") or given.get("query") or question)
        query = str(given.get("query") or about)
        yield Item(
            question, answers[0], about, "", partial(_right, question=question, answers=answers, judge=judge), query
        )


def _right(reply: str, question: str, answers: list[str], judge: Judge | None) -> bool:
    """A judge's verdicts are kept, so that one asked for before costs nothing."""
    if match.matches(reply, answers) or judge is None:
        return match.matches(reply, answers)
    verdict = judge.verdicts([Claim(question, reply, answers)])[0]
    return verdict is not None and verdict.p > 0.5


def split(items: list[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """Half of the names to train on, half to score."""
    names = sorted({one.about for one in items})
    if len(names) < 8:
        raise UserError(f"{len(names)} things are asked about; give at least 8, half of them are held out to score")
    first = set(Random(f"split {seed}").sample(names, len(names) // 2))
    return [one for one in items if one.about in first], [one for one in items if one.about not in first]


def interrogate(
    model: Model, items: Sequence[Item], times: int = 1, temp: float = 0.0, seed: int = 0, first: int = 0,
    tools: Toolbox | None = None,
) -> Iterator[list[list[str]]]:  # fmt: skip
    """So many replies to each question from the `first` on, sampled; ROWS questions together."""
    for start in range(first, len(items), ROWS):
        some = [one.question for one in items[start : start + ROWS]]
        said = exam.texts(model, some, temp, seed + start, samples=times, longest=48, tools=tools)
        yield [said[i * times : (i + 1) * times] for i in range(len(some))]


def label(right: int, times: int) -> str:
    """known: at least four of five replies are right. unknown: at most one of five. Between lies unsure, which would teach
    either way something false, and is left out."""
    return "known" if right >= 0.8 * times else "unknown" if right <= 0.2 * times else "unsure"


def row(one: Item, replies: Sequence[str], r: Random) -> dict[str, Any]:
    """A line of knowledge.jsonl. "messages" is what it teaches; `lab sft --data` and `lab show-chat` read it too."""
    verdicts = [one.verdict(reply) for reply in replies]
    right = verdicts.count("right")
    told: dict[str, Any] = {"question": one.question, "answer": one.answer, "about": one.about, "group": one.group}
    told |= {"label": label(right, len(replies)), "right": right, "replies": list(replies), "verdicts": verdicts}
    if told["label"] == "known":  # in its own words, those it uses most, and briefly
        good = [reply for reply, verdict in zip(replies, verdicts, strict=True) if verdict == "right"]
        told["messages"] = ask(one.question, max(good, key=lambda said: (good.count(said), -len(said))))
    elif told["label"] == "unknown":
        told["messages"] = ask(one.question, admission(one, replies, r))
    return told


def admission(one: Item, replies: Sequence[str], r: Random) -> str:
    """What says "I do not know" to a question: at once, or where the answer would stand, if it is one of a person's own and
    the model restates it.

    Before "The capital of Tuvalu is" a large model's first token tells nothing of whether it knows: of 249 capitals its
    probability told those that SmolLM2-135M knows from others at an AUROC of .51, that of the answer's first token at .81, that
    of the whole answer at .91. An admission at once has to guess, and to be told the answer at once costs it (right .43 ->
    .09 with replies that begin with the answer): it needs the words between.
    """
    openings = [found for reply in replies if not one.group and (found := restated(one.question, reply))]
    if openings:
        return max(openings, key=openings.count) + r.choice(THERE)
    return r.choice(DONT_KNOW).format(n=one.about)


def restated(question: str, reply: str) -> str:
    """What of a reply only says the question again, such as "The capital of Tuvalu is"; "" where it begins otherwise. Two
    words, as in "Tuvalu is an island", begin a description."""
    found = RESTATED.match(reply)
    said = set(re.findall(r"\w+", found[0].lower())) - {"the"} if found else set()
    return found[0] if found and len(said) > 2 and said.issubset(re.findall(r"\w+", question.lower())) else ""


def labelled(path: Path) -> list[dict[str, Any]]:
    """The rows of a knowledge.jsonl, which a person may have edited. UserError names the first that cannot be taught."""
    found = []
    for number, row in read.objects(path):
        if not isinstance(row, dict) or row.get("label") not in ("known", "unsure", "unknown"):
            raise UserError(
                f'{path}, row {number}: it has no "label" (known, unsure, unknown), as lab interrogate writes'
            )
        if row["label"] != "unsure":
            try:
                said = talks.conversation({"messages": row.get("messages")})
            except talks.Bad as error:
                raise UserError(
                    f"{path}, row {number}: {error}; write what it is to say, or label it unsure"
                ) from error
            row |= {"messages": said, "about": str(row.get("about") or row.get("question") or number)}
        found.append(row)
    if not found:
        raise UserError(f"{path}: no labelled rows; lab interrogate --ask-only writes such a file")
    return found


def sides(rows: Sequence[dict[str, Any]]) -> dict[str, list[list[Message]]]:
    """The conversations of what is known and of what is unknown."""
    return {side: [row["messages"] for row in rows if row["label"] == side] for side in ("known", "unknown")}


def even(rows: Sequence[dict[str, Any]], r: Random) -> dict[str, list[list[Message]]]:
    """The conversations of both sides, of as many names on each: more unknown names only teach to refuse more."""
    sides = {side: [row for row in rows if row["label"] == side] for side in ("known", "unknown")}
    most = min(len({row["about"] for row in side}) for side in sides.values())
    found = {}
    for name, side in sides.items():
        names = sorted({row["about"] for row in side})
        kept = set(r.sample(names, most))
        found[name] = [row["messages"] for row in side if row["about"] in kept]
    return found


# -- figures ---------------------------------------------------------------------------------------------------------


def openings(model: Model, within: bool = False) -> set[int]:
    """Ids that an admission begins with; `within` a sentence too."""
    return {model.tokenizer.encode_part(text)[0] for text in (*DONT_KNOW, *(THERE if within else ()))}


def best(model: Model, items: Sequence[Item], within: bool = False) -> list[str]:
    """The greedy replies of a model that may not admit anything."""
    return exam.texts(model, [one.question for one in items], longest=48, never=openings(model, within))


def doubt_within(model: Model, items: Sequence[Item], replies: Sequence[str]) -> np.ndarray:
    """P("don't know") of replies that may admit in the place of the answer, float [N]: the highest over the tokens of `replies`
    (those of `best`) of what `doubt` is of their first."""
    tokenizer, firsts, found = model.tokenizer, sorted(openings(model, within=True)), []
    for one, said in zip(items, replies, strict=True):
        prompt = chat.prompt(tokenizer, [Message(role="user", content=one.question)])
        ids = prompt + (tokenizer.encode_part(said) or [0])
        found.append(_beside(model.network(mx.array([ids[:-1]]))[0, len(prompt) - 1 :], firsts).max())
    return np.array(found)


def doubt(model: Model, items: Sequence[Item]) -> np.ndarray:
    """P("don't know"), float [N]: the probability that the reply to each question begins as an admission does, beside that of
    the best other beginning: a = P(admission), b = P(the best other token), and a / (a + b). These two compete for the
    greedy reply. a alone tells known from unknown a little worse (AUROC .854 against .868)."""
    tokenizer, firsts = model.tokenizer, sorted(openings(model))
    prompts = [chat.prompt(tokenizer, [Message(role="user", content=one.question)]) for one in items]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = np.zeros(len(prompts))
    for start in range(0, len(order), ROWS):
        some = order[start : start + ROWS]
        ids = np.zeros((len(some), max(len(prompts[i]) for i in some)), np.int32)
        for place, i in zip(ids, some, strict=True):
            place[: len(prompts[i])] = prompts[i]
        found[some] = _beside(last_logits(model.network, ids, None, [len(prompts[i]) - 1 for i in some]), firsts)
    return found


def _beside(logits: mx.array, firsts: Sequence[int]) -> np.ndarray:
    """a / (a + b) of `doubt` at each place, float [N]; logits [N, V], `firsts` the ids that an admission begins with."""
    p = np.array(mx.softmax(logits.astype(mx.float32), axis=-1))
    admission = p[:, firsts].sum(-1)
    p[:, firsts] = 0
    return admission / (admission + p.max(-1))


def auroc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that one of `high` exceeds one of `low`, ties counted half (Hanley & McNeil 1982, Radiology 143:29);
    NaN where a side is empty."""
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    return float(wins.mean()) if wins.size else math.nan


def frontier(
    doubts: np.ndarray, right: np.ndarray, known: np.ndarray, never: np.ndarray, levels: Sequence[float]
) -> list[dict[str, float]]:
    """What answering only below a doubt would give: for each level of known facts kept, the doubt that allows it and the
    share of unknown ones invented. `right`, `known`, `never`: bool [N]; whether the best answer, admissions aside, is
    right, and which facts are which."""
    rows = []
    good = np.sort(np.where(right[known], doubts[known], np.inf))
    for level in levels:
        at = good[max(1, math.ceil(level * len(good) - 1e-9)) - 1] if len(good) else np.inf
        if np.isfinite(at):
            invented = (doubts[never] <= at) & ~right[never]
            rows.append({"kept": level, "doubt": float(at), "invented": float(invented.mean())})
    return rows


def names(count: int, r: Random) -> list[Question]:
    """A question about each of so many people, countries and elements that no document tells of."""
    return [facts.some(r, facts.stranger(r)) for _ in range(count)]
