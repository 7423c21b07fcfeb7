"""Say what a run would do before it is started: size, steps, memory on this machine, time, disk, the exact command.

`lab plan` takes the flags of the recipe and refuses what the recipe would refuse. Nothing is written and nothing is
downloaded. The time is that of a run whose steps cost the same on this machine, else of some real steps: of pretraining
on random ids, of tuning on the conversations themselves. While another training holds the accelerator none are tried.

  SAFE                 also if it takes a third more than reckoned, it fits into what is free now
  TIGHT                it fits, but other programs must give way
  OUT OF MEMORY RISK   it needs more than nine tenths of this machine (on a Mac: of what the GPU is meant to use)

Four runs of 27 to 82 s on one core of an AMD server took 0 to 8 % more or less than their plans said, `lab sft` on a busy
Xeon 376 s instead of 378.

Examples:
  lab plan                                        the recipes
  lab plan pretrain                               what `lab pretrain` would do
  lab plan pretrain --size 20m --batch-size 32    with these flags
  lab plan sft --data talks.jsonl --iters 200     tuning: on your conversations
  lab plan interrogate                            with what it asks before the first step
  lab plan probes --model pocket-base --quick
  lab plan pretrain --name try --resume           what is left of a run
  lab plan pretrain --json                        one JSON object a line: the plan at once, the time when it is known
  lab plan --json                                 the recipes and their flags, for programs
"""

import contextlib
import dataclasses
import difflib
import importlib
import json
import os
import shlex
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional

from lab.errors import UserError, expand
from lab.words import duration, size
from recipes import cli, flags

if TYPE_CHECKING:
    from recipes.estimate import Plan

OWN = ("interrogate", "search")  # recipes whose --data is a file of questions, and never a data set of the hub
COLOURS = {"SAFE": "green", "TIGHT": "yellow", "OUT OF MEMORY RISK": "bold red"}


@dataclass(frozen=True)
class Config:
    recipe: Positional[str] = ""
    """What would be run; its own flags follow. Without it all recipes."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print JSON objects, one a line."""


def main(args: Sequence[str]) -> int:
    """`lab plan ARGS`; all but --json and --help belongs to the recipe."""
    rest = [arg for arg in args if arg != "--json"]
    if "--help" in rest or "-h" in rest:
        import tyro

        tyro.cli(Config, args=["--help"], prog="lab plan", description=__doc__)
    as_json, name = len(rest) < len(args), ""
    if rest and not rest[0].startswith("-"):
        name = rest.pop(0)
    if not name:
        if rest:
            raise UserError(f"{rest[0]}: name the recipe first: lab plan {next(iter(cli.RECIPES))} {shlex.join(rest)}")
        _recipes(as_json)
        return 0
    if name not in cli.RECIPES:
        near = difflib.get_close_matches(name, cli.RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(cli.RECIPES)}"
        raise UserError(f"no recipe {name}; {hint}")
    given = cli.parse(name, types.SimpleNamespace(Config=flags.config(cli.RECIPES[name][0]), __doc__=""), rest)
    _free_name(given)
    told = _Told(as_json)
    _plan(name, given, rest, told)
    return 0


def _recipes(as_json: bool) -> None:
    from rich.console import Console

    out = Console(highlight=False)
    for name, (module, line) in cli.RECIPES.items():
        if as_json:
            found = [dataclasses.asdict(flag) for flag in flags.flags(module)]
            print(json.dumps({"event": "recipe", "recipe": name, "line": line, "flags": found}))
        else:
            out.print(f"[bold]{name:<10}[/] {line}", soft_wrap=True)
    if not as_json:
        out.print(f"\nlab plan {next(iter(cli.RECIPES))} [FLAGS] says what it would do; lab plan --help has examples")


def _free_name(given: Any) -> None:
    """Refuse the name of a new run that the run itself would refuse."""
    from lab.runs import check_name, root

    if given.name is not None:
        check_name(given.name)
        if not given.resume and (root() / given.name).exists():
            raise UserError(f"--name {given.name}: is there already; choose another, or add --resume to go on with it")


