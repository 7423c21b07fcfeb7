"""The app: six rooms, one look at the run folders twice a second, what all rooms share. It never imports MLX."""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.css.query import NoMatches
from textual.screen import Screen

from lab.display import CONTROLS
from lab.errors import UserError
from tui import settings as preferences
from tui.data.history import History
from tui.data.launch import Started, Starts
from tui.data.watch import LIVE, Watch
from tui.messages import Watched
from tui.palette import Actions, Places, usable
from tui.screens.base import LabScreen
from tui.theme import THEMES
from tui.widgets.nav import ROOMS, NavBar

if TYPE_CHECKING:
    from tui.data.rollout_chat import Handed

LOOK = 0.5  # seconds between two looks at the run folders
TELL = 0.9  # seconds after which a screen is told of them; at once where a run began, ended or changed its state
KEPT = 12  # histories in memory; a million rows of ten figures are 160 MB


def room_class(name: str) -> type[LabScreen]:
    """A room's class, imported when the room is first entered."""
    if name == "pipeline":
        from tui.screens.pipeline import PipelineScreen as Room
    elif name == "train":
        from tui.screens.train import TrainScreen as Room  # type: ignore[assignment]
    elif name == "chat":
        from tui.screens.chat import ChatScreen as Room  # type: ignore[assignment]
    elif name == "tokens":
        from tui.screens.tokens import TokensScreen as Room  # type: ignore[assignment]
    elif name == "rank":
        from tui.screens.rank import RankScreen as Room  # type: ignore[assignment]
    else:
        from tui.screens.rollouts import RolloutsScreen as Room  # type: ignore[assignment]
    return Room


def _room(name: str) -> LabScreen:
    return room_class(name)()


