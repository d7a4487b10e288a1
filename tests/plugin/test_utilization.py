"""mbu and mfu: known truth on the simulated device, which reads 100 GB/s and computes 1 TFLOP/s."""

import json
import re

import pytest

from pytest_llmperf.session import ceilings
from pytest_llmperf.store import journal

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
        ["mbu: % of the memory bandwidth * mfu: *(programmed): 100 GB/s, 1 TFLOP/s bfloat16"]
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


WHO = "reached by smollm2-135m-simulated-none in test_x"


@pytest.mark.timing
def test_an_engine_that_beats_the_ceiling_is_the_ceiling(measured):
    # 1000 MiB in 5 ms are 210 GB/s.
    run, record = measured(tpot=0.005)
    assert record["metrics"]["mbu"]["p50"] == record["metrics"]["mbu"]["max"] == 1
    ceilings = record["environment"]["ceilings"]
    assert ceilings["read_bytes_per_s"] == pytest.approx(210e9, rel=0.3)
    assert (ceilings["measured_read_bytes_per_s"], ceilings["read_by"]) == (100e9, WHO)
    assert not {"matmul_by", "measured_matmul_flops"} & set(ceilings)
    run.stdout.fnmatch_lines(
        [
            f"*of the best rates seen on this machine (programmed): * GB/s ({WHO}), 1 TFLOP/s *",
            f"mbu: * GB/s is {WHO}, ?.?? times what was programmed, and so the ceiling",
        ]
    )


@pytest.mark.timing
def test_a_later_run_has_the_ceiling_that_an_engine_raised(measured):
    _, first = measured(tpot=0.005)
    raised = first["environment"]["ceilings"]["read_bytes_per_s"]
    run, later = measured(tpot=0.02)
    assert later["environment"]["ceilings"]["read_bytes_per_s"] == raised > 150e9
    assert later["environment"]["ceilings"]["read_by"] == WHO
    assert later["metrics"]["mbu"]["p50"] == pytest.approx(0.5245 * 100e9 / raised, rel=0.05)
    run.stdout.fnmatch_lines([f"*({WHO})*"])


@pytest.mark.timing
def test_a_single_round_above_the_ceiling_leaves_no_trace_in_later_runs(measured):
    _, record = measured("--llm-rounds=1", tpot=0.005)
    assert record["metrics"]["mbu"]["p50"] == 1
    assert record["environment"]["ceilings"]["read_by"] == WHO
    _, later = measured(tpot=0.02)
    assert later["environment"]["ceilings"]["read_bytes_per_s"] == 100e9


@pytest.mark.timing
def test_an_impossible_rate_is_a_ceiling_of_its_run_only_and_said(measured):
    # 2 x 4,000,000,000 x 8 tokens in 0.01 s: 6.4 TFLOP/s.
    run, record = measured(parameters=4_000_000_000, ttft=0.01)
    assert record["metrics"]["mfu"]["max"] <= 1
    run.stdout.fnmatch_lines(["mfu: *of this run only: is the number of parameters right?"])
    _, later = measured()
    assert later["environment"]["ceilings"]["matmul_flops"] == 1e12


