"""Every action in the command palette: those of the screen shown, of all other rooms, of the app; runs; themes."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from textual.app import App
from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from tui.widgets.nav import ROOMS

if TYPE_CHECKING:
    from tui.app import LabApp


class Entry(NamedTuple):
    """A line of the palette."""

    text: str
    help: str
    call: Callable[[], Any]


def own_bindings(kind: type[DOMNode], stop: tuple[type, ...]) -> Iterator[Binding]:
    """The bindings that a class of ours declares, its parents' too up to textual's own classes."""
    for base in kind.__mro__:
        if base in stop or not base.__module__.startswith("tui"):
            continue
        for binding in base.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding):
                yield binding


def every_binding() -> dict[str, Binding]:
    """All actions of the window by their names, such as train.pause."""
    import tui

    found = dict[str, Binding]()
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if not module.name.endswith("__main__"):
            for kind in vars(importlib.import_module(module.name)).values():
                if isinstance(kind, type) and issubclass(kind, DOMNode):
                    found |= {binding.id: binding for binding in own_bindings(kind, ()) if binding.id}
    return dict(sorted(found.items()))


def of_node(app: App[Any], node: DOMNode, where: str, run: Callable[[DOMNode, str], Any]) -> Iterator[Entry]:
    """An entry for each action a node of the screen offers."""
    for binding in own_bindings(type(node), ()):
        place = "Lab" if (binding.id or "").startswith("screen.") else where
        more = f"{keys(app, binding)}   {binding.tooltip}".strip()
        yield Entry(f"{place}: {binding.description}", more, partial(run, node, binding.action))


def keys(app: App[Any], binding: Binding) -> str:
    """The keys as they are printed on a keyboard."""
    given = app._keymap.get(binding.id or "", binding.key)
    return " ".join(app.get_key_display(one) for one in Binding.make_bindings([replace(binding, key=given)]))


def entries(app: App[Any], screen: Screen[Any]) -> list[Entry]:
    """All there is to do from here, nearest first, each once."""
    lab = cast("LabApp", app)

    def act(node: DOMNode, action: str) -> None:
        if isinstance(node, Widget) and node.is_attached and node.focusable:
            node.focus()
        app.call_later(app.run_action, action, node)

    def elsewhere(room: str, action: str) -> None:
        lab.action_go(room)
        app.call_later(lambda: app.run_action(action, app.screen))

    found: list[Entry] = []
    here = getattr(screen, "ROOM", "")
    title = dict(ROOMS).get(here, type(screen).__name__.removesuffix("Screen"))
    found += of_node(app, screen, title, act)
    seen = set[type]()
    nodes: list[Widget] = [screen.focused] if screen.focused else []
    for widget in [*nodes, *screen.query(Widget)]:
        if type(widget) not in seen and type(widget).__module__.startswith("tui"):
            seen.add(type(widget))
            found += of_node(app, widget, f"{title} {type(widget).__name__.lower()}", act)
    found += of_node(app, app, "Lab", act)
    for name, title in ROOMS:
        if name != here:
            from tui.app import _room

            for binding in own_bindings(type(_room(name)), ()):
                if (binding.id or "").partition(".")[0] != "screen":
                    keys = binding.key.replace(",", " ")
                    found.append(
                        Entry(f"{title}: {binding.description}", keys, partial(elsewhere, name, binding.action))
                    )
    return list({entry.text: entry for entry in reversed(found)}.values())[::-1]


class Actions(Provider):
    """Every action."""

    async def discover(self) -> Hits:
        for entry in entries(self.app, self.screen):
            yield DiscoveryHit(entry.text, entry.call, help=entry.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for entry in entries(self.app, self.screen):
            if (score := matcher.match(entry.text)) > 0:
                yield Hit(score, matcher.highlight(entry.text), entry.call, help=entry.help)


class Places(Provider):
    """Runs to open, models to talk with, themes."""

    def _all(self) -> Iterator[Entry]:
        lab = cast("LabApp", self.app)
        for info in lab.watcher.runs:
            yield Entry(f"Train: show {info.name}", f"{info.recipe} {info.state}", partial(lab.open_train, info.name))
            if (info.folder / "config.json").exists():
                yield Entry(f"Chat: with {info.name}", info.headline, partial(lab.open_chat, info.name))
        for theme in sorted(lab.available_themes):
            yield Entry(f"Theme: {theme}", "", partial(setattr, lab, "theme", theme))
        for name in ("auto", "braille", "block"):
            yield Entry(f"Charts: {name} glyphs", "block where braille dots look broken", partial(self._glyphs, name))

    def _glyphs(self, name: str) -> None:
        lab = cast("LabApp", self.app)
        lab.settings.glyphs = name  # type: ignore[assignment]
        lab.save_settings()
        lab.refresh(layout=True)
        for widget in lab.screen.query(Widget):
            widget.refresh()

    async def discover(self) -> Hits:
        for entry in self._all():
            if not entry.text.startswith("Theme"):
                yield DiscoveryHit(entry.text, entry.call, help=entry.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for entry in self._all():
            if (score := matcher.match(entry.text)) > 0:
                yield Hit(score, matcher.highlight(entry.text), entry.call, help=entry.help)
