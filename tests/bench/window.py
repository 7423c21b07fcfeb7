"""What the window costs in CPU time: the first paint with 50 run folders, and a key's way to the screen while a run writes.

python -m tests.bench.window [--runs 50] [--rows 200000]
"""

import argparse
import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

REPO = Path(__file__).resolve().parents[2]


def cpu_of(pid: int) -> float:
    """CPU seconds of another process so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:  # macOS
        said = subprocess.run(["ps", "-o", "cputime=", "-p", str(pid)], capture_output=True, text=True).stdout
        minutes, _, seconds = said.strip().rpartition(":")
        return int(minutes or 0) * 60 + float(seconds)


def first_paint(home: Path, name: str) -> float:
    """CPU seconds of `python -m tui` until a run's name is on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"LAB_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "PYTHONPATH": str(REPO)}
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "150", "LINES": "42"}
        os.execv(sys.executable, [sys.executable, "-P", "-m", "tui"])
    seen, until = b"", time.monotonic() + 60
    while name.encode() not in seen and time.monotonic() < until:
        if select.select([terminal], [], [], 0.02)[0]:
            seen += os.read(terminal, 65_536)
    assert name.encode() in seen, seen[-2000:]
    spent = cpu_of(pid)
    os.write(terminal, b"q")
    while True:
        try:
            if not os.read(terminal, 65_536):
                break
        except OSError:
            break
    os.waitpid(pid, 0)
    return spent


async def keys(folder: Path) -> dict[str, float]:
    """Median CPU milliseconds from a key to the painted screen, while another process writes 10 rows a second."""
    from tui.app import LabApp

    app, spent = LabApp(), dict[str, list[float]]()
    async with app.run_test(size=(150, 42)) as pilot:
        await pilot.press("2")
        while not (history := app.history(folder)).rows or history.behind:
            await pilot.pause(0.1)
        await pilot.pause(1)
        for _ in range(7):
            for key in ("down", "up", "l", "l", "g", "1", "2", "4", "escape", "5", "escape", "2"):
                began = time.process_time()
                await pilot.press(key)
                await pilot.pause()
                spent.setdefault(key, []).append(1e3 * (time.process_time() - began))
    return {key: median(values[1:]) for key, values in spent.items()}  # the first visit builds the screen


def write(folder: Path, over: threading.Event) -> None:
    """Ten rows a second, as a training would."""
    step = 10**6
    while not over.wait(0.1):
        with open(folder / "metrics.jsonl", "a") as file:
            step += 1
            file.write(
                json.dumps({"step": step, "t": time.time(), "loss": 1.5, "grad_norm": 1.0, "tok_s": 5000}) + "\n"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=200_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        os.environ |= {"LAB_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
        from tests.tui.conftest import make_run

        for number in range(args.runs):
            make_run(f"run-{number:02d}", steps=12)
        paints = [first_paint(home, f"run-{args.runs - 1:02d}") for _ in range(3)]
        print(
            f"first paint with {args.runs} run folders: {median(paints):.2f} CPU-s ({min(paints):.2f}-{max(paints):.2f})"
        )
        folder = make_run("zz-long", steps=12)
        with open(folder / "metrics.jsonl", "w") as file:
            for step in range(args.rows):
                row = {
                    "step": step,
                    "t": 1e9 + step / 10,
                    "loss": 7 / (1 + step) ** 0.1,
                    "grad_norm": 1.0,
                    "tok_s": 5000,
                }
                file.write(json.dumps(row) + "\n")
        over = threading.Event()
        writer = threading.Thread(target=write, args=(folder, over))
        writer.start()
        try:
            for key, spent in asyncio.run(keys(folder)).items():
                print(f"key {key:<7} {spent:6.1f} CPU-ms to the painted screen")
        finally:
            over.set()
            writer.join()


if __name__ == "__main__":
    main()
