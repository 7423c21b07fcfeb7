"""How often is a model right? Problems with a judge, several replies to each, several models side by side.

Problems are held-out ones, which no training on the same task asks. pass@1 is how often a reply is right; pass@k how often
at least one of k is, unbiased (Chen et al. 2021, arXiv:2107.03374). A reply that is cut before its end is never right. What
could not be judged is counted and left out. Intervals are 95 % over problems: a bootstrap of problems with all their
replies (2,000 draws), or Wilson's where all problems have the same score. Several models get the same problems; "against
the first" is the mean difference of a problem's pass@1, with the same bootstrap.

A task is a .jsonl, .parquet, folder or hub data set of rows {"prompt", "answer"}, or GSM8K's as they are: of a test or valid
file all rows are asked, of any other one prompt in ten, by its hash. How answers are compared follows from the answer:
numbers by value, A to E as a choice, other texts as they are; --judge, or "judge" in a row, says it otherwise. The final
answer is what stands behind "Answer:", "the answer is", ####, in \\boxed{} or <answer>; without such a mark a number must
stand alone in the last sentence with digits.

GSM8K, SmolLM2-135M-Instruct, greedy: 0 of 40 [.00, .09].

Examples:
  lab eval --task gsm8k.jsonl --model smollm2.gguf --problems 50
  lab eval --task problems --model pocket-code --model grpo-1     a task of the pocket world, before and after
  lab eval --task counting --model pocket-code --code             with Python as a tool
  lab eval --task countdown --model demonstrate-1                 how many attempts it takes back, and whether that helps
  lab eval --task openai/gsm8k:main --model HuggingFaceTB/SmolLM2-1.7B-Instruct --temp 0
  lab eval --task reasoning_gym:chain_sum,max_terms=2 --model mine
  lab eval --task my_task.py --data rows.jsonl --model mine       with `def reward(prompts, completions, answers)`
  lab eval --task rows.jsonl --model mine -n 32 --out replies.jsonl
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from lab import calls, chat, weights
from lab.advantage import pass_at
from lab.calls import Toolbox
from lab.display import CONTROLS, bar
from lab.episodes import line
from lab.errors import UserError, expand
from lab.hub_chat import offering
from lab.rollout import TRUNCATED, Episode, episode_row, rollout
from lab.sample import COLD, Sampling
from lab.task import Problem, Task
from recipes import tasks
from recipes.commands.generate import newest_model, open_model
from recipes.probing.figures import wilson

ROWS = 64  # replies at once
DRAWS = 2_000  # of the bootstrap
LONGEST = 400  # characters of an example


@dataclass(frozen=True)
class Config:
    task: str = ""
    """problems, longer, counting, countdown, facts; rows.jsonl, a folder or a hub data set; reasoning_gym:NAME; or a .py
    file."""
    model: UseAppendAction[tuple[str, ...]] = ()
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; may be given several times. Without it the
    newest model."""
    data: str | None = None
    """With a .py that holds `reward`: rows {"prompt", "answer"} to ask."""
    judge: str | None = None
    """How rows are compared: number, fraction, choice, exact or countdown; without it the answer tells."""
    problems: int = 100
    """Problems, at most as many as are held out."""
    replies: Annotated[int | None, arg(aliases=["-n"])] = None
    """Replies to each problem (8, or 1 with --temp 0)."""
    temp: float = 1.0
    """Temperature; at 1 replies are drawn from the model's own distribution, 0 takes the most probable token."""
    max_tokens: Annotated[int | None, arg(aliases=["-m"])] = None
    """Longest reply, in tokens (256, or what a task of the pocket world needs)."""
    seed: int = 0
    """The same seed gives the same replies."""
    search: str | None = None
    """An index the models may search in (lab index)."""
    code: Annotated[bool, FlagCreatePairsOff] = False
    """Let them compute with Python."""
    think_budget: int | None = None
    """Tokens of a thought before it is closed for them."""
    examples: int = 3
    """Replies to show of each model, right and wrong."""
    out: str | None = None
    """Write every reply to this new .jsonl, a row as in a run's episodes/ and its model."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the figures as JSON."""


@dataclass
class Found:
    """What one model said: a group of judged replies a problem."""

    model: str
    groups: list[list[Episode]] = field(default_factory=list)


def run(config: Config) -> int:
    _check(config)
    n = config.replies or (8 if config.temp >= COLD else 1)
    out = expand(config.out) if config.out else None
    if out is not None and out.exists():
        raise UserError(f"--out {config.out}: is there already; name a new file")
    names = config.model or (newest_model(),)
    with ExitStack() as stack:
        task = stack.enter_context(tasks.opened(config.task, config.data, config.judge))
        problems = tasks.held_out(task, config.problems)
        if len(names) > 1:
            for name in names:  # a name that is wrong is told before an hour of sampling
                weights.load(name, lazy=True)
        longest = config.max_tokens or int(getattr(task, "longest", 256))
        sampling = Sampling(temp=config.temp, max_tokens=longest)
        write = _writer(stack, out)
        found, stopped = list[Found](), False
        for name in names:
            try:
                stopped = not asked(config, task, problems, n, sampling, name, found, write)
            except KeyboardInterrupt:
                stopped = True
            if stopped:
                break
    found = [one for one in found if one.groups]
    facts: dict[str, Any] = {
        "task": task.name,
        "problems": len(problems),
        "replies": n,
        "temp": config.temp,
        "stopped": stopped,
    }
    facts |= {"bad": dict(getattr(task, "bad", {}))}
    facts |= {"models": [{"model": one.model} | figures(one.groups, n) for one in found]}
    for one, told in zip(found[1:], facts["models"][1:], strict=True):
        told["against_first"] = against(found[0].groups, one.groups)
    if config.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(facts, found, config.examples, out)
    return 130 if stopped else 0


