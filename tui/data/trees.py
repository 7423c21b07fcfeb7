"""Merge trees as lines of text. Pure."""

from collections.abc import Callable

from rich.cells import cell_len

from lab.explain import Merge

Lines = list[list[tuple[int, str, str]]]  # of each line: (column, text, what it is: piece, leaf, line or rank)


def drawing(tree: Merge, spell: Callable[[bytes], str]) -> Lines:
    """A merge tree from the top down: lines of (column, text, what), what being piece, leaf, line or rank.

    Below a piece lies a bracket that holds the rank of the merge, below its ends the two parts.
    """
    _, _, lines = _drawn(tree, spell)
    return lines


def _drawn(tree: Merge, spell: Callable[[bytes], str]) -> tuple[int, int, Lines]:
    """(width, column of the middle, lines) of a block."""
    label = spell(tree.spelling)
    wide = max(1, cell_len(label))
    if not tree.parts:
        return wide, (wide - 1) // 2, [[(0, label, "leaf")]]
    blocks = [_drawn(part, spell) for part in tree.parts]
    rank = "" if tree.rank is None else f"{tree.rank}"
    places, at = list[int](), 0
    for i, (width, middle, _) in enumerate(blocks):
        if i and len(blocks) == 2:  # the rank fits between the corners
            at = max(at, places[0] + blocks[0][1] + len(rank) + 3 - middle)
        places.append(at)
        at += width + 2
    left, right = places[0] + blocks[0][1], places[-1] + blocks[-1][1]
    width, centre = at - 2, (left + right) // 2
    shift = max(0, (wide - 1) // 2 - centre)
    line = "┌" + "─" * (right - left - 1) + "┐"
    for place, (_, middle, _) in zip(places[1:-1], blocks[1:-1], strict=True):
        i = place + middle - left
        line = line[:i] + "┬" + line[i + 1 :]
    start = 1 + (len(line) - 2 - len(rank)) // 2
    bracket = [(shift + left, line[:start], "line"), (shift + left + start, rank, "rank")]
    bracket.append((shift + left + start + len(rank), line[start + len(rank) :], "line"))
    if not rank:
        bracket = [(shift + left, line, "line")]
    lines: Lines = [[(shift + centre - (wide - 1) // 2, label, "piece")], bracket]
    for i in range(max(len(block) for _, _, block in blocks)):
        row = []
        for place, (_, _, block) in zip(places, blocks, strict=True):
            row += [(shift + place + x, text, what) for x, text, what in (block[i] if i < len(block) else [])]
        lines.append(row)
    return max(shift + width, shift + centre - (wide - 1) // 2 + wide), shift + centre, lines


def listing(tree: Merge, spell: Callable[[bytes], str], lead: str = "", more: str = "") -> Lines:
    """The same as lines with guides, for a tree too wide to be drawn."""
    what = "piece" if tree.parts else "leaf"
    row = [(0, lead, "line"), (len(lead), spell(tree.spelling), what)]
    if tree.rank is not None:
        row.append((len(lead) + cell_len(row[1][1]) + 2, f"{tree.rank}", "rank"))
    lines: Lines = [row]
    for i, part in enumerate(tree.parts):
        last = i + 1 == len(tree.parts)
        lines += listing(part, spell, more + ("└─" if last else "├─"), more + ("  " if last else "│ "))
    return lines
