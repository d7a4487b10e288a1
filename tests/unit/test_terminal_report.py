from dataclasses import replace

import pytest

from pytest_llmperf.metrics.ceilings import Roof
from pytest_llmperf.metrics.samples import metric, of_these_rounds
from pytest_llmperf.report.notes import notes
from pytest_llmperf.report.terminal import Row, legend, rows_of, table


def row(test, cell, invalid_text=False, precision=None, **samples):
    metrics = {key: metric(key, values) for key, values in samples.items()}
    metrics = of_these_rounds(metrics, len(samples.get("ttft", [])), precision)
    return Row(test, cell, metrics, invalid_text)


STEADY = [0.2, 0.19, 0.21] * 4
"""Twelve rounds whose interval reaches from the third to the tenth, and so from 0.19 to 0.21: ±5 %."""
NONE = row(
    "test_a.py::test_latency",
    "phi-2-vllm-none",
    ttft=STEADY,
    tpot=[0.0125],
    e2e=[1.5],
    output_throughput=[30.0],
    peak_memory=[6000.0],
    load_time=[9.0],
)
NF4 = row(
    "test_a.py::test_latency",
    "phi-2-vllm-nf4",
    ttft=[0.1],
    output_throughput=[45.0],
    peak_memory=[2500.4],
    kv_cache_memory=[1024.0],
)
LOAD = row("test_a.py::test_load", "phi-2-vllm-none", load_time=[3.25], model_memory=[5300.0])
RANDOM = row("test_a.py::test_latency", "phi-2-vllm-fp4", invalid_text=True, ttft=[0.1])


