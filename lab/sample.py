"""Sampling: one token after the other from a model, with a KV cache that later turns reuse."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lab import device
from lab.errors import UserError
from lab.model import new_cache
from lab.tokenizer import Tokenizer

PREFILL = 512  # tokens a forward pass: short command buffers, bounded memory
COLD = 1e-4  # a temperature below is 0: logits divided by less overflow


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Filters apply in this order: repetition, temperature, top-k, top-p, min-p."""

    temp: float = 0.8
    top_k: int = 0  # keep the k most probable; 0 = all
    top_p: float = 1.0  # keep the smallest set with this much probability (Holtzman et al. 2019, arXiv:1904.09751)
    min_p: float = 0.0  # keep what has this share of the best's probability (Nguyen et al. 2024, arXiv:2407.01082)
    repetition_penalty: float = 1.0  # divide scores of recent tokens (Keskar et al. 2019, arXiv:1909.05858)
    repetition_context: int = 64  # how many tokens back count as recent
    max_tokens: int = 256

    def __post_init__(self) -> None:
        wrong = {
            "--temp": not 0 <= self.temp < float("inf"),
            "--top-k": self.top_k < 0,
            "--top-p": not 0 < self.top_p <= 1,
            "--min-p": not 0 <= self.min_p <= 1,
            "--repetition-penalty": not 0 < self.repetition_penalty < float("inf"),
            "--repetition-context": self.repetition_context < 0,
            "--max-tokens": self.max_tokens < 1,
        }
        if bad := [flag for flag, is_wrong in wrong.items() if is_wrong]:
            raise UserError(f"{bad[0]}: out of range; temperature >= 0, 0 < top-p <= 1, 0 <= min-p <= 1, counts >= 0")


@dataclass(frozen=True)
class Token:
    """One sampled token; logp (nats) is of the distribution it was drawn from, p of the model's own at temperature 1."""

    id: int
    text: str
    logp: float
    p: float


def distribution(logits: mx.array, sampling: Sampling, recent: Sequence[int] = ()) -> mx.array:
    """Log-probabilities [V] that `sampling` draws from, given raw logits [V]. At temperature 0 all mass is on the best."""
    logits = logits.astype(mx.float32)
    if recent and sampling.repetition_penalty != 1.0:
        seen = mx.array(sorted(set(recent)))
        scores = logits[seen]
        logits[seen] = mx.where(scores > 0, scores / sampling.repetition_penalty, scores * sampling.repetition_penalty)
    if sampling.temp < COLD:
        return mx.where(mx.arange(logits.size) == mx.argmax(logits), 0.0, -mx.inf)
    logp = _normalise(logits / sampling.temp)
    if 0 < sampling.top_k < logp.size:
        logp = mx.where(logp < mx.sort(logp)[-sampling.top_k], -mx.inf, logp)
    if sampling.top_p < 1:
        logp = _normalise(logp)
        order = mx.argsort(-logp)
        p = mx.exp(logp[order])
        outside = mx.cumsum(p) - p >= sampling.top_p  # the first token is always inside
        logp[order] = mx.where(outside, -mx.inf, logp[order])
    if sampling.min_p > 0:
        logp = mx.where(logp < logp.max() + float(np.log(sampling.min_p)), -mx.inf, logp)
    return _normalise(logp)


def _normalise(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, -1, keepdims=True)


class Stream:
    """One conversation with a model. The cache stays between calls, and only tokens it does not hold are prefilled."""

    def __init__(self, network: Any, tokenizer: Tokenizer, context: int):
        self.network, self.tokenizer, self.context = network, tokenizer, context
        self.cache = new_cache(network)
        self.held: list[int] = []
        self.prefilled = 0  # prompt tokens of the last call that the cache did not hold yet

    def _bring(self, ids: Sequence[int]) -> mx.array:
        """Bring the cache to `ids`, keeping what it shares with them, and return the logits [V] after the last one."""
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
                logits = self.network(mx.array([chunk]), cache=self.cache)[0, -1]
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
        self, ids: Sequence[int], sampling: Sampling, seed: int = 0, stop: Sequence[str] = ()
    ) -> Iterator[Token]:
        """Tokens after `ids` until an END, a stop string, max_tokens or the end of the context. The END token is yielded
        too. Text that may still become a stop string, or that ends inside a character, comes with a later token.
        UserError, before the first token is asked for, where there is no prompt or it leaves no room."""
        if not 0 <= seed < 1 << 64:
            raise UserError(f"--seed {seed}: must lie between 0 and 2^64 - 1")
        if not ids:
            raise UserError("the prompt is empty; give at least one character with -p")
        if len(ids) >= self.context:
            raise UserError(
                f"the prompt has {len(ids)} tokens, the model's context {self.context}; shorten it by "
                f"{len(ids) - self.context + 1}"
            )
        return self._tokens(ids, sampling, seed, stop)

    def _tokens(self, ids: Sequence[int], sampling: Sampling, seed: int, stop: Sequence[str]) -> Iterator[Token]:
        everything, held = list(ids), ""
        decoder, stops = self.tokenizer.stream(), _Stops(stop)
        key = mx.random.key(seed)
        limit = min(sampling.max_tokens, self.context - len(ids))
        for count in range(1, limit + 1):
            logits = self._bring(everything) if count == 1 else self._append(everything[-1:])
            recent = everything[-sampling.repetition_context :] if sampling.repetition_context else ()
            logp = distribution(logits, sampling, recent)
            key, draw = mx.random.split(key)
            token = int(device.number(mx.random.categorical(logp, key=draw)))
            said = (device.number(logp[token]), device.number(mx.exp(_normalise(logits.astype(mx.float32))[token])))
            everything.append(token)
            if token in self.tokenizer.ends:
                yield Token(token, held + decoder.flush(), *said)
                return
            held += decoder.push(token)
            cut, ready = stops.scan(held)
            if count == limit and not cut:  # nothing more comes, so nothing is held back
                held += decoder.flush()
                ready = len(held)
            yield Token(token, held[:ready], *said)
            if cut:
                return
            held = held[ready:]


class _Stops:
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


def complete(
    network: Any, prompts: Sequence[Sequence[int]], max_tokens: int, ends: frozenset[int], batch: int = 64
) -> list[list[int]]:
    """Greedy continuations (END left out) of many prompts: those of equal length run in lock-step, finished rows leave."""
    out: list[list[int]] = [[] for _ in prompts]
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(prompts):
        by_length.setdefault(len(ids), []).append(row)
    for rows in by_length.values():
        for start in range(0, len(rows), batch):
            _lock_step(network, prompts, rows[start : start + batch], max_tokens, ends, out)
    return out


def _lock_step(
    network: Any, prompts: Sequence[Sequence[int]], rows: list[int], max_tokens: int, ends: frozenset[int], out: Any
) -> None:
    cache = new_cache(network)
    logits = network(mx.array([list(prompts[r]) for r in rows]), cache=cache)[:, -1]
    for _ in range(max_tokens):
        chosen = np.array(mx.argmax(logits, -1))
        going = [i for i, token in enumerate(chosen) if int(token) not in ends]
        for i in going:
            out[rows[i]].append(int(chosen[i]))
        if not going:
            return
        if len(going) < len(rows):
            pick = mx.array(going)
            for c in cache:
                c.keys, c.values = c.keys[pick], c.values[pick]
            rows = [rows[i] for i in going]
        logits = network(mx.array(chosen[going][:, None].astype(np.int32)), cache=cache)[:, -1]
        mx.eval(logits)
