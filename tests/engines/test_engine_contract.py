"""What every engine has to keep, whatever its quantization."""

import pytest

from pytest_llmperf.workload import Workload

# Continuations without a close second: rounding in another kernel does not change them.
PROMPTS = [
    "1, 2, 3, 4, 5, 6, 7, 8,",
    "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,",
    "2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,",
]
# bitsandbytes keeps activations in bfloat16; what it saves is the weights.
MIB_OF_MODE = {
    "none": (256, 259),
    "int8": (155, 158),
    "fp4": (110, 113),
    "nf4": (110, 113),
    "nf4-dq": (106, 109),
}
pytestmark = pytest.mark.llm(quant=["none", "nf4"])


def test_output_length_is_exact_beyond_the_end_of_sequence(llm):
    # This prompt asks for a short answer: an instruct model ends its turn well before 60 tokens.
    prompt = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n"
    assert len(llm.generate_ids(prompt, output_len=60)) == 60


def test_every_token_has_a_stamp_in_order(llm):
    measurement = llm.measure(Workload(output_len=6, input_len=8, batch_size=3, rounds=2, warmup=1))
    for measured_round in measurement.rounds:
        for trace in measured_round.requests:
            assert trace.counts == (1,) * 6
            assert len(trace.token_ids) == 6
            assert trace.input_tokens == 8
            assert trace.cached_tokens == 0
            assert trace.submitted < trace.times[0]
            assert list(trace.times) == sorted(set(trace.times))


def test_a_batch_is_admitted_as_a_whole(llm):
    measurement = llm.measure(Workload(output_len=4, input_len=8, batch_size=4, rounds=1, warmup=1))
    firsts = {trace.times[0] for trace in measurement.rounds[0].requests}
    assert len(firsts) == 1


def test_prompts_of_different_lengths_continue_as_they_do_alone(llm):
    alone = [llm.generate_ids(prompt, output_len=8) for prompt in PROMPTS]
    assert llm.generate_batch_ids(PROMPTS, output_len=8) == alone


def test_greedy_text_is_the_same_every_time(llm):
    assert llm.generate(PROMPTS[0], 12) == llm.generate(PROMPTS[0], 12)


def test_a_prompt_that_was_seen_before_is_computed_again(llm):
    measurement = llm.measure(Workload(output_len=2, prompt=PROMPTS[2] * 8, rounds=4, warmup=1))
    first, *_, last = [r.requests[0] for r in measurement.rounds]
    # A cached prompt of this length would cost a tenth.
    assert last.times[0] - last.submitted > 0.4 * (first.times[0] - first.submitted)


@pytest.mark.llm(quant="all")
def test_weights_are_counted_with_their_quantization_constants(llm):
    low, high = MIB_OF_MODE[llm.info.quantization]
    engine = llm.engine()
    assert low < engine.info.memory["model_memory"] < high
    assert engine.info.parameters == 134_515_008


def test_key_value_pool_is_bounded_and_reported_apart(vllm_llm):
    assert 100 < vllm_llm.engine().info.memory["kv_cache_memory"] < 1000
