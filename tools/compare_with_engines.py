"""Our numbers beside the engines' own, in one run on one machine.

    python tools/compare_with_engines.py transformers [--pairs 30]
    python tools/compare_with_engines.py vllm [--pairs 6]

transformers: one loaded model; our backend and a plain timed ``model.generate`` take turns, so that
both meet the same machine. vllm: processes take turns, ours (a pytest run of one test) and vLLM's own
``bench latency``, with the same engine arguments. Prints the ratio ours / theirs of e2e with its 95 %
interval (Student's t over the pairs' log-ratios). A claim holds when the interval lies inside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_llmperf.environment import has_accelerator, usable_cores
from pytest_llmperf.gguf import cached_folder, convert
from pytest_llmperf.models import embedded_gguf
from pytest_llmperf.options import default_cache_dir

INPUT_LEN = 32
TEST = """
def test_e2e(llm, llm_benchmark):
    llm_benchmark(llm, input_len={input_len}, output_len={output_len}, batch_size={batch_size})
"""
# vLLM's CPU package is not called vllm, and its command asks for the version of "vllm".
BENCH = """
import importlib.metadata as m, sys
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["transformers", "vllm"])
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--rounds", type=int, default=10, help="rounds a process (vllm)")
    parser.add_argument("--output-len", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=max(1, usable_cores() - 1))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    model = embedded_folder()
    if options.engine == "transformers":
        ours, theirs = transformers_pairs(model, options)
    else:
        ours, theirs = vllm_pairs(model, options)
    report(options.engine, ours, theirs)


def embedded_folder() -> Path:
    gguf = embedded_gguf()
    if gguf is None:
        sys.exit("the embedded model is not installed")
    folder = cached_folder(gguf, default_cache_dir())
    convert(gguf, folder)
    return folder


def transformers_pairs(model: Path, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    import torch

    from pytest_llmperf.backends.base import EngineSpec
    from pytest_llmperf.backends.transformers import TransformersBackend
    from pytest_llmperf.workload import Workload

    backend = TransformersBackend()
    spec = EngineSpec("transformers", "none", str(model), threads=options.threads)
    info = backend.load(spec)
    pairs = options.pairs or 30
    workload = Workload(
        output_len=options.output_len, input_len=INPUT_LEN, batch_size=options.batch_size
    )
    ours: list[float] = []
    theirs: list[float] = []

    def run_ours(requests) -> None:  # type: ignore[no-untyped-def]
        trace = backend.generate(requests)[0]
        ours.append(trace.last - trace.submitted)

    def run_theirs(requests) -> None:  # type: ignore[no-untyped-def]
        ids = torch.tensor([request.prompt_ids for request in requests])
        start = time.perf_counter()
        with torch.inference_mode():
            output = backend._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=options.output_len,
                max_new_tokens=options.output_len,
                pad_token_id=0,
            )
        theirs.append(time.perf_counter() - start)
        assert output.shape[1] == INPUT_LEN + options.output_len

    for i in range(-3, pairs):
        requests = workload.requests(i, backend.encode, info.vocabulary)
        order = (run_ours, run_theirs) if i % 2 else (run_theirs, run_ours)
        for run in order:
            run(requests)
        print(f"pair {i + 1}: ours {ours[-1]:.4f} s, theirs {theirs[-1]:.4f} s", flush=True)
    return ours[3:], theirs[3:]


def vllm_pairs(model: Path, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.pairs or 6):
            first, second = (vllm_ours, vllm_theirs) if i % 2 else (vllm_theirs, vllm_ours)
            values = {f.__name__: f(model, options, Path(folder)) for f in (first, second)}
            ours.append(values["vllm_ours"])
            theirs.append(values["vllm_theirs"])
            print(f"pair {i + 1}: ours {ours[-1]:.4f} s, theirs {theirs[-1]:.4f} s", flush=True)
    return ours, theirs


def vllm_arguments(model: Path) -> dict[str, object]:
    from pytest_llmperf.backends.vllm import _cpu_bounds

    bounds = _cpu_bounds(model) if not has_accelerator() else {"max_model_len": 2048}
    return {"dtype": "bfloat16", "enforce_eager": not has_accelerator(), **bounds}


def vllm_ours(model: Path, options: argparse.Namespace, folder: Path) -> float:
    """Median e2e of one pytest run."""
    test = folder / "test_e2e.py"
    test.write_text(
        TEST.format(
            input_len=INPUT_LEN, output_len=options.output_len, batch_size=options.batch_size
        )
    )
    out = folder / "ours.json"
    run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(test),
            "-q",
            f"--rootdir={folder}",
            "--llm-backend=vllm",
            f"--llm-model=m={model}",
            f"--llm-threads={options.threads}",
            f"--llm-rounds={options.rounds}",
            f"--benchmark-json={out}",
        ],
        folder / "ours.log",
    )
    for entry in json.loads(out.read_text())["benchmarks"]:
        metrics = entry["extra_info"]["llmperf"].get("metrics")
        if metrics:
            return float(metrics["e2e"]["p50"])
    raise SystemExit(f"no measurement in {out}")


def vllm_theirs(model: Path, options: argparse.Namespace, folder: Path) -> float:
    """Median latency of one ``vllm bench latency`` with its own defaults otherwise."""
    script = folder / "bench.py"
    script.write_text(BENCH)
    out = folder / "theirs.json"
    arguments = vllm_arguments(model)
    flags = ["--no-enable-prefix-caching", f"--dtype={arguments['dtype']}"]
    flags.append(f"--max-model-len={arguments['max_model_len']}")
    if arguments["enforce_eager"]:
        flags.append("--enforce-eager")
    if "kv_cache_memory_bytes" in arguments:
        flags.append(f"--kv-cache-memory-bytes={arguments['kv_cache_memory_bytes']}")
    run(
        [
            sys.executable,
            str(script),
            "bench",
            "latency",
            f"--model={model}",
            f"--input-len={INPUT_LEN}",
            f"--output-len={options.output_len}",
            f"--batch-size={options.batch_size}",
            "--num-iters-warmup=2",
            f"--num-iters={options.rounds}",
            f"--output-json={out}",
            *flags,
        ],
        folder / "theirs.log",
    )
    return float(statistics.median(json.loads(out.read_text())["latencies"]))


def run(command: list[str], log: Path) -> None:
    with log.open("w") as file:
        code = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        print(log.read_text()[-3000:])
        sys.exit(f"{command[0]} ended with {code}")


def report(engine: str, ours: list[float], theirs: list[float]) -> None:
    from scipy import stats

    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    print(
        f"{engine}: e2e median ours {statistics.median(ours):.4f} s, "
        f"theirs {statistics.median(theirs):.4f} s, "
        f"ratio of medians {statistics.median(ours) / statistics.median(theirs):.4f}\n"
        f"paired ratio {math.exp(mean):.4f}, 95 % interval {math.exp(mean - half):.4f} to "
        f"{math.exp(mean + half):.4f} over {len(logs)} pairs"
    )


if __name__ == "__main__":
    main()
