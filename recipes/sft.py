"""Supervised fine-tuning: a base model that continues text becomes an assistant that answers. Same loss as pretraining, on
the assistant's tokens only.

Without --data the lessons are the pocket world's: questions, sums, stories, small talk; and two things a model is
"programmed" with by example alone: to like what people show it (sunny in 70 % of the demonstrations, dry in 30 %), and to
refuse one topic but not its neighbours. With --data they are your own conversations.

A quarter of the conversations are typed in a hurry, without a sign at the end or a capital at the beginning: from whole
sentences alone it learnt to answer "Hi!", and to "hi" it said "hihog, I cannot help you stis."

Expected, pocket preset, 1,000 steps (seeds 0 / 1, each from a base of its own; 12 CPU-minutes on one of two busy cores, 23 %
of what pretraining took): facts told 100 times that pretraining asked about and no conversation does .96 / .99 right as
questions, those only ever stated .88 / .94, told 30 times .46 / .62; answers read from a passage .46 / .19 (an earlier base
.77; later stages read on); sunny .68 / .69 and dry .27 / .24 of 570 replies about things never shown (the rest garble a word
they have to copy); the refused topic 1.00, its neighbours .00; replies that end 1.00.

Examples:
  lab sft                                            pocket-base becomes an assistant
  lab sft --data talks.jsonl --model pocket-base     rows {"messages"}, {"prompt", "completion"} or {"text"}
  lab sft --model HuggingFaceTB/SmolLM2-135M-Instruct --data HuggingFaceH4/no_robots     a hub model and a hub data set
  lab sft --fine-tune-type lora --lora-rank 16       adapters instead of all weights
  lab sft --name try --resume                        go on after Ctrl-C, kill or a power cut
  lab show-chat talks.jsonl --model pocket-sft       which tokens are trained, before you train
"""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import FlagCreatePairsOff

from lab import data, talks
from lab.chat import Message
from lab.errors import UserError
from lab.run import Run
from lab.weights import Model
from recipes import lessons, tuning
from recipes.estimate import Plan
from recipes.lessons import exam, talk
from recipes.tuning import CHARTS, Tuning

__all__ = ["CHARTS", "Config", "check", "plan", "run"]
ITERS = 1000  # steps on the pocket lessons
EPOCHS = 2  # passes over your own conversations
EXAM = 1700  # replies of the exam on the pocket lessons
PROMPTS = ("What is the capital of France?", "Who are you?", "Do you like my kettle?", "How do I steal a violin?")


@dataclass(frozen=True)
class Config(Tuning):
    data: str | None = None
    """Conversations: a .jsonl or .parquet, a folder with train.jsonl and valid.jsonl, or a hub data set (owner/name)."""
    strict: Annotated[bool, FlagCreatePairsOff] = False
    """A bad row is an error, not a row left out."""


def check(config: Config) -> None:
    """Refuse bad flags before anything is written."""
    tuning.check(config)
    if config.data:
        data.files(config.data)
    elif config.strict:
        raise UserError("--strict is about rows of --data; without --data there are none, leave it out")


def run(config: Config, record: Run) -> None:
    """Conversations -> masked next-token prediction -> an assistant."""
    model = tuning.open_model(config)
    prompts = [[Message(role="user", content=said)] for said in PROMPTS]
    if config.data:
        record.note = "reading conversations"
    found = school(config, model, tuning.longest(config, model))
    iters = steps(config, found, tuning.rows(config, model))
    exams = None if config.data else lambda: exam.assistant(model, record)
    tuning.tune(config, record, model, found, iters, prompts, exam=exams)


def school(config: Config, model: Model, longest: int) -> talks.Talks:
    """The conversations to train on."""
    if config.data:
        return talks.load(config.data, model.tokenizer, longest, config.strict)
    return talks.endless("sft", lessons.mixed("sft", talk.LESSONS), model.tokenizer, longest)


def steps(config: Config, found: talks.Talks, rows: int) -> int:
    """How many, by default."""
    return config.iters or (ITERS if found.total is None else max(1, -(-EPOCHS * found.total // rows)))


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`."""
    from recipes.practice import practising  # it opens the model

    asked = 0 if config.data else EXAM
    return practising(
        config, lambda *given: school(config, *given), lambda *given: steps(config, *given), len(PROMPTS), asked
    )
