"""Run folders as the screens see them: liveness, deletion, nonsense; starting recipes as processes."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.runs import alive, send
from tests.conftest import REPO, TINY
from tests.tui.conftest import make_run
from tui.data import launch, watch
from tui.data.launch import Starts, command, last_lines
from tui.data.watch import Watch, stalled

HOLDER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_finished_runs_are_read_once(home: Path) -> None:
    make_run("a", steps=3)
    make_run("b", steps=3)
    watcher = Watch()
    assert watcher.refresh()
    assert [info.name for info in watcher.runs] == ["b", "a"]
    assert not watcher.refresh()
    first = watcher.runs[0]
    watcher.refresh()
    assert watcher.runs[0] is first
    assert watcher.live == []


def test_a_killed_run_is_seen_as_died(home: Path) -> None:
    folder = make_run("a", steps=3)
    (folder / "status.json").write_text('{"state": "running", "step": 2, "total": 9}')
    owner = subprocess.Popen([sys.executable, "-c", HOLDER, folder / "lock"], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    owner.stdout.readline()
    watcher = Watch()
    watcher.refresh()
    assert [i.name for i in watcher.live] == ["a"]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert watcher.refresh()
    assert watcher.runs[0].state == "died"
    assert watcher.live == []


def test_folders_that_vanish_are_renamed_or_hold_nonsense(home: Path) -> None:
    a = make_run("a", steps=3)
    make_run("b", steps=3)
    watcher = Watch()
    watcher.refresh()
    a.rename(home / "c")
    assert watcher.refresh()
    assert sorted(i.name for i in watcher.runs) == ["b", "c"]
    for text in (
        "",
        "{",
        "[]",
        '{"state": 7, "step": "x", "total": null, "headline": []}',
        '{"version": 99, "state": "dreaming"}',
    ):
        (home / "b" / "status.json").write_text(text)
        os.utime(home / "b" / "status.json", ns=(time.time_ns(), time.time_ns()))
        watcher.refresh()
        assert watcher.find("b") is not None
    (home / "b" / "run.json").write_bytes(b"\xff\xfe")
    watcher.refresh()
    shutil.rmtree(home)
    assert watcher.refresh()
    assert watcher.runs == []
    assert not watcher.refresh()


def test_a_run_without_a_word_is_stalled(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("a", steps=3)
    told = time.time()
    (folder / "status.json").write_text(f'{{"state": "running", "step": 2, "total": 9, "t": {told}}}')
    handle = os.open(folder / "lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    watcher = Watch()
    watcher.refresh()
    assert not stalled(watcher.runs[0])
    monkeypatch.setattr(watch, "clock", lambda: told + 60)
    assert stalled(watcher.runs[0])
    os.close(handle)


def test_the_command_shown_is_one_a_person_can_type() -> None:
    assert (
        command("pretrain", ["--name", "x", "--data", "my books/a.txt"])
        == "lab pretrain --name x --data 'my books/a.txt'"
    )


def test_a_start_that_fails_says_why(home: Path) -> None:
    starts = Starts()
    starts.start("pretrain", "x", ["--iters", "0"])
    until = time.monotonic() + 20
    ended: list[launch.Started] = []
    while not ended and time.monotonic() < until:
        ended = starts.ended()
        time.sleep(0.05)
    assert "--iters 0: must be at least 1" in ended[0].failed
    assert not (home / "x").exists()


def test_a_folder_called_recipes_where_the_user_stands_is_not_ours(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "__main__.py").write_text("raise SystemExit(77)")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run(launch.lab("--help"), env=launch.environment(), capture_output=True, text=True)
    assert done.returncode == 0
    assert "lab COMMAND" in done.stdout


@pytest.mark.slow
def test_start_pause_checkpoint_kill_resume_stop(home: Path, text_file: Path) -> None:
    """A real training, started as the screens start it."""
    starts, watcher = Starts(), Watch()
    flags = [*TINY, "--data", str(text_file), "--iters", "5000", "--steps-per-eval", "1000", "--save-every", "1000"]
    started = starts.start("pretrain", "r", flags)

    def until(state: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            watcher.refresh()
            info = watcher.find("r")
            if info and info.state == state and (state != "running" or info.step > 2):
                return
            time.sleep(0.05)
        raise AssertionError(f"never {state}: {watcher.runs} {last_lines(started.log, 5)}")

    until("running")
    second = starts.start("pretrain", "second", flags)
    assert launch.wait(second, 30)
    end = time.monotonic() + 30
    while time.monotonic() < end and (watcher.refresh() or True):
        if (info := watcher.find("second")) and info.state == "queued":
            break
        time.sleep(0.05)
    assert watcher.live[0].name == "r"  # what has the accelerator comes first
    assert "waiting for r" in watcher.live[1].status["note"]
    send("second", "stop")
    send("r", "pause")
    until("paused")
    at = watcher.runs[-1].step
    time.sleep(0.5)
    watcher.refresh()
    assert watcher.runs[-1].step == at
    send("r", "checkpoint")
    send("r", "resume")
    until("running")
    assert alive(home / "r")
    os.kill(started.process.pid, signal.SIGKILL)
    until("died", 2)
    info = watcher.find("r")
    assert info is not None
    started = starts.resume(info)
    until("running")
    send("r", "stop")
    until("stopped")
    assert started.process.wait(20) == 0
    assert REPO  # run from anywhere
