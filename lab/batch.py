"""Many prompts at once: rows of unequal length decode in lock-step, finished rows leave, waiting ones take their slots.

What a row writes follows from its own prompt and seed, whoever shares the batch: every row draws from a random generator
of its own, and no row sees another's keys. A prompt that several rows share is prefilled once.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from lab.errors import UserError
from lab.model import Transformer, new_cache
from lab.sample import PREFILL, Sampling, barred, draw, last_logits, own, penalised
from lab.slots import Place, Slots

Stop = Literal["end", "length", "context", "cancelled"]
GROWTH = 64  # tokens that slots grow by
WASTE = 64  # tokens of padding that cost about as much as another forward pass of a small model
After = Callable[[int, Sequence[int]], Sequence[int]]


@dataclass(frozen=True)
class Request:
    """A prompt and the seeds of the rows to write for it."""

    ids: Sequence[int]
    seeds: Sequence[int] = (0,)
    max_tokens: int | None = None  # None: the Sampling's


@dataclass(frozen=True)
class Reply:
    """One row, whole. Forced tokens were put in, not drawn: their logp is 0, they are never trained and end nothing."""

    request: int  # which request
    member: int  # which of its seeds
    ids: np.ndarray  # int32 [T], END kept
    logp: np.ndarray  # float32 [T], nats, of the distribution that was drawn from
    forced: np.ndarray  # bool [T]
    stop: Stop
    top: np.ndarray  # float32 [T, top, 2]: (id, p) of the model's own most probable tokens, best first


@dataclass
class _Row:
    request: int
    member: int
    prompt: Sequence[int]
    room: int  # tokens it may draw; forced ones are no part of it
    left: int  # tokens of the context
    random: np.random.Generator
    slot: int = -1
    ids: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    top: list[np.ndarray] = field(default_factory=list)
    queue: deque[int] = field(default_factory=deque)  # forced tokens to come

    def write(
        self, drawn: int, logp: float, top: np.ndarray | None, ends: frozenset[int], after: After | None
    ) -> Stop | None:
        """The next token: the drawn one, or the next forced one; returns why the row ends with it, if it does."""
        forced = bool(self.queue)
        token = self.queue.popleft() if forced else drawn
        self.ids.append(token)
        self.logp.append(0.0 if forced else logp)
        self.forced.append(forced)
        if top is not None:
            self.top.append(top)
        self.room -= not forced
        if token in ends and not forced:
            return "end"
        if len(self.ids) >= self.left:
            return "length" if self.room < 1 else "context"
        if after and not forced:
            self.queue.extend(after(self.request, self.ids))
        return "length" if self.room < 1 and not self.queue else None

    def reply(self, stop: Stop, top: int) -> Reply:
        said = np.array(self.top, np.float32).reshape(len(self.ids), top, 2)
        ids, logp = np.array(self.ids, np.int32), np.array(self.logp, np.float32)
        return Reply(self.request, self.member, ids, logp, np.array(self.forced, bool), stop, said)


@dataclass(eq=False)
class _Prefilled:
    """A request after its prompt's forward pass: keys and values of each layer [1, H, T, D], the last logits [V]."""

    layers: list[list[mx.array]]
    logits: mx.array
    rows: deque[_Row]


def _rows(number: int, asked: Request, sampling: Sampling, context: int) -> deque[_Row]:
    """The rows of a request; UserError for an empty prompt and impossible numbers."""
    if not len(asked.ids):
        raise UserError(f"prompt {number + 1} is empty; give at least one token")
    most = sampling.max_tokens if asked.max_tokens is None else asked.max_tokens
    if most < 1 or any(seed < 0 for seed in asked.seeds):
        raise UserError(f"prompt {number + 1}: give at least one token to write ({most}), and no seed below 0")
    left = context - len(asked.ids)
    return deque(
        _Row(number, member, asked.ids, most, left, np.random.default_rng(seed))
        for member, seed in enumerate(asked.seeds)
    )


