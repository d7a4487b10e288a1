from pytest_llmperf.store.work import work_words

WORK = {"input_tokens": 20, "output_tokens": 6, "batch_size": 3}


def test_equal_lengths_are_sizes():
    assert work_words(WORK) == "20 input and 6 output tokens, batch 3"
    lengths = {"input_lengths": [20, 20, 20], "output_lengths": [6, 6, 6]}
    assert work_words(WORK | lengths) == work_words(WORK)


def test_mixed_lengths_are_bounds_and_a_temperature_is_named():
    mixed = WORK | {"input_lengths": [20, 4, 4], "output_lengths": [6, 6, 6], "temperature": 0.7}
    assert work_words(mixed) == "up to 20 input and 6 output tokens, batch 3, temperature 0.7"


def test_nothing_generated_has_no_words():
    assert work_words({"hash": "h"}) == ""
