"""A run in words: lines of (text, style) pieces for a pane of any width. Pure; styles are names of theme colours."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from rich.cells import cell_len

from lab.display import CONTROLS
from lab.runs import Info
from lab.words import age, clock, duration, short
from tui.data.charts import number
from tui.data.details import Details
from tui.data.watch import stalled

Line = list[tuple[str, str]]
LABEL, VALUE = "$foreground-muted", "$foreground"
# state -> (glyph, style)
STATES = {
    "starting": ("●", "$success"),
    "running": ("●", "$success"),
    "saving": ("●", "$success"),
    "paused": ("⏸", "$warning"),
    "queued": ("◌", "$warning"),
    "done": ("✔", "$success"),
    "stopped": ("■", "$foreground-muted"),
    "failed": ("✖", "$error"),
    "died": ("✖", "$error"),
    "model": ("◆", "$primary"),
}
# What one looks for first in a config; the rest follows in its own order.
FIRST = (
    "model", "data", "size", "iters", "batch_size", "grad_accumulation_steps", "max_seq_length", "optimizer",
    "learning_rate", "warmup", "decay", "weight_decay",
)  # fmt: skip
NOT_CONFIG = ("name", "resume", "seed")  # these stand elsewhere, or say nothing


def state_mark(info: Info) -> tuple[str, str]:
    """(glyph, style) of a run's state."""
    return ("◍", "$warning") if stalled(info) else STATES.get(info.state, ("?", "$warning"))


def plain(value: Any, longest: int = 60) -> str:
    """A value of somebody's JSON on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    said = number(value)
    text = f"{said:.6g}" if said is not None and isinstance(value, float) else str(value)
    text = " ".join(text.translate(CONTROLS).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def bar(share: float, width: int) -> tuple[str, str]:
    """(what is done, what is left) of a progress bar, half cells counted."""
    halves = round(max(0.0, min(1.0, share)) * width * 2)
    done = "━" * (halves // 2) + ("╸" if halves % 2 else "")
    return done, "─" * (width - len(done))


def hours(seconds: float) -> str:
    """'0:21:08': never to be mistaken for a time of day."""
    said = duration(max(0.0, seconds))
    return said if said.count(":") == 2 else f"0:{said:0>5}"


def left(info: Info, now: float) -> float | None:
    """Seconds until the run ends; None where nobody knows."""
    eta, told = number(info.status.get("eta")), number(info.status.get("t"))
    if info.state not in ("running", "saving") or eta is None or told is None:
        return None
    return max(0.0, eta - max(0.0, now - told))


def ending(info: Info, now: float, took: float = 0.0) -> str:
    """'0:21:08, done 18:26' for a run on its way, without the time of day while it is paused; what it took for one that
    ended."""
    if stalled(info):
        return f"no word for {duration(now - info.status['t'])} min"
    seconds = left(info, now)
    if seconds is not None:
        return f"{hours(seconds)}, done {clock(now + seconds, now)}"
    eta = number(info.status.get("eta"))
    if info.state == "paused" and eta is not None:
        return f"{hours(eta)}, paused"
    return f"took {hours(took)}" if took and info.state in ("done", "stopped", "died", "failed") else ""


def trouble(info: Info, words: list[str], now: float, last_checkpoint: int | None) -> list[Line]:
    """What is wrong with a run and what to do about it; nothing where all is well."""
    said = [[(line.translate(CONTROLS).strip(), LABEL)] for line in words]
    again = f"press R to resume from step {last_checkpoint:,}" if last_checkpoint is not None else "nothing was saved"
    if info.state == "died":
        of = f" of {info.total:,}" if info.total else ""
        return [[("✖ ", "$error"), (f"died at step {info.step:,}{of}", "$error bold"), (f": {again}", VALUE)], *said]
    if info.state == "failed":
        reason = " ".join(plain(info.status.get("error") or "without a word", 400).split())
        return [[("✖ ", "$error"), (f"failed at step {info.step:,}", "$error bold"), (f": {again}", VALUE)],
                [(reason, VALUE)]]  # fmt: skip
    if stalled(info):
        silent = round(now - info.status["t"])
        return [[("◍ ", "$warning"), (f"no word for {silent} s", "$warning bold"),
                 (": its first step may be compiling, or it hangs; l shows its log", VALUE)]]  # fmt: skip
    return []


def flow(pairs: Iterable[tuple[str, str, str]], width: int) -> list[Line]:
    """(label, value, style of the value) one after the other, as many as fit on each line; the values of those that are
    too long for one line are cut."""
    lines: list[Line] = []
    used = width + 1
    for name, value, style in pairs:
        need = cell_len(name) + 1 + cell_len(value)
        if need > width:
            value = _cut(value, width - cell_len(name) - 1)
            need = cell_len(name) + 1 + cell_len(value)
        if used + 2 + need > width:
            lines.append([])
            used = 0
        else:
            lines[-1].append(("  ", ""))
            used += 2
        lines[-1] += [(f"{name} " if name else "", LABEL), (value, style)]
        used += need
    return lines


def _cut(text: str, room: int) -> str:
    while text and cell_len(text) > max(1, room - 1):
        text = text[:-1]
    return text + "…"


def differences(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, of mine, of the other) where two configs differ."""
    names = dict.fromkeys([*ordered(mine), *ordered(other)])
    found = [(name, mine.get(name), other.get(name)) for name in names if name not in ("name", "resume")]
    return [(name, a, b) for name, a, b in found if a != b]


