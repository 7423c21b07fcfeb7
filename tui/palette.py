"""Every action in the command palette: those of the screen shown, of all other rooms, of the app; runs; themes."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from textual.app import App
from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.keys import Keys, _character_to_key
from textual.screen import Screen
from textual.widget import Widget

from tui.data import episode_runs, play
from tui.widgets.nav import ROOMS

if TYPE_CHECKING:
    from tui.app import LabApp


class Entry(NamedTuple):
    """A line of the palette."""

    text: str
    help: str
    call: Callable[[], Any]


def own_bindings(kind: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that a class of ours declares, its parents' too up to textual's own classes."""
    for base in kind.__mro__:
        if not base.__module__.startswith("tui"):
            continue
        for binding in base.__dict__.get("BINDINGS", ()):
            if isinstance(binding, Binding):
                yield binding


def _kinds() -> Iterator[type[DOMNode]]:
    """The app, all screens and widgets of ours."""
    import tui

    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if not module.name.endswith("__main__"):
            for kind in vars(importlib.import_module(module.name)).values():
                if isinstance(kind, type) and issubclass(kind, DOMNode):
                    yield kind


def every_binding() -> dict[str, Binding]:
    """All actions of the window by their names, such as train.pause."""
    found = dict[str, Binding]()
    for kind in _kinds():
        found |= {binding.id: binding for binding in own_bindings(kind) if binding.id}
    return dict(sorted(found.items()))


def usable(wanted: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(the key map without what cannot work, what is wrong with the rest in words)."""
    known, kept, wrong = every_binding(), dict[str, str](), list[str]()
    for name, given in wanted.items():
        keys = [key.strip() for key in given.split(",")] if given != "," else [given]
        bad = next((key for key in keys if not is_key(key)), None)
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`lab tui --keys` lists them"
            wrong.append(f"no action {name}; {hint}")
        elif bad is not None:
            wrong.append(f"{name}: no key {bad}; write a, A, f6, space, ctrl+x, question_mark")
        elif known[name].priority and any(len(key) == 1 or key == "space" for key in keys):
            wrong.append(f"{name}: {given} could not be typed any more; give it a ctrl or function key")
        else:
            kept[name] = "comma" if given == "," else ",".join(keys)
    for kind in _kinds():
        has = dict[str, str]()  # key -> the action that has it
        mine = {b.id: kept.get(b.id, b.key) for b in own_bindings(kind) if b.id}
        for name in sorted(mine, key=lambda name: name not in kept):
            for key in mine[name].split(","):
                first = has.setdefault(_character_to_key(key) if len(key) == 1 else key, name)
                if first in kept and known[first].action != known[name].action:
                    wrong.append(
                        f"{first}: {key} is {name}'s key too, which is out of reach now; give that one another"
                    )
    return kept, list(dict.fromkeys(wrong))


def is_key(key: str) -> bool:
    """Whether a terminal can send a key of this name."""
    base = re.sub(r"^((ctrl|shift|alt|super|hyper|meta)\+)+(?=.)", "", key)
    signs = {_character_to_key(chr(code)) for code in range(33, 127)}  # slash, question_mark, ...
    return base in signs or base in {one.value for one in Keys} or (len(base) == 1 and base.isprintable())


def of_node(app: App[Any], node: DOMNode, where: str, run: Callable[[DOMNode, Binding], Any]) -> Iterator[Entry]:
    """An entry for each action a node of the screen offers."""
    for binding in own_bindings(type(node)):
        place = "Lab" if (binding.id or "").startswith("screen.") else where
        more = f"{keys(app, binding)}   {binding.tooltip}".strip()
        yield Entry(f"{place}: {binding.description}", more, partial(run, node, binding))


def keys(app: App[Any], binding: Binding) -> str:
    """The keys as they are printed on a keyboard."""
    if given := app._keymap.get(binding.id or ""):
        binding = replace(binding, key=given, key_display=None)
    return " ".join(app.get_key_display(one) for one in Binding.make_bindings([binding]))


def perform(lab: "LabApp", node: DOMNode, binding: Binding, patience: int = 0) -> None:
    """Run an action as its key would. A room that has just been entered may need `patience` tenths of a second for it;
    what is not possible now is said."""

    async def go() -> None:
        if isinstance(node, Widget) and not (node.is_attached and node.screen is lab.screen):
            return  # the user went on meanwhile
        if not await lab.run_action(binding.action, node):
            if patience:
                lab.set_timer(0.1, partial(perform, lab, node, binding, patience - 1))
            else:
                lab.say(f"{binding.description}: not possible now", "warning", timeout=3)

    node.call_after_refresh(go)


def entries(app: App[Any], screen: Screen[Any]) -> list[Entry]:
    """All there is to do from here, nearest first, each once."""
    from tui.app import room_class

    lab = cast("LabApp", app)

    def act(node: DOMNode, binding: Binding) -> None:
        if isinstance(node, Widget) and node.is_attached and node.focusable:
            node.focus()
        perform(lab, node, binding)

    def elsewhere(room: str, binding: Binding) -> None:
        lab.action_go(room)
        perform(lab, lab.screen, binding, patience=10)

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
            for binding in own_bindings(room_class(name)):
                if (binding.id or "").partition(".")[0] != "screen":
                    call = partial(elsewhere, name, binding)
                    found.append(Entry(f"{title}: {binding.description}", keys(app, binding), call))
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
            if episode_runs.has(info):
                yield Entry(f"Rollouts: of {info.name}", "what it tried", partial(lab.open_rollouts, info.name))
            if info.recipe == play.RECIPE:
                yield Entry(f"Play: against {info.name}", "tic-tac-toe", partial(lab.open_play, info.name))
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
