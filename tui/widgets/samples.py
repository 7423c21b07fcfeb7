"""Samples over the steps: what the model said to the fixed prompts, newest last, so that gibberish is seen becoming text."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.data import samples as data
from tui.data.samples import Sample, at_or_before, folded, shorter

ROWS = 7  # of a text before it is folded
INLINE = 32  # characters of the prompt that stand before each text
LISTED = 400  # samples in the list; older ones are left out


@dataclass
class Stepped(Message):
    """The user went to a sample: its step."""

    step: int

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Stepped)


class Samples(OptionList):
    """One option a sample."""

    HELP = """
## Samples
What the model said to the same prompts with the same seed as it learned; muted is the prompt. `,` and `.` choose the
prompt. `↑` `↓` go through the steps, and the curves' crosshair goes along; moving the crosshair shows the sample of its
step. `enter` unfolds a long text.
"""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("end", "newest", "Newest sample", show=False, id="samples.newest"),
    ]

    def action_newest(self) -> None:
        """Follow again."""
        self.highlighted = None
        self.scroll_end(animate=False)


class SamplePane(Vertical):
    """The pane. `show` brings it up to date, `at` follows the crosshair."""

    ALLOW_MAXIMIZE = True

    def compose(self) -> ComposeResult:
        yield Static(id="prompt")
        yield Samples(id="samples", compact=True)

    def on_mount(self) -> None:
        self.border_title = "samples"
        self._index = 0
        self._samples: data.Samples | None = None
        self._listed: list[Sample] = []
        self._built: tuple[object, ...] = ()
        self._open = set[int]()
        self._step: float | None = None

    @property
    def rows(self) -> Samples:
        return self.query_one(Samples)

    @property
    def prompt(self) -> str | None:
        """The chosen prompt; None: all of them."""
        prompts = self._samples.prompts if self._samples else []
        if not self._samples or (self._samples.once and self._index == 0):
            return None
        index = (self._index - self._samples.once) % (len(prompts) + 1)
        return prompts[index] if index < len(prompts) else None

    def show(self, samples: data.Samples | None) -> None:
        """The samples of a run, as far as they are read."""
        if samples is not self._samples:
            self._samples, self._index, self._open = samples, 0, set()
        self._build()

    def choose(self, by: int) -> None:
        """The next or the previous prompt."""
        if self._samples and self._samples.prompts:
            self._index = (self._index + by) % (len(self._samples.prompts) + 1)
            self._open = set()
            self._build()

    def at(self, step: float | None) -> None:
        """Highlight what was said at or before a step; None: follow the newest."""
        self._step = step
        listed = self.rows
        with self.prevent(OptionList.OptionHighlighted):
            if step is None:
                if not listed.has_focus:
                    listed.highlighted = None
                    listed.scroll_end(animate=False, immediate=True)
                return
            listed.highlighted = at_or_before(self._listed, step)

    def _build(self) -> None:
        samples, width = self._samples, self.rows.scrollable_content_region.width or self.size.width - 4
        prompt = self.prompt
        key = (id(samples), samples.revision if samples else 0, prompt, width, tuple(sorted(self._open)))
        if key == self._built or width < 4:
            return
        only_new = self._built[:1] + self._built[2:] == key[:1] + key[2:]
        self._built = key
        found = samples.of(prompt)[-LISTED:] if samples else []
        self._title(prompt, bool(found))
        listed, before = self.rows, self._listed
        self._listed = list(found)
        only_new &= len(found) >= len(before) and found[: len(before)] == before
        follow = listed.is_vertical_scroll_end or not only_new
        new = found[len(before) :] if only_new else found
        start = len(found) - len(new)
        options = [Option(self._text(sample, prompt, width, start + i)) for i, sample in enumerate(new)]
        with self.prevent(OptionList.OptionHighlighted):
            if only_new:
                listed.add_options(options)
            else:
                listed.set_options(options)
            if self._step is not None:
                listed.highlighted = at_or_before(self._listed, self._step)
            elif follow:
                self.call_after_refresh(listed.scroll_end, animate=False, immediate=True)

    def _title(self, prompt: str | None, some: bool) -> None:
        prompts = self._samples.prompts if self._samples else []
        at = prompts.index(prompt) + 1 if prompt in prompts else "all"
        self.border_subtitle = f", ‹{at} of {len(prompts)}› ." if len(prompts) > 1 else None
        said = "all prompts" if prompt is None and some else shorter(prompt or "", 200) or "(nothing before it)"
        if not some:
            said = "No samples yet: a run writes some every now and then (pretrain: every 100 steps)."
        self.query_one("#prompt", Static).update(Content(said))

    def _text(self, sample: Sample, prompt: str | None, width: int, index: int) -> Content:
        head = Content.styled(f"{sample.step:,}", "bold $accent")
        asked = shorter(sample.prompt, INLINE * 2 if prompt is None else INLINE)
        answers = asked and sample.prompt.endswith("\n")  # a question and its reply, not a text that goes on
        text = (f"{asked}\n{sample.text}" if answers else f"{asked}{sample.text}").strip("\n")
        cut, more = (text, False) if index in self._open else folded(text, width, ROWS)
        begins = len(asked) if cut.startswith(asked) else 0
        body = Content.assemble((cut[:begins], "$foreground-muted"), cut[begins:] or "(nothing)")
        tail = Content.styled(" enter", "$foreground-muted") if more else Content("")
        return Content.assemble(head, "\n", body, tail, "\n")

    def on_resize(self, event: events.Resize) -> None:
        self._build()

    @on(OptionList.OptionHighlighted)
    def _went(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self.rows.has_focus and event.option_index < len(self._listed):
            self.post_message(Stepped(self._listed[event.option_index].step))

    @on(OptionList.OptionSelected)
    def _unfold(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._open ^= {event.option_index}
        self._build()
        self.rows.highlighted = event.option_index

    def copy_text(self) -> str:
        """All samples of the chosen prompt, whole."""
        return "\n\n".join(f"step {s.step}\n{s.prompt}{s.text}" for s in self._listed)
