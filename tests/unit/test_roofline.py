"""Every expected number is worked out in a comment, from the sizes alone."""

from dataclasses import replace

import pytest

from pytest_llmperf.core.architecture import Architecture
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.trace import RequestTrace, RoundTrace
from pytest_llmperf.metrics.ceilings import Ceilings, Roof
from pytest_llmperf.metrics.roofline import Rates, RooflineModel, utilization

MIB = 2**20

PHI = RooflineModel(
    architecture=Architecture(
        layers=32,
        hidden=2560,
        heads=32,
        kv_heads=32,
        head_dim=80,
        vocabulary=51200,
        tied=False,
    ),
    weight_bytes=5_559_367_680.0,  # 2,779,683,840 parameters of 2 bytes
    parameters=2_779_683_840,
    embedding_bytes=262_144_000.0,  # 51200 x 2560 = 131,072,000 of 2 bytes
    cache_value_bytes=2,
    arithmetic="bfloat16",
)
MISTRAL = RooflineModel(
    architecture=Architecture(
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocabulary=32000,
        tied=False,
        window=4096,
    ),
    weight_bytes=14_483_464_192.0,  # 7,241,732,096 parameters of 2 bytes
    parameters=7_241_732_096,
    embedding_bytes=262_144_000.0,  # 32000 x 4096 = 131,072,000 of 2 bytes
    cache_value_bytes=2,
    arithmetic="bfloat16",
)
# Two layers, grouped queries, and an output layer that is the embedding table.
TIED = RooflineModel(
    architecture=Architecture(
        layers=2, hidden=8, heads=4, kv_heads=2, head_dim=2, vocabulary=100, tied=True
    ),
    weight_bytes=4000.0,  # 2000 parameters, of which 800 in the table
    parameters=2000,
    embedding_bytes=1600.0,
    cache_value_bytes=2,
    arithmetic="bfloat16",
)
CEILINGS = Ceilings(
    read=((1000, 40e9), (10**9, 10e9), (2 * 10**9, 12e9)),
    matmul={"bfloat16": 2e12, "float32": 1e12},
    threads=1,
    method="by hand",
)


def request(submitted=0.0, first=1.0, step=0.5, output=5, prompt=10, chunk=1):
    """Tokens at first, first + step, ...; with chunks: so many together."""
    whole, rest = divmod(output, chunk)
    counts = (chunk,) * whole + ((rest,) if rest else ())
    times = tuple(first + step * chunk * i for i in range(len(counts)))
    return RequestTrace(submitted, times, counts, prompt)


def one_round(*requests):
    return [RoundTrace(tuple(requests))]


def roof(read=None, matmul=None):
    return Roof(read, matmul, "bfloat16", 1, "by hand")


# What a step reads


def test_a_step_of_phi_2_reads_all_but_the_embedding_table():
    # 5,559,367,680 - 262,144,000
    assert PHI.step_weight_bytes == 5_297_223_680
    # 2 (key, value) x 32 layers x 32 heads x 80 x 2 bytes
    assert PHI.cache_bytes_per_token == 327_680


def test_a_step_of_mistral_7b_reads_a_quarter_of_the_cache_that_its_heads_would_need():
    assert MISTRAL.step_weight_bytes == 14_221_320_192
    # 2 x 32 layers x 8 heads x 128 x 2 bytes
    assert MISTRAL.cache_bytes_per_token == 131_072


def test_a_tied_table_is_read_as_the_output_layer():
    assert TIED.step_weight_bytes == 4000
    # Nor does it matter whether its size is known.
    assert replace(TIED, embedding_bytes=None).step_weight_bytes == 4000


def test_an_untied_table_of_unknown_size_leaves_the_bytes_unknown():
    assert replace(PHI, embedding_bytes=None).step_weight_bytes is None


def test_unknown_weights_leave_the_bytes_unknown():
    assert replace(TIED, weight_bytes=0.0).step_weight_bytes is None


def test_a_quantized_cache_is_smaller():
    assert replace(PHI, cache_value_bytes=1).cache_bytes_per_token == 163_840


def test_a_mixture_of_experts_is_left_out():
    mixture = replace(MISTRAL, architecture=replace(MISTRAL.architecture, experts=8))
    assert mixture.step_weight_bytes is None
    assert mixture.prompt_flops(10) is None
    found = mixture.roof(CEILINGS, "cpu")
    assert (found.read_bytes_per_s, found.matmul_flops, found.dtype) == (None, None, None)
    assert utilization(one_round(request()), mixture, found) == {}


# What a prompt computes


