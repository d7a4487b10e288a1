"""The statistical rule: against sums done by hand, and against programmed truth."""

import math
import statistics

import numpy as np
import pytest
from scipy import stats

from pytest_llmperf.gate import rule
from pytest_llmperf.gate.rule import Place

# Three pairs of three tests: means 6, 1 and 2 %, variances 1e-4, 4e-4 and 12e-4.
THREE = {
    "a": [0.05, 0.06, 0.07],
    "b": [0.01, -0.01, 0.03],
    "c": [0.00, 0.00, 0.06],
}
PLACES = {entry: Place(f"test_{entry}", "ttft") for entry in THREE}


def paired(differences, places, first):
    """Every entry has its first pairs, so they are the beginning of its list."""
    return rule.paired(differences, {entry: v[:first] for entry, v in differences.items()}, places)


def expected_error(values, all_values, prior, floor=0.0015):
    """Standard error of a paired estimate, term by term as docs and research have it."""
    k = len(values) - 1
    median_of_chi2 = stats.chi2.median(k)
    typical = statistics.median(statistics.variance(v) for v in all_values) / (median_of_chi2 / k)
    shrunk = (prior * typical + k * statistics.variance(values)) / (prior + k)
    return max(math.sqrt(shrunk / len(values)), floor)


def test_a_paired_effect_is_the_one_that_was_computed_by_hand():
    # chi2's median at 2 degrees of freedom is 2 ln 2, so s0^2 = 4e-4 / ln 2 = 5.7708e-4;
    # a: s~^2 = (3 * 5.7708e-4 + 2 * 1e-4) / 5 = 3.8625e-4, and se = sqrt(s~^2 / 3).
    effect = paired(THREE, PLACES, first=3)["a"]
    assert effect.estimate == pytest.approx(0.06)
    assert effect.df == 5
    assert effect.n == 3
    assert effect.deviation == pytest.approx(math.sqrt(3.8625e-4), rel=1e-4)
    assert effect.error == pytest.approx(0.0113468, rel=1e-4)
    assert effect.p_worse == pytest.approx(stats.t.sf(0.06 / 0.0113468, 5), rel=1e-3)


@pytest.mark.parametrize("entry", ["a", "b", "c"])
def test_paired_effects_are_those_of_an_independent_computation(entry):
    effect = paired(THREE, PLACES, first=3)[entry]
    error = expected_error(THREE[entry], THREE.values(), prior=3)
    mean = statistics.fmean(THREE[entry])
    assert effect.error == pytest.approx(error)
    assert effect.p_worse == pytest.approx(stats.t.sf(mean / error, 5))
    assert effect.p_better == pytest.approx(stats.t.sf(-mean / error, 5))
    assert effect.bound(0.95) == pytest.approx(mean + stats.t.ppf(0.95, 5) * error)
    assert effect.bound(0.05) == pytest.approx(mean - stats.t.ppf(0.95, 5) * error)


def test_a_suite_of_one_test_borrows_no_variance():
    entries = {"ttft": THREE["a"], "tpot": THREE["c"]}
    places = {metric: Place("test_x", metric) for metric in entries}
    effect = paired(entries, places, first=3)["ttft"]
    assert effect.df == 2
    assert effect.error == pytest.approx(math.sqrt(1e-4 / 3))
    plain = stats.ttest_1samp(THREE["a"], 0.0, alternative="greater")
    assert effect.p_worse == pytest.approx(plain.pvalue)


def test_the_typical_variance_is_worth_no_more_than_the_other_tests():
    entries = {"a": THREE["a"], "b": THREE["b"]}
    effect = paired(entries, PLACES, first=3)["a"]
    # One other test with three pairs: two degrees of freedom.
    assert effect.df == 2 + 2
    assert effect.error == pytest.approx(expected_error(entries["a"], entries.values(), prior=2))


def test_metrics_share_no_variance():
    noisy = {f"noisy {entry}": [10 * v for v in values] for entry, values in THREE.items()}
    places = {
        entry: Place(entry.removeprefix("noisy "), entry.startswith("noisy")) for entry in noisy
    }
    both = paired({**THREE, **noisy}, {**PLACES, **places}, first=3)
    alone = paired(THREE, PLACES, first=3)
    assert {entry: both[entry] for entry in THREE} == alone
    for entry in THREE:
        assert both[f"noisy {entry}"].error == pytest.approx(10 * alone[entry].error)
        assert both[f"noisy {entry}"].p_worse == pytest.approx(alone[entry].p_worse)


