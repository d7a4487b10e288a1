"""A new run against stored ones: which of them count, and what is said where they do not."""

import math
import statistics
from dataclasses import replace

import pytest

from pytest_llmperf.gate import history
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.gate.verdict import Verdict, new_level_line
from pytest_llmperf.store.stored import Observation

NODEID = "test_speed.py::test_x[m-vllm-none]"
OTHER = "test_speed.py::test_y[m-vllm-none]"
# What a quiet machine does from job to job.
QUIET = (1.0, 1.003, 0.997, 1.002, 0.998, 1.001, 0.999, 1.004, 0.996, 1.0)
NEW = 100  # Number of the run that is judged; older ones count from 1.


@pytest.fixture
def past(stored_test, stored_run):
    """Stored runs of one test, one after the other: ``past(10)``, ``past(10, level=0.2)``."""

    def make(n, level=0.1, first=1, **test):
        return [
            stored_run(first + i, stored_test(ttft=level * QUIET[i % 10], **test)) for i in range(n)
        ]

    return make


@pytest.fixture
def new_run(stored_test, stored_run):
    """The run that is judged."""

    def make(ttft=0.1, number=NEW, run=(), **test):
        return stored_run(number, stored_test(ttft=ttft, **test), **dict(run))

    return make


def judge(baseline, candidate, **options):
    candidate = candidate if isinstance(candidate, list) else [candidate]
    return history.judge(baseline, candidate, LimitSettings(), **options)


def only_entry(judgement):
    (entry,) = judgement.entries
    return entry


@pytest.mark.parametrize(
    ("ttft", "verdict"),
    [
        (0.1, Verdict.PASS),
        (0.102, Verdict.PASS),
        (0.115, Verdict.REGRESSION),
        (0.085, Verdict.IMPROVEMENT),
    ],
)
def test_a_run_is_judged_against_the_level_of_the_past(past, new_run, ttft, verdict):
    entry = only_entry(judge(past(10), new_run(ttft)))
    assert entry.verdict is verdict
    assert entry.effect == pytest.approx(ttft / 0.1 - 1, abs=0.002)
    assert (entry.baseline, entry.candidate) == (pytest.approx(0.1, rel=0.002), ttft)
    assert entry.n == 10


def test_a_noisy_past_leaves_a_run_undecided(stored_test, stored_run, new_run):
    noisy = [stored_run(i, stored_test(ttft=v)) for i, v in enumerate((0.08, 0.1, 0.13, 0.09))]
    judgement = judge(noisy, new_run(0.115))
    entry = only_entry(judgement)
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.reason == f"this run could have seen >= {entry.detectable:.1%} (80 %)"
    assert judgement.exit_code() == 0
    assert judgement.exit_code(strict=True) == 2


def test_less_throughput_than_in_the_past_is_worse(stored_test, stored_run):
    runs = [
        stored_run(i, stored_test(output_throughput=100 * QUIET[i], ttft=0.1 * QUIET[i]))
        for i in range(5)
    ]
    judgement = judge(runs, stored_run(NEW, stored_test(output_throughput=80.0, ttft=0.1)))
    found = {entry.metric: entry for entry in judgement.entries}
    assert found["output_throughput"].verdict is Verdict.REGRESSION
    assert found["output_throughput"].effect == pytest.approx(0.25, abs=0.005)
    assert found["ttft"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("n", "reason"),
    [
        (1, "1 comparable run in the baseline; 3 are needed"),
        (2, "2 comparable runs in the baseline; 3 are needed"),
    ],
)
def test_fewer_than_three_runs_are_too_few(past, new_run, n, reason):
    judgement = judge(past(n), new_run(0.2))
    entry = only_entry(judgement)
    assert (entry.verdict, entry.reason, entry.n) == (Verdict.INCONCLUSIVE, reason, n)
    assert entry.effect == pytest.approx(1.0, abs=0.01)
    assert judgement.exit_code() == 0


def test_three_runs_are_enough(past, new_run):
    assert only_entry(judge(past(3), new_run(0.2))).verdict is Verdict.REGRESSION


def test_exact_memory_needs_three_runs_too(stored_test, stored_run):
    runs = [stored_run(i, stored_test(peak_memory=1000.0)) for i in range(3)]
    new = stored_run(NEW, stored_test(peak_memory=1050.0))
    assert only_entry(judge(runs[:2], new)).verdict is Verdict.INCONCLUSIVE
    entry = only_entry(judge(runs, new))
    assert (entry.verdict, entry.effect) == (Verdict.REGRESSION, pytest.approx(0.05))