def batchable(network: Any) -> bool:
    """Whether rows can share a batch: every layer keeps plain keys and values (no windows, no states), and the network
    takes a position for each row, which is tried (mlx_lm's gpt_bigcode does not)."""
    if isinstance(network, Transformer):
        return True
    if any(type(c).__name__ != "KVCache" for c in new_cache(network)):
        return False
    trial = Batch(network, Sampling(temp=0, max_tokens=2), frozenset(), rows=2)
    trial.add(Request([0])), trial.add(Request([0, 0]))
    try:
        while trial.busy:
            trial.step()
    except (ValueError, TypeError):
        return False
    return True


class Batch:
    """The engine behind `sample`: `add` requests, `step` until not `busy`; each step gives the replies it finished.

    At most `rows` decode at a time; the network must be `batchable`. `after(request, ids)` is asked after every token a row
    drew, and returns the tokens to force next; ids in `banned` are never drawn. All work stays on the calling thread.
    """

    def __init__(
        self,
        network: Any,
        sampling: Sampling,
        ends: frozenset[int],
        context: int = 1 << 30,
        rows: int = 32,
        top: int = 0,
        after: After | None = None,
        banned: Collection[int] = (),
    ):
        self.network, self.sampling, self.ends, self.context = network, sampling, ends, context
        self.rows, self.top, self.after, self.banned = max(1, rows), top, after, banned
        self.waiting: deque[deque[_Row]] = deque()  # the rows of one request stay together
        self.ready: deque[_Prefilled] = deque()
        self.slots: list[_Row | None] = []
        self.finished: list[Reply] = []
        self.count = 0  # requests so far
        self.prefilled = 0  # prompt tokens that went through the network
        self.place = Place()
        self.cache = [Slots(self.place) for _ in new_cache(network)]
        self.room = 0  # tokens a slot holds

    def add(self, request: Request) -> int:
        """Queue a request; returns its number. UserError for an empty prompt. One that leaves no room in the context ends
        at once, without a token."""
        self.waiting.append(_rows(self.count, request, self.sampling, self.context))
        self.count += 1
        return self.count - 1

    @property
    def live(self) -> list[_Row]:
        """Rows that are being written."""
        return [row for row in self.slots if row is not None]

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self.waiting or self.ready or self.live or self.finished)

    def cancel(self, request: int) -> None:
        """End a request; what its rows have written comes out with the next step."""
        gone = [row for rows in self.waiting for row in rows] + [row for group in self.ready for row in group.rows]
        for row in [row for row in (*self.live, *gone) if row.request == request]:
            if row.slot >= 0:
                self.slots[row.slot], row.slot = None, -1
            self.finished.append(row.reply("cancelled", self.top))
        self.waiting = deque(rows for rows in self.waiting if not rows or rows[0].request != request)
        self.ready = deque(group for group in self.ready if group.rows[0].request != request)

    def step(self) -> list[Reply]:
        """Seat what waits, one token for every row; the replies that are whole now."""
        self._fill()
        if self.live:
            logits = self._forward()  # first: it may arrange the slots anew
            self._take(list(self.slots), logits)
        done, self.finished = self.finished, []
        return done

    # -- rows come -------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Seat waiting rows when an eighth of the slots is free: prompts prefilled together cost less than one by one.
        Where nobody waits, drop the empty slots once they are a quarter."""
        live, wanted = len(self.live), self.rows - len(self.live)
        if not (self.waiting or self.ready):
            if live and len(self.slots) - live >= max(1, len(self.slots) // 4):
                self._arrange()
            return
        if live and wanted < max(1, self.rows // 8):
            return
        chosen: list[deque[_Row]] = []
        coming = sum(len(p.rows) for p in self.ready)
        while self.waiting and coming < wanted:
            rows = self.waiting.popleft()
            if rows and rows[0].left < 1:
                self.finished += [row.reply("context", self.top) for row in rows]
            elif rows:
                chosen.append(rows)
                coming += len(rows)
        self._prefill(chosen)
        seated: list[tuple[_Row, _Prefilled]] = []
        while self.ready and len(seated) < wanted:
            group = self.ready[0]
            seated.append((group.rows.popleft(), group))
            if not group.rows:
                self.ready.popleft()
        if seated:
            self._seat(seated)
            self._take([row for row, _ in seated], mx.stack([group.logits for _, group in seated]))

    def _prefill(self, chosen: list[deque[_Row]]) -> None:
        """Forward passes over right-padded prompts, shortest first; padding comes after a row's tokens, so that causal
        attention never sees it."""
        chosen = sorted(chosen, key=lambda rows: len(rows[0].prompt))
        most = 4 * PREFILL if isinstance(self.network, Transformer) else PREFILL  # others give logits of every position
        while chosen:
            some, padding = chosen[:1], 0
            for rows in chosen[1:]:
                more = len(rows[0].prompt) - len(some[-1][0].prompt)
                padding += more * len(some)
                if padding > WASTE or len(rows[0].prompt) * (len(some) + 1) > most:
                    break
                some = [*some, rows]
            chosen = chosen[len(some) :]
            self._prefill_together(some)

    def _prefill_together(self, some: list[deque[_Row]]) -> None:
        lengths = [len(rows[0].prompt) for rows in some]
        ids = np.zeros((len(some), max(lengths)), np.int32)
        for i, rows in enumerate(some):
            ids[i, : lengths[i]] = np.asarray(rows[0].prompt, np.int32)
        cache = new_cache(self.network)
        last: list[mx.array | None] = [None] * len(some)
        for start in range(0, ids.shape[1], PREFILL):
            at = [min(max(length - 1 - start, 0), PREFILL - 1) for length in lengths]
            logits = last_logits(self.network, ids[:, start : start + PREFILL], cache, at)
            for i, length in enumerate(lengths):
                if start < length <= start + PREFILL:
                    last[i] = logits[i]
            mx.eval([x for x in last if x is not None], [c.state for c in cache])
        self.prefilled += sum(lengths)
        for i, rows in enumerate(some):
            layers = [[x[i : i + 1, :, : lengths[i]] for x in (c.keys, c.values)] for c in cache]
            logits_of = last[i]
            assert logits_of is not None
            self.ready.append(_Prefilled(layers, logits_of, rows))

    def _seat(self, coming: list[tuple[_Row, _Prefilled]]) -> None:
        """Put rows into free slots; into new arrays where there are too few of them, or too short ones."""
        if len(self.slots) - len(self.live) < len(coming) or any(len(row.prompt) >= self.room for row, _ in coming):
            self._arrange([row for row, _ in coming], coming[0][1].layers)
        free = iter([i for i, row in enumerate(self.slots) if row is None])
        for group, members in groupby(coming, key=lambda pair: pair[1]):
            slots = []
            for row, _ in members:
                row.slot = next(free)
                self.slots[row.slot] = row
                slots.append(row.slot)
            for layer, prompt in zip(self.cache, group.layers, strict=True):
                layer.seat(slots, prompt)

    def _arrange(self, coming: Sequence[_Row] = (), like: list[list[mx.array]] | None = None) -> None:
        """New arrays: slots for the live rows, in their order, and for those that come, long enough for what comes next."""
        keep = [i for i, row in enumerate(self.slots) if row is not None]
        live = self.live
        need = max(len(row.prompt) + len(row.ids) for row in (*live, *coming)) + 1
        self.room = max(self.room, need if need <= self.room else need + GROWTH)
        for i, layer in enumerate(self.cache):
            layer.arrange(keep, len(live) + len(coming), self.room, like[i] if like else layer.held)
        for i, row in enumerate(live):
            row.slot = i
        self.slots = [*live, *[None for _ in coming]]

    # -- rows are written --------------------------------------------------------------------------------------------

    def _take(self, rows: Sequence[_Row | None], logits: mx.array) -> None:
        """Draw the next token of each row from logits [len(rows), V]; rows that end with it leave."""
        drawn, said, top = _drawn(rows, logits, self.sampling, self.top, self.banned)
        for i, row in enumerate(rows):
            if row is None or row.slot < 0:  # empty, or cancelled by `after` a moment ago
                continue
            stop = row.write(int(drawn[i]), float(said[i]), None if top is None else top[i], self.ends, self.after)
            if stop:
                self.slots[row.slot] = None
                self.finished.append(row.reply(stop, self.top))

    def _forward(self) -> mx.array:
        """Logits [slots, V] after the last token of every row; those of an empty slot mean nothing."""
        if max(len(row.prompt) + len(row.ids) for row in self.live) > self.room:
            self._arrange()
        tokens, position = np.zeros((len(self.slots), 1), np.int32), np.zeros(len(self.slots), np.int32)
        for row in self.live:
            tokens[row.slot, 0] = row.ids[-1]
            position[row.slot] = len(row.prompt) + len(row.ids) - 1
        width = int(position.max()) + 1
        seen = np.arange(width) <= position[:, None]
        self.place.position, self.place.width = mx.array(position), width
        self.place.mask = None if seen.all() else mx.array(seen[:, None, None])
        return self.network(mx.array(tokens), cache=self.cache)[:, -1]


def _drawn(
    rows: Sequence[_Row | None], logits: mx.array, sampling: Sampling, top: int, banned: Collection[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(ids [B], logp [B], the model's own best (id, p) [B, top, 2] or None)."""
    uniform = np.array([row.random.random() if row else 0.0 for row in rows])
    said = barred(logits, banned)
    if sampling.repetition_penalty != 1:  # a list of all ids a row, each token: only where it is looked at
        recent = [sampling.recent([*row.prompt, *row.ids]) if row else () for row in rows]
        said = penalised(said, recent, sampling.repetition_penalty)
    ids, logp = draw(said, uniform, sampling)
    return ids, logp, own(logits, ids, top)[1] if top else None