def test_a_prompt_of_phi_2():
    # Layers: 2,779,683,840 - 2 x 131,072,000 = 2,517,539,840 weights; 2 x that x 100 tokens
    # = 503,507,968,000. Output layer, once: 2 x 131,072,000 = 262,144,000.
    # Attention: 4 x 32 x 32 x 80 = 327,680 x (100 x 101 / 2 = 5050) = 1,654,784,000.
    assert PHI.prompt_flops(100) == 505_424_896_000


def test_a_prompt_of_mistral_7b_beyond_its_window():
    # Layers: 7,241,732,096 - 262,144,000 = 6,979,588,096; x 2 x 5000 tokens = 69,795,880,960,000.
    # Output layer: 262,144,000.
    # Attention: 4 x 32 x 32 x 128 = 524,288; contexts: 4096 x 4097 / 2 = 8,390,656 up to the window,
    # and 904 more tokens that see 4096: 3,702,784; together 12,093,440 x 524,288 = 6,340,445,470,720.
    assert MISTRAL.prompt_flops(5000) == 69_795_880_960_000 + 262_144_000 + 6_340_445_470_720


def test_a_prompt_beyond_the_window_of_a_quarter_of_the_layers():
    shape = replace(MISTRAL.architecture, window_layers=8)
    # As above: 8 of 32 layers see 12,093,440 contexts, the others 5000 x 5001 / 2 = 12,502,500;
    # on average 12,400,235, x 524,288.
    expected = 69_795_880_960_000 + 262_144_000 + 6_501_294_407_680
    assert replace(MISTRAL, architecture=shape).prompt_flops(5000) == expected


def test_a_prompt_of_a_tied_model():
    # Layers: 2000 - 800 = 1200; x 2 x 3 tokens = 7200. Output layer: 2 x 800 = 1600.
    # Attention: 4 x 2 x 4 x 2 = 64 x (1 + 2 + 3) = 384.
    assert TIED.prompt_flops(3) == 7200 + 1600 + 384


def test_unknown_parameters_leave_the_operations_unknown():
    assert replace(TIED, parameters=None).prompt_flops(3) is None
    assert replace(TIED, parameters=None).roof(CEILINGS, "cpu").matmul_flops is None


# Ceilings


def test_the_read_ceiling_is_that_of_a_buffer_as_large_as_the_weights():
    assert CEILINGS.read_rate(5000).value == 40e9
    # Of buffers this large and larger the best one: a larger one that was faster was lucky once.
    assert CEILINGS.read_rate(1.5e9).value == 12e9
    assert CEILINGS.read_rate(100e9).value == 12e9


def test_weights_below_every_buffer_have_no_ceiling():
    assert CEILINGS.read_rate(999) is None


def test_a_16_bit_type_may_compute_in_float32_where_that_is_faster():
    slow = replace(CEILINGS, matmul={"bfloat16": 0.5e12, "float32": 1e12})
    assert slow.matmul_rate("bfloat16").value == 1e12
    assert CEILINGS.matmul_rate("bfloat16").value == 2e12
    assert CEILINGS.matmul_rate("float32").value == 1e12


def test_a_type_that_was_not_measured_has_no_ceiling():
    assert CEILINGS.matmul_rate("float16") is None


def test_integers_have_no_ceiling():
    found = replace(TIED, arithmetic=None).roof(CEILINGS, "cpu")
    assert found.read_bytes_per_s == 40e9
    assert (found.matmul_flops, found.dtype) == (None, None)


def test_gpus_that_share_a_model_have_their_ceilings_together():
    # Each of four reads its quarter of 14.2 GB: 3.6 GB, beyond the largest buffer.
    found = replace(MISTRAL, devices=4).roof(CEILINGS, "cuda")
    assert (found.read_bytes_per_s, found.matmul_flops) == (48e9, 8e12)


def test_processes_that_share_a_cpu_have_no_ceiling():
    found = replace(MISTRAL, devices=2).roof(CEILINGS, "cpu")
    assert (found.read_bytes_per_s, found.matmul_flops) == (None, None)


def test_ceilings_travel():
    assert Ceilings.from_wire(CEILINGS.to_wire()) == CEILINGS


def test_a_roof_is_stored_by_its_keys():
    assert TIED.roof(CEILINGS, "cpu").to_record() == {
        "read_bytes_per_s": 40e9,
        "matmul_flops": 2e12,
        "dtype": "bfloat16",
        "threads": 1,
        "method": "by hand",
    }


# Utilization


