"""Put documents into an index that a model can search: one file, passages of about 400 characters, found by their words.

Text, Markdown, JSON lines and parquet are read, plain or packed. A row may hold a "title" beside its "text"; a Markdown
note is titled by its first heading. The best passage comes first (BM25), one whose title is the question itself before all.

Examples:
  lab index articles.jsonl --out articles.db           rows {"title", "text"} or {"text"}
  lab index ~/notes --out notes.db                     a folder of notes
  lab index pocket --out pocket.db                     all facts of the pocket world, those never told too
  lab index notes.db --find "Marie Curie"              what a search answers
  lab chat --model pocket-search --search pocket.db    a model that looks up what it does not know
"""

import contextlib
import time
from dataclasses import dataclass

from tyro.conf import Positional

from lab import display, index, words
from lab.display import CONTROLS
from lab.errors import UserError, expand
from lab.tools import Search, shown

POCKET = "pocket"
STRANGERS = 10_000  # at most: each name is drawn, and must be another
LONG = 8_000_000  # bytes that take longer than a second or two


@dataclass(frozen=True)
class Config:
    data: Positional[str] = ""
    """A file, a folder, a hub data set (owner/name), or pocket; with --find an index."""
    out: str = ""
    """The index to write; an older one of ours is replaced."""
    find: str = ""
    """Search instead of writing."""
    count: int = 3
    """How many passages --find shows."""
    text_column: str = "text"
    """The column or key that holds the text."""
    strangers: int = 0
    """With pocket: so many people more, whom no document tells of (for lab grpo --task facts)."""


def run(config: Config) -> int:
    if not config.data:
        raise UserError("name what to put into the index: a file, a folder or pocket; lab index DATA --out index.db")
    if config.find:
        return _find(config)
    if not config.out:
        if index.ours(expand(config.data)):
            raise UserError(f'{config.data} is an index; ask it with --find "WORDS"')
        raise UserError(f"say where to write: lab index {config.data} --out index.db")
    target = expand(config.out)
    index.check(target)
    began = time.perf_counter()
    if config.data == POCKET and not expand(config.data).exists():
        from recipes import tasks
        from recipes.pocket import facts

        if not 0 <= config.strangers <= STRANGERS:
            raise UserError(f"--strangers {config.strangers}: give 0 to {STRANGERS:,}")
        more = [(e.name, facts.passage(e)) for e in tasks.strangers(config.strangers)]
        count = index.build(target, [*facts.index(), *more])
    else:
        files = index.files(config.data)
        total = sum(file.stat().st_size for file in files)
        with contextlib.ExitStack() as stack:
            show = stack.enter_context(display.bar(target.name, "reading", total, "MB")) if total > LONG else None
            count = index.build(target, index.documents(files, config.text_column, show))
    size, took = words.size(target.stat().st_size), time.perf_counter() - began
    print(
        f"{target}: {count:,} passage{'s' * (count != 1)}, {size}, {took:.1f} s; "
        f'ask it with lab index {config.out} --find "WORDS"'
    )
    return 0


def _find(config: Config) -> int:
    """The best passages, and what a model is told."""
    if config.out:
        raise UserError("--find only looks; leave --out away")
    if config.count < 1:
        raise UserError(f"--count {config.count}: show at least one passage")
    with Search(config.data) as search:
        began = time.perf_counter()
        found = search.find(config.find, config.count)
        took = time.perf_counter() - began
        for number, (title, text) in enumerate(found, 1):
            print(f"{number}. {shown(title, ' '.join(text.split()))}".translate(CONTROLS))
        print(f"a model is told: {search(config.find)}".translate(CONTROLS))
        print(f"[{len(found)} of {search.count:,} passages, {1000 * took:.1f} ms]")
    return 0
