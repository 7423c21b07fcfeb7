"""Memory figures: what the system says in its own words, and what a row of metrics holds. Which kernels multiply."""

import ctypes
from pathlib import Path

import mlx.core as mx
import pytest

import lab  # noqa: F401  (OpenBLAS before MLX)
from lab import blas, device
from lab.learn import memory_stats

STATUS = "Name:\tpython\nVmPeak:\t  802360 kB\nVmRSS:\t   91400 kB\nVmSwap:\t    5120 kB\nThreads:\t9\n"


def test_swap_as_linux_tells_it() -> None:
    assert device.linux_swap(STATUS) == 5120 * 1024
    assert device.linux_swap("Name:\tkthreadd\n") == 0  # kernels without swap have no such line


def test_swap_as_macos_tells_it() -> None:
    told = "total = 2048.00M  used = 1165.25M  free = 882.75M  (encrypted)\n"
    assert device.macos_swap(told) == 1165.25 * 2**20
    assert device.macos_swap("total = 0,00M  used = 1,50G  free = 0,00M") == 1.5 * 2**30  # a comma in some languages
    assert device.macos_swap("") == device.macos_swap("sysctl: unknown oid") == 0


def test_what_mlx_holds_is_counted() -> None:
    before = device.memory()
    held = mx.zeros((512, 1024))
    mx.eval(held)
    during = device.memory()
    assert during.active >= before.active + 512 * 1024 * 4
    assert during.peak >= during.active
    del held
    after = device.memory()
    assert after.active < during.active
    assert after.cache >= before.cache
    assert after.process >= 10_000_000  # this Python alone
    assert after.swap >= 0


def test_a_row_of_metrics_holds_all_figures_in_gigabytes() -> None:
    row = memory_stats()
    assert list(row) == ["mem_active", "mem_peak", "mem_cache", "mem_process", "mem_swap"]
    assert 0.01 < row["mem_process"] < 1000


def test_intel_processors_get_the_kernels_that_their_flags_allow() -> None:
    def told(vendor: str, flags: str) -> str:
        core = f"vendor_id\t: {vendor}\nmodel\t\t: 207\nflags\t\t: fpu sse3 {flags}\nbugs\t\t: spectre_v1"
        return "\n\n".join([core, core])

    wide = "avx2 fma avx512f avx512dq avx512bw avx512vl"
    assert blas.kernels(told("GenuineIntel", wide)) == "SKYLAKEX"
    assert blas.kernels(told("GenuineIntel", "avx2 fma avx512f")) == "HASWELL"  # Knights Landing has few of them
    assert blas.kernels(told("GenuineIntel", "avx")) is None
    assert blas.kernels(told("AuthenticAMD", wide)) is None
    assert blas.kernels("") is None


@pytest.mark.skipif(blas.NAME is None, reason="no OpenBLAS here")
def test_no_processor_of_today_multiplies_with_kernels_of_2004() -> None:
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    library = ctypes.CDLL(str(blas.NAME))
    library.openblas_get_corename.restype = ctypes.c_char_p
    core = library.openblas_get_corename().decode()
    assert core.upper() != "PRESCOTT" or "avx2" not in cpuinfo


@pytest.mark.skipif(not device.on_cpu(), reason="on an accelerator the cache may hold an eighth of the memory")
def test_on_the_cpu_no_more_is_cached_than_the_work_needs() -> None:
    """With an eighth of 24 GB the tuning of a model of 6 MB grew to 3 GB."""
    own = mx.set_cache_limit(34 << 20)
    try:
        for working_set, limit in ((24 << 20, 34 << 20), (500 << 20, 500 << 20)):
            device.limit_memory(working_set)
            assert mx.set_cache_limit(34 << 20) == limit
    finally:
        mx.set_cache_limit(own)
