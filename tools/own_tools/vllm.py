"""vLLM: ``bench latency`` and ``bench throughput``, in separate processes or on our loaded engine."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.machine.host import has_accelerator

from . import vllm_bench
from .turns import INPUT_LEN, Results, in_turns, our_round, our_run, run, workload_of


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    return (on_one_engine if options.same_engine else in_processes)(spec, options)


def on_one_engine(spec: EngineSpec, options: argparse.Namespace) -> Results:
    """Run ``vllm bench latency``, one iteration per call, in turns on the engine that we have loaded."""
    from pytest_llmperf.backends.vllm import VllmBackend

    backend = VllmBackend()
    info = backend.load(spec)
    flags, lengths = bench_flags(spec, options), (INPUT_LEN, options.output_len)
    results = {}
    with vllm_bench.one_engine(backend._llm):
        for batch in options.batch_size:
            workload = workload_of(options, batch)
            results[f"e2e of {batch}"] = in_turns(
                lambda i, workload=workload: our_round(backend, info.vocabulary, workload, i),
                lambda i, batch=batch: vllm_bench.latencies(flags, lengths, batch, 0, 1)[0],
                options.pairs or 30,
            )
    backend.close()
    return results


def in_processes(spec: EngineSpec, options: argparse.Namespace) -> Results:
    """Run processes in turns: a pytest run, and the tools; each measures all batch sizes."""
    ours: Series = defaultdict(list)
    theirs: Series = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i in range(options.pairs or 6):
            sides = [(ours, our_medians), (theirs, their_medians)]
            for series, measure in sides if i % 2 else sides[::-1]:
                for what, seconds in measure(spec, options, folder).items():
                    series[what].append(seconds)
            for what, values in theirs.items():
                print(
                    f"pair {i + 1}: {what}: {ours[what][-1]:.4f} s, {values[-1]:.4f} s", flush=True
                )
    return {what: (ours[what], values) for what, values in theirs.items()}


Series = dict[str, list[float]]


def our_medians(spec: EngineSpec, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the median seconds of a batch by measurement: the plugin has one for both tools."""
    found = our_run(spec, folder, options.output_len, options.batch_size, options.rounds)
    seconds = {batch: float(metrics["e2e"]["p50"]) for batch, metrics in found.items()}
    return {f"{what} of {batch}": s for what in WHAT for batch, s in seconds.items()}


def their_medians(spec: EngineSpec, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return the median seconds of a batch by measurement; what we do not set is the tools' default."""
    out = folder / "theirs.json"
    asked = {
        "sizes": options.batch_size,
        "rounds": options.rounds,
        "lengths": [INPUT_LEN, options.output_len],
        "flags": bench_flags(spec, options),
        "throughput": bool(options.tokenizer) or not spec.random_weights,
        "out": str(out),
    }
    command = [sys.executable, "-m", "own_tools.vllm_bench", json.dumps(asked)]
    tools = str(Path(__file__).parents[1])
    run(command, folder / "theirs.log", folder=tools)
    return {
        f"{what} of {batch}": statistics.median(seconds)
        for what, sizes in json.loads(out.read_text()).items()
        for batch, seconds in sizes.items()
    }


WHAT = ("e2e", "throughput")


def bench_flags(spec: EngineSpec, options: argparse.Namespace) -> list[str]:
    """Return the flags of both tools: our engine arguments."""
    from pytest_llmperf.backends.vllm import VllmBackend

    arguments = VllmBackend()._options(spec, on_cpu=not has_accelerator())
    if options.tokenizer:
        arguments |= {"tokenizer": options.tokenizer, "skip_tokenizer_init": False}
    flags = []
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            flags.append(f"--{name}={value}")
    return flags
