"""Shares of different ceilings: they compare by the rates that were reached."""

from pytest_llmperf.report.compared import comparison
from pytest_llmperf.store.reached import ceiling_of, common_share
from pytest_llmperf.store.stats import scaled, stats
from pytest_llmperf.store.stored import judged_test


def ceilings(read=None, matmul=None):
    return {"ceilings": {"read_bytes_per_s": read, "matmul_flops": matmul, "dtype": "float32"}}


def with_share(stored_record, mbu, read, **given):
    record = stored_record(mbu=[mbu] * 3, **given)
    record["environment"]["ceilings"] = ceilings(read)["ceilings"]
    return record


def test_a_ceiling_has_the_unit_of_its_metric():
    environment = ceilings(17e9, 1.6e11)
    assert ceiling_of(environment, "mbu") == (17.0, "GB/s")
    assert ceiling_of(environment, "mfu") == (0.16, "TFLOP/s")
    assert ceiling_of(ceilings(17e9), "mfu") is None
    assert ceiling_of({}, "mfu") is None


def test_two_shares_are_shares_of_the_higher_ceiling():
    low, high = ceilings(10e9), ceilings(20e9)
    assert common_share(0.8, low, high, "mbu") == 0.4
    assert common_share(0.4, high, low, "mbu") == 0.4
    assert common_share(0.4, high, {}, "mbu") is None


def test_the_gate_judges_the_rate_and_not_its_share_of_a_ceiling(stored_record):
    before = judged_test(with_share(stored_record, 0.8, 10e9), ["mbu"]).metrics["mbu"]
    after = judged_test(with_share(stored_record, 0.4, 20e9), ["mbu"]).metrics["mbu"]
    assert before == after
    assert (after.value, after.unit, after.better) == (8.0, "GB/s", "higher")


def test_a_share_of_an_unknown_ceiling_is_not_judged(stored_record):
    record = stored_record(mbu=[0.4], ttft=[0.1])
    assert list(judged_test(record, ["mbu", "ttft"]).metrics) == ["ttft"]


def test_a_run_beside_a_stored_one_has_one_ceiling(stored_record):
    lines = comparison(
        [with_share(stored_record, 0.8, 10e9)], [with_share(stored_record, 0.42, 20e9)]
    )
    assert lines[3].split() == ["m-vllm-none", "mbu", "40", "42", "+5.0%"]
    assert (
        lines[4] == "m-vllm-none: mbu ceiling 10 GB/s / 20 GB/s: shown are shares of the higher one"
    )


def test_a_run_under_a_lower_ceiling_has_that_of_the_stored_one(stored_record):
    lines = comparison(
        [with_share(stored_record, 1.0, 20e9)], [with_share(stored_record, 1.0, 10e9)]
    )
    assert lines[3].split() == ["m-vllm-none", "mbu", "100", "50", "-50.0%"]


def test_equal_ceilings_need_no_words(stored_record):
    same = with_share(stored_record, 0.8, 10e9)
    assert comparison([same], [same])[4:] == []


def test_the_statistics_of_an_entry_scale_with_its_samples():
    assert scaled(stats([1.0, 2.0, 4.0]), 2) == stats([2.0, 4.0, 8.0])
