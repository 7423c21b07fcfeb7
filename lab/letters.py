"""The order of a few things as a person types it: letters, best first. No MLX."""

from collections.abc import Iterable, Sequence

LETTERS = "abcdefghi"
MOST = len(LETTERS)  # options of a ranking (InstructGPT's people ranked 4 to 9, arXiv:2203.02155)


def from_letters(text: str, count: int) -> tuple[list[int], list[list[int]]]:
    """(order, ties) of letters, best first: "b d a=c e" says that a and c are equally good. Spaces, commas and > may stand
    between them. ValueError, told in words, for what is no order of all `count` options."""
    letters = LETTERS[:count]
    order: list[int] = []
    groups: list[list[int]] = []
    joined = False
    for sign in text.lower():
        if sign.isspace() or sign in ",>":
            continue
        if sign == "=":
            if joined or not order:
                raise ValueError("= stands between two letters that are equally good, as in b a=c")
            joined = True
            continue
        if sign not in letters:
            raise ValueError(f"{ascii(sign)[1:-1]} is no option; letters are {' '.join(letters)}, ? for help")
        place = letters.index(sign)
        if place in order:
            raise ValueError(f"{sign} stands there twice")
        order.append(place)
        if joined:
            groups[-1].append(place)
        else:
            groups.append([place])
        joined = False
    if joined:
        raise ValueError("= stands between two letters that are equally good, as in b a=c")
    if missing := [letter for i, letter in enumerate(letters) if i not in order]:
        raise ValueError(f"all of them, best to worst; missing: {' '.join(missing)}")
    return order, [group for group in groups if len(group) > 1]


def to_letters(order: Sequence[int], ties: Iterable[Sequence[int]]) -> str:
    """An order as it is typed: "b d a=c e"."""
    group = {place: i for i, tied in enumerate(ties) for place in tied}
    told = ""
    for i, place in enumerate(order):
        same = i and place in group and group[place] == group.get(order[i - 1])
        told += ("=" if same else " " if i else "") + LETTERS[place]
    return told
