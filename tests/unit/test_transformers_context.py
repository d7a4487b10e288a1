"""A request that is longer than the model's context is refused with both numbers."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.transformers import check_fits


def config(**text):
    return SimpleNamespace(get_text_config=lambda: SimpleNamespace(**text))


def test_a_request_beyond_the_context_is_refused():
    message = r"^a request of 108 tokens does not fit the model's context of 64 \(max_position_"
    with pytest.raises(ValueError, match=message):
        check_fits(108, config(max_position_embeddings=64))


@pytest.mark.parametrize(
    "model",
    [
        config(max_position_embeddings=108),
        config(),  # Mamba and T5 have no such limit.
        config(max_position_embeddings=None),
        config(max_position_embeddings=-1),
    ],
)
def test_a_request_within_the_context_or_without_one_is_not(model):
    check_fits(108, model)
