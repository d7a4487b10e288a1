"""Pairs of processes: programmed sides in, verdicts out."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from pytest_llmperf.gate import pairs as paired
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.gate.verdict import Verdict
from pytest_llmperf.store.stored import Observation

NODEID = "test_speed.py::test_x[m-vllm-none]"
# What a quiet machine does to three pairs, and to five more.
QUIET = (1.001, 0.999, 1.0, 1.002, 0.998, 1.001, 1.0, 0.999)


@pytest.fixture
def pairs(stored_run):
    """Pairs from the tests that each process measured: ``pairs([[test], ...], [[test], ...])``."""

    def make(base, head, numbers=None):
        numbers = numbers or range(1, len(base) + 1)
        return [
            paired.Pair(n, stored_run(2 * n, *before), stored_run(2 * n + 1, *after))
            for n, before, after in zip(numbers, base, head, strict=True)
        ]

    return make


@pytest.fixture
def verdicts(pairs):
    """The entries of such pairs by metric; for one test."""

    def make(base, head, settings=None, **options):
        both = pairs([[test] for test in base], [[test] for test in head])
        found = paired.judge(both, settings or LimitSettings(), **options)
        return {entry.metric: entry for entry in found.entries}

    return make


@pytest.fixture
def one_metric(stored_test, verdicts):
    """The verdict on one metric from its values on both sides."""

    def make(metric, base, head, **options):
        sides = [[stored_test(**{metric: value}) for value in side] for side in (base, head)]
        return verdicts(*sides, **options)[metric]

    return make


def times(factor, pairs=3, value=0.1):
    return [value * factor * wobble for wobble in QUIET[:pairs]]


def test_a_slower_side_is_a_regression_with_its_effect_and_interval(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1], times(1.1))
    assert entry.verdict is Verdict.REGRESSION
    assert entry.nodeid == NODEID
    assert entry.effect == pytest.approx(0.1, rel=0.01)
    assert entry.low < entry.effect < entry.high
    assert (entry.baseline, entry.candidate) == (0.1, pytest.approx(0.11))
    assert (entry.unit, entry.n) == ("s", 3)


def test_a_faster_side_is_an_improvement(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1], times(1 / 1.1))
    assert entry.verdict is Verdict.IMPROVEMENT
    assert entry.effect == pytest.approx(1 / 1.1 - 1, rel=0.01)


def test_the_same_side_twice_passes_and_says_what_could_have_been_seen(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1], times(1.0))
    assert entry.verdict is Verdict.PASS
    assert 0.03 < entry.detectable < 0.05
    assert entry.reason == ""


def test_a_certain_change_below_the_least_effect_passes(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1], times(1.02))
    assert entry.verdict is Verdict.PASS
    assert entry.low > 0


def test_a_large_change_that_may_be_noise_is_inconclusive_and_says_what_it_needs(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1, 0.1], [0.13, 0.095, 0.12, 0.1])
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.effect > 0.05
    assert entry.reason.startswith(
        f"this run could have seen >= {entry.detectable:.1%} (80 %); 5% "
    )
    assert entry.reason.endswith(" pairs")


def test_so_much_noise_that_no_pairs_would_do_is_said(one_metric):
    entry = one_metric("ttft", [0.1, 0.1, 0.1], [0.3, 0.03, 0.1])
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.reason.endswith("; 5% needs over 200 pairs on this machine")


@pytest.mark.parametrize(
    ("factor", "verdict", "effect"),
    [
        (0.9, Verdict.REGRESSION, 1 / 0.9 - 1),
        (1.1, Verdict.IMPROVEMENT, 1 / 1.1 - 1),
        (1.0, Verdict.PASS, 0.0),
    ],
)
def test_less_throughput_is_worse(one_metric, factor, verdict, effect):
    entry = one_metric("output_throughput", [100.0] * 3, times(factor, value=100.0))
    assert entry.verdict is verdict
    assert entry.effect == pytest.approx(effect, abs=0.002)


def test_the_order_of_magnitude_of_a_metric_does_not_matter(one_metric):
    small = one_metric("ttft", [1e-6] * 3, times(1.1, value=1e-6))
    large = one_metric("ttft", [1e6] * 3, times(1.1, value=1e6))
    assert small.verdict is large.verdict is Verdict.REGRESSION
    assert small.effect == pytest.approx(large.effect)


def test_one_slow_entry_among_many_is_the_one_that_is_named(stored_test, pairs):
    names = [f"test_speed.py::test_{i}[m-vllm-none]" for i in range(10)]

    def side(factor):
        return [
            [
                stored_test(
                    name,
                    ttft=0.1 * QUIET[(i + pair) % 8],
                    tpot=0.01 * QUIET[(i + 2 * pair) % 8] * (factor if i == 4 else 1),
                )
                for i, name in enumerate(names)
            ]
            for pair in range(3)
        ]

    found = paired.judge(pairs(side(1.0), side(1.06)), LimitSettings())
    assert [(c.nodeid, c.metric) for c in found.of(Verdict.REGRESSION)] == [(names[4], "tpot")]
    assert len(found.of(Verdict.PASS)) == 19
    assert found.exit_code() == 1


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        # 16 MiB are more than 1 % of these.
        (1000.0, 1016.0, Verdict.PASS),
        (1000.0, 1016.5, Verdict.REGRESSION),
        (1000.0, 984.0, Verdict.PASS),
        (1000.0, 983.5, Verdict.IMPROVEMENT),
        # 1 % is more than 16 MiB of these.
        (10000.0, 10100.0, Verdict.PASS),
        (10000.0, 10101.0, Verdict.REGRESSION),
        (10000.0, 9899.0, Verdict.IMPROVEMENT),
    ],
)
def test_exact_memory_may_change_by_1_percent_and_16_mib(one_metric, before, after, verdict):
    entry = one_metric("peak_memory", [before] * 3, [after] * 3)
    assert entry.verdict is verdict
    assert entry.effect == pytest.approx(after / before - 1)
    assert (entry.baseline, entry.candidate, entry.unit) == (before, after, "MiB")
    assert entry.low is entry.detectable is None


def test_memory_that_varies_in_the_baseline_is_judged_like_a_time(one_metric):
    steady = one_metric("peak_memory", [1000.0, 1000.0, 1000.0], [1020.0, 1021.0, 1020.0])
    varying = one_metric("peak_memory", [1000.0, 1040.0, 1000.0], [1020.0, 1021.0, 1020.0])
    assert steady.verdict is Verdict.REGRESSION
    assert varying.verdict is not Verdict.REGRESSION
    assert varying.detectable is not None


@pytest.mark.parametrize(
    ("metric", "before", "after", "verdict"),
    [
        # From nothing at all, any rounding is more than 1 %.
        ("kl_divergence", 0.0, 1e-7, Verdict.PASS),
        ("kl_divergence", 0.0017, 0.0018, Verdict.PASS),
        ("kl_divergence", 0.0017, 0.0036, Verdict.PASS),
        ("kl_divergence", 0.0017, 0.0038, Verdict.REGRESSION),
        ("kl_divergence", 0.0038, 0.0017, Verdict.IMPROVEMENT),
        ("kl_divergence", 0.2, 0.2019, Verdict.PASS),
        ("kl_divergence", 0.2, 0.2021, Verdict.REGRESSION),
        ("top1_agreement", 0.3, 0.272, Verdict.PASS),
        ("top1_agreement", 0.3, 0.268, Verdict.REGRESSION),
        ("top1_agreement", 0.3, 0.332, Verdict.IMPROVEMENT),
        ("top1_agreement", 1.0, 0.969, Verdict.REGRESSION),
    ],
)
def test_distances_from_the_reference_have_a_tolerance_in_their_own_unit(
    one_metric, metric, before, after, verdict
):
    assert one_metric(metric, [before] * 3, [after] * 3).verdict is verdict


def test_a_distance_of_nothing_that_rounding_moves_stays_exact(one_metric):
    base = [0.0, 1e-7, 0.0]
    assert one_metric("kl_divergence", base, [1e-7, 0.0, 0.0]).verdict is Verdict.PASS
    assert one_metric("kl_divergence", base, [0.01] * 3).verdict is Verdict.REGRESSION


def throttled(test, reason="hw_thermal_slowdown"):
    environment = {**test.environment, "conditions": {"throttling": [reason]}}
    return replace(test, environment=environment)


def test_throttled_pairs_are_dropped_and_named(stored_test, pairs):
    base = [[stored_test(ttft=value)] for value in times(1.0, 4)]
    head = [[stored_test(ttft=0.1)] for _ in range(4)]
    head[1] = [throttled(stored_test(ttft=0.3))]
    found = paired.judge(pairs(base, head), LimitSettings())
    (entry,) = found.entries
    assert entry.verdict is Verdict.PASS
    assert entry.n == 3
    assert "head: GPU clocks were limited (hw thermal slowdown) (in 1 of 4 runs)" in found.notes


def test_it_does_not_matter_which_side_was_throttled(stored_test, verdicts):
    base = [stored_test(ttft=value) for value in times(1.0)]
    base[2] = throttled(stored_test(ttft=0.3), "hw_power_brake")
    entry = verdicts(base, [stored_test(ttft=0.1)] * 3)["ttft"]
    assert entry.n == 2
    assert abs(entry.effect) < 0.01


def test_without_two_pairs_that_were_not_throttled_there_is_no_verdict(stored_test, verdicts):
    head = [throttled(stored_test(ttft=0.1), "hw_slowdown")] * 2 + [stored_test(ttft=0.1)]
    entry = verdicts([stored_test(ttft=0.1)] * 3, head)["ttft"]
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert entry.reason == "1 of 3 pairs could be used (the GPU was throttled (hw slowdown))"


def test_a_power_cap_drops_no_pair(stored_test, verdicts):
    head = [throttled(stored_test(ttft=0.1), "sw_power_cap")] * 3
    assert verdicts([stored_test(ttft=0.1)] * 3, head)["ttft"].n == 3


def test_what_is_no_suspect_after_the_first_pairs_cannot_regress_by_later_ones(one_metric):
    base = [0.1] * 8
    head = [*times(1.0, 3), *times(1.3, 5)]
    in_one = one_metric("ttft", base, head, in_two_stages=False)
    in_two = one_metric("ttft", base, head)
    assert in_one.effect > 0.1
    assert in_one.verdict is Verdict.REGRESSION
    assert in_two.verdict is Verdict.INCONCLUSIVE


def test_a_suspect_regresses_by_all_its_pairs(stored_test, pairs):
    slow, ordinary = "test_speed.py::test_slow[m-vllm-none]", NODEID
    # After three pairs it may be noise; after eight it is none.
    noise = (1.08, 0.99, 1.05, 1.05, 1.06, 1.04, 1.05, 1.06)
    base = [[stored_test(slow, ttft=0.1), stored_test(ordinary, ttft=0.1)] for _ in range(3)]
    base += [[stored_test(slow, ttft=0.1)] for _ in range(5)]
    head = [
        [stored_test(slow, ttft=0.1 * n), *rest] for n, (_, *rest) in zip(noise, base, strict=True)
    ]
    both = pairs(base, head)
    assert paired.suspects(both[:3], LimitSettings()) == {(slow, "ttft")}
    first = {c.nodeid: c for c in paired.judge(both[:3], LimitSettings()).entries}
    assert first[slow].verdict is Verdict.INCONCLUSIVE
    found = {c.nodeid: c for c in paired.judge(both, LimitSettings()).entries}
    assert (found[slow].verdict, found[slow].n) == (Verdict.REGRESSION, 8)
    assert (found[ordinary].verdict, found[ordinary].n) == (Verdict.PASS, 3)


@pytest.mark.parametrize(
    ("factor", "is_suspect"), [(1.01, False), (1.02, True), (1.1, True), (0.9, False)]
)
def test_a_suspect_looks_worse_by_1_5_percent(stored_test, pairs, factor, is_suspect):
    base = [[stored_test(ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=value)] for value in times(factor)]
    assert paired.suspects(pairs(base, head), LimitSettings()) == (
        {(NODEID, "ttft")} if is_suspect else set()
    )


def test_a_change_that_noise_explains_is_no_suspect(stored_test, pairs):
    base = [[stored_test(ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=value)] for value in (0.14, 0.08, 0.1)]
    assert paired.suspects(pairs(base, head), LimitSettings()) == set()


def test_a_pair_that_was_lost_does_not_let_a_later_one_choose_the_suspects(stored_test, pairs):
    # Pair 2 was not measured, so the first stage is pairs 1 and 3: in those nothing is suspect.
    factors = (1.009, 1.011, 1.05, 1.049, 1.051, 1.05, 1.05)
    base = [[stored_test(ttft=0.1)] for _ in factors]
    head = [[stored_test(ttft=0.1 * factor)] for factor in factors]
    both = pairs(base, head, numbers=[1, 3, 4, 5, 6, 7, 8])
    assert paired.suspects(both[:2], LimitSettings()) == set()
    assert paired.judge(both, LimitSettings()).of(Verdict.REGRESSION) == []


def test_a_throttled_pair_does_not_let_a_later_one_shape_the_typical_variance(stored_test, pairs):
    names = [f"test_speed.py::test_{i}[m-vllm-none]" for i in range(3)]
    wild = (1.0, 1.0, 1.0, 1.6, 0.6, 1.7, 0.5, 1.5)
    base = [[stored_test(name, ttft=0.1) for name in names] for _ in range(3)]
    base += [[stored_test(name, ttft=0.1) for name in names[:2]] for _ in range(5)]
    head = [
        [stored_test(test.nodeid, ttft=0.1 * wild[n]) for test in tests]
        for n, tests in enumerate(base)
    ]
    head[1] = [throttled(test) for test in head[1]]
    found = paired.judge(pairs(base, head), LimitSettings())
    steady = next(entry for entry in found.entries if entry.nodeid == names[2])
    # In the first three pairs nothing varied at all.
    assert steady.high - steady.low < 0.02
    assert steady.verdict is Verdict.PASS


def test_a_test_that_one_pair_lacks_loses_that_pair_alone(stored_test, pairs):
    other = "test_speed.py::test_y[m-vllm-none]"
    base = [[stored_test(ttft=0.1), stored_test(other, ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=0.1), stored_test(other, ttft=0.1)] for _ in range(3)]
    head[1] = head[1][:1]
    found = paired.judge(pairs(base, head), LimitSettings())
    assert {entry.nodeid: entry.n for entry in found.entries} == {NODEID: 3, other: 2}
    assert found.new == found.gone == ()


def test_one_pair_is_no_comparison(stored_test, pairs):
    other = "test_speed.py::test_y[m-vllm-none]"
    base = [[stored_test(ttft=0.1), stored_test(other, ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=0.1)] for _ in range(3)]
    head[0].append(stored_test(other, ttft=0.1))
    found = {c.nodeid: c for c in paired.judge(pairs(base, head), LimitSettings()).entries}
    assert found[other].verdict is Verdict.NOT_COMPARABLE
    assert found[other].reason == "1 of 3 pairs could be used"
    assert found[NODEID].verdict is Verdict.PASS


def test_new_and_gone_tests_are_named(stored_test, pairs):
    old, new = (f"test_speed.py::test_{name}[m-vllm-none]" for name in ("old", "new"))
    base = [[stored_test(ttft=0.1), stored_test(old, ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=0.1), stored_test(new, ttft=0.1)] for _ in range(3)]
    found = paired.judge(pairs(base, head), LimitSettings())
    assert [entry.nodeid for entry in found.entries] == [NODEID]
    assert found.new == (new,)
    assert found.gone == (old,)


def test_tests_whose_cells_differ_on_the_sides_match(stored_test, pairs):
    quantized = NODEID.replace("m-vllm-none", "m-vllm-fp8")
    base = [[stored_test(ttft=0.1)] for _ in range(3)]
    head = [
        [stored_test(quantized, "m-vllm-fp8", ttft=v, subject={"quantization": "fp8"})]
        for v in times(0.8)
    ]
    found = paired.judge(pairs(base, head), LimitSettings())
    (entry,) = found.entries
    assert (entry.nodeid, entry.verdict) == (quantized, Verdict.IMPROVEMENT)
    assert found.new == found.gone == ()
    assert "base / head: quantization: none / fp8" in found.notes


def test_cells_that_could_match_in_two_ways_do_not(stored_test, pairs):
    def both(*cells):
        tests = [stored_test(NODEID.replace("m-vllm-none", cell), cell, ttft=0.1) for cell in cells]
        return [tests] * 3

    found = paired.judge(
        pairs(both("m-vllm-none", "m-vllm-int8"), both("m-vllm-fp8")), LimitSettings()
    )
    assert found.entries == ()
    assert len(found.new) == 1
    assert len(found.gone) == 2
    assert found.exit_code() == 3


def test_other_sizes_are_not_comparable(stored_test, verdicts):
    entry = verdicts(
        [stored_test(ttft=0.1)] * 3, [stored_test(ttft=0.1, workload={"input_tokens": 16})] * 3
    )["ttft"]
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert entry.reason == "input tokens: 8 / 16"


def test_other_prompts_are_not_comparable(stored_test, verdicts):
    entry = verdicts(
        [stored_test(ttft=0.1)] * 3, [stored_test(ttft=0.1, workload={"requests": "r2"})] * 3
    )["ttft"]
    assert (entry.verdict, entry.reason) == (Verdict.NOT_COMPARABLE, "the prompts differ")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        (
            {"gpus": [{"name": "NVIDIA H200", "power_limit_w": 700.0}]},
            "GPU: NVIDIA H100 / NVIDIA H200",
        ),
        (
            {"gpus": [{"name": "NVIDIA H100", "power_limit_w": 500.0}]},
            "GPU power limit: 700.0 / 500.0",
        ),
        ({"gpus": []}, "GPUs: 1 / 0"),
        ({"cpu": "another CPU"}, "CPU: some CPU / another CPU"),
        ({"device": "cpu"}, "device: cuda:0 / cpu"),
    ],
)
def test_other_hardware_is_not_comparable(stored_test, verdicts, environment, reason):
    head = [stored_test(ttft=0.1, environment=environment)] * 3
    entry = verdicts([stored_test(ttft=0.1)] * 3, head)["ttft"]
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert entry.reason == reason


def test_hardware_that_one_side_could_not_tell_is_no_difference(stored_test, verdicts):
    gpu = {"name": "NVIDIA H100", "power_limit_w": None}
    head = [stored_test(ttft=0.1, environment={"gpus": [gpu], "cpu": None})] * 3
    assert verdicts([stored_test(ttft=0.1)] * 3, head)["ttft"].verdict is Verdict.PASS


def test_an_engine_that_does_not_number_its_gpus_is_on_the_first(stored_test, verdicts):
    head = [stored_test(ttft=v, environment={"device": "cuda"}) for v in times(1.0)]
    assert verdicts([stored_test(ttft=0.1)] * 3, head)["ttft"].verdict is Verdict.PASS


def test_when_nothing_is_comparable_the_comparison_is_broken(stored_test, pairs):
    base = [[stored_test(ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=0.1, workload={"batch_size": 4})] for _ in range(3)]
    assert paired.judge(pairs(base, head), LimitSettings()).exit_code() == 3


def test_engine_arguments_and_versions_that_differ_are_notes(stored_test, pairs):
    base = [[stored_test(ttft=0.1, environment={"packages": {"vllm": "1"}})] for _ in range(3)]
    head = [
        [
            stored_test(
                ttft=0.1,
                subject={"vllm.block_size": 32},
                workload={"hash": "other"},
                environment={"packages": {"vllm": "2"}},
            )
        ]
        for _ in range(3)
    ]
    found = paired.judge(pairs(base, head), LimitSettings(), names=("old", "new"))
    assert [entry.verdict for entry in found.entries] == [Verdict.PASS]
    assert found.notes == ("old / new: vllm.block_size: none / 32", "old / new: vllm: 1 / 2")


def test_what_disturbed_a_side_is_a_note_with_its_number_of_runs(stored_test, pairs):
    busy = {"conditions": {"other_cores": 1.5, "steal_share": 0.1, "swapped_mib": 20.0}}
    base = [[stored_test(ttft=0.1)] for _ in range(3)]
    head = [[stored_test(ttft=0.1, environment=busy if i else {})] for i in range(3)]
    assert set(paired.judge(pairs(base, head), LimitSettings()).notes) == {
        "head: other processes used the CPU (in 2 of 3 runs)",
        "head: the hypervisor took CPU time away (in 2 of 3 runs)",
        "head: the machine was swapping (in 2 of 3 runs)",
    }


def test_a_machine_that_was_slower_itself_is_a_note(stored_test, pairs):
    def canary(seconds):
        return {"canary": {"compute_s": [0.010, 0.010], "copy_s": [seconds, seconds]}}

    base = [[stored_test(ttft=0.1, environment=canary(0.020))] for _ in range(3)]
    head = [[stored_test(ttft=0.1, environment=canary(0.021))] for _ in range(3)]
    assert paired.judge(pairs(base, head), LimitSettings()).notes == (
        "head: reference copy of memory 5 % slower than in the baseline: the machine changed",
    )


def test_a_judgement_names_what_was_measured_on_what(stored_test, pairs):
    def side(version):
        test = stored_test(ttft=0.1, environment={"cores": 26})
        return [[replace(test, engine_version=version)] for _ in range(3)]

    assert paired.judge(pairs(side("0.27.1"), side("0.28.0")), LimitSettings()).measured == {
        "hardware": ["NVIDIA H100"],
        "engines": ["vllm 0.27.1 -> 0.28.0"],
        "workloads": ["8 input and 4 output tokens, batch 1"],
    }
    same = paired.judge(pairs(side("0.27.1"), side("0.27.1")), LimitSettings())
    assert same.measured["engines"] == ["vllm 0.27.1"]


def test_on_a_cpu_the_cores_are_named_and_an_unknown_version_is_a_question_mark(stored_test, pairs):
    environment = {"device": "cpu", "cpu": "a processor", "cores": 2}
    sides = [[stored_test(ttft=0.1, environment=environment)] for _ in range(3)]
    measured = paired.judge(pairs(sides, sides), LimitSettings()).measured
    assert measured["hardware"] == ["a processor, 2 cores"]
    assert measured["engines"] == ["vllm ?"]


def test_values_that_are_not_positive_have_no_verdict(one_metric):
    entry = one_metric("ttft", [0.0, 0.0, 0.1], [0.1, 0.1, 0.1])
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert entry.reason == "fewer than two pairs have a positive value"


def test_a_metric_that_head_no_longer_has_is_named(stored_test, verdicts):
    found = verdicts([stored_test(ttft=0.1, tpot=0.01)] * 3, [stored_test(ttft=0.1)] * 3)
    assert found["tpot"].verdict is Verdict.NOT_COMPARABLE
    assert found["tpot"].reason == "head no longer has it"


def test_a_metric_that_only_head_has_is_left_out(stored_test, verdicts):
    found = verdicts([stored_test(ttft=0.1)] * 3, [stored_test(ttft=0.1, tpot=0.01)] * 3)
    assert set(found) == {"ttft"}


def test_a_metric_of_the_engine_is_one_entry_however_many_tests_repeat_it(stored_test, pairs):
    tests = [stored_test(f"test_{i}[m-vllm-none]", load_time=9.0, ttft=0.1) for i in range(4)]
    found = paired.judge(pairs([tests] * 3, [tests] * 3), LimitSettings())
    assert sorted(entry.metric for entry in found.entries) == ["load_time", *["ttft"] * 4]


def test_memory_that_varies_in_later_pairs_alone_stays_exact(stored_test, verdicts):
    base = [1000.0] * 4 + [1200.0] * 4
    head = [1500.0] * 8
    sides = [[stored_test(peak_memory=value) for value in side] for side in (base, head)]
    assert verdicts(*sides)["peak_memory"].verdict is Verdict.REGRESSION


def test_two_engines_in_another_mode_pair_up_each_with_itself(stored_test, pairs):
    def test(engine, mode):
        cell = f"m-{engine}-{mode}"
        subject = {"engine": engine, "quantization": mode}
        return stored_test(f"test_x[{cell}]", cell, subject=subject, ttft=0.1)

    base = [test("vllm", "none"), test("transformers", "none")]
    head = [test("vllm", "nf4"), test("transformers", "nf4")]
    found = paired.judge(pairs([base] * 3, [head] * 3), LimitSettings())
    assert {note for note in found.notes if "compared" in note} == {
        "test_x[m-vllm-nf4] is compared with test_x[m-vllm-none]",
        "test_x[m-transformers-nf4] is compared with test_x[m-transformers-none]",
    }
    assert len(found.entries) == 2


def test_a_smaller_least_effect_makes_smaller_effects_suspect(stored_test, pairs):
    both = pairs(
        [[stored_test(ttft=0.1)]] * 3, [[stored_test(ttft=value)] for value in times(1.01)]
    )
    assert paired.suspects(both, LimitSettings()) == set()
    assert paired.suspects(both, LimitSettings(min_effect=0.005)) == {(NODEID, "ttft")}


def test_a_metric_that_no_pair_has_on_both_sides_has_no_verdict(stored_test, pairs):
    ttft, both = stored_test(ttft=0.1), stored_test(ttft=0.1, tpot=0.01)
    # The newest record of each side has tpot, but never in the same pair.
    found = paired.judge(pairs([[ttft], [ttft], [both]], [[both], [both], []]), LimitSettings())
    assert {c.metric: c.verdict for c in found.entries if c.metric == "tpot"} in (
        {},
        {"tpot": Verdict.NOT_COMPARABLE},
    )


@pytest.mark.parametrize(("batch_size", "verdict"), [(1, Verdict.REGRESSION), (8, Verdict.PASS)])
def test_ttft_of_concurrent_requests_may_change_by_5_percent(
    stored_test, verdicts, batch_size, verdict
):
    base = [stored_test(ttft=0.1, tpot=0.01, workload={"batch_size": batch_size})] * 3
    head = [
        stored_test(ttft=v, tpot=v / 10, workload={"batch_size": batch_size}) for v in times(1.04)
    ]
    found = verdicts(base, head)
    assert found["ttft"].verdict is verdict
    assert found["tpot"].verdict is Verdict.REGRESSION


@pytest.mark.parametrize(
    ("own", "settings", "verdict"),
    [
        ({}, LimitSettings(), Verdict.REGRESSION),
        ({"min_effect": {"*": 0.2}, "must_see": {"*": 0.2}}, LimitSettings(), Verdict.PASS),
        ({"min_effect": {"ttft": 0.2}, "must_see": {"ttft": 0.2}}, LimitSettings(), Verdict.PASS),
        ({"min_effect": {"tpot": 0.2}}, LimitSettings(), Verdict.REGRESSION),
        ({"min_effect": {"*": 0.2, "ttft": 0.03}}, LimitSettings(), Verdict.REGRESSION),
        ({"min_effect": {"*": 0.2}}, LimitSettings(min_effect=0.03), Verdict.REGRESSION),
        ({}, LimitSettings(min_effect=0.2, must_see=0.2), Verdict.PASS),
        # A change that is too small for a regression does not have to be seen.
        ({"min_effect": {"*": 0.2}}, LimitSettings(), Verdict.PASS),
    ],
)
def test_limits_of_the_test_apply_and_the_command_line_goes_before_them(
    stored_test, verdicts, own, settings, verdict
):
    base = [stored_test(ttft=0.1)] * 3
    head = [stored_test(ttft=value, limits=own) for value in times(1.1)]
    assert verdicts(base, head, settings)["ttft"].verdict is verdict


@pytest.fixture
def documents(stored_test, verdicts):
    """The verdict on perplexity from a document's negative log-likelihoods on both sides."""

    def make(base, head):
        def side(values):
            observation = Observation(
                statistics.median(values), "nats", "lower", "quality", tuple(values)
            )
            return [stored_test(perplexity=observation)] * 3

        return verdicts(side(base), side(head))["perplexity"]

    return make


