"""Runs that tried something: replies of the little model of tests/callers.py, sampled, judged and written as lab.rollout and
lab.episodes do it; and a few replies with round figures, for pictures."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab import chat, episodes, weights
from lab.advantage import centred
from lab.calls import Toolbox
from lab.parts import Message, Part, plain
from lab.rollout import Episode, episode_row, rollout
from lab.sample import Sampling
from lab.samples import Sample
from lab.task import Problem, Score, asked
from lab.tokenizer import Tokenizer
from lab.tools import Python, Search
from tests import callers
from tests.tui.conftest import make_run

ASKED = {callers.asks(name): symbol for name, symbol in callers.SYMBOLS.items()}
ASKED |= {callers.counts(word): str(word.count(letter)) for word, letter in callers.WORDS.items()}
FRUIT = "Emily buys 3 apples and 2 oranges for 13 dollars. An orange is 2 dollars. What is an apple?"
NOTES = {"words": 4.0}
WANDERS = "3 apples and 2 oranges are 5 fruits. 13 / 5 is 2.6. Wait, 13 - 2 is 11. So"


class Symbols:
    """Questions that the little model half knows; a search costs something."""

    name = "symbols"

    def problem(self, seed: int) -> Problem:
        question, answer = list(ASKED.items())[seed % len(ASKED)]
        return Problem(f"symbols:{seed % len(ASKED)}", asked(question), answer)

    def held_out(self, seed: int) -> Problem:
        raise LookupError

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        return [self._score(problem, reply) for problem, reply in zip(problems, replies, strict=True)]

    def _score(self, problem: Problem, reply: Message) -> Score:
        right = bool(re.search(rf"\b{re.escape(problem.answer)}\b", plain(reply)))
        calls = sum(part["type"] == "call" for part in chat.parts(reply))
        return Score({"correct": float(right), "price": -0.1 * calls}, {"words": float(len(plain(reply).split()))})


def sampled(caller: Path, name: str = "grpo-1", steps: Sequence[int] = (1, 2, 3), k: int = 4) -> Path:
    """A run with real replies: `k` to each question at each step, the first step's model as the reference."""
    folder = make_run(name, steps=max(steps), recipe="grpo")
    model = weights.load(caller / "caller")
    for file in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        if (caller / "caller" / file).exists():
            (folder / file).write_bytes((caller / "caller" / file).read_bytes())
    task = Symbols()
    with Search(caller / "metals.db") as search, Python() as code:
        tools = Toolbox(model.tokenizer, [search, code], result_tokens=24)
        for step in steps:
            problems = [task.problem(i) for i in range(len(ASKED))]
            groups = rollout(
                model, task, problems, k, Sampling(temp=1.6, max_tokens=40), seed=f"{name}:{step}", tools=tools
            )
            rows = list[dict[str, Any]]()
            for number, group in enumerate(groups):
                for member, (one, advantage) in enumerate(
                    zip(group, centred([e.score.value for e in group]), strict=True)
                ):
                    one.advantage = advantage
                    assert one.sample.logp is not None
                    one.reference = one.sample.logp - 0.25 * (step - 1)
                    rows.append(episode_row(one, model.tokenizer, step, number, member))
            write(folder, step, rows)
    return folder


def write(folder: Path, step: int, rows: Sequence[dict[str, Any]]) -> None:
    """A step's file."""
    path = episodes.path_of(folder, step)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(map(episodes.line, rows)), encoding="utf-8")


def said(
    tokenizer: Tokenizer, problem: Problem, reply: Message, score: Score, seed: int = 0, stop: str = "end", **extra: Any
) -> Episode:  # fmt: skip
    """A reply that was not sampled, with figures that are the same everywhere: each token's are made of its place."""
    ids, weight = chat.render(tokenizer, [*problem.messages, reply])
    start = len(chat.prompt(tokenizer, problem.messages))
    drawn, place = np.array(weight, np.float32), np.arange(len(ids), dtype=np.float32)
    logp = -((place * 7 + seed) % 10) / 5 * drawn
    reference = logp[:] - (((place + seed) % 5) - 2) / 4 * drawn
    sample = Sample(np.array(ids, np.int32), drawn, logp)
    return Episode(problem, seed, sample, start, reply, score, stop, 0.0, reference, extra)  # type: ignore[arg-type]


def picture(tokenizer: Tokenizer, name: str = "grpo-1", steps: Sequence[int] = (10, 20, 30)) -> Path:
    """A run whose every figure is known: three prompts, four replies each, at some steps."""
    folder = make_run(name, steps=30, recipe="grpo")
    tokenizer.save(folder)
    fruit = Problem(
        "fruit:7",
        asked(FRUIT),
        "3",
    )
    capital = Problem("capital:1", asked("What is the capital of France?"), "Paris")
    sums = Problem("sum:4", asked("17 + 48 = ?"), "65")
    think = Part(type="think", text="Oranges are 2*2 = 4. 13 - 4 = 9, 9 / 3 = 3.")
    code = [Part(type="call", tool="code", text="(13-2*2)/3"), Part(type="result", text="3.0")]
    replies: list[tuple[Problem, list[tuple[list[Part] | str, dict[str, float], str]]]] = [
        (fruit, [
            ([think, Part(type="text", text="The answer is 3.")], {"correct": 1.0, "price": 0.0}, "end"),
            ([*code, Part(type="text", text="The answer is 3.")], {"correct": 1.0, "price": -0.1}, "end"),
            ("The answer is 5 because 13 / 3 is about 5.", {"correct": 0.0, "price": 0.0}, "end"),
            (WANDERS, {"correct": 0.0, "price": 0.0}, "length"),
        ]),
        (capital, [("It is Paris.", {"correct": 1.0, "price": 0.0}, "end")] * 4),
        (sums, [("It is 55.", {"correct": 0.0, "price": 0.0}, "end")] * 4),
    ]  # fmt: skip
    for step in steps:
        rows = []
        for number, (problem, some) in enumerate(replies):
            made = [
                said(tokenizer, problem, Message(role="assistant", content=reply), Score(parts, NOTES), at + step, stop)
                for at, (reply, parts, stop) in enumerate(some)
            ]  # fmt: skip
            for member, (one, advantage) in enumerate(zip(made, centred([e.score.value for e in made]), strict=True)):
                one.advantage = advantage
                rows.append(json.loads(episodes.line(episode_row(one, tokenizer, step, number, member))))
        write(folder, step, rows)
    return folder
