"""Prompts of people on real engines: counts are those of the engine's own tokenizer and template."""

import pytest

from pytest_llmperf.backends import backend_class

CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Count to three."}]
TURNS = (
    "<|im_start|>system\nBe short.<|im_end|>\n"
    "<|im_start|>user\nCount to three.<|im_end|>\n<|im_start|>assistant\n"
)
"""The chat by the template of the embedded model, whose tokenizer adds nothing to a text."""
LONG = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,"


def counts(result):
    return [
        (r.input_tokens, r.output_tokens, r.cached_tokens)
        for r in result.measurement.rounds[0].requests
    ]


def test_a_chat_is_its_template_once_and_mixed_lengths_have_their_own_counts(llm, llm_benchmark):
    result = llm_benchmark(
        llm,
        prompts=[CHAT, TURNS, [5, 6, 7, 8, 9], LONG],
        output_len=[6, 6, 3, 9],
        rounds=1,
        warmup=1,
    )
    # 21 and 66: by transformers' tokenizer of the model. No token of padding is counted.
    assert counts(result) == [(21, 6, 0), (21, 6, 0), (5, 3, 0), (66, 9, 0)]


def test_a_temperature_draws_the_same_tokens_with_the_same_seed_only(llm):
    if not backend_class(llm.info.backend).samples:
        pytest.skip("this engine draws no tokens by a seed")

    def drawn(seed):
        return llm.generate_batch_ids([LONG, TURNS], 12, temperature=1.5, seed=seed)

    first = drawn(1)
    assert drawn(1) == first
    assert drawn(2) != first
    assert llm.generate_batch_ids([LONG, TURNS], 12) != first