def test_memory_that_varies_in_the_past_is_judged_like_a_time(stored_test, stored_run):
    sizes = (1000.0, 1040.0, 980.0, 1020.0)
    runs = [stored_run(i, stored_test(peak_memory=size)) for i, size in enumerate(sizes)]
    entry = only_entry(judge(runs, stored_run(NEW, stored_test(peak_memory=1050.0))))
    assert entry.verdict is not Verdict.REGRESSION
    assert entry.detectable is not None


def test_the_newest_twenty_jobs_are_the_baseline(past, new_run):
    slow_once, since = past(15, level=0.2), past(20, level=0.1, first=16)
    entry = only_entry(judge(slow_once + since, new_run(0.15)))
    assert entry.n == 20
    assert entry.baseline == pytest.approx(0.1, rel=0.01)
    assert entry.verdict is Verdict.REGRESSION


def test_the_order_of_the_files_does_not_matter(past, new_run):
    runs = past(15, level=0.2) + past(20, level=0.1, first=16)
    assert judge(runs[::-1], new_run(0.15)) == judge(runs, new_run(0.15))


def jobs(runs, restarts):
    """Return the runs as restarts of fewer jobs."""
    return [replace(run, job_id=f"job{i // restarts}") for i, run in enumerate(runs)]


def test_restarts_of_one_job_are_one_observation(past, new_run):
    entry = only_entry(judge(jobs(past(9), 3), new_run(0.1)))
    assert entry.n == 3


def test_two_jobs_are_too_few_however_often_they_started(past, new_run):
    entry = only_entry(judge(jobs(past(8), 4), new_run(0.1)))
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.reason == "2 comparable runs in the baseline; 3 are needed"


def test_restarts_of_the_new_job_are_one_level(past, new_run):
    # Each restart alone would be 15 % off, one up and one down.
    restarts = [
        new_run(value, number=NEW + i, run={"job_id": "new"})
        for i, value in enumerate((0.115, 0.0869565))
    ]
    entry = only_entry(judge(jobs(past(10), 2), restarts))
    assert entry.verdict is Verdict.PASS
    assert entry.effect == pytest.approx(0.0, abs=0.002)


def test_past_jobs_count_with_as_many_restarts_as_the_new_one(stored_test, stored_run, new_run):
    # The third start of every job is slow, and the new job has two.
    past = [
        stored_run(i, stored_test(ttft=0.5 if i % 3 == 2 else 0.1 * QUIET[i]), job_id=f"j{i // 3}")
        for i in range(9)
    ]
    restarts = [new_run(number=NEW + i, run={"job_id": "new"}) for i in range(2)]
    assert only_entry(judge(past, restarts)).verdict is Verdict.PASS


def test_rejected_runs_are_no_baseline(past, new_run):
    fast = past(4)
    slow = [
        replace(run, rejected=frozenset({(NODEID, "ttft")})) for run in past(6, level=0.2, first=5)
    ]
    entry = only_entry(judge(fast + slow, new_run(0.2)))
    assert entry.verdict is Verdict.REGRESSION
    assert entry.n == 4
    assert entry.baseline == pytest.approx(0.1, rel=0.01)


def test_only_the_rejected_entry_of_a_run_is_left_out(stored_test, stored_run):
    runs = [
        stored_run(
            i,
            stored_test(ttft=0.1 * QUIET[i], tpot=0.01 * QUIET[i]),
            rejected=frozenset({(NODEID, "ttft")} if i > 3 else ()),
        )
        for i in range(8)
    ]
    judgement = judge(runs, stored_run(NEW, stored_test(ttft=0.1, tpot=0.01)))
    assert {entry.metric: entry.n for entry in judgement.entries} == {"ttft": 4, "tpot": 8}


def test_runs_before_an_accepted_change_are_no_baseline(past, new_run):
    before, after = past(6), past(4, level=0.2, first=7)
    anchors = {(NODEID, "ttft"): after[0].started_at}
    entry = only_entry(judge(before + after, new_run(0.2), anchors=anchors))
    assert (entry.verdict, entry.n) == (Verdict.PASS, 4)
    entry = only_entry(judge(before + after, new_run(0.25), anchors=anchors))
    assert entry.verdict is Verdict.REGRESSION


def test_after_an_accepted_change_three_new_runs_are_needed(past, new_run):
    before, after = past(6), past(2, level=0.2, first=7)
    anchors = {(NODEID, "ttft"): after[0].started_at}
    entry = only_entry(judge(before + after, new_run(0.2), anchors=anchors))
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.reason == "2 comparable runs in the baseline; 3 are needed"


