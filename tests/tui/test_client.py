"""The client of the model process: events, what it does when the process dies, and that none is ever left behind."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO
from tui.data.client import Client

POCKET = str(REPO / "weights" / "pocket-base")
Events = "queue.Queue[dict[str, Any]]"


@pytest.fixture
def events() -> Events:
    return queue.Queue()


@pytest.fixture
def client(events: Events) -> Iterator[Client]:
    made = Client(events.put)
    yield made
    made.close()


def until(events: Events, *kinds: str, seconds: float = 30) -> list[dict[str, Any]]:
    """Events up to one of a kind."""
    found = [events.get(timeout=seconds)]
    while found[-1]["event"] not in kinds:
        found.append(events.get(timeout=seconds))
    return found


def child(client: Client) -> "subprocess.Popen[bytes]":
    return client._children[-1].process


def gone(pid: int, seconds: float = 2) -> bool:
    """Whether that process ends in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            if sys.platform == "linux" and Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "Z":
                return True  # nobody has asked for its exit code yet
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_model_speaks_and_when_it_is_killed_a_new_one_does(client: Client, events: Events) -> None:
    assert not client.alive
    early = client.say("a", text="x")
    (failed,) = until(events, "failed")
    assert (failed["id"], failed["slot"], failed["message"]) == (early, "a", "no model is loaded in slot a")
    texts = []
    for turn in range(2):
        client.load("a", POCKET)
        assert client.alive
        assert until(events, "loaded")[-1]["name"] == "pocket-base"
        number = client.say(
            "a", text="The capital of France is", sampling={"temp": 0, "max_tokens": 40}, stop=["."], top=2
        )
        begin, *rest, end = until(events, "end")
        tokens = [token for event in rest for token in event["tokens"]]
        texts.append("".join(token["text"] for token in tokens))
        assert {e["id"] for e in (begin, *rest, end)} == {number}
        assert end["stop"] == "stop"
        assert all(len(token["top"]) == 2 for token in tokens)
        again = client.say(
            "a", text="The capital of France is", sampling={"temp": 0}, prefix=[t["id"] for t in tokens[:2]]
        )
        begin, *rest, end = until(events, "end")
        assert begin["id"] == again
        assert [t["id"] for e in rest for t in e["tokens"]][: len(tokens) - 2] == [t["id"] for t in tokens[2:]]
        cancelled = client.say("a", text="One day", sampling={"temp": 1.0, "max_tokens": 400})
        client.cancel(cancelled)
        assert until(events, "end")[-1]["id"] == cancelled
        if not turn:
            client.unload("a")
            until(events, "unloaded")
            client.say("a", messages=[{"role": "user", "content": "x"}])
            until(events, "failed")
            child(client).kill()
            told = until(events, "gone")[-1]
            assert told["code"] == -9
            assert "was killed (SIGKILL); a system short of memory does that" in told["message"]
            assert not client.alive
            client.cancel(1)  # of no use, and no harm
    assert texts == [" Paris"] * 2
    # A load right after the death: that the old process is gone is heard first.
    child(client).send_signal(signal.SIGABRT)
    child(client).wait()
    client.load("b", POCKET)
    told, *rest = until(events, "loaded")
    assert (told["event"], told["code"]) == ("gone", -6)
    assert "crashed (SIGABRT)" in told["message"]
    began, pid = time.monotonic(), child(client).pid
    client.close()
    assert time.monotonic() - began < 1
    assert gone(pid, 0.1)
    assert not client.alive
    client.load("a", POCKET)
    client.say("a", text="x")
    client.close()
    time.sleep(0.1)
    assert not client.alive
    assert events.empty()


def test_a_process_that_hangs_holds_up_nobody(client: Client, events: Events) -> None:
    client.load("a", POCKET)
    until(events, "loaded")
    pid = child(client).pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(20):
        client.say("a", text="Ada took a kite. " * 10_000)  # more than any pipe holds
    assert time.monotonic() - began < 0.5
    client.close()
    assert time.monotonic() - began < 3
    assert gone(pid, 0.1)


PARENT = """
import sys, time
from tui.data.client import Client
def hear(event):
    if event["event"] in ("loaded", "tokens", "failed"):
        print(event["event"], client._children[0].process.pid, flush=True)
    if event["event"] == "loaded":
        client.say("a", text="One day", sampling={"temp": 1.0, "max_tokens": 400})
        client.say("a", text="One day", sampling={"temp": 1.0, "max_tokens": 400}, seed=1)
    raise ValueError("what hears it may break")
client = Client(hear)
client.load("a", sys.argv[1])
print("started", client._children[0].process.pid, flush=True)
assert not {"mlx", "mlx_lm", "textual"} & {name.split(".")[0] for name in sys.modules}
time.sleep(60 if sys.argv[2] == "wait" else 0)
"""


@pytest.mark.parametrize("end", ["while it speaks", "while it starts", "exit"])
def test_no_process_is_left_behind(end: str, tmp_path: Path) -> None:
    """Its parent is killed (-9), or ends without closing the client."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, POCKET, "exit" if end == "exit" else "wait"],
        cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert parent.stdout
        said, pid = parent.stdout.readline().split()
        while end == "while it speaks" and said != "tokens":
            said, pid = parent.stdout.readline().split()
        if end == "exit":
            assert parent.wait(5) == 0
        parent.kill()
        assert gone(int(pid))
    finally:
        parent.kill()
        parent.communicate()
