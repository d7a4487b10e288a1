"""Needs of measured cells, and estimates beside what was measured on an H100 (docs/data)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.analysis.fit import (
    CONTEXT,
    POOL_ENGINE_REST,
    MeasuredCell,
    kv_mib,
    need_of,
    needs,
    weights_mib,
)
from pytest_llmperf.core.architecture import Architecture
from pytest_llmperf.core.values import card_size
from pytest_llmperf.report.fit import fit_lines

ROOT = Path(__file__).parents[2]
ARCHITECTURES = {
    name: Architecture.from_config(
        json.loads((ROOT / f"pytest_llmperf/core/architectures/{name}/config.json").read_text())
    )
    for name in ("phi-2", "mistral-7b")
}
PARAMETERS = {"phi-2": 2779683840, "mistral-7b": 7241732096}


def measured_on_an_h100():
    """Every stored measurement as a cell."""
    found = []
    for name in ("phi-2-latency", "phi-2-throughput", "mistral-7b-latency"):
        stored = json.loads((ROOT / f"docs/data/h100-{name}.json").read_text())
        for entry in stored["benchmarks"]:
            record = entry["extra_info"].get("llmperf", {})
            metrics = {k: m["p50"] for k, m in record.get("metrics", {}).items()}
            if "peak_memory" in metrics:
                found.append(
                    MeasuredCell(
                        model=record["model"]["name"],
                        backend=record["backend"]["name"],
                        mode=record["quantization"]["mode"],
                        traits=(),
                        device=record["environment"]["device"],
                        dtype=record["model"]["dtype"],
                        architecture=ARCHITECTURES[record["model"]["name"]],
                        parameters=record["model"]["parameters"],
                        batch=record["workload"]["batch_size"],
                        input_tokens=record["workload"]["input_tokens"],
                        output_tokens=record["workload"]["output_tokens"],
                        model_memory=metrics["model_memory"],
                        peak_memory=metrics["peak_memory"],
                        pool=metrics.get("kv_cache_memory", 0.0),
                        by_driver=False,
                    )
                )
    return found


H100 = measured_on_an_h100()


def named(cell):
    return f"{cell.model}-{cell.name}-{cell.batch}"


@pytest.mark.parametrize("cell", H100, ids=named)
def test_estimated_weights_are_the_measured_ones(cell):
    found = weights_mib(cell.architecture, cell.parameters, cell.mode)
    assert found == pytest.approx(cell.model_memory, rel=0.003)


@pytest.mark.parametrize("cell", [c for c in H100 if c.backend == "transformers"], ids=named)
def test_an_estimated_need_is_the_measured_one(cell):
    measured, estimated = need_of(cell), need_of(replace(cell, device="cpu"))
    assert (measured.source, estimated.source) == ("measured", "estimated")
    assert estimated.total == pytest.approx(measured.total, rel=0.01)


@pytest.mark.parametrize("cell", [c for c in H100 if c.backend == "vllm"], ids=named)
def test_an_estimated_need_of_an_engine_with_a_pool(cell):
    measured, estimated = need_of(cell), need_of(replace(cell, device="cpu"))
    # It holds activations of more tokens than were asked for, by its own settings.
    assert estimated.total == pytest.approx(measured.total, rel=0.06)


def test_h100_data_is_there():
    assert {c.backend for c in H100} == {"transformers", "vllm"}
    assert {c.mode for c in H100} == {"none", "int8", "fp4", "nf4", "nf4-dq"}
    assert max(c.batch for c in H100) == 256


@pytest.mark.parametrize(
    ("model", "mode", "mib"),
    [
        ("phi-2", "none", 5302),
        ("phi-2", "int8", 2905),
        ("phi-2", "nf4", 1852),
        ("phi-2", "nf4-dq", 1740),
        ("mistral-7b", "none", 13813),
        ("mistral-7b", "int8", 7162),
        ("mistral-7b", "nf4", 4245),
        ("mistral-7b", "nf4-dq", 3934),
    ],
)
def test_weights_as_published_in_docs_gpu(model, mode, mib):
    found = weights_mib(ARCHITECTURES[model], PARAMETERS[model], mode)
    assert found == pytest.approx(mib, rel=0.002)


def test_weights_that_cannot_be_told():
    experts = replace(ARCHITECTURES["mistral-7b"], experts=8)
    assert weights_mib(experts, 10**9, "nf4") is None
    assert weights_mib(experts, 2**20, "none") == 2.0
    assert weights_mib(ARCHITECTURES["phi-2"], 10**9, "q4_k_m") is None


def test_a_tied_embedding_is_kept_once():
    tied = Architecture(1, 64, 1, 1, 64, 2**14, tied=True)
    # 1 Mi embeddings and 1 Mi weights: 2 MiB and half a MiB with its scales.
    assert weights_mib(tied, 2**21, "nf4") == pytest.approx(2 + 0.5 + 4 / 64)


SMALL = Architecture(
    layers=8, hidden=256, heads=4, kv_heads=2, head_dim=64, vocabulary=1024, tied=False
)
CELL = MeasuredCell(
    model="small",
    backend="vllm",
    mode="none",
    traits=(),
    device="cuda",
    dtype="bfloat16",
    architecture=SMALL,
    parameters=10**7,
    batch=4,
    input_tokens=192,
    output_tokens=64,
    model_memory=100.0,
    peak_memory=5000.0,
    pool=4000.0,
    by_driver=False,
)
KV = 2 * 8 * 2 * 64 * 2 * 4 * 256 / 2**20


def test_the_cache_is_that_of_the_batch_and_its_tokens():
    assert kv_mib(SMALL, 4, 256) == KV
    assert kv_mib(SMALL, 4, 256, 4) == 2 * KV
    assert kv_mib(replace(SMALL, window=64), 4, 256) == KV / 4
    # Half of the layers fill a quarter.
    assert kv_mib(replace(SMALL, window=64, window_layers=4), 4, 256) == KV * 5 / 8


def test_a_reserved_pool_is_replaced_by_what_the_batch_fills():
    need = need_of(CELL)
    assert need.total == 5000 - 4000 + KV + CONTEXT
    assert (need.weights, need.kv_cache, need.rest) == (100, KV, 900 + CONTEXT)
    assert need.source == "measured"


def test_without_a_pool_the_peak_holds_the_cache():
    need = need_of(replace(CELL, backend="transformers", pool=0.0, peak_memory=300.0))
    assert need.total == 300 + CONTEXT
    assert need.rest == pytest.approx(300 + CONTEXT - 100 - KV)


def test_a_cache_of_another_type_is_counted_in_its_own():
    # llama.cpp computes in float32 and keeps its cache in float16.
    cell = replace(CELL, backend="llama-cpp", dtype="float32", cache_value_bytes=2)
    assert cell.kv_cache == KV
    assert replace(cell, cache_value_bytes=None).kv_cache == 2 * KV


def test_modes_that_were_not_measured_have_transformers_own_type():
    rows = {need.name: need for need in needs([replace(CELL, backend="x", dtype="float32")])}
    assert rows["transformers-none"].weights == pytest.approx(10**7 * 2 / 2**20)
    assert rows["transformers-none"].kv_cache == KV


def test_the_drivers_count_holds_the_context():
    assert need_of(replace(CELL, by_driver=True)).total == 1000 + KV


def test_without_an_architecture_only_an_engine_without_a_pool_has_an_answer():
    unknown = replace(CELL, architecture=None)
    assert need_of(unknown).total is None
    assert need_of(replace(unknown, pool=0.0)).total == 5000 + CONTEXT
    assert need_of(replace(unknown, device="cpu", pool=0.0)).total is None
    assert [need.name for need in needs([unknown])] == ["vllm-none"]


def test_an_engine_that_does_not_say_what_its_weights_take_has_no_answer():
    # Nor does it say how large its pool is, which may be the whole GPU.
    assert need_of(replace(CELL, model_memory=None, pool=0.0, by_driver=True)).total is None


def test_a_model_that_several_gpus_share_is_an_estimate_for_one():
    need = need_of(replace(CELL, traits=("tp2",)))
    assert (need.name, need.source) == ("vllm-none-tp2", "estimated")


def test_resident_memory_of_a_cpu_is_no_need_of_a_gpu():
    need = need_of(replace(CELL, device="cpu"))
    assert need.source == "estimated"
    assert need.total == 100 + KV + POOL_ENGINE_REST + CONTEXT


def test_each_mode_has_its_largest_measurement_and_missing_modes_an_estimate():
    small = replace(CELL, batch=1)
    nf4 = replace(CELL, backend="transformers", mode="nf4", batch=2, pool=0.0)
    other = replace(CELL, model="other", architecture=None)
    found = needs([small, CELL, nf4, other])
    assert [(n.model, n.name, n.batch, n.source) for n in found] == [
        ("small", "vllm-none", 4, "measured"),
        ("small", "transformers-nf4", 2, "measured"),
        ("small", "transformers-none", 4, "estimated"),
        ("small", "transformers-int8", 4, "estimated"),
        ("small", "transformers-fp4", 4, "estimated"),
        ("small", "transformers-nf4-dq", 4, "estimated"),
        ("other", "vllm-none", 4, "measured"),
    ]


def test_mistral_on_a_t4():
    """The question that the project started from: one request, a T4's 14.6 GiB."""
    cells = [c for c in H100 if c.model == "mistral-7b" and c.backend == "transformers"]
    fits = {n.name: n.margin(14.6 * 1024) for n in needs(cells)}
    assert all(margin > 0 for margin in fits.values())
    assert fits["transformers-none"] < 1024 < fits["transformers-int8"]


def test_the_table():
    lines = fit_lines(
        [need_of(CELL), need_of(replace(CELL, architecture=None, mode="nf4"))], 1500.0
    )
    assert lines[0] == "small on a GPU of 1,500 MiB"
    cells = [[part.strip() for part in line.split("  ") if part.strip()] for line in lines]
    assert cells[1] == [
        "batch",
        "tokens",
        "weights MiB",
        "KV cache MiB",
        "rest MiB",
        "need MiB",
        "fits",
        "margin MiB",
        "source",
    ]
    assert "|".join(cells[3]) == "vllm-none|4|256|100|4|1,412|1,516|no|-16|measured"
    assert "|".join(cells[4]) == "vllm-nf4|4|256|100|-|-|-|unknown|-|measured"
    assert fit_lines([], 1500.0) == []


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("16GiB", 16384),
        ("15360MiB", 15360),
        ("16GB", 16e9 / 2**20),
        ("14.6 GiB", 14950.4),
        ("8MB", 8e6 / 2**20),
    ],
)
def test_sizes_of_gpus(text, mib):
    assert card_size(text) == pytest.approx(mib)
