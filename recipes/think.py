"""Models need tokens to think: one forward pass a token holds little computation, so an answer that needs more must come
after the steps that lead to it.

The same model is tuned in six ways on the same number of tokens of word problems and of letters to count: the bare answer;
the bare answer on three times the tokens; bare steps and then the answer; the problem told again with its steps, and then the
answer; the answer and then these very steps (they come too late to help: post hoc justification); code that a sandbox runs.
Problems of three to five operations have a space far
too large to learn by heart; what is scored is held out by its whole calculation, and words by their letters.

Expected, pocket preset, 100 steps a way, 120,000 tokens (seeds 0 / 1; 5 CPU-minutes), held-out problems of three to five
operations right: at once .02 / .03, at once on three times the tokens .05 / .05, bare steps .18 / .39, steps in words and
numbers .84 / .91, the answer before the same steps .02 / .03, code .08 / .06 (it loses some of the numbers: copying them takes
the words around them). Letters counted by head .36 / .33, and step by step .48 / .45: these spell words from pieces, which is
harder than to guess a small number; code at these tokens .35 / .50, after `lab code` .96 / .97.

Examples:
  lab think                              all ways, from pocket-sft
  lab think --ways answer steps          two of them
  lab think --model pocket-base --iters 300
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

from lab import chat, device
from lab.calls import Toolbox
from lab.errors import UserError
from lab.learn import keeping, memory_stats
from lab.loss import nll
from lab.run import Run
from lab.runs import read_lines
from lab.samples import Sample, bucketed
from lab.talks import Talks
from lab.tools import Python
from lab.weights import Model, save_config
from recipes import pocket, tuning
from recipes.estimate import Plan
from recipes.lessons import exam, letters
from recipes.tuning import Tuning

CHARTS = (
    {"title": "loss on the replies", "keys": ["loss"]},
    {"title": "right on held-out problems, by way", "keys": ["problems"]},
    {"title": "gradient norm", "keys": ["grad_norm"]},
    {"title": "tokens a second", "keys": ["tok_s"]},
)
ITERS = 100  # steps of one way
TOKENS = 1200  # of a step, whatever the way
LONGEST = 192  # tokens of a reply
# way -> (how replies are written, times the tokens)
WAYS = {
    "answer": ("answer", 1), "answer x3": ("answer", 3), "bare": ("bare", 1), "steps": ("steps", 1), "after": ("after", 1),
    "code": ("code", 1),
}  # fmt: skip
WORDS = {
    "answer": "the bare answer", "answer x3": "the bare answer, three times the tokens",
    "bare": "steps in numbers alone, then the answer", "steps": "steps in words and numbers, then the answer",
    "after": "the answer, then the same steps", "code": "code in a sandbox",
}  # fmt: skip


@dataclass(frozen=True)
class Config(Tuning):
    model: str = "pocket-sft"
    """What is tuned in each way, always from the same weights."""
    ways: tuple[str, ...] = tuple(WAYS)
    """Which of them."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    if config.fine_tune_type == "lora":
        raise UserError("--fine-tune-type lora: every way tunes all weights of the model; leave it out")
    if wrong := [way for way in config.ways if way not in WAYS]:
        raise UserError(f"--ways {wrong[0]!r}: choose of {', '.join(map(repr, WAYS))}")
    if not config.ways:
        raise UserError(f"--ways: give at least one of {', '.join(map(repr, WAYS))}")


class Pupil:
    """The model in the hands of one way: it begins anew with each, and is what checkpoints hold."""

    def __init__(self, config: Config, model: Model, steps: int):
        self.config, self.model = config, model
        self.base = list(device.flat(model.network.parameters()))
        self.begin(steps)

    def begin(self, steps: int) -> None:
        """The first weights again, and an optimiser that remembers nothing."""
        self.model.network.load_weights(self.base)
        self.learner = tuning.learner_of(
            self.config, self.model, steps, True, tuning.optimizer_of(self.config, self.model)
        )

    def save(self, folder: Path) -> None:
        """What `Learner.save` saves."""
        self.learner.save(folder)

    def load(self, folder: Path) -> None:
        """In the middle of a way."""
        self.learner.load(folder)


