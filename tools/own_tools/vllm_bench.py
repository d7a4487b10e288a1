"""Run vLLM's ``bench latency`` and ``bench throughput`` in a process of their own, on one engine.

    python -m own_tools.vllm_bench '{"sizes": [1, 8], "lengths": [32, 64], "rounds": 10, "flags": [],
        "throughput": true, "out": "theirs.json"}'

The tools' own code measures, with the engine that their flags describe; it is loaded once for all
sizes. Both tools draw tokens at temperature 1. Here they take the likeliest, as this plugin does:
drawing costs time of its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


@contextmanager
def one_engine(llm: Any = None) -> Any:
    """Give the tools one engine, and greedy sampling.

    Args:
        llm: a loaded ``vllm.LLM``; None: the first call of a tool loads it.
    """
    import vllm

    loaded = [llm] if llm is not None else []
    real_llm, real_sampling = vllm.LLM, vllm.SamplingParams

    class Loaded:
        @classmethod
        def from_engine_args(cls, engine_args: Any) -> Any:
            if not loaded:
                # The engine's processes are copies of this one, and use the real class.
                vllm.SamplingParams = real_sampling
                loaded.append(real_llm.from_engine_args(engine_args))
                vllm.SamplingParams = greedy
            return loaded[0]

    def greedy(**options: Any) -> Any:
        return real_sampling(**options | {"temperature": 0.0})

    vllm.LLM, vllm.SamplingParams = Loaded, greedy
    try:
        yield
    finally:
        vllm.LLM, vllm.SamplingParams = real_llm, real_sampling


def latencies(
    flags: list[str], lengths: Sequence[int], batch: int, warmup: int, rounds: int
) -> list[float]:
    """Return the seconds of each iteration of ``vllm bench latency``."""
    from vllm.benchmarks import latency

    sizes = [f"--input-len={lengths[0]}", f"--output-len={lengths[1]}"]
    sizes += [f"--batch-size={batch}", f"--num-iters-warmup={warmup}", f"--num-iters={rounds}"]
    found = _result(latency, [*flags, *sizes])["latencies"]
    return [float(seconds) for seconds in found]


def throughput(flags: list[str], lengths: Sequence[int], batch: int) -> float:
    """Return the seconds in which ``vllm bench throughput`` had the answers to all of its prompts."""
    from vllm.benchmarks import throughput as tool

    # Its --input-len is ignored where the random data set has a length of its own.
    sizes = [f"--random-input-len={lengths[0]}", f"--random-output-len={lengths[1]}"]
    found = _result(tool, [*flags, *sizes, f"--num-prompts={batch}"])
    assert found["total_num_tokens"] == batch * sum(lengths)
    return float(found["elapsed_time"])


def _result(tool: Any, flags: list[str]) -> Any:
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    tool.add_cli_args(parser)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        with Path(os.devnull).open("w") as no, redirect_stdout(no), redirect_stderr(no):
            tool.main(parser.parse_args([*flags, f"--output-json={out}"]))
        return json.loads(out.read_text())


def main() -> None:
    asked = json.loads(sys.argv[1])
    rounds, flags, lengths = asked["rounds"], asked["flags"], asked["lengths"]
    results: dict[str, dict[str, list[float]]] = {"e2e": {}, "throughput": {}}
    _rename_the_cpu_package()
    with one_engine():
        for batch in asked["sizes"]:
            results["e2e"][batch] = latencies(flags, lengths, batch, 2, rounds)
            if asked["throughput"]:
                runs = [throughput(flags, lengths, batch) for _ in range(2 + rounds)]
                results["throughput"][batch] = runs[2:]
            Path(asked["out"]).write_text(json.dumps(results))


def _rename_the_cpu_package() -> None:
    """Let vLLM's parser find the version of its CPU package, which is not called vllm."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        try:
            return real(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{real(f'{name}-cpu')}+cpu"

    importlib.metadata.version = version


if __name__ == "__main__":
    main()