class LabApp(App[None]):
    """`python -m tui`."""

    TITLE = "lab"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar = {Actions, Places}  # ours name every action; textual's own are among them
    MODES: ClassVar = {name: partial(_room, name) for name, _ in ROOMS}
    DEFAULT_MODE = "pipeline"
    HELP = """
# lab

`1`-`6` go to the rooms (in a text field press `escape` first), `ctrl+o` jumps to any pane, `ctrl+p` finds every action.
The mouse works everywhere. `q` goes back or quits; trainings go on without this window.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i), f"go('{name}')", title, show=False, id=f"go.{name}") for i, (name, title) in enumerate(ROOMS, 1)),
        Binding("n", "new_run", "New run", show=False, id="app.new_run"),
        Binding("P", "play", "Play tic-tac-toe", show=False, id="app.play", tooltip="against a model of lab selfplay"),
        Binding("ctrl+o", "jump", "Jump", show=False, priority=True, id="app.jump"),
        Binding("question_mark,f1", "help", "Help", id="app.help"),
        Binding("ctrl+p", "command_palette", "Palette", priority=True, id="app.palette"),
        Binding("t", "theme_next", "Next theme", show=False, id="app.theme"),
        Binding("ctrl+s", "screenshot", "Screenshot", show=False, id="app.screenshot"),
        Binding("ctrl+z", "suspend_process", "To the shell and back with fg", show=False, id="app.suspend"),
        Binding("q", "back", "Back or quit", show=False, id="app.back"),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.keeper = os.environ.pop("LAB_TERMINAL_KEEPER", "")  # no business of what we start
        self.settings = preferences.load()
        self.watcher = Watch()
        self.starts = Starts()
        self._histories: dict[Path, History] = {}
        self._states: dict[str, str] = {}
        self._changed, self._told = False, 0.0  # what the screen has not been told yet, and when it was told last
        self.wanted_run = ""  # what Train should show when it comes up
        self.wanted_model = ""  # what Chat should load when it comes up
        self.wanted_chat: Handed | None = None  # what it should go on with
        self.wanted_episodes: tuple[str, int | None] = ("", None)  # the run and step that Rollouts should show
        self.watcher.refresh()  # before the first paint, which then has runs in it

    def on_mount(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        wrong, self.theme = self.settings.wrong, "lab-dark"
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme
        else:
            near = get_close_matches(self.settings.theme, self.available_themes, n=1)
            hint = f"did you mean {near[0]}?" if near else "ctrl+p, theme: lists them"
            wrong.append(f"{preferences.path()}: theme: no theme {self.settings.theme}; {hint}")
        self.theme_changed_signal.subscribe(self, lambda _: self._remember_theme())
        if self.settings.keys:
            keys, bad = usable(self.settings.keys)
            wrong += [f"{preferences.path()}: keys: {said}" for said in bad]
            self.set_keymap(keys)
        for said in wrong:
            self.say(said, "warning", timeout=10)
        self._states = {info.name: info.state for info in self.watcher.runs}
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))  # after Ctrl-Z and fg: paint anew
        self.set_interval(LOOK, self.look)
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):  # leave the terminal and no process behind
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
            self.call_after_refresh(gc.freeze)  # what is loaded stays: a full collection takes 15 ms then and not 85

    @property
    def glyphs(self) -> str:
        """braille or block: what charts are drawn with."""
        return preferences.glyphs(self.settings)

    # -- the run folders -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Look at the run folders, say what ended, tell the screen that is shown."""
        if self.keeper and str(os.getppid()) != self.keeper:  # `lab` was killed: its terminal is the shell's again
            self.exit()
        self._changed |= self.watcher.refresh()
        for started in self.starts.ended():
            known = started.process.returncode != 2 and self.watcher.find(started.name)
            if started.failed and not known:  # how a run ended is told below
                self.say(f"{started.line}: {started.failed}", "error")
        news = self._news()
        if not self.screen_stack or not isinstance(self.screen, LabScreen):
            return  # under a dialog nothing moves: textual would blend all of it anew (200 ms); it is told afterwards
        if news or time.monotonic() - self._told >= TELL:
            self.screen.post_message(Watched(self._changed))
            self._changed, self._told = False, time.monotonic()

    def _news(self) -> bool:
        """Whether a run began, ended or changed its state; a toast where one that lived has ended."""
        states = {info.name: info.state for info in self.watcher.runs}
        if states == self._states:
            return False
        for info in self.watcher.runs:
            before, now = self._states.get(info.name), info.state
            if before in LIVE and now not in LIVE:
                severity = {"done": "information", "stopped": "information"}.get(now, "error")
                why = info.headline if now == "done" else str(info.status.get("error") or "")
                self.say(f"{info.name}: {now} at step {info.step:,}{'; ' if why else ''}{why}", severity)
        self._states = states
        return True

    def history(self, folder: Path) -> History:
        """The figures of a run; the one asked for longest ago goes when there are many."""
        found = self._histories.pop(folder, None) or History(folder)
        self._histories[folder] = found
        while len(self._histories) > KEPT:
            self._histories.pop(next(iter(self._histories)))
        return found

    def start(self, recipe: str, name: str, flags: Sequence[str] = ()) -> Started | None:
        """Start a recipe and say so; None where it cannot be started."""
        try:
            started = self.starts.start(recipe, name, flags)
        except UserError as error:
            self.say(str(error), "error")
            return None
        waits = f"; it waits for {self.watcher.live[0].name}" if self.watcher.live else ""
        self.say(f"{started.line}{waits}")
        return started

    def say(self, text: str, severity: str = "information", timeout: float = 6) -> None:
        """A toast of plain words, whatever signs are in them."""
        assert severity in ("information", "warning", "error")
        self.notify(text.translate(CONTROLS), severity=severity, timeout=timeout, markup=False)  # type: ignore[arg-type]

    # -- going about ---------------------------------------------------------------------------------------------

    def open_train(self, run: str) -> None:
        """Train, on this run."""
        self.wanted_run = run
        self.action_go("train")

    def open_chat(self, model: str) -> None:
        """Chat, with this model."""
        self.wanted_model = model
        self.action_go("chat")

    def open_rollouts(self, run: str, step: int | None = None) -> None:
        """Rollouts, on this run's step; its newest where none is named."""
        self.wanted_episodes = (run, step)
        self.action_go("rollouts")

    def open_play(self, model: str = "") -> None:
        """Tic-tac-toe, against this run of self-play or one of its earlier selves; the newest run where none is named."""
        from tui.screens.play import PlayScreen

        if isinstance(self.screen, PlayScreen):
            self.screen.challenge(model)
        else:
            self.push_screen(PlayScreen(model))

    def action_play(self) -> None:
        """Tic-tac-toe against the newest model of `lab selfplay`."""
        self.open_play()

    def hand_to_chat(self, handed: "Handed") -> None:
        """Chat, with a prompt of Rollouts."""
        self.wanted_chat = handed
        self.action_go("chat")

    def on_nav_bar_clicked(self, message: NavBar.Clicked) -> None:
        if message.what == "run":
            self.open_train(message.run)
        else:
            self.action_go(message.what)

    def action_go(self, room: str) -> None:
        """To another room."""
        while len(self.screen_stack) > 1:  # dialogs close
            self.pop_screen()
        if self.current_mode == room:
            self.screen.post_message(Watched(True))
            return
        new = room not in self._screen_stacks
        self.switch_mode(room)
        if new and not self.is_headless:
            self.screen.call_after_refresh(gc.freeze)

    def action_new_run(self) -> None:
        """The dialog that starts a recipe."""
        from tui.screens.start import StartScreen

        if not isinstance(self.screen, StartScreen):
            self.push_screen(StartScreen())

    def action_jump(self) -> None:
        """Letters on all panes and rooms."""
        from tui.jump import Jump

        if not isinstance(self.screen, Jump | CommandPalette):
            self.push_screen(Jump(self.screen))

    def action_help(self) -> None:
        """Keys and words on the focused pane."""
        try:
            self.screen.query_one("HelpPanel")
            self.action_hide_help_panel()
        except NoMatches:
            self.action_show_help_panel()

    def action_theme_next(self) -> None:
        """From dark to light and back; the palette has all the others."""
        self.theme = "lab-light" if self.current_theme.dark else "lab-dark"

    def _remember_theme(self) -> None:
        if self.settings.theme != self.theme:
            self.settings.theme = self.theme
            self.save_settings()

    def save_settings(self) -> None:
        """Keep what was set."""
        try:
            preferences.save(self.settings)
        except UserError as error:
            self.say(str(error), "warning")

    def action_screenshot(self, filename: str | None = None, path: str | None = None) -> None:
        """An SVG of the screen: into the folder for downloads, else where one stands, else home; in a browser, a download."""
        if self.is_web:
            self.deliver_screenshot(filename)
            return
        from platformdirs import user_downloads_path

        places, why = [path] if path else [str(user_downloads_path()), ".", "~"], ""
        for place in places:
            try:
                self.say(f"Saved {os.path.abspath(self.save_screenshot(filename, place))}")
                return
            except OSError as error:
                why = error.strerror or str(error)
        self.say(f"No screenshot: {places[-1]} cannot be written to ({why})", "error")

    async def action_back(self) -> None:
        """Close the dialog, or back from zoom, or quit."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.screen.maximized:
            self.screen.minimize()
        else:
            self.exit()

    async def action_quit(self) -> None:
        self.exit()

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        """None: tui.palette names every action, textual's among them."""
        return ()

    def going_on(self) -> str:
        """What to say after the window is closed."""
        self.watcher.refresh()
        names = [info.name for info in self.watcher.live]
        names += [one.name for one in self.starts.started if one.name not in names and not one.poll()]
        if not names:
            return ""
        said = ", ".join(names).translate(CONTROLS)
        return f"{said} {'goes' if len(names) == 1 else 'go'} on; `lab runs` shows them, `lab` comes back"