def test_the_typical_variance_comes_from_the_first_pairs_alone():
    longer = {**THREE, "a": [*THREE["a"], 0.3, -0.2, 0.25, -0.3, 0.2]}
    effects = paired(longer, PLACES, first=3)
    assert effects["b"] == paired(THREE, PLACES, first=3)["b"]
    typical = 4e-4 / math.log(2)
    shrunk = (3 * typical + 7 * statistics.variance(longer["a"])) / 10
    assert effects["a"].df == 10
    assert effects["a"].error == pytest.approx(math.sqrt(shrunk / 8))


def test_a_paired_error_has_a_floor():
    same = {entry: [0.02, 0.02, 0.02] for entry in THREE}
    effect = paired(same, PLACES, first=3)["a"]
    assert effect.error == 0.0015
    assert effect.p_worse == pytest.approx(stats.t.sf(0.02 / 0.0015, 5))


def test_an_entry_with_one_pair_has_no_effect():
    assert set(paired({**THREE, "b": [0.5]}, PLACES, first=3)) == {"a", "c"}


def test_no_entries_give_no_effects():
    assert paired({}, {}, first=3) == {}
    assert rule.against_history({}, {}, {}) == {}
    assert rule.significant({}) == set()


@pytest.mark.parametrize("entry", ["a", "b", "c"])
def test_effects_against_a_history_are_those_of_an_independent_computation(entry):
    past = {
        "a": [1.00, 1.02, 0.98, 1.00],
        "b": [2.00, 2.05, 1.95, 2.01],
        "c": [3.00, 3.01, 3.00, 3.02],
    }
    candidate = {"a": 1.10, "b": 2.02, "c": 2.90}
    effect = rule.against_history(candidate, past, PLACES)[entry]
    k = 3
    variances = {key: statistics.variance(values) for key, values in past.items()}
    typical = statistics.median(variances.values()) / (stats.chi2.median(k) / k)
    deviation = math.sqrt((3 * typical + k * variances[entry]) / 6)
    error = deviation * math.sqrt(1 + 1 / 4)
    estimate = candidate[entry] - statistics.fmean(past[entry])
    assert effect.estimate == pytest.approx(estimate)
    assert effect.deviation == pytest.approx(deviation)
    assert effect.error == pytest.approx(error)
    assert effect.df == 6
    assert effect.n == 4
    assert effect.p_worse == pytest.approx(stats.t.sf(estimate / error, 6))


def test_an_error_against_a_history_has_a_floor_that_falls_with_the_jobs():
    past = dict.fromkeys("abc", [1.0] * 5)
    effect = rule.against_history(dict.fromkeys("abc", 1.01), past, PLACES)["a"]
    assert effect.error == pytest.approx(0.0025 * math.sqrt(1 + 1 / 5))


def test_an_entry_that_one_side_lacks_has_no_effect_against_a_history():
    past = {"a": [1.0, 1.1, 1.2], "b": [1.0, 1.1, 1.2], "c": [1.0]}
    assert set(rule.against_history({"a": 1.0, "c": 1.0}, past, PLACES)) == {"a"}


@pytest.mark.parametrize(
    ("p_values", "kept"),
    [
        # Each p is at most its rank's share of 5 %: 1, 2, 3, 4 and 5 %.
        ([0.01, 0.02, 0.03, 0.04, 0.05], {0, 1, 2, 3, 4}),
        ([0.011, 0.021, 0.031, 0.041, 0.051], set()),
        # The third is within its share, so the two before it are kept with it.
        ([0.011, 0.021, 0.030, 0.9, 0.9], {0, 1, 2}),
        ([0.04], {0}),
        ([0.04, 1.0], set()),
    ],
)
def test_benjamini_and_hochberg_keep_what_a_count_by_hand_keeps(p_values, kept):
    assert rule.significant(dict(enumerate(p_values))) == kept


def test_benjamini_and_hochberg_keep_what_scipy_keeps():
    p_values = np.random.default_rng(0).beta(0.3, 1.0, size=60)
    adjusted = stats.false_discovery_control(p_values)
    kept = {i for i, p in enumerate(adjusted) if p <= 0.05}
    assert 0 < len(kept) < 60
    assert rule.significant(dict(enumerate(p_values))) == kept


@pytest.mark.parametrize("error", [0.002, 0.01, 0.03])
def test_the_detectable_effect_is_the_formulas(error):
    effect = rule.Effect(estimate=0.0, error=error, df=5, n=3, deviation=error * math.sqrt(3))
    needed = max(stats.t.isf(0.05 / 40, 5) * error, math.log(1.03))
    expected = math.exp(needed + stats.t.ppf(0.8, 5) * error) - 1
    assert rule.detectable(effect, entries=40, min_effect=0.03) == pytest.approx(expected)


