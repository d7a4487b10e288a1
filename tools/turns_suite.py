"""The tests of tools/turns_benchmark.py: rounds of an engine alone, and beside one that rests."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from pytest_llmperf.machine.proc import process

READY = "LLMPERF_RESTS_AT"
"""Environment variable of the neighbor: the file that it makes when its engine is loaded."""


RESTED = "cores used by the resting neighbor: "


@pytest.mark.parametrize("neighbor", ["none-before", "rests", "none-after"])
def test_rounds(llm, llm_benchmark, neighbor, request, tmp_path):
    llm.check_output()
    beside = resting(request.config, tmp_path) if neighbor == "rests" else nullcontext()
    with beside:
        llm_benchmark(llm, input_len=16, output_len=8)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_sides(llm, llm_benchmark, batch_size):
    llm_benchmark(llm, input_len=16, output_len=8, batch_size=batch_size)


@pytest.mark.skipif(READY not in os.environ, reason="this is the neighbor")
def test_rest(llm):
    llm.generate_ids([1, 2], 2)
    Path(os.environ[READY]).touch()
    sys.stdin.read()


@contextmanager
def resting(config: pytest.Config, folder: Path) -> Iterator[None]:
    """Load the same engine in another process, where it does nothing until the block ends."""
    ready = folder / "ready"
    options = [one for one in config.invocation_params.args if not one.startswith("--benchmark")]
    options = [one for one in options if Path(one.partition("::")[0]).suffix != ".py"]
    neighbor = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-q", f"{__file__}::test_rest", *options],
        env={**os.environ, READY: str(ready)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not ready.exists():
            assert neighbor.poll() is None, "the neighbor did not load"
            time.sleep(0.2)
        begin, before = time.monotonic(), cpu_seconds(neighbor.pid)
        yield
        share = (cpu_seconds(neighbor.pid) - before) / (time.monotonic() - begin)
        print(f"{RESTED}{share:.6f}")
    finally:
        neighbor.communicate(b"")


def cpu_seconds(parent: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    found = {int(path.name): process(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    family, size = {parent}, 0
    while len(family) > size:
        size = len(family)
        family |= {pid for pid, one in found.items() if one and one.parent in family}
    ticks = sum(one.ticks for pid, one in found.items() if one and pid in family)
    return ticks / os.sysconf("SC_CLK_TCK")
