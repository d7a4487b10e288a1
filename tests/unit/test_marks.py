"""Rows that were measured under a disturbance are marked in words, wherever they are shown."""

import pytest

from pytest_llmperf.analysis.fit import measured_cells, needs
from pytest_llmperf.analysis.marks import marks_of
from pytest_llmperf.analysis.tradeoff import trade_offs
from pytest_llmperf.report.fit import fit_lines
from pytest_llmperf.report.line import wrapped
from pytest_llmperf.report.terminal import legend, rows_of, table
from pytest_llmperf.report.tradeoff import lines

STEADY = [0.100, 0.101, 0.102, 0.101, 0.100]
ON_CPU = {"device": "cpu", "cpu": "a processor", "cores": 2, "accelerators": [], "gpus": []}


@pytest.fixture
def on_cpu(stored_record):
    """A record of an engine on two cores: ``on_cpu("vllm", rate=300.0, other_cores=1.56)``."""

    def make(engine, rate=100.0, canary=(0.0084, 0.0085), mode="none", test="t.py::test_x", **more):
        conditions = {key: more.pop(key) for key in list(more) if key in CONDITIONS}
        return stored_record(
            f"{test}[m-{engine}-{mode}]",
            backend={"name": engine},
            quantization={"mode": mode},
            environment={
                **ON_CPU,
                "conditions": {"steal_share": 0.0, "other_cores": 0.02, **conditions},
                "canary": {"compute_s": list(canary)},
            },
            output_throughput=[rate] * 5,
            **more,
        )

    return make


CONDITIONS = (
    "steal_share",
    "other_cores",
    "swapped_mib",
    "throttling",
    "other_gpu_processes",
)


def words(record, *others):
    return [mark.words for mark in marks_of([record, *others])[0]]


def test_a_quiet_measurement_has_no_mark(on_cpu):
    assert words(on_cpu("vllm", ttft=STEADY)) == []


@pytest.mark.parametrize(
    ("condition", "value", "mark"),
    [
        ("other_cores", 1.56, "busy: 1.6 of 2 cores"),
        ("steal_share", 0.05, "hypervisor took 5 % of the CPU"),
        ("swapped_mib", 340.0, "swapping: 340 MiB"),
        ("throttling", ["hw_thermal_slowdown"], "GPU throttled: hw thermal slowdown"),
        ("other_gpu_processes", 2, "shared GPU: 2 other processes"),
        ("other_gpu_processes", 1, "shared GPU: 1 other process"),
    ],
)
def test_each_disturbance_is_said_in_words(on_cpu, condition, value, mark):
    assert words(on_cpu("vllm", **{condition: value})) == [mark]


@pytest.mark.parametrize("reason", ["gpu_idle", "none", "sw_power_cap"])
def test_a_limit_that_every_run_has_is_no_disturbance(on_cpu, reason):
    assert words(on_cpu("vllm", throttling=[reason])) == []


def test_a_few_cores_of_a_large_machine_are_not_busy(stored_record):
    environment = {"cores": 128, "conditions": {"other_cores": 3.0}}
    assert words(stored_record(environment=environment, ttft=STEADY)) == []
    environment["conditions"]["other_cores"] = 20.0
    assert words(stored_record(environment=environment, ttft=STEADY)) == ["busy: 20.0 of 128 cores"]


def test_no_neighbor_moves_the_simulated_engine(stored_record):
    environment = {"device": "simulated", "cores": 2, "conditions": {"other_cores": 1.5}}
    assert words(stored_record(environment=environment, ttft=STEADY)) == []


def test_a_canary_is_slow_by_what_the_machine_can_do(on_cpu):
    slow, quick = on_cpu("transformers", canary=(0.0166, 0.0168)), on_cpu("vllm")
    assert words(slow, quick) == ["canary 2.0x slow"]
    assert words(quick, slow) == []


def test_a_canary_that_became_slow_meanwhile_is_seen_without_another_record(on_cpu):
    assert words(on_cpu("vllm", canary=(0.0084, 0.0126))) == ["canary 1.5x slow"]


def test_the_canaries_of_two_machines_are_not_compared(on_cpu):
    other = on_cpu("vllm")
    other["environment"]["cpu"] = "a faster processor"
    assert words(on_cpu("vllm", canary=(0.0168, 0.0168)), other) == []


def test_on_a_gpu_the_canaries_of_two_engines_may_be_other_work(stored_record):
    records = [
        stored_record(
            f"t.py::test_x[m-{engine}-none]",
            backend={"name": engine},
            environment={"canary": {"compute_s": [seconds, seconds]}},
        )
        for engine, seconds in (("transformers", 0.0002), ("vllm", 0.01))
    ]
    assert marks_of(records) == [(), ()]