NATS = [2.0 + 0.05 * (i % 7) for i in range(30)]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (0.01, Verdict.REGRESSION),
        (-0.01, Verdict.IMPROVEMENT),
        (0.004, Verdict.PASS),
        (0.0, Verdict.PASS),
    ],
)
def test_perplexity_may_grow_by_half_a_percent(documents, change, verdict):
    entry = documents(NATS, [n + change + 0.0005 * (-1) ** i for i, n in enumerate(NATS)])
    assert entry.verdict is verdict
    assert entry.effect == pytest.approx(math.expm1(change), abs=1e-9)


def test_perplexity_that_changed_in_some_documents_by_chance_is_inconclusive(documents):
    head = [n + (0.3 if i == 3 else -0.01) for i, n in enumerate(NATS)]
    assert documents(NATS, head).verdict is Verdict.INCONCLUSIVE


def test_the_interval_of_perplexity_has_the_level_of_all_intervals(documents):
    changes = [0.02 * math.sin(7.0 * i) for i in range(200)]
    entry = documents([2.0] * 200, [2.0 + change for change in changes])
    error = statistics.stdev(changes) / math.sqrt(200)
    # 1.645 standard errors to either side hold 90 %; a bootstrap is a few per cent off.
    assert math.log1p(entry.high) - math.log1p(entry.low) == pytest.approx(
        2 * 1.645 * error, rel=0.05
    )