def _check(config: Config) -> None:
    if not config.task:
        raise UserError("give a task: lab eval --task rows.jsonl --model NAME (lab eval --help shows what there is)")
    for name, least in (("problems", 1), ("replies", 1), ("max_tokens", 1), ("examples", 0)):
        value = getattr(config, name)
        if value is not None and value < least:
            flag = "-n" if name == "replies" else f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} {value}: must be at least {least}")


def _writer(stack: ExitStack, out: Path | None) -> Callable[[str], None]:
    """What writes rows to --out as they come."""
    if out is None:
        return lambda text: None
    try:
        file = stack.enter_context(out.open("x", encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; name a file in a folder that is there") from error

    def write(text: str) -> None:
        file.write(text)
        file.flush()

    return write


def asked(
    config: Config, task: Task, problems: Sequence[Problem], n: int, sampling: Sampling, name: str, found: list[Found],
    write: Callable[[str], None],
) -> bool:  # fmt: skip
    """Ask one model, with progress; its groups are added to `found` as they come. False where Ctrl-C ended it."""
    model = open_model(name, None)
    names = ["search"] * bool(config.search) + ["code"] * config.code
    model = replace(model, tokenizer=offering(model.tokenizer, names))  # told of its tools, as in a chat
    one = Found(model.name)
    found.append(one)
    at_once = max(1, ROWS // n)
    try:
        with (
            Toolbox(
                model.tokenizer, calls.opened(config.search, config.code), think_tokens=config.think_budget
            ) as tools,
            bar(model.name, "answers", len(problems) * n * 1_000_000, "replies") as tell,
        ):
            for start in range(0, len(problems), at_once):
                groups = rollout(
                    model, task, problems[start : start + at_once], n, sampling, f"eval {config.seed} {start}",
                    tools, ROWS,
                )  # fmt: skip
                one.groups += groups
                for group, episodes in enumerate(groups, start):
                    for k, episode in enumerate(episodes):
                        episode.extra["model"] = model.name
                        write(line(episode_row(episode, model.tokenizer, 0, group, k)))
                tell(len(one.groups) * n * 1_000_000)
    except KeyboardInterrupt:
        return False
    return True


# -- figures -----------------------------------------------------------------------------------------------------------


def figures(groups: Sequence[Sequence[Episode]], n: int) -> dict[str, Any]:
    """pass@k, reward and its parts, lengths and ends of groups of `n` replies, with their intervals."""
    ones = [one for group in groups for one in group]
    told: dict[str, Any] = {"problems": len(groups), "replies": len(ones)}
    scored = [[one for one in group if one.score.value is not None] for group in groups]
    right = [sum(one.score.passed for one in group) for group in scored]
    told["pass"] = {}
    for k in (2**i for i in range(n.bit_length())):
        chances = [pass_at(k, len(group), r) for group, r in zip(scored, right, strict=True) if len(group) >= k]
        told["pass"][str(k)] = spread(chances, share=True)
    told["reward"] = spread([_mean([one.score.value or 0.0 for one in group]) for group in scored if group])
    told["parts"] = _means([one.score.parts or {} for group in scored for one in group])
    told["notes"] = _means([one.score.notes for one in ones], leave=TRUNCATED)
    told["tokens"] = spread([_mean([float(one.drawn) for one in group]) for group in groups])
    told["ends"] = spread([_mean([float(one.stop == "end") for one in group]) for group in groups], share=True)
    told["calls"] = _mean([float(one.calls) for one in ones])
    told["unscored"] = len(ones) - sum(map(len, scored))
    return told


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _means(rows: Sequence[Any], leave: str = "") -> dict[str, float]:
    """The mean of each name, over the rows that have it."""
    names = sorted({name for row in rows for name in row} - {leave})
    return {name: _mean([float(row[name]) for row in rows if name in row]) for name in names}


def spread(values: Sequence[float], share: bool = False) -> dict[str, Any]:
    """The mean over problems and its 95 % interval (None of no values): the bootstrap's, or of shares that are all the same
    Wilson's."""
    if not len(values):
        return {"mean": None, "low": None, "high": None, "of": 0}
    known, mean = np.asarray(values, np.float64), float(np.mean(values))
    if share and np.ptp(known) < 1e-12:
        low, high = wilson(round(mean * len(known)), len(known))
    else:
        picks = np.random.default_rng(0).integers(len(known), size=(DRAWS, len(known)))
        low, high = (float(v) for v in np.quantile(known[picks].mean(axis=1), (0.025, 0.975)))
    return {"mean": mean, "low": low, "high": high, "of": len(known)}


def against(first: Sequence[Sequence[Episode]], second: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """How much more often the second is right, on problems that both were asked."""
    pairs = zip(first, second, strict=False)
    return spread([b - a for a, b in ((_rate(x), _rate(y)) for x, y in pairs) if math.isfinite(a) and math.isfinite(b)])


def _rate(group: Sequence[Episode]) -> float:
    return _mean([float(one.score.passed) for one in group if one.score.value is not None])


# -- what a person reads -----------------------------------------------------------------------------------------------


def show(facts: dict[str, Any], found: Sequence[Found], examples: int, out: Path | None) -> None:
    """A table, and some replies."""
    console = Console()
    for reason, times in facts["bad"].items():
        console.print(f"left out: {times:,} x {reason}", markup=False, highlight=False)
    if facts["stopped"]:
        console.print("Stopped; this is what there is so far.", highlight=False)
    told = facts["models"]
    if not told:
        return
    title = f"{facts['task']}: {facts['problems']:,} held-out problems, {facts['replies']} replies each, temperature "
    table = Table(box=None, header_style="bold", title=escape(f"{title}{facts['temp']:g}"), title_justify="left")
    table.add_column("")
    for one in told:
        table.add_column(escape(str(one["model"])), justify="right")
    for row in rows(told):
        table.add_row(*map(escape, row))
    console.print(table)
    console.print("95 % intervals over problems (bootstrap)", style="dim", highlight=False)
    for one in found:
        for title, episode in chosen(one, examples):
            console.print(f"\n{title}, {one.model}", style="bold", markup=False, highlight=False)
            asked = _short(chat.plain(episode.problem.messages[-1]))
            answer = f" [{episode.problem.answer}]" if episode.problem.answer else ""
            console.print(f"> {asked}{answer}", markup=False, highlight=False)
            console.print(_short(_spoken(episode)) or "(nothing)", markup=False, highlight=False)
    if out is not None:
        console.print(f"Written to {out}", markup=False, highlight=False, soft_wrap=True)


def rows(told: Sequence[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The lines of the table."""
    if len({one["problems"] for one in told}) > 1 or told[0]["problems"] < 2:
        yield "problems", *(f"{one['problems']:,}" for one in told)
    for k in told[0]["pass"]:
        yield f"pass@{k}", *(_cell(one["pass"][k], 3) for one in told)
    if len(told) > 1:
        yield "against the first", "", *(_cell(one["against_first"], 3, "+") for one in told[1:])
    yield "mean reward", *(_cell(one["reward"], 3) for one in told)
    for part in dict.fromkeys(name for one in told for name in one["parts"]):
        if len(dict.fromkeys(name for one in told for name in one["parts"])) > 1:
            yield f"  {part}", *(_plain(one["parts"].get(part)) for one in told)
    yield "tokens a reply", *(_cell(one["tokens"], 1) for one in told)
    yield "replies that end", *(_cell(one["ends"], 3) for one in told)
    if any(one["calls"] for one in told):
        yield "calls a reply", *(_plain(one["calls"]) for one in told)
    for note in dict.fromkeys(name for one in told for name in one["notes"] if one["notes"][name]):
        yield note, *(_plain(one["notes"].get(note)) for one in told)
    if any(one["unscored"] for one in told):
        yield "not judged", *(f"{one['unscored']:,} of {one['replies']:,}" for one in told)


def _cell(value: dict[str, Any], digits: int, sign: str = "") -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:{sign}.{digits}f} [{value['low']:{sign}.{digits}f}, {value['high']:{sign}.{digits}f}]"


def _plain(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def chosen(found: Found, most: int) -> list[tuple[str, Episode]]:
    """Examples, right and wrong in turn, each of another problem."""
    sides: dict[str, list[Episode]] = {"right": [], "wrong": []}
    for group in found.groups:
        for side, such in sides.items():
            such += [one for one in group if one.score.value is not None and one.score.passed == (side == "right")][:1]
    picked: list[tuple[str, Episode]] = []
    while len(picked) < most and any(sides.values()):
        for side, such in sides.items():
            used = {episode.problem.key for _, episode in picked}
            one = next((e for e in such if e.problem.key not in used), None)
            such.clear() if one is None else such.remove(one)
            if one is not None and len(picked) < most:
                picked.append((side, one))
    return picked


def _spoken(episode: Episode) -> str:
    """A reply for eyes: its calls and results are told."""
    words = {"think": "(thinks: {})", "call": "(calls: {})", "result": "(is told: {})"}
    said = [words.get(part["type"], "{}").replace("{}", part["text"].strip()) for part in chat.parts(episode.reply)]
    return " ".join(said) + ("" if episode.stop == "end" else " (cut)")


def _short(text: str) -> str:
    text = text.strip().translate(CONTROLS)
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 3 // 5]} … {text[-LONGEST // 3 :]}"
