"""Where MLX runs and how: dtype, memory limits, seeds (lab/blas.py has chosen the BLAS before)."""

import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from lab import blas

LINUX = sys.platform == "linux"
NO_OPENBLAS = (
    "OpenBLAS is not installed: training and sampling run about 10x slower. Mend: apt-get install libopenblas0-pthread"
)


def on_cpu() -> bool:
    """True when MLX computes on the CPU (every Linux machine without CUDA)."""
    return mx.default_device() == mx.Device(mx.cpu)


def slow_blas() -> bool:
    """True when matrix products go to the bundled reference BLAS."""
    return LINUX and on_cpu() and blas.NAME is None


def compute_dtype(parameters: int) -> mx.Dtype:
    """The dtype weights are held and multiplied in.

    CPU: float32 only (half-precision products run at 5 GFLOP/s there). Accelerator: float32 up to 30M parameters,
    where it costs little and needs no loss scaling; bfloat16 above.
    """
    return mx.float32 if on_cpu() or parameters <= 30_000_000 else mx.bfloat16


def name() -> str:
    """The device in words, such as 'Apple M3 Max (gpu)' or 'x86_64 (cpu, libopenblas.so.0)'."""
    info = mx.device_info()
    what = info.get("device_name") or info.get("architecture") or platform.machine()
    if on_cpu():
        return f"{what} (cpu, {blas.NAME or 'bundled BLAS'})"
    return f"{what} (gpu)"


@dataclass(frozen=True)
class Memory:
    """Bytes: MLX's live arrays, their peak, its reuse cache, what the system has given the process at most, and what lies
    in swap (on Linux of this process, on macOS of the whole machine)."""

    active: int
    peak: int
    cache: int
    process: int
    swap: int


def memory() -> Memory:
    """What MLX holds now, and the most the process has held. MLX's peak leaves out its cache, and stood still while a
    training grew into swap (https://github.com/ml-explore/mlx/issues/3993), so watch `process` and `swap` too."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rss *= 1024 if LINUX else 1  # Linux counts KiB, macOS bytes
    return Memory(mx.get_active_memory(), mx.get_peak_memory(), mx.get_cache_memory(), rss, _swap())


_swapped = (-math.inf, 0)  # when macOS is asked again, and what it said
_SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _swap() -> int:
    """Bytes in swap; 0 where the system does not say. macOS is asked at most every 10 s, because that starts a process
    (not yet run on a Mac)."""
    global _swapped
    if LINUX:
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as file:
                return linux_swap(file.read())
        except OSError:
            return 0
    if time.monotonic() >= _swapped[0]:
        try:
            command = ["/usr/sbin/sysctl", "-n", "vm.swapusage"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout
            _swapped = (time.monotonic() + 10, macos_swap(told))
        except (OSError, subprocess.SubprocessError):
            _swapped = (math.inf, 0)  # a training does not wait for it again and again
    return _swapped[1]


def linux_swap(status: str) -> int:
    """VmSwap of a /proc/PID/status, in bytes; 0 without one. The file: proc_pid_status(5)."""
    found = re.search(r"^VmSwap:\s*(\d+) kB", status, re.M)
    return int(found[1]) * 1024 if found else 0


def macos_swap(told: str) -> int:
    """Bytes used, of `sysctl -n vm.swapusage`: 'total = 2048.00M  used = 1165.25M  free = 882.75M  (encrypted)'."""
    found = re.search(r"used = ([\d.,]+)([KMGT])", told)
    return round(float(found[1].replace(",", ".")) * _SIZES[found[2]]) if found else 0


def _total_memory(info: dict[str, Any]) -> int:
    size = info.get("memory_size")
    return int(size) if size else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limit_memory(working_set: int) -> None:
    """Before work that needs about `working_set` bytes: keep MLX's buffer cache from looking like a leak (at most an
    eighth of the machine's memory; its own limit is 1.5x the recommended working set), and on Metal wire the working
    set, never the whole recommended size, which froze 16 GB Macs for a model of a few MB. Not yet run on a Mac. On the CPU
    MLX keeps 34 MB by itself; with an eighth of 24 GB a tuning of the pocket model grew from .2 to 3 GB, no faster."""
    info = mx.device_info()
    most = _total_memory(info) // 8
    own = mx.set_cache_limit(most)
    if on_cpu():
        mx.set_cache_limit(min(most, max(own, working_set)))
    recommended = info.get("max_recommended_working_set_size")
    if recommended and not on_cpu():
        mx.set_wired_limit(min(int(recommended), working_set))  # macOS 15 and later


def seed(value: int) -> None:
    """Seed MLX's random state on this thread (the only global one in use; numpy and random take local generators)."""
    mx.random.seed(value)


def exp(x: mx.array) -> mx.array:
    """e ** x, fp32. On the CPU by numpy (0.5 ns an element), at once: MLX's own is scalar there (12-16 ns)."""
    return mx.array(np.exp(np.array(x))) if on_cpu() else mx.exp(x)


def flat(tree: Any) -> list[tuple[str, mx.array]]:
    """(path, array) of every array in a tree of parameters."""
    return cast(list[tuple[str, mx.array]], tree_flatten(tree))


def number(value: mx.array) -> float:
    """A real scalar array as a float; this is where lazy work gets done."""
    return float(cast(float, value.item()))
