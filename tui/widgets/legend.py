"""The chart's border: its title with how it is drawn, and the legend with the values of its curves."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.style import Style

from lab.display import CONTROLS
from tui.widgets.ink import SAMPLES, Ink
from tui.widgets.series import Curve

ELLIPSIS = "…"
SHORTEST = 6  # what a name is cut to before it is left out
GAP = 3


def clean(text: str, width: int = 0) -> str:
    """A name fit to be shown, cut in its middle to `width` cells if that is not 0."""
    text = " ".join(text.translate(CONTROLS).split())
    if not width or cell_len(text) <= width:
        return text
    begin = set_cell_size(text, (width - 1) // 2).rstrip()
    end, room = "", width - 1 - cell_len(begin)
    for char in reversed(text):
        if cell_len(char + end) > room:
            break
        end = char + end
    return begin + ELLIPSIS + end


def sample(index: int, ink: Ink) -> str:
    return SAMPLES[index % len(SAMPLES)] if ink.plain else "━"


def legend(
    curves: Sequence[Curve], texts: Sequence[Sequence[str]], ink: Ink, width: int, heads: Sequence[str] = ("",),
    title: str = "", cut: bool = True,
) -> tuple[Content, bool]:  # fmt: skip
    """(every curve with its value behind the first of `heads` that leaves room for all values, in at most `width` cells;
    whether the names found room).

    `texts`: the values in words, the most exact first. Values get shorter, then names lose what they all begin with; then,
    with `cut`, they are cut (and values no shorter than the second). Else they are left out, then the last curves are left
    out and counted. A single curve named as the chart's `title` goes without its name.
    """
    names = ["" if c.name == title and len(curves) == 1 else clean(c.name) for c in curves]
    texts = texts[:2] if cut else texts
    bare, short = [""] * len(curves), texts[-1]
    head = next((h for h in heads if _width(h, bare, short, 2) <= width), heads[-1])
    for shown in dict.fromkeys((tuple(names), tuple(_apart(names)))):
        for words, gap in ((words, gap) for words in texts for gap in (GAP, 2)):
            if _width(head, shown, words, gap) <= width:
                return _joined(curves, shown, words, ink, head, gap), True
    for longest in range(max([SHORTEST, *map(len, names)]), SHORTEST - 1, -1) if cut else ():
        shown = tuple(clean(name, longest) for name in _apart(names))
        if _width(head, shown, short, 2) <= width:
            return _joined(curves, shown, short, ink, head, 2), True
    kept = len(curves)
    while kept and _width(head, bare[:kept], short[:kept], 2) + (4 if kept < len(curves) else 0) > width:
        kept -= 1
    rest = f"+{len(curves) - kept}" if kept < len(curves) else ""
    words = next(w for w in (*texts, short) if w is short or (not rest and _width(head, bare, w, 2) <= width))
    return _joined(curves[:kept], bare[:kept], words, ink, head, 2, rest if kept else ""), not any(names)


def named(curves: Sequence[Curve], ink: Ink, width: int) -> Content:
    """The names of the curves in their colours, for the title, where the legend has no room for them; nothing where they
    cannot be told apart in `width` cells."""
    whole = [clean(c.name) for c in curves]
    for names in (whole, _apart(whole), *([n[:k].strip() for n in whole] for k in (6, 5, 4))):
        if len(set(names)) == len(names) and sum(map(cell_len, names)) + (1 + 2 * ink.plain) * len(names) <= width:
            marks = [f"{sample(i, ink)} " if ink.plain else "" for i in range(len(names))]
            parts = [
                Content.styled(f" {mark}{name}", Style(foreground=ink.lines[i]))
                for i, (mark, name) in enumerate(zip(marks, names, strict=True))
            ]
            return Content("").join(parts)
    return Content("")


def _apart(names: Sequence[str]) -> list[str]:
    """The names without what they all begin with, where that is worth it."""
    first, last = min(names, default=""), max(names, default="")
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return [ELLIPSIS + name[alike:] for name in names] if len(names) > 1 and alike > 2 else list(names)


def _width(head: str, names: Sequence[str], texts: Sequence[str], gap: int) -> int:
    parts = [1 + (cell_len(name) + 1 if name else 0) + 1 + len(text) for name, text in zip(names, texts, strict=True)]
    parts += [cell_len(head)] if head else []
    return sum(parts) + gap * (len(parts) - 1)


def _joined(
    curves: Sequence[Curve], names: Sequence[str], texts: Sequence[str], ink: Ink, head: str, gap: int, rest: str = ""
) -> Content:
    parts: list[Content] = [Content.styled(head, "bold")] if head else []
    bright = Style(foreground=ink.foreground, bold=True)
    for i, (curve, name, text) in enumerate(zip(curves, names, texts, strict=False)):
        mark = Content.styled(sample(i, ink), Style(foreground=ink.lines[i]))
        said = Content.styled(f" {name}" if name else "", "bold" if curve.pinned else "")
        parts.append(mark + said + Content.styled(f" {text}", bright))
    return Content(" " * gap).join([*parts, Content(rest)] if rest else parts)


def title(name: str, facts: Sequence[str], ink: Ink) -> Content:
    """The chart's name and, quieter, how it is drawn."""
    quiet = Style(dim=True) if ink.ansi else Style(foreground=ink.foreground.blend(ink.background, 0.42))
    return Content.styled(clean(name), "bold") + Content.styled("".join(f"  {fact}" for fact in facts), quiet)
