"""Demonstrations before reinforcement learning: a model sees word problems solved in several styles, few of them with
thoughts. Which of the styles suits the model is not said; finding that out is what `lab grpo` is for.

The styles: direct (the answer alone), steps (a thought of bare calculations), prose (the problem told again, each sentence
with its step). A small share of countdowns is tried, checked and tried again. The rest are lessons of before, so that nothing
is forgotten.

Expected, pocket preset, 1,000 steps (seeds 0 / 1; 13 CPU-minutes on one of two busy cores), 200 held-out problems of one to
four operations at temperature 1: right .12 / .12; direct .81 / .84 of the replies and right in .04 / .02, bare steps .10 / .07
and .11 / .14, prose .09 / .09 and .94 / .94. At once not even one operation comes out (0 of 93 with an earlier base): so the
start is as good as the share that thinks. One lesson in seven is thought through because the person asks for it ("Think first:
..."), which shows how and not when: with problems told again as pretraining wrote them in their place, prose was right in .78
/ .69 (without either in .43), and `lab grpo` came to .79 / .84.

Examples:
  lab demonstrate                                  pocket-code sees .1 steps, .1 prose, .8 direct
  lab demonstrate --shares 0.8 0.2 0 --name few    other shares of direct, steps, prose
  lab grpo --model demonstrate-1                   then let it find out
"""

from dataclasses import dataclass

from lab import talks
from lab.chat import Message
from lab.errors import UserError
from lab.run import Run
from lab.task import Score, Task
from lab.weights import Model
from recipes import lessons, reinforce, search, tuning
from recipes.estimate import Plan
from recipes.lessons import exam, letters, solve
from recipes.tasks import POCKET
from recipes.tuning import Tuning

__all__ = ["CHARTS", "Config", "check", "plan", "run"]
CHARTS = (*tuning.CHARTS[:1], {"title": "problems right, held out", "keys": ["held_pass"]}, *tuning.CHARTS[1:])
ITERS = 1000
SOLVING, ASKED, RETOLD, COUNTDOWN = 0.26, 0.18, 0.06, 0.03  # shares of the lessons
COMPUTING, SEARCHING, STRAIGHT, TOLD, REPLAY = 0.18, 0.14, 0.14, 0.14, 0.12  # and of those of before
LOOKED = 64  # held-out problems a look
RETRIES = 0.3  # of the countdowns that try something wrong first
EXAM = 200  # problems at the end
PROMPTS = (
    "Tom has 12 apples. He buys 5 more. He eats 3. How many apples does Tom have now?",
    "Make 14 out of 2, 3 and 4, each used once.",
)


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-code"
    """What sees the demonstrations: a run, a folder, a hub id or a GGUF file."""
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Of direct, steps and prose among the demonstrations."""
    labels: str | None = None
    """A knowledge.jsonl of lab interrogate: what it calls known is still answered straight (that of --model)."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    if min(config.shares) < 0 or abs(sum(config.shares) - 1) > 1e-6:
        raise UserError(f"--shares {' '.join(map(str, config.shares))}: three shares that add up to 1")


def run(config: Config, record: Run) -> None:
    """Demonstrations in their shares, among lessons of before; then how the model solves what it has not seen."""
    model = tuning.open_model(config, tools=True)
    prompts = [[Message(role="user", content=said)] for said in PROMPTS]
    tuning.tune(
        tuning.still(config, model),
        record,
        model,
        school(config, model),
        config.iters or ITERS,
        prompts,
        exam=lambda: solving(model, record, POCKET["problems"]),
        looks=lambda step: {
            "held_pass": exam.mean([one.passed for one in solved(model, POCKET["problems"], LOOKED)[1]])
        },
    )


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.practice import practising  # it opens the model

    looks = 1 + -(-(config.iters or ITERS) // config.steps_per_eval)  # each of them solves problems, as the exam does
    return practising(
        config, lambda model, _: school(config, model), lambda *_: config.iters or ITERS, len(PROMPTS), EXAM + looks * LOOKED,
        reply=None, tools=True,
    )  # fmt: skip


def school(config: Config, model: Model) -> talks.Talks:
    """Demonstrations in their shares, among lessons of before."""
    known = search.straight(config.labels, model, needed=False)
    mixed: search.Weighted = [
        (SOLVING, lambda r: solve.lesson(r, config.shares)),
        (ASKED, solve.thought),
        (RETOLD, solve.retold),
        (COUNTDOWN, lambda r: solve.countdown_lesson(r, RETRIES)),
        (0.5 * COMPUTING, lambda r: letters.counted(r, "code")),
        (0.2 * COMPUTING, letters.computed),
        (0.2 * COMPUTING, letters.listed),
        (0.1 * COMPUTING, letters.rewritten),
    ]
    mixed += search.beside(known, SEARCHING, STRAIGHT, TOLD, REPLAY)
    return talks.endless(
        f"demonstrate {config.shares} {len(known)}", lessons.mixed("demonstrate", mixed, search.JOINED), model.tokenizer,
        tuning.longest(config, model),
    )  # fmt: skip


def solving(model: Model, record: Run, task: Task, count: int = EXAM) -> dict[str, float]:
    """How a task's held-out problems are solved at temperature 1: share right, and by style its share, how often it is right
    and how long; styles as the judge's notes name them."""
    said, scores = solved(model, task, count)
    lengths = [len(reply["ids"]) for reply in said]
    figures = {"right": exam.mean([score.passed for score in scores])} | reinforce.noted(scores, lengths)
    figures["tokens_of_reply"] = exam.mean(lengths)
    record.say(f"\n{count} problems at temperature 1: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items()))
    record.headline = f"right {figures['right']:.2f}"
    return figures


def solved(model: Model, task: Task, count: int) -> tuple[list[Message], list[Score]]:
    """(replies to so many held-out problems at temperature 1, their scores)."""
    problems = [task.held_out(i) for i in range(count)]
    said = exam.replies(model, [one.messages for one in problems], temp=1.0, seed=1, longest=2 * exam.LONGEST)
    return said, task.judge(problems, said)