def _singly(
    network: Any, requests: Iterable[Request], sampling: Sampling, ends: frozenset[int], context: int, top: int,
    after: After | None, banned: Collection[int],
) -> Iterator[Reply]:  # fmt: skip
    """One row at a time with the network's own caches."""
    for number, request in enumerate(requests):
        for row in _rows(number, request, sampling, context):
            cache, feed = new_cache(network), list(row.prompt)
            stop: Stop | None = "context" if row.left < 1 else None
            while stop is None:
                for start in range(0, len(feed), PREFILL):
                    chunk = feed[start : start + PREFILL]
                    logits = last_logits(network, np.array([chunk], np.int32), cache, [len(chunk) - 1])
                    mx.eval(logits)
                drawn, said, best = _drawn([row], logits, sampling, top, banned)
                stop = row.write(int(drawn[0]), float(said[0]), None if best is None else best[0], ends, after)
                feed = row.ids[-1:]
            yield row.reply(stop, top)


def sample(
    network: Any,
    requests: Iterable[Request],
    sampling: Sampling,
    ends: frozenset[int],
    context: int = 1 << 30,
    rows: int = 32,
    top: int = 0,
    after: After | None = None,
    banned: Collection[int] = (),
) -> Iterator[Reply]:
    """Replies to many requests, each as soon as it is whole; see Batch. Closing the iterator cancels the rest."""
    if not batchable(network):
        yield from _singly(network, requests, sampling, ends, context, top, after, banned)
        return
    batch = Batch(network, sampling, ends, context, rows, top, after, banned)
    for request in requests:
        batch.add(request)
    while batch.busy:
        yield from batch.step()


def complete(
    network: Any, prompts: Iterable[Sequence[int]], max_tokens: int, ends: frozenset[int], batch: int = 64
) -> list[list[int]]:
    """Greedy continuations (END left out) of many prompts, in their order."""
    out: list[list[int]] = []
    requests = []
    for ids in prompts:
        out.append([])
        requests.append(Request(ids))
    for reply in sample(network, requests, Sampling(temp=0, max_tokens=max_tokens), ends, rows=batch):
        said = reply.ids.tolist()
        out[reply.request] = said[:-1] if reply.stop == "end" else said
    return out
