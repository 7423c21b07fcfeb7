"""Facts about the machine, for `lab doctor`: measured or read, never assumed. What cannot be found out is left out.

Sizes are bytes, speeds GFLOP/s (1e9 floating point operations a second). The macOS parts are written from documentation
and have not been run on a Mac yet.
"""

import contextlib
import ctypes
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from lab import runs
from lab.passport import passport

Facts = dict[str, Any]
MAC = sys.platform == "darwin"
SHOWN = (
    "mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13", "mlx-lm", "numpy", "sentencepiece", "tokenizers",
    "transformers", "textual", "rich", "tyro", "pydantic-monty",
)  # fmt: skip
STEP = (16, 128)  # rows, tokens: the defaults of `lab pretrain`, which speeds and memory are stated for
POCKET_PASS = 1_636 * 16 * 128  # tokens of one pass over the pocket world, whose text is the same everywhere
CHINCHILLA = 20  # tokens a parameter that a compute budget is best spent on (Hoffmann et al. 2022, arXiv:2203.15556)


def said(*command: str) -> str:
    """Standard output of a small system command; empty when there is none such, or it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    return ""


def read(path: str) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text(encoding="utf-8")
    return ""


def system() -> Facts:
    """Operating system, processor, cores that this process may use, and how busy they are (load over a minute)."""
    name, processor = platform.platform(), ""
    if MAC:
        name = f"macOS {platform.mac_ver()[0]}"
        processor = said("sysctl", "-n", "machdep.cpu.brand_string")
    else:
        with contextlib.suppress(OSError):
            name = f"{platform.freedesktop_os_release().get('PRETTY_NAME', 'Linux')}, kernel {platform.release()}"
        found = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo"), re.M)
        processor = found[1].strip() if found else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "os": name,
        "processor": processor or platform.machine(),
        "architecture": platform.machine(),
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
    }
    if MAC and said("sysctl", "-n", "sysctl.proc_translated") == "1":
        facts["rosetta"] = True
    if "microsoft" in platform.release().lower():
        facts["wsl"] = True
    if driver := re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", read("/proc/driver/nvidia/version")):
        facts["nvidia_driver"] = driver[1]
    return facts


def packages() -> dict[str, str]:
    """Versions of what the lab stands on."""
    found = {"python": platform.python_version()}
    for name in SHOWN:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def unmet() -> list[str]:
    """Requirements of the lab that are not installed, or in another version."""
    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(line) for line in metadata.requires("lab") or []]
    except (ImportError, metadata.PackageNotFoundError):
        return []
    missing = []
    for each in wanted:
        if each.marker and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            have = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            missing.append(f"{each.name} is not installed")
            continue
        if not each.specifier.contains(have, prereleases=True):
            missing.append(f"{each.name} is {have}, the lab needs {each.specifier}")
    return missing


def blas() -> Facts:
    """The library that does matrix products on the CPU."""
    from lab import blas as chosen

    if MAC:
        return {"library": "Accelerate"}
    if chosen.NAME is None:
        return {"library": "bundled with MLX (reference BLAS)", "slow": True}
    facts: Facts = {"library": chosen.NAME, "threads": int(os.environ.get("OPENBLAS_NUM_THREADS") or 0)}
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(chosen.NAME)
        library.openblas_get_config.restype = library.openblas_get_corename.restype = ctypes.c_char_p
        config = library.openblas_get_config().decode().split()
        facts |= {"version": " ".join(config[:2]), "kernels": library.openblas_get_corename().decode()}
        facts["threads"] = library.openblas_get_num_threads()
    return facts


def _clock() -> Callable[[], float]:
    """Processor time on the CPU with one thread, so that other programs matter little; else the time on the wall."""
    from lab import device

    alone = device.on_cpu() and os.environ.get("OPENBLAS_NUM_THREADS") == "1" and not MAC
    return time.process_time if alone else time.perf_counter


def products(dtype: str = "float32", size: int = 1024, seconds: float = 0.7, cpu: bool = False) -> float:
    """GFLOP/s of the best of several size x size matrix products, on the CPU or on the device that MLX uses."""
    import mlx.core as mx

    from lab import device
    from lab.check_exact import on

    with on(mx.cpu if cpu else mx.default_device()):
        a, b = (mx.random.normal((size, size), key=mx.random.key(k)).astype(getattr(mx, dtype)) for k in (1, 2))
        mx.eval(a @ b)
        clock, best, until = _clock(), float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until or best == float("inf"):
            start = clock()
            mx.eval(a @ b)
            best = min(best, clock() - start)
        del a, b
    if not device.on_cpu():
        mx.clear_cache()
    return 2 * size**3 / best / 1e9


def training(size: str, steps: int = 2) -> Facts:
    """Tokens a second of real training steps (Muon, batch and length as `lab pretrain` has them), the best of `steps`,
    and the FLOP/s they come to."""
    import numpy as np

    from lab import device
    from lab.learn import Learner, Schedule
    from lab.loss import Batch, nll
    from lab.model import Transformer

    rows, length = STEP
    form = shape(size)
    network = Transformer(form)
    network.initialise(0)
    network.set_dtype(device.compute_dtype(form.parameters))
    learner = Learner(network, Schedule(0.001, 10))
    ids = np.random.default_rng(0).integers(0, form.vocab_size, (rows, length + 1)).astype(np.int32)
    clock, best = _clock(), float("inf")
    for step in range(1, steps + 2):
        start = clock()
        learner.step(step, [Batch(ids)], nll)
        best = min(best, clock() - start) if step > 1 else best  # the first one warms up
    speed = rows * length / best
    return {"size": size, "tokens_per_second": speed, "gflops": speed * form.flops(length) / 1e9}


def shape(size: str) -> Any:
    """What `lab pretrain --size` builds."""
    from recipes import pretrain

    config = pretrain.Config(size=size)  # type: ignore[arg-type]
    return pretrain.shape(config, pretrain.SIZES[config.size].vocab_size)


def sizes(gflops: float, half_gflops: float, share: float, available: int, total: int) -> list[Facts]:
    """For each size of the dial: parameters, bytes that a training step needs, whether they are there, and an estimate of
    its speed: what share of the measured matrix products' speed the measured training step reached, applied to all."""
    from lab.model import SIZES

    rows, length = STEP
    table = []
    for name in SIZES:
        form = shape(name)
        need = form.memory(rows, length)
        speed = (half_gflops if form.parameters > 30_000_000 else gflops) * 1e9 * share / form.flops(length)
        fits = "yes" if need < available else "tight" if need < 0.9 * total else "no"
        table.append(
            {
                "size": name, "parameters": form.parameters, "memory": need, "fits": fits, "tokens_per_second": speed,
                "hours": CHINCHILLA * form.parameters / speed / 3600,
            }
        )  # fmt: skip
    return table


