"""Run folders: nothing torn, nothing doubled, alive means alive; kill -9 at any moment costs no bit."""

import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlx.core as mx
import pytest

import lab  # noqa: F401  (OpenBLAS before MLX)
from lab.errors import UserError
from lab.run import Run
from lab.runs import alive, checkpoints, inspect, read_lines, runs, send
from lab.weights import load_arrays
from tests.conftest import REPO, TINY, stories


class Counter:
    """The smallest part with a state: it counts."""

    def __init__(self) -> None:
        self.value = 0

    def save(self, folder: Path) -> None:
        (folder / "model.safetensors").write_text(str(self.value))

    def load(self, folder: Path) -> None:
        self.value = int((folder / "model.safetensors").read_text())


def count_to(total: int, name: str = "r", resume: bool = False, stop_at: int = 0, save_every: int = 3) -> Counter:
    part = Counter()
    with Run("count", {"seed": 1}, name, resume) as record:
        record.save_every = save_every
        record.attach(part)
        for step in record.steps(total):
            part.value += 1
            record.log(step, value=part.value)
            if step == stop_at:
                raise RuntimeError("power cut")
    return part


def steps_of(folder: Path) -> list[int]:
    return [row["step"] for row in read_lines(folder / "metrics.jsonl") if "value" in row]


def test_a_run_writes_its_record(home: Path) -> None:
    count_to(7)
    folder = home / "r"
    assert steps_of(folder) == [1, 2, 3, 4, 5, 6, 7]
    assert [int(c.name) for c in checkpoints(folder)] == [3, 6, 7]
    assert (folder / "last").read_text() == "000007\n"
    assert (folder / "model.safetensors").read_text() == "7"
    info = inspect(folder)
    assert (info.state, info.step, info.total, info.recipe) == ("done", 7, 7, "count")
    passport = json.loads((folder / "run.json").read_text())
    assert passport["config"] == {"seed": 1}
    assert passport["versions"]["mlx"]
    assert not list(folder.rglob("*.tmp*"))
    assert [i.name for i in runs()] == ["r"]


def test_resume_goes_back_to_the_last_checkpoint(home: Path) -> None:
    with pytest.raises(RuntimeError):
        count_to(10, stop_at=5)
    folder = home / "r"
    assert inspect(folder).state == "failed"
    assert "power cut" in inspect(folder).status["error"]
    assert "Traceback" in (folder / "log.txt").read_text()
    part = count_to(10, resume=True)
    assert part.value == 10
    assert steps_of(folder) == list(range(1, 11))
    events = [row["event"] for row in read_lines(folder / "metrics.jsonl") if "event" in row]
    assert "resume" in events


def test_a_torn_line_and_a_torn_checkpoint_are_forgotten(home: Path) -> None:
    with pytest.raises(RuntimeError):
        count_to(10, stop_at=5)
    folder = home / "r"
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "val')
    (folder / "checkpoints" / ".tmp").mkdir()
    assert [int(c.name) for c in checkpoints(folder)] == [0, 3]
    count_to(10, resume=True)
    assert steps_of(folder) == list(range(1, 11))


def test_names_are_kept_apart(home: Path) -> None:
    count_to(2)
    with pytest.raises(UserError, match="there already"):
        count_to(2)
    with pytest.raises(UserError, match="is no run"):
        count_to(2, name="other", resume=True)
    for bad in ("../x", "", ".hidden", "pocket-base", "a b"):
        with pytest.raises(UserError):
            Run("count", {}, bad or "/", False)
    assert steps_of(home / "r") == [1, 2]


def test_bad_input_leaves_no_folder_behind(home: Path) -> None:
    with pytest.raises(UserError, match="no good"), Run("count", {}, "r", False):
        raise UserError("no good")
    assert not (home / "r").exists()


