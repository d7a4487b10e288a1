"""Compare this plugin's numbers with those of the engines' own tools, in one run on one machine.

    python tools/compare_with_engines.py transformers [--pairs 30]
    python tools/compare_with_engines.py vllm [--pairs 6]
    python tools/compare_with_engines.py ctranslate2 [--pairs 30]
    python tools/compare_with_engines.py llama-cpp --llama-bench=PATH [--pairs 40]
    python tools/compare_with_engines.py vllm --architecture phi-2      # random weights, on a GPU

transformers, ctranslate2: one loaded model; our backend and a plain timed call of the engine take
turns, so that both run on the machine in the same state. vllm: processes take turns, ours (a pytest run)
and one of vLLM's ``bench latency`` and ``bench throughput``, with the same engine arguments and for the
rest their defaults; ``--same-engine`` lets ``bench latency`` and us take turns on one loaded engine, so
that the method of measuring is the only difference. With VLLM_ENABLE_V1_MULTIPROCESSING=0 both sides run
the engine's core in their own process. llama-cpp, llama-cpp-python: our loaded engine and a process of
``llama-bench``, which does not sample, take turns. Prints the ratio ours / theirs with its 95 % interval
(Student's t over the pairs' log-ratios). A claim holds if the interval is within it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
from pathlib import Path

from own_tools.turns import paired_ratio

from pytest_llmperf.backends.conversion import cached_folder, convert
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.models import ARCHITECTURES, embedded_gguf
from pytest_llmperf.machine.host import has_accelerator, usable_cores
from pytest_llmperf.session.options import default_cache_dir

AGAINST = {
    "transformers": "transformers: a plain synchronized generate",
    "vllm": "vLLM: vllm bench latency",
    "ctranslate2": "CTranslate2: a plain generate_batch",
    "llama-cpp": "llama.cpp: llama-bench",
    "llama-cpp-python": "llama.cpp: llama-bench",
}
MODULES = {"llama-cpp": "llama_cpp", "llama-cpp-python": "llama_cpp"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=list(AGAINST))
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--rounds", type=int, default=10, help="rounds per process (vllm)")
    parser.add_argument("--output-len", type=int, default=32)
    parser.add_argument(
        "--batch-size", type=sizes, default=[1], metavar="N[,N]", help="not for llama-cpp"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the seconds of each pair")
    parser.add_argument("--same-engine", action="store_true", help="one engine for both (vllm)")
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", help="of random weights, for throughput (vllm)"
    )
    parser.add_argument("--architecture", help="a shipped one, with random weights")
    parser.add_argument("--llama-bench", type=Path, metavar="PATH", help="the binary (llama-cpp)")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    threads = None if has_accelerator() else max(1, usable_cores() - 1)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    spec = EngineSpec(
        options.engine,
        "none",
        str(ARCHITECTURES / options.architecture if options.architecture else embedded(options)),
        threads=threads,
        load_format="dummy" if options.architecture else "auto",
    )
    module = importlib.import_module(f"own_tools.{MODULES.get(options.engine, options.engine)}")
    results = module.pairs(spec, options)
    if options.json:
        data = {
            "against": AGAINST[options.engine],
            "ours": {what: ours for what, (ours, _) in results.items()},
            "theirs": {what: theirs for what, (_, theirs) in results.items()},
        }
        options.json.write_text(json.dumps(data) + "\n")
    for what, (ours, theirs) in results.items():
        report(f"{options.engine}: {what}", ours, theirs)


def sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def embedded(options: argparse.Namespace) -> Path:
    """Return the embedded model, in the form that the engine reads."""
    gguf = embedded_gguf()
    if gguf is None:
        sys.exit("the embedded model is not installed")
    if options.engine in MODULES:
        return gguf
    folder = cached_folder(gguf, default_cache_dir())
    convert(gguf, folder)
    return folder


def report(what: str, ours: list[float], theirs: list[float]) -> None:
    ratio, low, high = paired_ratio(ours, theirs)
    print(
        f"{what} median ours {statistics.median(ours):.4f} s, "
        f"theirs {statistics.median(theirs):.4f} s, "
        f"ratio of medians {statistics.median(ours) / statistics.median(theirs):.4f}, "
        f"of the fastest {min(ours) / min(theirs):.4f}\n"
        f"paired ratio {ratio:.4f}, 95 % interval {low:.4f} to {high:.4f} over {len(ours)} pairs"
    )


if __name__ == "__main__":
    main()
