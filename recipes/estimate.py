"""What a run would need, before it is started: time by real steps or by a run like it, memory against this machine's.

A recipe's `plan(config)` says what it would do as a `Plan`; the rest is the same for all of them.
"""

import contextlib
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lab.runs import Info, read_json, read_lines, runs
from recipes import machine

# Measured on nine shapes (pocket to 60m, windows of 128 and 512, vocabularies of 1,536 and 16,384, Muon and AdamW): MLX's
# peak was 0.9 to 1.35 times what `Shape.memory` says, and the process held 0.3 GB beside it (Python, MLX, the text).
MARGIN, PROCESS = 1.35, 300_000_000
BUDGET = 8.0  # seconds that measuring a step may take, where that is enough for three steps
# Flags that change neither what a step costs nor what is done between steps.
EASY = frozenset((
    "name", "resume", "seed", "iters", "learning_rate", "warmup", "decay", "weight_decay", "mix", "text_column", "context",
    "keep", "save_every", "strict", "lora_scale",
))  # fmt: skip

Band = Literal["SAFE", "TIGHT", "OUT OF MEMORY RISK"]


class Work(NamedTuple):
    """A part of the run: how often it is done, and a call that finds out how long once takes and says how it did."""

    name: str
    times: float
    seconds: Callable[[], tuple[float, str]]
    stepwise: bool = False  # it is spread over the steps: a run that goes on has less of it to do


@dataclass(frozen=True)
class Plan:
    """What a run would do. None = not known before."""

    parameters: int | None = None
    steps: int | None = None
    first: int = 0  # the step it stands at; more than 0 when it goes on with --resume
    tokens: int | None = None  # that it trains on, all steps together
    about: str = ""  # where steps and tokens are an estimate, of what; '' = exact
    facts: Mapping[str, Any] = field(default_factory=dict)  # more to say, in the recipe's own words: name -> text
    memory: int | None = None  # bytes at the peak of a step, as the recipe reckons
    checkpoint: int | None = 0  # bytes of one
    checkpoints: int = 0  # how many lie on the disk at the end
    work: Callable[[bool], Iterator[Work]] | None = None  # what to time; builds the model; False = memory is short


class Paced(NamedTuple):
    """A run like the one that is planned."""

    run: str
    steps: int
    around: float  # seconds before its first step and behind its last
    step: float  # seconds a step, with all that is done between steps
    tok_s: float  # the median of its rows


# -- memory ----------------------------------------------------------------------------------------------------------


def band(need: int, margin: float, available: int, room: int) -> tuple[Band, str]:
    """How `need` bytes, which may come out `margin` times as much, stand to what is free now and to what the machine (on
    a Mac the GPU's recommended working set) has.

    SAFE: also the worse case is free now, so that no other program must give way. TIGHT: the worse case takes at most
    nine tenths of the room, but others must give way: macOS compresses and swaps them out, and training goes slower.
    Above that MLX has no room left; on a Mac its arrays go to swap while its own peak stands still
    (https://github.com/ml-explore/mlx/issues/3993), on Linux the kernel kills the process.
    """
    worse = round(need * margin)
    if worse <= available:
        return "SAFE", "fits into what is free now"
    if worse <= 0.9 * room:
        return "TIGHT", "fits, but other programs must give way; close what you do not need"
    return "OUT OF MEMORY RISK", "more than nine tenths of what there is; lower --batch-size or --max-seq-length"


def room() -> tuple[int, int]:
    """(bytes free now, bytes there are) for a training on this machine."""
    memory = machine.memory() | machine.mlx_memory()
    there = int(memory.get("max_recommended_working_set_size") or memory.get("container") or memory["total"])
    return min(int(memory.get("available", there)), there), there


def memory(need: int | None, measured: bool = False) -> dict[str, Any]:
    """The memory part of a plan; `need` is the step's peak. Measured ones need no margin but a tenth for the run's own
    (longer texts, samples, checkpoints)."""
    available, there = room()
    facts: dict[str, Any] = {"available": available, "room": there, "measured": measured}
    if need is None:
        return facts | {"need": None, "band": None, "why": "the recipe does not say before it starts"}
    verdict, why = band(need + PROCESS, 1.1 if measured else MARGIN, available, there)
    return facts | {"need": need + PROCESS, "band": verdict, "why": why}