@pytest.mark.parametrize("deviation", [0.005, 0.02, 0.05])
def test_the_pairs_needed_are_the_fewest_that_detect_it(deviation):
    effect = rule.Effect(0.0, deviation / math.sqrt(3), df=3 + 2, n=3, deviation=deviation)

    def detectable(pairs):
        error = max(deviation / math.sqrt(pairs), 0.0015)
        df = 3 + pairs - 1
        needed = max(stats.t.isf(0.05 / 40, df) * error, math.log(1.03))
        return math.exp(needed + stats.t.ppf(0.8, df) * error) - 1

    pairs = rule.pairs_needed(effect, entries=40, min_effect=0.03, must_see=0.05)
    assert detectable(pairs) <= 0.05
    assert pairs == 2 or detectable(pairs - 1) > 0.05


def test_no_number_of_pairs_is_named_when_even_200_are_too_few():
    effect = rule.Effect(0.0, 0.3, df=5, n=3, deviation=0.5)
    assert rule.pairs_needed(effect, entries=40, min_effect=0.03, must_see=0.05) is None


# Truth that is programmed: 10 tests of 4 metrics, noise of a pair 0.7 to 4 % by entry.
CELLS = [(f"test_{i}", metric) for i in range(10) for metric in "abcd"]
AT = {entry: Place(*entry) for entry in CELLS}
SUITES = 400


def red(effects):
    """Cells that are significantly worse and by 3 % or more."""
    worse = rule.significant({entry: effect.p_worse for entry, effect in effects.items()})
    return {entry for entry in worse if effects[entry].estimate >= math.log(1.03)}


def clean_suites(pairs, seed):
    """Differences of suites in which nothing has changed."""
    random = np.random.default_rng(seed)
    for _ in range(SUITES):
        noise = np.exp(random.uniform(math.log(0.007), math.log(0.04), len(CELLS)))
        values = random.standard_normal((len(CELLS), pairs)) * noise[:, None]
        yield dict(zip(CELLS, values.tolist(), strict=True))


def test_clean_suites_of_pairs_are_red_in_5_of_100_cases_at_most():
    found = [bool(red(paired(suite, AT, first=5))) for suite in clean_suites(5, seed=1)]
    assert statistics.fmean(found) <= 0.05


def test_a_regression_of_the_printed_size_is_found_in_about_80_of_100_cases():
    found = []
    for suite in clean_suites(5, seed=2):
        slowed = CELLS[0]
        effect = paired(suite, AT, first=5)[slowed]
        size = math.log1p(rule.detectable(effect, len(CELLS), min_effect=0.03))
        changed = {**suite, slowed: [value + size for value in suite[slowed]]}
        found.append(slowed in red(paired(changed, AT, first=5)))
    assert 0.7 <= statistics.fmean(found) <= 0.9


def test_clean_suites_of_one_test_are_red_in_5_of_100_cases_at_most():
    # Much noise, shared by the metrics: the least effect of 3 % keeps nothing back.
    random = np.random.default_rng(3)
    entries = CELLS[:4]
    found = []
    for _ in range(1000):
        values = random.standard_normal((4, 3)) * 0.05 + random.standard_normal(3) * 0.15
        effects = paired(dict(zip(entries, values.tolist(), strict=True)), AT, first=3)
        assert effects[entries[0]].df == 2
        found.append(bool(red(effects)))
    standard_error = math.sqrt(0.05 * 0.95 / 1000)
    assert statistics.fmean(found) <= 0.05 + 2 * standard_error


def test_a_clean_job_is_red_against_its_history_in_5_of_100_cases_at_most():
    found = []
    for suite in clean_suites(11, seed=4):
        candidate = {entry: values[0] for entry, values in suite.items()}
        past = {entry: values[1:] for entry, values in suite.items()}
        found.append(bool(red(rule.against_history(candidate, past, AT))))
    standard_error = math.sqrt(0.05 * 0.95 / SUITES)
    assert statistics.fmean(found) <= 0.05 + 2 * standard_error


def test_a_regression_of_the_size_printed_against_a_history_is_found_in_about_80_of_100_cases():
    found = []
    for suite in clean_suites(11, seed=5):
        slowed = CELLS[0]
        candidate = {entry: values[0] for entry, values in suite.items()}
        past = {entry: values[1:] for entry, values in suite.items()}
        effect = rule.against_history(candidate, past, AT)[slowed]
        candidate[slowed] += math.log1p(rule.detectable(effect, len(CELLS), min_effect=0.03))
        found.append(slowed in red(rule.against_history(candidate, past, AT)))
    assert 0.7 <= statistics.fmean(found) <= 0.9