def test_an_accepted_change_moves_its_own_entry_alone(stored_test, stored_run):
    runs = [stored_run(i, stored_test(ttft=0.1 * QUIET[i], tpot=0.01 * QUIET[i])) for i in range(8)]
    anchors = {(NODEID, "ttft"): runs[5].started_at}
    new = stored_run(NEW, stored_test(ttft=0.1, tpot=0.01))
    found = judge(runs, new, anchors=anchors)
    assert {entry.metric: entry.n for entry in found.entries} == {"ttft": 3, "tpot": 8}


def test_runs_on_other_hardware_are_left_out_and_named(past, new_run):
    h200 = {"gpus": [{"name": "NVIDIA H200", "power_limit_w": 700.0}]}
    runs = past(5, level=0.05, environment=h200) + past(4, first=6)
    judgement = judge(runs, new_run(0.1))
    entry = only_entry(judgement)
    assert (entry.verdict, entry.n) == (Verdict.PASS, 4)
    assert judgement.notes == (
        "left out of the baseline, 5 measurements: GPU: NVIDIA H200 / NVIDIA H100",
    )


def test_a_run_on_a_new_machine_is_not_comparable_and_no_failure(past, new_run):
    h200 = {"gpus": [{"name": "NVIDIA H200", "power_limit_w": 700.0}]}
    judgement = judge(past(5), new_run(0.2, environment=h200))
    entry = only_entry(judgement)
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert entry.reason == "GPU: NVIDIA H100 / NVIDIA H200"
    assert judgement.exit_code() == 0
    assert judgement.exit_code(strict=True) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": {"vllm.block_size": 32}}, "vllm.block_size: none / 32"),
        ({"subject": {"quantization": "fp8"}}, "quantization: none / fp8"),
        ({"subject": {"model": "n"}}, "model: m / n"),
        ({"workload": {"output_tokens": 64}}, "output tokens: 4 / 64"),
        ({"workload": {"requests": "r2"}}, "the prompts differ"),
        ({"workload": {"hash": "h2"}}, "the work differs"),
    ],
)
def test_other_work_is_not_comparable(past, new_run, changes, reason):
    entry = only_entry(judge(past(5, workload={"hash": "h1"}), new_run(0.1, **changes)))
    assert (entry.verdict, entry.reason) == (Verdict.NOT_COMPARABLE, reason)


def test_another_version_is_compared_and_noted(past, new_run):
    runs = past(5, environment={"packages": {"vllm": "1"}})
    judgement = judge(runs, new_run(0.1, environment={"packages": {"vllm": "2"}}))
    assert only_entry(judgement).verdict is Verdict.PASS
    assert judgement.notes == ("newest run / this one: vllm: 1 / 2",)


def test_what_disturbed_this_run_is_noted(past, new_run):
    judgement = judge(past(5), new_run(0.1, environment={"conditions": {"other_cores": 2.0}}))
    assert judgement.notes == ("this run: other processes used the CPU",)


def test_new_and_gone_tests_are_named(stored_test, stored_run):
    runs = [stored_run(i, stored_test(OTHER, ttft=0.1), stored_test(ttft=0.1)) for i in range(4)]
    third = OTHER.replace("test_y", "test_z")
    judgement = judge(runs, stored_run(NEW, stored_test(ttft=0.1), stored_test(third, ttft=0.1)))
    assert [entry.nodeid for entry in judgement.entries] == [NODEID]
    assert judgement.new == (third,)
    assert judgement.gone == (OTHER,)
    assert judgement.exit_code() == 0


def test_without_a_test_in_common_nothing_can_be_judged(stored_test, stored_run):
    runs = [stored_run(i, stored_test(OTHER, ttft=0.1)) for i in range(4)]
    judgement = judge(runs, stored_run(NEW, stored_test(ttft=0.1)))
    assert judgement.entries == ()
    assert judgement.exit_code() == 3


def test_an_empty_past_leaves_every_test_new(stored_test, stored_run):
    judgement = judge([], stored_run(NEW, stored_test(ttft=0.1)))
    assert (judgement.entries, judgement.new) == ((), (NODEID,))


def test_a_metric_that_is_new_waits_for_runs(past, stored_test, stored_run):
    judgement = judge(past(5), stored_run(NEW, stored_test(ttft=0.1, tpot=0.01)))
    found = {entry.metric: entry for entry in judgement.entries}
    assert found["tpot"].verdict is Verdict.INCONCLUSIVE
    assert found["tpot"].reason == "0 comparable runs in the baseline; 3 are needed"
    assert found["tpot"].baseline is None


