"""What a reply of 1,500 coloured tokens costs the window: CPU seconds of the TUI's process, the model's not counted.

    python -m tests.bench.tokens_text [tokens a second, 300] [tokens, 1500]

A child process prints what the model process would print, with five alternatives a token, in batches twenty times a
second; the real chat screen reads, keeps, lays out and draws it at 150x42.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

COUNT, SPEED = 1500, 300.0
WORDS = [
    "the",
    "sea",
    "was",
    "calm",
    "and",
    "Ada",
    "took",
    "her",
    "boat",
    "to",
    "an",
    "island",
    "where",
    "nobody",
    "went",
]


def child(speed: float, count: int) -> None:
    """Print a reply's events, `speed` tokens a second."""
    r = random.Random(0)

    def tell(event: str, **more: object) -> None:
        print(json.dumps({"event": event, "id": 1, "slot": "a"} | more), flush=True)

    tell("begin", ids=[1], pieces=["x"], dropped=0, prefix=[])
    began, sent = time.monotonic(), 0
    while sent < count:
        time.sleep(0.05)
        until = min(count, int((time.monotonic() - began) * speed))
        tokens = []
        for i in range(sent, until):
            piece = "\n\n" if i % 97 == 96 else " " + r.choice(WORDS)
            p = r.random() ** 0.4
            top = [[i, " " + word, round(p / (j + 1), 6)] for j, word in enumerate(r.sample(WORDS, 5))]
            tokens.append({"id": i, "piece": piece, "text": piece, "p": p, "logp": -1.0, "kind": "text", "top": top})
        tell("tokens", tokens=tokens)
        sent = until
    tell("end", stop="length", first=0.1, speed=speed, prefilled=1, used=count + 1, seconds=count / speed)


async def measure(speed: float, count: int) -> dict[str, float]:
    """CPU seconds of this process: for the reply, and for doing nothing as long."""
    from tui.app import LabApp
    from tui.data.chats import Node
    from tui.data.talk import Coming
    from tui.screens.chat import ChatScreen

    app = LabApp()
    async with app.run_test(size=(150, 42)) as pilot:
        app.action_go("chat")
        await pilot.pause(1)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        talk = screen.talk
        tree, side = talk.tree("a"), talk.sides["a"]
        side.state, side.context = "ready", 4096
        tree.add(Node("user", -1, "Tell me about the sea."))
        number = tree.add(Node("assistant", 0))
        side.coming[1] = Coming(talk.chat, tree, number, time.perf_counter())
        screen.action_colours()
        await pilot.pause(0.5)
        command = [sys.executable, "-m", "tests.bench.tokens_text", "child", str(speed), str(count)]
        before, began = time.process_time(), time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout

            def listen() -> None:
                assert process.stdout
                for line in process.stdout:
                    screen._hear(json.loads(line))

            thread = threading.Thread(target=listen)
            thread.start()
            while side.coming:
                await asyncio.sleep(0.05)
            thread.join()
        await asyncio.sleep(0.2)
        used, took = time.process_time() - before, time.perf_counter() - began
        assert len(tree.nodes[number].tokens) == count
        before = time.process_time()
        until = time.perf_counter() + took
        while time.perf_counter() < until:
            await asyncio.sleep(0.05)
        idle = time.process_time() - before
    return {"cpu": used, "idle": idle, "seconds": took}


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(float(sys.argv[2]), int(sys.argv[3]))
        return
    speed, count = float(sys.argv[1]) if sys.argv[1:] else SPEED, int(sys.argv[2]) if sys.argv[2:] else COUNT
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB_HOME", folder)
        patch.setenv("XDG_CONFIG_HOME", str(Path(folder) / "config"))
        found = asyncio.run(measure(speed, count))
    print(
        f"{count} tokens at {speed:g} a second: {found['cpu']:.2f} s CPU of the window in {found['seconds']:.1f} s; "
        f"idle for as long {found['idle']:.2f} s"
    )


if __name__ == "__main__":
    main()
