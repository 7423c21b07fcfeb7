"""The `lab` command: a table of names, imported only when called, so that `lab --help` stays under 0.3 s."""

import contextlib
import dataclasses
import difflib
import errno
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# name -> (module, one line). A recipe has run(config, record) and leaves a run folder; a command has run(config) -> exit code.
RECIPES = {
    "pretrain": ("recipes.pretrain", "train a transformer from scratch: on the pocket world, or on your own text"),
    "sft": ("recipes.sft", "conversations turn a base model into an assistant: yours, the hub's, the pocket world's"),
    "interrogate": (
        "recipes.interrogate",
        'ask a model what it knows, and teach it to say "I do not know" to the rest',
    ),
    "search": ("recipes.search", "teach a model to look up what it does not know"),
    "code": ("recipes.code", "teach a model to compute with Python: letters, sums, decimals"),
    "think": ("recipes.think", "tokens to think: the same model answers at once, step by step, too late, or by code"),
    "demonstrate": (
        "recipes.demonstrate",
        "show a model problems solved in several styles, before it learns by itself",
    ),
    "grpo": ("recipes.grpo", "reinforcement learning on what can be verified: groups of replies, the right ones win"),
    "rejection": ("recipes.rejection", "keep the right replies, retrain on them, repeat"),
    "selfplay": ("recipes.selfplay", "tic-tac-toe: imitate a teacher, then play against yourself until you are better"),
    "reward-model": (
        "recipes.reward_model",
        "learn from rankings which of two replies people prefer, and score any reply",
    ),
    "dpo": ("recipes.dpo", "learn from rankings without a reward model: direct preference optimisation"),
    "rlhf": ("recipes.rlhf", "learn to please a reward model, with a price on divergence, and see when it is gamed"),
    "harden": (
        "recipes.harden",
        "a reward model against a policy that games it, in rounds: what was found is ranked last",
    ),
    "probes": ("recipes.probes", "see what a base model is: recital, few-shot, calibration, and four more probes"),
}
COMMANDS = {
    "journey": (
        "recipes.journey",
        "the whole road, stage after stage, from text to a model with a taste; goes on anywhere",
    ),
    "report": ("recipes.commands.report", "the report card: every claim of the talk, what was measured, shown or not"),
    "explain": ("recipes.commands.explain", "the talk's chapters: the idea, the code to read, what to run and look at"),
    "chat": ("recipes.commands.chat", "talk with a model; a base model completes what you type"),
    "play": ("recipes.commands.play", "tic-tac-toe against a model that learned it"),
    "generate": ("recipes.commands.generate", "continue a prompt once"),
    "tokens": ("recipes.commands.tokens", "see how tokenizers cut text; train one"),
    "data": (
        "recipes.commands.data",
        "look at training text, and clean it: yours, the hub's, the pocket world",
    ),
    "show-chat": ("recipes.commands.show_chat", "see which tokens of your conversations are trained, before you train"),
    "index": ("recipes.commands.index", "put documents into an index that a model can search"),
    "synth": (
        "recipes.commands.synth",
        "conversations out of your own documents, written and checked by a local model",
    ),
    "eval": ("recipes.commands.evaluate", "how often a model is right on problems with a judge: pass@k, side by side"),
    "judge": ("recipes.commands.judge", "a local model judges replies: right or wrong, or which of two is better"),
    "rank": (
        "recipes.commands.rank",
        "rank replies best to worst, yourself or scripted: what a reward model learns from",
    ),
    "score": ("recipes.commands.score", "score replies with a reward model, best first"),
    "gap": (
        "recipes.commands.gap",
        "telling good replies is easier than writing them: by how much, and what best-of-n gains",
    ),
    "study": (
        "recipes.commands.study",
        "over-optimisation: a reward and what it stands for, the further a model leaves where it began",
    ),
    "plan": ("recipes.commands.plan", "what a run would do: memory, time, disk, the exact command"),
    "runs": ("recipes.commands.runs", "list runs and models"),
    "ctl": ("recipes.commands.ctl", "pause, resume, checkpoint or stop a live run"),
    "ship": ("recipes.commands.ship", "copy a finished run, thinned and in bf16, as a model to share"),
    "models": ("recipes.commands.models", "list the models on this computer, whoever put them there"),
    "import": ("recipes.commands.import_model", "bring in a model from the hub, a GGUF file or a folder"),
    "export": ("recipes.commands.export", "write a model for other programs, quantised if you like"),
    "tui": ("recipes.commands.tui", "the window: live curves, chat, tokens (so does `lab` alone)"),
    "decimals": (
        "recipes.commands.decimals",
        "9.11 or 9.9: which of two decimals a model calls larger, by kind of pair",
    ),
    "context": ("recipes.commands.context", "weights against context: facts asked without and with the passage"),
    "skills": ("recipes.commands.skills", "what each model of a lineage still can: what a stage taught, what it cost"),
    "probe-knowledge": (
        "recipes.commands.probe_knowledge",
        'is there a "don\'t know" neuron? known names against never-seen ones',
    ),
    "doctor": ("recipes.commands.doctor", "look at this machine: speed, memory, what to mend; check its numbers"),
}
# Flags of recipes whose value may be a path. A model's or a task's may be a name as well, of a run or of the pocket world.
FILES = ("data", "labels", "index", "search", "gold", "model", "reward", "task", "judge")
NAMES = ("model", "reward", "gold", "judge", "task")
# What the name of a file ends with, and none of a run does.
PLACES = (".gguf", ".jsonl", ".parquet", ".py", ".gz", ".zst")


