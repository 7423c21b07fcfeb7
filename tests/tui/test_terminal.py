"""The window in a real terminal: it opens, goes about, ends, and whatever kills it the terminal is as before."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tui.conftest import Terminal, make_run

pytestmark = pytest.mark.slow
Open = Callable[..., Terminal]


def processes(home: Path) -> list[tuple[int, str]]:
    """(pid, command line) of the processes that work on this weights root."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else []:
        if entry.name.isdecimal():
            try:
                if f"LAB_HOME={home}\0".encode() in (entry / "environ").read_bytes():
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    found.append((int(entry.name), line))
            except OSError:
                continue
    return [p for p in found if "-m tui" in p[1] or "-m lab.worker" in p[1] or "-m recipes" in p[1]]


def gone(home: Path, what: str = "", seconds: float = 15) -> None:
    """Wait until none of its processes whose line holds `what` is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(what in line for _, line in processes(home)):
            return
        time.sleep(0.1)
    raise AssertionError(processes(home))


def pid_of(home: Path, what: str) -> int:
    return next(pid for pid, line in processes(home) if what in line)


def stty(terminal: Terminal, path: Path) -> str:
    terminal.type(f"stty -a > {path}; echo {path.name} $((1+1))")  # its name: what came before stays on the screen
    terminal.keys("Enter")
    terminal.until(f"{path.name} 2", 10)
    return path.read_text()


def test_open_visit_all_rooms_and_quit(terminal: Open, home: Path, tmp_path: Path) -> None:
    make_run("pretrain-1", steps=12)
    shell = terminal()
    shell.until("ready")
    before = stty(shell, tmp_path / "before")
    shell.lab()
    shell.until("1 Pipeline")
    for key, pattern in (("2", "pretrain-1"), ("3", "Rollouts"), ("5", "Tokens"), ("6", "Rank"), ("1", "pretrain")):
        shell.keys(key)
        shell.until(pattern)
    shell.keys("q")
    shell.until(r"ready\$ *$")
    assert stty(shell, tmp_path / "after") == before
    assert "1 Pipeline" not in shell.text()
    assert processes(home) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_whatever_kills_it_the_terminal_is_mended(
    terminal: Open, home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    shell = terminal(100, 30)
    before = stty(shell, tmp_path / "before")
    shell.lab()
    shell.until("1 Pipeline")
    os.kill(pid_of(home, "-m tui"), number)
    shell.until(r"ready\$ *$")
    assert stty(shell, tmp_path / "after") == before
    assert shell._tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").strip() == "0 0 1"
    assert processes(home) == []


def test_where_the_keeper_is_killed_the_window_leaves_too(terminal: Open, home: Path) -> None:
    shell = terminal(100, 30)
    shell.lab()
    shell.until("1 Pipeline")
    os.kill(pid_of(home, "-m recipes"), signal.SIGKILL)
    gone(home, seconds=10)
    assert shell._tmux("display-message", "-p", "#{alternate_on}").strip() == "0"


def test_a_closed_terminal_leaves_no_process(terminal: Open, home: Path) -> None:
    shell = terminal(100, 30)
    shell.lab()
    shell.until("1 Pipeline")
    shell.close()
    gone(home, seconds=10)


def test_sleep_and_wake(terminal: Open, home: Path) -> None:
    """Ctrl-Z gives the shell back, fg brings the window."""
    shell = terminal(100, 30)
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("C-z")
    shell.until(r"ready\$ *$")
    shell.type("fg")
    shell.keys("Enter")
    shell.until("1 Pipeline")
    shell.keys("q")
    shell.until(r"ready\$ *$")


def test_a_storm_of_sizes(terminal: Open, home: Path) -> None:
    make_run("pretrain-1", steps=12)
    shell = terminal(150, 42)
    shell.lab()
    shell.until("1 Pipeline")
    for key in ("1", "2", "4", "5"):
        shell.keys(key)
        for width, height in ((40, 12), (200, 60), (80, 24), (20, 5), (150, 42)):
            shell.resize(width, height)
            time.sleep(0.1)
    shell.keys("Escape", "1")
    shell.until("1 Pipeline")
    assert any("-m tui" in line for _, line in processes(home))


def test_without_a_terminal_it_says_what_to_do(cli: Callable[..., "subprocess.CompletedProcess[str]"]) -> None:
    done = cli("tui")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert cli().stdout.startswith("A local LLM lab")
