from dataclasses import replace

import pytest

from pytest_llmperf.metrics.ceilings import Roof
from pytest_llmperf.metrics.samples import metric, of_these_rounds
from pytest_llmperf.report.notes import notes
from pytest_llmperf.report.terminal import Row, legend, rows_of, table


def row(test, cell, invalid_text=False, precision=None, **samples):
    metrics = {key: metric(key, values) for key, values in samples.items()}
    metrics = of_these_rounds(metrics, len(samples.get("ttft", [])), precision)
    return Row(test, cell, metrics, invalid_text, engine=cell)


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
    assert cells(lines[1]) == ["ttft ms", "tpot ms", "e2e s", "tokens/s", "peak MiB"]


def test_a_row_has_medians_in_the_units_of_its_columns():
    lines = table([NONE])
    assert cells(lines[3]) == [
        "phi-2-vllm-none",
        "200.0 ±5.0%",
        "12.50",
        "1.500",
        "30.0",
        "6,000",
    ]


def test_the_ratio_is_against_the_first_engine():
    lines = table([NONE, NF4])
    assert lines[3].endswith("1.00x")
    assert lines[4].endswith("1.50x")  # 45 / 30


def test_one_engine_has_no_ratio():
    assert "ratio" not in table([NONE])[1]
    assert "ratio" not in legend([NONE])[0]


@pytest.fixture
def measured(stored_record):
    """Rows of one test: ``measured(("a", {"batch_size": 8}, {"ttft": 0.1}), ...)``."""

    def record(engine, work, metrics, model="m"):
        work = {"input_tokens": 32, "output_tokens": 8, "batch_size": 1} | work
        requests = "-".join(str(value) for value in work.values())
        record = stored_record(
            f"t.py::test_x[{model}-{engine}-none-{requests}]",
            model={"name": model},
            backend={"name": engine},
            workload={"requests": requests, **work},
            **metrics,
        )
        return record | {"cell": f"{model}-{engine}-none", "parameters": {}}

    return lambda *rows: rows_of([record(*row) for row in rows])


def ratios(rows):
    """The last cell of each row."""
    return [cells(line)[-1] for line in table(rows)[3:]]


def test_the_ratio_never_compares_one_batch_size_or_input_length_with_another(measured):
    rate = "output_throughput"
    rows = measured(
        ("a", {"batch_size": 1}, {rate: 10.0}),
        ("a", {"batch_size": 16}, {rate: 100.0}),
        ("a", {"input_tokens": 64}, {rate: 5.0}),
        ("b", {"batch_size": 1}, {rate: 26.0}),
        ("b", {"batch_size": 16}, {rate: 200.0}),
        ("b", {"input_tokens": 64}, {rate: 5.0}),
    )
    assert ratios(rows) == ["1.00x", "1.00x", "1.00x", "2.60x", "2.00x", "1.00x"]


def test_a_size_that_the_test_chooses_itself_is_another_work(measured):
    """The ids are the same, and the engines did not do the same."""
    rows = measured(
        ("a", {"batch_size": 8}, {"output_throughput": 10.0}),
        ("b", {"batch_size": 16}, {"output_throughput": 20.0}),
    )
    rows = [replace(row, parameters="") for row in rows]
    assert ratios(rows) == ["1.00x", "-"]


def test_what_the_first_engine_did_not_do_has_no_ratio(measured):
    rows = measured(
        ("a", {}, {"output_throughput": 10.0}),
        ("b", {}, {"output_throughput": 20.0}),
        ("b", {"batch_size": 64}, {"output_throughput": 300.0}),
        ("c", {"batch_size": 64}, {"output_throughput": 400.0}),
    )
    assert ratios(rows) == ["1.00x", "2.00x", "-", "-"]


def test_a_text_that_is_longer_for_another_model_is_compared_within_that_model(measured):
    rows = measured(
        ("a", {}, {"output_throughput": 10.0}),
        ("b", {}, {"output_throughput": 20.0}),
        ("a", {"input_tokens": 40}, {"output_throughput": 30.0}, "other"),
        ("b", {"input_tokens": 40}, {"output_throughput": 45.0}, "other"),
        ("b", {}, {"output_throughput": 25.0}, "third"),
    )
    assert ratios(rows) == ["1.00x", "2.00x", "1.00x", "1.50x", "2.50x"]


def all_speeds(**given):
    keys = (
        "ttft tpot e2e output_throughput output_throughput_per_request prefill_throughput mbu mfu"
    )
    return dict.fromkeys(keys.split(), 1.0) | {"peak_memory": 100.0} | given


