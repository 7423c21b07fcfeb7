"""What a run said (log.txt) and what happened to it (events and notes), both followed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Log, Static

from lab.display import CONTROLS
from tui.data.logs import TextTail, event_words, time_of_day

LINES = 5_000
EVENTS = 500
BESIDE = 100  # columns below which the events stand below the log, not beside it
SIDEWAYS = 8  # columns a key moves
MUTED = "$foreground-muted"


class LogText(Log):
    """log.txt. Long lines are not folded, as reports are tables."""

    HELP = """
## Log
What the run said, followed while its end is shown. `←` `→` move along long lines, `z` gives them the whole screen.
Select with the mouse, `y` copies.
"""

    def action_scroll_left(self) -> None:
        self.scroll_relative(x=-SIDEWAYS, animate=False)

    def action_scroll_right(self) -> None:
        self.scroll_relative(x=SIDEWAYS, animate=False)


class Events(VerticalScroll):
    """Events and notes."""

    HELP = "## Events\nCheckpoints, pauses, reports and your notes (`a`), with the time and the step."

    def compose(self) -> ComposeResult:
        yield Static(id="events-text")

    def show(self, rows: Sequence[tuple[float, float, str, str]]) -> None:
        """(time, step, kind, words) of all of them, oldest first; the end stays in view."""
        lines = [
            Content.assemble(
                (f"{time_of_day(t)} ", MUTED), (f"{step:>5,.0f} ", "$accent"), (words, "bold" if kind == "note" else "")
            )
            for t, step, kind, words in rows
        ]
        follow = self.is_vertical_scroll_end
        self.query_one(Static).update(
            Content("\n").join(lines) if lines else Content.styled("nothing happened yet", MUTED)
        )
        if follow:
            self.call_after_refresh(self.scroll_end, animate=False)


class Logs(Horizontal):
    """The pane."""

    ALLOW_MAXIMIZE = True

    def compose(self) -> ComposeResult:
        yield LogText(max_lines=LINES, id="log-text")
        yield Events(id="events")

    def on_mount(self) -> None:
        self.border_title = "log"
        self._folder: Path | None = None
        self._tail: TextTail | None = None
        self._events = (0, 0, "")

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < BESIDE, "-stacked")

    def show(
        self,
        folder: Path,
        events: Sequence[Mapping[str, Any]],
        notes: Sequence[Mapping[str, Any]],
        report: bool = False,
    ) -> None:
        """Bring it up to date; called only while it is seen. report: the log is what the run is for, begun at its top."""
        text, happened = self.query_one(LogText), self.query_one(Events)
        if folder != self._folder or self._tail is None:
            self._folder, self._tail = folder, TextTail(folder / "log.txt")
            self._events = (0, 0, "")
            text.clear()
        title = Content(f"log  {folder.name.translate(CONTROLS)}")
        if self.border_title != title:
            self.border_title = title
        lines, anew = self._tail.poll()
        if anew:
            text.clear()
        if lines:
            at_end = text.scroll_offset.y >= text.max_scroll_y - 1  # a scroll bar for long lines takes one as it comes
            follow = not report if anew else at_end
            text.write_lines([line or " " for line in lines], scroll_end=False)  # Log leaves out empty lines
            if follow:  # later, as the pane has no size yet where it was shown just now
                self.call_after_refresh(text.scroll_end, animate=False, x_axis=False)
        wide = text.virtual_size.width > text.scrollable_content_region.width > 0
        hint = ("← → along long lines" if wide else "") if text.line_count else "log.txt is empty so far"
        if (self.border_subtitle or "") != hint:  # setting it paints the pane anew
            self.border_subtitle = hint
        last = str(events[-1].get("t")) if events else ""
        if self._events == (len(events), len(notes), last):
            return
        self._events = (len(events), len(notes), last)
        happened.show(sorted(map(event_words, [*events[-EVENTS:], *notes[-EVENTS:]]), key=lambda row: row[0]))

    def copy_text(self) -> str:
        """The last lines of the log."""
        return "\n".join(list(self.query_one(LogText).lines)[-400:])