def ordered(config: Mapping[str, Any]) -> list[str]:
    """The names of a config, what one looks for first in front."""
    return [name for name in FIRST if name in config] + [str(name) for name in config if name not in FIRST]


def settings(config: Mapping[str, Any], argv: str = "") -> list[tuple[str, str, str]]:
    """What one looks for first in a config and what was typed; all of it where nothing of that is there. Not what was
    left to the recipe, and not what is off."""
    names = ordered(config)
    main = [n for n in names if n in FIRST or f"--{n.replace('_', '-')}" in argv or f"--{n}" in argv]
    found = []
    for name in main or names:
        value = config[name]
        if name in NOT_CONFIG or value is None or value is False or value in ("", 0, [], (), {}):
            continue
        found.append((name.replace("_", " "), plain(value), VALUE))
    return found


def typed(passport: Mapping[str, Any]) -> str:
    """The line that started it."""
    argv = passport.get("argv")
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    return shlex.join(["lab", *words]).translate(CONTROLS) if words else ""


def lines(
    info: Info,
    found: Details,
    memory: Mapping[str, float],
    now: float,
    width: int,
    took: float = 0.0,
    pinned: tuple[str, Mapping[str, Any]] | None = None,
) -> list[Line]:
    """All facts of a run. pinned: (name, config) of the run it is compared with."""
    out: list[Line] = []
    passport, status = found.passport, info.status
    glyph, style = state_mark(info)
    state: Line = [(f"{glyph} ", style), (info.state if info.state != "model" else "a model, not trained here", VALUE)]
    if info.headline:
        state.append((f"  {plain(info.headline)}", f"{VALUE} bold"))
    out.append(state)
    note = plain(status.get("note") or "")
    if note and info.state != "done":  # what it did last is no news then
        out.append([(note, LABEL)])
    if info.total:
        share = info.step / info.total
        out.append([("step ", LABEL), (f"{info.step:,}", f"{VALUE} bold"), (f" of {info.total:,}", LABEL),
                    (f"  {min(100, int(100 * share))} %", VALUE)])  # fmt: skip
        done, rest = bar(share, width)
        out.append([(done, style if info.state != "stopped" else LABEL), (rest, "$border")])
    if until := ending(info, now, took):
        name, _, value = until.rpartition("took ")
        out.append([(name or "took ", LABEL), (value, VALUE)] if value != until else [("left ", LABEL), (value, VALUE)])
    if (speed := number(status.get("tok_s"))) is not None:
        out.append([(f"{speed:,.0f}", VALUE), (" tok/s", LABEL)])
    out += _memory(memory, width)
    out += [[], *_made(info, found, width)]
    out += [[], *_config(found, pinned, width)]
    facts = []
    if passport.get("seed") is not None:
        facts.append(("seed", plain(passport["seed"], 20), VALUE))
    if passport.get("git"):
        facts.append(("git", plain(passport["git"], 20)[:8], VALUE))
    if info.created > 0:
        facts.append(("made", f"{clock(info.created, now)}, {age(now - info.created)} ago", VALUE))
    out += [[], *flow(facts, width)] if facts else []
    if line := typed(passport):
        out += [[], [(line, LABEL)]]
    return out