class _Told:
    """Prints what is found out, as it is found out."""

    def __init__(self, as_json: bool):
        self.as_json = as_json

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if self.as_json:
            print(json.dumps({"event": event} | facts), flush=True)
        else:
            from rich.console import Console

            for head, text, style in _lines(event, facts):
                Console(highlight=False).print(f"[bold cyan]{head:<9}[/]", end="")
                Console(highlight=False).print(text, style=style, markup=False, soft_wrap=True)


def _plan(recipe: str, given: Any, args: list[str], told: _Told) -> None:
    module = importlib.import_module(cli.RECIPES[recipe][0])
    config = module.Config(**{f.name: getattr(given, f.name) for f in dataclasses.fields(module.Config)})
    stands = 0
    if config.resume:
        config, stands = _left(recipe, module, config, args)
    os.environ["HF_HUB_OFFLINE"] = "1"  # a plan downloads nothing
    field, missing = _missing(config, ("model",) if recipe in OWN else ("model", "data"))
    if field == "data":
        module.check(dataclasses.replace(config, data=None))
    elif not field:
        config = module.check(config) or config

    from lab import device
    from recipes import estimate, machine
    from recipes.estimate import Plan

    plan = Plan(facts={field: missing} if field else {}, checkpoint=None)
    if hasattr(module, "plan") and field != "model":
        plan = module.plan(config)
    if stands and plan.steps:
        left = max(0, plan.steps - stands)
        plan = dataclasses.replace(plan, steps=left, first=stands, tokens=(plan.tokens or 0) // plan.steps * left)
    work = machine.work()
    busy = [run["name"] for run in work["live"] if run["state"] in ("running", "paused", "saving")]
    busy = busy or (["another training"] if work["device_taken"] else [])
    memory = estimate.memory(plan.memory)
    told(
        "plan",
        {
            "recipe": recipe, "command": shlex.join(["lab", recipe, *args]), "device": device.name(),
            "parameters": plan.parameters, "steps": plan.steps, "first": plan.first, "tokens": plan.tokens, "about": plan.about,
            "facts": dict(plan.facts), "memory": memory, "disk": _disk(plan),
            "waits": f"{', '.join(busy)} trains now: this one waits for it" if busy else "",
        },
    )  # fmt: skip
    told("time", _time(recipe, config, plan, memory, busy, told))


def _left(recipe: str, module: Any, config: Any, args: list[str]) -> tuple[Any, int]:
    """(the config of the run that goes on, the step it stands at). UserError for a flag that it began otherwise with."""
    from lab.runs import checkpoints, newest, root

    name = config.name or newest(recipe)
    recorded = cli._absolute(module.Config(**cli._recorded(recipe, name, module.Config)))
    given = cli._absolute(cli.parse(recipe, module, args, recorded))
    for field in dataclasses.fields(recorded):
        was = getattr(recorded, field.name)
        if field.name not in ("name", "resume") and getattr(given, field.name) != was:
            raise UserError(f"--{field.name.replace('_', '-')} cannot change on --resume (it was {was}); leave it out")
    kept = checkpoints(root() / name)
    return dataclasses.replace(recorded, resume=True, name=name), int(kept[-1].name) if kept else 0


def _missing(config: Any, fields: Sequence[str]) -> tuple[str, str]:
    """(which of the flags has a value that would have to come from the hub first, that in words); empty for nothing."""
    from lab import hub
    from lab.runs import root

    kinds: dict[str, hub.Kind] = {"model": "model", "data": "dataset"}
    for field in fields:
        kind = kinds[field]
        name = str(getattr(config, field, None) or "")
        repo = "/".join(name.partition(":")[0].partition("@")[0].split("/")[:2])
        here = expand(name).exists() or expand(repo).parent.is_dir() or (root() / name).exists()
        if hub.is_id(repo) and not here and not hub.store_of(repo, kind).is_dir():
            return field, f"{name} is not on this computer: the run downloads it first"
    return "", ""


def _disk(plan: "Plan") -> dict[str, Any]:
    """Checkpoints, the copy of the weights at the top, one checkpoint more while it is written."""
    from recipes import machine

    disk = machine.disk()
    need = None
    if plan.checkpoint is not None:
        need = plan.checkpoint * (plan.checkpoints + 1) + 4 * (plan.parameters or 0) * bool(plan.checkpoint)
    return {"checkpoint": plan.checkpoint, "checkpoints": plan.checkpoints, "need": need, "free": disk["free"]}


def _time(
    recipe: str, config: Any, plan: "Plan", memory: dict[str, Any], busy: list[str], told: _Told
) -> dict[str, Any]:
    """Seconds, and how they were found; or why they are not known."""
    from lab import device
    from lab.display import busy as show
    from recipes import estimate

    def unknown(why: str) -> dict[str, Any]:
        return {"seconds": None, "said": why}

    if past := estimate.like(recipe, dataclasses.asdict(config), device.name()):
        seconds = past.around + past.step * (past.steps if plan.steps is None else plan.steps)
        went = "goes" if past.run in busy else "went"
        return {"seconds": seconds, "step": past.step, "tok_s": past.tok_s, "said": f"as {past.run} {went}"}
    if plan.work is None or plan.steps is None:
        return unknown("no run like it has ended on this machine")
    if busy:
        return unknown(f"{', '.join(busy)} holds the device; steps are measured when it is free")
    if memory["band"] == "OUT OF MEMORY RISK":
        return unknown("not tried, because it may not fit")
    device.limit_memory(plan.memory or 0)
    parts: dict[str, float] = {}
    step, said = 0.0, "measured here"
    left = plan.steps / max(1, plan.steps + plan.first)  # of a run that goes on, the share that is not done yet
    with contextlib.nullcontext() if told.as_json else show("measuring some steps"):
        for work in plan.work(memory["band"] == "SAFE"):
            once, how = work.seconds()
            parts[work.name] = once * work.times * (left if work.stepwise else 1.0)
            if work.name == "steps":
                step, said = once, how
                if told.as_json:
                    told("step", {"seconds": step, "said": how})
                if "steps measured" in how:
                    told("memory", estimate.memory(device.memory().peak, measured=True))
    speed = (plan.tokens or 0) / plan.steps / step if plan.tokens and step else 0
    return {"seconds": sum(parts.values()), "step": step, "tok_s": speed, "said": said, "parts": parts}


def _lines(event: str, told: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What people read of an event: (heading, text, style)."""
    if event == "plan":
        lines = [(name, text, "") for name, text in told["facts"].items()]
        about = "about " if told["about"] else ""
        if told["steps"] is not None:
            tokens = f", {told['tokens']:,} tokens" if told["tokens"] else ""
            left = f" more, from step {told['first']:,} on" if told["first"] else ""
            lines.append(("run", f"{about}{told['steps']:,} steps{left}{tokens}" + _because(told["about"]), ""))
        lines += _lines("memory", told["memory"])
        disk = told["disk"]
        if disk["need"]:
            count = f"{disk['checkpoints']} checkpoints of {size(disk['checkpoint'])}"
            short = disk["need"] > disk["free"]
            text = f"{size(disk['need'])} for {count}; {size(disk['free'])} free{': NOT ENOUGH' * short}"
            lines.append(("disk", text, "bold red" if short else ""))
        lines += [("device", told["device"], ""), ("command", told["command"], "bold")]
        return lines + ([("waits", told["waits"], "yellow")] if told["waits"] else [])
    if event == "memory":
        if told["need"] is None:
            return [("memory", f"not known: {told['why']}", "")]
        how = "measured" if told["measured"] else "about"
        there = f"{size(told['available'])} free of {size(told['room'])}"
        return [
            ("memory", f"{told['band']}: {how} {size(told['need'])}, {there}; {told['why']}", COLOURS[told["band"]])
        ]
    if event == "time":
        if told["seconds"] is None:
            return [("time", f"not known: {told['said']}", "")]
        speed = f", {told['tok_s']:,.0f} tokens/s" if told["tok_s"] else ""
        return [("time", f"about {duration(told['seconds'])} ({told['said']}{speed})", "")]
    return []


def _because(about: str) -> str:
    return f" ({about})" if about else ""
