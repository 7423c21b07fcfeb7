"""The chart's border: its title with how it is drawn, and the legend with the values of its curves."""

from collections.abc import Sequence

from rich.cells import cell_len
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
    if not width or len(text) <= width:
        return text
    return text[: (width - 1) // 2] + ELLIPSIS + text[len(text) - (width - 1) // 2 - (width - 1) % 2 :]


def sample(index: int, ink: Ink) -> str:
    return SAMPLES[index % len(SAMPLES)] if ink.plain else "━"


def legend(
    curves: Sequence[Curve], texts: Sequence[str], ink: Ink, width: int, heads: Sequence[str] = ("",), title: str = ""
) -> Content:
    """The first of `heads` that leaves room for all values, then every curve with its value in words, in at most `width`
    cells. Names lose what they all begin with, are cut, are left out; then the last curves are left out and counted. A
    single curve named as the chart's `title` goes without its name."""
    names = ["" if c.name == title and len(curves) == 1 else clean(c.name) for c in curves]
    bare = [""] * len(curves)
    head = next((h for h in heads if _width(h, bare, texts, 2) <= width), heads[-1])
    if len(names) > 1 and (same := _alike(names)) > 2 and _width(head, names, texts, GAP) > width:
        names = [ELLIPSIS + name[same:] for name in names]
    for longest in range(max([SHORTEST, *map(len, names)]), SHORTEST - 1, -1):
        shown = [clean(name, longest) for name in names]
        if _width(head, shown, texts, GAP) <= width:
            return _joined(curves, shown, texts, ink, head, GAP)
    kept = len(curves)
    while kept and _width(head, bare[:kept], texts[:kept], 2) + (4 if kept < len(curves) else 0) > width:
        kept -= 1
    rest = f"+{len(curves) - kept}" if kept < len(curves) else ""
    return _joined(curves[:kept], bare[:kept], texts, ink, head, 2, rest if kept else "")


def _alike(names: Sequence[str]) -> int:
    """How many characters all names begin with alike."""
    first, last = min(names), max(names)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


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