def cells(line):
    """Return the cells of a line, which two or more spaces separate."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_section_starts_with_its_test_and_its_columns():
    lines = table([NONE])
    assert lines[0] == "test_a.py::test_latency"
    assert cells(lines[1]) == ["ttft ms", "tpot ms", "e2e s", "tokens/s", "peak MiB", "ratio"]


def test_a_row_has_medians_in_the_units_of_its_columns():
    lines = table([NONE])
    assert cells(lines[3]) == [
        "phi-2-vllm-none",
        "200.0 ±5.0%",
        "12.50",
        "1.500",
        "30.0",
        "6,000",
        "1.00x",
    ]


def test_the_ratio_is_against_the_first_row_of_the_section():
    lines = table([NONE, NF4])
    assert lines[3].endswith("1.00x")
    assert lines[4].endswith("1.50x")  # 45 / 30


def test_the_ratio_is_against_the_first_row_with_the_same_other_parameters(stored_record):
    rates = {("a", 1): 10.0, ("a", 16): 100.0, ("b", 1): 26.0, ("b", 16): 200.0}
    records = [
        stored_record(
            f"t.py::test_x[m-{engine}-none-{batch}]",
            backend={"name": engine},
            output_throughput=rate,
        )
        | {"parameters": {"batch_size": str(batch)}}
        for (engine, batch), rate in rates.items()
    ]
    rows = rows_of(records)
    assert [cells(line) for line in table(rows)[3:]] == [
        ["m-a-none batch_size=1", "10.0", "1.00x"],
        ["m-a-none batch_size=16", "100.0", "1.00x"],
        ["m-b-none batch_size=1", "26.0", "2.60x"],
        ["m-b-none batch_size=16", "200.0", "2.00x"],
    ]
    assert (
        "the first row with the same other parameters"
        in legend([replace(rows[0], metrics=NONE.metrics)])[0]
    )


def test_a_record_without_the_names_of_its_parameters_shows_its_id(stored_record):
    (row,) = rows_of([stored_record("t.py::test_x[m-vllm-none-4-text]", ttft=0.1)])
    assert (row.cell, row.parameters) == ("m-vllm-none-4-text", "4-text")


WIDE = row(
    "test_a.py::test_latency",
    "phi-2-vllm-none",
    ttft=STEADY,
    tpot=[0.01],
    e2e=[1.5],
    output_throughput=[30.0],
    mbu=[0.4],
    mfu=[0.3],
    peak_memory=[6000.0],
    kv_cache_memory=[1024.0],
)
WIDE = replace(WIDE, model="phi-2")


@pytest.mark.parametrize("width", [55, 60, 70, 80, 90, 100, 115])
def test_the_table_fits_the_terminal(width):
    rows = [WIDE, replace(WIDE, cell="phi-2-transformers-nf4")]
    assert max(len(line) for line in [*table(rows, width), *legend(rows, width=width)]) <= width


def test_utilization_goes_first_then_the_intervals():
    full, narrow, narrower = (table([WIDE], width) for width in (None, 80, 70))
    assert "mbu" in full[1]
    assert "mbu" not in narrow[1]
    assert "±" in narrow[3]
    assert "±" not in narrower[3]
    assert narrow[-1] == "left out in 80 columns: mbu, mfu"
    assert narrower[-1] == "left out in 70 columns: mbu, mfu, ±"


def test_a_model_that_all_rows_have_moves_into_the_heading():
    lines = table([WIDE], 62)
    assert lines[0] == "test_a.py::test_latency (phi-2)"
    assert lines[3].startswith("vllm-none ")


def test_the_ratio_is_one_of_medians():
    # Medians 10 and 20; means 10 and 40.
    first = row("t", "a", output_throughput=[10.0, 10.0, 10.0])
    second = row("t", "b", output_throughput=[20.0, 20.0, 80.0])
    assert table([first, second])[4].endswith("2.00x")


def test_a_row_without_throughput_has_no_ratio():
    lines = table([NONE, RANDOM])
    assert not lines[4].rstrip().endswith("x")


def test_a_reserved_pool_stands_apart_from_the_peak():
    assert "2,500 (1,024)" in table([NF4])[3]


def test_an_empty_pool_is_not_shown():
    lines = table([row("t", "c", peak_memory=[100.0], kv_cache_memory=[0.0])])
    assert cells(lines[3]) == ["c", "100"]


def test_a_missing_value_is_a_dash():
    assert cells(table([NONE, NF4])[4]) == [
        "phi-2-vllm-nf4",
        "100.0",
        "-",
        "-",
        "45.0",
        "2,500 (1,024)",
        "1.50x",
    ]


def test_a_column_without_any_value_is_left_out():
    assert cells(table([NF4])[1]) == ["ttft ms", "tokens/s", "peak MiB", "ratio"]


def test_load_time_has_a_section_of_its_own():
    lines = table([NONE, LOAD])
    assert "load s" not in lines[1]
    assert lines[4:6] == ["", "test_a.py::test_load"]
    assert cells(lines[6]) == ["load s"]
    assert cells(lines[8]) == ["phi-2-vllm-none", "3.2"]


def test_rows_of_one_test_stand_together():
    lines = table([NONE, LOAD, NF4])
    assert [line for line in lines if line.startswith("test_")] == [
        "test_a.py::test_latency",
        "test_a.py::test_load",
    ]
    assert lines[4].startswith("phi-2-vllm-nf4")


def test_no_rows_give_no_lines():
    assert table([]) == []
    assert legend([]) == []


def test_the_legend_explains_the_columns():
    (line,) = legend([NONE])
    for word in ("p50", "95 % interval", "ratio", "peak MiB", "key-value pool"):
        assert word in line


def test_loading_alone_needs_no_legend():
    assert legend([LOAD]) == []


def test_the_legend_says_that_weights_are_random():
    assert legend([NONE, RANDOM])[1] == (
        "random weights (--llm-load-format=dummy): speed and memory are real, text is not"
    )


def test_utilization_stands_beside_the_tokens_in_whole_percents():
    both = row("t", "a", output_throughput=[30.0, 31.0], mbu=[0.514, 0.52], mfu=[0.084])
    lines = table([both, row("t", "b", output_throughput=[30.0], mbu=[1.2])])
    assert cells(lines[1]) == ["tokens/s", "mbu", "mfu", "ratio"]
    # Without a spread: that of tpot says it.
    assert cells(lines[3])[2:4] == ["52", "8"]
    assert cells(lines[4])[2:4] == ["120", "-"]


def test_columns_are_as_wide_as_what_stands_in_them():
    lines = table([row("t", "a", output_throughput=[30.0], mbu=[0.5])])
    assert lines[1:] == [
        "   tokens/s  mbu  ratio",
        "-  --------  ---  -----",
        "a      30.0   50  1.00x",
    ]


def roof(read=None, matmul=None, dtype=None):
    return Roof(read, matmul, dtype, 1, "by hand")


def test_the_legend_names_the_measured_ceilings():
    rows = [
        replace(NONE, roof=roof(17.24e9, 1.639e11, "bfloat16")),
        replace(NF4, roof=roof(30.2e9)),
        replace(NF4, roof=roof(30.2e9, 1.6e11, "float32")),
    ]
    assert legend(rows)[1] == (
        "mbu: % of the memory bandwidth that decoding used; mfu: % of the arithmetic rate that prefill "
        "used; of the best rates seen on this machine (measured by by hand): 17.2 to 30.2 GB/s, "
        "0.164 TFLOP/s bfloat16, 0.16 TFLOP/s float32"
    )


def test_the_legend_names_one_ceiling_where_there_is_one():
    (_, line) = legend([replace(NONE, roof=roof(17.24e9)), NF4])
    assert line.endswith("seen on this machine (measured by by hand): 17.2 GB/s")


def test_the_legend_says_which_engine_has_raised_a_ceiling():
    raised = replace(
        roof(17.24e9, 1.93e11, "float32"),
        matmul_by="reached by m-ctranslate2-none in test_prefill",
        measured_matmul_flops=1.64e11,
    )
    (_, line) = legend([replace(NONE, roof=raised)])
    assert line.endswith(
        "(measured by by hand): 17.2 GB/s, 0.193 TFLOP/s float32 "
        "(reached by m-ctranslate2-none in test_prefill)"
    )


def test_a_file_or_a_test_cannot_control_a_terminal():
    lines = table([replace(NONE, test="a\x1b[31m\n::test", cell="phi\x1b]0;owned\x07\nx")])
    assert lines[0] == r"a\x1b[31m\n::test"
    assert lines[3].startswith(r"phi\x1b]0;owned\x07\nx ")


# Notes


def with_ceilings(record, **changes):
    record["environment"]["ceilings"] = roof(17.24e9, 1.93e11, "float32").to_record() | changes
    return record


def test_a_note_says_which_engine_has_raised_a_ceiling_and_how_far(stored_record):
    by = {"matmul_by": "reached by m-ctranslate2-none in test_prefill"}
    raised = with_ceilings(stored_record(), measured_matmul_flops=1.64e11, **by)
    assert notes([raised, raised, stored_record()]) == [
        "mfu: 0.193 TFLOP/s float32 is reached by m-ctranslate2-none in test_prefill, 1.18 times what "
        "was measured by by hand, and so the ceiling"
    ]


def test_a_note_doubts_a_rate_far_above_what_was_measured(stored_record):
    by = {"read_by": "reached by m-vllm-none in test_decode"}
    (line,) = notes([with_ceilings(stored_record(), measured_read_bytes_per_s=2e9, **by)])
    assert line.startswith("mbu: 17.2 GB/s is reached by m-vllm-none in test_decode, 8.62 times ")
    assert line.endswith("the ceiling of this run only: is the number of parameters right?")


def test_what_another_library_has_measured_needs_no_note(stored_record):
    by = {"matmul_by": "measured by numpy 2.3.5"}
    assert notes([with_ceilings(stored_record(), measured_matmul_flops=1.64e11, **by)]) == []


def test_large_rates_are_written_without_a_power_of_ten():
    (_, line) = legend([replace(NONE, roof=roof(4.27e12, 7.9e14, "bfloat16"))])
    assert line.endswith(": 4,270 GB/s, 790 TFLOP/s bfloat16")


def test_a_median_that_missed_its_precision_is_marked_with_a_legend():
    missed = row(
        "test_a.py::test_x", "m-vllm-none", precision=0.01, ttft=STEADY, tpot=[0.0125] * 12
    )
    assert cells(table([missed])[3]) == ["m-vllm-none", "~200.0 ±5.0%", "12.50 ±0.0%"]
    assert legend([missed])[-1] == (
        "~: not known to 1 % (--llm-precision) when its time was spent (--llm-max-time); without ±: "
        "fewer than 6 rounds"
    )


def test_few_rounds_have_no_interval_and_are_marked_if_a_precision_was_asked_for():
    few = row("test_a.py::test_x", "m-vllm-none", precision=0.01, ttft=[0.1, 0.1, 0.1])
    assert cells(table([few])[3]) == ["m-vllm-none", "~100.0"]


def test_a_fixed_number_of_rounds_is_never_marked():
    few = row("test_a.py::test_x", "m-vllm-none", ttft=[0.1, 0.2, 0.3])
    assert cells(table([few])[3]) == ["m-vllm-none", "200.0"]
    assert "~" not in "".join(legend([few]))


def test_a_median_that_is_hardly_known_has_no_digits():
    # Rounds of a trend, whose median may lie far outside of them.
    trend = [0.01 * 2**i for i in range(12)]
    hardly = row("test_a.py::test_x", "m-vllm-none", precision=0.01, ttft=trend)
    assert cells(table([hardly])[3])[1].endswith(" ±>100%")