def test_rounds_that_differ_are_unsteady(on_cpu):
    # Bimodal: quartiles 0.017 and 0.564, median 0.271.
    ttft = [0.564, 0.017, 0.271, 0.015, 0.586]
    assert words(on_cpu("vllm", ttft=ttft, tpot=STEADY)) == ["unsteady: ttft ±101 %"]


def test_an_unsteady_throughput_has_the_name_of_its_column(on_cpu):
    record = on_cpu("vllm")
    record["metrics"]["output_throughput"]["samples"] = [50.0, 100.0, 150.0]
    assert words(record) == ["unsteady: tokens/s ±25 %"]


def test_requests_of_one_batch_may_differ(on_cpu):
    # Two requests a round: the second waits for the first.
    assert words(on_cpu("vllm", ttft=[0.1, 0.4] * 5)) == []


def test_a_record_without_conditions_has_no_mark(stored_record):
    record = stored_record(ttft=STEADY)
    del record["environment"]["conditions"]
    assert words(record) == []


def shown(*records):
    return table(rows_of(records))


def test_the_table_marks_the_row_and_has_no_ratio_to_it(on_cpu):
    disturbed = on_cpu("transformers", 77.2, (0.0166, 0.0166), other_cores=1.56)
    lines_ = shown(disturbed, on_cpu("vllm", 312.4))
    assert lines_[3].split() == ["m-transformers-none", "!", "77.2", "1.00x"]
    assert lines_[4].split() == ["m-vllm-none", "312.4", "-"]
    assert lines_[5] == "! m-transformers-none: busy: 1.6 of 2 cores; canary 2.0x slow"
    assert "4.0" not in "\n".join(lines_)


def test_quiet_rows_have_their_ratio(on_cpu):
    lines_ = shown(on_cpu("transformers", 100.0), on_cpu("vllm", 160.0))
    assert lines_[-1].endswith("1.60x")
    assert "!" not in "\n".join([*lines_, *legend(rows_of([on_cpu("vllm")]))])


def test_an_unsteady_ttft_leaves_the_ratio_of_the_rates(on_cpu):
    unsteady = on_cpu("vllm", 160.0, ttft=[0.564, 0.017, 0.271, 0.015, 0.586])
    lines_ = shown(on_cpu("transformers", 100.0, ttft=STEADY), unsteady)
    assert lines_[4].endswith("1.60x")
    assert lines_[5] == "! m-vllm-none: unsteady: ttft ±101 %"


def test_rows_with_the_same_words_share_a_line(on_cpu):
    both = [on_cpu(engine, other_cores=0.5) for engine in ("vllm", "transformers")]
    assert shown(*both)[-1] == "! m-vllm-none, m-transformers-none: busy: 0.5 of 2 cores"


def test_the_legend_explains_the_mark(on_cpu):
    rows = rows_of([on_cpu("vllm", other_cores=0.5)])
    assert legend(rows)[-1].startswith("!: disturbed")


@pytest.fixture
def disturbed_trade_off(on_cpu):
    quality = {"perplexity": 10.0}
    return trade_offs(
        [
            on_cpu("vllm", 100.0, peak_memory=400.0, model_memory=300.0, **quality),
            on_cpu("vllm", 50.0, mode="nf4", other_cores=1.5, model_memory=100.0, **quality),
        ]
    )


def test_a_trade_off_compares_no_disturbed_speed(disturbed_trade_off):
    (words_,) = disturbed_trade_off[0].words()
    assert words_ == (
        "vllm-nf4: weights 67 % smaller, speed not compared (disturbed), perplexity +0.0 %"
    )


@pytest.mark.parametrize(
    ("tablefmt", "row", "note"),
    [
        ("simple", "vllm-nf4 !", "! vllm-nf4: busy: 1.5 of 2 cores"),
        ("github", "| `vllm-nf4` !", "- ! `vllm-nf4`: busy: 1.5 of 2 cores"),
    ],
)
def test_a_trade_off_marks_the_row(disturbed_trade_off, tablefmt, row, note):
    printed = lines(disturbed_trade_off, tablefmt)
    assert any(line.startswith(row) for line in printed)
    assert note in printed


def test_fit_marks_a_peak_that_was_measured_while_swapping(stored_record):
    state = {"conditions": {"swapped_mib": 340.0, "other_cores": 7.0}}
    record = stored_record(environment=state, peak_memory=900.0, model_memory=800.0, ttft=STEADY)
    printed = fit_lines(needs(measured_cells([record])), 16384)
    assert any(line.startswith("vllm-none !") for line in printed)
    # A busy processor changes no memory.
    assert "! vllm-none: swapping: 340 MiB" in printed


def test_words_break_between_words():
    assert wrapped("one two three", 8) == ["one two", "  three"]
    assert wrapped("one two three", None) == ["one two three"]
    assert wrapped("one/two/three-four five", 8) == ["one/two/three-four", "  five"]
