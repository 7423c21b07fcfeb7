"""What a model said to its fixed prompts over the steps."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from lab.display import CONTROLS
from tui.data.charts import number
from tui.data.tail import Tail

LONGEST = 4000  # characters of one sample that are kept
MOST = 20_000  # samples of one run that are kept


@dataclass(frozen=True)
class Sample:
    """One text. `prompt` and `text` have no control characters."""

    step: int
    prompt: str
    text: str


class Samples:
    """samples.jsonl, read as it grows. revision: grows with every change."""

    def __init__(self, folder: Path):
        self.tail = Tail(folder / "samples.jsonl")
        self.revision = 0
        self.all: list[Sample] = []
        self._by_prompt: dict[str, list[Sample]] = {}

    def poll(self, budget: float = 0.01) -> bool:
        """Read what is new for about `budget` seconds; whether anything changed."""
        until, changed = time.perf_counter() + budget, False
        while True:
            before = self.tail.read
            rows, anew = self.tail.poll()
            if anew:
                self.all, self._by_prompt = [], {}
            for row in rows:
                step, prompt, text = number(row.get("step")), row.get("prompt"), row.get("text")
                if step is None or not isinstance(text, str) or len(self.all) >= MOST:
                    continue
                asked = clean(prompt if isinstance(prompt, str) else "")
                sample = Sample(int(step), asked, clean(text))
                self.all.append(sample)
                self._by_prompt.setdefault(asked, []).append(sample)
            if rows or anew:
                self.revision += 1
                changed = True
            if self.tail.read == before or time.perf_counter() > until:
                return changed

    @property
    def prompts(self) -> list[str]:
        """The fixed prompts, in the order in which they came."""
        return list(self._by_prompt)

    def of(self, prompt: str | None) -> list[Sample]:
        """The samples of one prompt, or of all (None), oldest first."""
        return self.all if prompt is None else self._by_prompt.get(prompt, [])

    @property
    def once(self) -> bool:
        """Whether there are many prompts and each was asked once: then there is nothing to follow over the steps."""
        return len(self._by_prompt) > 6 and len(self.all) < 2 * len(self._by_prompt)


def clean(text: str) -> str:
    """Safe to show: control characters of a model that babbles as their signs, the end of very long ones cut."""
    return text[:LONGEST].translate(CONTROLS) + (" …" if len(text) > LONGEST else "")


def at_or_before(samples: list[Sample], step: float) -> int | None:
    """The index of the last sample that is not after a step."""
    found = None
    for i, sample in enumerate(samples):
        if sample.step <= step:
            found = i
    return found


def shorter(prompt: str, room: int) -> str:
    """A prompt on one line; its end says more than its beginning."""
    line = " ".join(prompt.split())
    return line if len(line) <= room else "…" + line[len(line) - max(1, room - 1) :]


def folded(text: str, width: int, rows: int) -> tuple[str, bool]:
    """(the text in at most `rows` lines of `width` cells, whether something was left out); line breaks count, and blank
    lines are dropped."""
    out, used = list[str](), 0
    lines = [line for line in text.split("\n") if line.strip()] or [""]
    for i, line in enumerate(lines):
        need = max(1, -(-cell_len(line) // max(1, width)))
        if used + need > rows:
            keep = (rows - used) * width - 2
            if keep > 0:
                out.append(set_cell_size(line, keep).rstrip())
            return "\n".join(out) + " …", True
        out.append(line)
        used += need
        if used == rows and i + 1 < len(lines):
            return "\n".join(out) + " …", True
    return "\n".join(out), False
