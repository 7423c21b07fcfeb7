"""The stages of `lab journey`: which command each is, what it starts from, what it leaves, and whether that still holds.

A stage is an ordinary command. Its output is the run folder NAME-STAGE, or a file in a folder of that name where the command
leaves no run. No MLX: the journey only starts processes.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lab.errors import UserError
from lab.runs import inspect, read_json, root
from recipes import cli

Flags = Mapping[str, Sequence[str]]  # stage -> flags of its own
State = Literal["done", "resume", "new", "again"]
WEIGHTS = ("model.safetensors", "adapters.safetensors", "reward.safetensors")  # whichever a folder holds are its output


@dataclass(frozen=True)
class Stage:
    """One stage. `minutes`: CPU-minutes of the pocket model on a core that trains 2,000 tokens a second, `steps` of them
    optimiser steps, so that a shorter run is estimated shorter."""

    name: str
    command: str
    says: str
    minutes: float
    steps: int = 0
    model: str = ""  # the stage whose model it starts from
    reads: tuple[tuple[str, str], ...] = ()  # (flag, stage): what else it reads
    flags: tuple[str, ...] = ()
    out: str = ""  # a file or folder in its folder; '' = it leaves a run
    to: str = "--out"  # the flag that names it
    grows: bool = False  # `out` is added to, so a command that was cut goes on with it
    ships: str = ""  # the shipped model that can stand in for its own
    asked: bool = False  # only walked where `--also` names it
    alike: bool = False  # takes as long whatever the size of the model


STAGES = (
    Stage("pretrain", "pretrain", "text becomes a base model", 39, 2097, ships="pocket-base"),
    Stage("probes", "probes", "what a base model is", 1.2, model="pretrain"),
    Stage("sft", "sft", "conversations make it an assistant", 15.8, 1000, "pretrain", ships="pocket-sft"),
    Stage("interrogate", "interrogate", "it says what it does not know", 6.5, 700, "sft", ships="pocket-honest"),
    Stage("search", "search", "it looks up what it does not know", 26.3, 2000, "interrogate", ships="pocket-search"),
    Stage("code", "code", "it computes with Python", 17.5, 1300, "search", ships="pocket-code"),
    Stage("think", "think", "what tokens to think are worth", 6.6, 100, "sft", flags=("--ways", "answer", "steps", "after")),
    Stage("demonstrate", "demonstrate", "problems solved in three styles", 15, 1000, "code", ships="pocket-demonstrate"),
    Stage("rejection", "rejection", "it imitates its own right replies", 7.5, 60, "demonstrate", asked=True),
    Stage("grpo", "grpo", "thinking appears, because it pays", 11, 60, "demonstrate", ships="pocket-reason"),
    Stage(
        "rank", "rank", "its jokes, ranked by the hidden judge", 2, model="grpo", flags=("--by", "gold"), out="rankings.jsonl",
        grows=True,
    ),
    Stage("reward-model", "reward-model", "a model of that taste", 2.8, 0, "grpo", (("--rankings", "rank"),),
          ships="pocket-reward"),
    Stage("rlhf", "rlhf", "it writes what the model of taste likes", 7.5, 60, "grpo", (("--reward", "reward-model"),),
          ships="pocket-rlhf"),
    Stage("study", "study", "how far its taste can be trusted", 3, 0, "grpo",
          (("--reward", "reward-model"), ("--runs", "rlhf")), out="study.svg", to="--picture"),
    Stage("selfplay", "selfplay", "a player passes its teacher", 9.8, 850, alike=True),
)  # fmt: skip
TEXT = (  # the laptop's: what it reads lies in one folder
    Stage("text", "data", "the pocket world as files", 0.3, flags=("pocket",), out="pocket", alike=True),
    Stage(
        "stories",
        "data",
        "TinyStories from the hub, cleaned",
        60,
        flags=("roneneldan/TinyStories:data",),
        out="stories",
    ),
)
LAPTOP = ("--size", "20m", "--max-seq-length", "256", "--batch-size", "32", "--grad-accumulation-steps", "2")
LAPTOP_STEPS = 34_000  # about: one pass over both texts, some 550 M tokens, 16,384 a step
PRESETS = ("pocket", "laptop", "model=ID")


@dataclass(frozen=True)
class Road:
    """A journey: its name, what it is made of, and flags a person gave single stages."""

    name: str
    preset: str = "pocket"
    seed: int = 0
    flags: Mapping[str, Sequence[str]] | None = None
    also: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In order. A stage whose command this version does not have is left out."""
        kind, _, given = self.preset.partition("=")
        there = tuple(
            s for s in STAGES if s.command in cli.RECIPES | cli.COMMANDS and (not s.asked or s.name in self.also)
        )
        if kind == "pocket" and not given:
            return there
        if kind == "laptop" and not given:
            first = replace(there[0], flags=LAPTOP, reads=(("--data", "text"),), minutes=0, steps=LAPTOP_STEPS)
            return (*TEXT, *(replace(s, ships="") for s in (first, *there[1:])))
        if kind == "model" and given:
            own = tuple(replace(s, ships="") for s in there if s.name not in ("pretrain", "probes"))
            return tuple(
                replace(s, flags=(*s.flags, "--fine-tune-type", "lora")) if s.name == "sft" else s for s in own
            )
        raise UserError(
            f"--preset {self.preset}: choose pocket, laptop, or model=ID (a hub id, a folder, a .gguf file)"
        )

    def folder(self, stage: str) -> Path:
        """Where the stage's output is."""
        return root() / f"{self.name}-{stage}"

    def output(self, stage: Stage) -> Path:
        """The file or folder that it leaves. The laptop's texts share one folder, which pretraining reads."""
        return self.folder("text" if stage in TEXT else stage.name) / stage.out

    def input(self, name: str) -> Path:
        """What a later stage reads of it."""
        stage = self.find(name)
        return self.folder("text") if stage in TEXT else self.output(stage)

    def find(self, name: str) -> Stage:
        """A stage by its name."""
        found = next((stage for stage in self.stages if stage.name == name), None)
        if found is None:
            raise UserError(f"no stage {name} on this road; there are {', '.join(s.name for s in self.stages)}")
        return found

    def model(self, stage: Stage) -> str:
        """What the stage starts from: the run of an earlier one, or what stands in for it; '' for nothing."""
        if not stage.model:
            return ""
        here = next((s for s in self.stages if s.name == stage.model), None)
        if here is None:
            return self.preset.partition("=")[2]
        stands_in = not self.folder(here.name).exists() and here.ships and (root() / here.ships).is_dir()
        return here.ships if stands_in else f"{self.name}-{here.name}"

    def arguments(self, stage: Stage, resume: bool = False) -> list[str]:
        """The command, without `lab`."""
        args = [stage.command]
        args += ["--model", model] if (model := self.model(stage)) else []
        for flag, other in stage.reads:
            source = self.find(other)
            args += [flag, str(self.input(other)) if source.out else f"{self.name}-{other}"]
        args += [*stage.flags, *(self.flags or {}).get(stage.name, ())]
        if stage not in TEXT and "--seed" not in args:
            args += ["--seed", str(self.seed)]
        if stage.out:
            return [*args, stage.to, str(self.output(stage))]
        if resume:  # what it began with stands in its run.json
            return [stage.command, "--name", f"{self.name}-{stage.name}", "--resume"]
        return [*args, "--name", f"{self.name}-{stage.name}"]

    def made_of(self, stage: Stage) -> dict[str, str]:
        """What decides the output: the command, and a hash of every input that is a file of ours."""
        parts = {"command": " ".join(self.arguments(stage)).replace(str(root()), "$LAB_HOME")}
        model = self.model(stage)
        for what, path in (("model", root() / model if model else None),
                           *((flag, self.input(other)) for flag, other in stage.reads)):  # fmt: skip
            if path is not None and path.exists():
                parts[what] = fingerprint(path)
        for word in (self.flags or {}).get(stage.name, ()):
            if os.sep in word and Path(word).exists():
                parts[word] = fingerprint(Path(word))
        return parts

    def missing(self, stage: Stage) -> str:
        """The stage whose output it needs and that is not there whole; '' for none."""
        for name in filter(None, (stage.model, *(other for _, other in stage.reads))):
            here = next((s for s in self.stages if s.name == name), None)
            stands_in = name == stage.model and self.model(stage) != f"{self.name}-{name}"
            if here is None or stands_in:
                continue
            if not (self.output(here).exists() if here.out else inspect(self.folder(name)).state == "done"):
                return name
        return ""


