"""The Data tab of Pipeline: where text is, how much, what would be dropped and why, and the documents themselves."""

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from lab.errors import UserError
from tui.data import look_words
from tui.data.facts import LABEL, VALUE, plain
from tui.data.looks import POCKET, Look, Source, files_of, known, sources
from tui.widgets.document import DocumentView
from tui.widgets.facts import Facts

if TYPE_CHECKING:
    from tui.app import LabApp


class Known(Message):
    """A thread has read what is known of a source: its files, an older answer; or a look has ended."""

    def __init__(self, source: Source, files: list[Path] | None, facts: dict[str, Any], wrong: str = ""):
        super().__init__()
        self.source, self.files, self.facts, self.wrong = source, files, facts, wrong


class Progress(Message):
    """A look goes on."""

    def __init__(self, source: Source, words: str):
        super().__init__()
        self.source, self.words = source, words

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Progress)


class Sources(OptionList):
    """Where text is."""

    HELP = """
## Sources
`enter` looks through all of it (`lab data`): what would be kept, what dropped and why. `escape` ends that.
"""


class DataTab(Horizontal):
    """The tab. Its keys are the screen's (PipelineScreen), which calls `document`, `mask` and so on."""

    HELP = """
# Data

A source on the left; what is in it above; its documents below. `enter` on a source looks through all of it. A path of your
own, a file or a folder, goes into the field at the bottom left.
"""

    def __init__(self) -> None:
        super().__init__(id="data-tab")
        self._typed: list[str] = []
        self._sources: list[Source] = []
        self._facts: dict[str, dict[str, Any]] = {}
        self._look: Look | None = None
        self._words = ""
        self._wrong: dict[str, str] = {}
        self._named = 0  # which model's tokenizer
        self._sought = ""

    @property
    def lab(self) -> "LabApp":
        """The app, with its type."""
        return cast("LabApp", self.app)

    def compose(self) -> ComposeResult:
        with Vertical(id="data-left", classes="left-side pane"):
            yield Sources(id="data-sources")
            yield Input(placeholder="o: a file or folder of yours", id="data-path", compact=True)
        with Vertical(id="data-right"):
            with Horizontal(id="data-facts"):
                yield Facts(id="data-what", classes="pane")
                yield Facts(id="data-lengths", classes="pane right-side")
            yield DocumentView()
            yield Input(placeholder="words to look for", id="data-words", compact=True)

    def on_mount(self) -> None:
        self.query_one("#data-left").border_title = "sources"
        for line in self.query(Input):
            line.cursor_blink = False
        self.renew()
        self._load_tokenizer()

    def on_unmount(self) -> None:
        if self._look:
            self._look.stop()

    def focus_first(self) -> None:
        """Where the keys go first."""
        self.query_one(Sources).focus()

    # -- sources -------------------------------------------------------------------------------------------------

    @property
    def source(self) -> Source | None:
        """The source under the cursor."""
        at = self.query_one(Sources).highlighted
        return self._sources[at] if at is not None and at < len(self._sources) else None

    def renew(self, choose: str = "") -> None:
        """Look for sources again; `choose` puts the cursor on one."""
        listed, before = self.query_one(Sources), self.source
        self._sources = sources(self.lab.watcher.runs, self._typed)
        listed.clear_options()
        for source in self._sources:
            words = Content.assemble(
                (plain(source.title, 28), VALUE), "\n", (plain(source.note or source.key, 60), LABEL)
            )
            listed.add_option(Option(words))
        wanted = choose or (before.key if before else POCKET)
        keys = [source.key for source in self._sources]
        listed.highlighted = keys.index(wanted) if wanted in keys else 0

    @on(OptionList.OptionHighlighted)
    def _chosen(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if source := self.source:
            self.show()
            self._know(source)

    @on(OptionList.OptionSelected)
    def _entered(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if source := self.source:
            self._begin(source)

    @work(thread=True, exclusive=True, exit_on_error=False, group="known")
    def _know(self, source: Source) -> None:
        files, wrong = files_of(source)
        self.post_message(Known(source, files, known(source), wrong))

    @on(Known)
    def _known(self, message: Known) -> None:
        key = message.source.key
        self._wrong[key] = message.wrong
        if message.facts:
            self._facts[key] = message.facts
        if self.source is None or key != self.source.key:
            return
        if message.files is not None:
            empty = message.wrong or "Its documents come with the look."
            self.query_one(DocumentView).open(message.files, message.source.column, empty)
        if key == POCKET and not self._facts.get(key) and not message.wrong:
            self._begin(message.source)  # four seconds, once
        self.show()

    # -- looking through all of it -------------------------------------------------------------------------------

    def _begin(self, source: Source) -> None:
        if self._look is not None and self._look.source.key == source.key:
            return
        if self._look is not None:
            self._look.stop()
        self._look, self._words = Look(source), "starting …"
        self._wrong[source.key] = ""
        self.show()
        self._follow(self._look)

    @work(thread=True, exit_on_error=False, group="look")
    def _follow(self, look: Look) -> None:
        source, wrong, facts = look.source, "", dict[str, Any]()
        try:
            facts = look.follow(lambda words: self.post_message(Progress(source, words)))
        except UserError as error:
            wrong = str(error)
        self.app.call_from_thread(self._ended, look)
        self.post_message(Known(source, files_of(source)[0] if facts else None, facts, wrong))

    def _ended(self, look: Look) -> None:
        if self._look is look:
            self._look, self._words = None, ""

    @on(Progress)
    def _goes_on(self, message: Progress) -> None:
        if self._look is not None and self._look.source.key == message.source.key:
            self._words = message.words
            self.show()

    def leave(self) -> None:
        """Out of a field; else end the look."""
        if isinstance(self.screen.focused, Input):
            self.query_one(Sources if self.screen.focused.id == "data-path" else DocumentView).focus()
            self.query_one("#data-words").remove_class("-on")
        elif self._look is not None:
            self._look.stop()
            self._look, self._words = None, ""
            self.show()

    # -- what is shown -------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        """Bring both panes up to date."""
        source = self.source
        if source is None or not self.is_mounted:
            return
        what, sizes = self.query_one("#data-what", Facts), self.query_one("#data-lengths", Facts)
        facts, wrong = self._facts.get(source.key, {}), self._wrong.get(source.key, "")
        lines = look_words.lines(source, facts, max(20, what.scrollable_content_region.width))
        mine = self._look is not None and self._look.source.key == source.key
        if mine:
            lines = [
                [("looking  ", "$accent"), (plain(self._words, 100), VALUE)],
                [("escape ends it", LABEL)],
                [],
                *lines,
            ]
        elif wrong:
            lines = [[(plain(wrong, 300), "$error")], [], *lines]
        elif not facts:
            hint = " looks through all of it: what is kept, what is dropped and why"
            lines += [*([[]] if lines else []), [("enter", "$accent bold"), (hint, LABEL)]]
        what.show(plain(source.title, 40), lines)
        what.border_subtitle = Content("of its report.json" if facts.get("of_report") else "")
        bars = look_words.lengths(facts, max(16, sizes.scrollable_content_region.width))
        sizes.show("lengths, characters", bars or [[("known after a look", LABEL)]])

    # -- the document --------------------------------------------------------------------------------------------

    @property
    def viewer(self) -> DocumentView:
        """The pane with the document."""
        return self.query_one(DocumentView)

    def document(self, by: int) -> None:
        """Another document."""
        self.viewer.move(by)

    def edge(self, index: int) -> None:
        """The first or the last document."""
        self.viewer.go(index)

    def file(self, by: int) -> None:
        """Another file of the source."""
        self.viewer.other_file(by)

    def mask(self) -> None:
        """What of a conversation is trained."""
        if not self.viewer.toggle_mask():
            self.lab.say("Only rows with messages have a loss mask: of plain text every token is trained", timeout=4)

    def search(self) -> None:
        """Words to look for."""
        line = self.query_one("#data-words", Input)
        line.add_class("-on")
        line.focus()

    def again(self) -> None:
        """The next document with the same words."""
        if self._sought:
            self.viewer.search(self._sought, self.viewer.index + 1)
        else:
            self.search()

    def path(self) -> None:
        """A path to type."""
        self.query_one("#data-path").focus()

    @on(Input.Submitted, "#data-words")
    def _searched(self, event: Input.Submitted) -> None:
        event.stop()
        self._sought = event.value.strip()
        event.input.remove_class("-on")
        self.viewer.focus()
        if self._sought:
            self.viewer.search(self._sought, self.viewer.index)

    @on(Input.Submitted, "#data-path")
    def _typed_path(self, event: Input.Submitted) -> None:
        event.stop()
        said = event.value.strip()
        if said:
            self._typed = [*[t for t in self._typed if t != said], said]
            event.input.value = ""
            self.renew(said)
            self.focus_first()

    # -- tokenizers ----------------------------------------------------------------------------------------------

    def _models(self) -> list[str]:
        """One model for each tokenizer, which many runs share; the shipped base first."""
        found: dict[str, str] = {}
        for info in sorted(self.lab.watcher.runs, key=lambda info: info.name != "pocket-base"):
            for name in ("tokenizer.model", "tokenizer.json"):
                with contextlib.suppress(OSError):
                    data = (info.folder / name).read_bytes()
                    found.setdefault(hashlib.sha256(data).hexdigest(), info.name)
                    break
        return list(found.values())

    def another_tokenizer(self) -> None:
        """The tokenizer of the next model."""
        self._named += 1
        self._load_tokenizer(True)

    @work(thread=True, exclusive=True, exit_on_error=False, group="tokenizer")
    def _load_tokenizer(self, say: bool = False) -> None:
        from lab.tokenizer import Tokenizer

        names = self._models()
        name = names[self._named % len(names)] if names else ""
        info = self.lab.watcher.find(name)
        if info is None:
            if say:
                self.app.call_from_thread(self.lab.say, "No model with a tokenizer yet; train one (n)", "warning")
            return
        try:
            loaded = Tokenizer.load(info.folder)
        except UserError as error:
            self.app.call_from_thread(self.lab.say, str(error), "error")
            return
        self.app.call_from_thread(self.viewer.use, loaded, name)
        if say:
            self.app.call_from_thread(self.lab.say, f"Tokens of {name}", "information", 2.0)
