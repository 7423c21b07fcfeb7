"""Live runs: full disks, two processes on one run, control, Ctrl-C, kill, a terminal that goes away."""

import contextlib
import os
import pty
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.runs import checkpoints, inspect
from tests.conftest import stories
from tests.recipes.conftest import SMALL, Here, Refused, Start, longer, steps, until

# -- a full disk, two processes, signals ---------------------------------------------------------------------------


def little_disk() -> None:
    """No file may grow beyond 150 kB: a checkpoint of the tiny model does not fit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))


def test_a_full_disk_at_the_first_checkpoint_leaves_nothing(start: Start, home: Path, text_file: Path) -> None:
    process = start("pretrain", "--data", text_file, *SMALL, "--name", "full", preexec_fn=little_disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert len(err.splitlines()) == 1
    assert "saving step 0 failed" in err
    assert not (home / "full").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint(start: Start, here: Here, tiny_run: Path) -> None:
    longer(tiny_run, 9)
    process = start("pretrain", "--name", "tiny", "--resume", preexec_fn=little_disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert len(err.splitlines()) == 1
    assert "saving step 9 failed" in err
    assert "the checkpoint of step 6 is whole" in err
    assert "--name tiny --resume" in err
    assert inspect(tiny_run).state == "failed"
    assert [c.name for c in checkpoints(tiny_run)] == ["000000", "000006"]
    for model in ("tiny", "tiny@6"):
        assert here("generate", "--model", model, "-p", "x", "-m", "2").code == 0
    assert here("pretrain", "--name", "tiny", "--resume").code == 0  # with space again
    assert steps(tiny_run) == 9


def test_a_full_disk_while_shipping(start: Start, home: Path, tiny_run: Path) -> None:
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))  # noqa: E731
    process = start("ship", "tiny", "--to", "copy", preexec_fn=limit)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert len(err.splitlines()) == 1
    assert "copy" in err
    assert "free some space" in err
    assert not [f for f in home.iterdir() if "copy" in f.name]


def test_a_live_run_obeys_control_and_keeps_others_out(
    start: Start, here: Here, home: Path, trained: Path, text_file: Path
) -> None:
    run = home / "live"
    flags = [*SMALL, "--iters", "1000000", "--keep", "2"]
    process = start("pretrain", "--data", text_file, *flags, "--name", "live")
    until(lambda: steps(run) > 3)
    second = here("pretrain", "--name", "live", "--resume")
    assert second.code == 2
    assert len(second.err.splitlines()) == 1
    assert "is being written by another process" in second.err
    assert "lab ctl live stop" in second.err

    assert "live: pause at step" in here("ctl", "live", "pause").out
    until(lambda: inspect(run).state == "paused")
    stands = steps(run)
    assert "paused" in here("runs").out
    time.sleep(0.5)
    assert steps(run) == stands
    assert "checkpoint at step" in here("ctl", "live", "checkpoint").out
    until(lambda: (run / "checkpoints" / f"{stands:06d}").is_dir())
    until(lambda: inspect(run).state == "paused")  # after "saving"
    assert here("ctl", "live", "resume").code == 0
    until(lambda: steps(run) > stands)
    assert here("ctl", "live", "checkpoint").code == 0
    refuse = here("ship", "live", "--to", "copy")
    assert (refuse.code, "ship a run that is done or stopped" in refuse.err) == (2, True)
    assert here("generate", "--model", "live", "-p", "x", "-m", "2").code == 0
    assert here("ctl", "live", "stop").code == 0
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "Go on: lab pretrain --name live --resume" in out
    assert inspect(run).state == "stopped"
    assert here("ctl", "live", "resume").code == 2


def test_ctrl_c_saves_and_says_how_to_go_on(start: Start, here: Here, home: Path, text_file: Path) -> None:
    run = home / "held"
    process = start("pretrain", "--data", text_file, *SMALL, "--iters", "1000000", "--name", "held")
    until(lambda: steps(run) > 3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopping after this step and saving" in err
    assert "Traceback" not in err
    assert "Go on: lab pretrain --name held --resume" in out
    step = steps(run)
    assert inspect(run).state == "stopped"
    assert checkpoints(run)[-1].name == f"{step:06d}"
    assert here("generate", "--model", f"held@{step}", "-p", "x", "-m", "2").code == 0


def test_ctrl_c_twice_stops_at_once(start: Start, here: Here, home: Path, text_file: Path) -> None:
    run = home / "held"
    slow_steps = ["--grad-accumulation-steps", "4000", "--name", "held"]
    process = start("pretrain", "--data", text_file, *SMALL, *slow_steps)
    until(lambda: (run / "model.safetensors").exists())
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    assert "Ctrl-C again stops at once" in lines[1], lines
    for _ in range(10):  # MLX's bindings sometimes swallow the KeyboardInterrupt; people press again, too
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
            break
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert inspect(run).state == "stopped"
    assert here("generate", "--model", "held", "-p", "x", "-m", "2").code == 0


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_outlives_its_terminal_or_pipe(
    start: Start, here: Here, home: Path, text_file: Path, terminal: bool
) -> None:
    run = home / "alone"
    reader, writer = pty.openpty() if terminal else os.pipe()
    process = start(
        "pretrain", "--data", text_file, *SMALL, "--iters", "1000000", "--name", "alone", stdout=writer, stderr=writer
    )
    os.close(writer)
    until(lambda: steps(run) > 3)
    os.close(reader)
    until(lambda: steps(run) > 3 and process.poll() is None)
    at = steps(run)
    time.sleep(0.6)  # the panel is drawn four times a second
    until(lambda: steps(run) > at)
    assert here("ctl", "alone", "stop").code == 0
    assert process.wait(timeout=30) == 0
    assert inspect(run).state == "stopped"
    assert here("generate", "--model", "alone", "-p", "x", "-m", "2").code == 0


def test_a_killed_run_is_seen_as_dead_and_can_go_on(start: Start, here: Here, refused: Refused, home: Path) -> None:
    text = home.parent / "stories.txt"
    text.write_text("\n\n".join(stories(300)))
    run = home / "dead"
    process = start("pretrain", "--data", text, *SMALL, "--iters", "150", "--save-every", "50", "--name", "dead")
    until(lambda: steps(run) > 3)
    process.kill()
    process.wait()
    assert inspect(run).state == "died"
    assert "died" in here("runs").out
    refused("ctl", "dead", "stop", says=r"no process runs it \(state: died\)")
    refused("ship", "dead", "--to", "copy", says="dead: its state is died; ship a run that is done or stopped")
    assert here("generate", "--model", "dead", "-p", "x", "-m", "2").code == 0
    assert here("pretrain", "--resume").code == 0  # the newest run needs no name
    assert (inspect(run).state, steps(run)) == ("done", 150)
