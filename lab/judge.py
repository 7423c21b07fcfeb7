"""A language model as judge: it is asked a question with two answers, and its probabilities of the two words are read off
one forward pass. Nothing is sampled, so a judgement is the same each time, and is kept: a question is paid for once.

LLM as judge, and that the order of two replies sways it: Zheng et al. 2023 (arXiv:2306.05685). The probability of Yes as
the judgement: Kadavath et al. 2022 (arXiv:2207.05221). Calibration: Zhao et al. 2021 (arXiv:2102.09690).

A reply reaches the judge as text on one line, with special tokens off: it can end no turn and begin no example. It can
still flatter; a judge is a measure for replies that were not trained against it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lab import chat, verdicts
from lab.data import cache_folder
from lab.errors import UserError
from lab.forms import BETTER, SAME, Case, Form
from lab.match import matches
from lab.model import Transformer, new_cache
from lab.sample import PREFILL, Sampling, last_logits, masses
from lab.tokenizer import Tokenizer
from lab.verdicts import Verdict
from lab.weights import Model

__all__ = ["Claim", "Judge", "Pair", "Preference", "Verdict", "flips", "matches"]
WASTE = 64  # tokens of padding that cost about as much as another forward pass
HELD = 4096  # tokens of a forward pass whose keys and values are held, the common ones once a row
SHARED = 16  # a beginning that many prompts have in common is computed once from so many tokens on
NOTHING = "N/A"  # what says nothing, for calibration
Show = Callable[[int], None]


class Claim(NamedTuple):
    """A reply, and what it should say (in one of these ways)."""

    question: str
    reply: str
    answers: Sequence[str]


class Pair(NamedTuple):
    """Two replies to the same prompt."""

    prompt: str
    a: str
    b: str


class Preference(NamedTuple):
    """p that a is better, the mean of both orders, and of each: shown first, shown second."""

    p: float
    mass: float
    first: float
    second: float

    @property
    def flips(self) -> bool:
        """Whether the judge changes its mind with the order."""
        return (self.first > 0.5) != (self.second > 0.5)


def flips(found: Sequence[Preference | None]) -> float:
    """The share of pairs whose verdict flips with the order; NaN of none."""
    known = [one.flips for one in found if one]
    return sum(known) / len(known) if known else math.nan


class Judge:
    """Asks a model, chat or base. Prompts of about a length share a forward pass; what all have in common (task and
    examples) is computed once. Verdicts are kept in `judge.sqlite` of the cache ($LAB_CACHE), which several processes may
    share. The weights must stay what they are while a Judge is in use.

    `plain` asks a chat model as a base model is asked, with text that goes on. `calibrated` subtracts, in log-odds, what
    the judge says of the same case with "N/A" in place of what is judged, and puts .5 between the right and the wrong ones
    of a few cases it did not see: a small model leans towards one word. It doubles the prompts, and where many replies to
    one question are judged, "N/A" is asked once.
    """

    def __init__(self, model: Model, calibrated: bool = False, plain: bool = False, kept: Path | None = None):
        self.model, self.calibrated, self.plain = model, calibrated, plain or not model.chats
        self.kept = kept or cache_folder() / "judge.sqlite"
        self.computed = 0  # tokens that went through the network
        self.asked = 0  # prompts that were not known
        self._print = verdicts.fingerprint(model)

    def verdicts(self, claims: Sequence[Claim], show: Show | None = None) -> list[Verdict | None]:
        """Whether each reply says what its answers say. None where a claim does not fit into the context."""
        return self.ask(SAME, [claim(*one) for one in claims], show)

    def prefer(self, prompt: str, a: str, b: str) -> Preference | None:
        """Which of two replies is better, asked in both orders."""
        return self.preferences([Pair(prompt, a, b)])[0]

    def preferences(self, pairs: Sequence[Pair], show: Show | None = None) -> list[Preference | None]:
        """`prefer` of many. None where a pair does not fit into the context."""
        cases = [{"prompt": p, "a": x, "b": y} for p, a, b in pairs for x, y in ((a, b), (b, a))]
        told = self.ask(BETTER, cases, show and (lambda done: show(done // 2)))
        out: list[Preference | None] = []
        for one, other in zip(told[::2], told[1::2], strict=True):
            if one is None or other is None:
                out.append(None)
                continue
            first, second = one.p, 1 - other.p
            out.append(Preference((first + second) / 2, (one.mass + other.mass) / 2, first, second))
        return out

    def ask(self, form: Form, cases: Sequence[Case], show: Show | None = None) -> list[Verdict | None]:
        """A verdict for every case (the fields of the form's layout). `show(done)` is told how many are decided."""
        if not (self.calibrated and form.judged):
            return self._ask(form, cases, show)
        first = self._ask(form, cases, show and (lambda done: show(done // 2)))
        more = self._against(form, cases, first, show and (lambda done: show((len(cases) + done) // 2)))
        right, wrong = self._tried(form)
        middle = (right + wrong) / 2
        return [
            None if one is None or x is None else Verdict(1 / (1 + math.exp(middle - x)), one.mass)
            for one, x in zip(first, more, strict=True)
        ]

    def margin(self, form: Form) -> float:
        """By how much a calibrated judge's log-odds for the right ones of the form's trials exceed those for the wrong
        ones. A judge that can tell them apart has some units; below 1 its verdicts on this form are noise."""
        right, wrong = self._tried(form)
        return right - wrong

    def _tried(self, form: Form) -> tuple[float, float]:
        """The mean log-odds of the right and of the wrong trials; zeros where they do not fit into the context."""
        trials = [case for case, _ in form.trials]
        tried = self._against(form, trials, self._ask(form, trials, None), None)
        means = []
        for side in (True, False):
            known = [x for x, (_, yes) in zip(tried, form.trials, strict=True) if yes == side and x is not None]
            if not known:
                return 0.0, 0.0
            means.append(float(np.mean(known)))
        return means[0], means[1]

    def _against(
        self, form: Form, cases: Sequence[Case], told: Sequence[Verdict | None], show: Show | None
    ) -> list[float | None]:
        """By how much the log-odds of each verdict exceed those of the case that says nothing."""
        empty = self._ask(form, [case | {form.judged: NOTHING} for case in cases], show)
        pairs = zip(told, empty, strict=True)
        return [_logit(one.p) - _logit(other.p) if one and other else None for one, other in pairs]

    def _ask(self, form: Form, cases: Sequence[Case], show: Show | None) -> list[Verdict | None]:
        words = self.words(form)
        prompts = [self.prompt(form, case) for case in cases]
        about = self._print + repr(words).encode()
        keys = [None if p is None else _key(about, p) for p in prompts]
        known = verdicts.known(self.kept, [key for key in keys if key])
        todo = {key: p for key, p in zip(keys, prompts, strict=True) if key and p and key not in known}
        done = sum(key is None or key in known for key in keys)
        times = Counter(keys)
        if show:
            show(done)
        for some, logits in self._forward(list(todo.items())):
            mass = masses(logits, Sampling(temp=1.0))
            p = np.array(mass / mass.sum(-1, keepdims=True)).astype(np.float64)
            yes, no = (p[:, list(ids)].sum(-1) for ids in words)
            told = zip(some, yes.tolist(), no.tolist(), strict=True)
            fresh = {key: Verdict(y / (y + n) if y + n else 0.5, y + n) for key, y, n in told}
            if any(not math.isfinite(one.mass) for one in fresh.values()):
                raise UserError(f"{self.model.name}: its scores are no numbers (NaN); take another checkpoint")
            verdicts.keep(self.kept, fresh)
            known |= fresh
            done += sum(times[key] for key in some)
            if show:
                show(done)
        return [known[key] if key else None for key in keys]

    # -- prompts -------------------------------------------------------------------------------------------------------

    def prompt(self, form: Form, case: Case) -> list[int] | None:
        """The ids that end where the judge's word begins; with fewer examples where all do not fit, None where not even
        the case does."""
        told = form.layout.format(**{name: line(text) for name, text in case.items()})
        for count in range(len(form.shots), -1, -1):
            ids = self._text(form, told, count) if self.plain else self._chat(form, told, count)
            if len(ids) < self.model.context:
                return ids
        return None

    def _chat(self, form: Form, told: str, count: int) -> list[int]:
        task = f"{form.task} Answer with {' or '.join(form.words)}."
        messages: list[chat.Message] = []
        for case, yes in form.shots[:count]:
            messages.append(chat.Message(role="user", content=f"{task}\n\n{form.layout.format(**case)}"))
            messages.append(chat.Message(role="assistant", content=form.words[0 if yes else 1]))
        messages.append(chat.Message(role="user", content=f"{task}\n\n{told}"))
        return replying(self.model.tokenizer, messages)

    def _text(self, form: Form, told: str, count: int) -> list[int]:
        tokenizer = self.model.tokenizer
        shots = [
            f"{form.layout.format(**case)}\nAnswer: {form.words[0 if yes else 1]}" for case, yes in form.shots[:count]
        ]
        text = "\n\n".join([form.task, *shots, f"{told}\nAnswer:"])
        return [*tokenizer.begin, *tokenizer.encode(text)]

    def words(self, form: Form) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids with which a reply begins that says the form's first or second word, in any case, with or without a
        space: whole words where both are tokens, else the first pieces that tell the two apart."""
        sides = []
        for word in form.words:
            spelt = {case for w in (word, word.lower(), word.upper()) for case in (w, f" {w}")}
            sides.append([ids for ids in self.model.tokenizer.encode_batch(sorted(spelt)) if ids])
        whole = [{ids[0] for ids in side if len(ids) == 1} for side in sides]
        if not all(whole):
            whole = [{ids[0] for ids in side} for side in sides]
        yes, no = whole[0] - whole[1], whole[1] - whole[0]
        if not yes or not no:
            name = self.model.name
            raise UserError(f"{name}: its tokens do not tell {' from '.join(form.words)}; take another judge")
        return tuple(sorted(yes)), tuple(sorted(no))

    # -- forward passes ------------------------------------------------------------------------------------------------

    def _forward(self, todo: list[tuple[bytes, list[int]]]) -> Iterator[tuple[list[bytes], mx.array]]:
        """(keys, logits [B, V] after their prompts), prompts of about a length together, shortest first."""
        if not todo:
            return
        network = self.model.network
        todo = sorted(todo, key=lambda one: len(one[1]))
        prompts = [ids for _, ids in todo]
        shared, held = common(prompts), new_cache(network)
        if shared < SHARED or any(type(layer).__name__ != "KVCache" for layer in held):
            shared = 0
        for start in range(0, shared, PREFILL):
            last_logits(network, np.array([prompts[0][start : min(start + PREFILL, shared)]], np.int32), held, [0])
            mx.eval([layer.state for layer in held])
        self.computed += shared
        most = 4 * PREFILL if isinstance(network, Transformer) else PREFILL  # others give logits of every position
        at = 0
        while at < len(todo):
            end, padding = at + 1, 0
            while end < len(todo):
                width = len(prompts[end]) - shared
                padding += (len(prompts[end]) - len(prompts[end - 1])) * (end - at)
                if padding > WASTE or width * (end - at + 1) > most or len(prompts[end]) * (end - at + 1) > HELD:
                    break
                end += 1
            rows = [ids[shared:] for ids in prompts[at:end]]
            yield [key for key, _ in todo[at:end]], self._together(rows, held, shared)
            self.asked += end - at
            at = end

    def _together(self, rows: list[list[int]], held: list[Any], shared: int) -> mx.array:
        """Logits [B, V] after each row, which follows `shared` tokens that `held` knows. Right-padded: causal attention
        never sees what comes after a row."""
        network, lengths = self.model.network, [len(row) for row in rows]
        ids = np.zeros((len(rows), max(lengths)), np.int32)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = row
        cache = new_cache(network)
        for layer, before in zip(cache, held, strict=True) if shared else ():
            layer.keys, layer.values = (mx.repeat(x[:, :, :shared], len(rows), 0) for x in (before.keys, before.values))
            layer.offset = shared
        last: list[mx.array] = [mx.zeros(0)] * len(rows)
        for start in range(0, ids.shape[1], PREFILL):
            at = [min(max(length - 1 - start, 0), min(PREFILL, ids.shape[1] - start) - 1) for length in lengths]
            logits = last_logits(network, ids[:, start : start + PREFILL], cache, at)
            for i, length in enumerate(lengths):
                if start < length <= start + PREFILL:
                    last[i] = logits[i]
            mx.eval(last, [layer.state for layer in cache])
        self.computed += sum(lengths)
        return mx.stack(last)


def replying(tokenizer: Tokenizer, messages: Sequence[chat.Message]) -> list[int]:
    """`lab.chat.prompt`, with the thought closed that a reasoning model would open: its next token answers. As Qwen3's
    template does it for enable_thinking=False."""
    ids = chat.prompt(tokenizer, messages)
    pair = None if tokenizer.ours else chat.marks(tokenizer).think
    if pair is None or tokenizer.piece(pair[1]) not in (tokenizer.chat_template or ""):
        return ids
    told, blank = tokenizer.decode(ids[-6:], specials=True), tokenizer.encode("\n\n")
    if told.rstrip().endswith(tokenizer.piece(pair[1])):
        return ids
    if told.rstrip().endswith(tokenizer.piece(pair[0])):
        return [*ids, *(tokenizer.encode("\n") if told.endswith("\n") else blank), pair[1], *blank]
    return [*ids, pair[0], *blank, pair[1], *blank]


def line(text: str) -> str:
    """A text on one line: no reply can look like the next example."""
    return " ".join(text.split())


def claim(question: str, reply: str, answers: Sequence[str]) -> Case:
    """The fields of SAME."""
    return {"question": question, "answer": " or ".join(answers), "reply": reply}


def common(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids at the beginning all prompts have in common, one less than the shortest has at most; 0 of fewer than
    two."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts, key=list), max(prompts, key=list)  # what these two share, all share
    most = min(map(len, prompts)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)


def _key(about: bytes, prompt: Sequence[int]) -> bytes:
    return hashlib.blake2b(about + np.array(prompt, np.int64).tobytes(), digest_size=16).digest()


def _logit(p: float) -> float:
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))
