"""Errors of CTranslate2's converter."""

import pytest

from pytest_llmperf.backends.ctranslate2_errors import conversion_explained


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ValueError(
                "No conversion is registered for the model configuration MptConfig (supported "
                "configurations are: BartConfig, BertConfig)"
            ),
            "CTranslate2 has no conversion for MptConfig",
        ),
        (
            AttributeError("'X' object has no attribute 'rotary_pct'"),
            "CTranslate2's converter does not know this model as transformers has it ('X' object has no "
            "attribute 'rotary_pct')",
        ),
        (ValueError("weights are missing"), "weights are missing"),
    ],
)
def test_an_error_says_what_cannot_be_converted(error, line):
    with pytest.raises(ValueError) as raised, conversion_explained():  # noqa: PT011 - the text follows
        raise error
    assert str(raised.value) == line
