"""Look at training text and clean it: the pocket world's sources, your own files, or a data set of the hub.

Your own text is read once and judged as FineWeb judges web pages: language, quality, repetition, boilerplate,
duplicates; e-mail and IP addresses are masked. Nothing is written without --out.

Examples:
  lab data pocket                          how much of each source
  lab data pocket --kind jokes --show 5    five documents of one source
  lab data pocket --out world              all of it as files, for other trainers
  lab data notes/                          what would be kept, what dropped, and why
  lab data notes/ --examples 3             with three dropped documents of every reason
  lab data notes/ --out clean              write it: lab pretrain --data clean
  lab data owner/name --preset web         a data set of the hub, with FineWeb's own limits (owner/name:folder for a part)
  lab data chats.jsonl --text-column messages --language en,de --rule min-words=5 --rule near-duplicates=off
"""

import json
import os
import shutil
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction

from lab import read
from lab.clean import Report, check, clean, named, percentiles, share
from lab.display import busy
from lab.errors import UserError, expand
from lab.read import Document
from lab.rules import PRESETS, Rules, change
from lab.runs import write_atomic
from lab.words import duration
from recipes import pocket
from recipes.pretrain import check_kind, parse_mix


@dataclass(frozen=True)
class Config:
    what: Positional[str] = "pocket"
    """`pocket`, a file or folder of text, or a data set of the hub (owner/name)."""
    kind: str | None = None
    """Only this source of the pocket world."""
    show: int = 0
    """How many documents to print (of each source; of your own text, of those kept)."""
    mix: str = ""
    """Weights of the pocket world's sources, such as stories=2,jokes=0."""
    seed: int = 0
    """Which pocket world text; the facts are always the same."""
    preset: Literal["notes", "web"] = "notes"
    """Limits for personal text, where short documents are kept, or FineWeb's own for web pages."""
    language: str = "en"
    """Keep what is in this language, or in one of these (en,de); `any` keeps all."""
    rule: UseAppendAction[tuple[str, ...]] = ()
    """Change one rule: min-words=20, near-duplicates=off, mask=off; may be given several times."""
    text_column: str = "text"
    """Where rows of .jsonl and .parquet keep their text; a list of messages is joined."""
    examples: int = 0
    """How many dropped documents of every reason to print."""
    out: str | None = None
    """Write what is kept to this new folder: train.jsonl, valid.jsonl where there is one, report.json."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the report as JSON."""


def run(config: Config) -> int:
    console = Console()
    if config.show < 0:
        raise UserError(f"--show {config.show}: must be 0 or more")
    if config.examples < 0:
        raise UserError(f"--examples {config.examples}: must be 0 or more")
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
    out = _new_folder(config.out, None) if config.out else None
    documents, characters = Counter[str](), Counter[str]()
    lengths = array("L")
    start = time.perf_counter()
    with busy("generating the pocket world"):
        world = [d for d in pocket.corpus(config.seed, mix=parse_mix(config.mix)) if d.kind in kinds]
    for document in world:
        documents[document.kind] += 1
        characters[document.kind] += len(document.text)
        lengths.append(len(document.text))
    if config.json or out is not None:
        sources = {kind: {"documents": documents[kind], "characters": characters[kind]} for kind in kinds}
        facts = {
            "data": "pocket", "documents": documents.total(), "characters": characters.total(), "sources": sources,
            "lengths": {"characters": percentiles(lengths)}, "histogram": histogram(lengths),
            "seconds": round(time.perf_counter() - start, 2),
        }  # fmt: skip
        if out is not None:
            _write_world(config, world, kinds, out, facts)
        if config.json:
            print(json.dumps(facts, indent=2))
            return
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
    if out is not None:
        console.print(f"Written to {out}. Any trainer of text reads it", markup=False, soft_wrap=True)


