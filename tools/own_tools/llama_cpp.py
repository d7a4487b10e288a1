"""llama.cpp: ``llama-bench``, in processes in turns: prompt processing, then generation after it.

The binary has to be of the same llama.cpp, built with the same instructions: xllamacpp's source
distribution holds the sources of its wheel, and the wheel is built with GGML_NATIVE=OFF.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytest_llmperf.backends.base import EngineSpec

from .turns import INPUT_LEN, Results, our_run


def pairs(spec: EngineSpec, options: argparse.Namespace) -> Results:
    if options.llama_bench is None:
        sys.exit("llama-cpp: give the binary with --llama-bench=PATH")
    prompt: tuple[list[float], list[float]] = [], []
    token: tuple[list[float], list[float]] = [], []
    with tempfile.TemporaryDirectory() as name:

        def ours() -> None:
            sizes = (options.output_len, options.batch_size, options.rounds)
            metrics = our_run(spec, Path(name), *sizes)
            prompt[0].append(metrics["ttft"]["p50"])
            token[0].append(metrics["tpot"]["p50"])

        def theirs() -> None:
            one, other = bench(spec, options)
            prompt[1].append(one)
            token[1].append(other)

        for i in range(options.pairs or 8):
            for call in (ours, theirs) if i % 2 else (theirs, ours):
                call()
            print(
                f"pair {i + 1}: prompt {prompt[0][-1]:.4f} s, {prompt[1][-1]:.4f} s; "
                f"a token {token[0][-1] * 1e3:.3f} ms, {token[1][-1] * 1e3:.3f} ms",
                flush=True,
            )
    return {"prompt (ttft)": prompt, "a token (tpot)": token}


def bench(spec: EngineSpec, options: argparse.Namespace) -> tuple[float, float]:
    """Median seconds of a prompt, and of a token that is generated after it."""
    command = [str(options.llama_bench), "-m", spec.model, "-o", "json"]
    command += ["-t", str(spec.threads), "-r", str(options.rounds), "-ngl", "0"]

    def measured(*sizes: str) -> Any:
        done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
        (test,) = json.loads(done.stdout)
        return statistics.median(test["samples_ns"]) / 1e9

    one = measured("-p", str(INPUT_LEN), "-n", "0")
    # The first token belongs to the prompt.
    tokens = options.output_len - 1
    return one, measured("-p", "0", "-n", str(tokens), "-d", str(INPUT_LEN)) / tokens
