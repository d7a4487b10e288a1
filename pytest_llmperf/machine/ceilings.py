"""The best that a device can do: how fast it reads memory, and multiplies matrices.

Runs in a process of its own, before an engine loads, with torch where that is installed and numpy
otherwise. A ceiling is the best of many: several kernels, each repeated, the fastest of all. A busy
neighbour makes one repeat slow, not all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.units import MIB
from ..metrics.roofline import Ceilings

_SMALLEST, _LARGEST = 32 * MIB, 512 * MIB
"""Buffers: below the first, weights sit in a core's own cache; the last is beyond most shared ones."""
_ON_GPU = 1024 * MIB
"""The largest buffer there: what starting a kernel takes is nothing beside it."""
_CACHE_SIZES = Path("/sys/devices/system/cpu/cpu0/cache")
_SHARE = 4
"""A buffer takes at most one part in so many of the free memory."""
_WIDTH = 4096
_SIDES = (512, 1024, 2048, 4096, 8192)
_SECONDS, _REPEATS = 0.05, 3
"""A kernel repeats for so long, and so often at least."""
_IN_A_ROW = 10
"""Runs between two looks at the clock on a GPU, which starts one while it does the one before."""
_SLOW = 0.1
"""Seconds that a larger product may take: it has eight times the work."""
_TYPES = ("bfloat16", "float16", "float32")
_SIMULATED = Ceilings(
    read=((1, 100e9),), matmul=dict.fromkeys(_TYPES, 1e12), threads=None, method="programmed"
)
"""The simulated device: 100 GB/s, 1 TFLOP/s."""

Kernel = tuple[Callable[[], object], float]
"""What runs, and the bytes or operations of one run."""


@dataclass(frozen=True)
class _Timer:
    """How a device is timed; the default is one that computes when it is called."""

    wait: Callable[[], object] = lambda: None
    """Returns when the device has done what it was given."""
    in_a_row: int = 1

    def best(self, kernels: Sequence[Kernel]) -> float:
        """Return bytes or operations per second of the fastest run of the fastest kernel."""
        return max(amount / self._fastest(run) for run, amount in kernels)

    def _fastest(self, run: Callable[[], object]) -> float:
        """Return seconds of the fastest of some runs, after one that is not counted."""
        run()
        self.wait()
        times: list[float] = []
        until = time.perf_counter() + _SECONDS
        while len(times) < _REPEATS or time.perf_counter() < until:
            begin = time.perf_counter()
            for _ in range(self.in_a_row):
                run()
            self.wait()
            times.append((time.perf_counter() - begin) / self.in_a_row)
        return min(times)


def measure(device: str, threads: int | None) -> Ceilings | None:
    """Return the ceilings of a device; None where nothing can measure them.

    Args:
        device: as ``EngineInfo.device``.
        threads: of the engine, on a CPU; None leaves the library's own choice.
    """
    if device == "simulated":
        return _SIMULATED
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        if threads:
            os.environ[name] = str(threads)
    with suppress(ImportError):
        return _with_torch(device, threads)
    if device == "cpu":
        with suppress(ImportError):
            return _with_numpy(threads)
    return None


def buffer_sizes(free: int, cache: int) -> list[int]:
    """Return the bytes of each buffer to read, smallest first: doubling until one fills the cache.

    Args:
        free: bytes of memory that nobody uses.
        cache: bytes of the last-level cache.
    """
    sizes: list[int] = []
    size = _SMALLEST
    while size <= free // _SHARE and (not sizes or sizes[-1] < max(_LARGEST, cache)):
        sizes.append(size)
        size *= 2
    return sizes