def _write_world(
    config: Config, world: list[pocket.Document], kinds: list[str], out: Path, facts: dict[str, Any]
) -> None:
    """The pocket world as files: a row a document with its source, the held-out text beside it."""
    unseen = [d for d in pocket.validation(config.seed) if d.kind in kinds]
    with _aside(out) as aside:
        for name, documents in (("train.jsonl", world), ("valid.jsonl", unseen)):
            with open(aside / name, "w", encoding="utf-8") as file:
                for document in documents:
                    file.write(json.dumps({"text": document.text, "source": document.kind}, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        write_atomic(aside / "report.json", json.dumps(facts, indent=2))


def histogram(lengths: "array[int]") -> list[tuple[int, int]]:
    """(bound, how many are at least half of it and below it) for powers of two, from the first that holds any on."""
    counts = Counter(length.bit_length() for length in lengths)
    return [(1 << bits, counts[bits]) for bits in range(min(counts), max(counts) + 1)] if counts else []


# -- your own text ---------------------------------------------------------------------------------------------------


def rules_of(config: Config) -> Rules:
    """The preset with the language and the changes asked for."""
    codes = () if config.language == "any" else tuple(code.strip() for code in config.language.lower().split(","))
    return replace(change(PRESETS[config.preset], config.rule), language=codes)


def _files(config: Config, console: Console) -> None:
    rules = rules_of(config)
    check(rules)
    root = read.locate(config.what)
    train, valid, left = read.look(root)
    out = _new_folder(config.out, root) if config.out else None
    report = Report(rules, max(config.examples, 3))
    files = {path: Counter[str]() for path in train + valid}
    # Validation first: where a text stands on both sides, training loses it.
    documents = _counted(valid + train, files, config.text_column, report)
    base = root if root.is_dir() else root.parent
    kept = clean(documents, report, base)
    shown, clock = list[str](), time.perf_counter()

    def looked_at() -> Iterator[Document]:
        for document in kept:
            files[document.file]["kept"] += 1
            if len(shown) < config.show and document.file not in valid:
                shown.append(document.text)
            yield document
        if not report.documents:
            raise UserError(f"{config.what}: no text in these files; put some there")

    if out is None:
        deque(looked_at(), maxlen=0)
    else:
        _write(looked_at(), out, valid, base, lambda: _facts(config, report, files, valid, left, clock))
    facts = _facts(config, report, files, valid, left, clock)
    if config.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
        return
    _tables(console, facts, config.examples)
    for text in shown:
        console.rule()
        console.print(escape(text), soft_wrap=True, highlight=False)
    if out is not None:
        console.print(f"Written to {out}. Train on it: lab pretrain --data {out}", markup=False, soft_wrap=True)


def _counted(paths: list[Path], files: dict[Path, Counter[str]], column: str, report: Report) -> Iterator[Document]:
    """All documents, counted by file, with progress on stderr: a bar on a terminal, else a line every ten seconds."""
    total, before, start, last = sum(path.stat().st_size for path in paths), 0, time.monotonic(), 0.0
    console = Console(stderr=True)
    status = console.status("") if console.is_terminal else None
    try:
        for path in paths:
            count = files[path]
            for document in read.documents(path, column):
                count["documents"] += 1
                count["characters"] += len(document.text)
                yield document
                now = time.monotonic() - start
                if now - last < (0.2 if status else 10 if last else 2):
                    continue
                last, done = now, (before + document.done) / max(1, total)
                left = duration(now / done - now) if done else "-"
                line = f"{done:4.0%}  {report.documents:,} documents, {share(report.kept, report.documents)} kept  left {left}"
                if status is None:
                    print(f"lab data: {line}", file=sys.stderr, flush=True)
                elif now > 1:
                    status.start()
                    status.update(escape(line))
            before += path.stat().st_size
    finally:
        if status is not None:
            status.stop()


def _facts(
    config: Config,
    report: Report,
    files: dict[Path, Counter[str]],
    valid: list[Path],
    left: Counter[str],
    clock: float,
) -> dict[str, Any]:
    """What report.json and --json hold."""
    table = [
        {
            "file": str(path),
            "documents": count["documents"],
            "characters": count["characters"],
            "used_for": "held out" if path in valid else "training",
            "kept": count["kept"],
        }
        for path, count in files.items()
    ]
    seconds = round(time.perf_counter() - clock, 2)
    about = {"files": table, "left_alone": dict(left.most_common()), "seconds": seconds}
    about["histogram"] = histogram(report.lengths[0])
    return {"data": config.what, "preset": config.preset} | report.facts() | about


def _new_folder(name: str, root: Path | None) -> Path:
    """--out as a path, refused where something is there or where the next reading would find it among the data."""
    out = expand(name).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {name}: is there already and not empty; name a new folder")
    if root is not None and root.is_dir() and out.is_relative_to(root.resolve()):
        raise UserError(f"--out {name}: lies inside the data, which would be read twice next time; name one outside")
    return out


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends well, and is gone when it does not."""
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    try:
        yield aside
        with suppress(OSError):
            out.rmdir()  # an empty folder that was there
        os.rename(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write(
    documents: Iterator[Document], out: Path, valid: list[Path], base: Path, facts: Callable[[], dict[str, Any]]
) -> None:
    """The kept documents as jsonl, `facts` behind them."""
    with _aside(out) as aside:
        names = {True: "valid.jsonl", False: "train.jsonl"}
        sides = {held: open(aside / names[held], "w", encoding="utf-8") for held in {False, bool(valid)}}  # noqa: SIM115
        counts = Counter[bool]()
        try:
            held_out = set(valid)
            for document in documents:
                held = document.file in held_out
                counts[held] += 1
                row = {"text": document.text, "source": f"{named(document.file, base)}:{document.number}"}
                sides[held].write(json.dumps(row, ensure_ascii=False) + "\n")
            for file in sides.values():
                file.flush()
                os.fsync(file.fileno())
        finally:
            for file in sides.values():
                file.close()
        if not counts[False]:
            raise UserError(
                f"nothing is left to train on ({facts()['conclusion']}); look without --out, then change a --rule"
            )
        if valid and not counts[True]:
            (aside / names[True]).unlink()
        write_atomic(aside / "report.json", json.dumps(facts(), ensure_ascii=False, indent=2))


def _tables(console: Console, facts: dict[str, Any], examples: int) -> None:
    table = Table("file", "documents", "characters", "used for", "kept", box=None, header_style="bold")
    held = any(row["used_for"] == "held out" for row in facts["files"])
    rows = facts["files"]
    for row in rows if len(rows) <= 40 else rows[:20]:  # a folder of notes has hundreds
        use = row["used_for"] + ("" if held else ", every 50th document held out")
        table.add_row(escape(row["file"]), f"{row['documents']:,}", f"{row['characters']:,}", use, f"{row['kept']:,}")
    if len(rows) > 40:
        table.add_row(f"and {len(rows) - 20:,} files more")
    for column in (*table.columns[1:3], table.columns[4]):
        column.justify = "right"
    console.print(table)
    if left := facts["left_alone"]:
        count, kinds = sum(left.values()), read.counts(Counter(left))
        console.print(f"{count:,} file{'s' * (count != 1)} left alone ({escape(kinds)})", highlight=False)

    total = facts["documents"]
    table = Table("", "documents", "share", "characters", box=None, header_style="bold")
    kept = facts["kept"]
    table.add_row("kept", f"{kept['documents']:,}", share(kept["documents"], total), f"{kept['characters']:,}")
    for name, drop in facts["dropped"].items():
        more = facts["other_languages"] if name == "min-language" else {}
        said = f" ({', '.join(f'{code} {count}' for code, count in list(more.items())[:5])})" if more else ""
        amount = f"{drop['documents']:,}", share(drop["documents"], total), f"{drop['characters']:,}"
        table.add_row(f"dropped: {name}{said}", *amount)
    for name in ("cut", "masked"):
        if facts[name]["characters"]:
            table.add_row(f"{name} in what is kept", "", "", f"{facts[name]['characters']:,}")
    table.add_row("all", f"{total:,}", "", f"{facts['characters']:,}", style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    console.print()
    console.print(table)

    if lengths := facts["lengths"]["characters"]:
        table = Table("length of what is kept", *lengths, box=None, header_style="bold")
        for name, sizes in facts["lengths"].items():
            table.add_row(name, *(f"{size:,}" for size in sizes.values()))
        for column in table.columns[1:]:
            column.justify = "right"
        console.print()
        console.print(table)
    cut, masked = facts["cut"], facts["masked"]
    console.print(
        f"\nboilerplate lines cut: {cut['lines']:,} in {cut['documents']:,} documents   masked: {masked['emails']:,} "
        f"e-mail and {masked['ip_addresses']:,} IP addresses in {masked['documents']:,} documents   "
        f"{duration(facts['seconds'])}",
        highlight=False,
    )
    for name, drop in facts["dropped"].items():
        for one in drop["examples"][:examples]:
            bound = f"{one['value']:.4g}, limit {one['limit']:g}" if name != "exact-duplicates" else "the same"
            said = f" ({'as ' if 'duplicates' in name else ''}{one['said']})" if one["said"] else ""
            console.print(
                f"\n[bold]{name}[/] {escape(one['file'])}:{one['number']}  {bound}{escape(said)}", highlight=False
            )
            console.print(f"  {escape(one['excerpt'])}", soft_wrap=True, highlight=False)
    console.print(f"\n[bold]{facts['conclusion']}[/]", highlight=False)
