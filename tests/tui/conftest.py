"""Shared parts of the screens' tests: settings of their own, real run folders, text snapshots, a real terminal."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

from lab.run import Run
from tests.conftest import REPO

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of its own for every test; colours whatever the machine says."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TEXTUAL_COLOR_SYSTEM", "truecolor")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    for name in ("NO_COLOR", "TERM_PROGRAM", "LAB_TERMINAL_KEEPER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config"


class Weights:
    """The smallest part that a run can save."""

    def save(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"")

    def load(self, folder: Path) -> None:
        pass


def make_run(
    name: str, steps: int = 30, recipe: str = "pretrain", parent: str | None = None, headline: str = "", **config: Any
) -> Path:
    """A finished run folder, written by the real record: a falling loss, an evaluation every tenth step, samples."""
    charts = [{"title": "loss", "keys": ["loss"]}, {"title": "bits per byte", "keys": ["bits_per_byte"]}]
    with Run(recipe, {"seed": 1, "learning_rate": 0.02} | config, name, False, parent, charts) as record:
        record.save_every = max(1, steps // 3)
        record.attach(Weights())
        for step in record.steps(steps):
            loss = 7.0 / step**0.3
            more = {"bits_per_byte": loss / 2} if step % 10 == 0 else {}
            record.log(
                step, loss=loss, grad_norm=1 / step, learning_rate=0.02, tokens=2048, tok_s=5000, mem_active=0.01,
                mem_peak=0.26, mem_process=0.5, **more,
            )  # fmt: skip
            if step % 10 == 0:
                record.sample(step, "One day", f" there was a step {step}.", [5, 6, 7], [-1.0, -0.5, -2.0])
        record.headline = headline
        record.say("a line of the log", quiet=True)
    return record.folder


def screen_text(app: App[Any]) -> str:
    """What the screen shows, as text: one line a row, without trailing blanks."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip if not s.control).rstrip() for strip in strips).rstrip() + "\n"


@pytest.fixture
def check() -> Callable[[str, str], None]:
    """Compare a text with tests/tui/snapshots/NAME.txt; LAB_SNAPSHOTS=write writes it anew (then read the diff)."""

    def compare(name: str, now: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if os.environ.get("LAB_SNAPSHOTS") == "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(now, encoding="utf-8")
        assert path.exists(), f"no snapshot {name}; LAB_SNAPSHOTS=write writes it"
        assert now == path.read_text(encoding="utf-8"), name

    return compare


@pytest.fixture(scope="session")
def recorded(caller: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights root with two runs that wrote down what they tried; see tests/tui/rollouts_real.py."""
    from tests.tui.rollouts_real import sampled

    root = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", str(root))
        sampled(caller, "grpo-1")
        sampled(caller, "grpo-2", steps=(5, 6), k=2)
    return root


class Terminal:
    """A real terminal: tmux with a shell in it."""

    def __init__(self, folder: Path, width: int, height: int, env: dict[str, str]):
        self.socket = str(folder / "tmux")
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "env", "-i",
                   *[f"{k}={v}" for k, v in env.items()], "sh", env=env)  # fmt: skip

    def _tmux(self, *args: str, env: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, *args], capture_output=True, text=True, env=os.environ | (env or {}), timeout=20
        )
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Escape, C-c, a letter, or a text."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def text(self, colours: bool = False) -> str:
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else []))

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def until(self, pattern: str, seconds: float = 30) -> str:
        """Wait for a pattern on the screen; fails with what is there instead."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = self.text()
            if re.search(pattern, text, re.MULTILINE):
                return text
            time.sleep(0.1)
        raise AssertionError(f"no {pattern!r} in {seconds} s:\n{self.text()}")

    def lab(self, *args: str) -> None:
        """Type the lab command."""
        self.type(shlex.join([sys.executable, "-m", "recipes", *args]))
        self.keys("Enter")

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(home: Path, config_home: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals; closes them after the test."""
    if shutil.which("tmux") is None:
        pytest.skip("no tmux here")
    opened: list[Terminal] = []

    def start(width: int = 150, height: int = 42, **env: str) -> Terminal:
        given = {
            "LAB_HOME": str(home), "XDG_CONFIG_HOME": str(config_home), "PATH": os.environ["PATH"], "TERM": "tmux-256color",
            "COLORTERM": "truecolor", "HOME": str(tmp_path), "PYTHONPATH": str(REPO), "PS1": "ready$ ", "LANG": "C.UTF-8",
        } | env  # fmt: skip
        folder = tmp_path / f"terminal{len(opened)}"
        folder.mkdir()
        opened.append(Terminal(folder, width, height, given))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
