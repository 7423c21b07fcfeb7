"""Probe a base model: what it recites, what it takes from the prompt, and what its probabilities are worth.

A base model simulates documents: it recites what it was told often, continues a pattern it meets for the first time, and
is an assistant once the prompt looks like a conversation with one. Seven probes measure this on any model: of ours or,
as a folder, of others. Nothing is trained.

  regurgitation   documents told 100 times, once, never: how far does it recite from the first 8 tokens?
  few-shot        unseen rules after 0, 1, 4 and 8 examples
  assistant       the same questions bare and inside a transcript
  position        bits per byte by position in the window
  windows         time and memory of a training step by window length
  calibration     is a token it gives 80 % right 80 times in 100?
  temperature     diversity and repetition at 0, 0.5, 1 and 1.5

Expected on the pocket preset, 25 CPU-s: recites 10 of 10 documents told 100 times and 0 of 20 told once, few-shot 0, 20,
37, 36 % after 0, 1, 4, 8 examples, assistant by prompting 20 -> 100 % in talk, loss 2.43 nats a token at the window's start
and .94 in its middle, calibration error .015.
On SmolLM2-135M-Instruct in fp32, --quick, 150 CPU-s: recites 0 of 12 famous passages, few-shot 0 -> 60 %, assistant by
prompting 13 -> 77 %, calibration error .02.

Examples:
  lab probes                                        all of them on the newest model
  lab probes --model pocket-base --quick            smaller samples, some ten seconds
  lab probes --model mine@400 --only few-shot       one probe, on one checkpoint
  lab probes --model ~/models/smollm2 --data my.txt another model, bits per byte on your own text
  lab probes --name probes-1 --resume               go on with the probes that Ctrl-C left out
"""

import difflib
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, UseAppendAction

from lab import data, device, hub, models
from lab.errors import UserError, expand
from lab.learn import memory_stats
from lab.run import Run
from lab.runs import read_json
from lab.weights import find_gguf, read_config, write_json
from recipes.commands.generate import newest_model, open_model
from recipes.estimate import Plan
from recipes.probing import assistant, calibration, few_shot, position, regurgitation, temperature, windows
from recipes.probing.figures import flat
from recipes.probing.subject import BIG, QUICK, Found, Sizes, Subject, open_subject

PROBES: dict[str, Any] = {
    "regurgitation": regurgitation,
    "few-shot": few_shot,
    "assistant": assistant,
    "position": position,
    "windows": windows,
    "calibration": calibration,
    "temperature": temperature,
}
RESULTS = "probes.json"
LOGITS = 400_000_000  # bytes: the peak of all probes on the pocket model, whose weights are 5 MB


@dataclass(frozen=True)
class Config:
    model: str | None = None
    """A run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest model."""
    only: UseAppendAction[tuple[str, ...]] = ()
    """One probe by name; may be given several times. Without it all."""
    data: str | None = None
    """Own text for bits per byte and calibration; without it the pocket world's validation text, for every model."""
    text_column: str | None = None
    """Where rows of --data keep their text; without it where the model's training had it."""
    quick: Annotated[bool, FlagCreatePairsOff] = False
    """Smaller samples: for big models on a CPU, and for a first look."""
    seed: int = 0
    """Everything random follows from it."""
    name: str | None = None
    """Name of the run folder."""
    resume: Annotated[bool, FlagCreatePairsOff] = False
    """Go on with the probes that an interrupted run left out."""


