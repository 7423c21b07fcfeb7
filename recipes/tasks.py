"""The tasks of the pocket world, by bare names, beside those that lab opens from files and libraries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random

from lab import verify
from lab.chat import Message, parts, plain
from lab.errors import UserError
from lab.task import Problem, Score, Task, asked
from recipes.lessons import facts, letters, solve
from recipes.pocket.people import Entity, fresh_person
from recipes.pocket.problems import problem
from recipes.pocket.seeds import generator

Made = tuple[str, str]  # question, answer
STRANGERS = 300
TRIES = 20  # seeds a problem is looked for among, where a small task gives the same ones again


@dataclass(frozen=True)
class Pocket:
    """Questions with one right number: `made(random, held_out)` gives one; what is held out is so by its own key."""

    name: str
    made: Callable[[Random, bool], Made]
    longest: int = 96  # tokens of a reply

    def problem(self, seed: int) -> Problem:
        """A problem to train on."""
        return self._problem(seed, False)

    def held_out(self, seed: int) -> Problem:
        """One that no training asks."""
        return self._problem(seed, True)

    def _problem(self, seed: int, held_out: bool) -> Problem:
        question, answer = self.made(generator(f"task {self.name} {held_out}", seed), held_out)
        return Problem(question, asked(question), answer)

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """1 where the reply's own text is the right number and nothing else; the style of a reply as a note. Taking the first
        number of any text, "50 + 13 - 13 is 12" counted as 50, and reinforcement learning finds that."""
        return [self._score(one, reply) for one, reply in zip(problems, replies, strict=True)]

    def _score(self, one: Problem, reply: Message) -> Score:
        said = plain(reply).rsplit("Answer:", 1)[-1].strip().removesuffix(".")
        style = solve.style(reply)
        notes = {f"style {name}": float(style == name) for name in solve.STYLES}
        return Score({"correct": float(said == one.answer)}, notes | _doings(reply))


def _doings(reply: Message) -> dict[str, float]:
    """Notes on any reply: whether it thinks, how many attempts its thought takes back, how often it calls a tool."""
    thinks = any(part["type"] == "think" and part["text"].strip() for part in parts(reply))
    calls = sum(part["type"] == "call" for part in parts(reply))
    return {"thinks": float(thinks), "retries": float(solve.tries(reply)), "calls": float(calls)}


def _problem(r: Random, held_out: bool) -> Made:
    made = solve.drawn(r, held_out)
    return made.text, str(made.answer)


def _longer(r: Random, held_out: bool) -> Made:
    """Five and six operations, more than any demonstration has."""
    made = problem(r.randrange(1 << 60), r.choice((5, 6)), "test" if held_out else "train")
    return made.text, str(made.answer)


def _counting(r: Random, held_out: bool) -> Made:
    asked, word, letter = letters.counting(r, "test" if held_out else "train")
    return asked, str(word.count(letter))


class Countdown:
    """Three numbers and a target to make out of them: any expression that is worth it is right. How often an attempt is taken
    back, and how right those are who do, stands in the notes."""

    name = "countdown"

    def problem(self, seed: int) -> Problem:
        """A countdown such as demonstrations show."""
        return self._problem(seed, False)

    def held_out(self, seed: int) -> Problem:
        """One whose numbers and target no lesson has together."""
        return self._problem(seed, True)

    def _problem(self, seed: int, held_out: bool) -> Problem:
        numbers, target, _ = solve.countdown(generator(f"task countdown {held_out}", seed), held_out)
        question = solve.countdown_asked(numbers, target)
        return Problem(solve.countdown_key(numbers, target), asked(question), str(target), {"numbers": numbers})

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """1 where the reply's own text is one expression, each number used once, worth the target."""
        return [self._score(one, reply) for one, reply in zip(problems, replies, strict=True)]

    def _score(self, one: Problem, reply: Message) -> Score:
        right, way = verify.countdown(plain(reply), one.answer, one.more), solve.way(reply)
        return Score(
            {"correct": float(right)}, {f"style {name}": float(way == name) for name in solve.WAYS} | _doings(reply)
        )


class Facts:
    """Questions about names, half of them well known and half told nowhere but in the index: what reinforcement learns when
    to search on, once a call has a price. Strangers are those of `strangers`; held out are the scored names of the lessons
    and what no document told."""

    name = "facts"

    def problem(self, seed: int) -> Problem:
        """Known names that lessons ask about, and strangers."""
        r = generator("task facts", seed)
        return self._problem(facts.some(r, r.choice(facts.asked() if r.random() < 0.5 else strangers())))

    def held_out(self, seed: int) -> Problem:
        """Names that no lesson asks about, told 100 times or never, in turn."""
        known, never = facts.sides(100)[1], facts.sides(0)[1]
        r = generator("task facts held out", seed)
        return self._problem(facts.some(r, r.choice(never if seed % 2 else known)))

    def _problem(self, question: facts.Question) -> Problem:
        entity = question.entity
        told = "known" if entity.exposures else "never"
        return Problem(question.text, asked(question.text), question.answer, {"question": question, "told": told})

    def judge(self, problems: Sequence[Problem], replies: Sequence[Message]) -> list[Score]:
        """1 for the true value; calls by kind of name as notes."""
        return [self._score(one, reply) for one, reply in zip(problems, replies, strict=True)]

    def _score(self, one: Problem, reply: Message) -> Score:
        said, told = plain(reply), one.more["told"]
        right = facts.right(said, one.more["question"])
        calls = sum(part["type"] == "call" for part in parts(reply))
        notes = {f"called {told}": float(calls > 0), f"right {told}": float(right), "calls": float(calls)}
        return Score({"correct": float(right)}, notes)


@cache
def strangers(count: int = STRANGERS) -> tuple[Entity, ...]:
    """People whom no document tells of, but an index may (`lab index pocket --strangers N`)."""
    return tuple(fresh_person(f"stranger {i}", "train") for i in range(count))


POCKET: dict[str, Task] = {
    one.name: one
    for one in (
        Pocket("problems", _problem),
        Pocket("longer", _longer, 128),
        Pocket("counting", _counting),
        Countdown(),
        Facts(),
    )
}


def load_task(name: str, data: str | None = None, judge: str | None = None) -> Task:
    """A pocket task by its name, else what lab opens; UserError, with what there is, where it is neither."""
    if name in POCKET and judge is not None:
        raise UserError(f"{name} brings its own judge; leave out --judge")
    if name in POCKET and not data:
        return POCKET[name]
    from lab.task_files import open_task

    return open_task(name, data, judge, tuple(POCKET))


@contextmanager
def opened(name: str, data: str | None = None, judge: str | None = None) -> Iterator[Task]:
    """`load_task`, whose own process (of a python file, of a library) ends with the block."""
    task = load_task(name, data, judge)
    try:
        yield task
    finally:
        getattr(task, "close", lambda: None)()


def held_out(task: Task, most: int) -> list[Problem]:
    """So many held-out problems, each once, or as many as there are."""
    found: dict[str, Problem] = {}
    for seed in range(most * TRIES):
        if len(found) == most:
            break
        try:
            problem = task.held_out(seed)
        except LookupError:
            break
        found.setdefault(problem.key, problem)
    if not found:
        raise UserError(f"--task {task.name}: nothing is held out to measure with; give it more rows, or a test.jsonl")
    return list(found.values())
