"""vLLM: ``vllm bench latency``, in separate processes or on the engine that we have loaded."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.machine.host import has_accelerator

from .turns import INPUT_LEN, Results, in_turns, our_round, our_run, run, workload_of

# vLLM's CPU package is not called vllm, and its command asks for the version of "vllm".
BENCH = """
import importlib.metadata as m
real = m.version
def version(name):
    try:
        return real(name)
    except m.PackageNotFoundError:
        return real(name + "-cpu") + "+cpu"
m.version = version
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    return (on_one_engine if options.same_engine else in_processes)(spec, options)


def on_one_engine(spec: EngineSpec, options: argparse.Namespace) -> Results:
    """Run ``vllm bench latency``, one iteration per call, in turns on the engine that we have loaded."""
    from pytest_llmperf.backends.vllm import VllmBackend

    backend = VllmBackend()
    info = backend.load(spec)
    import vllm
    from vllm.benchmarks import latency
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Loaded:
        """Gives the tool the loaded engine instead of a new one."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return backend._llm

        @classmethod
        def from_engine_args(cls, engine_args: Any) -> Any:
            return backend._llm

    vllm.LLM = Loaded
    parser = FlexibleArgumentParser()
    latency.add_cli_args(parser)
    workload = workload_of(options)

    def ours(i: int) -> float:
        return our_round(backend, info.vocabulary, workload, i)

    def theirs(i: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "latency.json"
            flags = bench_flags(spec, options, out, warmup=0, rounds=1)
            with Path(os.devnull).open("w") as no, redirect_stdout(no), redirect_stderr(no):
                latency.main(parser.parse_args(flags))
            return float(json.loads(out.read_text())["latencies"][0])

    return {"e2e": in_turns(ours, theirs, options.pairs or 30)}


def in_processes(spec: EngineSpec, options: argparse.Namespace) -> Results:
    """Run processes in turns: a pytest run of one test, and the tool."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ours(i: int) -> float:
            sizes = (options.output_len, options.batch_size, options.rounds)
            return float(our_run(spec, folder, *sizes)["e2e"]["p50"])

        def theirs(i: int) -> float:
            return bench_latency(spec, options, folder)

        return {"e2e": in_turns(ours, theirs, options.pairs or 6, warmup=0)}


def bench_latency(spec: EngineSpec, options: argparse.Namespace, folder: Path) -> float:
    """Return the median latency of one ``vllm bench latency``; what we do not set is its default."""
    script = folder / "bench.py"
    script.write_text(BENCH)
    out = folder / "theirs.json"
    flags = bench_flags(spec, options, out, warmup=2, rounds=options.rounds)
    core = {} if options.separate_core else {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    run([sys.executable, str(script), "bench", "latency", *flags], folder / "theirs.log", core)
    return float(statistics.median(json.loads(out.read_text())["latencies"]))


def bench_flags(
    spec: EngineSpec, options: argparse.Namespace, out: Path, warmup: int, rounds: int
) -> list[str]:
    """Return the flags of ``vllm bench latency``: our engine arguments and sizes."""
    from pytest_llmperf.backends.vllm import VllmBackend

    arguments = VllmBackend()._options(spec, on_cpu=not has_accelerator())
    flags = []
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            flags.append(f"--{name}={value}")
    flags += [f"--input-len={INPUT_LEN}", f"--output-len={options.output_len}"]
    flags += [f"--batch-size={options.batch_size}", f"--num-iters-warmup={warmup}"]
    return [*flags, f"--num-iters={rounds}", f"--output-json={out}"]
