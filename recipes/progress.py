"""What a terminal shows while a recipe runs: a live panel, or plain lines where there is no terminal."""

import contextlib
import functools
import math
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lab.run import Run
from lab.words import duration, sparkline


class _Panel:
    """Drawn by rich's own thread from what the record holds; the recipe does not know of it."""

    def __init__(self, record: Run):
        self.record, self.losses, self.seen = record, list[float](), -1

    def __rich__(self) -> Panel:
        record, last = self.record, dict(self.record.latest)
        if record.step != self.seen and isinstance(last.get("loss"), float):
            self.losses.append(last["loss"])
            self.seen = record.step
        grid = Table.grid(padding=(0, 2))
        left = record.eta() if record.state == "running" else None
        until = time.strftime(" (%H:%M)", time.localtime(time.time() + left)) if left else ""
        grid.add_row("step", f"{record.step} of {record.total or '?'}", "left", f"{duration(left)}{until}")
        grid.add_row("loss", _number(last.get("loss")), "bits per byte", _number(last.get("bits_per_byte")))
        grid.add_row("tokens/s", _number(last.get("tok_s"), 0), "memory", f"{last.get('mem_process', 0):.2f} GB")
        # The bar ends its line only inside a padding.
        parts: list[Any] = [Padding(ProgressBar(total=record.total or 1, completed=record.step), 0), grid]
        if self.losses:
            parts.append(Text(f"loss  {sparkline(self.losses, 60)}", style="cyan"))
        for sample in list(record.samples_now.values())[-3:]:
            said = Text(sample["prompt"], style="dim")
            said.append(sample["text"].replace("\n", "⏎")[:160], style="green")
            parts.append(said)
        state = record.note or record.state
        title = f"{record.name}  {state}"
        return Panel(Group(*parts), title=title, subtitle="Ctrl-C saves and stops", title_align="left")


def _number(value: Any, digits: int = 3) -> str:
    """A dash where there is none: a step whose groups are all alike has no loss."""
    return f"{value:,.{digits}f}" if isinstance(value, int | float) and math.isfinite(value) else "-"


class Outlived:
    """Standard output that may go away (a closed terminal, `| head`) while the run, whose record is on disk, goes on."""

    def __init__(self, file: Any):
        self.file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self.file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextlib.contextmanager
def watch(record: Run) -> Iterator[None]:
    """Show the run until the block ends."""
    screen: Any = Outlived(sys.stdout)
    console = Console(file=screen)
    record.print = functools.partial(print, file=screen, flush=True)
    if console.is_terminal:
        record.print, record.panel = functools.partial(console.print, markup=False, highlight=False), True
        with Live(_Panel(record), console=console, refresh_per_second=4, transient=False):
            yield
            record.note = "stopped" if record.stopped else "done"  # what the last picture says
        return
    over = threading.Event()
    thread = threading.Thread(target=_lines, args=(record, over, screen), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _lines(record: Run, over: threading.Event, screen: Any) -> None:
    """A line every ten seconds, for logs and pipes."""
    shown = ""
    while not over.wait(10 if shown else 2):
        last = record.latest
        speed = f"loss {_number(last.get('loss'))}  {_number(last.get('tok_s'), 0)} tok/s  " if "loss" in last else ""
        line = (
            f"{record.name} {record.note or record.state}: step {record.step}/{record.total or '?'}  "
            f"{speed}left {duration(record.eta())}"
        )
        if line != shown:
            print(line, file=screen, flush=True)
            shown = line
