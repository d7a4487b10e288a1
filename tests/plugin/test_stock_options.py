"""Options about measurements that pytest-benchmark makes itself: a line says that they do nothing."""

import pytest


def notes(run):
    return [line for line in run.outlines if "without effect on LLM tests" in line]


@pytest.mark.parametrize(
    "option",
    [
        "--benchmark-min-rounds=20",
        "--benchmark-warmup=on",
        "--benchmark-max-time=5",
        "--benchmark-disable-gc",
        "--benchmark-timer=time.process_time",
    ],
)
def test_an_option_without_effect_is_said(one_test, llm_pytest, option):
    flag = option.partition("=")[0]
    assert notes(llm_pytest(option)) == [
        f"{flag}: without effect on LLM tests, which have --llm-rounds and --llm-warmup"
    ]


def test_several_options_and_a_marker_are_one_line(pytester, llm_pytest):
    pytester.makeini("[pytest]\naddopts = --benchmark-min-rounds=20 --benchmark-warmup=on")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.benchmark(min_rounds=3, group="own")
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
    """)
    assert notes(llm_pytest()) == [
        "--benchmark-min-rounds, --benchmark-warmup, @pytest.mark.benchmark(min_rounds=): without "
        "effect on LLM tests, which have --llm-rounds and --llm-warmup"
    ]


@pytest.mark.parametrize("option", ["--benchmark-autosave", "--benchmark-warmup=off", "-v"])
def test_what_has_an_effect_or_is_the_default_is_not(one_test, llm_pytest, option):
    assert notes(llm_pytest(option)) == []


def test_a_run_without_llm_tests_is_told_nothing(pytester, llm_pytest):
    pytester.makepyfile("def test_x(benchmark): benchmark(sum, [1, 2])\ndef test_y(llm): pass")
    assert notes(llm_pytest("--benchmark-min-rounds=20")) == []
