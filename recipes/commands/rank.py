"""Rank replies of a model, best to worst: the first step of learning from people.

Each prompt is shown with five different replies of the model, in the order they were drawn. Type their letters, best first:
`b d a=c e` says that a and c are equally good. u takes the last ranking back (also one of yesterday), s skips, q leaves;
the same command goes on. All of it is lines at the end of one file, which `lab reward-model` reads; a ranking of five is
ten pairs for it. Replies that were cut before their end, and ones that say the same, are drawn again.

Prompts are the pocket world's: 1,000 different ones, topic x style x setting of a joke; one in ten is held out (--data: your
own, also one in ten). --by gold ranks jokes with the hidden judge of the pocket world, whose mood is N(0, --noise^2) on the
quality of each joke: so not even a predictor that knows all qualities agrees with more pairs than the ceiling printed at the
end. --by MODEL lets a model judge each pair in both orders (lab judge): the order is by the sum of its probabilities.

Examples:
  lab rank                                                rank jokes of pocket-sft yourself
  lab rank --by gold --out jokes.jsonl                    1,000 rankings by a scripted person
  lab rank --model mine --data prompts.jsonl --samples 4  your own prompts: rows {"prompt": text or messages}
  lab rank --by HuggingFaceTB/SmolLM2-1.7B-Instruct --prompts 200 --out judged.jsonl
  printf 'b d a=c e\\nq\\n' | lab rank
"""

import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.display import CONTROLS, bar
from lab.errors import UserError, expand
from lab.judge import Judge, Pair
from lab.letters import LETTERS, MOST, from_letters, to_letters
from lab.rankings import PERSON, Ranking, Writer, held_out, key_of, new_id, path_of, read_file, row_of, text_of
from lab.weights import Model
from recipes.commands.generate import open_model
from recipes.ranking import Asked, Shown, Source, prompts

AHEAD, CHUNK = 8, 64  # prompts sampled at once: so that a person need not wait, and for a scripted judge
HELP = """letters  best to worst, such as  b d a=c e  (a and c equally good)
u  take the last ranking back     s  skip this prompt     q  leave (so does Ctrl-D); the same command goes on"""


@dataclass(frozen=True)
class Config:
    model: str = "pocket-sft"
    """Whose replies are ranked: a run, a folder, run@step, a hub id or a .gguf file."""
    out: str | None = None
    """The file that rankings are added to; without it rankings.jsonl in the weights folder."""
    by: str | None = None
    """Who ranks: you, `gold` (the hidden judge of the pocket's jokes) or a model."""
    noise: float = 0.5
    """With --by gold: standard deviation of its mood, in units of quality."""
    data: str | None = None
    """Your own prompts: .jsonl or .parquet rows {"prompt"} (text or messages), or {"messages"} that end with the user."""
    prompts: int = 1000
    """Different prompts, at most as many as there are (jokes: 1,600)."""
    samples: int = 5
    """Replies to a prompt."""
    temp: float = 1.0
    """Temperature of the replies."""
    max_tokens: int = 128
    """Longest reply; one that is cut is drawn again."""
    seed: int = 0
    """The same seed gives the same prompts, replies and moods."""


def run(config: Config) -> int:
    _check(config)
    out = (expand(config.out) if config.out else path_of()).resolve()
    if not out.parent.is_dir():
        raise UserError(f"--out {config.out}: no folder {out.parent}; make it first")
    with Writer(out) as writer:
        return _rank(config, writer)


def _rank(config: Config, writer: Writer) -> int:
    out, model = writer.path, open_model(config.model, None)
    asked = prompts(model, config.data, config.prompts, config.seed)
    source = Source(model, config.samples, config.temp, config.max_tokens, config.seed)
    mine = [
        one for one in read_file(out) if one.by == (config.by or PERSON) and one.model == model.name and not one.repeat
    ]
    if config.by == "gold" and any(one.noise != config.noise for one in mine):
        raise UserError(f"{out}: holds rankings by gold with another --noise; name a new file with --out")
    done = {one.key for one in mine}
    todo = [one for one in asked if key_of(one.prompt) not in done]
    if done:
        print(f"{out}: {len(done):,} prompts are ranked, {len(todo):,} to go", file=sys.stderr)
    if config.by is None:
        return Table(config, source, writer, mine, todo, len(asked)).serve()
    script(config, source, writer, todo)
    summary([one for one in read_file(out) if one.by == config.by and one.model == model.name], out)
    return 0


