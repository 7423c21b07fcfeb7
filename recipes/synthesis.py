"""Questions and answers that a chat model writes from passages, and the checks that a bad one does not pass.

The model writes a question that a passage answers, then the answer with the passage before it (Lewis et al. 2021, "PAQ",
arXiv:2102.07033; Wang et al. 2022, "Self-Instruct", arXiv:2212.10560). Cheap checks come first: what is no question, speaks
of "the text", was asked before, or says words and numbers that the passage has not. Then a judge reads what is left.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lab import chat
from lab.batch import Request, sample
from lab.chat import Message
from lab.forms import ANSWERABLE, SUPPORTED
from lab.judge import Judge, line, replying
from lab.match import content, overlap, words
from lab.near import words as near_words
from lab.passages import Passage
from lab.sample import Sampling
from lab.weights import Model

ASK = "{passage}\n\nWrite one short question that this text answers."
MORE = "Write another short question that the text answers."
SENTENCE = "{passage}\n\nAnswer in one sentence, with what this text says: {question}"
WORDS = "{passage}\n\nAnswer with a few words of this text: {question}"
MERCURY = "Mercury is the smallest planet of the Solar System and the closest to the Sun. It goes around it in 88 days."
EXAMPLE = (
    Message(role="user", content=ASK.format(passage=MERCURY)),
    Message(role="assistant", content="Which planet is the closest to the Sun?"),
)
LEAD = re.compile(r"^(?:\W*(?:question|answer|q|a)\s*\d*\s*[:.)]|\d+[.)]|[-*])?[\s*\"'\u201c]*", re.IGNORECASE)
SPEAKS = re.compile(
    r"\b(?:the|this|that|given|above|following|provided|original)\s+(?:\w+\s+)?(?:text|passage|author|article|paragraph"
    r"|question|content|statement|context|document|excerpt)s?\b|\bmultiple.choice\b",
    re.IGNORECASE,
)
OPEN = {"it", "its", "he", "she", "they", "their", "this", "that", "these", "those"}
FORMS = {"answerable": ANSWERABLE, "supported": SUPPORTED}  # what the judge is asked, in this order
MARGIN = 1.0  # log-odds between right and wrong examples, below which a judge drops nothing
Show = Callable[[float], None]
ABOUT, HELD = 0.5, 0.8  # content words of a question, and of an answer, that the passage must have
LONGEST = 200  # characters of a question
# How the work about a passage of 400 characters is shared out: 215 tokens through the network to ask, 170 to answer what
# four in five drafts ask, 500 for each of the half that gets to the judge.
WORK = (0.35, 0.23, 0.42)
USUAL = 16  # tokens of a question or answer, before any has come


@dataclass
class Draft:
    """What is being written about a passage."""

    passage: Passage
    member: int
    turns: list[tuple[str, str]] = field(default_factory=list)  # questions with their answers
    scores: list[dict[str, float]] = field(default_factory=list)
    question: str = ""
    answer: str = ""
    reason: str = ""  # why it was dropped, or ended


@dataclass
class Written:
    """What became of a passage."""

    passage: Passage
    rows: list[dict[str, Any]]
    dropped: list[tuple[str, str]]  # (reason, what was written)


class Writer:
    """Writes about passages: `each` drafts a passage, of up to `turns` questions. A judge's p below `threshold` drops a
    draft, where the judge can tell right from wrong examples (`margins`); at 0 nobody is asked. `kept` holds the questions
    that need not be asked again."""

    def __init__(
        self, model: Model, judge: Judge | None, *, short: bool = False, each: int = 1, turns: int = 1,
        threshold: float = 0.5, temp: float = 0.7, seed: int = 0, rows: int = 32,
    ):  # fmt: skip
        self.model, self.judge, self.short = model, judge, short
        self.each, self.turns, self.threshold = each, turns, threshold
        self.temp, self.seed, self.rows = temp, seed, rows
        self.kept: set[str] = set()
        self._said = [0, 0]  # replies so far, and their tokens
        self.margins = {name: judge.margin(form) for name, form in FORMS.items()} if judge and threshold else {}

    def write(self, some: Sequence[Passage], show: Show | None = None) -> list[Written]:
        """All drafts of some passages, worked on together. `show` is told what share of the work is done."""
        drafts = [Draft(passage, member) for passage in some for member in range(self.each)]
        parts = WORK if self.judge and self.threshold else (*WORK[:2], 0.0)
        for turn in range(self.turns):
            for stage, work in enumerate((self._ask, self._answer, self._judge)):
                begin, end = ((turn + sum(parts[:n]) / sum(parts)) / self.turns for n in (stage, stage + 1))
                work([d for d in drafts if not d.reason], partial(_tell, show or (lambda share: None), begin, end))
            for draft in [d for d in drafts if not d.reason]:
                if (asked := key(draft.question)) in self.kept:
                    draft.reason = "asked before"
                    continue
                self.kept.add(asked)
                draft.turns.append((draft.question, draft.answer))
        return [self._written(p, [d for d in drafts if d.passage is p]) for p in some]

    def _written(self, passage: Passage, drafts: Sequence[Draft]) -> Written:
        about = {"source": passage.source, "passage": passage.text, "by": self.model.name}
        rows: list[dict[str, Any]] = []
        for draft in drafts:
            if self.short:
                rows += [
                    {"question": q, "answer": a} | about | scores
                    for (q, a), scores in zip(draft.turns, draft.scores, strict=False)
                ]
            elif draft.turns:
                pairs = [zip(("user", "assistant"), turn, strict=True) for turn in draft.turns]
                messages = [{"role": role, "content": said} for pair in pairs for role, said in pair]
                lowest = {name: min(s[name] for s in draft.scores) for name in (draft.scores or [{}])[0]}
                rows.append({"messages": messages} | about | lowest)
        lost = [(d.reason, f"{d.question} {d.answer}".strip()) for d in drafts if d.reason and not d.turns]
        return Written(passage, rows, lost)

    # -- the model writes ----------------------------------------------------------------------------------------------

    def _ask(self, drafts: Sequence[Draft], show: Show) -> None:
        """A question for each, or the reason why there is none."""
        asked = []
        for draft in drafts:
            messages = [*EXAMPLE, Message(role="user", content=ASK.format(passage=draft.passage.text))]
            for question, _ in draft.turns:
                messages += [Message(role="assistant", content=question), Message(role="user", content=MORE)]
            asked.append((messages, self._seed(draft)))
        for draft, (said, _) in zip(
            drafts, self._say(asked, Sampling(temp=self.temp, max_tokens=48), show), strict=True
        ):
            draft.question, draft.answer = tidy(said), ""
            draft.reason = unasked(draft.question, draft.passage.text)
            if not draft.reason and key(draft.question) in self.kept:
                draft.reason = "asked before"

    def _answer(self, drafts: Sequence[Draft], show: Show) -> None:
        """The answer of each question, the most probable one."""
        form = WORDS if self.short else SENTENCE
        asked = [
            ([Message(role="user", content=form.format(passage=d.passage.text, question=d.question))], 0)
            for d in drafts
        ]
        said = self._say(asked, Sampling(temp=0, max_tokens=24 if self.short else 80), show)
        for draft, (text, whole) in zip(drafts, said, strict=True):
            draft.answer = tidy(text)
            draft.reason = unanswered(draft.question, draft.answer, draft.passage.text) if whole else "answer cut off"

    def _say(
        self, asked: Sequence[tuple[list[Message], int]], sampling: Sampling, show: Show
    ) -> list[tuple[str, bool]]:
        """(the reply's text, whether it ended by itself) for each (messages, seed); a prompt that several share is
        prefilled once."""
        tokenizer = self.model.tokenizer
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, (messages, _) in enumerate(asked):
            groups.setdefault(tuple(replying(tokenizer, messages)), []).append(i)
        requests = [Request(ids, [asked[i][1] for i in members]) for ids, members in groups.items()]
        places, out = list(groups.values()), [("", False)] * len(asked)
        # Told by tokens: replies written together end together, so that a count of them stands still until all but the
        # last is done.
        usual = self._said[1] / self._said[0] if self._said[0] else USUAL
        total, done, seen = sum(map(len, groups)) + usual * len(asked), 0, set[int]()

        def drawn(request: int, ids: Sequence[int]) -> list[int]:
            nonlocal done
            done += 1 if request in seen else 1 + len(requests[request].ids)
            seen.add(request)
            show(min(1.0, done / total))
            return []

        network, context = self.model.network, self.model.context
        for reply in sample(network, requests, sampling, tokenizer.ends, context, self.rows, after=drawn):
            self._said = [self._said[0] + 1, self._said[1] + len(reply.ids)]
            text = chat.plain(chat.parse(tokenizer, reply.ids.tolist()))
            out[places[reply.request][reply.member]] = (text, reply.stop == "end")
        return out

    def _seed(self, draft: Draft) -> int:
        """The same for the same passage, draft and turn, whatever it is worked on with."""
        told = f"{self.seed} {draft.member} {len(draft.turns)} {draft.passage.text}".encode()
        return int.from_bytes(hashlib.blake2b(told, digest_size=7).digest(), "big")

    # -- the judge reads -----------------------------------------------------------------------------------------------

    def _judge(self, drafts: Sequence[Draft], show: Show) -> None:
        """Can the question be answered from the passage; does the passage say so. The second only of what passed the
        first."""
        judge = self.judge if self.threshold else None
        scores: dict[int, dict[str, float]] = {id(draft): {} for draft in drafts}
        for stage, (name, form) in enumerate(FORMS.items() if judge else ()):
            assert judge is not None
            left = [draft for draft in drafts if not draft.reason]
            cases = [{"passage": d.passage.text, "question": d.question, "answer": d.answer} for d in left]
            at, count = partial(_tell, show, stage / len(FORMS), (stage + 1) / len(FORMS)), max(1, len(left))
            told = judge.ask(form, cases, lambda done, at=at, n=count: at(done / n))  # type: ignore[misc]
            for draft, verdict in zip(left, told, strict=True):
                if verdict is None:
                    draft.reason = "too long for the judge"
                    continue
                scores[id(draft)][name] = round(verdict.p, 4)
                if verdict.p < self.threshold and self.margins[name] >= MARGIN:
                    draft.reason = f"judge: not {name}"
        for draft in drafts:
            if not draft.reason:
                draft.scores.append(scores[id(draft)])


def _tell(show: Show, begin: float, end: float, share: float) -> None:
    """A part of the work, from `begin` to `end` of it, is done to a share."""
    show(begin + (end - begin) * share)


def key(question: str) -> str:
    """A question as it is compared with others."""
    return " ".join(near_words(question))


def tidy(text: str) -> str:
    """What was said, on one line, without "Question:", a number or quotes around it."""
    first = next((row for row in text.splitlines() if row.strip()), "")
    return line(LEAD.sub("", first, count=1)).strip(" *\"'\u201c\u201d")


def unasked(question: str, passage: str) -> str:
    """Why a question cannot be used; '' where it can."""
    if not question.endswith("?") or len(question) > LONGEST or not content(question):
        return "no question"
    if SPEAKS.search(question):
        return "speaks of the text"
    if len(content(question)) < 2 and OPEN & set(words(question)):
        return "question does not say about what"
    return "" if overlap(question, passage) >= ABOUT else "question not about the passage"


def unanswered(question: str, answer: str, passage: str) -> str:
    """Why an answer cannot be used; '' where it can. Numbers must all be the passage's, other words nearly all."""
    if not content(answer):
        return "no answer"
    if SPEAKS.search(answer):
        return "speaks of the text"
    if content(answer) <= content(question):
        return "answer repeats the question"
    if {w for w in words(answer) if w[-1].isdecimal()} - set(words(passage)):
        return "answer has a number the passage has not"
    return "" if overlap(answer, passage) >= HELD else "answer has words the passage has not"
