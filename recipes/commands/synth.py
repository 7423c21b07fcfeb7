"""Conversations out of your own documents: a local chat model reads passage after passage, writes a question that the
passage answers, and the answer; what does not hold against the passage is dropped, and counted by its reason.

Rows are appended to --out as they are made. Ctrl-C loses at most the passages in work; the same command goes on after
them, and reads only what is new when documents are added later.

SmolLM2-135M-Instruct, far too small for this, wrote 32 drafts about 8 passages: 17 passed the cheap checks, half of them fit to
train on. As a judge of 40 answers it tells what a passage supports from what it does not with AUROC .67 [.49, .83], whether
it answers a question at all with .64 [.46, .80]: next to nothing. Such a judge is found out by a few examples, and then drops
nothing. Take a bigger model, and read what comes out.

Examples:
  lab synth notes/ --out talks.jsonl --model HuggingFaceTB/SmolLM2-1.7B-Instruct
  lab synth notes/ --out talks.jsonl --limit 20 --show 5         a first look
  lab sft --data talks.jsonl                                     train on it
  lab synth notes/ --out asked.jsonl --as questions              rows {"question", "answer"}: lab interrogate --data asked.jsonl
  lab synth articles.jsonl --out talks.jsonl --turns 3 --per-passage 2
"""

import fcntl
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import FlagCreatePairsOff, Positional, arg

from lab import read
from lab.clean import named, share
from lab.display import CONTROLS, bar, busy
from lab.errors import UserError, expand
from lab.judge import Judge
from lab.passages import Passage, passages
from recipes.commands.generate import newest_model, open_model
from recipes.synthesis import MARGIN, Writer, Written, key


@dataclass(frozen=True)
class Config:
    data: Positional[str] = ""
    """A file or folder of text, or a data set of the hub (owner/name)."""
    out: str = ""
    """The .jsonl that rows are appended to."""
    model: str | None = None
    """Who writes, a chat model: a run, a folder, run@step, a hub id (owner/name), or a .gguf file; without it the newest."""
    judge: str | None = None
    """Who reads what was written; without it the writer itself."""
    write: Annotated[Literal["messages", "questions"], arg(aliases=["--as"])] = "messages"
    """Conversations to train on, or short questions and answers to ask."""
    per_passage: int = 1
    """Conversations tried about each passage."""
    turns: int = 1
    """Questions of a conversation at most."""
    passage_size: int = 400
    """Characters of a passage, about."""
    threshold: float = 0.5
    """What the judge finds less probable is dropped; 0 asks no judge."""
    limit: int = 0
    """Passages to read at most; 0 = all."""
    temp: float = 0.7
    """Temperature of the questions; answers are always the most probable."""
    seed: int = 0
    """The same seed asks the same questions."""
    batch_size: int = 16
    """Passages worked on together: what Ctrl-C loses at most."""
    text_column: str = "text"
    """Where rows of .jsonl and .parquet keep their text."""
    show: int = 0
    """How many of the new rows to print."""
    examples: int = 0
    """How many drops of every reason to print."""
    json: Annotated[bool, FlagCreatePairsOff] = False
    """Print the counts as JSON."""


def run(config: Config) -> int:
    check(config)
    out = expand(config.out).resolve()
    with ExitStack() as stack:
        store = stack.enter_context(opened(out, config.write))
        with busy("reading the documents"):
            found, repeated = gather(config, out)
            todo = [passage for passage in found if digest(passage.text) not in store.done]
        new: list[Written] = []
        if todo:
            writer = open_writer(config)
            writer.kept |= store.questions
            blind = [name for name, margin in writer.margins.items() if margin < MARGIN]
            if blind:
                print(
                    f"the judge does not tell right from wrong examples ({', '.join(blind)}): its verdicts are written and "
                    "drop nothing; name a better one with --judge",
                    file=sys.stderr,
                )
            try:
                work(config, writer, todo, store, new)
            except KeyboardInterrupt:
                print(f"{store.rows} rows are in {out}; the same command goes on after them", file=sys.stderr)
                raise
        facts = {
            "data": config.data, "out": str(out), "passages": len(found), "repeated": repeated, "new": len(todo),
            "rows": store.rows, "new_rows": sum(len(one.rows) for one in new), "dropped": dict(store.dropped.most_common()),
        }  # fmt: skip
    if config.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        show(config, facts, new)
    return 0


