"""One conversation with a model, token by token, with a KV cache that later turns reuse."""

import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lab.batch import After
from lab.errors import UserError
from lab.model import new_cache
from lab.sample import PREFILL, Sampling, barred, draw, last_logits, own, penalised
from lab.tokenizer import Tokenizer


@dataclass(frozen=True)
class Token:
    """One sampled token; logp (nats) is of the distribution it was drawn from, p of the model's own at temperature 1;
    top holds the model's own most probable (id, p) at this place, best first, as many as were asked for. A forced one was
    put in (what a tool says): its logp is 0, and p what the model gave it. Nothing comes after the `last`."""

    id: int
    text: str
    logp: float
    p: float
    top: tuple[tuple[int, float], ...] = ()
    forced: bool = False
    last: bool = False


class Stream:
    """One conversation with a model. The cache stays between calls, and only tokens it does not hold are prefilled.

    `after(0, ids)` is asked after every drawn token of a reply, and returns the tokens to force next (lab/calls.py); they
    count against the context, not against max_tokens, and end nothing. Ids in `banned` are never drawn. Both may be
    changed between two replies.
    """

    def __init__(
        self, network: Any, tokenizer: Tokenizer, context: int, after: After | None = None,
        banned: Collection[int] = (),
    ):  # fmt: skip
        self.network, self.tokenizer, self.context = network, tokenizer, context
        self.after, self.banned = after, banned
        self.cache = new_cache(network)
        self.held: list[int] = []
        self.prefilled = 0  # prompt tokens of the last call that the cache did not hold yet

    def _bring(self, ids: Sequence[int]) -> mx.array:
        """Bring the cache to `ids`, keeping what it shares with them, and return the logits [1, V] after the last one."""
        try:
            keep = 0
            limit = min(len(self.held), len(ids) - 1)
            while keep < limit and self.held[keep] == ids[keep]:
                keep += 1
            surplus = len(self.held) - keep
            if surplus and any(c.trim(surplus) != surplus if c.is_trimmable() else True for c in self.cache):
                self.cache, keep = new_cache(self.network), 0  # a cache that cannot go back starts again
            self.held = list(ids[:keep])
            self.prefilled = len(ids) - keep
            return self._append(ids[keep:])
        except BaseException:
            self._forget()
            raise

    def _append(self, ids: Sequence[int]) -> mx.array:
        logits = mx.zeros(1)
        try:
            for start in range(0, len(ids), PREFILL):
                chunk = list(ids[start : start + PREFILL])
                logits = last_logits(self.network, np.array([chunk], np.int32), self.cache, [len(chunk) - 1])
                if len(ids) > 1:  # a single token is evaluated with what is drawn from it
                    mx.eval(logits)
                self.held += chunk
        except BaseException:
            self._forget()
            raise
        return logits

    def _forget(self) -> None:
        """After Ctrl-C in the middle nobody knows what the cache holds: start with an empty one."""
        self.cache, self.held = new_cache(self.network), []

    def __call__(
        self, ids: Sequence[int], sampling: Sampling, seed: int = 0, stop: Sequence[str] = (), top: int = 0,
        completes: bool = False, said: int = 0, forced: Sequence[int] = (),
    ) -> Iterator[Token]:  # fmt: skip
        """Tokens after `ids` until an END, a stop string, max_tokens or the end of the context. The END token is yielded
        too. Text that may still become a stop string, or that ends inside a character, comes with a later token.
        UserError, before the first token is asked for, where there is no prompt or it leaves no room. Closing the
        iterator cancels; the cache keeps what it holds. `completes`: the text of `ids` goes on, so the first word keeps
        its space where a tokenizer would drop it at the beginning of a text. The last `said` of `ids` are of the reply
        itself, which goes on with `forced`."""
        if not 0 <= seed < 1 << 64:
            raise UserError(f"--seed {seed}: must lie between 0 and 2^64 - 1")
        if not ids:
            raise UserError("the prompt is empty; give at least one character with -p")
        if len(ids) >= self.context:
            raise UserError(
                f"the prompt has {len(ids)} tokens, the model's context {self.context}; shorten it by "
                f"{len(ids) - self.context + 1}"
            )
        return self._tokens(ids, sampling, seed, stop, top, completes, len(ids) - said, deque(forced))

    def _tokens(
        self, ids: Sequence[int], sampling: Sampling, seed: int, stop: Sequence[str], top: int, completes: bool,
        begin: int, queue: deque[int],
    ) -> Iterator[Token]:  # fmt: skip
        everything, held = list(ids), ""
        decoder, stops = self.tokenizer.stream(), Stops(stop)
        for token in ids if completes else ():
            decoder.push(token)
        random, drawn = np.random.default_rng(seed), 0
        while len(everything) < self.context and (queue or drawn < sampling.max_tokens):
            forced = bool(queue)
            token, logp, p, best = self._next(everything, ids, sampling, random, top, queue)
            everything.append(token)
            drawn += not forced
            if token in self.tokenizer.ends and not forced:
                yield Token(token, held + decoder.flush(), logp, p, best, last=True)
                return
            if self.after and not forced and len(everything) < self.context:
                queue.extend(self.after(0, everything[begin:]))
            held += decoder.push(token)
            cut, ready = (False, len(held)) if forced else stops.scan(held)
            full = len(everything) >= self.context or (drawn >= sampling.max_tokens and not queue)
            if full and not cut:
                held += decoder.flush()  # nothing more comes, so nothing is held back
                ready = len(held)
            yield Token(token, held[:ready], logp, p, best, forced, cut or full)
            if cut:
                return
            held = held[ready:]

    def _next(
        self, everything: list[int], prompt: Sequence[int], sampling: Sampling, random: np.random.Generator, top: int,
        queue: deque[int],
    ) -> tuple[int, float, float, tuple[tuple[int, float], ...]]:  # fmt: skip
        """(id, logp, p, best) of the next token: the next in the queue, or one that is drawn."""
        try:
            raw = self._bring(everything) if len(everything) == len(prompt) else self._append(everything[-1:])
            uniform = random.random(1)  # for forced tokens too, as in a batch
            if queue:
                ids, logp = np.array([queue.popleft()], np.int32), np.zeros(1)
            else:
                logits = penalised(barred(raw, self.banned), [sampling.recent(everything)], sampling.repetition_penalty)
                ids, logp = draw(logits, uniform, sampling)
                if sampling.plain and not top and not self.banned:  # nothing to compute twice
                    return int(ids[0]), float(logp[0]), math.exp(logp[0]), ()
            p, best = own(raw, ids, top)
        except BaseException:
            self._forget()
            raise
        return int(ids[0]), float(logp[0]), float(p[0]), tuple((int(i), float(q)) for i, q in best[0])


class Stops:
    """Looks for stop strings in text that arrives in pieces."""

    def __init__(self, stop: Sequence[str]):
        self.stop = [s for s in stop if s]

    def scan(self, text: str) -> tuple[bool, int]:
        """(a stop string is complete, how many characters may be shown: nothing that is, or may become, a stop)."""
        places = [at for s in self.stop if (at := text.find(s)) >= 0]
        if places:
            return True, min(places)
        for start in range(max(0, len(text) - max(map(len, self.stop), default=0)), len(text)):
            if any(s.startswith(text[start:]) for s in self.stop):
                return False, start
        return False, len(text)