def run(config: Config, record: Run) -> None:
    """Tune in each way, examine, begin anew; then the table."""
    model = tuning.open_model(config, tools=True)
    save_config(record.folder, model.network, model.tokenizer)
    for way in config.ways:
        lesson(config, model, way, 1)  # one that does not fit is told before anything is trained
    spans = [(way, WAYS[way][1] * (config.iters or ITERS)) for way in config.ways]
    ends = [sum(steps for _, steps in spans[: i + 1]) for i in range(len(spans))]
    pupil = Pupil(config, model, spans[at(ends, record.step + 1)][1])
    record.save_every, record.keep = config.save_every, config.keep
    record.say(
        f"model   {model.name}\nways    {', '.join(config.ways)}\nsteps   {ends[-1]} of {TOKENS:,} tokens in all"
    )
    record.attach(pupil)
    with Python() as tool, Toolbox(model.tokenizer, [tool]) as tools:
        for step in record.steps(ends[-1]):
            way, steps = spans[at(ends, step)]
            number = step - (ends[at(ends, step)] - steps)
            if number == 1:
                pupil.begin(steps)
            record.note = WORDS[way]
            samples = lesson(config, model, way, number)
            with keeping(record):
                batches = bucketed(samples, model.tokenizer.pad or 0, most=model.pass_tokens)
                stats = pupil.learner.step(number, batches, nll)
            figures = examined(model, way, tools) if number == steps else {}
            record.log(step, **asdict(stats), **memory_stats(), **figures)
            if figures:
                record.event("way", way=way, tokens=steps * TOKENS, **figures)
    if not record.stopped:
        record.say(table(record.folder / "metrics.jsonl"))


def at(ends: Sequence[int], step: int) -> int:
    """Which way step `step` belongs to, from the last steps of each."""
    return next((i for i, end in enumerate(ends) if step <= end), len(ends) - 1)


def lesson(config: Config, model: Model, way: str, number: int) -> list[Sample]:
    """Conversations of a step, written in one way, up to TOKENS tokens; the same problems for all ways, in the same words: by
    code, letters are asked for in others too."""
    how, found, size = WAYS[way][0], list[Sample](), 0
    r = Random(f"think {config.seed} {number}")
    while size < TOKENS:
        teach, seed = letters.reasoned if r.random() < 0.6 else letters.counted, r.randrange(1 << 60)
        asked, replied = teach(Random(seed), "answer")[:1], teach(Random(seed), how)[1:]
        found.append(tuning.to_sample(model, [*asked, *replied], tuning.longest(config, model)))
        size += len(found[-1].ids)
    return found


def examined(model: Model, way: str, tools: Toolbox) -> dict[str, float]:
    """Shares right of problems of 3, 4 and 5 operations, of all of them, and of letters counted; tokens of a reply."""
    r = Random("think exam")
    with_tools = tools if way == "code" else None
    figures: dict[str, float] = {}
    for operations in (3, 4, 5):
        made = [pocket.problem(seed, operations) for seed in range(150)]
        said = exam.replies(model, [one.text for one in made], tools=with_tools, longest=LONGEST)
        answers = [letters.final(chat.plain(reply)) for reply in said]
        right = [answer == str(one.answer) for answer, one in zip(answers, made, strict=True)]
        figures[f"problems_{operations}"] = exam.mean(right)
        figures["tokens_of_reply"] = exam.mean([len(reply["ids"]) for reply in said])
    figures["problems"] = exam.mean([figures[f"problems_{operations}"] for operations in (3, 4, 5)])
    asked = [letters.counting(r, "test") for _ in range(200)]
    said = exam.replies(model, [question for question, _, _ in asked], tools=with_tools)
    figures["counting"] = exam.mean(
        [
            letters.final(chat.plain(reply)) == str(word.count(c))
            for reply, (_, word, c) in zip(said, asked, strict=True)
        ]
    )
    return figures


def table(metrics: Path) -> str:
    """The ways side by side."""
    lines = [f"\n{'':44}{'tokens':>9}{'3 ops':>7}{'4 ops':>7}{'5 ops':>7}{'counting':>10}{'reply':>7}"]
    for row in read_lines(metrics):
        if row.get("event") == "way":
            shares = "".join(f"{row[f'problems_{n}']:7.2f}" for n in (3, 4, 5))
            lines.append(
                f"{WORDS[row['way']]:44}{row['tokens']:9,}{shares}{row['counting']:10.2f}{row['tokens_of_reply']:7.1f}"
            )
    return "\n".join(lines)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`: its ways by turns, each as often as its share of the steps."""
    from recipes.practice import practising  # it opens the model

    ways, parts = [way for way in config.ways for _ in range(WAYS[way][1])], 24
    exam = len(config.ways) * (3 * 150 + 200)  # what `examined` asks

    def school(model: Model, longest: int) -> Talks:
        def draw(seed: int, step: int, n: int) -> list[Sample]:
            found = lesson(config, model, ways[step % len(ways)], step)
            return found[: max(1, len(found) * n // parts)]

        return Talks("think", draw, [])

    whole = replace(config, fine_tune_type="full", num_layers=None)
    steps = len(ways) * (config.iters or ITERS)
    return practising(whole, school, lambda *_: steps, 0, exam, reply=None, tools=True, rows=parts, looks=False)