def _with_torch(device: str, threads: int | None) -> Ceilings | None:
    import torch

    on_gpu = device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        return None
    if threads and not on_gpu:
        torch.set_num_threads(threads)
    where = torch.device(device)
    timer = _Timer(lambda: torch.cuda.synchronize(where), _IN_A_ROW) if on_gpu else _Timer()
    free = torch.cuda.mem_get_info(where)[0] if on_gpu else _free_memory()
    sizes = buffer_sizes(free, _ON_GPU if on_gpu else _last_cache())
    if not sizes:
        return None
    with torch.inference_mode():
        source = torch.ones(sizes[-1] // 4, dtype=torch.float32, device=where)
        target = torch.ones(sizes[-1] // 8, dtype=torch.float32, device=where)
        vector = torch.ones(_WIDTH, dtype=torch.float32, device=where)
        read = []
        for size in sizes:
            kernels = _reads(source[: size // 4], vector, size, torch.dot)
            # Half is read and half is written, which is as much traffic.
            kernels.append((partial(target[: size // 8].copy_, source[: size // 8]), size))
            read.append((size, timer.best(kernels)))
        del source, target, kernels
        matmul = {}
        for name in _TYPES:
            # A type that the device lacks, or no room for it.
            with suppress(RuntimeError):
                matmul[name] = _best_product(_torch_product(torch, name, where), timer)
    return Ceilings(
        tuple(read),
        matmul,
        None if on_gpu else torch.get_num_threads(),
        f"torch {torch.__version__}",
    )


def _torch_product(torch: Any, name: str, where: Any) -> Callable[[int], list[Kernel]]:
    dtype = getattr(torch, name)

    def products(side: int) -> list[Kernel]:
        # Random numbers, as weights are: a GPU multiplies zeros with less power, so faster.
        a = torch.randn((side, side), device=where).to(dtype)
        b = torch.randn((side, side), device=where).to(dtype)
        return [(lambda: a @ b, 2.0 * side**3), (lambda: a @ b.T, 2.0 * side**3)]

    return products


def _with_numpy(threads: int | None) -> Ceilings | None:
    import numpy

    sizes = buffer_sizes(_free_memory(), _last_cache())
    if not sizes:
        return None
    source = numpy.ones(sizes[-1] // 4, numpy.float32)
    vector = numpy.ones(_WIDTH, numpy.float32)
    read = [
        (size, _Timer().best(_reads(source[: size // 4], vector, size, numpy.dot)))
        for size in sizes
    ]
    random = numpy.random.default_rng(0)

    def products(side: int) -> list[Kernel]:
        a, b = (random.standard_normal((side, side), dtype=numpy.float32) for _ in range(2))
        return [(lambda: a @ b, 2.0 * side**3)]

    # It has no 16-bit product worth the name.
    matmul = {"float32": _best_product(products, _Timer())}
    return Ceilings(tuple(read), matmul, threads, f"numpy {numpy.__version__}")


def _reads(whole: Any, vector: Any, size: int, dot: Any) -> list[Kernel]:
    """Return kernels that read a buffer of float32 once, for both libraries."""
    half = len(whole) // 2
    rows = whole.reshape(-1, _WIDTH)
    return [
        (lambda: whole.sum(), size),
        (lambda: dot(whole[:half], whole[half:]), size),
        (lambda: rows @ vector, size),
    ]


def _best_product(products: Callable[[int], list[Kernel]], timer: _Timer) -> float:
    """Return FLOP/s of the best square product; larger ones while they do not take too long."""
    best = 0.0
    for side in _SIDES:
        kernels = products(side)
        best = max(best, timer.best(kernels))
        if 8 * kernels[0][1] / best > _SLOW:
            break
    return best


def _free_memory() -> int:
    """Return the bytes that a process can have; the machine's where the kernel does not say."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _last_cache() -> int:
    """Return the bytes of the largest cache of a core; 0 where the kernel does not say."""
    found = [0]
    for file in _CACHE_SIZES.glob("index*/size"):
        with suppress(OSError, ValueError):
            number, unit = (text := file.read_text().strip())[:-1], text[-1:]
            found.append(int(number) * {"K": 2**10, "M": 2**20}[unit])
    return max(found)