def _memory(memory: Mapping[str, float], width: int) -> list[Line]:
    if not memory:
        return []
    pairs = [(name, f"{value:.2f}" if value else "0", VALUE) for name, value in memory.items()]
    return [[], [("memory, GB", f"{LABEL} bold")], *flow(pairs, width)]


def _made(info: Info, found: Details, width: int) -> list[Line]:
    """Recipe, parent, size, text, checkpoints."""
    pairs = [("recipe", plain(info.recipe), VALUE)] if info.recipe else []
    if info.parent:
        pairs.append(("from", plain(info.parent), VALUE))
    if found.parameters:
        pairs.append(("parameters", short(found.parameters), VALUE))
    if tokens := number(found.text.get("tokens")):
        pairs.append(("text", f"{short(tokens)} tokens", VALUE))
    if found.checkpoints:
        steps = [str(step) for step in found.checkpoints[-4:]]
        pairs.append(("checkpoints", " ".join(["…", *steps] if len(found.checkpoints) > 4 else steps), VALUE))
    return flow(pairs, width)


def _config(found: Details, pinned: tuple[str, Mapping[str, Any]] | None, width: int) -> list[Line]:
    if pinned is None:
        pairs = settings(found.config, typed(found.passport))
        return [[("config", f"{LABEL} bold")], *flow(pairs, width)] if pairs else []
    name, other = pinned
    out: list[Line] = [[("config, ⚑ is ", f"{LABEL} bold"), (plain(name), f"{VALUE} bold")]]
    for key, mine, theirs in differences(found.config, other):
        line: Line = [
            (f"{key.replace('_', ' ')} ", LABEL),
            (plain(mine, 24), "$accent"),
            (f" ⚑ {plain(theirs, 24)}", LABEL),
        ]
        out.append(line)
    return out if len(out) > 1 else [*out, [("no difference", LABEL)]]


def headline(info: Info, memory: Mapping[str, float], now: float, width: int) -> list[Line]:
    """Two lines for narrow terminals: what runs and how far it is; how long it takes and what it holds."""
    glyph, style = state_mark(info)
    steps = f"{info.step:,}/{info.total:,}" if info.total else ""
    first: Line = [(f"{glyph} ", style), (_cut(info.name, 40) if len(info.name) > 40 else info.name, f"{VALUE} bold")]
    first += [(f" {info.state}", LABEL), (f"  {steps} ", VALUE)]
    room = width - sum(cell_len(text) for text, _ in first)
    if info.total and room >= 6:
        done, rest = bar(info.step / info.total, room)
        first += [(done, style), (rest, "$border")]
    pairs = []
    if until := ending(info, now):
        pairs.append(("" if "no word" in until else "left", until, VALUE))
    if (speed := number(info.status.get("tok_s"))) is not None:
        pairs.append(("tok/s", f"{speed:,.0f}", VALUE))
    for name in ("process", "peak", "swap"):
        if memory.get(name):
            pairs.append((name, f"{memory[name]:.2f} GB", VALUE))
    if info.headline:
        pairs.append(("", plain(info.headline), VALUE))
    return [first, *flow(pairs, width)[:1]]
