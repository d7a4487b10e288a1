"""The rounds of a test: command line, call, marker or default says them; what is refused."""

from dataclasses import replace

import pytest

from pytest_llmperf.session.rounds import Asked, rounds_of


def marker(*args, **kwargs):
    return pytest.mark.llm_rounds(*args, **kwargs).mark


def test_a_test_that_says_nothing_measures_by_need(unsaid):
    number, need = rounds_of(replace(unsaid, device="cpu"), Asked(), Asked())
    assert (number, need.precision, need.max_time) == (3, 0.01, 4.0)
    assert need.metrics == ("ttft", "tpot", "e2e", "output_throughput")


def test_the_command_line_fixes_the_number(unsaid):
    settings = replace(unsaid, rounds=4, precision=0.5)
    call, of_marker = Asked.of({"precision": 0.02}), Asked.of({"rounds": 9})
    assert rounds_of(settings, call, of_marker) == (4, None)


def test_a_call_and_a_marker_fix_the_number(unsaid):
    assert rounds_of(unsaid, Asked.of({"rounds": 7}), Asked()) == (7, None)
    assert rounds_of(unsaid, Asked(), Asked.of_marker(marker(rounds=8))) == (8, None)


def test_a_fixed_number_is_not_touched_by_a_precision_of_the_command_line(unsaid):
    settings = replace(unsaid, precision=0.5, max_time=1.0, min_rounds=50)
    assert rounds_of(settings, Asked.of({"rounds": 7}), Asked()) == (7, None)


def test_the_nearer_one_comes_first_value_by_value(unsaid):
    of_marker = Asked.of_marker(marker(precision="4%", max_time=9, min_rounds=6))
    call = Asked.of({"precision": 0.03, "max_time": 8})
    number, need = rounds_of(replace(unsaid, precision=0.02), call, of_marker)
    assert (need.precision, need.max_time, number) == (0.02, 8.0, 6)


def test_a_call_by_need_replaces_a_marker_with_a_fixed_number(unsaid):
    _, need = rounds_of(unsaid, Asked.of({"precision": "3%"}), Asked.of({"rounds": 9}))
    assert need.precision == 0.03


def test_without_a_chosen_metric_of_rounds_the_latency_decides(unsaid):
    _, need = rounds_of(replace(unsaid, metrics=("peak_memory",)), Asked(), Asked())
    assert need.metrics == ("e2e",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rounds": 0}, "rounds must be a whole number of at least 1, not 0"),
        ({"min_rounds": 2.5}, "min_rounds must be a whole number of at least 1, not 2.5"),
        (
            {"precision": "no"},
            "precision must be a share between 0 and 100 %, such as '2%' or 0.02, not 'no'",
        ),
        (
            {"precision": True},
            "precision must be a share between 0 and 100 %, such as '2%' or 0.02, not True",
        ),
        (
            {"precision": 2},
            "precision must be a share between 0 and 100 %, such as '2%' or 0.02, not 2",
        ),
        ({"max_time": -1}, "max_time must be seconds, above 0 and at most 1,000,000,000, not -1"),
        (
            {"max_time": "5 s"},
            "max_time must be seconds, above 0 and at most 1,000,000,000, not '5 s'",
        ),
        (
            {"rounds": 5, "precision": 0.02},
            "rounds= fixes the number of rounds: leave precision= out, or rounds=",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=r"^.+$") as raised:
        Asked.of(arguments)
    assert str(raised.value) == message
    with pytest.raises(ValueError, match=r"^@pytest\.mark\.llm_rounds: "):
        Asked.of_marker(marker(**arguments))


@pytest.mark.parametrize("wrong", [marker(5), marker(percision=0.02)])
def test_a_marker_of_another_form_is_refused(wrong):
    with pytest.raises(
        ValueError, match=r"^@pytest\.mark\.llm_rounds takes rounds=, or precision="
    ):
        Asked.of_marker(wrong)
