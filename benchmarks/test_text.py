"""Correct text: every engine, unquantized, continues a prompt as the first one did."""

import pytest


@pytest.fixture(scope="session")
def first_continuation():
    """Token ids by model, as the first engine of this run gave them."""
    return {}


@pytest.mark.llm(quant="none")
def test_engines_agree_on_text(llm, first_continuation):
    if llm.info.random_weights:
        pytest.skip("random weights: the text means nothing")
    # A continuation without close alternatives, so that an engine's rounding does not change it.
    ids = llm.generate_ids("1, 2, 3, 4, 5, 6, 7, 8,", output_len=16)
    assert ids == first_continuation.setdefault(llm.info.model, ids)