def check(config: Config) -> Config:
    """Refuse bad flags before anything is written; the config with the model's name filled in."""
    for name in config.only:
        if name not in PROBES:
            near = difflib.get_close_matches(name, PROBES, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(f"--only {name}: no such probe; {hint}there are {', '.join(PROBES)}")
    if not 0 <= config.seed < 1 << 63:
        raise UserError(f"--seed {config.seed}: must lie between 0 and 2^63 - 1")
    if config.data:
        data.files(config.data)
    model = config.model or newest_model()
    if find_gguf(model) is None:
        read_config(hub.locate(model)[0])
    path = expand(model)
    return replace(config, model=str(path.resolve()) if path.exists() else model)


def run(config: Config, record: Run) -> None:
    """Measure part after part, tell each probe when it is whole, and keep its numbers at once."""
    if device.slow_blas():
        record.say(device.NO_OPENBLAS)
    kept = read_json(record.folder / RESULTS)
    assert config.model is not None  # check() filled it in
    record.note = "loading"
    sizes = QUICK if config.quick else Sizes()
    subject = open_subject(open_model(config.model, None), config.data, sizes, config.seed, config.text_column)
    introduce(record, subject)
    done: dict[str, Any] = kept.get("probes", {})
    kept = {"model": config.model, "parameters": subject.parameters, "quick": config.quick, "probes": done}

    chosen = [name for name in PROBES if name in (config.only or PROBES) and name not in done]
    todo = {name: PROBES[name].parts(subject) for name in chosen}
    for name in [name for name, parts in todo.items() if not parts]:
        record.say(f"{name}: left out, a context of {subject.context} tokens is too short for it")
    plan = [(name, key) for name, parts in todo.items() for key in parts]
    found: dict[str, Found] = {}
    spent, before = 0.0, sum(len(parts) - 1 for parts in done.values())  # less cpu_s
    record.step = record.saved_step = before  # there are no weights to save: a probe is kept when it is whole
    for step in record.steps(before + len(plan)):
        name, key = plan[step - before - 1]
        record.note = f"{name}, {key.replace('_', ' ')}"
        clock = time.process_time()
        found[key] = PROBES[name].measure(subject, todo[name][key])
        spent += time.process_time() - clock
        record.latest.update(memory_stats())
        if len(found) == len(todo[name]):
            done[name] = {"cpu_s": round(spent, 2)} | {k: f.numbers for k, f in found.items()}
            write_json(record.folder / RESULTS, kept)
            record.log(step, **memory_stats())  # not before: a probe that is cut off begins again, with the same steps
            keep(record, subject, name, found, spent)
            found, spent = {}, 0.0
        record.saved_step = step
        record.headline = headline(done)
    finish(record, done)


def plan(config: Config) -> Plan:
    """What `run` would do, for `lab plan`. How many parts there are is known when the model is open, and how long they
    take is told by a run that did the same."""
    assert config.model is not None  # check() filled it in
    path = find_gguf(config.model)
    where = path or hub.locate(config.model)[0]
    found = models.one_file(where, "", "", "") if path else models.folder(where, "", "", "")
    count = found.parameters
    bytes_of = 16 if count <= BIG else 4 if device.on_cpu() else 2  # small ones take a training step too
    facts = {
        "model": f"{config.model}: {count:,} parameters ({found.kind})",
        "probes": ", ".join(config.only or PROBES),
        "usual": "25 s of one core for the pocket model; with --quick 5 s, and 2.5 minutes for one of 135M",
    }
    return Plan(count, facts=facts, memory=count * bytes_of + LOGITS)


def introduce(record: Run, subject: Subject) -> None:
    """What is probed on what, in three lines."""
    world = "grew up in the pocket world" if subject.told is not None else "did not grow up in the pocket world"
    length = f", trained in windows of {subject.trained_length}" if subject.trained_length < subject.context else ""
    record.say(
        f"model   {subject.name}: {subject.parameters:,} parameters, context {subject.context} tokens{length}; it {world}\n"
        f"text    {subject.text}\n"
        f"device  {device.name()}"
    )


def keep(record: Run, subject: Subject, name: str, found: dict[str, Found], spent: float) -> None:
    """A whole probe: its numbers as one row of metrics.jsonl, its texts to samples.jsonl, its table to people."""
    record.event("probe", probe=name, cpu_s=round(spent, 2), **flat({k: f.numbers for k, f in found.items()}))
    for part in found.values():
        for said in part.said:
            record.sample(record.step + 1, said.prompt, said.text, said.ids, said.logprobs)
    told = PROBES[name].tell(subject, found)
    record.say(f"\n{name} ({spent:.1f} CPU-s)\n{told}")


def headline(done: dict[str, Any]) -> str:
    """The few numbers that `lab runs` shows."""
    said = []
    if shots := done.get("few-shot"):
        few = [f"{100 * shots[key]['right']['share']:.0f}" for key in ("shots_0", "shots_8")]
        said.append(f"few-shot {' -> '.join(few)} %")
    if told := done.get("regurgitation"):
        most = next(part["recited"] for key, part in told.items() if key != "cpu_s")
        said.append(f"recites {most['right']}/{most['of']}")
    if cost := done.get("position"):
        said.append(f"{cost['held_out']['bits_per_byte']:.3f} bits/byte")
    return ", ".join(said)


def finish(record: Run, done: dict[str, Any]) -> None:
    """Where the numbers are, and how to go on."""
    record.say("")
    if record.stopped:
        record.say(
            f"Stopped after {', '.join(done) or 'no whole probe'}. Go on: lab probes --name {record.name} --resume"
        )
    if done:
        record.print(f"All numbers: {record.folder / RESULTS}")
