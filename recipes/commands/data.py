"""Look at training text: the pocket world's sources, or the documents of your own files.

Examples:
  lab data pocket                        how much of each source
  lab data pocket --show 5               five documents of every source
  lab data pocket --kind jokes --show 5  five of one
  lab data books/ --show 3               your own text: documents, sizes, the first three
"""

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional

from lab import data
from lab.errors import UserError
from recipes import pocket
from recipes.pretrain import check_kind, parse_mix


@dataclass(frozen=True)
class Config:
    what: Positional[str] = "pocket"
    """`pocket`, or a file or folder of text."""
    kind: str | None = None
    """Only this source of the pocket world."""
    show: int = 0
    """How many documents to print (of each source)."""
    mix: str = ""
    """Weights of the pocket world's sources, such as stories=2,jokes=0."""
    seed: int = 0
    """Which pocket world text; the facts are always the same."""


def run(config: Config) -> int:
    console = Console()
    if config.show < 0:
        raise UserError(f"--show {config.show}: must be 0 or more")
    if config.what == "pocket":
        _pocket(config, console)
    else:
        if config.kind:
            raise UserError("--kind goes with the pocket world; your own text has no sources")
        _files(config, console)
    return 0


def _pocket(config: Config, console: Console) -> None:
    if config.kind:
        check_kind(f"--kind {config.kind}", config.kind)
    kinds = [config.kind] if config.kind else list(pocket.KINDS)
    if config.show:
        for kind in kinds:
            console.print(f"[bold]{kind}[/]")
            for i in range(config.show):
                text = pocket.document(kind, config.seed * 10_000_000 + i).text
                console.print(f"  {escape(text)}", soft_wrap=True, highlight=False)
        return
    documents, characters = Counter[str](), Counter[str]()
    for document in pocket.corpus(config.seed, mix=parse_mix(config.mix)):
        documents[document.kind] += 1
        characters[document.kind] += len(document.text)
    table = Table("source", "documents", "characters", "share", box=None, header_style="bold")
    total = characters.total()
    for kind in kinds:
        share = f"{characters[kind] / max(1, total):.1%}"
        table.add_row(kind, f"{documents[kind]:,}", f"{characters[kind]:,}", share)
    if not config.kind:
        table.add_row("all", f"{documents.total():,}", f"{total:,}", "", style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)


def _files(config: Config, console: Console) -> None:
    train, valid = data.files(config.what)
    table = Table("file", "documents", "characters", "used for", box=None, header_style="bold")
    for column in table.columns[1:3]:
        column.justify = "right"
    for path in train + valid:
        sizes = [len(text) for text in data.read(path)]
        use = "held out" if path in valid else "training" + ("" if valid else ", every 50th document held out")
        table.add_row(escape(str(path)), f"{len(sizes):,}", f"{sum(sizes):,}", use)
        if not sizes:
            raise UserError(f"{path}: no text in this file; put some there, or leave the file out")
    console.print(table)
    for text in islice(data.texts(train), config.show):
        console.rule()
        console.print(escape(text), soft_wrap=True, highlight=False)
