"""The report card: what the talk claims, the experiment, what was measured before and after, over how many seeds, and whether
it is shown.

Figures come from docs/claims.json, which `make claims` measures over seeds, and from the records of the shipped models; with
--name from the runs of your own journey. `stale` marks a row of which code or data have changed since it was measured. A claim
that is not shown says what does not hold, one without figures which command measures it.

With --out the card is written as report.md, and the curves behind it as pictures: of the newest run of each kind that ended.

Examples:
  lab report                        the card
  lab report --out docs             docs/report.md and pictures
  lab report --all                  with the experiment and the command of each row
  lab report --name mine            of your own journey; several names are several seeds
  lab report --json
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, UseAppendAction

from lab.errors import UserError, expand
from lab.runs import NAME, root, write_atomic
from recipes import curves, record
from recipes.findings import Finding, findings
from recipes.record import RECORD

SAYS = "What the talk claims, and what this lab measured; written by `lab report --out`."
COLOURS = {"shown": "green", "not shown": "yellow", "not measured": "dim"}


@dataclass(frozen=True)
class Config:
    out: str | None = None
    """A folder for report.md and the pictures."""
    all: Annotated[bool, FlagCreatePairsOff] = False
    """Also the experiment, the spread and the command of each row."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """One JSON object a row."""
    name: UseAppendAction[tuple[str, ...]] = ()
    """A journey (lab journey --name) whose runs are read instead; may be given several times."""
    record: str | None = None
    """Another record than docs/claims.json."""


def run(config: Config) -> int:
    path = expand(config.record) if config.record else RECORD
    if config.record and not path.is_file():
        raise UserError(f"--record {config.record}: no such file; `make claims` writes docs/claims.json")
    if config.record and not record.claims(path):
        raise UserError(f"--record {config.record}: no record is in it; `make claims` writes docs/claims.json")
    for name in config.name:
        if not NAME.fullmatch(name) or not any(root().glob(f"{name}-*/run.json")):
            raise UserError(f"--name {name}: no run of such a journey is in {root()}; `lab runs` lists them")
    found = findings(path, config.name)
    if config.json:
        for one in found:
            print(json.dumps(asdict(one), ensure_ascii=False))
        return 0
    if config.out:
        written = write(found, expand(config.out))
        for each in written:
            print(each)
        return 0
    console = Console(highlight=False)
    console.print(table(found, config.all))
    console.print(summary(found), markup=False)
    if not path.is_file() and not config.name:
        console.print(
            f"There is no record in {path}: it comes with a clone, and `make claims` makes one.", markup=False
        )
    if not config.all:
        console.print(
            "lab report --all shows experiments and commands; lab explain tells the ideas.", style="dim", markup=False
        )
    return 0


def table(found: list[Finding], everything: bool) -> Table:
    """The card for a terminal."""
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("claim", "before", "after", "seeds", "verdict"):
        rows.add_column(heading, justify="left" if heading in ("claim", "verdict") else "right", overflow="fold")
    for one in found:
        claim = Text(one.claim)
        if everything:
            claim.append(f"\n  {one.experiment}", style="dim")
        if one.why:
            claim.append(f"\n  {one.why}", style="yellow")
        if everything or one.verdict == "not measured":
            claim.append(f"\n  $ {one.command}", style="dim")
        verdict = Text(one.verdict, COLOURS[one.verdict])
        if one.stale:
            verdict.append(" (stale)", "yellow")
        before, after = (_cell(*each, everything) for each in ((one.before, one.befores), (one.after, one.afters)))
        rows.add_row(claim, before, after, str(one.seeds or ""), verdict)
    return rows


def _cell(mean: str, each: tuple[str, ...], everything: bool) -> str:
    return f"{mean}\n{' / '.join(each)}" if everything and len(each) > 1 else mean


def summary(found: list[Finding]) -> str:
    """How many of which."""
    count = {verdict: sum(one.verdict == verdict for one in found) for verdict in COLOURS}
    stale = sum(bool(one.stale) for one in found)
    words = ", ".join(f"{number} {verdict}" for verdict, number in count.items())
    return f"\n{len(found)} claims: {words}" + (f"; {stale} stale: make stale lists why" if stale else "")


def write(found: list[Finding], folder: Path) -> list[Path]:
    """report.md and the pictures, in a folder. UserError where somebody else's report.md is there."""
    path = folder / "report.md"
    if path.is_file() and SAYS not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path} is there, and no card of lab report; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = curves.draw(folder)
        write_atomic(path, markdown(found, pictures))
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error.strerror or error})") from error
    return [path, *(picture.path for picture in pictures)]


def markdown(found: list[Finding], pictures: list[Any]) -> str:
    """The card as Markdown."""
    lines = [
        "# Report card",
        "",
        SAYS,
        "",
    ]
    lines += ["| claim | experiment | before | after | seeds | verdict | command |", "|---|---|---|---|---|---|---|"]
    for one in found:
        before, after = (_spread(mean, each) for mean, each in ((one.before, one.befores), (one.after, one.afters)))
        verdict = ("**not shown**" if one.verdict == "not shown" else one.verdict) + (" (stale)" if one.stale else "")
        verdict += f": {one.why}" if one.why else ""
        cells = (one.claim, one.experiment, before, after, str(one.seeds or ""), verdict, f"`{one.command}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    stale = [
        f"- {one.claim}: {', '.join(one.stale[:4])}{' ...' if len(one.stale) > 4 else ''}" for one in found if one.stale
    ]
    lines += ["", summary(found).strip(), ""]
    lines += ["Stale, because these files have changed since:", "", *stale, ""] if stale else []
    for picture in pictures:
        lines += [f"![{picture.title}]({picture.path.name})", "", f"{picture.title}: {picture.source}", ""]
    return "\n".join(lines)


def _spread(mean: str, each: tuple[str, ...]) -> str:
    return f"{mean} ({' / '.join(each)})" if len(each) > 1 else mean
