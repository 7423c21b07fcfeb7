"""What the chart costs in a real (pseudo) terminal: CPU milliseconds of the whole app, Textual's own painting included.

    python -m tests.bench.chart                     three curves of 1k, 20k and 200k points at 150x42
    python -m tests.bench.chart --size 80x24 --points 20000

redraw      50 new points for every curve, until the frame is written
picture     the part of it that is ours: smoothing, dots, lines of the terminal
crosshair   one step of the crosshair, values in its box
legend      the same with the values in the legend, as in small charts
unchanged   `show` with the same curves
idle        nothing at all, for as long as is waited after each of the others; part of their figures
"""

import argparse
import asyncio
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from textual.app import App, ComposeResult

from tui.widgets.chart import Chart, Curve, Mark

COLOURS = ("#56b4e9", "#f0902c", "#2fbf8f")
ROUNDS, WAIT = 15, 0.1  # WAIT: seconds, enough for a frame on a busy machine


class Bench(App[None]):
    """Runs in the pseudo terminal and leaves what it measured in a file."""

    def __init__(self, points: int, result: Path):
        super().__init__()
        self.points, self.result = points, result

    def compose(self) -> ComposeResult:
        yield Chart("loss")

    def on_mount(self) -> None:
        self.run_worker(self.measure())

    async def measure(self) -> None:
        points, rng = self.points, np.random.default_rng(0)
        room = points + 50 * (ROUNDS + 2)
        x = np.arange(float(room))
        ys = [2 + i / 3 + 5 * (x * 20_000 / points + 60) ** -0.33 + rng.normal(size=room) * 0.2 for i in range(3)]
        marks = [Mark(points * k / 8, "checkpoint", str(k)) for k in range(8)]
        chart, took = self.query_one(Chart), dict[str, list[float]]()
        shown = points

        def show(more: int) -> None:
            nonlocal shown
            shown += more
            named = zip(ys, COLOURS, strict=True)
            chart.show([Curve(f"run {i}", x[:shown], y[:shown], c, i) for i, (y, c) in enumerate(named)], marks)

        async def timed(name: str, work: Callable[[], None]) -> None:
            start = time.process_time()
            work()
            if name not in ("picture", "unchanged"):
                await asyncio.sleep(WAIT)
            took.setdefault(name, []).append(time.process_time() - start)

        def again() -> None:
            chart._picture = None
            chart.picture()

        show(0)
        await asyncio.sleep(3 * WAIT)
        for _ in range(ROUNDS):
            await timed("idle", lambda: None)
            await timed("redraw", lambda: show(50))
            await timed("picture", again)
            await timed("unchanged", lambda: show(0))
        chart.action_last()
        await asyncio.sleep(3 * WAIT)
        for _ in range(ROUNDS):
            await timed("crosshair", chart.action_left)
        chart.compact = True
        await asyncio.sleep(3 * WAIT)
        for _ in range(ROUNDS):
            await timed("legend", chart.action_left)
        self.result.write_text(json.dumps({name: statistics.median(v) for name, v in took.items()}), encoding="utf-8")
        self.exit()


def measure(points: int, size: tuple[int, int]) -> dict[str, float]:
    """Median CPU seconds by name, measured in a pseudo terminal of size (columns, lines)."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "tests.bench.chart", "--inside", str(result), "--points", str(points)]
        child = subprocess.Popen(command, stdin=far, stdout=far, stderr=subprocess.PIPE, env=environment)
        os.close(far)
        threading.Thread(target=drain, args=(near,), daemon=True).start()
        _, errors = child.communicate(timeout=300)
        if child.returncode or not result.exists():
            sys.exit(errors.decode(errors="replace"))
        found: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return found


def drain(terminal: int) -> None:
    """Read what is written to the terminal, as a terminal does."""
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:  # the other side is closed
        os.close(terminal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="150x42")
    parser.add_argument("--points", type=int, nargs="*", default=[1_000, 20_000, 200_000])
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        Bench(args.points[0], Path(args.inside)).run()
        return
    width, height = map(int, args.size.split("x"))
    for points in args.points:
        found = measure(points, (width, height))
        print(
            f"3 x {points:>7,} points  " + "  ".join(f"{name} {1e3 * v:5.2f} ms" for name, v in found.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