def fingerprint(path: Path) -> str:
    """sha256 (16 digits) of a model folder's weights, of a file, or of what a folder of text holds by name and size."""
    found = hashlib.sha256()
    weights = [path / name for name in WEIGHTS if (path / name).is_file()] if path.is_dir() else [path]
    for file in weights:
        with open(file, "rb") as stream:
            found.update(hashlib.file_digest(stream, "sha256").digest())
    if not weights:
        for file in sorted(f for f in path.rglob("*") if f.is_file()):
            found.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
    return found.hexdigest()[:16]


class Verdict(NamedTuple):
    """What is to be done with a stage, and why."""

    state: State
    why: str = ""


def judge(road: Road, stage: Stage, kept: Mapping[str, Any]) -> Verdict:
    """Whether the stage is done, goes on, begins, or begins again. `kept` is what the journey wrote down about it."""
    output = road.output(stage)
    if not output.exists():
        return Verdict("again", "its output is gone") if kept.get("state") == "done" else Verdict("new")
    if not kept:
        raise UserError(f"{output} is there already, and no journey made it; choose another --name")
    now, then = road.made_of(stage), kept.get("made_of", {})
    if now != then:
        return Verdict("again", f"{changes(then, now)} changed")
    if stage.out:
        return Verdict("done" if kept.get("state") == "done" else "resume" if stage.grows else "again")
    info = inspect(output)
    if info.state == "done":
        return Verdict("done")
    if read_json(output / "run.json") and (output / "checkpoints").is_dir():
        return Verdict("resume", f"{info.state} at step {info.step} of {info.total or '?'}")
    return Verdict("again", "nothing of it was saved")


def changes(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which parts differ, in words."""
    words = {"command": "its command", "model": "the model it starts from", "--rankings": "the rankings",
             "--reward": "the reward model", "--data": "the text"}  # fmt: skip
    return " and ".join(words.get(k, k) for k in sorted(then.keys() | now.keys()) if then.get(k) != now.get(k))


def set_aside(path: Path, folder: Path) -> None:
    """Make room for a new output; the one before is kept once, in `folder`."""
    old = folder / path.name
    shutil.rmtree(old, ignore_errors=True)
    old.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    path.rename(old)
