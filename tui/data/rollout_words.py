"""Rollouts in words: pieces of (text, role), which widgets give the colours of the theme. No Textual."""

from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from lab.display import CONTROLS
from lab.words import BARS
from tui.data.notes import chance, visible
from tui.data.rollout_rows import HEATS, Brief, Game, Told, ids_of
from tui.data.rollouts import Group, Stats

Pieces = list[tuple[str, str]]
ROLES = {
    "": "$foreground", "muted": "$foreground-muted", "bold": "bold $foreground", "good": "$success", "bad": "$error",
    "warn": "$warning", "accent": "$accent",
}  # fmt: skip
STOPS = {"length": "cut at its length", "context": "cut: the context is full", "cancelled": "stopped"}
BAR = 6  # cells of the largest advantage


def styled(pieces: Sequence[tuple[str, str]]) -> Pieces:
    """Pieces with styles of the theme in place of roles, for widgets that take content."""
    return [(text, ROLES[role]) for text, role in pieces]


def figure(value: float | None, signed: bool = False) -> str:
    """'0.83', '1', '-0.1'; '-' for none."""
    if value is None:
        return "-"
    return f"{value:+z.2f}" if signed else f"{value:z.2f}".rstrip("0").rstrip(".")


def share(value: float | None) -> str:
    """A share in whole per cent; one that is not quite none or all is never said to be."""
    if value is None:
        return "-"
    return "<1 %" if 0 < value < 0.005 else ">99 %" if 0.995 < value < 1 else f"{100 * value:.0f} %"


def count(number: float, one: str, many: str = "") -> str:
    """'1 token', '2 tokens'."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"


def fit(text: str, width: int) -> str:
    """A text in exactly so many cells."""
    clean = text.translate(CONTROLS)
    return set_cell_size(clean, max(0, width - 1)) + "…" if cell_len(clean) > width else set_cell_size(clean, width)


def length(pieces: Sequence[tuple[str, str]]) -> int:
    return sum(cell_len(text) for text, _ in pieces)


def gauge(value: float | None, low: float, high: float, width: int) -> str:
    """A bar of `width` cells between low and high, in eighths."""
    if value is None or high <= low:
        return " " * width
    eighths = round(max(0.0, min(1.0, (value - low) / (high - low))) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def sign(one: Brief) -> str:
    """The role of a card's border: by the sign of the advantage."""
    if one.reward is None:
        return "warn"
    return "good" if one.advantage > 0 else "bad" if one.advantage < 0 else "muted"


# -- lists -----------------------------------------------------------------------------------------------------------


