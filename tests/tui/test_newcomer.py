"""The first minutes of somebody with a fresh clone, in a real terminal: how many keys to a chat, how many to a curve."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.runs import inspect
from tests.conftest import REPO
from tests.tui.conftest import Terminal, make_run
from tests.tui.test_terminal import gone, pid_of, processes

pytestmark = pytest.mark.slow
Open = Callable[..., Terminal]


@pytest.fixture
def clone(home: Path) -> Path:
    """A weights root as a fresh clone has it."""
    shutil.copytree(REPO / "weights" / "pocket-base", home / "pocket-base")
    return home


def test_a_chat_in_one_key_and_a_reply(terminal: Open, clone: Path) -> None:
    shell = terminal()
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("4")
    shell.until(r"pocket-base.*it continues your text")
    shell.type("The capital of France is")
    shell.keys("Enter")
    try:
        text = shell.until(r"\bParis\b", 15)
    except AssertionError:  # told a hundred times: it says it in .98 of the draws, and one of the others is asked again
        shell.keys("C-r")
        text = shell.until(r"\bParis\b")
    assert "The capital of France is" in text
    shell.until(r"tok/s")
    worker = pid_of(clone, "-m lab.worker")
    os.kill(worker, signal.SIGKILL)
    shell.until(r"SIGKILL|killed")
    assert "The capital of France is" in shell.text()  # nothing said is lost
    shell.keys("Escape", "C-q")
    shell.until(r"ready\$ *$")
    gone(clone)


def test_a_live_curve_in_two_keys_which_outlives_the_window(terminal: Open, clone: Path) -> None:
    shell = terminal()
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("n")
    shell.until(r"lab pretrain --name pretrain-1")
    shell.keys("Enter")
    shell.until(r"2 Train")
    shell.until(r"step [1-9]\d* of [\d,]+", 240)
    shell.until(r"[⠀-⣿]{2}", 30)  # dots of the curve
    assert inspect(clone / "pretrain-1").state == "running"
    shell.keys("q")
    text = shell.until(r"ready\$ *$")
    assert "pretrain-1 goes on" in text
    assert not any("-m tui" in line or "lab.worker" in line for _, line in processes(clone))
    before = inspect(clone / "pretrain-1").step
    shell.lab()
    shell.until("pretrain-1")
    shell.keys("2")
    shell.until(r"step [1-9]\d* of [\d,]+")
    shell.keys("p")
    shell.until("paused")
    assert inspect(clone / "pretrain-1").step > before
    os.kill(pid_of(clone, "pretrain --name"), signal.SIGKILL)
    shell.until("died", 10)
    shell.keys("q")
    shell.until(r"ready\$ *$")
    gone(clone, "-m ")


def test_ctrl_c_leaves_nothing_but_trainings(terminal: Open, clone: Path) -> None:
    make_run("pretrain-1", steps=12)
    shell = terminal(80, 24)
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("4")
    shell.until("context")
    shell.keys("Escape", "C-c", "C-q")
    shell.until(r"ready\$ *$")
    gone(clone, "-m ")


def test_a_model_that_cannot_be_loaded_says_why(terminal: Open, clone: Path) -> None:
    (clone / "pocket-base" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    shell = terminal()
    shell.lab()
    shell.until("1 Pipeline")
    shell.keys("4")
    text = shell.until(r"model\.safetensors|no model")
    assert "Traceback" not in text
    shell.keys("C-q")
    shell.until(r"ready\$ *$")