def memory() -> Facts:
    """Memory of the machine, and of it what a container may use and what is free for a new process."""
    facts: Facts = {"total": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
    if found := re.search(r"^MemAvailable:\s+(\d+) kB", read("/proc/meminfo"), re.M):
        facts["available"] = int(found[1]) * 1024
    limit = read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdecimal() and int(limit) < facts["total"]:
        facts["container"] = int(limit)
        left = int(limit) - used(read("/sys/fs/cgroup/memory.current"), read("/sys/fs/cgroup/memory.stat"))
        facts["available"] = min(left, facts.get("available", left))
    if MAC:
        facts |= free_on_mac(said("vm_stat"))
    return facts


def used(current: str, stat: str) -> int:
    """Bytes of a container that a new process cannot have: of `memory.current` without the cached files nobody read
    lately, which the kernel gives up first (inactive_file in `memory.stat`)."""
    cached = re.search(r"^inactive_file (\d+)$", stat, re.M)
    return int(current.strip() or 0) - (int(cached[1]) if cached else 0)


def free_on_mac(vm_stat: str) -> Facts:
    """What `vm_stat` says is free, or can be had at once: free, inactive, speculative and purgeable pages."""
    page = re.search(r"page size of (\d+) bytes", vm_stat)
    counts = [
        re.search(rf"^Pages {kind}:\s+(\d+)\.", vm_stat, re.M)
        for kind in ("free", "inactive", "speculative", "purgeable")
    ]
    if not page or not all(counts):
        return {}
    return {"available": int(page[1]) * sum(int(count[1]) for count in counts if count)}


def mlx_memory() -> Facts:
    """MLX's own limits in bytes; the working set and what of it stays wired exist on Metal only."""
    import mlx.core as mx

    cache = mx.set_cache_limit(0)  # the only way to read one is to set one
    mx.set_cache_limit(cache)
    facts = {"memory_limit": mx.get_memory_limit(), "cache_limit": cache}
    info = mx.device_info()
    for key in ("max_recommended_working_set_size", "max_buffer_length", "memory_size"):
        if key in info:
            facts[key] = int(info[key])
    if "max_recommended_working_set_size" in info:
        with contextlib.suppress(RuntimeError, ValueError):  # before macOS 15 there is none
            facts["wired_limit"] = mx.set_wired_limit(0)
            mx.set_wired_limit(facts["wired_limit"])
    return facts


def disk() -> Facts:
    """The weights folder, whether it can be written, and the space left where it is (or will be)."""
    home = runs.root()
    there = home
    while not there.exists() and there != there.parent:
        there = there.parent
    space = shutil.disk_usage(there)
    return {"folder": str(home), "free": space.free, "total": space.total, "writable": os.access(there, os.W_OK)}


def terminal() -> Facts:
    """What the screen can show: size, colours (rich's name: truecolor, 256, standard or none), whether it is UTF-8."""
    console, size = Console(), shutil.get_terminal_size()
    screen = sys.__stdout__  # a live line stands in for sys.stdout while it turns
    facts = {
        "is_terminal": screen is not None and screen.isatty(),
        "columns": size.columns,
        "lines": size.lines,
        "colours": console.color_system or "none",
        "encoding": (screen.encoding or "").lower() if screen else "",
        "term": os.environ.get("TERM", ""),
        "program": os.environ.get("TERM_PROGRAM", ""),
    }
    if os.environ.get("NO_COLOR"):
        facts["no_color"] = True
    return facts | {"ssh": True} if os.environ.get("SSH_CONNECTION") else facts


def power(settings: str, thermal: str, battery: str) -> Facts:
    """What `pmset -g`, `pmset -g therm` and `pmset -g batt` say on macOS: low power mode, the limit of the processor's
    speed in per cent, and whether it runs from the battery."""
    facts: Facts = {}
    if found := re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d)", settings, re.M):
        facts["low_power_mode"] = found[1] == "1"
    if found := re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", thermal):
        facts["speed_limit"] = int(found[1])
    if "drawing from" in battery:
        facts["battery"] = "Battery Power" in battery
    return facts


def work() -> Facts:
    """Runs that go on now, whether one of them holds the accelerator, and runs whose process died."""
    found = runs.runs()
    live = ("starting", "queued", "running", "paused", "saving")
    facts: Facts = {
        "runs": len(found),
        "live": [
            {"name": i.name, "state": i.state, "step": i.step, "total": i.total} for i in found if i.state in live
        ],
        "died": [
            {
                "name": i.name,
                "recipe": i.recipe,
                "step": i.step,
                "total": i.total,
                "resumable": bool(runs.checkpoints(i.folder)),
            }
            for i in found
            if i.state == "died"
        ],
    }
    facts["device_taken"] = False
    with contextlib.suppress(FileNotFoundError), open(runs.root() / ".device.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            facts["device_taken"] = True
    return facts


def version(package: str = "lab") -> str | None:
    """The installed version, None where it is not installed."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def revision() -> str | None:
    """The clone's git revision."""
    found = passport("doctor", {}, None).get("git")
    return str(found) if found else None
