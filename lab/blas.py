"""OpenBLAS in place of the reference BLAS that the Linux `mlx[cpu]` wheel bundles. Must run before `import mlx.core`.

Measured: 2.5 GFLOP/s a core bundled, 83-103 with OpenBLAS; a train step 11x, sampling 8x. Macs use Metal and Accelerate.
"""

import ctypes
import os
import sys

# One thread: at these matrix sizes a second one adds spinning, not speed (1564 against 1317 tokens per CPU-second).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if sys.platform == "linux":
    # On the CPU mx.compile gains 2-8 % and costs 13 s of g++ at the first step. MLX looks only whether the variable is
    # there: on CUDA call mx.enable_compile() to have it back.
    os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
# Newer GPUs round the inputs of fp32 products to TF32 unless told otherwise (errors of 3e-4 to 8e-4, mlx issue 3860): the
# sampler and the trainer would disagree by more than RL may ignore. Not yet run on such a machine.
os.environ.setdefault("MLX_ENABLE_TF32", "0")


def _load() -> str | None:
    """The name of the library now in front, or None: not Linux, not installed, or MLX was imported first."""
    if sys.platform != "linux" or "mlx.core" in sys.modules:
        return None
    for name in ("libopenblas.so.0", "libopenblas.so"):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
            return name
        except OSError:
            continue
    return None


NAME = _load()