def test_other_text_is_not_comparable_even_if_it_has_as_many_documents(stored_test, verdicts):
    def side(text):
        observation = Observation(7.4, "", "lower", "quality", (1.9, 2.0, 2.1))
        return [stored_test(perplexity=observation, workload={"text": text})] * 3

    entry = verdicts(side("a"), side("b"))["perplexity"]
    assert (entry.verdict, entry.reason) == (Verdict.NOT_COMPARABLE, "the scored text differs")


def test_other_documents_are_not_comparable(documents):
    entry = documents(NATS, NATS[:-1])
    assert (entry.verdict, entry.reason) == (
        Verdict.NOT_COMPARABLE,
        "the documents are not the same",
    )


def test_clean_suites_in_two_stages_are_red_in_5_of_100_cases_at_most(stored_test, pairs):
    random = np.random.default_rng(11)
    names = [f"test_speed.py::test_{i}[m-vllm-none]" for i in range(5)]
    still = {name: stored_test(name, ttft=0.1, tpot=0.01, e2e=0.5) for name in names}

    def measured(name, noise):
        factors = np.exp(random.standard_normal(3) * noise)
        metrics = {
            key: replace(observation, value=observation.value * factor)
            for (key, observation), factor in zip(still[name].metrics.items(), factors, strict=True)
        }
        return replace(still[name], metrics=metrics)

    reds = []
    for _ in range(200):
        noise = dict(zip(names, random.uniform(0.005, 0.03, 5), strict=True))
        first = [[measured(name, noise[name]) for name in names] for _ in range(3)]
        suspect = {
            nodeid
            for nodeid, _ in paired.suspects(
                pairs([list(still.values())] * 3, first), LimitSettings()
            )
        }
        more = [[measured(name, noise[name]) for name in sorted(suspect)] for _ in range(5)]
        base = [list(still.values())] * 3 + [[still[name] for name in sorted(suspect)]] * 5
        found = paired.judge(pairs(base, first + more), LimitSettings())
        reds.append(found.exit_code() == 1)
    assert statistics.fmean(reds) <= 0.05