def test_a_run_is_never_its_own_baseline(past, new_run):
    new = new_run(0.2)
    alone, with_itself = judge(past(5), new), judge([*past(5), new], new)
    assert alone == with_itself
    assert only_entry(alone).n == 5


def test_other_runs_of_its_own_job_are_no_baseline(past, new_run):
    earlier = [new_run(0.2, number=NEW - i, run={"job_id": f"job{NEW}"}) for i in range(1, 4)]
    entry = only_entry(judge(past(5) + earlier, new_run(0.2)))
    assert entry.n == 5
    assert entry.verdict is Verdict.REGRESSION


def test_values_that_are_not_positive_have_no_verdict(past, new_run):
    entry = only_entry(judge(past(5), new_run(0.0)))
    assert (entry.verdict, entry.reason) == (Verdict.NOT_COMPARABLE, "values are not positive")


NATS = [2.0 + 0.05 * (i % 7) for i in range(30)]


@pytest.fixture
def quality_run(stored_test, stored_run):
    """A run of one test's perplexity: ``quality_run(3, nats)``."""

    def make(number, nats=NATS, run=(), **test):
        value = statistics.fmean(nats)
        perplexity = Observation(value, "", "lower", "quality", tuple(nats))
        return stored_run(number, stored_test(perplexity=perplexity, **test), **dict(run))

    return make


def shifted(by):
    return [n + by + 0.0005 * (-1) ** i for i, n in enumerate(NATS)]


@pytest.mark.parametrize("runs", [1, 4])
def test_the_same_quality_as_in_the_past_passes_whatever_is_asked(quality_run, runs):
    judgement = judge([quality_run(i) for i in range(runs)], quality_run(NEW))
    entry = only_entry(judgement)
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")
    assert (entry.effect, entry.low, entry.high, entry.n) == (0.0, 0.0, 0.0, runs)
    assert judgement.exit_code(strict=True) == 0


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (0.01, Verdict.REGRESSION),
        (-0.01, Verdict.IMPROVEMENT),
        (0.004, Verdict.PASS),
        (0.0, Verdict.PASS),
    ],
)
def test_quality_pairs_up_by_document_with_the_past(quality_run, change, verdict):
    entry = only_entry(judge([quality_run(1)], quality_run(NEW, shifted(change))))
    assert entry.verdict is verdict
    assert entry.effect == pytest.approx(math.expm1(change), abs=1e-9)


def test_one_strange_run_of_the_past_does_not_move_the_level_of_quality(quality_run):
    past = [quality_run(i, shifted(0.5) if i == 2 else NATS) for i in range(5)]
    assert only_entry(judge(past, quality_run(NEW))).verdict is Verdict.PASS


def test_quality_that_worsens_step_by_step_shows_against_the_first_runs(quality_run):
    past = [quality_run(i, shifted(0.0004 * i)) for i in range(40)]
    entry = only_entry(judge(past, quality_run(NEW, shifted(0.0004 * 40))))
    assert entry.verdict is Verdict.REGRESSION
    assert entry.reason == "step by step, against the first 20 runs of its level"


@pytest.mark.parametrize(
    ("past", "reason"),
    [
        ({"workload": {"text": "another"}}, "the scored text differs"),
        ({"workload": {"hash": "another"}}, "the work differs"),
        ({"nats": NATS[:-1]}, "the documents are not the same"),
    ],
)
def test_quality_on_another_text_is_not_comparable(quality_run, past, reason):
    new = quality_run(NEW, workload={"text": "t", "hash": "h"})
    entry = only_entry(judge([quality_run(i, **past) for i in range(3)], new))
    assert (entry.verdict, entry.reason) == (Verdict.NOT_COMPARABLE, reason)


def test_rejected_quality_is_no_baseline(quality_run):
    rejected = {"rejected": frozenset({(NODEID, "perplexity")})}
    entry = only_entry(judge([quality_run(1, shifted(0.1), rejected)], quality_run(NEW)))
    assert entry.verdict is Verdict.INCONCLUSIVE
    assert entry.reason == "0 comparable runs in the baseline; 1 is needed"


def test_limits_are_those_of_the_new_runs_test(past, new_run):
    runs = past(5, limits={"min_effect": {"*": 0.09}})
    assert only_entry(judge(runs, new_run(0.107))).verdict is Verdict.REGRESSION
    own = {"min_effect": {"*": 0.09}}
    assert only_entry(judge(runs, new_run(0.107, limits=own))).verdict is Verdict.PASS
    own = {"must_see": {"*": 0.03}}
    assert only_entry(judge(runs, new_run(0.1026, limits=own))).verdict is Verdict.INCONCLUSIVE


