"""The contract of every engine, in its default mode and in a quantized mode.

A package with another engine runs it too: ``pytest tests/engines/contract --llm-backend=NAME``.
"""

import pytest

from pytest_llmperf.backends import backend_class
from pytest_llmperf.core.workload import Workload

# Prompts whose next tokens are clear: rounding in another kernel does not change the continuations.
PROMPTS = [
    "1, 2, 3, 4, 5, 6, 7, 8,",
    "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,",
    "2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,",
]
pytestmark = pytest.mark.llm(quant=["none", "nf4", "int8_float32"])


def test_output_length_is_exact_beyond_the_end_of_sequence(llm):
    # This prompt asks for a short answer: an instruct model ends its turn well before 60 tokens.
    prompt = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n"
    assert len(llm.generate_ids(prompt, output_len=60)) == 60


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_token_has_a_stamp_in_order(llm, batch_size):
    workload = Workload(output_len=6, input_len=8, batch_size=batch_size, rounds=2, warmup=1)
    for measured_round in llm.measure(workload).rounds:
        assert len(measured_round.requests) == batch_size
        for trace in measured_round.requests:
            # An engine that sends whole characters may send several tokens together.
            assert trace.output_tokens == 6
            assert len(trace.counts) == len(trace.times)
            assert trace.token_ids == () or len(trace.token_ids) == 6
            assert trace.input_tokens == 8
            assert trace.cached_tokens == 0
            assert trace.submitted < trace.times[0]
            assert list(trace.times) == sorted(set(trace.times))


def test_the_requests_of_a_batch_run_together(llm):
    measurement = llm.measure(Workload(output_len=6, input_len=8, batch_size=4, rounds=3, warmup=1))
    # Every request has its first token before any request has its second token (its last one, where
    # requests start as they arrive). An engine that admits a request late does so in every round; a
    # machine that stalls between two timestamps does not.
    late = 1 if backend_class(llm.info.backend).contract.whole_batches else -1
    assert any(
        max(trace.first for trace in r.requests) < min(trace.times[late] for trace in r.requests)
        for r in measurement.rounds
    )


def test_prompts_of_different_lengths_continue_as_they_do_alone(llm):
    separate = [llm.generate_ids(prompt, output_len=8) for prompt in PROMPTS]
    assert llm.generate_batch_ids(PROMPTS, output_len=8) == separate


def test_greedy_text_is_the_same_every_time(llm):
    assert llm.generate(PROMPTS[0], 12) == llm.generate(PROMPTS[0], 12)


def test_a_prompt_that_was_seen_before_is_computed_again(llm):
    # A measurement fails by itself if the engine uses a cache, whether the engine reports it or not.
    measurement = llm.measure(Workload(output_len=2, prompt=PROMPTS[2] * 4, rounds=2, warmup=1))
    assert [r.requests[0].cached_tokens for r in measurement.rounds] == [0, 0]


def test_memory_is_reported(llm):
    memory = llm.engine().info.memory
    assert memory["model_memory"] > 0
    workload = Workload(output_len=2, input_len=8, rounds=1, warmup=1)
    assert llm.measure(workload).peak_memory > 0