def test_mbu_of_one_request():
    # Cache: 2 x 2 x 2 x 2 x 2 bytes = 32 a token. Prompt 10, 5 output tokens: the four steps after the
    # first token have contexts 11, 12, 13, 14, so 12.5 on average (10 + 5 / 2).
    # 4000 + 12.5 x 32 = 4400 bytes in 0.5 s = 8800 bytes/s.
    found = utilization(one_round(request()), TIED, roof(read=17_600))
    assert found["mbu"].samples == (0.5,)
    assert "mfu" not in found


def test_mbu_of_a_batch_reads_the_weights_once():
    # 4000 + 3 x 400 = 5200 bytes in 0.5 s.
    found = utilization(one_round(request(), request(), request()), TIED, roof(read=10_400))
    assert found["mbu"].samples == (1.0,)


def test_mbu_of_a_batch_that_the_engine_splits_reads_them_for_each_part():
    # The second one begins when the first has ended: one at a time, 4400 bytes a step.
    first, second = request(), request(first=3.0)
    assert first.last == second.first
    found = utilization(one_round(first, second), TIED, roof(read=8800))
    assert found["mbu"].samples == (1.0,)


def test_mbu_of_requests_that_overlap_for_half_of_their_time():
    # From 1 to 3 and from 2 to 4: 4 s of decoding in 3 s, so 4/3 of a request a step.
    # 4000 + 4/3 x 400 = 4533.3 bytes in 0.5 s = 9066.7 bytes/s.
    found = utilization(one_round(request(), request(first=2.0)), TIED, roof(read=9066 + 2 / 3))
    assert found["mbu"].samples == pytest.approx((1.0,))


def test_the_step_time_is_the_median_of_the_batch():
    # Median of 0.5, 0.5 and 1 is 0.5. Together on average: 2 + 2 + 4 s in 4 s = 2 requests.
    rounds = one_round(request(), request(), request(step=1.0))
    found = utilization(rounds, TIED, roof(read=9600))
    assert found["mbu"].samples == (1.0,)  # (4000 + 2 x 400) / 0.5


def test_mbu_of_mistral_7b_beyond_its_window():
    # Contexts 4095, 4096, 4097, 4098 are read as 4095, 4096, 4096, 4096: 4095.75 on average.
    # 14,221,320,192 + 4095.75 x 131,072 = 14,758,158,336 bytes in 0.5 s.
    found = utilization(one_round(request(prompt=4094)), MISTRAL, roof(read=29_516_316_672))
    assert found["mbu"].samples == (1.0,)


def test_mbu_of_mistral_7b_far_beyond_its_window():
    # 14,221,320,192 + 4096 x 131,072 = 14,758,191,104 bytes in 0.5 s.
    found = utilization(one_round(request(prompt=9000)), MISTRAL, roof(read=29_516_382_208))
    assert found["mbu"].samples == (1.0,)


def test_mbu_where_tokens_arrive_together():
    # Chunks of 2, 2 and 1 at 1, 2 and 3 s: tpot is 2 s / 3 tokens, of steps 2, 3 and 4, whose contexts
    # 12, 13, 14 are 13 on average. 4000 + 13 x 32 = 4416 bytes in 2/3 s = 6624 bytes/s.
    found = utilization(one_round(request(chunk=2)), TIED, roof(read=6624))
    assert found["mbu"].samples == pytest.approx((1.0,))


def test_mbu_of_an_engine_that_speculates_is_of_its_steps():
    # Two tokens a step, at 1, 2 and 3 s: a step takes 1 s and reads 4416 bytes, as above.
    model = replace(TIED, speculation=True)
    found = utilization(one_round(request(chunk=2)), model, roof(read=4416))
    assert found["mbu"].samples == pytest.approx((1.0,))


def test_a_single_token_has_no_decode_step():
    found = utilization(one_round(request(output=1)), TIED, roof(read=1, matmul=1))
    assert "mbu" not in found
    assert "mfu" in found


def test_mfu_is_of_the_whole_batch_until_its_last_first_token():
    # Prompts of 3 tokens: 9184 operations each; two of them in 2 s = 9184 a second.
    rounds = one_round(request(prompt=3), request(prompt=3, first=2.0))
    found = utilization(rounds, TIED, roof(matmul=18_368))
    assert found["mfu"].samples == (0.5,)
    assert "mbu" not in found


def test_a_sample_is_a_round():
    rounds = one_round(request(), request()) + one_round(request(step=1.0), request(step=1.0))
    # (4000 + 2 x 400) / 0.5 and / 1.0.
    found = utilization(rounds, TIED, roof(read=9600, matmul=1e6))
    assert found["mbu"].samples == (1.0, 0.5)
    assert found["mfu"].n == 2


