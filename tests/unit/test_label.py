"""What runs, and what the id says."""

import pytest

from pytest_llmperf.core.label import contradiction, remark


@pytest.mark.parametrize(
    ("mode", "bits"),
    [
        ("none", 16),
        ("none", 32),
        ("int8", 8.05),
        ("nf4", 4.5),
        ("nf4-dq", 4.13),
        ("awq-int4", 4.3),
        ("w4a16", 16),
        ("gptq-int4", 4.97),
        ("fp8-block", 8.0),
        ("mixed", 6),
        ("a-new-one", 2),
    ],
)
def test_weights_that_may_be_of_a_mode_are_no_contradiction(mode, bits):
    assert contradiction(mode, bits) is None


@pytest.mark.parametrize(("mode", "bits"), [("none", 4.3), ("none", 8.1), ("int8", 4.5)])
def test_fewer_bits_than_the_mode_has_are_a_contradiction(mode, bits):
    line = f"its linear weights have {bits} bits in memory, which is not {mode}"
    assert contradiction(mode, bits) == line


@pytest.mark.parametrize(
    ("mode", "bits", "share", "places", "words"),
    [
        ("none", 16, 1, {"cpu": 257}, ""),
        ("w4a16", 16.1, 1, {"cpu": 260}, "runs bfloat16"),
        ("w4a16", 4.25, 0, {"cpu": 108}, ""),
        ("int8", 8.5, 0.02, {"cuda:0": 150}, ""),
        ("int8", 15.8, 0.97, {"cuda:0": 150}, "runs bfloat16"),
        ("nf4", 9, 0.4, {"cuda:0": 150}, "40 % of it bfloat16"),
        ("none", 16, 1, {"cpu": 100, "disk": 157}, "61 % on disk"),
        ("none", 16, 1, {"cuda:0": 75, "cpu": 25}, "25 % on cpu"),
        ("nf4", 9, 0.4, {"0": 75, "disk": 25}, "40 % of it bfloat16, 25 % on disk"),
    ],
)
def test_what_the_id_does_not_say_is_remarked(mode, bits, share, places, words):
    assert remark(mode, bits, share, "bfloat16", places) == words
