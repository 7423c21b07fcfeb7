"""A quick look into a run's metrics.jsonl, however long it is: how it began, where it stands, what it reported, and a line
of bars. Only slices of the file are read; Train reads it whole (tui/data/history.py)."""

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.display import CONTROLS
from lab.runs import read_json
from tui.data.charts import label, number
from tui.data.logs import event_words
from tui.data.road import Card, Figure
from tui.data.tail import parse

WHOLE = 400_000  # bytes of a file that is read whole: some 1,500 steps
HEAD, TAIL, SLICE, SLICES = 32_768, 65_536, 6_144, 40
BARS = 60  # values of the line of bars at most


@dataclass
class Glance:
    """First and last value of each figure, events by name, and the figures in between as far as they were read."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)

    def value(self, names: Sequence[str], first: bool = False) -> float | None:
        """The first of these figures that is there; `event.key` for one of an event."""
        for name in names:
            event, dot, key = name.partition(".")
            found = self.events.get(event, {}).get(key) if dot else (self.first if first else self.last).get(name)
            if (value := number(found)) is not None:
                return value
        return None

    def bars(self, names: Sequence[str]) -> list[float]:
        """What to draw: the first of these figures over the steps, or one value of each event figure."""
        single = [value for name in names if "." in name and (value := self.value([name])) is not None]
        return single or next((self.series[name] for name in names if len(self.series.get(name, ())) > 1), [])


def glance(path: Path) -> Glance:
    """A look into a metrics.jsonl; an empty one where there is none."""
    found = Glance()
    for row in parse(_slices(path)):
        if "event" in row:
            name = str(row.get("probe") if row["event"] == "probe" else row["event"])
            found.events[name] = row
            continue
        for key, value in row.items():
            said = number(value)
            if said is not None and key not in ("step", "t"):
                found.first.setdefault(key, said)
                found.last[key] = said
                found.series.setdefault(key, []).append(said)
    return found


def _slices(path: Path) -> list[bytes]:
    """Whole lines of a file: all of them, or of its beginning, its end and places between."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= WHOLE:
                return file.read().split(b"\n")
            lines = file.read(HEAD).split(b"\n")[:-1]
            for i in range(1, SLICES + 1):
                file.seek(HEAD + (size - HEAD - TAIL) * i // (SLICES + 1))
                lines += file.read(SLICE).split(b"\n")[1:-1]
            file.seek(size - TAIL)
            return lines + file.read().split(b"\n")[1:]
    except OSError:
        return []


@dataclass(frozen=True)
class Seen:
    """What a card shows of its run."""

    figures: tuple[tuple[str, str, str], ...] = ()  # label, before, after
    bars: tuple[float, ...] = ()
    words: tuple[str, ...] = ()  # lines of facts


def seen(card: Card) -> Seen:
    """Read what a card shows. Takes milliseconds: for a thread."""
    if card.run is None:
        return Seen()
    folder = card.run.folder
    if card.stage.key == "data":
        return Seen(words=data_words(folder))
    if card.stage.key == "tokenizer":
        return Seen(words=tokenizer_words(folder))
    look = glance(folder / "metrics.jsonl")
    figures = [told for figure in card.stage.figures if (told := _told(look, figure))]
    return Seen(tuple(figures[:2]), tuple(_thinned(look.bars(card.stage.spark))))


def _told(look: Glance, figure: Figure) -> tuple[str, str, str] | None:
    after = look.value(figure.after)
    if after is None:
        return None
    before = look.value(figure.before, first=True) if figure.before else None
    if figure.form == "percent":
        return figure.label, "" if before is None else f"{100 * before:.0f}", f"{100 * after:.0f} %"
    digits = 2 if abs(after) < 100 else 0
    return figure.label, "" if before is None or before == after else f"{before:z.{digits}f}", f"{after:z.{digits}f}"


def _thinned(values: Sequence[float]) -> list[float]:
    """At most BARS values: means of neighbours."""
    share = max(1, -(-len(values) // BARS))
    return [sum(values[i : i + share]) / len(values[i : i + share]) for i in range(0, len(values), share)]


# -- text and tokenizer ----------------------------------------------------------------------------------------------

TEXT = re.compile(r"^text  +([\d,]+) documents, ([\d.]+) MB, ([\d,]+) tokens \(([\d.]+) bytes a token\)", re.M)


def text_of(folder: Path) -> dict[str, float]:
    """documents, bytes, tokens, held_out_documents of what a run is trained on: of data.json, or of a shipped run's log."""
    told = {key: said for key, value in read_json(folder / "data.json").items() if (said := number(value)) is not None}
    if "tokens" in told:
        return told
    try:
        with open(folder / "log.txt", encoding="utf-8", errors="replace") as file:
            found = TEXT.search(file.read(20_000))
    except OSError:
        return {}
    if not found:
        return {}
    documents, size, tokens = (float(found[i].replace(",", "")) for i in (1, 2, 3))
    return {"documents": documents, "bytes": size * 1e6, "tokens": tokens}


def data_words(folder: Path) -> tuple[str, ...]:
    """What the newest base model read."""
    config = read_json(folder / "run.json").get("config")
    data = config.get("data") if isinstance(config, dict) else None
    lines = [Path(str(data)).name if data else "the pocket world"]
    if told := text_of(folder):
        lines.append(f"{told.get('documents', 0):,.0f} documents")
        lines.append(f"{told.get('bytes', 0) / 1e6:,.1f} MB, {told['tokens'] / 1e6:,.1f}M tokens")
        if held := told.get("held_out_documents"):
            lines.append(f"{held:,.0f} held out")
    return tuple(lines)


ODD = "Zoë paid 3 € – 9.11 > 9.9?\n\t你好 🙂 \u2581 <|end|>"


def tokenizer_words(folder: Path) -> tuple[str, ...]:
    """Its size, what a token holds, and whether text comes back as it went in."""
    from lab.errors import UserError
    from lab.tokenizer import Tokenizer  # sentencepiece: only where it is asked for

    try:
        tokenizer = Tokenizer.load(folder)
    except UserError as error:
        return ("no tokenizer to look at", str(error))
    lines = [f"{'byte-pair' if tokenizer.ours else 'foreign'}, {tokenizer.vocab_size:,} pieces"]
    told = text_of(folder)
    if told.get("tokens"):
        lines.append(f"{told.get('bytes', 0) / told['tokens']:.2f} bytes a token")
    whole = tokenizer.decode(tokenizer.encode(ODD), specials=True) == ODD
    return (*lines, f"round trip {'✔' if whole else '✖'}")


# -- the log ---------------------------------------------------------------------------------------------------------

SHOWN = ("loss", "reward", "pass_at_1", "kl", "bits_per_byte", "tok_s")


def last_rows(folder: Path, count: int) -> list[tuple[str, str]]:
    """(time of day, words) of the last rows of a run."""
    try:
        with open(folder / "metrics.jsonl", "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - max(8_192, 400 * count)))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    return [_row_words(row) for row in parse(lines)[-count:]]


def _row_words(row: dict[str, Any]) -> tuple[str, str]:
    t, step = number(row.get("t")), number(row.get("step")) or 0
    clock = time.strftime("%H:%M:%S", time.localtime(t)) if t and 0 < t < 4e9 else "--:--:--"
    if "event" in row:
        return clock, event_words(row)[3]
    said = [f"{label(key)} {_figure(key, value)}" for key in SHOWN if (value := number(row.get(key))) is not None]
    return clock, f"step {step:,.0f}  {'  '.join(said)}".translate(CONTROLS)


def _figure(key: str, value: float) -> str:
    return f"{value:,.0f}" if key == "tok_s" else f"{value:.3f}"
