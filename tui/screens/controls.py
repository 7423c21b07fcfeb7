"""What can be done with the shown run: pause, save, stop, go on, talk, note, keep on the charts, delete."""

from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from lab.errors import UserError
from lab.runs import Info, add_note, send
from tui.data import episode_runs, play
from tui.data.choice import MOST, Choice
from tui.data.details import Details, remove
from tui.data.watch import LIVE
from tui.screens.base import LabScreen
from tui.widgets.dialogs import Ask, Write
from tui.widgets.run_list import RunKey

WORKING = ("running", "saving", "paused")
ENDED = ("stopped", "died", "failed")
NEEDS_RUN = {
    "pause", "checkpoint", "stop", "resume", "chat", "note", "logs", "table", "axis", "filter", "prompt", "rollouts",
    "play",
}  # fmt: skip


def possible(action: str, info: Info | None, found: Details | None) -> bool:
    """Whether an action makes sense for a run."""
    if info is None or found is None:
        return False
    if action in ("pause", "checkpoint"):
        return info.state in WORKING
    if action == "stop":
        return info.state in LIVE
    if action == "resume":
        return info.state in ENDED and bool(found.checkpoints) and bool(info.recipe)
    if action == "rollouts":
        return episode_runs.has(info)
    if action == "play":
        return info.recipe == play.RECIPE
    if action == "chat":
        return (info.folder / "config.json").exists() and found.parameters > 0
    return True


class ControlScreen(LabScreen):
    """Train's actions on runs; TrainScreen shows them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="train.pause", tooltip="wait after this step, or go on"),
        Binding("k", "checkpoint", "Checkpoint", id="train.checkpoint", tooltip="save after this step"),
        Binding("x", "stop", "Stop+save", id="train.stop", tooltip="save after this step and end"),
        Binding("R", "resume", "Resume", id="train.resume", tooltip="go on from the last checkpoint"),
        Binding(
            "c", "chat", "Chat", id="train.chat", tooltip="with this run, or its checkpoint nearest to the crosshair"
        ),
        Binding("a", "note", "Note", id="train.note", tooltip="write something at this step"),
        Binding("P", "play", "Play", id="train.play", tooltip="tic-tac-toe against it"),
        Binding("e", "rollouts", "Rollouts", id="train.rollouts", tooltip="what it tried, at the crosshair's step"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.choice = Choice()
        self._possible: set[str] | None = None

    @property
    def info(self) -> Info | None:
        """The shown run."""
        return self.lab.watcher.find(self.choice.shown) if self.choice.shown else None

    @property
    def found(self) -> Details | None:
        """What stands in its folder."""
        raise NotImplementedError

    def step_here(self) -> float | None:
        """The step under the crosshair."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in NEEDS_RUN and not possible(action, self.info, self.found):
            return False if action == "play" else None  # few runs play: no key for the others
        return super().check_action(action, parameters)

    def refresh_possible(self) -> None:
        """Tell the footer where other actions make sense now; it is rebuilt for that, so not twice a second."""
        now = {action for action in NEEDS_RUN if possible(action, self.info, self.found)}
        if now != self._possible:
            self._possible = now
            self.refresh_bindings()

    def _send(self, command: str, says: str) -> None:
        if self.info is None:
            return
        try:
            send(self.info.name, command)
        except UserError as error:
            self.lab.say(str(error), "error")
        else:
            self.lab.say(f"{self.info.name} {says}", timeout=4)

    def action_pause(self) -> None:
        """Wait after this step, or go on."""
        if self.info and self.info.state == "paused":
            self._send("resume", "goes on")
        else:
            self._send("pause", "waits after this step and keeps its memory; p goes on")

    def action_checkpoint(self) -> None:
        """Save after this step."""
        self._send("checkpoint", "saves a checkpoint after this step")

    def action_stop(self) -> None:
        """Save after this step and end."""
        self._send("stop", "saves after this step and ends; R goes on with it later")

    def action_resume(self) -> None:
        """Start it again from its last checkpoint."""
        if self.info is None:
            return
        try:
            started = self.lab.starts.resume(self.info)
        except UserError as error:
            self.lab.say(str(error), "error")
        else:
            self.lab.say(started.line, timeout=4)

    def action_chat(self) -> None:
        """Talk with the run, or with the checkpoint nearest to the crosshair."""
        if model := self.model_here():
            self.lab.open_chat(model)

    def action_play(self) -> None:
        """Play against the run, or against the checkpoint nearest to the crosshair."""
        if model := self.model_here():
            self.lab.open_play(model)

    def model_here(self) -> str:
        """The run, or its checkpoint nearest to the crosshair; "" where none is shown."""
        if self.info is None or self.found is None:
            return ""
        step, steps = self.step_here(), self.found.checkpoints
        return self.info.name + (f"@{min(steps, key=lambda s: abs(s - step))}" if step is not None and steps else "")

    def action_note(self) -> None:
        """Words on the step under the crosshair, or on the present one."""
        info = self.info
        if info is None:
            return
        here = self.step_here()
        step = round(here) if here is not None else info.step

        def keep(text: str | None) -> None:
            if text:
                try:
                    add_note(info.name, step, text)
                except UserError as error:
                    self.lab.say(str(error), "error")

        self.app.push_screen(Write(f"note on {info.name}, step {step:,}", "what happened here?"), keep)

    def action_rollouts(self) -> None:
        """What the run tried at the step under the crosshair, or at its newest."""
        if self.info is not None:
            step = self.step_here()
            self.lab.open_rollouts(self.info.name, None if step is None else round(step))

    # -- keys of the list ----------------------------------------------------------------------------------------

    @on(RunKey)
    def _run_key(self, message: RunKey) -> None:
        message.stop()
        if message.what == "show":
            self.choice.choose(message.run)
        elif message.what == "overlay":
            self.choice.by_hand = True
            if not self.choice.toggle_overlay(message.run):
                self.lab.say(f"{MOST} runs at once, each in a colour of its own, is the most", "warning")
        elif message.what == "pin":
            self.choice.by_hand = True
            self.choice.toggle_pin(message.run)
        elif message.what == "delete":
            self._ask_to_delete(message.run)
        elif message.what == "open":
            self.choice.choose(message.run)
            self.opened()
        self.watched(True)

    def opened(self) -> None:
        """Enter on a run."""

    def _ask_to_delete(self, name: str) -> None:
        info = self.lab.watcher.find(name)
        if info is None:
            return
        if info.state in LIVE:
            self.lab.say(f"{name} is {info.state}; stop it first (x)", "warning")
        elif name.startswith("pocket-"):
            self.lab.say(f"{name} is a shipped model and stays", "warning")
        else:
            what = f"{info.folder}\n\nIts weights, checkpoints, curves and samples go for good."

            def answered(yes: bool | None) -> None:
                if yes:
                    self._delete(info)

            self.app.push_screen(Ask(f"delete {name}?", what), answered)

    @work(thread=True, exit_on_error=False, group="delete")
    def _delete(self, info: Info) -> None:
        """Gigabytes take a while."""
        try:
            remove(info)
        except UserError as error:
            self.app.call_from_thread(self.lab.say, str(error), "error")
