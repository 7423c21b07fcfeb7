"""The `lab` command: a table of names, imported only when called, so that `lab --help` stays under 0.3 s."""

import contextlib
import dataclasses
import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

# name -> (module, one line). A recipe has run(config, record) and trains; a command has run(config) -> exit code.
RECIPES = {
    "pretrain": ("recipes.pretrain", "train a transformer from scratch: on the pocket world, or on your own text"),
}
COMMANDS = {
    "chat": ("recipes.commands.chat", "talk with a model; a base model completes what you type"),
    "generate": ("recipes.commands.generate", "continue a prompt once"),
    "tokens": ("recipes.commands.tokens", "see how tokenizers cut text; train one"),
    "data": ("recipes.commands.data", "look at training text: the pocket world, or your files"),
    "runs": ("recipes.commands.runs", "list runs and models"),
    "ctl": ("recipes.commands.ctl", "pause, resume, checkpoint or stop a live run"),
    "ship": ("recipes.commands.ship", "copy a finished run, thinned and in bf16, as a model to share"),
}


def usage() -> str:
    """What `lab --help` prints."""
    lines = ["A local LLM lab in one terminal: train, tune, chat with and see inside a transformer.", ""]
    lines += ["usage: lab COMMAND [OPTIONS]       lab COMMAND --help shows options and examples", ""]
    for title, table in (("train", RECIPES), ("use and look", COMMANDS)):
        lines += [f"{title}:"] + [f"  {name:<10} {line}" for name, (_, line) in table.items()] + [""]
    lines += ["examples:", "  lab pretrain                           the pocket model, in minutes, with live progress"]
    lines += ["  lab pretrain --data book.txt           the same from your own text"]
    lines += ["  lab chat --model pocket-base           talk with the shipped base model"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 2 for bad input, 130 for Ctrl-C."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name = args.pop(0)
    table = RECIPES | COMMANDS
    if name not in table:
        near = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(table)}"
        return _fail("lab", f"no command {name}; {hint} (lab --help)")
    from lab.errors import UserError

    try:
        module = importlib.import_module(table[name][0])
        if name in RECIPES:
            return _train(name, module, args)
        return int(module.run(parse(name, module, args)) or 0)
    except UserError as error:
        return _fail(f"lab {name}", str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `lab runs | head`: the reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"lab {name}", f"{error.filename or 'file'}: {error.strerror or error}")


def _fail(who: str, message: str) -> int:
    print(f"{who}: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _train(name: str, module: Any, args: list[str]) -> int:
    """Open (or reopen) the run folder, show progress, run the recipe."""
    from lab.run import Run
    from recipes.progress import watch

    config = parse(name, module, args)
    default = None
    if config.resume:
        default = module.Config(**_recorded(name, config.name, module.Config))
        changed = [f.name for f in dataclasses.fields(config) if _differs(f.name, config, default, module.Config())]
        if changed:
            flag = "--" + changed[0].replace("_", "-")
            return _fail(f"lab {name}", f"{flag} cannot change on --resume; leave it out, or start a new run")
        config = dataclasses.replace(default, resume=True, name=config.name)
    module.check(config)
    record = Run(
        name, dataclasses.asdict(dataclasses.replace(config, name=None, resume=False)), config.name, config.resume
    )
    with record, watch(record):
        module.run(config, record)
    return 0


def _recorded(recipe: str, name: str | None, kind: Any) -> dict[str, Any]:
    """The config of the run that --resume goes on with."""
    from lab.run import newest
    from lab.runs import read_json, root

    known = {f.name for f in dataclasses.fields(kind)}
    config = read_json(root() / (name or newest(recipe)) / "run.json").get("config", {})
    return {k: v for k, v in config.items() if k in known}


def _differs(field: str, given: Any, recorded: Any, plain: Any) -> bool:
    """True for a flag that was given (is not the default) and is not what the run was started with."""
    value = getattr(given, field)
    return field not in ("name", "resume") and value not in (getattr(plain, field), getattr(recorded, field))


def parse(name: str, module: Any, args: list[str]) -> Any:
    """Flags -> the module's Config. A file given with -c comes before the flags, so the command line wins."""
    import tyro

    from lab.errors import UserError

    args = _with_file(name, args, module.Config)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config, unknown = tyro.cli(
                module.Config, args=args, prog=f"lab {name}", description=module.__doc__, return_unknown_args=True
            )
    except SystemExit as error:
        if error.code:
            raise UserError(f"{_plain(complaint.getvalue())} (lab {name} --help)") from None
        raise
    if unknown:
        flags = ["--" + f.name.replace("_", "-") for f in dataclasses.fields(module.Config)]
        near = difflib.get_close_matches(unknown[0].split("=")[0].replace("_", "-"), flags, n=1)
        what = "unknown flag" if unknown[0].startswith("-") else "too much:"
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{what} {unknown[0]}{hint} (lab {name} --help)")
    return config


def _plain(box: str) -> str:
    """The first part of tyro's framed complaint, as one line."""
    words: list[str] = []
    for line in box.splitlines():
        text = line.strip("│╭╮╰╯─ ")
        if words and (not text or set(line.strip()) <= set("│─ ")):
            break
        if line.startswith("│") and text:
            words.append(text)
    return " ".join(words) or "bad arguments"


def _with_file(name: str, args: list[str], kind: Any) -> list[str]:
    """Replace -c/--config FILE by the flags that the YAML file holds, in front of the given ones."""
    from lab.errors import UserError

    for i, arg in enumerate(args):
        flag, _, value = arg.partition("=")
        if flag in ("-c", "--config"):
            rest = args[:i] + args[i + (1 if value else 2) :]
            path = value or (args[i + 1] if i + 1 < len(args) else "")
            if not path:
                raise UserError("-c needs a YAML file")
            return _flags_of(path, kind) + rest
    return args


def _flags_of(path: str, kind: Any) -> list[str]:
    import yaml

    from lab.errors import UserError

    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.safe_load(file) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: broken YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: write one `flag: value` a line")
    known = {f.name for f in dataclasses.fields(kind)}
    flags: list[str] = []
    for key, value in values.items():
        field = str(key).replace("-", "_")
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            raise UserError(f"{path}: unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        flag = "--" + field.replace("_", "-")
        if value is True:
            flags.append(flag)
        elif value is not False and value is not None:
            for item in value if isinstance(value, list) else [value]:
                flags += [flag, str(item)]
    return flags


if __name__ == "__main__":
    sys.exit(main())
