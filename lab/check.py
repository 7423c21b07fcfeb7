"""Does this machine compute what the mathematics says? The list of checks, and the record of what they found here.

    for each in check.chosen():
        result = check.perform(each)

`passed("compiled")` is for code that depends on an answer: it is None until `lab doctor --check` has asked on this
machine, with this MLX and this version of the checked files.
"""

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lab import check_exact, check_pairs, device
from lab.check_exact import Measured, Skipped
from lab.errors import UserError
from lab.runs import read_json, root, write_atomic

CHECKED = (
    "batch", "blas", "check", "check_exact", "check_pairs", "cpu", "device", "learn", "loss", "model", "reference", "sample",
    "slots", "stream", "weights",
)  # fmt: skip
KEPT = 8  # machines, or versions of one, that the record remembers


@dataclass(frozen=True)
class Check:
    """One question to the machine; `accelerator` ones make no sense on a CPU alone."""

    name: str
    compares: str
    work: Callable[[], Measured]
    accelerator: bool = False


CHECKS = (
    Check("products", "matrix products against float64", check_exact.products),
    Check("rms_norm", "RMSNorm against float64", check_exact.rms_norm),
    Check("rope", "rotary positions to 2,048 against float64", check_exact.rope),
    Check("attention", "attention, grouped and causal, against float64", check_exact.attention),
    Check("forward", "a network's logits against float64", check_exact.forward),
    Check("loss", "its loss against float64", check_exact.loss_value),
    Check("gradients", "each parameter's gradient against slopes in float64", check_exact.gradients),
    Check("update", "three steps of Muon and AdamW against float64", check_exact.update),
    Check("silu", "our SiLU and its gradient against MLX's", check_pairs.fast_silu),
    Check("cross_entropy", "our loss and its gradient against plain operations", check_pairs.fast_cross_entropy),
    Check("cache", "decoding with a cache against one forward pass", check_pairs.cache),
    Check("sampler", "the sampler's log-probabilities against a forward pass", check_pairs.sampler),
    Check("sampled_together", "rows sampled together against a forward pass each", check_pairs.sampled_together),
    Check("draws", "how often ids are drawn against their probability", check_exact.draws),
    Check("rare_draws", "how often rare ids of 50,000 are drawn", check_exact.rare_draws),
    Check("batch", "a row in a batch against the row alone", check_pairs.batch),
    Check("micro_batches", "one batch against its micro-batches", check_pairs.micro_batches),
    Check("causal", "logits before a changed token against before the change", check_pairs.causal),
    Check("storage", "arrays saved and loaded against themselves", check_pairs.storage),
    Check("resume", "training resumed from a file against straight on", check_pairs.resume),
    Check("bfloat16", "logits in bf16 against fp32", check_pairs.half),
    Check("memory", "memory after use against memory before", check_pairs.memory),
    Check("logits_cpu", "the accelerator's logits against the CPU's", check_pairs.pair_logits, accelerator=True),
    Check("gradients_cpu", "the accelerator's gradients against the CPU's", check_pairs.pair_gradients, accelerator=True),
    Check("steps_cpu", "four training steps against the CPU's", check_pairs.pair_steps, accelerator=True),
    Check("sampler_cpu", "log-probabilities, cached, against the CPU's", check_pairs.pair_sampler, accelerator=True),
    Check("compiled", "training steps with mx.compile against without", check_pairs.compiled),
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a check found. `ok` is None where it made no sense here; `error` is None there, and where it was no number."""

    name: str
    compares: str
    ok: bool | None
    error: float | None
    tolerance: float | None
    why: str
    seconds: float


def chosen() -> list[Check]:
    """The checks that make sense on this machine."""
    return [each for each in CHECKS if not (each.accelerator and device.on_cpu())]


def perform(each: Check) -> Result:
    """Run one check. A check that breaks has failed; only Ctrl-C ends the whole."""
    clock = time.perf_counter()
    ok: bool | None = False
    error: float | None = None
    tolerance: float | None = None
    try:
        measured, tolerance, why = each.work()
        ok, error = measured <= tolerance, measured if math.isfinite(measured) else None
    except Skipped as reason:
        ok, why = None, str(reason)
    except Exception as broken:  # whatever a backend throws is an answer too
        first = (str(broken).strip() or "no message").splitlines()[0]
        why = f"{type(broken).__name__}: {first[:200]}"
    return Result(each.name, each.compares, ok, error, tolerance, why, round(time.perf_counter() - clock, 3))


def revision() -> str:
    """Twelve hexadecimal digits that change with the code that is checked."""
    here, digest = Path(__file__).parent, hashlib.sha256()
    for file in (here / f"{name}.py" for name in CHECKED):
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()[:12]


def _path() -> Path:
    return root() / ".doctor.json"


def _key() -> str:
    return f"{device.name()}, mlx {metadata.version('mlx')}, lab {revision()}"


def record(results: Iterable[Result]) -> Path:
    """Remember the results of this machine and these versions in place of older ones; returns the file."""
    path, key = _path(), _key()
    entry = {
        "device": device.name(), "mlx": metadata.version("mlx"), "revision": revision(), "t": time.time(),
        "results": [dataclasses.asdict(result) for result in results],
    }  # fmt: skip
    others = {k: v for k, v in _entries().items() if k != key}
    newest = sorted(others, key=lambda k: others[k]["t"])[-KEPT + 1 :]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(
        path, json.dumps({"version": 1, "machines": {k: others[k] for k in newest} | {key: entry}}, indent=1) + "\n"
    )
    return path


def _entries() -> dict[str, dict[str, Any]]:
    """All that is remembered; what is no entry (a file from elsewhere) is left out."""
    found = read_json(_path()).get("machines")
    whole = found.items() if isinstance(found, dict) else ()
    return {
        k: v
        for k, v in whole
        if isinstance(v, dict) and isinstance(v.get("t"), int | float) and isinstance(v.get("results"), list)
    }


def recorded() -> tuple[float, list[Result]] | None:
    """(when, results) of this machine with these versions; None where it was not asked."""
    entry = _entries().get(_key())
    if entry is None:
        return None
    try:
        return float(entry["t"]), [Result(**row) for row in entry["results"]]
    except TypeError:  # written by other code
        return None


def passed(*names: str) -> bool | None:
    """True when all the named checks (without names: all that make sense here) passed on this machine with this MLX and
    these files, False when one failed, None when one was not run. UserError for a name that is no check."""
    known = {each.name for each in CHECKS}
    if wrong := [name for name in names if name not in known]:
        raise UserError(f"{wrong[0]}: no such check; there are {', '.join(sorted(known))}")
    found = recorded()
    if found is None:
        return None
    said = {result.name: result.ok for result in found[1]}
    asked = [said.get(name) for name in names] if names else [ok for ok in said.values() if ok is not None]
    if False in asked:
        return False
    return None if None in asked or not asked else True
