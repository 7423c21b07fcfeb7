"""What a long call shows on stderr, and signs in the place of control characters. No MLX."""

import contextlib
import contextvars
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# For str.translate: what a model, a template or a foreign file says must not move the cursor, set colours, or turn round
# the writing direction of the row.
CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"} | {0x7F: 0x2421}
CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)

# Where one is set, nothing is drawn: it is told (words, done, total, unit), total 0 for a call that cannot say how far it
# is. What it raises ends the call. Each thread has its own.
Listener = Callable[[str, int, int, str], None]
listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar("listener", default=None)


@functools.cache
def _console() -> "Console":
    """One for all: rich draws a bar inside a spinner on the same console, and on two they overwrite each other."""
    from rich.console import Console

    return Console(stderr=True)


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """A sign of life while one long call runs: a spinner on a terminal, elsewhere a line after two seconds."""
    if tell := listener.get():
        tell(what, 0, 0, "")
        yield
        return
    if _console().is_terminal:
        with _console().status(what):
            yield
        return
    timer = threading.Timer(2, lambda: print(f"{what} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def bar(title: str, verb: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yields show(done): a bar with time left on a terminal, a line every ten seconds elsewhere. `unit` is what a
    million of `total` is called: MB, or M weights."""
    if tell := listener.get():
        what = f"{verb} {title}"
        tell(what, 0, total, unit)
        yield lambda done: tell(what, min(done, total), total, unit)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if _console().is_terminal:
        speed = (DownloadColumn(), TransferSpeedColumn()) if unit == "MB" else ()
        columns = (TextColumn("{task.description}"), BarColumn(), *speed, TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=_console()) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=min(done, total))
        return
    began, shown = time.monotonic(), time.monotonic() - 8  # the first line after two seconds

    def line(done: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 10 or done < total / 1000:
            return
        shown, speed = now, done / (now - began)
        minutes, seconds = divmod(round((total - done) / speed), 60)
        print(
            f"{title}: {done / 1e6:.0f} of {total / 1e6:.0f} {unit}, {speed / 1e6:.1f} {unit}/s, "
            f"left {minutes}:{seconds:02d}",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    many = f"{total / 1e6:.1f}" if unit == "MB" else f"{total / 1e6:,.0f}"
    print(f"{title}: {verb} {many} {unit}", file=sys.stderr, flush=True)
    yield line
