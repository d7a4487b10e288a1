"""A small fixed reference work, run beside a measurement: if it slows down, the machine slowed down.

It measures the machine, not the engine. It runs outside the window of peak memory and frees everything
that it allocates: mapped pages and device memory, so the engine's allocator sees neither afterwards.
"""

from __future__ import annotations

import hashlib
import mmap
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from ..core.units import MIB

_HASHED, _COPIED = 16 * MIB, 64 * MIB
_CPU_REPEATS = 5
# A small number of products: 40 products per repeat push an H100 to its power limit, which affects the
# times and the state that the driver reports right after; with 4 the times agree within 1 %.
_SIDE, _PRODUCTS = 4096, 4
_DEVICE_COPIED, _COPIES = 256 * MIB, 10
_DEVICE_REPEATS, _DEVICE_UNTIMED = 10, 3
_DEVICE_NEED = 2 * 1024 * MIB
"""Free memory required: a few times the amount used, so that no other process runs short."""


def run(device: str) -> dict[str, float]:
    """Return seconds: ``compute_s`` of one computation, ``copy_s`` of one copy of memory.

    On a GPU that torch uses in this process: a 4096 x 4096 bfloat16 matrix product, and a
    device-to-device copy of 256 MiB. Elsewhere: SHA-256 of 16 MiB, and a copy of 64 MiB. Empty for
    the simulated engine, which no machine slows down, and for a GPU without enough free memory.

    Args:
        device: the engine's device, as in ``EngineInfo.device``.
    """
    if device == "simulated":
        return {}
    torch = sys.modules.get("torch")
    # A process that only controls engine processes has no CUDA context; one created here would stay.
    if device.startswith("cuda") and torch is not None and torch.cuda.is_initialized():
        return _on_gpu(torch, device)
    return _on_cpu()


def joined(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, list[float]]:
    """Return ``[before, after]`` by key; empty unless both runs have results."""
    return {key: [before[key], after[key]] for key in before if key in after}


def _on_cpu() -> dict[str, float]:
    # Mapped, not allocated: freeing a large block changes malloc's behavior for the engine afterwards.
    with _mapped(_HASHED) as text:
        compute = _median_of(lambda: hashlib.sha256(text).digest(), 1, _CPU_REPEATS)
    with _mapped(_COPIED) as source, _mapped(_COPIED) as target:

        def copy() -> None:
            with memoryview(source) as view:
                target[:] = view

        return {"compute_s": compute, "copy_s": _median_of(copy, 1, _CPU_REPEATS)}


def _mapped(size: int) -> mmap.mmap:
    """Return anonymous memory with all of its pages present."""
    memory = mmap.mmap(-1, size)
    block = bytes(range(256)) * 256
    for _ in range(size // len(block)):
        memory.write(block)
    return memory


def _on_gpu(torch: Any, device: str) -> dict[str, float]:
    where = torch.device(device)
    # Memory that torch has reserved but does not use counts as free here.
    torch.cuda.empty_cache()
    try:
        if torch.cuda.mem_get_info(where)[0] < _DEVICE_NEED:
            return {}
        return _timed_on_gpu(torch, where)
    except RuntimeError:  # Out of memory, or a type that the GPU lacks.
        return {}
    finally:
        torch.cuda.empty_cache()


def _timed_on_gpu(torch: Any, where: Any) -> dict[str, float]:
    with torch.inference_mode():
        # Random numbers, because zeros draw less power; from a generator that is used only here.
        matrix = torch.randn(
            (_SIDE, _SIDE),
            generator=torch.Generator(where).manual_seed(0),
            dtype=torch.bfloat16,
            device=where,
        )
        product = torch.empty_like(matrix)
        source = torch.zeros(_DEVICE_COPIED, dtype=torch.uint8, device=where)
        target = torch.empty_like(source)

        def compute() -> None:
            for _ in range(_PRODUCTS):
                torch.mm(matrix, matrix, out=product)
            torch.cuda.synchronize(where)

        def copy() -> None:
            for _ in range(_COPIES):
                target.copy_(source)
            torch.cuda.synchronize(where)

        return {
            "compute_s": _median_of(compute, _DEVICE_UNTIMED, _DEVICE_REPEATS) / _PRODUCTS,
            "copy_s": _median_of(copy, _DEVICE_UNTIMED, _DEVICE_REPEATS) / _COPIES,
        }


def _median_of(work: Callable[[], object], untimed: int, timed: int) -> float:
    for _ in range(untimed):
        work()
    seconds = []
    for _ in range(timed):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)