def ends(text: str, width: int) -> str:
    """A text in so many cells, its middle left out: prompts differ at either end."""
    clean = text.translate(CONTROLS)
    if cell_len(clean) <= width or width < 8:
        return fit(clean, width)
    tail = clean[-(width - 1 - width // 3) :]
    return fit(set_cell_size(clean, width // 3).rstrip() + "…" + tail.lstrip(), width)


def group_row(group: Group, shown: int, reach: tuple[float, float], width: int, retries: bool = False) -> Pieces:
    """A line of the list of prompts: prompt, mean reward with a bar, spread, how many right, calls a reply and, with
    `retries`, attempts taken back a reply. `shown`: rows that the filter lets through, -1 without one."""
    size, few = len(group.rows), width < 38
    flat = "warn" if group.flat else "muted"
    tail: Pieces = [(f" {figure(group.mean):>5}", "bold")]
    if not few:
        tail += [
            (f" {gauge(group.mean, *reach, 4)}", "accent"),
            (" same" if group.flat else f" {figure(group.spread):>4}", flat),
        ]
    else:
        tail += [(" =" if group.flat else "  ", flat)]
    if group.right is None:
        tail.append((" " * 6, ""))
    else:
        right = "good" if group.right == size else "bad" if not group.right else ""
        tail.append((f" {f'{group.right}/{size}':>5}", right))
    tail += [] if few else [(f" {group.calls:>3.1f}" if group.calls else "    ", "muted")]
    tail += [(f" {group.retries:>5.1f}" if group.retries else " " * 6, "accent")] if retries and not few else []
    some = f"{shown}× " if 0 <= shown < size else ""
    room = width - length(tail) - 4 - cell_len(some)
    return [(f"{group.number:>3} ", "muted"), (some, "accent"), (ends(group.prompt, room), ""), *tail]


def group_head(width: int, retries: bool = False, rights: bool = True) -> Pieces:
    """What stands above the list of prompts."""
    right = " right" if rights else " " * 6
    tail = f"  mean  {right}" if width < 38 else f"  mean     ±sd{right} call" + (" retry" if retries else "")
    return [(fit("  # prompt", max(0, width - len(tail))) + tail, "muted")]


def stats_lines(found: Stats, torn: int, width: int) -> list[Pieces]:
    """The figures of a step."""
    lines: list[Pieces] = [
        [("reward ", "muted"), (figure(found.reward), "bold"), (f" ±{figure(found.spread)}", "muted")],
    ]
    if found.right is not None:
        lines[0] += [("  right ", "muted"), (share(found.right), "bold")]
    flat: Pieces = [("no spread ", "muted"), (f"{found.flat} of {found.groups}", "warn" if found.flat else "")]
    if found.flat and found.right is not None:
        flat += [(f"  all right {found.all_right}, all wrong {found.all_wrong}", "warn")]
    lines.append(flat)
    lines.append([("length ", "muted"), (figure(found.length), ""), ("  truncated ", "muted"),
                  (share(found.cut), "warn" if found.cut else "")])  # fmt: skip
    more: Pieces = [("calls ", "muted"), (figure(found.calls), "")]
    if found.surprise is not None:
        more += [("  surprise ", "muted"), (figure(found.surprise), "")]
    if found.kl is not None:
        more += [("  from ref ", "muted"), (f"{found.kl:z.3f}", "")]
    lines.append(more)
    above = ("truncated", "calls")
    beside = [(f"{name.translate(CONTROLS)} {figure(v)}", "") for name, v in found.figures.items() if name not in above]
    lines += flowed(beside, width)
    if found.off:
        lines.append([(f"⚠ the parts of {count(found.off, 'reply', 'replies')} miss the reward", "warn")])
    if found.unjudged:
        lines.append([(f"{count(found.unjudged, 'reply', 'replies')} could not be judged", "warn")])
    if torn:
        lines.append([(f"{count(torn, 'line')} could not be read", "warn")])
    return lines


def flowed(pieces: Sequence[tuple[str, str]], width: int, between: str = "  ") -> list[Pieces]:
    """Pieces one after the other, as many as fit on each line; one that is too long for a line is cut."""
    lines: list[Pieces] = []
    used = width + 1
    for text, role in pieces:
        text = text if cell_len(text) <= width else fit(text, width)
        if used + len(between) + cell_len(text) > width:
            lines.append([])
            used = 0
        else:
            lines[-1].append((between, "muted"))
            used += len(between)
        lines[-1].append((text, role))
        used += cell_len(text)
    return lines


# -- a card ----------------------------------------------------------------------------------------------------------


def title(one: Brief, place: int, total: int, scale: float, width: int) -> Pieces:
    """Above a reply: which, what it earned, its advantage with a bar."""
    bar = "█" * max(1, round(abs(one.advantage) / scale * BAR)) if one.advantage else ""
    way = sign(one)
    said: Pieces = []
    for names, bars in (
        (("reward ", "advantage "), bar),
        (("reward ", "adv "), bar),
        (("r ", "a "), bar),
        (("", ""), ""),
    ):
        said = [(f"{place}/{total}", "bold"), ("  ", "")]
        if one.reward is None:
            said += [("not judged", "warn")]
        else:
            said += [(names[0], "muted"), (figure(one.reward), "bold"), ("  ", ""), (names[1], "muted"),
                     (figure(one.advantage, signed=True), way), (f" {bars}" if bars else "", way)]  # fmt: skip
        if length(said) <= width:
            break
    return said


def details(told: Told) -> Pieces:
    """Below a reply: the parts, which sum to the reward; notes; tokens, calls, mean log-probability, why it ended."""
    one, said = told.brief, list[tuple[str, str]]()
    names = list(one.parts)
    for i, name in enumerate(names):
        said.append((f"{'+ ' if i else ''}{name.translate(CONTROLS)} {figure(one.parts[name])}", ""))
    if one.off:
        said.append((f"⚠ parts sum to {figure(sum(one.parts.values()))}, the reward is {figure(one.reward)}", "warn"))
    said += [(f"{n.translate(CONTROLS)} {figure(v)}", "muted") for n, v in one.notes.items() if n != "truncated"]
    put_in = len(ids_of(told.row)) - one.drawn
    said.append((count(one.drawn, "token") + (f" and {put_in} put in" if put_in > 0 else ""), "muted"))
    if one.calls:
        said.append((count(one.calls, "call"), "muted"))
    if one.surprise is not None:
        said.append((f"mean logp {-one.surprise:.2f}", "muted"))
    stop = str(told.row.get("stop") or "").translate(CONTROLS)
    said.append((STOPS.get(stop, stop or "no word on its end"), "warn" if one.cut else "muted"))
    return said


def joined(pieces: Sequence[tuple[str, str]]) -> Pieces:
    """Details on one line; parts follow each other without a dot, as they are a sum."""
    out: Pieces = []
    for text, role in pieces:
        if out:
            out.append((" " if text.startswith("+ ") else " · ", "muted"))
        out.append((text, role))
    return out


# -- a token ---------------------------------------------------------------------------------------------------------

NO_TOKEN = "← → walk over the tokens of a reply   t colours them"
NO_HEAT: Pieces = [("e takes the prompt to Chat   v compares with another step", "muted")]


def token_lines(one: Told | None, place: int | None, heat: str = "", width: int = 200) -> list[Pieces]:
    """Two lines on a token: what it is and what is known of it; what else was probable there. Without one: what to press,
    and what the colours mean."""
    if one is None:
        return [[(NO_TOKEN, "muted")], NO_HEAT]
    if not one.tokens:
        return [[(one.why or NO_TOKEN, "warn" if one.why else "muted")], NO_HEAT]
    if place is None or not 0 <= place < len(one.tokens):
        missing = heat == HEATS[2] and not one.referred
        none: Pieces = [("this run has no reference: nothing to compare with", "warn")]
        return [[(NO_TOKEN, "muted")], none if missing else heat_words(heat) or NO_HEAT]
    token = one.tokens[place]
    first: Pieces = [
        (f"{place + 1}/{len(one.tokens)}  ", "muted"), (visible(token.piece).translate(CONTROLS), "bold"),
        (f"  id {token.id}", "muted"),
    ]  # fmt: skip
    if token.forced:
        first.append(("  put in, not drawn: not trained on", "warn"))
        return [first, [("it was no choice of the model's: there is nothing else it might have said", "muted")]]
    for names in (("reference", "difference", "advantage"), ("ref", "diff", "adv")):
        said = [*first, *_known(one, place, names)]
        if length(said) <= width:
            break
    if length(said) > width:
        del said[2]  # the id, which the tokens room tells too
    while length(said) > width and len(said) > 2:
        said.pop()
        if said[-1][1] == "muted" and said[-1][0].endswith(" "):
            said.pop()  # the name of the figure that went
    return [said, others(one, place)]


def _known(one: Told, place: int, names: tuple[str, str, str]) -> Pieces:
    """What is known of a token that was drawn."""
    token, ref, gap, said = one.tokens[place], one.ref[place], one.difference(place), list[tuple[str, str]]()
    if token.logp is None:
        said.append(("  no log-probability was kept", "muted"))
    else:
        said += [("  p ", "muted"), (chance(token.p), "bold"), ("  logp ", "muted"), (f"{token.logp:.3f}", "")]
    if ref is not None:
        said += [(f"  {names[0]} ", "muted"), (f"{ref:.3f}", "")]
        if gap is not None:
            said += [(f"  {names[1]} ", "muted"), (f"{gap:+.3f}", "good" if gap > 0 else "bad" if gap < 0 else "")]
    elif not one.referred:
        said.append(("  no reference", "muted"))
    return [*said, (f"  {names[2]} ", "muted"), (figure(one.brief.advantage, signed=True), sign(one.brief))]


def others(one: Told, place: int) -> Pieces:
    """What else was probable at a place."""
    token = one.tokens[place]
    if not token.top:
        return [
            ("what else was probable was not kept;  ", "muted"),
            ("a", "accent"),
            (" asks its model in Chat", "muted"),
        ]
    said: Pieces = []
    for i, (id, piece, p) in enumerate(token.top, 1):
        bar = BARS[min(len(BARS) - 1, int(p * len(BARS)))]
        name = visible(piece).translate(CONTROLS)
        said += [(f"{i} ", "accent"), (name, "bold" if id == token.id else ""), (f" {bar} {chance(p)}   ", "muted")]
    return said


def heat_words(heat: str) -> Pieces:
    """What the colours of the tokens mean."""
    if heat == HEATS[1]:
        return [("log-probability: ", "muted"), ("sure", "good"), (" to ", "muted"), ("surprised", "bad")]
    if heat == HEATS[2]:
        return [("log-probability minus the reference: ", "muted"), ("more likely than before", "good"), (", ", "muted"),
                ("less", "bad")]  # fmt: skip
    if heat == HEATS[3]:
        return [("what each token is trained with: ", "muted"), ("said more often", "good"), (", ", "muted"),
                ("less", "bad"), ("; no colour: not trained", "muted")]  # fmt: skip
    return []


def walked(game: Game, shown: int) -> Pieces:
    """Below a board: the move shown, and how the game ended where it is the last."""
    if not shown:
        return [(f"{count(len(game.moves), 'move')}; (  ) walk", "muted")]
    move = game.moves[shown - 1]
    who = game.player(shown - 1)
    said: Pieces = [(f"{shown}/{len(game.moves)} {who} to {move}", ""), (" (me)" if who == game.me else "", "accent")]
    if shown == len(game.moves) and game.result:
        role = {"won": "good", "lost": "bad", "illegal": "bad"}.get(game.result, "warn")
        said += [("  ", ""), (game.result.translate(CONTROLS)[:20], role)]
    return said


def where(folder: Path, step: int) -> str:
    """A run's step in words."""
    return f"{folder.name.translate(CONTROLS)}  step {step:,}"
