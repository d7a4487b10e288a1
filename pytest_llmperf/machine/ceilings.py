"""A device's ceilings: its highest rates of reading memory and of multiplying matrices.

The measurement runs in a separate process before an engine loads. It uses torch, and numpy on a CPU, as
far as they are installed: the best of both counts. A ceiling is the fastest of many runs: several
kernels, each repeated. A busy neighbor slows down some of the repeats, not all of them.
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
from ..metrics.ceilings import PROGRAMMED, Ceilings, best_of

_SMALLEST, _LARGEST = 32 * MIB, 512 * MIB
"""Sizes of buffers: smaller ones fit in a private cache; the largest exceeds most shared caches."""
_ON_GPU = 1024 * MIB
"""Size of the largest buffer on a GPU: the launch time of a kernel is negligible at this size."""
_CACHE_SIZES = Path("/sys/devices/system/cpu/cpu0/cache")
_SHARE = 4
"""A buffer takes at most 1/4 of the free memory."""
_WIDTH = 4096
_SIDES = (512, 1024, 2048, 4096, 8192)
_FLAT = 8
"""A flat product has 1/8 of the rows of a square one: a few tokens times a layer's weights."""
_SECONDS, _REPEATS = 0.05, 3
"""Minimum seconds and minimum number of repeats of a kernel."""
_IN_A_ROW = 10
"""Runs between two clock readings on a GPU, which launches a run while the previous one computes."""
_SLOW = 0.1
"""Maximum seconds for the next larger product, which has eight times the work."""
_TYPES = ("bfloat16", "float16", "float32")
_SIMULATED = Ceilings(
    read=((1, 100e9),), matmul=dict.fromkeys(_TYPES, 1e12), threads=None, method=PROGRAMMED
)
"""The simulated device: 100 GB/s, 1 TFLOP/s."""

Kernel = tuple[Callable[[], object], float]
"""A function to run, and the bytes or operations of one run."""


@dataclass(frozen=True)
class _Timer:
    """Times kernels on a device; the default is for a device that computes synchronously."""

    wait: Callable[[], object] = lambda: None
    """Returns when the device has finished its work."""
    in_a_row: int = 1
    """Runs between two clock readings."""

    def best(self, kernels: Sequence[Kernel]) -> float:
        """Return bytes or operations per second of the fastest run of the fastest kernel."""
        return max(amount / self._fastest(run) for run, amount in kernels)

    def _fastest(self, run: Callable[[], object]) -> float:
        """Return the seconds of the fastest run, after one run that is not counted."""
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
    """Return the ceilings of a device, or None if no library can measure them.

    Args:
        device: the device, as in ``EngineInfo.device``.
        threads: the engine's threads on a CPU; None leaves the choice to the library.
    """
    if device == "simulated":
        return _SIMULATED
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        if threads:
            os.environ[name] = str(threads)
    measured: Ceilings | None = None
    if device == "cpu":
        with suppress(ImportError):
            measured = _with_numpy(threads)
    with suppress(ImportError):
        if by_torch := _with_torch(device, threads):
            # Libraries differ: the one that is best at a type says what the machine can do.
            measured = best_of(measured, by_torch)
    return measured


def buffer_sizes(free: int, cache: int) -> list[int]:
    """Return the bytes of each buffer to read, smallest first, doubling until one fills the cache.

    Args:
        free: bytes of free memory.
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
            # Half is read and half is written, so the traffic is the same.
            kernels.append((partial(target[: size // 8].copy_, source[: size // 8]), size))
            read.append((size, timer.best(kernels)))
        del source, target, kernels
        matmul = {}
        for name in _TYPES:
            # The device may lack this type, or the memory for it.
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
        # Random numbers, like weights: a GPU needs less power to multiply zeros, so it would be faster.
        a = torch.randn((side, side), device=where).to(dtype)
        b = torch.randn((side, side), device=where).to(dtype)
        return _products(a, b)

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
        return _products(a, b)

    # numpy has no fast 16-bit product.
    matmul = {"float32": _best_product(products, _Timer())}
    return Ceilings(tuple(read), matmul, threads, f"numpy {numpy.__version__}")


def _products(a: Any, b: Any) -> list[Kernel]:
    """Return square products of two square matrices, then flat ones, for torch and numpy."""
    side = len(a)
    few = a[: side // _FLAT]
    square, flat = 2.0 * side**3, 2.0 * side**2 * len(few)
    return [
        (lambda: a @ b, square),
        (lambda: a @ b.T, square),
        (lambda: few @ b, flat),
        (lambda: few @ b.T, flat),
    ]


def _reads(whole: Any, vector: Any, size: int, dot: Any) -> list[Kernel]:
    """Return kernels that read a float32 buffer once, for torch and numpy."""
    half = len(whole) // 2
    rows = whole.reshape(-1, _WIDTH)
    return [
        (lambda: whole.sum(), size),
        (lambda: dot(whole[:half], whole[half:]), size),
        (lambda: rows @ vector, size),
    ]


def _best_product(products: Callable[[int], list[Kernel]], timer: _Timer) -> float:
    """Return the FLOP/s of the best product; larger ones run while the square one stays quick."""
    best = 0.0
    for side in _SIDES:
        kernels = products(side)
        best = max(best, timer.best(kernels))
        if 8 * kernels[0][1] / best > _SLOW:
            break
    return best


def _free_memory() -> int:
    """Return the bytes available to a process; all memory if the kernel does not report them."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _last_cache() -> int:
    """Return the bytes of the largest cache of a core; 0 if the kernel does not report it."""
    sizes = [0]
    for file in _CACHE_SIZES.glob("index*/size"):
        with suppress(OSError, ValueError):
            number, unit = (text := file.read_text().strip())[:-1], text[-1:]
            sizes.append(int(number) * {"K": 2**10, "M": 2**20}[unit])
    return max(sizes)
