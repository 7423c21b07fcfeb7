"""The line at the bottom: the keys that mean something now. One widget that paints itself: Textual's Footer builds a widget
a key and lays them out at each change of focus, which cost over 100 ms of CPU for 16 keys."""

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

ALWAYS = ("app.help", "app.palette")  # at the right, whatever else must go


class KeyBar(Widget):
    """Keys with their words; a click presses them. What can not be done now is dim."""

    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $footer-background; color: $footer-description-foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, int, str]] = []
        self._shown: list[tuple[str, str, str, bool, str]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._changed(self.screen)

    def _changed(self, screen: Screen) -> None:
        if not self.is_attached or screen is not self.screen:
            return
        shown, seen = [], set[str]()
        for key, active in screen.active_bindings.items():
            binding = active.binding
            if binding.show and binding.action not in seen:
                seen.add(binding.action)
                display = self.app.get_key_display(binding)
                shown.append((display, binding.description, key, active.enabled, binding.id or ""))
        if shown != self._shown:
            self._shown = shown
            self.refresh()

    def render(self) -> Content:
        width, parts, self._places = self.size.width, list[tuple[str, str]](), []
        fixed = [one for one in self._shown if one[4] in ALWAYS]
        left = width - sum(cell_len(d) + cell_len(w) + 3 for d, w, *_ in fixed)
        at = 0
        for display, words, key, enabled, name in [*(o for o in self._shown if o[4] not in ALWAYS), *fixed]:
            size = cell_len(display) + cell_len(words) + 3
            if name not in ALWAYS and at + size > left:
                continue
            if fixed and name == fixed[0][4] and width > at + size:
                gap = left - at
                parts.append((" " * max(0, gap), ""))
                at += max(0, gap)
            how = "" if enabled else " 45%"
            parts += [
                (f" {display} ", f"bold $footer-key-foreground{how}"),
                (f"{words} ", f"$footer-description-foreground{how}"),
            ]
            self._places.append((at, at + size, key))
            at += size
        return Content.assemble(*parts)

    def on_click(self, event: events.Click) -> None:
        for start, end, key in self._places:
            if start <= event.x < end:
                self.app.simulate_key(key)
                return
