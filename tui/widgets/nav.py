"""The one line at the top: where you are, where you can go, and the run that lives."""

from typing import Any

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lab.display import CONTROLS
from tui.data.watch import Watch, stalled

ROOMS = (
    ("pipeline", "Pipeline"),
    ("train", "Train"),
    ("rollouts", "Rollouts"),
    ("chat", "Chat"),
    ("tokens", "Tokens"),
    ("rank", "Rank"),
)


class NavBar(Widget):
    """Clicking a name goes there; clicking the run opens it."""

    DEFAULT_CSS = """
    NavBar { dock: top; height: 1; background: $surface; color: $foreground; }
    """

    class Clicked(Message):
        """A room, or the live run."""

        def __init__(self, what: str, run: str = ""):
            super().__init__()
            self.what, self.run = what, run

    def __init__(self, room: str):
        super().__init__()
        self.room = room
        self._places: list[tuple[int, int, str, str]] = []

    def render(self) -> Content:
        width, parts, self._places = self.size.width, list[Any](), []
        at = 0

        def put(text: str, style: str, what: str = "", run: str = "") -> None:
            nonlocal at
            parts.append((text, style))
            if what:
                self._places.append((at, at + cell_len(text), what, run))
            at += cell_len(text)

        if width >= 100:
            put(" ◢ lab ", "$accent bold")
        names = sum(len(name) + 4 for _, name in ROOMS)
        for number, (room, name) in enumerate(ROOMS, 1):
            here = room == self.room
            label = f" {number} {name} " if here or width >= names + 8 else f" {number} "
            put(label, "bold $background on $accent" if here else "$foreground-muted", room)
        self._live(width - at, put)
        return Content.assemble(*parts)

    def _live(self, room: int, put: Any) -> None:
        watch: Watch = self.app.watcher  # type: ignore[attr-defined]
        live = watch.live
        if not live or room < 8:
            return
        info = live[0]
        mark, style = {"paused": ("⏸", "$warning"), "queued": ("◌", "$warning")}.get(info.state, ("●", "$success"))
        if stalled(info):
            mark, style = "◍", "$warning"
        name = info.name.translate(CONTROLS)
        more = f" +{len(live) - 1}" if len(live) > 1 else ""
        facts = [f" {info.step:,}/{info.total:,}" if info.total else f" {info.state}"]
        if info.state in ("paused", "queued") and info.total:
            facts[0] += f" {info.state}"
        memory, speed = info.status.get("mem_process"), info.status.get("tok_s")
        if isinstance(memory, int | float):
            facts.append(f"  {memory:.1f} GB")
        if isinstance(speed, int | float):
            facts.append(f"  {speed:,.0f} tok/s")
        put("  ", "")
        left = room - 3
        said = [(f"{mark} ", style), (name, "bold $foreground"), *((f, "$foreground-muted") for f in facts)]
        for text, how in (*said, (more, "$accent")):
            if cell_len(text) > left:
                if how == "bold $foreground" and left > 4:
                    put(text[: left - 1] + "…", how, "run", info.name)
                return
            put(text, how, "run", info.name)
            left -= cell_len(text)

    def on_click(self, event: events.Click) -> None:
        for start, end, what, run in self._places:
            if start <= event.x < end:
                self.post_message(self.Clicked(what, run))
                return
