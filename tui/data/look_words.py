"""What `lab data` found, in lines for a pane: how much, what was dropped and why, how long documents are. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.words import short
from tui.data.charts import number
from tui.data.facts import LABEL, VALUE, Line, flow, plain
from tui.data.looks import Source

BLOCKS = " ▏▎▍▌▋▊▉█"


def lines(source: Source, facts: Mapping[str, Any], width: int) -> list[Line]:
    """All of it: sums, then sources or reasons as bars with examples."""
    out: list[Line] = []
    pairs = [
        (name, short(value), f"{VALUE} bold") for name in ("documents", "characters") if (value := _of(facts, name))
    ]
    if source.tokens:
        count, name = source.tokens
        pairs.append(("tokens", f"{short(count)} ({plain(name, 20)})", VALUE))
    if pairs:
        out += flow(pairs, width)
    if conclusion := facts.get("conclusion"):
        out.append([(plain(conclusion, 2 * width), VALUE)])
    shares = _shares(facts)
    if shares:
        out += [[], *_table(shares, width)]
    dropped = facts.get("dropped")
    for name, drop in dropped.items() if isinstance(dropped, dict) else ():
        examples = drop.get("examples") if isinstance(drop, dict) else None
        for one in (examples if isinstance(examples, list) else [])[:2]:
            if isinstance(one, dict):
                out += [[], *_example(str(name), one, width)]
    cut, masks = facts.get("cut"), facts.get("masked")
    said = []
    if isinstance(cut, dict) and _of(cut, "lines"):
        said.append(("boilerplate lines cut", f"{_of(cut, 'lines'):,.0f}", VALUE))
    if isinstance(masks, dict):
        for name, what in (("emails", "e-mails masked"), ("ip_addresses", "addresses masked")):
            if _of(masks, name):
                said.append((what, f"{_of(masks, name):,.0f}", VALUE))
    if said:
        out += [[], *flow(said, width)]
    left = facts.get("left_alone")
    if isinstance(left, dict) and left:
        out.append([("left alone ", LABEL), (plain(", ".join(f"{k} {v}" for k, v in left.items()), width - 12), LABEL)])
    return out


def _of(facts: Mapping[str, Any], name: str) -> float:
    return number(facts.get(name)) or 0.0


def _shares(facts: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """(name, documents, share of all, style) of each source, or of what is kept and each reason."""
    sources = facts.get("sources")
    if isinstance(sources, dict):
        total = _of(facts, "characters") or 1
        return [
            (str(name), _of(one, "documents"), _of(one, "characters") / total, "$primary")
            for name, one in sources.items()
            if isinstance(one, dict)
        ]
    kept, dropped, total = facts.get("kept"), facts.get("dropped"), _of(facts, "documents") or 1
    if not isinstance(kept, dict) or not isinstance(dropped, dict):
        return []
    rows = [("kept", _of(kept, "documents"), _of(kept, "documents") / total, "$success")]
    for name, one in dropped.items():
        if isinstance(one, dict):
            rows.append((str(name), _of(one, "documents"), _of(one, "documents") / total, "$warning"))
    return rows


def _table(rows: Sequence[tuple[str, float, float, str]], width: int) -> list[Line]:
    name = max(6, min(24, max(len(row[0]) for row in rows)))
    room = max(4, width - name - 22)  # a scroll bar may come
    largest = max((share for _, _, share, _ in rows), default=0) or 1
    return [
        [(f"{plain(title, name):<{name}} ", VALUE), (f"{count:>9,.0f} {_percent(share):>7}  ", LABEL),
         (block(share / largest, room), style)]
        for title, count, share, style in rows
    ]  # fmt: skip


def _percent(share: float) -> str:
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def block(share: float, width: int) -> str:
    """A bar of eighths of cells; what is more than nothing shows."""
    eighths = max(1 if share > 0 else 0, round(share * width * 8))
    whole, rest = divmod(min(eighths, width * 8), 8)
    return "█" * whole + (BLOCKS[rest] if rest else "")


def _example(name: str, one: Mapping[str, Any], width: int) -> list[Line]:
    value, limit, said = number(one.get("value")), number(one.get("limit")), plain(one.get("said") or "", 40)
    more = f"as {said}" if "duplicates" in name and said not in ("", "-") else ""
    if value is not None and limit is not None and not more:
        more = f"{value:.3g}, limit {limit:.3g}"
    head: Line = [(f"{plain(name, 24)}  ", "$warning"), (plain(f"{one.get('file')}:{one.get('number')}", 40), LABEL)]
    return [[*head, (f"  {more}", LABEL)], [(plain(one.get("excerpt") or "", width), VALUE)]]


def lengths(facts: Mapping[str, Any], width: int) -> list[Line]:
    """How long documents are: a bar for each power of two, and what shares of them stay below."""
    told = facts.get("histogram")
    bins = [(int(a), int(b)) for a, b in (pair for pair in told if _pair(pair))] if isinstance(told, list) else []
    out: list[Line] = []
    most = max((count for _, count in bins), default=0) or 1
    room = max(4, width - 20)
    for bound, count in bins:
        name = f"{short(bound // 2)}-{short(bound)}" if bound > 1 else "0"
        out.append(
            [(f"{name:>9} ", LABEL), (f"{short(count) or '0':>6}  ", VALUE), (block(count / most, room), "$primary")]
        )
    sizes = facts.get("lengths")
    characters = sizes.get("characters") if isinstance(sizes, dict) else None
    if isinstance(characters, dict) and characters:
        pairs = [(str(name), short(number(size) or 0) or "0", VALUE) for name, size in characters.items()]
        out += ([[]] if out else []) + flow(pairs, width)
    return out


def _pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(number(part) is not None for part in value)