def _check(config: Config) -> None:
    if not 2 <= config.samples <= MOST:
        raise UserError(f"--samples {config.samples}: give 2 to {MOST}")
    for name in ("prompts", "max_tokens"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    if not 0 < config.temp <= 5:
        raise UserError(f"--temp {config.temp}: must lie above 0 and at most 5; greedy replies are all alike")
    if not 0 <= config.noise < 1e3:
        raise UserError(f"--noise {config.noise}: must be 0 or more")
    if config.by == "gold" and config.data:
        raise UserError("--by gold knows the pocket world's jokes alone; leave out --data, or rank by yourself")
    if config.by == PERSON:
        raise UserError(f"--by {PERSON}: that is you; leave out --by")
    if config.by is None and sys.stdin is None:
        raise UserError("standard input is closed, so nobody can rank; start it in a terminal, or give --by")


# -- scripted ----------------------------------------------------------------------------------------------------------

Order = tuple[list[int], list[list[int]], float | None]


def script(config: Config, source: Source, writer: Writer, todo: Sequence[Asked]) -> None:
    """Rank all of them by gold or by a model; each chunk is on the disk when the next begins."""
    judges = by_gold(config) if config.by == "gold" else by_model(config)
    with bar(f"{source.model.name} by {config.by}", "ranks", len(todo) * 1_000_000, "prompts") as tell:
        for start in range(0, len(todo), CHUNK):
            clock = time.perf_counter()
            some = list(source.shown(todo[start : start + CHUNK], CHUNK))
            orders = judges(some)
            spent = (time.perf_counter() - clock) / max(1, len(some))
            made = [
                ranked(config, source.model, one, order, ties, spent, ceiling)
                for one, (order, ties, ceiling) in zip(some, orders, strict=True)
                if order
            ]
            if missing := len(some) - len(made):
                print(f"left out: {missing} prompts whose pairs do not fit into the judge's context", file=sys.stderr)
            writer.append([row_of(one) for one in made])
            tell(min(len(todo), start + CHUNK) * 1_000_000)


def ranked(
    config: Config, model: Model, one: Shown, order: list[int], ties: list[list[int]], seconds: float,
    ceiling: float | None = None,
) -> Ranking:  # fmt: skip
    """A ranking as it is kept."""
    known = None if ceiling is None or not np.isfinite(ceiling) else round(ceiling, 4)
    return Ranking(
        one.asked.prompt, one.options, order, ties, new_id(), round(seconds, 3), model.name, config.seed,
        config.by or PERSON, round(time.time(), 3), one.asked.split, config.noise if config.by == "gold" else None, known,
    )  # fmt: skip


def by_gold(config: Config) -> Callable[[Sequence[Shown]], list[Order]]:
    """The hidden judge of jokes, in a mood."""
    from recipes import gold_judge

    def judge(some: Sequence[Shown]) -> list[Order]:
        return [
            gold_judge.ranked(one.asked.prompt, one.options, config.noise, f"{config.seed} {key_of(one.asked.prompt)}")
            for one in some
        ]

    return judge


def by_model(config: Config) -> Callable[[Sequence[Shown]], list[Order]]:
    """A model on every pair, in both orders; best is what it prefers most in sum. No order where a
    pair does not fit into its context."""
    assert config.by is not None
    model = Judge(open_model(config.by, None))

    def judge(some: Sequence[Shown]) -> list[Order]:
        places = [[(i, j) for i in range(len(o)) for j in range(i + 1, len(o))] for _, o in some]
        pairs = [
            Pair(text_of(one.asked.prompt), one.options[i], one.options[j])
            for one, ij in zip(some, places, strict=True)
            for i, j in ij
        ]
        told = iter(model.preferences(pairs))
        orders: list[Order] = []
        for one, ij in zip(some, places, strict=True):
            sums, whole = np.zeros(len(one.options)), True
            for (i, j), said in zip(ij, [next(told) for _ in ij], strict=True):
                whole &= said is not None
                p = said.p if said else 0.5
                sums += np.eye(len(sums))[i] * p + np.eye(len(sums))[j] * (1 - p)
            orders.append(([int(i) for i in np.argsort(-sums, kind="stable")] if whole else [], [], None))
        return orders

    return judge


def summary(found: Sequence[Ranking], out: Path) -> None:
    """What the file holds now."""
    for name, held in (("to train on", False), ("held out", True)):
        some = [one for one in found if one.pairs and held_out(one) == held]
        known = [(one.ceiling, len(one.pairs)) for one in some if one.ceiling is not None]
        top = sum(c * n for c, n in known) / max(1, sum(n for _, n in known))
        more = f"; ceiling of pair accuracy {top:.3f} (what its noise leaves to a perfect predictor)" if known else ""
        print(f"{name}: rankings {len(some):,}, pairs {sum(len(one.pairs) for one in some):,}{more}")
    if found:
        print(f"Written to {out}; train on them: lab reward-model --rankings {out}")


# -- a person ----------------------------------------------------------------------------------------------------------


class Table:
    """A person, one prompt after another. What was ranked is on the disk before the next prompt is shown."""

    def __init__(
        self, config: Config, source: Source, writer: Writer, mine: Sequence[Ranking], todo: Sequence[Asked], of: int
    ):
        self.config, self.source, self.writer, self.of = config, source, writer, of
        self.mine = list(mine)  # oldest first; u takes the last one back
        self.coming = source.shown(todo, AHEAD)
        self.again: list[Shown] = []  # taken back, to be ranked once more
        self.now: Shown | None = None
        self.since = time.monotonic()

    def next(self) -> None:
        """The next prompt is shown; none when all are ranked."""
        self.now = self.again.pop() if self.again else next(self.coming, None)
        self.since = time.monotonic()

    def keep(self, order: list[int], ties: list[list[int]]) -> None:
        """Write the ranking of the prompt that is shown ([]: skipped)."""
        assert self.now is not None
        one = ranked(self.config, self.source.model, self.now, order, ties, time.monotonic() - self.since)
        self.writer.append([row_of(one)])
        self.mine.append(one)
        self.next()

    def undo(self) -> None:
        """Take the last ranking back and show its prompt again. ValueError where there is none."""
        if not self.mine:
            raise ValueError("there is no ranking of yours to take back")
        last = self.mine.pop()
        self.writer.undo(last.id)
        if self.now is not None:
            self.again.append(self.now)
        self.again.append(Shown(Asked(last.prompt, last.split), last.options))
        self.next()

    def serve(self) -> int:
        """Ask until all are ranked, or the person leaves."""
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        print("letters best to worst, such as  b d a=c e ; ? for help, q leaves", file=sys.stderr)
        asking = sys.stdin.isatty()
        self.next()
        self._show()
        while self.now is not None:
            try:
                line = input("best to worst> " if asking else "").strip()
            except EOFError:
                break
            if line in ("q", "quit", "exit"):
                break
            try:
                if line in ("?", "h", "help"):
                    print(HELP, file=sys.stderr)
                    continue
                if not line:
                    continue
                self._obey(line)
            except ValueError as error:
                print(error, file=sys.stderr)
                continue
            self._show()
        summary(self.mine, self.writer.path)
        return 0

    def _obey(self, line: str) -> None:
        assert self.now is not None
        if line == "u":
            self.undo()
        elif line == "s":
            self.keep([], [])
        else:
            order, ties = from_letters(line, len(self.now.options))
            print(f"  {to_letters(order, ties)}", file=sys.stderr)
            self.keep(order, ties)

    def _show(self) -> None:
        """How far it is, the prompt, the replies."""
        if self.now is None:
            return
        count = sum(1 for one in self.mine if one.order)
        took = [one.seconds for one in self.mine if one.seconds is not None and one.order]
        pace = f", {np.median(took):.0f} s each" if took else ""
        pairs = sum(len(one.pairs) for one in self.mine)
        print(f"\n[{count:,} of {self.of:,} ranked, {pairs:,} pairs{pace}]")
        print(text_of(self.now.asked.prompt).translate(CONTROLS))
        for letter, option in zip(LETTERS, self.now.options, strict=False):
            print(f"  {letter}  {option.translate(CONTROLS)}")
        sys.stdout.flush()
