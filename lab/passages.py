"""Documents cut into passages that can be read alone: whole sentences, and the place they stand at. No MLX.

lab.index cuts for searching, where a passage may end in the midst of a long sentence; what is asked about may not.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lab import index, read
from lab.tools import SENTENCE, cut, shown

SHORT = 60  # characters that hold too little to ask about
HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*")


class Passage(NamedTuple):
    """A passage on one line, with the title of its document or section before it where it does not name it; "file:line"."""

    text: str
    source: str


def passages(path: Path, name: str, size: int = 400, column: str = "text") -> Iterator[Passage]:
    """The passages of one file, called `name`. The line is that of a row, or in a text that where the passage begins; in a
    packed text, whose lines are not at hand, the number of the document."""
    kind = read.suffix(path)
    plain = kind in read.TEXT + read.NOTES and path.suffix.lower() not in read.PACKED
    whole = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n") if plain else ""
    at, line = 0, 1
    for document in read.documents(path, column):
        note = kind in read.NOTES
        title, text = index.heading(document.text, path) if note else (document.title, document.text)
        start = max(at, whole.find(text, at))
        for begin, heading, piece in split(text, size):
            if plain:
                line += whole.count("\n", at, start + begin)
                at = start + begin
            label = ", ".join(part for part in (title, heading) if part)
            yield Passage(shown(label, piece), f"{name}:{line if plain else document.number}")


def split(text: str, size: int) -> Iterator[tuple[int, str, str]]:
    """(where it begins, the heading it stands below, the passage on one line): about `size` characters at most. A passage
    ends with a sentence; with a paragraph where it is half full; and before a heading. What is shorter than SHORT is left
    out, a sentence longer than `size` cut after a word."""
    heading, held, begin = "", "", 0
    for start, sentence, opens in [*_sentences(text), (len(text), "", False)]:
        found = HEADING.fullmatch(sentence) if opens else None
        said = cut(" ".join(sentence.split()), size)
        full = len(held) + 1 + len(said) > size or (opens and len(held) >= size // 2)
        if held and (full or found or not sentence):
            if len(held) >= SHORT:
                yield begin, heading, held
            held = ""
        if found:
            heading = found[1]
            continue
        begin = begin if held else start
        held = f"{held} {said}".strip()


def _sentences(text: str) -> Iterator[tuple[int, str, bool]]:
    """(where it begins, the sentence, whether it opens a line)."""
    start, opens = 0, True
    for match in [*SENTENCE.finditer(text), None]:
        end = match.start() if match else len(text)
        if said := text[start:end].strip():
            yield text.index(said, start), said, opens
        if match:
            start, opens = match.end(), "\n" in match[0]
