"""The chapters of the talk "Deep Dive into LLMs like ChatGPT": the idea, the code to read, what to run, and what to look at.

Examples:
  lab explain                 the map
  lab explain tokens          one chapter
  lab explain rlhf            another; any part of a title finds it
  lab explain --markdown      the map, as in the README
"""

import difflib
from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional

from lab.errors import UserError
from recipes.chapters import CHAPTERS, Chapter
from recipes.findings import findings
from recipes.record import ROOT


@dataclass(frozen=True)
class Config:
    chapter: Positional[str] = ""
    """A chapter; without it the map."""
    markdown: Annotated[bool, FlagCreatePairsOff] = False
    """The map as the README has it."""


def run(config: Config) -> int:
    if config.markdown:
        print(markdown())
    elif config.chapter:
        tell(find(config.chapter))
    else:
        _map()
    return 0


def find(word: str) -> Chapter:
    """A chapter by its name or a part of its title. UserError for none."""
    wanted = word.lower().strip()
    exact = [c for c in CHAPTERS if c.key == wanted]
    part = [c for c in CHAPTERS if wanted in c.title.lower()]
    if found := exact or part:
        return found[0]
    near = difflib.get_close_matches(wanted, [c.key for c in CHAPTERS], n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(c.key for c in CHAPTERS)}"
    raise UserError(f"no chapter {word}; {hint}")


def tell(chapter: Chapter) -> None:
    """One chapter."""
    out = Console(highlight=False)
    out.print(f"[bold]{chapter.title}[/]  [dim]lab explain {chapter.key}[/]\n")
    out.print(Padding(Text(chapter.idea), (0, 2)))
    grid = Table.grid(padding=(0, 2))
    grid.add_row("", "")
    for i, place in enumerate(chapter.code):
        grid.add_row(Text("read" if not i else "", "bold cyan"), Text(where(place)))
    for i, command in enumerate(chapter.commands):
        grid.add_row(Text("run" if not i else "", "bold cyan"), Text(command, "green"))
    grid.add_row(Text("look at", "bold cyan"), Text(chapter.look))
    found = {one.claim: one for one in findings()} if chapter.claims else {}
    for i, claim in enumerate(chapter.claims):
        one = found[claim]
        figures = " -> ".join(filter(None, (one.before, one.after)))
        grid.add_row(
            Text("shown?" if not i else "", "bold cyan"),
            Text(f"{claim}: {one.verdict}" + (f" ({figures})" if figures else "")),
        )
    out.print(grid)
    at = CHAPTERS.index(chapter)
    if at + 1 < len(CHAPTERS):
        out.print(f"\n[dim]next: lab explain {CHAPTERS[at + 1].key}[/]")


def where(place: str) -> str:
    """`file:symbol` with the line, so that an editor opens it there."""
    path, symbol = place.split(":")
    for number, text in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
        if text.startswith((f"def {symbol}(", f"class {symbol}:", f"class {symbol}(")):
            return f"{path}:{number}  {symbol}"
    return f"{path}  {symbol}"


def _map() -> None:
    out, rows = Console(highlight=False), Table(box=None, header_style="bold")
    for heading in ("chapter", "of the talk", "run"):
        rows.add_column(heading, overflow="fold")
    for chapter in CHAPTERS:
        rows.add_row(Text(chapter.key, "bold"), Text(chapter.title), Text(chapter.commands[0], "green"))
    out.print(rows)
    out.print("\nlab explain CHAPTER tells the idea, the code to read, what to run and what to look at.", markup=False)


def markdown() -> str:
    """The map as a table."""
    lines = ["| chapter of the talk | read | run |", "|---|---|---|"]
    for chapter in CHAPTERS:
        files = dict.fromkeys(place.split(":")[0] for place in chapter.code)
        read = ", ".join(f"[{path}]({path})" for path in files)
        run = ", ".join(f"`{command}`" for command in chapter.commands[:2])
        lines.append(f"| {chapter.title} (`{chapter.key}`) | {read} | {run} |")
    return "\n".join(lines)
