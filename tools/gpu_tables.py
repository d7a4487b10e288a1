"""Write the tables of docs/results/ from the stored runs in docs/data/.

    python tools/gpu_tables.py
    python tools/gpu_tables.py keep NAME RUN.json      # add a stored run to docs/data/

The stored runs are pytest-benchmark files as the suite wrote them, their primary entries only and
without the samples of itl (one per token).
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from compare_with_engines import paired_ratio
from gate_benchmark import load, variation
from tabulate import tabulate

from pytest_llmperf.analysis.fit import MeasuredCell, need_of
from pytest_llmperf.core.architecture import Architecture

DOCS = Path(__file__).resolve().parent.parent / "docs"
T4_MIB = 15_360
CARD_MIB = 16 * 1024
# The article's figures, on the GPU that it used: latency in s, tokens/s, and which tokens it counted.
ARTICLE = {
    "transformers": (2.74, 32, "with the prompt"),
    "vllm": (1.22, 63, "output only"),
}


def main() -> None:
    if sys.argv[1:2] == ["keep"]:
        keep(sys.argv[2], Path(sys.argv[3]))
        return
    latency = records("h100-phi-2-latency") + records("h100-mistral-7b-latency")
    throughput = records("h100-phi-2-throughput")
    two_gpus = [
        record
        for name in ("transformers-1", "transformers-2", "vllm-1", "vllm-2")
        for record in records(f"h200-mistral-7b-{name}")
    ]
    efficient = records("h200-phi-2-efficiency") + records("h200-mistral-7b-efficiency")
    tables = {
        "device": device_line(latency + throughput),
        "article": article(latency),
        "phi-2": modes([r for r in latency if r["model"]["name"] == "phi-2"]),
        "mistral-7b": modes([r for r in latency if r["model"]["name"] == "mistral-7b"]),
        "fp8": formats(records("h100-fp8")),
        "static": processes(("eager", "static")),
        "batch": batches(throughput),
        "device-h200": device_line(two_gpus),
        "scaling": scaling(two_gpus),
        "paired": paired(("h200-paired-vllm", "h200-paired-transformers")),
        "paired-batches": paired(("h100-paired-vllm", "h100-paired-vllm-in-process")),
        "ceilings": ceilings(efficient),
        "efficiency-phi-2": efficiency(efficient, "phi-2"),
        "efficiency-mistral-7b": efficiency(efficient, "mistral-7b"),
        "noise": noise(DOCS / "data" / "h200-phi-2-vllm-noise.json"),
        "noise-host-1": noise(DOCS / "data" / "h200-phi-2-transformers-noise-1.json"),
        "noise-host-2": noise(DOCS / "data" / "h200-phi-2-transformers-noise-2.json"),
    }
    pages = {page: page.read_text("utf-8") for page in sorted((DOCS / "results").glob("*.md"))}
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page = next((page for page, text in pages.items() if re.search(pattern, text, re.S)), None)
        if page is None:
            raise SystemExit(f"{DOCS / 'results'}: no place for the table {name!r}")
        pages[page] = re.sub(
            pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", pages[page], flags=re.S
        )
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")


def keep(name: str, run: Path) -> None:
    data = json.loads(run.read_text("utf-8"))
    entries = data["benchmarks"]
    data["benchmarks"] = [e for e in entries if "metrics" in e["extra_info"].get("llmperf", {})]
    for entry in data["benchmarks"]:
        entry["stats"].pop("data", None)
        for metric in entry["extra_info"]["llmperf"]["metrics"].values():
            metric["samples"] = [float(f"{sample:.6g}") for sample in metric["samples"]]
    (DOCS / "data" / f"{name}.json").write_text(json.dumps(data) + "\n", encoding="utf-8")


def records(name: str) -> list[dict[str, Any]]:
    """Return the measurements of a stored run."""
    data = json.loads((DOCS / "data" / f"{name}.json").read_text("utf-8"))
    found = [entry["extra_info"]["llmperf"] for entry in data["benchmarks"]]
    return [record for record in found if "ttft" in record["metrics"]]


def p50(record: dict[str, Any], key: str) -> float:
    return float(record["metrics"][key]["p50"])


def spread(record: dict[str, Any], key: str) -> str:
    """Return half the range of the samples over their median."""
    metric = record["metrics"][key]
    return f"{(metric['max'] - metric['min']) / 2 / metric['p50']:.1%}"


def device_line(found: list[dict[str, Any]]) -> str:
    lines = set()
    for record in found:
        environment = record["environment"]
        gpu = environment["accelerators"][0]
        packages = environment["packages"]
        versions = ", ".join(f"{name} {packages[name]}" for name in sorted(packages))
        lines.add(
            f"- {record['backend']['name']}: {gpu['name']}, driver {gpu['driver']}, "
            f"CUDA {gpu['cuda']}; {versions}"
        )
    return "\n".join(sorted(lines))


def article(found: list[dict[str, Any]]) -> str:
    rows = []
    for backend, (seconds, rate, counted) in ARTICLE.items():
        record = next(
            r
            for r in found
            if r["model"]["name"] == "phi-2"
            and r["backend"]["name"] == backend
            and r["quantization"]["mode"] == "none"
        )
        rows.append(
            [
                backend,
                f"{seconds:.2f}",
                f"{p50(record, 'e2e'):.3f}",
                f"{rate} ({counted})",
                f"{p50(record, 'output_throughput'):.0f}",
                f"{p50(record, 'total_throughput'):.0f}",
            ]
        )
    headers = ["Phi-2", "article: s", "here: e2e s", "article: tokens/s"]
    headers += ["here: output tokens/s", "here: total tokens/s"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def modes(found: list[dict[str, Any]]) -> str:
    rows = []
    for record in found:
        pool = record["metrics"].get("kv_cache_memory", {}).get("p50", 0)
        need = p50(record, "peak_memory") - pool
        rows.append(
            [
                record["backend"]["name"],
                record["quantization"]["mode"],
                f"{p50(record, 'ttft') * 1e3:.1f}",
                f"{p50(record, 'tpot') * 1e3:.2f}",
                f"{p50(record, 'e2e'):.3f}",
                spread(record, "e2e"),
                f"{p50(record, 'output_throughput'):.1f}",
                f"{p50(record, 'model_memory'):,.0f}",
                f"{need:,.0f}",
                "yes" if need < T4_MIB else "no",
                f"{p50(record, 'load_time'):.0f}",
            ]
        )
    headers = ["engine", "mode", "ttft ms", "tpot ms", "e2e s", "e2e +-", "tokens/s"]
    headers += ["weights MiB", "peak less pool MiB", "fits 15 GiB", "load s"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def formats(found: list[dict[str, Any]]) -> str:
    """Return the formats of weights and of the key-value cache in vLLM."""
    rows = []
    for record in found:
        pool = p50(record, "kv_cache_memory")
        rows.append(
            [
                record["cell"],
                f"{p50(record, 'ttft') * 1e3:.1f}",
                f"{p50(record, 'tpot') * 1e3:.2f}",
                f"{p50(record, 'output_throughput'):.0f}",
                f"{p50(record, 'model_memory'):,.0f}",
                f"{record['model']['weights']['linear_bits']:.1f}",
                f"{record['backend']['cache_value_bytes']:g}",
                f"{pool:,.0f}",
                f"{p50(record, 'peak_memory') - pool:,.0f}",
                f"{p50(record, 'mbu'):.0%}",
            ]
        )
    headers = ["cell", "ttft ms", "tpot ms", "tokens/s", "weights MiB", "bits per linear weight"]
    headers += ["bytes per cached number", "pool MiB", "peak less pool MiB", "mbu"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def processes(kinds: tuple[str, ...]) -> str:
    """Return the times of processes of each kind on each of two cards, and how much they vary.

    Source: files of one process each, ``h100-phi-2-KIND-gpuCARD-NUMBER.json``.
    """
    rows = []
    for kind in kinds:
        for cards in ("0", "1", "01"):
            pattern = f"h100-phi-2-{kind}-gpu[{cards}]-*.json"
            paths = sorted((DOCS / "data").glob(pattern))
            found = [record for path in paths for record in records(path.stem)]
            ttft = [p50(record, "ttft") * 1e3 for record in found]
            tpot = [p50(record, "tpot") * 1e3 for record in found]
            rounds = [record["metrics"]["tpot"]["samples"] for record in found]
            rows.append(
                [
                    found[0]["cell"],
                    cards if len(cards) == 1 else "both",
                    len(found),
                    f"{statistics.median(ttft):.1f}",
                    f"{statistics.median(tpot):.2f}",
                    f"{min(tpot):.2f} to {max(tpot):.2f}",
                    f"{coefficient_of_variation(tpot):.1%}",
                    f"{statistics.median(map(coefficient_of_variation, rounds)):.1%}",
                ]
            )
    headers = ["cell", "GPU", "processes", "ttft ms", "tpot ms", "range of tpot"]
    headers += ["tpot between processes", "within a process"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def coefficient_of_variation(values: list[float]) -> float:
    return statistics.stdev(values) / statistics.fmean(values)


def batches(found: list[dict[str, Any]]) -> str:
    by_batch: dict[int, dict[str, dict[str, Any]]] = {}
    for record in found:
        row = by_batch.setdefault(record["workload"]["batch_size"], {})
        row[record["backend"]["name"]] = record
    rows = []
    for batch_size, engines in sorted(by_batch.items()):
        rates = [p50(engines[name], "output_throughput") for name in ("transformers", "vllm")]
        times = [p50(engines[name], "tpot") * 1e3 for name in ("transformers", "vllm")]
        rows.append(
            [batch_size]
            + [f"{rate:,.0f}" for rate in rates]
            + [f"{rates[1] / rates[0]:.1f}x"]
            + [f"{time:.2f}" for time in times]
        )
    headers = ["batch", "transformers tokens/s", "vLLM tokens/s", "ratio"]
    headers += ["transformers tpot ms", "vLLM tpot ms"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def scaling(found: list[dict[str, Any]]) -> str:
    rows = []
    for record in found:
        pool = record["metrics"].get("kv_cache_memory", {}).get("p50", 0)
        rows.append(
            [
                record["cell"].removeprefix("mistral-7b-"),
                record["workload"]["batch_size"],
                f"{p50(record, 'ttft') * 1e3:.1f}",
                f"{p50(record, 'tpot') * 1e3:.2f}",
                f"{p50(record, 'output_throughput'):,.0f}",
                spread(record, "output_throughput"),
                f"{p50(record, 'peak_memory') - pool:,.0f}",
            ]
        )
    headers = ["cell", "batch", "ttft ms", "tpot ms", "tokens/s", "+-", "peak less pool MiB"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def paired(names: tuple[str, ...]) -> str:
    """Return the table of ours over theirs: Student's t over log-ratios.

    Source: the files of tools/compare_with_engines.py --json.
    """
    rows = []
    for name in names:
        data = json.loads((DOCS / "data" / f"{name}.json").read_text("utf-8"))
        for what, ours in data["ours"].items():
            theirs = data["theirs"][what]
            ratio, low, high = paired_ratio(ours, theirs)
            rows.append(
                [
                    data["against"],
                    what.removeprefix("e2e of "),
                    f"{statistics.median(ours):.4f}",
                    f"{statistics.median(theirs):.4f}",
                    f"{statistics.median(ours) / statistics.median(theirs):.4f}",
                    f"{ratio:.3f}",
                    f"{low:.3f} to {high:.3f}",
                    len(ours),
                ]
            )
    headers = ["against", "batch", "e2e s, ours", "theirs", "of medians", "paired ratio"]
    headers += ["95 % interval", "pairs"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def ceilings(found: list[dict[str, Any]]) -> str:
    """Return a line with the measured ceilings and the idle power of the cards."""
    known = [record["environment"]["ceilings"] for record in found]
    read = [c["read_bytes_per_s"] / 1e12 for c in known]
    rate = [c["matmul_flops"] / 1e12 for c in known if c["matmul_flops"]]
    idle = [record["environment"]["energy"]["idle_w"] for record in found]
    return (
        f"Measured ceilings: {min(read):.2f} to {max(read):.2f} TB/s, {min(rate):.0f} to "
        f"{max(rate):.0f} TFLOP/s (bfloat16); idle power {min(idle):.0f} to {max(idle):.0f} W per card."
    )


def efficiency(found: list[dict[str, Any]], model: str) -> str:
    rows = []
    for record in [r for r in found if r["model"]["name"] == model]:
        need = need_of(measured_cell(record)).total
        rows.append(
            [
                record["backend"]["name"],
                record["quantization"]["mode"],
                f"{p50(record, 'output_throughput'):.1f}",
                f"{p50(record, 'mbu') * 100:.0f}",
                f"{p50(record, 'energy_per_output_token'):.2f}",
                f"{record['environment']['energy']['mean_w']:.0f}",
                f"{p50(record, 'model_memory'):,.0f}",
                f"{need:,.0f}",
                "yes" if need < CARD_MIB else "no",
            ]
        )
    headers = ["engine", "mode", "tokens/s", "mbu %", "J/token", "mean W"]
    headers += ["weights MiB", "need MiB", "fits 16 GiB"]
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def measured_cell(record: dict[str, Any]) -> MeasuredCell:
    """Return a stored record as ``--llm-fit`` sees it."""
    work = record["workload"]
    return MeasuredCell(
        model=record["model"]["name"],
        backend=record["backend"]["name"],
        mode=record["quantization"]["mode"],
        traits=(),
        device=record["environment"]["device"],
        dtype=record["model"]["dtype"],
        architecture=Architecture(**record["model"]["architecture"]),
        parameters=record["model"]["parameters"],
        batch=work["batch_size"],
        input_tokens=work["input_tokens"],
        output_tokens=work["output_tokens"],
        model_memory=p50(record, "model_memory"),
        peak_memory=p50(record, "peak_memory"),
        pool=record["metrics"].get("kv_cache_memory", {}).get("p50", 0),
        by_driver=False,
    )


def noise(path: Path) -> str:
    headers = ["metric", "within a process", "between processes", "neighbors"]
    return str(tabulate(variation(load(path)), headers, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