def test_problems_of_files_are_passed_on(past, new_run):
    judgement = judge(past(5), new_run(0.1), problems=["x.json: is empty"])
    assert judgement.failures == ("x.json: is empty",)


def test_a_slow_creep_shows_against_the_first_runs_of_the_level(stored_test, stored_run):
    # 0.2 % a run: against the newest 20 it is never enough.
    runs = [stored_run(i, stored_test(ttft=0.1 * 1.002**i)) for i in range(40)]
    entry = only_entry(judge(runs, stored_run(NEW, stored_test(ttft=0.1 * 1.002**40))))
    assert entry.verdict is Verdict.REGRESSION
    assert entry.reason == "step by step, against the first 20 runs of its level"


def test_a_metric_that_the_new_run_no_longer_has_is_named(stored_test, stored_run):
    runs = [stored_run(i, stored_test(ttft=0.1, tpot=0.01)) for i in range(4)]
    found = judge(runs, stored_run(NEW, stored_test(ttft=0.1)))
    (lost,) = (entry for entry in found.entries if entry.metric == "tpot")
    assert (lost.verdict, lost.reason) == (Verdict.NOT_COMPARABLE, "the new run no longer has it")


def test_a_card_with_limited_clocks_is_other_hardware(stored_test, stored_run):
    card = {"name": "NVIDIA H100", "power_limit_w": 700.0}
    free = {"gpus": [{**card, "clock_limit_mhz": None}]}
    slow = {"gpus": [{**card, "clock_limit_mhz": 1200}]}
    runs = [stored_run(i, stored_test(ttft=0.1, environment=free)) for i in range(4)]
    entry = only_entry(judge(runs, stored_run(NEW, stored_test(ttft=0.12, environment=slow))))
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert "GPU clock limit: unlimited / 1200" in entry.reason


FUTURE = "2046-01-01T00:00:00+00:00"


@pytest.mark.parametrize("start", [FUTURE, "zzz", "", "9999-99-99"])
def test_a_run_without_a_place_in_time_does_not_hide_the_others(past, new_run, start):
    wrong = new_run(0.5, number=50, run={"started_at": start}, subject={"vllm.block_size": 32})
    judgement = judge([*past(5), wrong], new_run(0.1))
    entry = only_entry(judgement)
    assert (entry.verdict, entry.n) == (Verdict.PASS, 5)
    (line,) = judgement.failures
    assert line.startswith("0050.json: its start, ")


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": {"vllm.block_size": 32}},
        {"subject": {"type": "float16"}},
        {"subject": {"revision": "b" * 40}},
        {"workload": {"output_tokens": 64}},
        {"environment": {"threads": 2}},
    ],
)
def test_a_setting_that_the_project_changed_is_a_new_level_and_red(past, new_run, changes):
    before = {"subject": {"revision": "a" * 40}, "environment": {"threads": 1}}
    after = {
        part: {**before.get(part, {}), **changes.get(part, {})} for part in {*before, *changes}
    }
    judgement = judge(past(5, **before), new_run(0.1, **after))
    assert only_entry(judgement).verdict is Verdict.NOT_COMPARABLE
    assert judgement.new_levels == [only_entry(judgement)]
    assert judgement.exit_code() == 1
    assert new_level_line(judgement).startswith(
        "1 entry is at a new level, because a setting changed"
    )


def test_a_new_level_stays_red_while_its_runs_are_rejected(past, new_run):
    changed = {"subject": {"vllm.block_size": 32}}
    first = new_run(0.1, number=50, run={"rejected": frozenset({(NODEID, "ttft")})}, **changed)
    assert judge([*past(5), first], new_run(0.1, **changed)).exit_code() == 1


def test_an_accepted_level_is_no_new_one(past, new_run):
    changed = {"subject": {"vllm.block_size": 32}}
    first = new_run(0.1, number=50, **changed)
    anchors = {(NODEID, "ttft"): first.started_at}
    judgement = judge([*past(5), first], new_run(0.1, **changed), anchors=anchors)
    assert only_entry(judgement).verdict is Verdict.INCONCLUSIVE
    assert judgement.exit_code() == 0


def test_another_setting_on_another_machine_is_not_red(past, new_run):
    h200 = {"gpus": [{"name": "NVIDIA H200", "power_limit_w": 700.0}]}
    changed = new_run(0.1, environment=h200, subject={"vllm.block_size": 32})
    assert judge(past(5), changed).exit_code() == 0
