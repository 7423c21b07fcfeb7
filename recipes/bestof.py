"""Many replies of a model to held-out prompts, each with the score of a reward model (the proxy) and its worth (gold): what
best-of-n makes of them. It measures; nothing that trains learns from what is found here.

Gold is the hidden judge of the pocket world's jokes, or a better reward model that stands for people (as in Gao et al. 2022,
arXiv:2210.10760).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab import rankings, read, reward
from lab.batch import Request
from lab.display import bar
from lab.errors import UserError, expand
from lab.rankings import Prompt, key_of
from lab.reward import RewardModel
from lab.rollout import seed_of
from lab.weights import Model
from recipes import gold_judge
from recipes.commands.generate import open_model
from recipes.ranking import ROUNDS, whole
from recipes.taste import prompt_of, sides

AT_ONCE = 512  # replies between two signs of life
MILLION = 1_000_000  # a bar counts in these
Worth = Callable[[Prompt, Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Told:
    """Replies to one prompt as they were drawn, alike ones as often as they came: `proxy` and `gold` float64 [N]."""

    prompt: Prompt
    texts: list[str]
    proxy: np.ndarray
    gold: np.ndarray


def worth(asked: Sequence[Prompt], texts: Sequence[str]) -> np.ndarray | None:
    """The hidden quality of one reply to each prompt, float64 [N]; None where a prompt asks for no joke."""
    try:
        return np.array(
            [float(gold_judge.scores(prompt, [text])[0]) for prompt, text in zip(asked, texts, strict=True)]
        )
    except ValueError:
        return None


def measure(gold: str | None, data: str | None) -> tuple[Worth, str]:
    """(what says how good replies are, its name): a reward model by name, or without one the hidden judge of the jokes.
    UserError where nobody knows."""
    if gold is not None:
        judge = reward.load(gold)
        return (lambda prompt, texts: scored(judge, prompt, texts)), judge.model.name
    if data is not None:
        raise UserError(
            "--data: nothing here knows how good these replies are; name a better reward model that is to stand for people "
            "(--gold NAME)"
        )
    return gold_judge.scores, "the hidden judge"


def policy_of(rm: RewardModel) -> str:
    """Whose replies a reward model learnt to judge. UserError where its folder does not say."""
    name = rm.about.get("policy")
    if not isinstance(name, str):
        raise UserError(f"{rm.model.name}: does not say whose replies it judges; name a --model")
    return name


def scored(rm: RewardModel, prompt: Prompt, texts: Sequence[str]) -> np.ndarray:
    """Rewards of replies, float64 [N]; what is said twice is computed once."""
    known = list(dict.fromkeys(texts))
    found = rm.scores([rm.encode(prompt, text) for text in known]).astype(np.float64)
    at = {text: i for i, text in enumerate(known)}
    return found[[at[text] for text in texts]]


# -- drawing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Where replies come from, and the file that keeps them (None: none does)."""

    model: str
    data: str | None
    prompts: int
    samples: int
    temp: float
    max_tokens: int
    seed: int
    file: Path | None

    def asked(self, model: Model) -> list[Prompt]:
        """Prompts that rankings and reward models hold out as well."""
        return [prompt_of(one) for one in sides(model, self.data)[1][: self.prompts]]

    def replies(self) -> Iterator[tuple[Prompt, list[str]]]:
        """Prompts with their replies, each as soon as it is known. Whole replies alone: one that is cut has no END to score,
        and is drawn again."""
        model = open_model(self.model, None)
        todo, kept = self.asked(model), self.read()
        known, left = ([one for one in todo if (key_of(one) in kept) == side] for side in (True, False))
        per, total = max(1, AT_ONCE // self.samples), len(todo) * self.samples
        with bar(model.name, "writes", total * MILLION, "replies") as tell:
            for done, prompt in enumerate(known, 1):
                yield prompt, kept[key_of(prompt)]
                tell(done * self.samples * MILLION)
            for at in range(0, len(left), per):
                some = left[at : at + per]
                texts = self.drawn(model, some)
                self.write(some, texts)
                for k, (prompt, said) in enumerate(zip(some, texts, strict=True), len(known) + at + 1):
                    yield prompt, said
                    tell(k * self.samples * MILLION)

    def drawn(self, model: Model, some: Sequence[Prompt]) -> list[list[str]]:
        """So many whole replies to each prompt. They follow from seed and prompt alone."""
        found: list[list[str]] = [[] for _ in some]
        for turn in range(ROUNDS):
            want = [i for i, have in enumerate(found) if len(have) < self.samples]
            requests = [
                Request(
                    reward.prompt_ids(model, some[i]),
                    [
                        seed_of(f"pool {self.seed} {key_of(some[i])}", turn, k)
                        for k in range(self.samples - len(found[i]))
                    ],
                )
                for i in want
            ]
            for i, texts in zip(want, whole(model, requests, self.temp, self.max_tokens), strict=True):
                found[i] += texts
        if min(map(len, found)) < self.samples:
            raise UserError(f"{model.name}: too few of its replies come to their end; raise --max-tokens")
        return found

    @property
    def made(self) -> dict[str, Any]:
        """What replies follow from."""
        return {"model": self.model, "seed": self.seed, "temp": self.temp, "max_tokens": self.max_tokens}

    def read(self) -> dict[str, list[str]]:
        """What the file keeps: replies by the prompt's key. UserError where they were drawn otherwise."""
        found: dict[str, list[str]] = {}
        if self.file is None or not self.file.exists():
            return found
        rankings.check(self.file)
        for number, row in read.objects(self.file):
            if isinstance(row, ValueError):
                continue  # a line that was cut; what it held is drawn again
            if not isinstance(row, dict) or not isinstance(row.get("options"), list):
                raise UserError(f"--pool {self.file}:{number}: no replies of a pool; name a new file")
            made = {name: row.get(name) for name in self.made}
            if made != self.made or len(row["options"]) < self.samples:
                raise UserError(
                    f"--pool {self.file}:{number}: drawn with {told(made)} and {len(row['options'])} samples; ask for "
                    f"the same, or name a new file"
                )
            found[key_of(row["prompt"])] = row["options"][: self.samples]
        return found

    def write(self, some: Sequence[Prompt], texts: Sequence[list[str]]) -> None:
        """Keep replies; they are on the disk when this returns."""
        if self.file is not None:
            rankings.append(
                self.file, [{"prompt": p, "options": o} | self.made for p, o in zip(some, texts, strict=True)]
            )


def told(made: dict[str, Any]) -> str:
    """Settings in words."""
    return ", ".join(f"{name} {value}" for name, value in made.items())


def pool(flags: Any, model: str) -> Pool:
    """The pool of a model's replies that a command's flags ask for. UserError for what cannot be."""
    for name, least in (("prompts", 2), ("samples", 2), ("max_tokens", 1)):
        if getattr(flags, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(flags, name)}: must be at least {least}")
    if not 0 < flags.temp <= 5:
        raise UserError(f"--temp {flags.temp}: must lie above 0 and at most 5; greedy replies are all alike")
    file = expand(flags.pool).resolve() if flags.pool else None
    if file is not None and not file.parent.is_dir():
        raise UserError(f"--pool {flags.pool}: no folder {file.parent}; make it first")
    return Pool(model, flags.data, flags.prompts, flags.samples, flags.temp, flags.max_tokens, flags.seed, file)


def judged(source: Pool, rm: RewardModel, gold: Worth) -> tuple[list[Told], bool]:
    """(all replies with proxy and gold, whether Ctrl-C ended it: then what there is so far)."""
    found: list[Told] = []
    try:
        for prompt, texts in source.replies():
            found.append(Told(prompt, texts, scored(rm, prompt, texts), np.asarray(gold(prompt, texts), np.float64)))
    except KeyboardInterrupt:
        if len(found) < 2:
            raise
        return found, True
    return found, False


# -- best of n ---------------------------------------------------------------------------------------------------------


def powers(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`."""
    return [2**i for i in range(most.bit_length())]


def best_of(n: int, by: np.ndarray, value: np.ndarray) -> float:
    """The expected `value` [N] of that of n replies which is highest in `by` [N], drawn without replacement from N >= n:
    the i-th lowest wins C(i - 1, n - 1) of C(N, n) draws (the unbiased estimate of Hilton and Gao 2022,
    openai.com/research/measuring-goodharts-law). Equal ones share what they win."""
    chance = chances(len(by), n)
    order = np.argsort(by, kind="stable")
    _, group = np.unique(by[order], return_inverse=True)
    shared = np.bincount(group, value[order]) / np.bincount(group)
    return float(chance @ shared[group])


def chances(total: int, n: int) -> np.ndarray:
    """How often the i-th lowest of `total` is the highest of n, float64 [total]; sums to 1."""
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} of {total} replies")
    found = np.zeros(total)
    found[-1] = n / total
    for i in range(total - 1, n - 1, -1):  # C(i - 1, n - 1) = C(i, n - 1) * (i - n + 1) / i
        found[i - 1] = found[i] * (i - n + 1) / i
    return found


def divergence(n: int) -> float:
    """KL of best-of-n from the model itself, nats: log n - (n - 1) / n (Stiennon et al. 2020, arXiv:2009.01325); where
    replies come twice it is less (Beirami et al. 2024, arXiv:2401.01879)."""
    return math.log(n) - (n - 1) / n


def scale(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """(mean, standard deviation) of all of them; a flat one has deviation 1."""
    every = np.concatenate(values)
    return float(every.mean()), float(every.std()) or 1.0


def most_gamed(found: Sequence[Told], n: int) -> tuple[Prompt, str, float, float]:
    """Of the first n replies to each prompt the one with the highest proxy; of these, where proxy says most more than gold,
    each in standard deviations of all replies: (prompt, text, proxy, gold)."""
    (pm, ps), (gm, gs) = scale([one.proxy for one in found]), scale([one.gold for one in found])
    best = []
    for one in found:
        at = int(np.argmax(one.proxy[:n]))
        proxy, gold = (one.proxy[at] - pm) / ps, (one.gold[at] - gm) / gs
        best.append((one.prompt, one.texts[at], float(proxy), float(gold)))
    return max(best, key=lambda one: one[2] - one[3])