def usage() -> str:
    """What `lab --help` prints."""
    lines = ["A local LLM lab in one terminal: train, tune, chat with and see inside a transformer.", ""]
    lines += ["usage: lab                         the window: live curves, chat, tokens"]
    lines += ["       lab COMMAND [OPTIONS]       lab COMMAND --help shows options and examples", ""]
    for title, table in (("train and measure", RECIPES), ("use and look", COMMANDS)):
        lines += [f"{title}:"] + [f"  {name:<15} {line}" for name, (_, line) in table.items()] + [""]
    lines += ["examples:", "  lab pretrain                           the pocket model, in minutes, with live progress"]
    lines += ["  lab pretrain --data book.txt           the same from your own text"]
    lines += ["  lab chat --model pocket-base           talk with the shipped base model"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for bad input, 130 for Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows ? and does not end the command
    name = args[0] if args else ""
    try:
        code = _call(args)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich met it first
            return 0
        raise
    except BrokenPipeError:  # `lab runs | head`: the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        what = f"{error.filename or 'writing failed'}: {error.strerror or error}"
        return _fail(f"lab {name}", what + ("; free some space and try again" if full else ""))


def _call(args: list[str]) -> int:
    if args[:1] == ["help"] and len(args) > 1:
        args = [args[1], "--help"]
    if not args and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        args = ["tui"]
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *args = args
    table = RECIPES | COMMANDS
    if name not in table:
        near = difflib.get_close_matches(name, [*table, "--help"], n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(table)}"
        return _fail("lab", f"no command {name or 'without a name'}; {hint} (lab --help)")
    from lab.errors import UserError

    try:
        module = importlib.import_module(table[name][0])
        if name in RECIPES:
            return _train(name, module, args)
        if name == "plan":  # its flags are those of a recipe
            return int(module.main(args))
        return int(module.run(parse(name, module, args)) or 0)
    except UserError as error:
        return _fail(f"lab {name}", str(error))


def _fail(who: str, message: str) -> int:
    from lab.display import CONTROLS

    print(f"{who}: {' '.join(message.split())}".translate(CONTROLS), file=sys.stderr)
    return 2


def _train(name: str, module: Any, args: list[str]) -> int:
    """Open (or reopen) the run folder, show progress, run the recipe."""
    from lab import hub_chat
    from lab.errors import UserError
    from lab.run import Run
    from lab.runs import read_json
    from recipes.progress import watch

    config = _absolute(parse(name, module, args))
    if config.resume:
        recorded = _absolute(module.Config(**_recorded(name, config.name, module.Config)))
        given = _absolute(parse(name, module, args, recorded))
        for field in dataclasses.fields(recorded):
            if field.name not in ("name", "resume") and getattr(given, field.name) != getattr(recorded, field.name):
                flag = "--" + field.name.replace("_", "-")
                was = getattr(recorded, field.name)
                raise UserError(f"{flag} cannot change on --resume (it was {was}); leave it out, or start a new run")
        config = dataclasses.replace(recorded, resume=True, name=config.name)
    config = module.check(config) or config
    told = dataclasses.asdict(dataclasses.replace(config, name=None, resume=False))
    charts = getattr(module, "CHARTS", ())
    record = Run(name, told, config.name, config.resume, getattr(config, "model", None), charts)
    # A template that prints the date prints that of the run's first day, on all its days.
    hub_chat.day = read_json(record.folder / "run.json").get("created")
    try:
        with record, watch(record):
            module.run(config, record)
    finally:
        hub_chat.day = None
    return 0


def _absolute(config: Any) -> Any:
    """The paths of what a run reads in full, so that --resume finds it from any folder."""
    from lab.errors import expand

    found = {}
    for name in FILES:
        path = getattr(config, name, None)
        if isinstance(path, str) and path:
            checkpoint = name in NAMES and not expand(path).exists()  # run@400
            place, at, step = path.partition("@") if checkpoint else (path, "", "")
            named = name in NAMES and "/" not in place and Path(place).suffix not in PLACES
            if not named and expand(place).exists():
                found[name] = f"{expand(place).resolve()}{at}{step}"
    return dataclasses.replace(config, **found)


def _recorded(recipe: str, name: str | None, kind: Any) -> dict[str, Any]:
    """The config of the run that --resume goes on with."""
    from lab.errors import UserError
    from lab.run import check_name, newest
    from lab.runs import find, read_json, root

    name = name or newest(recipe)
    check_name(name)
    if not (root() / name).is_dir():
        find(name)  # offers the nearest name
    passport = read_json(root() / name / "run.json")
    if not passport:
        raise UserError(f"--resume: {root() / name} is no run; `lab runs` lists them")
    if passport.get("recipe") != recipe:
        raise UserError(
            f"--resume: {name} was made by {passport.get('recipe')}, not by {recipe}; `lab runs` lists them"
        )
    config = passport.get("config")
    fields = {f.name: f.default for f in dataclasses.fields(kind)}
    known = {k: v for k, v in (config if isinstance(config, dict) else {}).items() if k in fields}
    return {k: tuple(v) if isinstance(fields[k], tuple) else v for k, v in known.items()}


def parse(name: str, module: Any, args: list[str], default: Any = None) -> Any:
    """Flags -> the module's Config. A file given with -c comes before the flags, so the command line wins."""
    from lab.errors import UserError

    path, rest = _split_file(args)
    flags: list[str] = []
    if path is not None:
        flags = _flags_of(path, module.Config, rest)
        try:
            _tyro(name, module, flags, default)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return _tyro(name, module, flags + rest, default)


def _tyro(name: str, module: Any, args: list[str], default: Any) -> Any:
    import tyro

    from lab.errors import UserError

    complaint = io.StringIO()
    more = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            config, unknown = tyro.cli(
                module.Config,
                args=args,
                prog=f"lab {name}",
                description=module.__doc__,
                return_unknown_args=True,
                **more,
            )
    except SystemExit as error:
        if error.code and not isinstance(error.__context__, BrokenPipeError):
            raise UserError(f"{_plain(complaint.getvalue())} (lab {name} --help)") from None
        raise
    if unknown:
        raise UserError(f"{_unknown(unknown[0], args, module.Config)} (lab {name} --help)")
    return config


def _unknown(word: str, args: list[str], kind: Any) -> str:
    """What to say of a word that no flag takes."""
    switches = {"--" + f.name.replace("_", "-") for f in dataclasses.fields(kind) if isinstance(f.default, bool)}
    if not word.startswith("-"):
        before = [
            a.split("=")[0] for a, b in zip(args, [*args[1:], ""], strict=True) if word in (b, a.partition("=")[2])
        ]
        flag = next((f.replace("_", "-") for f in before if f.replace("_", "-") in switches), "")
        if flag:
            return f"{flag} takes no value, but {word} follows; write {flag}, or leave it out"
        return f"too much: {word}; put quotes around text with spaces"
    flags = ["--" + f.name.replace("_", "-") for f in dataclasses.fields(kind)]
    flags += ["--no-" + f.removeprefix("--") for f in switches] + ["--help", "--config"]
    near = difflib.get_close_matches(word.split("=")[0].replace("_", "-"), flags, n=1)
    return f"unknown flag {word}" + (f"; did you mean {near[0]}?" if near else "")


KINDS = {"INT": "a whole number", "FLOAT": "a number"}


def _plain(box: str) -> str:
    """The first part of tyro's framed complaint (drawn with lines, or in ASCII), as one line in our words."""
    parts: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("│ ")
        if line.startswith(("╭", "╰")) or not text or set(text) <= set("─-"):
            parts.append([])
        else:
            parts[-1].append(text)
    said = [" ".join(part) for part in parts if part]
    text = (said[1] if "╭" not in box and len(said) > 1 else said[0]) if said else "bad arguments"
    if found := re.match(r"Missing value for argument '([^']+)'", text):
        return f"{found[1]} needs a value"
    if found := re.match(r"invalid choice '(.*)' for argument '([^']+)'\. Expected one of \((.*)\)", text):
        return f"{found[2]} {found[1]}: choose one of {found[3].replace(chr(39), '').rstrip(',')}"
    if found := re.match(r"Error parsing (\S+): no type matching (\S+) could be instantiated from \['(.*?)'\]", text):
        kind = found[2].split("|")[-1]
        return f"{found[1]} {found[3]}: give {KINDS.get(kind, kind)}"
    if found := re.match(r"Error parsing (\S+): (could not convert string to float|invalid literal).*: '(.*)'", text):
        return f"{found[1]} {found[3]}: give {'a number' if 'float' in found[2] else 'a whole number'}"
    return text


def _split_file(args: list[str]) -> tuple[str | None, list[str]]:
    """(the FILE of -c/--config or None, the other arguments)."""
    from lab.errors import UserError

    path, rest, left = None, list[str](), list(args)
    while left:
        flag, _, value = left[0].partition("=")
        if flag not in ("-c", "--config"):
            rest.append(left.pop(0))
            continue
        if path is not None:
            raise UserError(f"{flag} is given twice; put all into one file")
        path = value or (left[1] if len(left) > 1 and "=" not in left[0] else "")
        left = left[1 if "=" in left[0] else 2 :]
        if not path:
            raise UserError(f"{flag} needs a YAML file")
    return path, rest


def _flags_of(path: str, kind: Any, given: list[str]) -> list[str]:
    """The flags that a YAML file holds. A flag that may be repeated is left out when the command line gives it."""
    import yaml

    from lab.errors import UserError

    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file) or {}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a YAML file with -c") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: broken YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: write one `flag: value` a line")
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    flags: list[str] = []
    for key, value in values.items():
        field = str(key).replace("-", "_")
        if field not in defaults:
            near = difflib.get_close_matches(field, defaults, n=1)
            raise UserError(f"{path}: unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        flag, default = "--" + field.replace("_", "-"), defaults[field]
        many = isinstance(default, tuple)
        if isinstance(value, dict) or (isinstance(value, list) and not many):
            raise UserError(f"{path}: {key}: give one plain value")
        if isinstance(default, bool) and isinstance(value, bool):
            if value != default:
                flags.append(flag if value else "--no-" + flag.removeprefix("--"))
        elif value is not None and not (many and any(a.split("=")[0].replace("_", "-") == flag for a in given)):
            flags += [f"{flag}={item}" for item in (value if isinstance(value, list) else [value])]
    return flags


if __name__ == "__main__":
    sys.exit(main())
