"""A model learns to compute with Python instead of by head: counting letters, sums of any size, decimals, word problems.

It sees tokens, not letters, and one pass through its layers holds little arithmetic: so it writes one line of code, a
sandbox runs it (pydantic-monty, no files, no network, a second of time), and the result enters as forced tokens. Errors
come back as results too, and are answered.

Expected, pocket preset, 1,300 steps (seeds 0 / 1; 15 to 16 CPU-minutes on one of two busy cores), by head before and with code
after: sums of three and four digits .00 -> .91 / .90; decimals .36-.73 / .22-.68 -> .99-1.00 by kind of pair; letters of words
no lesson counts, each of 0 to 3 right as often, .30 / .26 -> .96 / .97 (a word is copied token by token; before lists of words
were copied into one call .90 / .92); word problems .02 -> .13 / .14, whose four to six numbers it does not carry over in
order. Asked for in eight other ways, which half of the lessons use, letters come out .96 / .93, typed in a hurry .95 / .93, in
six ways that no lesson has .56 / .43 (96 words each). A line that does not run is answered with "I do not know: my code did
not run."; without lessons about that it was answered with a number. The embeddings are left as they are.

Examples:
  lab code                                      pocket-search learns to compute
  lab chat --model code-1 --code --search weights/code-1/pocket.db
  lab code --model smollm2.gguf --iters 60      a real model
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from lab import chat, talks
from lab.calls import Toolbox
from lab.chat import Message
from lab.hub_chat import offering
from lab.run import Run
from lab.tools import Python
from lab.weights import Model
from recipes import lessons, pocket, search, tuning
from recipes.estimate import Plan
from recipes.lessons import exam, letters
from recipes.tuning import CHARTS, Tuning

__all__ = ["CHARTS", "Config", "check", "plan", "run"]
ITERS = 1300
COMPUTING, SEARCHING, STRAIGHT, TOLD, REPLAY = 0.44, 0.15, 0.13, 0.15, 0.13  # shares of the lessons
PROMPTS = ("How many times does the letter r occur in strawberry?", "Which number is larger, 9.11 or 9.9?",
           "What is 4821 minus 377?", "What is the capital of France?")  # fmt: skip
check = tuning.check


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-search"
    """What learns to compute: a run, a folder, a hub id or a GGUF file that can chat."""
    labels: str | None = None
    """A knowledge.jsonl of lab interrogate: what it calls known is still answered straight (that of --model)."""


def run(config: Config, record: Run) -> None:
    """Questions -> code, what it gives, and the answer; scored on words, sums and pairs that no training holds."""
    model = tuning.open_model(config, tools=True)
    with Python() as tool:
        able = replace(model, tokenizer=offering(model.tokenizer, [tool.name]))  # told of it where it calls by JSON
        found = school(config, able, tool)
        prompts = [[Message(role="user", content=said)] for said in PROMPTS]
        before = tuning.once(record, "before", lambda: by_head(record, model))
        tuning.tune(
            tuning.still(config, model), record, able, found, config.iters or ITERS, prompts,
            exam=lambda: before | by_code(record, able, tool),
        )  # fmt: skip


def school(config: Config, model: Model, tool: Python) -> talks.Talks:
    """Lessons in computing, among those of before."""
    known = search.straight(config.labels, model, needed=False)
    mixed: search.Weighted = [(COMPUTING * share, lesson) for share, lesson in computing(tool)]
    mixed += search.beside(known, SEARCHING, STRAIGHT, TOLD, REPLAY)
    return talks.endless(
        "code" + json.dumps(known),
        lessons.mixed("code", mixed, search.JOINED),
        model.tokenizer,
        tuning.longest(config, model),
    )


def computing(tool: Callable[[str], str]) -> list[tuple[float, lessons.Lesson]]:
    """What is computed, in shares; `tool` is asked once for what it says to lines that do not run."""
    divided, errors = tool("1 / 0"), [tool(line) for line in letters.BROKEN]
    return [
        (0.27, lambda r: letters.counted(r, "code")),
        (0.05, lambda r: letters.reasoned(r, "code")),
        (0.17, letters.computed),
        (0.09, letters.compared),
        (0.03, lambda r: letters.failed(r, divided)),
        (0.03, lambda r: letters.broken(r, errors)),
        (0.06, letters.repeated),
        (0.12, letters.rewritten),
        (0.18, letters.listed),
    ]


def by_head(record: Run, model: Model) -> dict[str, float]:
    """The same questions before it can compute."""
    return _told(
        record, "by head (before)", {name: _share(model, asked, None) for name, asked in exams().items()}, "head"
    )


def by_code(record: Run, model: Model, tool: Python) -> dict[str, float]:
    """With the sandbox at hand."""
    with Toolbox(model.tokenizer, [tool]) as tools:
        figures = {name: _share(model, asked, tools) for name, asked in exams().items()}
    record.headline = f"counting {figures['counting']:.2f}, sums {figures['sums']:.2f}"
    return _told(record, "with code", figures, "code")


def exams(count: int = 200) -> dict[str, list[tuple[str, str]]]:
    """(question, answer) of each kind, none of them ever trained."""
    r = Random("code exam")
    counted = [letters.counting(r, "test") for _ in range(count)]
    found = {"counting": [(asked, str(word.count(letter))) for asked, word, letter in counted]}
    found["sums"] = [_sum(r) for _ in range(count)]
    problems = [pocket.problem(r.randrange(1 << 40), r.choice((3, 4, 5))) for _ in range(count)]
    found["problems"] = [(made.text, str(made.answer)) for made in problems]
    for pair in pocket.PAIRS:
        found[f"decimals, {pair}"] = [letters.larger(r, "test", pair) for _ in range(count // 2)]
    return found


def _sum(r: Random) -> tuple[str, str]:
    """Three to four digits mostly, none that a lesson had."""
    asked, _, value = letters.calculation(r, 9999, "test")
    return asked, value


def _share(model: Model, asked: Sequence[tuple[str, str]], tools: Toolbox | None) -> float:
    said = exam.replies(model, [question for question, _ in asked], tools=tools)
    right = [letters.final(chat.plain(reply)) == answer for reply, (_, answer) in zip(said, asked, strict=True)]
    return exam.mean(right)


def _told(record: Run, words: str, figures: dict[str, float], key: str) -> dict[str, float]:
    record.say(f"\n{words}: " + "; ".join(f"{name} {share:.2f}" for name, share in figures.items()))
    return {f"{name.replace(', ', '_').replace(' ', '_')}_{key}": share for name, share in figures.items()}


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.practice import practising  # it opens the model

    def rehearsed(model: Model, longest: int) -> talks.Talks:
        with Python() as tool:
            return school(config, model, tool)

    asked = sum(map(len, exams().values()))  # by head before, by code after
    return practising(
        config, rehearsed, lambda *_: config.iters or ITERS, len(PROMPTS), asked, before=asked, reply=None, tools=True
    )
