"""What is ranked: different prompts, and different whole replies of a model to each. `lab rank` shows them."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, NamedTuple

from lab import read, reward
from lab.batch import Request, sample
from lab.calls import banned
from lab.display import CONTROLS
from lab.errors import UserError
from lab.rankings import Prompt, key_of, ranking, text_of
from lab.rollout import seed_of
from lab.sample import Sampling
from lab.talks import Bad, Tally, fields
from lab.weights import Model
from recipes.pocket.jokes import joke_prompts

ROUNDS = 4  # times that replies are drawn for a prompt, where some are cut or say the same
ROWS = 64  # replies that are written at once
Split = Literal["train", "test"]


class Asked(NamedTuple):
    """A prompt, and the side it is on where that is known."""

    prompt: Prompt
    split: Split | None


class Shown(NamedTuple):
    """A prompt with the replies to rank."""

    asked: Asked
    options: list[str]


def jokes(model: Model, count: int, r: Random) -> list[Asked]:
    """Different requests for jokes; one in ten is of the split that no pretraining and no tuning ever asks. A chat model heard
    them with a full stop at the end, a base model with a colon."""
    sides: tuple[Split, ...] = ("test", "train")
    held = min(len(joke_prompts("test")), count // 10)
    found = []
    for split, many in zip(sides, (held, count - held), strict=True):
        every = joke_prompts(split)
        some = r.sample(every, min(many, len(every)))
        found += [Asked(p.replace(":", ".") if model.chats else p, split) for p in some]
    return r.sample(found, len(found))


def prompts(model: Model, data: str | None, count: int, seed: int) -> list[Asked]:
    """So many different prompts in an order of the seed: of the pocket world, or rows of the user's, of whom those that are
    none are told on stderr. UserError where there is none."""
    r = Random(f"rank {seed}")
    if data is None:
        return jokes(model, count, r)
    tally, kept = Tally(), dict[str, Asked]()
    for path in read.files(data)[0]:
        for number, row in read.objects(path):
            try:
                one = asked(row)
                reward.prompt_ids(model, one.prompt)
            except (Bad, UserError) as error:
                tally.add(f"{path.name}:{number}", error if isinstance(error, Bad) else Bad(str(error)))
                continue
            kept.setdefault(key_of(one.prompt), one)
    for reason, times in tally.bad.most_common():
        print(f"left out {times:,} rows: {reason}", file=sys.stderr)
    if not kept:
        raise UserError(f'{data}: no prompt in it; give rows {{"prompt": "..."}}')
    return r.sample(list(kept.values()), min(count, len(kept)))


def asked(row: Any) -> Asked:
    """The prompt of a row; Bad where there is none. Of a conversation the last reply is what the model is to say."""
    row = fields(row)
    given = row.get("prompt", row.get("messages"))
    if given is None:
        raise Bad('no "prompt"', f"it has: {', '.join(map(str, row))}")
    if isinstance(given, list) and given and isinstance(given[-1], dict) and given[-1].get("role") == "assistant":
        given = given[:-1]
    return Asked(ranking({"prompt": given, "options": ["a", "b"], "order": []}).prompt, None)


@dataclass(frozen=True)
class Source:
    """A model and how its replies are drawn."""

    model: Model
    samples: int
    temp: float
    max_tokens: int
    seed: int

    def shown(self, todo: Sequence[Asked], at_once: int) -> Iterator[Shown]:
        """Prompts with at least two replies, sampled so many at once; what has fewer is told on stderr."""
        for start in range(0, len(todo), at_once):
            some = todo[start : start + at_once]
            for one, options in zip(some, self.drawn(some), strict=True):
                if len(options) > 1:
                    yield Shown(one, options)
                    continue
                told = text_of(one.prompt).translate(CONTROLS)[:60]
                print(f"left out: {told!r}: its replies are cut (raise --max-tokens), or all the same", file=sys.stderr)

    def drawn(self, some: Sequence[Asked]) -> list[list[str]]:
        """Different whole replies to each prompt, at most `samples`; fewer where ROUNDS draws do not give as many. They
        follow from seed and prompt alone, so that a session that goes on shows the same."""
        found: list[dict[str, None]] = [{} for _ in some]
        ids = [reward.prompt_ids(self.model, one.prompt) for one in some]
        keys = [f"rank {self.seed} {key_of(one.prompt)}" for one in some]
        for turn in range(ROUNDS):
            want = [i for i, have in enumerate(found) if len(have) < self.samples]
            requests = [Request(ids[i], [seed_of(keys[i], turn, k) for k in range(self.samples)]) for i in want]
            for i, texts in zip(want, whole(self.model, requests, self.temp, self.max_tokens), strict=True):
                for text in texts:
                    if len(found[i]) < self.samples:
                        found[i].setdefault(text)
        return [list(texts) for texts in found]


def whole(model: Model, requests: Sequence[Request], temp: float, max_tokens: int) -> list[list[str]]:
    """The replies to each request that came to their end and say something, in the order of its seeds."""
    found: list[dict[int, str]] = [{} for _ in requests]
    tokenizer, sampling = model.tokenizer, Sampling(temp=temp, max_tokens=max_tokens)
    for reply in sample(
        model.network, requests, sampling, tokenizer.ends, model.context, ROWS, banned=banned(tokenizer)
    ):
        text = reward.said(model, reply.ids.tolist()) if reply.stop == "end" else ""
        if text:
            found[reply.request][reply.member] = text
    return [[texts[k] for k in sorted(texts)] for texts in found]
