"""List runs and models: state, step, headline, parent.

Examples:
  lab runs                 everything in the weights folder
  lab runs mine            one run: its config, its last numbers, its samples
  lab runs --json          one JSON object a line, for scripts
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional

from lab.errors import UserError
from lab.runs import Info, checkpoints, find, inspect, read_json, read_lines, root, runs


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
        console.print(f"No runs in {root()} yet. Make one: lab pretrain")
    else:
        table = Table(box=None, header_style="bold")
        for column in ("run", "recipe", "state", "step", "result", "parent", "age"):
            table.add_column(column, overflow="fold")
        for info in found:
            step = f"{info.step}/{info.total}" if info.total else ""
            table.add_row(
                info.name, info.recipe, info.state, step, info.headline, info.parent or "", _age(info.created)
            )
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
    config = {k: v for k, v in passport.get("config", {}).items() if v not in (None, "", False)}
    last: dict[str, object] = {}
    for row in read_lines(info.folder / "metrics.jsonl"):
        last.update({k: v for k, v in row.items() if k not in ("t", "event", "cmd")})
    samples = {row.get("prompt"): row for row in read_lines(info.folder / "samples.jsonl")}
    grid = Table.grid(padding=(0, 2))
    grid.add_row("folder", str(info.folder))
    grid.add_row("state", f"{info.state}, step {info.step} of {info.total}")
    if error := info.status.get("error"):
        grid.add_row("error", str(error))
    grid.add_row("config", ", ".join(f"{k}={v}" for k, v in config.items()))
    grid.add_row("made", f"git {passport.get('git')}, {passport.get('versions')}")
    grid.add_row("checkpoints", ", ".join(str(int(c.name)) for c in checkpoints(info.folder)) or "none")
    grid.add_row("last", ", ".join(f"{k}={_short(v)}" for k, v in last.items() if not isinstance(v, dict | list)))
    for prompt, row in samples.items():
        grid.add_row("sample", f"{prompt}[green]{row.get('text', '')}[/]")
    console.print(grid)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
