"""mbu and mfu: known truth on the simulated device, which reads 100 GB/s and computes 1 TFLOP/s."""

import json
import re

import pytest

from pytest_llmperf.session import ceilings

# 2 layers of 8 heads of 64 numbers, so 512 wide; 256 tied rows: 131,072 of 10,131,072 parameters.
MODEL = {"layers": 2, "parameters": 10_131_072, "memory_mib": 1000}
MIB = 2**20


@pytest.fixture
def measured(one_test, llm_pytest, records, tmp_path):
    """Run the test with that model; gives the run, and what it stored of its measurement."""

    def run(*extra, **program):
        found = llm_pytest(
            "--benchmark-autosave",
            f"--llm-cache-dir={tmp_path}",
            *extra,
            **{**MODEL, "ttft": 0.05, "tpot": 0.02, **program},
        )
        found.assert_outcomes(passed=1)
        (record,) = records().values()
        return found, record

    return run


@pytest.mark.timing
def test_programmed_times_come_back_as_utilization(measured):
    _, record = measured()
    # 1000 MiB = 1,048,576,000 bytes of weights. Cache: 2 x 2 layers x 8 heads x 64 x 2 bytes = 4096 a
    # token; 8 prompt and 4 output tokens, so 10 on average: 40,960. In 0.02 s at 100 GB/s: 52.43 %.
    mbu = record["metrics"]["mbu"]
    assert mbu["p50"] == pytest.approx((1000 * MIB + 40_960) / 0.02 / 100e9, rel=0.05)
    assert mbu["n"] == 3
    # 2 x 10,000,000 x 8 tokens = 160,000,000; 2 x 131,072 once = 262,144; attention 4 x 2 x 8 x 64 =
    # 4096 x (8 x 9 / 2 = 36) = 147,456. In 0.05 s at 1 TFLOP/s: 0.32 %.
    mfu = record["metrics"]["mfu"]
    assert mfu["p50"] == pytest.approx(160_409_600 / 0.05 / 1e12, rel=0.05)
    assert (mfu["unit"], mfu["better"], mfu["kind"]) == ("share", "higher", "timing")


def test_the_record_has_the_ceilings_and_the_architecture(measured):
    _, record = measured()
    assert record["environment"]["ceilings"] == {
        "read_bytes_per_s": 100e9,
        "matmul_flops": 1e12,
        "dtype": "bfloat16",
        "threads": None,
        "method": "programmed",
    }
    assert record["model"]["architecture"] == {
        "layers": 2,
        "hidden": 512,
        "heads": 8,
        "kv_heads": 8,
        "head_dim": 64,
        "vocabulary": 256,
        "tied": True,
        "window": None,
        "experts": 1,
    }


@pytest.mark.timing
def test_the_table_has_whole_percents_and_the_legend_the_ceilings(measured):
    run, _ = measured(tpot=0.02, ttft=0.0005)
    run.stdout.fnmatch_lines(["*tokens/s  mbu  mfu  peak MiB*"])
    (row,) = [line for line in run.outlines if line.startswith("smollm2-135m-simulated-none  ")]
    mbu, mfu = re.split(r"\s{2,}", row)[5:7]
    assert abs(int(mbu) - 52) <= 2
    assert 0 < int(mfu) <= 32
    run.stdout.fnmatch_lines(
        ["mbu: % of the memory bandwidth * mfu: *: 100 GB/s, 1 TFLOP/s bfloat16"]
    )


def test_a_model_that_tells_no_sizes_has_neither(measured, tmp_path):
    run, record = measured(layers=0)
    assert not {"mbu", "mfu"} & set(record["metrics"])
    assert "ceilings" not in record["environment"]
    assert "architecture" not in record["model"]
    assert "mbu" not in run.stdout.str()
    assert not (tmp_path / "ceilings").exists()


def test_ceilings_are_kept_in_the_cache_folder(measured, tmp_path):
    _, first = measured()
    (file,) = (tmp_path / "ceilings").glob("*.json")
    data = json.loads(file.read_text())
    # A cached one is used, not measured again.
    data["ceilings"]["read"] = [[1, 200e9]]
    file.write_text(json.dumps(data))
    _, second = measured()
    assert second["environment"]["ceilings"]["read_bytes_per_s"] == 200e9
    assert first["environment"]["ceilings"]["read_bytes_per_s"] == 100e9


def test_a_ceiling_that_an_engine_beats_is_measured_again(measured, tmp_path):
    measured()
    (file,) = (tmp_path / "ceilings").glob("*.json")
    data = json.loads(file.read_text())
    data["ceilings"]["read"] = [[1, 1e9]]
    file.write_text(json.dumps(data))
    _, record = measured()
    assert record["environment"]["ceilings"]["read_bytes_per_s"] == 100e9


@pytest.mark.timing
def test_a_number_above_the_ceiling_is_shown_as_it_is(measured):
    # 1000 MiB in 5 ms are 210 GB/s.
    _, record = measured(tpot=0.005)
    assert record["metrics"]["mbu"]["p50"] == pytest.approx(2.1, rel=0.1)


def test_ceilings_that_cannot_be_measured_fail_no_test(measured, monkeypatch):
    def broken(*arguments):
        raise OSError("no process today")

    monkeypatch.setattr(ceilings, "start_worker", broken)
    run, record = measured()
    assert "mbu" not in record["metrics"]
    assert "mbu" not in run.stdout.str()


def test_without_benchmarks_nothing_is_measured(one_test, llm_pytest, tmp_path):
    run = llm_pytest("--benchmark-disable", f"--llm-cache-dir={tmp_path}", **MODEL)
    run.assert_outcomes(passed=1)
    assert not (tmp_path / "ceilings").exists()


def test_without_isolation_a_process_measures_all_the_same(measured, tmp_path):
    _, record = measured("--llm-isolation=none")
    assert record["environment"]["ceilings"]["method"] == "programmed"


@pytest.mark.timing
def test_utilization_may_be_an_entry_of_its_own(measured, stored):
    measured("--llm-metrics=mbu")
    (entry,) = [e for name, e in stored().items() if name.endswith("-mbu]")]
    assert entry["extra_info"]["llmperf"]["metric"] == "mbu"
    # Lower is better in every entry: the reciprocal of a share.
    assert entry["stats"]["median"] == pytest.approx(1 / 0.5245, rel=0.05)
