import pytest
from pytest_benchmark.stats import Stats

from pytest_llmperf.store.stats import stats

SAMPLES = {
    "one": [0.25],
    "two": [0.2, 0.1],
    "equal": [0.1, 0.1, 0.1, 0.1],
    "odd": [0.5, 0.1, 0.4, 0.2, 0.3],
    "even": [0.012, 0.011, 0.013, 0.010, 0.014, 0.019],
    "outlier": [0.1, 0.1, 0.11, 0.12, 0.1, 5.0],
    "zeros": [0.0, 0.0],
}


@pytest.mark.parametrize(
    "key", ["min", "max", "mean", "median", "stddev", "total", "ops", "rounds"]
)
@pytest.mark.parametrize("samples", SAMPLES.values(), ids=SAMPLES)
def test_statistics_are_those_of_pytest_benchmark(samples, key):
    reference = Stats()
    for sample in samples:
        reference.update(sample)
    assert stats(samples)[key] == pytest.approx(getattr(reference, key))


def test_statistics_have_every_field_of_pytest_benchmark():
    assert set(stats([0.1, 0.2])) == {*Stats.fields, "data", "iterations"}


def test_samples_are_kept_in_their_order():
    assert stats([0.2, 0.1, 0.3])["data"] == [0.2, 0.1, 0.3]


def test_quartiles_are_inclusive():
    entry = stats([1.0, 2.0, 3.0, 4.0])
    assert (entry["q1"], entry["q3"], entry["iqr"]) == (1.75, 3.25, 1.5)


def test_outliers_lie_beyond_the_whiskers():
    # Quartiles 2 and 4, so the whiskers end at -1 and 7.
    entry = stats([1.0, 2.0, 3.0, 4.0, 100.0])
    assert entry["iqr_outliers"] == 1
    assert (entry["ld15iqr"], entry["hd15iqr"]) == (1.0, 4.0)
    assert entry["outliers"] == "1;1"
