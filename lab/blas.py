"""OpenBLAS in place of the reference BLAS that the Linux `mlx[cpu]` wheel bundles. Must run before `import mlx.core`.

Measured: 2.5 GFLOP/s a core bundled, 83-103 with OpenBLAS; a train step 11x, sampling 8x. Macs use Metal and Accelerate.
"""

import ctypes
import os
import sys
from contextlib import suppress

# One thread: at these matrix sizes a second one adds spinning, not speed (1564 against 1317 tokens per CPU-second).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if sys.platform == "linux":
    # On the CPU mx.compile gains 2-8 % and costs 13 s of g++ at the first step. MLX looks only whether the variable is
    # there: on CUDA call mx.enable_compile() to have it back.
    os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
# Newer GPUs round the inputs of fp32 products to TF32 unless told otherwise (errors of 3e-4 to 8e-4, mlx issue 3860): the
# sampler and the trainer would disagree by more than RL may ignore. Not yet run on such a machine.
os.environ.setdefault("MLX_ENABLE_TF32", "0")


def kernels(cpuinfo: str) -> str | None:
    """OPENBLAS_CORETYPE for an Intel processor, by the flags of its /proc/cpuinfo; None for others, whose own choice is good.

    OpenBLAS goes by model numbers (its driver/others/dynamic.c) and takes an Intel it does not know for one of 2004: Debian
    12's 0.3.21 multiplies with SSE3 on Emerald Rapids, 16 GFLOP/s a core where SkylakeX reaches 98 to 150. Learning from 128
    replies to the pocket model's word problems took 6.5 CPU-seconds instead of 2.4.
    """
    first = cpuinfo.partition("\n\n")[0]
    flags = set(next((line for line in first.splitlines() if line.startswith("flags")), "").split())
    if "GenuineIntel" not in first:
        return None
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags:
        return "SKYLAKEX"
    return "HASWELL" if {"avx2", "fma"} <= flags else None


def _load() -> str | None:
    """The name of the library now in front, or None: not Linux, not installed, or MLX was imported first."""
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        if core := kernels(file.read()):
            os.environ.setdefault("OPENBLAS_CORETYPE", core)
    for name in ("libopenblas.so.0", "libopenblas.so"):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            return name
        except OSError:
            continue
    return None


NAME = _load()
