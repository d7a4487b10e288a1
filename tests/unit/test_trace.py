import json

import pytest

from pytest_llmperf.core.trace import RequestTrace, RoundTrace

EARLY = RequestTrace(
    submitted=1.0, times=(1.5, 2.0), counts=(1, 1), input_tokens=3, token_ids=(7, 8)
)
LATE = RequestTrace(
    submitted=1.25, times=(1.75, 3.5), counts=(2, 1), input_tokens=4, cached_tokens=2
)


def test_first_and_last_are_the_outer_arrivals():
    assert (EARLY.first, EARLY.last) == (1.5, 2.0)


def test_output_tokens_are_counted_over_all_arrivals():
    assert EARLY.output_tokens == 2
    assert LATE.output_tokens == 3


def test_wall_time_is_from_the_first_submission_to_the_last_token():
    assert RoundTrace((LATE, EARLY)).wall_time == pytest.approx(2.5)  # 3.5 - 1.0


def test_token_boundaries_are_known_when_every_arrival_is_one_token():
    assert EARLY.has_token_boundaries
    assert not LATE.has_token_boundaries


def test_wire_form_gives_back_the_same_round():
    before = RoundTrace((EARLY, LATE))
    assert RoundTrace.from_wire(before.to_wire()) == before


def test_wire_form_survives_json():
    before = RoundTrace((EARLY, LATE))
    assert RoundTrace.from_wire(json.loads(json.dumps(before.to_wire()))) == before
