"""`lab tui --web`: the window in a browser of this computer, and of nobody else."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.tui.conftest import make_run
from tests.tui.test_terminal import gone, processes

aiohttp = pytest.importorskip("aiohttp", reason="the extra `web` is not installed")
pytest.importorskip("textual_serve")
pytestmark = pytest.mark.slow


@pytest.fixture
def served(home: Path) -> "Iterator[tuple[str, subprocess.Popen[str]]]":
    """(host:port, the process that serves it)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = subprocess.Popen(
        [sys.executable, "-m", "recipes", "tui", "--web", "--port", str(port)], cwd=REPO, text=True,
        stdout=subprocess.PIPE, env=os.environ | {"LAB_HOME": str(home)},
    )  # fmt: skip
    try:
        assert child.stdout
        assert f"http://127.0.0.1:{port}, for this computer only" in child.stdout.readline()
        yield f"127.0.0.1:{port}", child
    finally:
        child.kill()
        child.wait()


def test_a_browser_sees_the_window_and_other_pages_do_not(
    served: "tuple[str, subprocess.Popen[str]]", home: Path
) -> None:
    make_run("pretrain-7", steps=12)
    where, child = served

    async def browse() -> None:
        wait = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=wait) as session:
            async with session.get(f"http://{where}/") as page:
                assert page.status == 200
                assert f"ws://{where}/ws" in await page.text()
            place = f"ws://{where}/ws?width=120&height=40"
            for other in ("http://evil.example", ""):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(place, origin=other)
                assert refused.value.status == 403
            assert not any("-m tui" in line for _, line in processes(home))  # nobody opened a window for those
            async with session.ws_connect(place, origin=f"http://{where}") as tab:
                seen = b""
                while b"pretrain-7" not in seen:
                    said = await tab.receive(timeout=30)
                    seen += said.data if isinstance(said.data, bytes) else b""
                assert any("-m tui" in line for _, line in processes(home))
                child.send_signal(signal.SIGINT)
                assert await asyncio.to_thread(child.wait, 15) == 0

    asyncio.run(browse())
    gone(home, seconds=10)


def test_what_cannot_be_served_is_said(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for given, says in ((port, "take another"), ("0", "must lie between 1 and 65535")):
            done = subprocess.run(
                [sys.executable, "-m", "recipes", "tui", "--web", "--port", given], cwd=REPO, text=True, capture_output=True,
                env=os.environ | {"LAB_HOME": str(home)}, timeout=60,
            )  # fmt: skip
            assert done.returncode == 2
            assert says in done.stderr
            assert done.stderr.count("\n") == 1