def test_one_process_a_run_and_one_training_at_a_time(home: Path) -> None:
    code = (
        "import sys; from lab.run import Run; from tests.lab.test_run import Counter\n"
        "with Run('count', {}, 'busy', False) as r:\n"
        "    r.attach(Counter())\n"
        "    for step in r.steps(1): print('go', flush=True); sys.stdin.readline()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO, text=True
    )
    assert child.stdout
    assert child.stdin
    child.stdout.readline()
    assert alive(home / "busy")
    with pytest.raises(UserError, match="another process"):
        Run("count", {}, "busy", True)
    waiting = subprocess.Popen([sys.executable, "-c", code.replace("busy", "next")], stdin=subprocess.PIPE, cwd=REPO,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert waiting.stdout
    assert waiting.stdin
    deadline = time.time() + 10
    while inspect(home / "next").state != "queued" and time.time() < deadline:
        time.sleep(0.05)
    assert "busy" in inspect(home / "next").status["note"]
    child.communicate("\n", timeout=10)
    assert waiting.stdout.readline() == "go\n"
    waiting.communicate("\n", timeout=10)
    assert not alive(home / "busy")
    assert inspect(home / "next").state == "done"


def test_kill_9_is_seen_as_died(home: Path) -> None:
    code = (
        "from lab.run import Run; from tests.lab.test_run import Counter\n"
        "with Run('count', {}, 'k', False) as r:\n"
        "    r.attach(Counter())\n"
        "    for step in r.steps(1): print(1, flush=True); input()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPO)
    assert child.stdout
    child.stdout.readline()
    assert inspect(home / "k").state == "running"
    child.kill()
    child.wait()
    assert inspect(home / "k").state == "died"


def test_controls_are_obeyed_between_steps(home: Path) -> None:
    part = Counter()
    with Run("count", {}, "c", False) as record:
        record.attach(part)
        for step in record.steps(100):
            part.value += 1
            if step == 4:
                send("c", "checkpoint")
            if step == 6:
                send("c", "stop")
            if step == 7:
                pytest.fail("went on after stop")
        assert record.stopped
    folder = home / "c"
    assert [int(c.name) for c in checkpoints(folder)] == [0, 4, 6]
    assert inspect(folder).state == "stopped"
    echoes = [(row["step"], row["cmd"]) for row in read_lines(folder / "metrics.jsonl") if "cmd" in row]
    assert echoes == [(4, "checkpoint"), (6, "stop")]
    with pytest.raises(UserError, match="no process runs it"):
        send("c", "pause")
    with pytest.raises(UserError, match="no such control"):
        send("c", "explode")


def test_orders_of_an_earlier_life_are_ignored(home: Path) -> None:
    count_to(3)
    (home / "r" / "control.jsonl").write_text(json.dumps({"cmd": "stop", "t": 0}) + "\n")
    part = count_to(6, resume=True)
    assert part.value == 6


def test_old_checkpoints_are_thinned_but_never_the_best(home: Path) -> None:
    part = Counter()
    with Run("count", {}, "t", False) as record:
        record.attach(part)
        record.save_every, record.keep = 2, 2
        for step in record.steps(11):
            part.value += 1
            if step == 5:
                (record.folder / "best").write_text("000004\n")
    assert [int(c.name) for c in checkpoints(home / "t")] == [4, 10, 11]


def test_not_a_number_is_null_in_json(home: Path) -> None:
    with Run("count", {}, "n", False) as record:
        record.attach(Counter())
        for step in record.steps(1):
            record.log(step, loss=float("nan"))
    text = (home / "n" / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert '"loss": null' in text


def pretrain(home: Path, text: Path, name: str, iters: int, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "recipes", "pretrain", "--name", name, *more]
    if "--resume" not in more:
        command += ["--data", str(text), "--iters", str(iters), "--save-every", "7", "--steps-per-eval", "10", *TINY]
    return subprocess.Popen(
        command, cwd=REPO, env=os.environ | {"LAB_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def same_weights(one: Path, two: Path) -> bool:
    a, b = load_arrays(one / "model.safetensors"), load_arrays(two / "model.safetensors")
    return a.keys() == b.keys() and all(mx.array_equal(a[k], b[k]) for k in a)


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.time() + 60
    while time.time() < deadline:
        if any(row.get("step", 0) >= step for row in read_lines(folder / "metrics.jsonl")):
            return
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_9_at_twenty_random_moments_changes_no_bit(home: Path, text_file: Path) -> None:
    """The kills fall anywhere: while starting, tokenising, stepping, saving, publishing."""
    text_file.write_text("\n\n".join(stories(600)))
    iters = 400
    assert pretrain(home, text_file, "whole", iters).wait(120) == 0
    r = random.Random(20)
    kills = 0
    for attempt in range(40):
        child = pretrain(home, text_file, "cut", iters, *(["--resume"] if (home / "cut" / "run.json").exists() else []))
        if kills < 20:
            if attempt % 4:  # most kills while it trains, some while it starts
                last = checkpoints(home / "cut")
                wait_for_step(home / "cut", (int(last[-1].name) if last else 0) + 1)
            time.sleep(r.random() * 0.4)
            child.send_signal(signal.SIGKILL)
            killed = child.wait() == -signal.SIGKILL
            kills += killed
            if killed and not (home / "cut" / "run.json").exists():
                shutil.rmtree(home / "cut", ignore_errors=True)
        else:
            assert child.wait(120) == 0
            break
    assert kills == 20
    whole, cut = home / "whole", home / "cut"
    assert same_weights(whole, cut)
    last = checkpoints(whole)[-1].name
    # MLX writes arrays in no fixed order, so the optimiser's file is compared array by array.
    states = [load_arrays(f / "checkpoints" / last / "optimizer.safetensors") for f in (whole, cut)]
    assert states[0].keys() == states[1].keys()
    assert all(mx.array_equal(states[0][k], states[1][k]) for k in states[0])
    for folder in (whole, cut):
        losses = [(row["step"], row["loss"]) for row in read_lines(folder / "metrics.jsonl") if "loss" in row]
        assert [s for s, _ in losses] == list(range(1, iters + 1))
    keep = ("loss", "grad_norm", "learning_rate", "bits_per_byte")
    numbers = [
        [{k: row[k] for k in keep if k in row} for row in read_lines(f / "metrics.jsonl") if "event" not in row]
        for f in (whole, cut)
    ]
    assert numbers[0] == numbers[1]
    texts = [[(row["step"], row["ids"]) for row in read_lines(f / "samples.jsonl")] for f in (whole, cut)]
    assert texts[0] == texts[1]


def test_ctrl_c_saves_and_resume_ends_with_the_same_bits(home: Path, text_file: Path) -> None:
    assert pretrain(home, text_file, "whole", 60).wait(120) == 0
    child = pretrain(home, text_file, "cut", 60)
    wait_for_step(home / "cut", 20)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    if inspect(home / "cut").state == "stopped":  # it may have been done already
        assert child.returncode == 0
        assert b"--name cut --resume" in out
        assert pretrain(home, text_file, "cut", 60, "--resume").wait(120) == 0
    assert same_weights(home / "whole", home / "cut")


def test_a_broken_checkpoint_is_named_and_nothing_is_cut(home: Path) -> None:
    with pytest.raises(RuntimeError):
        count_to(10, stop_at=8)
    folder = home / "r"
    before = (folder / "metrics.jsonl").read_bytes()
    (folder / "checkpoints" / "000006" / "state.json").write_text('{"st')
    with pytest.raises(UserError, match=r"000006: state.json is broken; delete this folder"):
        count_to(10, resume=True)
    (folder / "checkpoints" / "000006" / "state.json").write_text('{"step": 6, "lengths": {}}')
    (folder / "checkpoints" / "000006" / "model.safetensors").write_text("no number")
    with pytest.raises(UserError, match=r"delete .*000006"):
        count_to(10, resume=True)
    assert (folder / "metrics.jsonl").read_bytes() == before
    shutil.rmtree(folder / "checkpoints" / "000006")
    assert count_to(10, resume=True).value == 10
    assert steps_of(folder) == list(range(1, 11))


def test_a_resumed_run_cuts_its_own_record_and_nobody_elses_file(home: Path) -> None:
    with pytest.raises(RuntimeError):
        count_to(10, stop_at=8)
    rankings = home / "r" / "my-rankings.jsonl"  # as `lab rank --out`, while the run stood still
    rankings.write_text('{"id": 1}\n' * 200)
    assert count_to(10, resume=True).value == 10
    assert rankings.read_text() == '{"id": 1}\n' * 200
    assert steps_of(home / "r") == list(range(1, 11))


def test_status_of_somebody_else_does_not_break_the_list(home: Path) -> None:
    count_to(2)
    odd = home / "odd"
    odd.mkdir()
    (odd / "run.json").write_text('{"created": "x", "recipe": null}')
    (odd / "status.json").write_text('{"step": null, "total": {}, "state": "running"}')
    assert {(i.name, i.state, i.step) for i in runs()} == {("r", "done", 2), ("odd", "died", 0)}


def test_a_copy_without_checkpoints_is_never_resumed(home: Path) -> None:
    count_to(3)
    shutil.copytree(home / "r", home / "copy", ignore=shutil.ignore_patterns("checkpoints", "lock"))
    before = {f.name: f.read_bytes() for f in (home / "copy").iterdir()}
    with pytest.raises(UserError, match="no checkpoints to go on from"):
        count_to(6, name="copy", resume=True)
    assert {f.name: f.read_bytes() for f in (home / "copy").iterdir()} == before
    shutil.rmtree(home / "r")
    with pytest.raises(UserError, match="no count run"):
        Run("count", {}, None, True)


def test_a_kill_between_saving_and_publishing_is_made_good(home: Path) -> None:
    count_to(6)
    folder = home / "r"
    shutil.copy(folder / "checkpoints" / "000003" / "model.safetensors", folder / "model.safetensors")
    (folder / "last").write_text("000003\n")
    count_to(6, resume=True)
    assert (folder / "model.safetensors").read_text() == "6"
    assert (folder / "last").read_text() == "000006\n"


def test_checkpoints_are_ordered_by_number(home: Path) -> None:
    for step in ("999800", "1000000"):
        (home / "r" / "checkpoints" / step).mkdir(parents=True)
    assert [c.name for c in checkpoints(home / "r")] == ["999800", "1000000"]


def test_a_watcher_does_not_keep_the_owner_out(home: Path) -> None:
    """`alive` holds the lock for an instant; opening a run must not mistake that for another owner."""
    count_to(2)
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            alive(home / "r")

    watchers = [threading.Thread(target=watch) for _ in range(3)]
    for thread in watchers:
        thread.start()
    try:
        for _ in range(20):
            count_to(2, resume=True)
    finally:
        stop.set()
        for thread in watchers:
            thread.join()


def test_a_queued_run_that_is_stopped_ends_like_any_other(home: Path) -> None:
    (home / ".device.lock").touch()
    with open(home / ".device.lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, lambda: send("q", "stop"))
        timer.start()
        with Run("count", {}, "q", False) as record:
            record.attach(Counter())
            assert list(record.steps(5)) == []
            assert record.stopped
    assert inspect(home / "q").state == "stopped"
    assert count_to(5, name="q", resume=True).value == 5
