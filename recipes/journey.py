"""The whole road of the talk in one command: from text to a base model, an assistant that admits what it does not know,
searches, computes and thinks, and one that has been trained towards a taste.

Each stage is the ordinary command that you could type yourself, in a process of its own, and leaves the run NAME-STAGE. A
stage is left out when its output is there and nothing it was made of has changed: its command, the weights it starts from,
what else it reads. So the same line goes on after Ctrl-C, kill -9 or a power cut, also in the middle of a stage; what is made
again says why, and of each output the one before is kept in .journeys/NAME/old of the weights folder.

  --preset pocket     the pocket world, a model of a million parameters: one to two hours of one core
  --preset laptop     a Mac: TinyStories from the hub and the pocket world, 20 million parameters, a night or more (7e16 FLOPs).
                      Never run so far: `--dry-run` measures some steps there and reckons hours and memory
  --preset model=ID   begins at sft, from an open model, with LoRA

Examples:
  lab journey                                     all of it; the runs are called mine-pretrain, mine-sft, ...
  lab journey --dry-run                           what would be done, with time and memory
  lab journey --name second --seed 1              another one
  lab journey --from demonstrate --to grpo        a part of it; what is not there is taken from the shipped models
  lab journey --from sft --fresh                  that stage and all after it once more
  lab journey --flags my.yaml                     flags of single stages, such as  pretrain: {data: books/, iters: 4000}
  lab journey --name hub --preset model=HuggingFaceTB/SmolLM2-135M-Instruct
"""

import contextlib
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg

from lab.errors import UserError, expand
from lab.runs import check_name, inspect, lock, read_json, read_lines, root, write_atomic
from lab.words import duration
from recipes import walking
from recipes.stages import PRESETS, Road, Stage, Verdict, judge, set_aside


@dataclass(frozen=True)
class Config:
    name: str = "mine"
    """What the runs are called: NAME-STAGE."""
    preset: str | None = None
    """pocket, laptop, or model=ID (pocket; a journey that goes on: what it began with)."""
    begin: Annotated[str | None, arg(name="from")] = None
    """The first stage; those before are left as they are."""
    to: str | None = None
    """The last stage."""
    also: UseAppendAction[tuple[str, ...]] = ()
    """A stage that is only walked when asked for: rejection."""
    fresh: Annotated[bool, FlagCreatePairsOff] = False
    """Make every stage of this part again."""
    seed: int | None = None
    """Everything random follows from it (0; a journey that goes on: what it began with)."""
    flags: str | None = None
    """A YAML file: stage -> flags of its own."""
    dry_run: Annotated[bool, FlagCreatePairsOff] = False
    """Say what would be done, with time and memory, and do nothing."""


class Journal:
    """weights/.journeys/NAME/journey.json: what the journey was made of and how far it is, for other programs too. While a
    process walks it, that process holds `lock`; while a stage runs, so does the stage with `stage.lock`."""

    def __init__(self, name: str):
        self.folder = root() / ".journeys" / name
        self.path = self.folder / "journey.json"
        self.told: dict[str, Any] = read_json(self.path)
        self.stages: dict[str, dict[str, Any]] = self.told.get("stages", {})

    def keep(self, **more: Any) -> None:
        """Write it down."""
        self.told |= more | {"version": 1, "stages": self.stages, "t": round(time.time(), 3)}
        write_atomic(self.path, json.dumps(self.told, indent=1) + "\n")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process walks a journey. UserError where another does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = lock(self.folder / "lock", "")
        except UserError:
            busy = f"the journey {self.folder.name} is on its way in another process"
            raise UserError(f"{busy}; wait for it, or stop it there with Ctrl-C") from None
        try:
            yield
        finally:
            os.close(handle)


def run(config: Config) -> int:
    check_name(f"{config.name}-x")
    journal = Journal(config.name)
    road = road_of(config, journal.told)
    part = part_of(road, config)
    refuse(road, part)
    again = again_line(config)
    if config.dry_run:
        show(road, part, journal, config.fresh)
        return 0
    with journal.locked(), walking.Watch(road.name) as watch:
        journal.keep(name=road.name, preset=road.preset, seed=road.seed, flags=road.flags, also=road.also, state="running",
                     road=[stage.name for stage in part])  # fmt: skip
        try:
            code = walk(road, part, journal, config.fresh, watch, again)
        except KeyboardInterrupt:  # between two stages
            journal.keep(state="stopped", at="")
            watch.say(f"Stopped. Go on: {again}")
            return 130
        except BaseException:
            journal.keep(state="failed", at="")
            raise
        journal.keep(state="stopped" if code else "done", at="")
    if not code:
        table(road, journal)
    return code