# -- time ------------------------------------------------------------------------------------------------------------


def like(recipe: str, config: Mapping[str, Any], device: str) -> Paced | None:
    """The newest run of this recipe on this device whose steps cost the same, one that ended, else one that goes on now.
    Shipped models come from elsewhere, and so may a folder that was copied here: the device's name in its log must be
    ours."""
    for info in sorted(runs(), key=lambda info: info.state != "done"):  # what comes behind the steps counts too
        if info.recipe != recipe or info.state not in ("done", "running") or info.name.startswith("pocket-"):
            continue
        theirs = read_json(info.folder / "run.json").get("config")
        same = isinstance(theirs, dict) and _alike(theirs, config) and _device(info.folder) == device
        if same and (found := _paced(info)):
            return found
    return None


def _alike(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    return _hard(theirs) == _hard(ours)


def _hard(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that decide what a step costs. Of a pretraining's text only whether it is the user's: it is cut into
    windows of one length. Conversations are as long as they are."""
    left = {k: list(v) if isinstance(v, tuple) else v for k, v in config.items() if k not in EASY}
    return left | ({"data": bool(left["data"])} if "data" in left and "model" not in left else {})


def _device(folder: Path) -> str:
    """What a run's log calls its device."""
    with contextlib.suppress(OSError, UnicodeDecodeError), open(folder / "log.txt", encoding="utf-8") as file:
        if found := re.search(r"^device  +(.+)$", file.read(10_000), re.M):
            return found[1].strip()
    return ""


def _paced(info: Info) -> Paced | None:
    """Its speed; None where it stopped, waited or went on in between, or had too few steps to tell."""
    steps, speeds = list[tuple[int, float]](), list[float]()
    for row in read_lines(info.folder / "metrics.jsonl"):
        if row.get("event") in ("resume", "control"):
            return None
        step, t, speed = row.get("step"), row.get("t"), row.get("tok_s")
        if "event" not in row and isinstance(step, int) and isinstance(t, float) and step > 0:
            steps[1:] = [(step, t)]
            speeds += [float(speed)] if isinstance(speed, int | float) else []
    if not steps or steps[-1][0] - steps[0][0] < 4:
        return None
    (first, began), (last, over) = steps[0], steps[-1]
    ended = info.status.get("t") if info.state == "done" else None
    pace = (over - began) / (last - first)
    around = began - info.created + max(0.0, (ended if isinstance(ended, float) else over) - over)
    return Paced(info.name, last, max(0.0, around - pace * first), pace, statistics.median(speeds or [0.0]))


def timed(call: Callable[[], Any], times: int = 1) -> float:
    """The mean of the seconds that calls take: processor time where that is the same, so that what other programs do now
    (the run takes longer than they do) matters little."""
    clock = machine._clock()
    start = clock()
    for _ in range(times):
        call()
    return (clock() - start) / times


def step_seconds(
    step: Callable[[int], Any], gradient: Callable[[int], Any], rows: int, whole: bool, what: str = "windows"
) -> tuple[float, str]:
    """(seconds of an optimiser step on `rows` windows, or `what` they are, how they were found). Ten real steps, fewer
    where the budget does not reach. Where not even three fit into it, or `whole` is False (memory is short): the update,
    which costs the same for any number of rows, and the gradient of one or two of them, times so many."""
    step(1)  # warms up
    one, alone = timed(lambda: step(1)), timed(lambda: gradient(1))
    if whole and one + (rows - 1) * alone <= BUDGET / 2:  # more than it will be: many rows share the work
        first = timed(lambda: step(rows))
        times = max(3, min(10, int(BUDGET / first)))
        return timed(lambda: step(rows), times), f"{times} steps measured here"
    few = min(rows, 2)
    gradient(few)
    each = timed(lambda: gradient(few)) / few
    return max(0.0, one - alone) + each * rows, f"from the gradient of {few} of {rows} {what}, measured here"
