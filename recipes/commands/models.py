"""List the models on this computer: runs, the hub's cache, LM Studio and Ollama, each with the --model to use.

Examples:
  lab models                  all of them
  lab models smol             those with smol in their name
  lab models --json           one JSON object a line, for scripts
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional

from lab import hub, models
from lab.display import CONTROLS
from lab.runs import root


@dataclass(frozen=True)
class Config:
    name: Positional[str] = ""
    """Only those with this in their name."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Machine-readable lines."""


def run(config: Config) -> int:
    found = [f for f in models.everything() if config.name.lower() in f.name.lower()]
    if config.json:
        for item in found:
            print(json.dumps(dataclasses.asdict(item)))
        return 0
    console = Console()
    if not found:
        what = f"No model with {config.name} in its name" if config.name else "No models"
        console.print(
            f"{what} in {root()}, {hub.cache()}, LM Studio's or Ollama's folders. Make one with `lab pretrain`, or "
            "name one of the hub: lab chat --model HuggingFaceTB/SmolLM2-135M-Instruct",
            markup=False, highlight=False,
        )  # fmt: skip
        return 0
    for place in dict.fromkeys(f.place for f in found):
        table = Table(box=None, header_style="bold", title=place, title_justify="left", title_style="bold")
        table.add_column("name", overflow="fold")
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("kind", overflow="fold")
        table.add_column("--model", overflow="fold")
        for item in (f for f in found if f.place == place):
            size = f"{item.size / 1e9:.1f} GB" if item.size >= 1e9 else f"{item.size / 1e6:.1f} MB"
            kind = f"unusable: {item.broken}" if item.broken else item.kind
            model = "" if item.broken else item.model
            name, kind, model = (text.translate(CONTROLS) for text in (item.name, kind, model))
            table.add_row(Text(name), size, Text(kind, "red" if item.broken else ""), Text(model))
        console.print(table)
    return 0