def road_of(config: Config, told: Mapping[str, Any]) -> Road:
    """The road, by the flags or, where they are not given, as the journey began. UserError for flags that make no sense."""
    flags = stage_flags(config.flags) if config.flags else told.get("flags") or {}
    preset = config.preset or told.get("preset") or PRESETS[0]
    seed = config.seed if config.seed is not None else told.get("seed", 0)
    road = Road(config.name, preset, seed, flags, config.also or tuple(told.get("also", ())))
    for name in (*flags, *road.also):
        road.find(name)
    return road


def stage_flags(path: str) -> dict[str, list[str]]:
    """Stage -> its flags, of a YAML file."""
    import yaml

    try:
        content = yaml.safe_load(expand(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--flags {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UserError(f"--flags {path}: write stages and flags, such as  sft: {{iters: 100}}")
    return {
        str(stage): [word for k, v in given.items() for word in _words(str(k), v)] for stage, given in content.items()
    }


def _words(key: str, value: Any) -> list[str]:
    """A flag as it is typed."""
    flag = "--" + key.replace("_", "-")
    if isinstance(value, bool):
        return [flag if value else "--no-" + flag.removeprefix("--")]
    words = [str(one) for one in (value if isinstance(value, list) else [value])]
    return [
        flag,
        *(str(expand(word).resolve()) if os.sep in word and expand(word).exists() else word for word in words),
    ]


def part_of(road: Road, config: Config) -> list[Stage]:
    """The stages from --from to --to. UserError where what the first needs is nowhere."""
    stages = road.stages
    first = stages.index(road.find(config.begin)) if config.begin else 0
    last = stages.index(road.find(config.to)) if config.to else len(stages) - 1
    if last < first:
        raise UserError(f"--to {config.to} comes before --from {config.begin}")
    part = list(stages[first : last + 1])
    names = {stage.name for stage in part}
    for stage in part:
        if (needs := road.missing(stage)) and needs not in names:
            raise UserError(
                f"{stage.name} needs {road.name}-{needs}, which is not there: begin with --from {needs}, or earlier"
            )
    return part


def refuse(road: Road, part: Sequence[Stage]) -> None:
    """UserError for flags that a stage would not know, before an hour of others is walked."""
    if not 0 <= road.seed < 1 << 26:
        raise UserError(f"--seed {road.seed}: must lie between 0 and {(1 << 26) - 1}")
    given = {stage.name: road.arguments(stage) for stage in part if (road.flags or {}).get(stage.name)}
    if given and (said := walking.unknown(given)):
        raise UserError(f"--flags, {said}")


def walk(road: Road, part: Sequence[Stage], journal: Journal, fresh: bool, watch: walking.Watch, again: str) -> int:
    """Stage after stage; 130 where Ctrl-C or `lab ctl` ended it."""
    watch.wait_for_orphan(journal.folder / "stage.lock")
    todo = [stage for stage in part if fresh or judge(road, stage, journal.stages.get(stage.name, {})).state != "done"]
    watch.reckon(road, part, todo)
    for number, stage in enumerate(part, 1):
        kept = journal.stages.get(stage.name, {})
        verdict = judge(road, stage, kept)
        if fresh and road.output(stage).exists():
            verdict = Verdict("again", "--fresh")
        if verdict.state == "done":
            if kept.get("state") != "done":  # it outlived the journey that started it
                kept |= {"state": "done", "cpu": max(kept.get("cpu", 0.0), reported(road, stage))}
                journal.keep()
            watch.say(f"{stage.name}: there already ({headline(road, stage)})")
            continue
        if verdict.state == "again" and road.output(stage).exists():
            set_aside(road.output(stage), journal.folder / "old")
        resume = verdict.state == "resume"
        args = road.arguments(stage, resume=resume)
        if stage.out:
            road.output(stage).parent.mkdir(parents=True, exist_ok=True)
        journal.stages[stage.name] = (kept if resume else {}) | {
            "state": "running", "made_of": road.made_of(stage), "command": shlex.join(["lab", *args]),
        }  # fmt: skip
        journal.keep(state="running", at=stage.name)
        told = {"new": "", "resume": f"  (goes on: {verdict.why})", "again": f"  (again: {verdict.why})"}[verdict.state]
        watch.say(f"[{number}/{len(part)}] {stage.name}: {stage.says}{told}\n  $ {shlex.join(['lab', *args])}")
        ended = watch.follow(stage, number, len(part), args, road.folder(stage.name), journal)
        row = journal.stages[stage.name]
        row["seconds"] = round(row.get("seconds", 0) + ended.seconds, 1)
        row["cpu"] = round(max(row.get("cpu", 0) + ended.cpu, reported(road, stage)), 1)
        whole = road.output(stage).exists() if stage.out else inspect(road.folder(stage.name)).state == "done"
        row["state"] = "done" if whole and not ended.code else "stopped"
        journal.keep()
        if row["state"] != "done":
            if ended.code and not watch.stopping:
                raise UserError(
                    f"{stage.name} failed: {ended.said}; its words are in {ended.log}; mend it, then: {again}"
                )
            watch.say(f"Stopped in stage {number} of {len(part)}, {stage.name}{saved(road, stage)}. Go on: {again}")
            return 130
        watch.done(stage, ended.seconds, resume)
        watch.say(f"  {headline(road, stage)}  ({duration(ended.seconds)})")
        if watch.stopping and number < len(part):
            watch.say(f"Stopped after {stage.name}. Go on: {again}")
            return 130
    return 0


def again_line(config: Config) -> str:
    """The line that goes on: the same part of the road, with the flags as their file then says."""
    given = (("--flags", config.flags), ("--from", config.begin), ("--to", config.to))
    return shlex.join(
        ["lab", "journey", "--name", config.name, *(w for flag, value in given if value for w in (flag, value))]
    )


def saved(road: Road, stage: Stage) -> str:
    info = None if stage.out else inspect(road.folder(stage.name))
    return f" at step {info.step} of {info.total or '?'}, saved" if info and info.step else ""


def headline(road: Road, stage: Stage) -> str:
    """What came out, in a few words."""
    if not stage.out:
        return inspect(road.folder(stage.name)).headline or "done"
    output = road.output(stage)
    if output.suffix == ".jsonl":
        return f"{sum(1 for _ in read_lines(output)):,} rows"
    return f"written; its words are in .journeys/{road.name}/{stage.name}.log"


def reported(road: Road, stage: Stage) -> float:
    """CPU-seconds as the run itself tells them: those of a stage that outlived its journey are known no other way."""
    rows = read_lines(road.folder(stage.name) / "metrics.jsonl") if not stage.out else ()
    return max((float(r["cpu_s"]) for r in rows if r.get("event") == "report" and "cpu_s" in r), default=0.0)


# -- what people read ------------------------------------------------------------------------------------------------


def show(road: Road, part: Sequence[Stage], journal: Journal, fresh: bool) -> None:
    """What would be done, with time and memory."""
    verdicts = {s.name: Verdict("again", "--fresh") if fresh and road.output(s).exists()
                else judge(road, s, journal.stages.get(s.name, {})) for s in part}  # fmt: skip
    todo = [stage for stage in part if verdicts[stage.name].state != "done"]
    reckoned = walking.Reckoned.of(road, todo)
    out, rows = Console(highlight=False), Table(box=None, header_style="bold")
    for column in ("stage", "what it does", "about", "now"):
        rows.add_column(column, justify="right" if column == "about" else "left")
    says = {"done": "there already", "new": "to do", "resume": "goes on", "again": "again"}
    changed = set[str]()
    for stage in part:
        verdict = verdicts[stage.name]
        before = next((n for n in (stage.model, *(o for _, o in stage.reads)) if n in changed), "")
        word = says[verdict.state] + (f": {verdict.why}" if verdict.why else "")
        if verdict.state == "done" and before:
            word = f"there, and again if {before} comes out otherwise"
        if verdict.state in ("again", "new") or before:
            changed.add(stage.name)
        left = duration(reckoned.seconds(stage)) if stage in todo else ""
        rows.add_row(stage.name, stage.says, left, word)
    out.print(rows)
    total = [reckoned.seconds(stage) for stage in todo]
    known = [t for t in total if t is not None]
    out.print(f"\ntime    about {duration(sum(known))}" + (" and what is not known" if len(known) < len(total) else "")
              + f" ({reckoned.said})", markup=False)  # fmt: skip
    out.print(f"memory  {reckoned.memory}", markup=False)
    for stage in todo[:1]:
        out.print(
            f"first   lab {shlex.join(road.arguments(stage, verdicts[stage.name].state == 'resume'))}", markup=False
        )


def table(road: Road, journal: Journal) -> None:
    """The end of the journey: every stage with its headline and its CPU-minutes."""
    rows = Table(box=None, header_style="bold")
    for column in ("stage", "run", "what came out", "CPU-minutes"):
        rows.add_column(column, justify="right" if column == "CPU-minutes" else "left", overflow="fold")
    total = 0.0
    for stage in road.stages:
        row = journal.stages.get(stage.name, {})
        if row.get("state") == "done":
            total += row.get("cpu", 0.0)
            rows.add_row(stage.name, Path(road.output(stage)).relative_to(root()).as_posix(), headline(road, stage),
                         f"{row.get('cpu', 0.0) / 60:.1f}")  # fmt: skip
    rows.add_row("all", "", "", f"{total / 60:.1f}", style="bold")
    out = Console(highlight=False)
    out.print(rows)
    spoken = [s for s in road.stages if journal.stages.get(s.name, {}).get("state") == "done" and s.ships and s.model]
    if spoken:
        out.print(
            f"\nTalk to it: lab chat --model {road.name}-{spoken[-1].name}; the report card: lab report", markup=False
        )
