"""Fast but right: every unquantized engine continues a prompt as the first one did."""

import pytest


@pytest.fixture(scope="session")
def first_continuation():
    """Token ids by model, as the first engine of this run gave them."""
    return {}


@pytest.mark.llm(quant="none")
def test_engines_agree_on_text(llm, first_continuation):
    if llm.info.random_weights:
        pytest.skip("random weights: the text means nothing")
    ids = llm.generate_ids("The capital of France is", output_len=16)
    assert ids == first_continuation.setdefault(llm.info.model, ids)
