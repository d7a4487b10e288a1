"""Our numbers beside the engines' own, in one run on one machine.

    python tools/compare_with_engines.py transformers [--pairs 30]
    python tools/compare_with_engines.py vllm [--pairs 6]
    python tools/compare_with_engines.py vllm --architecture phi-2      # random weights, on a GPU

transformers: one loaded model; our backend and a plain timed ``model.generate`` take turns, so that
both meet the same machine. vllm: processes take turns, ours (a pytest run of one test) and vLLM's own
``bench latency``, with the same engine arguments and the engine core in the same process;
``--separate-core`` leaves the tool its default, a core in a process of its own, and ``--same-engine``
lets the tool and us take turns on one loaded engine, which leaves the way of measuring as the only
difference (but for sampling: the tool draws tokens at temperature 1, we take the likeliest). Prints the
ratio
ours / theirs of e2e with its 95 % interval (Student's t over the pairs' log-ratios). A claim holds
when the interval lies inside it.
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
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_llmperf.backends.base import EngineSpec
from pytest_llmperf.environment import has_accelerator, usable_cores
from pytest_llmperf.gguf import cached_folder, convert
from pytest_llmperf.models import ARCHITECTURES, embedded_gguf
from pytest_llmperf.options import default_cache_dir
from pytest_llmperf.workload import Request, Workload

INPUT_LEN = 32
AGAINST = {
    "transformers": "transformers: a plain synchronized generate",
    "vllm": "vLLM: vllm bench latency",
}
TEST = """
def test_e2e(llm, llm_benchmark):
    llm_benchmark(llm, input_len={input_len}, output_len={output_len}, batch_size={batch_size})
