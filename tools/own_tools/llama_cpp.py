"""llama.cpp: ``llama-bench`` in turns with a server that we have loaded: a prompt, and tokens after it.

The binary has to be of the same llama.cpp, built by the same compiler for the same instructions;
otherwise the comparison is between builds. xllamacpp's source distribution has the sources of both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

from pytest_llmperf.backends import backend_class
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.workload import Workload

from .turns import INPUT_LEN, Results


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    if options.llama_bench is None:
        sys.exit(f"{spec.backend}: give the binary with --llama-bench=PATH")
    backend = backend_class(spec.backend)()
    info = backend.load(spec)
    workload = Workload(output_len=options.output_len, input_len=INPUT_LEN)
    prompt: tuple[list[float], list[float]] = [], []
    token: tuple[list[float], list[float]] = [], []

    def ours(i: int) -> tuple[float, float]:
        (trace,) = backend.generate(workload.requests(i, backend.encode, info.vocabulary))
        # A chunk may hold several tokens; the first one holds one.
        following = (trace.last - trace.first) / (options.output_len - 1)
        return trace.first - trace.submitted, following

    for i in range(-3, options.pairs or 40):
        both = (ours(i), bench(spec, options)) if i % 2 else (bench(spec, options), ours(i))[::-1]
        print(
            f"pair {i + 1}: prompt {both[0][0]:.4f} s, {both[1][0]:.4f} s; "
            f"a token {both[0][1] * 1e3:.3f} ms, {both[1][1] * 1e3:.3f} ms",
            flush=True,
        )
        if i >= 0:
            for side in (0, 1):
                prompt[side].append(both[side][0])
                token[side].append(both[side][1])
    backend.close()
    return {"prompt (ttft)": prompt, "a token (tpot)": token}


def bench(spec: EngineSpec, options: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of a prompt, and of a token that is generated after it."""
    # The first token belongs to the prompt.
    tokens = options.output_len - 1
    command = [str(options.llama_bench), "-m", spec.model, "-o", "json", "-ngl", "0"]
    command += ["-t", str(spec.threads), "-r", "1"]
    found = []
    for sizes in (
        ["-p", str(INPUT_LEN), "-n", "0"],
        ["-p", "0", "-n", str(tokens), "-d", str(INPUT_LEN)],
    ):
        done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
        (test,) = json.loads(done.stdout)
        found.append(statistics.median(test["samples_ns"]) / 1e9)
    return found[0], found[1] / tokens