def check(config: Config) -> None:
    """Refuse bad flags before anything is read."""
    if not config.data or not config.out:
        raise UserError("give documents and --out FILE.jsonl: lab synth notes/ --out talks.jsonl")
    if not config.out.endswith(".jsonl"):
        raise UserError(f"--out {config.out}: name a .jsonl file")
    least = {"per_passage": 1, "turns": 1, "passage_size": 100, "limit": 0, "batch_size": 1, "show": 0, "examples": 0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be {low} or more")
    if not 0 <= config.threshold < 1:
        raise UserError(f"--threshold {config.threshold}: must be at least 0 and below 1")
    if not 0 <= config.temp < float("inf") or config.seed < 0:
        raise UserError("--temp and --seed: must be 0 or more")
    if config.turns > 1 and config.write == "questions":
        raise UserError("--turns makes conversations; with --as questions use --per-passage")


def open_writer(config: Config) -> Writer:
    model = open_model(config.model or newest_model(), None)
    if not model.chats:
        raise UserError(f"{model.name} is a base model, it completes text; take a chat model (lab models lists them)")
    judge = None
    if config.threshold:
        reader = open_model(config.judge, None) if config.judge else model
        judge = Judge(reader, calibrated=True)
    return Writer(
        model, judge, short=config.write == "questions", each=config.per_passage, turns=config.turns,
        threshold=config.threshold, temp=config.temp, seed=config.seed,
    )  # fmt: skip


def gather(config: Config, out: Path) -> tuple[list[Passage], int]:
    """(the passages of all documents, each text once; how many were there before)."""
    root = read.locate(config.data)
    paths = read.look(root)[0]
    if out in (path.resolve() for path in paths) or (root.is_dir() and out.is_relative_to(root.resolve())):
        raise UserError(f"--out {config.out}: lies inside the data, which would be read next time; name one outside")
    base = root if root.is_dir() else root.parent
    every = (p for path in paths for p in passages(path, named(path, base), config.passage_size, config.text_column))
    found: dict[str, Passage] = {}
    repeated = 0
    for passage in islice(every, config.limit or None):
        repeated += passage.text in found
        found.setdefault(passage.text, passage)
    if not found:
        raise UserError(f"{config.data}: no passage in these files; put some whole sentences there")
    return list(found.values()), repeated


def work(config: Config, writer: Writer, todo: Sequence[Passage], store: "Store", new: list[Written]) -> None:
    """Passage after passage, what came of them at once on disk; with progress. The bar counts in millions."""
    with bar(writer.model.name, "reads", len(todo) * 1_000_000, "passages") as tell:
        tell(1)  # what follows is timed from here on
        for start in range(0, len(todo), config.batch_size):
            some = todo[start : start + config.batch_size]
            at = partial(_tell, tell, start, len(some))
            for one in writer.write(some, at):
                store.add(one)
                new.append(one)
            store.sync()
            at(1.0)


def _tell(tell: Callable[[int], None], before: int, count: int, share: float) -> None:
    tell(int((before + share * count) * 1_000_000))


# -- what is on disk ---------------------------------------------------------------------------------------------------


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


class Store:
    """The rows in --out, and beside it `.NAME.synth`: a line for every passage that was read, with what was dropped."""

    def __init__(self, out: IO[bytes], log: IO[bytes]):
        self._out, self._log = out, log
        self.rows = 0
        self.done: set[str] = set()
        self.questions: set[str] = set()
        self.dropped: Counter[str] = Counter()

    def add(self, one: Written) -> None:
        """The rows of a passage in one piece, then the line that says it was read: cut short in between, its rows say so."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in one.rows)
        self._out.write(text.encode())
        self._out.flush()
        reasons = Counter(reason for reason, _ in one.dropped)
        told = {"passage": digest(one.passage.text), "rows": len(one.rows), "dropped": reasons}
        self._log.write(json.dumps(told).encode() + b"\n")
        self._log.flush()
        self.rows += len(one.rows)
        self.dropped += reasons

    def sync(self) -> None:
        for file in (self._out, self._log):
            os.fsync(file.fileno())


@contextmanager
def opened(out: Path, kind: str) -> Iterator[Store]:
    """The Store of a file, new or gone on with, held against a second process."""
    beside = out.with_name(f".{out.name}.synth")
    if out.exists() and not out.is_file():
        raise UserError(f"--out {out}: is no file")
    ours = beside.exists()
    if out.exists() and not ours and out.stat().st_size:
        raise UserError(f"--out {out}: is there already and not made by lab synth; name a new file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "a+b") as log, open(out, "a+b") as rows:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"--out {out}: another lab synth is writing it; wait, or name another") from None
            store = Store(rows, log)
            for row in _lines(log):
                store.done.add(str(row.get("passage")))
                store.dropped += Counter({str(k): int(v) for k, v in row.get("dropped", {}).items()})
            for row in _lines(rows):
                _know(store, row, out, kind)
            yield store
    except PermissionError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    finally:
        if not ours and out.exists() and not out.stat().st_size + beside.stat().st_size:  # nothing was read
            out.unlink()
            beside.unlink(missing_ok=True)


def _know(store: Store, row: dict[str, Any], out: Path, kind: str) -> None:
    """Take in a row that was made before."""
    made = "messages" if "messages" in row else "questions" if "question" in row else ""
    if made and made != kind:
        raise UserError(f"--out {out}: holds {made}, and --as is {kind}; name another file")
    store.rows += 1
    store.done.add(digest(str(row.get("passage"))))
    talk = row.get("messages")
    asked = (
        [m.get("content") for m in talk if m.get("role") == "user"] if isinstance(talk, list) else [row.get("question")]
    )
    store.questions |= {key(q) for q in asked if isinstance(q, str)}


def _lines(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of a file of lines. A last line that a power cut left unfinished is cut off."""
    file.seek(0)
    end = 0
    for raw in file:
        try:
            row = json.loads(raw)
        except ValueError:
            row = None
        if not raw.endswith(b"\n"):
            file.truncate(end)
            break
        end += len(raw)
        if isinstance(row, dict):
            yield row
    file.seek(0, os.SEEK_END)


# -- what is shown -----------------------------------------------------------------------------------------------------


def show(config: Config, facts: dict[str, Any], new: Sequence[Written]) -> None:
    """A table a person reads, then rows and drops where they were asked for."""
    console = Console()
    tried = facts["rows"] + sum(facts["dropped"].values())
    table = Table("", "rows", "share", box=None, header_style="bold")
    table.add_row("kept", f"{facts['rows']:,}", share(facts["rows"], tried))
    for reason, count in facts["dropped"].items():
        table.add_row(f"dropped: {reason}", f"{count:,}", share(count, tried))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print(table)
    console.print(
        f"{facts['passages']:,} passages, {facts['new']:,} of them new, {facts['repeated']:,} more that repeat one",
        highlight=False,
    )
    for row in islice((row for one in new for row in one.rows), config.show):
        console.rule(escape(row["source"]))
        console.print(escape(f"[{row['passage']}]".translate(CONTROLS)), style="dim", soft_wrap=True, highlight=False)
        said = [m["content"] for m in row["messages"]] if "messages" in row else [row["question"], row["answer"]]
        for text in said:
            console.print(escape(text.translate(CONTROLS)), soft_wrap=True, highlight=False)
    shown = Counter[str]()
    for reason, text in (drop for one in new for drop in one.dropped):
        shown[reason] += 1
        if shown[reason] <= config.examples:
            console.print(
                f"[bold]{escape(reason)}[/]: {escape(text.translate(CONTROLS))}", soft_wrap=True, highlight=False
            )
    verb = "sft" if config.write == "messages" else "interrogate"
    if facts["rows"]:
        console.print(
            f"Written to {facts['out']}. Use it: lab {verb} --data {facts['out']}", markup=False, soft_wrap=True
        )