"""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=["transformers", "vllm"])
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--rounds", type=int, default=10, help="rounds a process (vllm)")
    parser.add_argument("--output-len", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the seconds of each call")
    cores = parser.add_mutually_exclusive_group()
    cores.add_argument("--separate-core", action="store_true", help="theirs as by default (vllm)")
    cores.add_argument("--same-engine", action="store_true", help="one engine for both (vllm)")
    parser.add_argument("--architecture", help="a shipped one, with random weights")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    threads = None if has_accelerator() else max(1, usable_cores() - 1)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    model = ARCHITECTURES / options.architecture if options.architecture else embedded_folder()
    spec = EngineSpec(
        options.engine,
        "none",
        str(model),
        threads=threads,
        load_format="dummy" if options.architecture else "auto",
    )
    pairs = transformers_pairs if options.engine == "transformers" else vllm_pairs
    if options.same_engine:
        pairs = one_vllm_pairs
    ours, theirs = pairs(spec, options)
    if options.json:
        data = {"against": AGAINST[options.engine], "ours": ours, "theirs": theirs}
        options.json.write_text(json.dumps(data) + "\n")
    report(options.engine, ours, theirs)


def embedded_folder() -> Path:
    gguf = embedded_gguf()
    if gguf is None:
        sys.exit("the embedded model is not installed")
    folder = cached_folder(gguf, default_cache_dir())
    convert(gguf, folder)
    return folder


def transformers_pairs(
    spec: EngineSpec, options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    import torch

    from pytest_llmperf.backends.transformers import TransformersBackend

    backend = TransformersBackend()
    info = backend.load(spec)
    model, device = backend._model, torch.device(info.device)
    workload = Workload(
        output_len=options.output_len, input_len=INPUT_LEN, batch_size=options.batch_size
    )

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def ours(requests: list[Request]) -> float:
        trace = backend.generate(requests)[0]
        return trace.last - trace.submitted

    def theirs(requests: list[Request]) -> float:
        prompts = [request.prompt_ids for request in requests]
        synchronize()
        start = time.perf_counter()
        ids = torch.tensor(prompts, device=device)
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                eos_token_id=None,
                max_new_tokens=options.output_len,
                pad_token_id=0,
            )
        synchronize()
        seconds = time.perf_counter() - start
        assert output.shape[1] == INPUT_LEN + options.output_len
        return seconds

    def requests(i: int) -> list[Request]:
        return workload.requests(i, backend.encode, info.vocabulary)

    return in_turns(lambda i: ours(requests(i)), lambda i: theirs(requests(i)), options.pairs or 30)


def in_turns(
    ours: Callable[[int], float], theirs: Callable[[int], float], pairs: int
) -> tuple[list[float], list[float]]:
    """Seconds of each call, three pairs of warm-up left out."""
    results: dict[Any, list[float]] = {ours: [], theirs: []}
    for i in range(-3, pairs):
        for call in (ours, theirs) if i % 2 else (theirs, ours):
            results[call].append(call(i))
        print(f"pair {i + 1}: {results[ours][-1]:.4f} s, {results[theirs][-1]:.4f} s", flush=True)
    return results[ours][3:], results[theirs][3:]


def one_vllm_pairs(
    spec: EngineSpec, options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """``vllm bench latency`` itself, one iteration a call, on the engine that we have loaded."""
    from pytest_llmperf.backends.vllm import VllmBackend

    backend = VllmBackend()
    info = backend.load(spec)
    import vllm
    from vllm.benchmarks import latency
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    class Loaded:
        """Stands where the tool makes its engine."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            return backend._llm

        @classmethod
        def from_engine_args(cls, engine_args: Any) -> Any:
            return backend._llm

    vllm.LLM = Loaded
    parser = FlexibleArgumentParser()
    latency.add_cli_args(parser)
    workload = Workload(
        output_len=options.output_len, input_len=INPUT_LEN, batch_size=options.batch_size
    )

    def ours(i: int) -> float:
        traces = backend.generate(workload.requests(i, backend.encode, info.vocabulary))
        return max(t.last for t in traces) - min(t.submitted for t in traces)

    def theirs(i: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "latency.json"
            flags = bench_flags(spec, options, out, warmup=0, rounds=1)
            with Path(os.devnull).open("w") as no, redirect_stdout(no), redirect_stderr(no):
                latency.main(parser.parse_args(flags))
            return float(json.loads(out.read_text())["latencies"][0])

    return in_turns(ours, theirs, options.pairs or 30)


def vllm_pairs(spec: EngineSpec, options: argparse.Namespace) -> tuple[list[float], list[float]]:
    results: dict[Any, list[float]] = {vllm_ours: [], vllm_theirs: []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.pairs or 6):
            for run in (vllm_ours, vllm_theirs) if i % 2 else (vllm_theirs, vllm_ours):
                results[run].append(run(spec, options, Path(folder)))
            print(
                f"pair {i + 1}: {', '.join(f'{r[-1]:.4f} s' for r in results.values())}", flush=True
            )
    return results[vllm_ours], results[vllm_theirs]


def vllm_ours(spec: EngineSpec, options: argparse.Namespace, folder: Path) -> float:
    """Median e2e of one pytest run."""
    test = folder / "test_e2e.py"
    sizes = {"output_len": options.output_len, "batch_size": options.batch_size}
    test.write_text(TEST.format(input_len=INPUT_LEN, **sizes))
    out = folder / "ours.json"
    command = [sys.executable, "-m", "pytest", str(test), "-q", f"--rootdir={folder}"]
    command += ["--llm-backend=vllm", f"--llm-model=m={spec.model}"]
    command += [f"--llm-load-format={spec.load_format}", f"--llm-rounds={options.rounds}"]
    run([*command, f"--benchmark-json={out}"], folder / "ours.log")
    for entry in json.loads(out.read_text())["benchmarks"]:
        metrics = entry["extra_info"]["llmperf"].get("metrics")
        if metrics:
            return float(metrics["e2e"]["p50"])
    raise SystemExit(f"no measurement in {out}")


def vllm_theirs(spec: EngineSpec, options: argparse.Namespace, folder: Path) -> float:
    """Median latency of one ``vllm bench latency``, its own defaults where we set nothing."""
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
    """Flags of ``vllm bench latency``: our engine arguments and sizes."""
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


def run(
    command: list[str], log: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    with log.open("w") as file:
        done = subprocess.run(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            check=False,
        )
    if code := done.returncode:
        print(log.read_text()[-3000:])
        sys.exit(f"{' '.join(command[:4])} ... ended with {code}")


def paired_ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Ours over theirs and its 95 % interval: Student's t over the pairs' log-ratios."""
    from scipy import stats

    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    half = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def report(engine: str, ours: list[float], theirs: list[float]) -> None:
    ratio, low, high = paired_ratio(ours, theirs)
    print(
        f"{engine}: e2e median ours {statistics.median(ours):.4f} s, "
        f"theirs {statistics.median(theirs):.4f} s, "
        f"ratio of medians {statistics.median(ours) / statistics.median(theirs):.4f}\n"
        f"paired ratio {ratio:.4f}, 95 % interval {low:.4f} to {high:.4f} over {len(ours)} pairs"
    )


if __name__ == "__main__":
    main()
