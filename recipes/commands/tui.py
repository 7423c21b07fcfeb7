"""The window: every run's live curves, chat with any model, tokens. `lab` alone opens it too.

Trainings go on when it is closed. Settings and keys: ~/.config/lab/tui.yaml.

Examples:
  lab                       open it
  lab tui --web             the same in a browser, on this computer only (needs the extra `web`)
  lab tui --keys            the names of its actions and their keys, for `keys:` in the settings
  LAB_HOME=~/runs lab       look at the runs of another folder
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff

from lab.errors import UserError
from lab.runs import root

REPO = Path(__file__).resolve().parents[2]
# What the window switched on in the terminal, switched off: alternate screen, hidden cursor, mouse, focus reports,
# bracketed paste, kitty's keys, in-band size reports, colours.
# https://invisible-island.net/xterm/ctlseqs/ctlseqs.html, https://sw.kovidgoyal.net/kitty/keyboard-protocol/
RESTORE = "\x1b[<u" + "".join(f"\x1b[?{mode}l" for mode in (1000, 1002, 1003, 1004, 1006, 1015, 1016, 2004, 2048, 1049))
RESTORE += "\x1b[?25h\x1b[0m"


@dataclass(frozen=True)
class Config:
    web: Annotated[bool, FlagCreatePairsOff] = False
    """Serve it to a browser on this computer."""
    port: int = 8000
    """With --web: the port."""
    keys: Annotated[bool, FlagCreatePairsOff] = False
    """List the actions with their keys."""


def run(config: Config) -> int:
    argv = [sys.executable, "-P", "-m", "tui"]
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    if config.keys:
        env = os.environ | {"PYTHONPATH": path}
        done = subprocess.run([*argv, "--keys"], env=env, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="")
        return done.returncode
    _check_root()
    if config.web:
        return _web(argv, config.port, path)
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout and sys.stdout.isatty()):
        raise UserError("the window needs a terminal; here are none: use the commands of `lab --help`")
    if os.environ.get("TERM") == "dumb":
        raise UserError("the window needs a terminal that can place its cursor, and TERM is dumb: use `lab --help`")
    # The window is a child: if it is killed, somebody is left to put the terminal right.
    before = termios.tcgetattr(sys.stdin)
    child = os.posix_spawn(
        sys.executable, argv, os.environ | {"PYTHONPATH": path, "LAB_TERMINAL_KEEPER": str(os.getpid())}
    )
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # keys are the window's business
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: os.kill(child, got))
    code = _wait(child)
    if code not in (0, 1):
        _mend(before)
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        print(
            f"The window ended by {why}; the terminal is mended, trainings go on. `lab` opens it again.",
            file=sys.stderr,
        )
    return code if code >= 0 else 128 - code


def _check_root() -> None:
    """Say in one line what would else be an empty window."""
    where = root()
    try:
        if where.exists():
            os.listdir(where)
    except OSError as error:
        raise UserError(f"LAB_HOME {where}: {error.strerror}; set it to a folder that you can read") from error


def _wait(child: int) -> int:
    """The child's exit code, negative for a signal. Where it is put to sleep (Ctrl-Z), so are we and who waits for us."""
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.kill(
            0, signal.SIGTSTP
        )  # the whole group, as the key would, with a script or `uv run` around us; fg wakes it


def _mend(before: list[Any]) -> None:
    with contextlib.suppress(OSError, termios.error):
        sys.stdout.write(RESTORE)
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before)


def _web(argv: list[str], port: int, path: str) -> int:
    if importlib.util.find_spec("textual_serve") is None:
        raise UserError("--web needs the extra `web`: uv sync --extra web, or pip install -e '.[web]'")
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: must lie between 1 and 65535")
    import asyncio
    import shlex
    import socket

    from aiohttp import web  # comes with textual-serve
    from textual_serve.server import Server

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"--port {port}: {error.strerror}; take another") from error
    tabs = set[asyncio.Task[Any]]()

    class Here(Server):
        """A window for each tab that shows a page of ours: else any web site in the same browser could type into one."""

        async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
            if request.headers.get("Origin") not in (self.public_url, f"http://localhost:{port}"):
                raise web.HTTPForbidden(text="this window belongs to another page")
            task = asyncio.current_task()
            assert task
            tabs.add(task)
            try:
                return await super().handle_websocket(request)
            finally:
                tabs.discard(task)

        def initialize_logging(self) -> None:
            """One line at the start is enough."""

        async def on_startup(self, app: web.Application) -> None:
            print(f"The window is at {self.public_url}, for this computer only. Ctrl-C ends it.", flush=True)

        async def on_shutdown(self, app: web.Application) -> None:
            for task in tabs:  # else Ctrl-C waits a minute for the browser
                task.cancel()
            if tabs and (await asyncio.wait(tabs, timeout=3))[1]:
                os._exit(0)  # a tab that does not answer; its window sees that we are gone

    os.environ |= {"PYTHONPATH": path, "LAB_TERMINAL_KEEPER": str(os.getpid())}  # windows end with us, however we do
    Here(f"exec {shlex.join(argv)}", host="127.0.0.1", port=port, title="lab").serve()
    return 0