def test_prompts_are_answered_in_prompt_tokens(measured):
    rows = measured(
        ("a", {"output_tokens": 2}, all_speeds(prefill_throughput=1000.0)),
        ("a", {"output_tokens": 2, "input_tokens": 64}, all_speeds(prefill_throughput=2000.0)),
        ("b", {"output_tokens": 2}, all_speeds(prefill_throughput=1500.0)),
    )
    assert cells(table(rows)[1]) == ["ttft ms", "prompt tokens/s", "mfu", "peak MiB", "ratio"]
    assert ratios(rows) == ["1.00x", "1.00x", "1.50x"]
    assert "ratio: prompt tokens/s against the first engine at the same work" in legend(rows)[0]


def test_batches_are_answered_in_tokens_of_all_and_of_one_request(measured):
    rows = measured(
        ("a", {"batch_size": 1}, all_speeds()),
        (
            "a",
            {"batch_size": 8},
            all_speeds(output_throughput=4.0, output_throughput_per_request=0.5),
        ),
        (
            "b",
            {"batch_size": 8},
            all_speeds(output_throughput=6.0, output_throughput_per_request=0.7),
        ),
    )
    titles = ["ttft ms", "tpot ms", "tokens/s", "per request", "mbu", "mfu", "peak MiB", "ratio"]
    assert cells(table(rows)[1]) == titles
    assert cells(table(rows)[5])[3:5] == ["6.0", "0.7"]
    assert ratios(rows) == ["1.00x", "1.00x", "1.50x"]


def test_decoding_is_answered_in_time_per_token(measured):
    rows = measured(
        ("a", {"output_tokens": 16}, all_speeds(tpot=0.02)),
        ("a", {"output_tokens": 64}, all_speeds(tpot=0.02)),
        ("b", {"output_tokens": 16}, all_speeds(tpot=0.01)),
        ("b", {"output_tokens": 64}, all_speeds(tpot=0.04)),
    )
    titles = ["tpot ms", "e2e s", "tokens/s", "mbu", "peak MiB", "ratio"]
    assert cells(table(rows)[1]) == titles
    assert ratios(rows) == ["1.00x", "1.00x", "2.00x", "0.50x"]
    assert "ratio: 1 / tpot against the first engine at the same work" in legend(rows)[0]


def test_the_legend_names_what_each_tests_ratio_is_of(measured):
    prompts = measured(
        ("a", {"output_tokens": 1}, all_speeds()), ("b", {"output_tokens": 1}, all_speeds())
    )
    batches = measured(
        ("a", {"batch_size": 8}, all_speeds()), ("b", {"batch_size": 8}, all_speeds())
    )
    words = (
        "ratio: prompt tokens/s (prompts), tokens/s (batches) against the first engine at the same "
    )
    assert words in legend([*prompts, *[replace(row, test="t.py::test_y") for row in batches]])[0]


@pytest.mark.parametrize("width", [80, 120])
def test_what_a_test_asks_fits_the_terminal(measured, width):
    long = [("transformers", 1), ("transformers", 128), ("llama-cpp-python", 128)]
    speed = {key: [1234.5, 1300.0] for key in all_speeds()}
    works = ({"output_tokens": 1}, {"output_tokens": 64}, {"output_tokens": 64, "batch_size": 8})
    answers = ("prompt tokens/s", "tokens/s", "per request")
    for work, answer in zip(works, answers, strict=True):
        rows = measured(
            *(
                (engine, {"input_tokens": n} | work, speed, "mistral-7b-instruct")
                for engine, n in long
            )
        )
        lines = table(rows, width)
        assert max(map(len, lines)) <= width
        assert answer in cells(lines[1])
        assert cells(lines[1])[-1] == "ratio"


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
    rows = [WIDE, replace(WIDE, cell="phi-2-transformers-nf4", engine="phi-2-transformers-nf4")]
    assert max(len(line) for line in [*table(rows, width), *legend(rows, width=width)]) <= width


def test_utilization_goes_first_then_the_intervals():
    rows = [WIDE, replace(WIDE, cell="phi-2-vllm-nf4", engine="phi-2-vllm-nf4")]
    full, narrow, narrower = (table(rows, width) for width in (None, 80, 70))
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
    assert cells(table([NF4])[1]) == ["ttft ms", "tokens/s", "peak MiB"]


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
    (line,) = legend([NONE, NF4])
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
    assert lines[1:] == ["   tokens/s  mbu", "-  --------  ---", "a      30.0   50"]


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