THREE_TESTS = """
import pytest

@pytest.mark.parametrize("input_len", [8, 64])
def test_x(llm, llm_benchmark, input_len):
    llm_benchmark(llm, input_len=input_len, output_len=4, rounds=3, warmup=0)

def test_y(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""


@pytest.fixture
def three_records(pytester, llm_pytest_process, tmp_path):
    """Run three tests of which the second beats the ceiling; gives the run."""
    pytester.makepyfile(test_speed=THREE_TESTS)

    def run(*extra):
        # 2 x 250,000,000 x 64 tokens in 0.02 s: 1.6 TFLOP/s; with 8 tokens an eighth.
        program = {**MODEL, "parameters": 250_000_000, "ttft": 0.02}
        return llm_pytest_process(f"--llm-cache-dir={tmp_path}", *extra, **program)

    return run


@pytest.mark.timing
def test_all_rows_of_a_run_are_shares_of_one_ceiling(three_records, records, stored):
    three_records("--benchmark-autosave", "--llm-metrics=mfu").assert_outcomes(passed=3)
    found = records()
    ceilings = [record["environment"]["ceilings"] for record in found.values()]
    assert ceilings[0]["matmul_flops"] > 1e12
    assert ceilings == [ceilings[0]] * 3
    assert ceilings[0]["matmul_by"] == WHO
    for name, record in found.items():
        mfu, ttft = record["metrics"]["mfu"], record["metrics"]["ttft"]
        tokens = record["workload"]["input_tokens"]
        # All but the table of 131,072 parameters, then the table once, then attention.
        flops = 2 * (250_000_000 - 131_072) * tokens + 262_144 + 4096 * tokens * (tokens + 1) / 2
        rate = flops / ttft["p50"]
        assert mfu["p50"] == pytest.approx(min(1, rate / ceilings[0]["matmul_flops"]), rel=0.01)
        assert mfu["max"] <= 1
        # The entry of its own has the same samples.
        entry = stored()[f"{name[:-1]}-mfu]"]
        assert entry["stats"]["max"] == pytest.approx(1 / mfu["min"])
        assert entry["stats"]["min"] == pytest.approx(1 / mfu["max"])


@pytest.mark.timing
def test_an_interrupted_run_has_one_ceiling_too(pytester, three_records, journals):
    pytester.makepyfile(test_z="def test_z(llm):\n    raise KeyboardInterrupt")
    run = three_records("--llm-metrics=mfu")
    run.stdout.fnmatch_lines(["interrupted: 6 measured entries are kept in *"])
    (file,) = journals()
    entries = {entry["name"]: entry for entry in journal.read(file).entries}
    assert len(entries) == 6
    ours = {name: entry["extra_info"]["llmperf"] for name, entry in entries.items()}
    found = {name: record for name, record in ours.items() if "schema" in record}
    ceilings = [record["environment"]["ceilings"]["matmul_flops"] for record in found.values()]
    assert ceilings == [ceilings[0]] * 3
    assert ceilings[0] > 1e12
    for name, record in found.items():
        mfu = record["metrics"]["mfu"]
        assert entries[f"{name[:-1]}-mfu]"]["stats"]["min"] == pytest.approx(1 / mfu["max"])


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


@pytest.mark.timing
def test_a_higher_ceiling_is_no_regression(measured, tmp_path):
    measured("--llm-metrics=mbu")
    (file,) = (tmp_path / "ceilings").glob("*.json")
    data = json.loads(file.read_text())
    data["ceilings"]["read"] = [[1, 200e9]]
    file.write_text(json.dumps(data))
    run, record = measured(
        "--llm-metrics=mbu",
        "--benchmark-compare",
        "--benchmark-compare-fail=median:30%",
        "--llm-fail-if=mbu.p50:-30%",
    )
    assert run.ret == 0
    assert record["metrics"]["mbu"]["p50"] == pytest.approx(0.262, rel=0.1)
    run.stdout.fnmatch_lines(
        ["*: mbu ceiling 100 GB/s / 200 GB/s: shown are shares of the higher*"]
    )


@pytest.mark.timing
def test_a_slower_engine_is_a_regression_under_any_ceiling(one_test, llm_pytest, tmp_path):
    options = (f"--llm-cache-dir={tmp_path}", "--llm-metrics=mbu", "--benchmark-autosave")
    llm_pytest(*options, **{**MODEL, "tpot": 0.02})
    (file,) = (tmp_path / "ceilings").glob("*.json")
    data = json.loads(file.read_text())
    data["ceilings"]["read"] = [[1, 53e9]]
    file.write_text(json.dumps(data))
    # Twice the time, of about half the ceiling: the share is the same.
    run = llm_pytest(
        *options,
        "--benchmark-compare",
        "--benchmark-compare-fail=median:50%",
        **{**MODEL, "tpot": 0.04},
    )
    run.stdout.fnmatch_lines(["    test_x*-none-mbu]* - Field 'median' has failed *"])
    assert run.ret == 1