def test_a_round_above_the_ceiling_is_at_the_ceiling():
    # 8800 bytes/s, and 4400 in a round of steps twice as long.
    rounds = one_round(request()) + one_round(request(step=1.0))
    found = utilization(rounds, TIED, roof(read=6000))
    assert found["mbu"].samples == (1.0, pytest.approx(4400 / 6000))


# What may raise a ceiling


def rates(*requests):
    return Rates.of([RoundTrace((r,)) for r in requests], TIED)


def test_a_sustained_rate_is_that_of_the_median_round_and_of_the_slower_one_of_two():
    # 4400 bytes a step.
    steps = [request(step=step) for step in (0.5, 0.4, 0.001)]
    assert rates(*steps).sustained_read == 11_000
    assert rates(*steps[:2]).sustained_read == 8800
    assert rates(steps[0]).sustained_read == 8800
    # 9184 operations a prompt.
    prompts = [request(prompt=3, first=first) for first in (1.0, 2.0, 0.001)]
    assert rates(*prompts).sustained_matmul == 9184
    assert rates().sustained_read == rates().sustained_matmul == 0


def test_a_first_token_that_was_seen_late_is_no_fast_reading():
    # Tokens at 1, 1.5, 2, 2.5 and 3, of which the first is seen at 1.4.
    late = RequestTrace(0.0, (1.4, 1.5, 2.0, 2.5, 3.0), (1,) * 5, 10)
    assert rates(late).read == (pytest.approx(4400 / 0.4),)
    assert rates(late).sustained_read == pytest.approx(8800)


def test_two_gaps_are_too_few_to_be_sure_of_a_rate_of_reading():
    found = rates(request(output=3, step=0.001))
    assert len(found.read) == 1
    assert found.sustained_read == 0
    assert not found.exceed(roof(read=1.0))


def test_a_mixture_and_integers_raise_nothing():
    reached = Rates((1e15,), (1e15,), (1e15,))
    mixture = replace(MISTRAL, architecture=replace(MISTRAL.architecture, experts=8))
    for model in (mixture, replace(TIED, arithmetic=None, weight_bytes=0.0)):
        assert model.raised(CEILINGS, "cpu", reached, "reached by a in b") == CEILINGS


def test_gpus_that_share_a_model_raise_the_ceiling_of_one():
    four = replace(MISTRAL, devices=4)
    reached = Rates((60e9,), (10e12,), (60e9,))
    raised = four.raised(CEILINGS, "cuda", reached, "reached by a in b")
    assert raised.matmul_rate("bfloat16").value == 2.5e12
    assert raised.read_rate(4e9).value == 15e9
    found = four.roof(raised, "cuda")
    assert (found.read_bytes_per_s, found.measured_read_bytes_per_s) == (60e9, 48e9)
    assert (found.matmul_flops, found.measured_matmul_flops) == (10e12, 8e12)
    assert found.read_by == found.matmul_by == "reached by a in b"
    assert Roof.from_record(found.to_record()) == found


def test_what_an_engine_tells():
    info = EngineInfo(
        device="cpu",
        dtype="bfloat16",
        vocabulary=100,
        has_tokenizer=False,
        parameters=2000,
        memory={"model_memory": 4000 / MIB},
        architecture=TIED.architecture,
        embedding_bytes=1600.0,
        arithmetic="bfloat16",
    )
    assert RooflineModel.of(info) == TIED
    assert RooflineModel.of(replace(info, architecture=None)) is None


@pytest.mark.parametrize(
    ("extra", "kv_heads"),
    [
        ({}, 8),
        ({"num_key_value_heads": 2}, 2),
        ({"num_kv_heads": 4}, 4),
        ({"multi_query": True}, 1),
        ({"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 4}, 4),
    ],
)
def test_key_value_heads_by_the_names_that_families_have_for_them(extra, kv_heads):
    config = {"n_layer": 2, "n_embd": 64, "n_head": 8, "vocab_size": 100, **extra}
    assert Architecture.from_config(config).kv_heads == kv_heads


@pytest.mark.parametrize("key", ["attention.kv_lora_rank", "ssm.state_size"])
def test_a_gguf_file_of_another_kind_of_attention_is_not_counted(key):
    values = {"general.architecture": "x", "x.block_count": 2, "x.embedding_length": 64}
    values["x.attention.head_count"] = 8
    shapes = {"token_embd.weight": [64, 100]}
    assert Architecture.from_gguf(values, shapes) is not None
    assert Architecture.from_gguf({**values, f"x.{key}": 16}, shapes) is None
