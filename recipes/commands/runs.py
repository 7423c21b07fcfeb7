"""List runs and models: state, step, headline, parent.

Examples:
  lab runs                 everything in the weights folder
  lab runs mine            one run: its config, its last numbers, its notes, its samples
  lab runs --json          one JSON object a line, for scripts
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional

from lab.display import CONTROLS
from lab.errors import UserError
from lab.runs import Info, checkpoints, find, inspect, read_json, read_lines, root, runs

SAMPLES = 12  # shown of one run


@dataclass(frozen=True)
class Config:
    run: Positional[str] = ""
    """Show this one in full."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable lines."""


def run(config: Config) -> int:
    console = Console()
    found = runs()
    if config.run:
        _one(console, inspect(find(config.run)[0]))
    elif config.json:
        for info in found:
            print(json.dumps(dataclasses.asdict(info), default=str))
    elif not found:
        console.print(f"No runs in {root()} yet. Make one: lab pretrain", markup=False)
    else:
        table = Table(box=None, header_style="bold")
        for column in ("run", "recipe", "state", "step", "result", "parent", "age"):
            name = column in ("run", "parent")  # names are copied and searched for: they stay in one piece
            table.add_column(column, overflow="ellipsis" if name else "fold", no_wrap=name)
        if not console.is_terminal:
            console = Console(width=200)
        for info in found:
            step = f"{info.step}/{info.total}" if info.total else ""
            row = (info.name, info.recipe, info.state, step, info.headline, info.parent or "", _age(info.created))
            table.add_row(*(escape(str(cell).translate(CONTROLS)) for cell in row))
        console.print(table)
    return 0


def _age(created: float) -> str:
    if not created:
        return ""
    seconds = time.time() - created
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


def _one(console: Console, info: Info) -> None:
    passport = read_json(info.folder / "run.json")
    if not passport and not (info.folder / "config.json").exists():
        raise UserError(f"{info.folder} is no run and no model; `lab runs` lists them")
    made = passport.get("config")
    config = {k: v for k, v in (made if isinstance(made, dict) else {}).items() if v not in (None, "", False)}
    last: dict[str, object] = {}
    for row in read_lines(info.folder / "metrics.jsonl"):
        last.update({k: v for k, v in row.items() if k not in ("t", "event", "cmd")})
    samples = {row.get("prompt"): row for row in read_lines(info.folder / "samples.jsonl")}
    grid = Table.grid(padding=(0, 2))

    def add(title: str, value: str) -> None:
        grid.add_row(title, _plain(value))

    add("folder", str(info.folder))
    add("state", f"{info.state}, step {info.step} of {info.total}")
    if error := info.status.get("error"):
        add("error", str(error))
    add("config", ", ".join(f"{k}={v}" for k, v in config.items()))
    add("lineage", str(passport.get("lineage") or ""))
    versions = passport.get("versions")
    made_with = [f"{name} {v}" for name, v in versions.items()] if isinstance(versions, dict) else []
    add("made", ", ".join([f"git {passport.get('git')}", *made_with]))
    add("checkpoints", ", ".join(str(int(c.name)) for c in checkpoints(info.folder)) or "none")
    add("last", ", ".join(f"{k}={_short(v)}" for k, v in last.items() if not isinstance(v, dict | list)))
    for row in read_lines(info.folder / "notes.jsonl"):
        add("note", f"step {row.get('step')}: {row.get('text', '')}")
    if len(samples) > SAMPLES:
        add("samples", f"{len(samples)}, the last {SAMPLES} of them below; all: {info.folder / 'samples.jsonl'}")
    for prompt, row in list(samples.items())[-SAMPLES:]:
        grid.add_row("sample", _plain(str(prompt)) + _plain(str(row.get("text", "")), "green"))
    console.print(grid)


def _plain(text: str, style: str = "") -> Text:
    """As it is: what a model says may look like rich's markup, or move the cursor."""
    return Text(text.translate(CONTROLS), style)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
