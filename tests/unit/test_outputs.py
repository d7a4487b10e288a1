"""What an engine may return: complete and plausible traces, and plain data."""

import enum
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy
import pytest

from pytest_llmperf.core.architecture import Architecture
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.errors import InvalidMeasurement
from pytest_llmperf.core.trace import RequestTrace
from pytest_llmperf.core.weights import Weights
from pytest_llmperf.core.workload import Request
from pytest_llmperf.worker import outputs
from pytest_llmperf.worker.outputs import traces

REQUEST = Request(prompt_ids=(5, 6, 7), output_len=2)
GOOD = RequestTrace(
    submitted=1.0, times=(1.5, 2.0), counts=(1, 1), input_tokens=3, token_ids=(8, 9)
)
INFO = EngineInfo(device="cpu", dtype="float32", vocabulary=1000, has_tokenizer=True)


class Weird:
    def __repr__(self):
        raise RuntimeError("repr fails")


def test_a_complete_trace_is_valid():
    traces([REQUEST], [GOOD], "round 1")


def test_a_trace_without_token_ids_is_valid():
    traces([REQUEST], [replace(GOOD, token_ids=())], "round 1")


def test_a_trace_of_one_chunk_is_valid():
    traces([REQUEST], [replace(GOOD, times=(2.0,), counts=(2,))], "round 1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"times": (1.5,), "counts": (1,), "token_ids": (8,)},
            "the engine gave 1 output tokens instead of 2",
        ),
        (
            {"times": (1.5, 1.6, 1.7), "counts": (1, 1, 1), "token_ids": (7, 8, 9)},
            "the engine gave 3 output tokens instead of 2",
        ),
        (
            {"times": (), "counts": (), "token_ids": ()},
            "the engine gave 0 output tokens instead of 2",
        ),
        ({"token_ids": (8,)}, "1 token ids but 2 counted tokens"),
        ({"input_tokens": 4}, "the engine counted 4 prompt tokens instead of 3"),
        ({"cached_tokens": 2}, "2 of 3 prompt tokens came from a prefix cache"),
        ({"times": (2.0, 1.5)}, "its timestamps do not increase"),
        ({"submitted": 1.75}, "its timestamps do not increase"),
    ],
)
def test_a_trace_that_is_not_what_was_asked_for_is_invalid(change, message):
    bad = replace(GOOD, **change)
    with pytest.raises(InvalidMeasurement, match=f"^round 3, request 2 of 2: {message}$"):
        traces([REQUEST, REQUEST], [GOOD, bad], "round 3")


def test_a_missing_request_is_invalid():
    with pytest.raises(InvalidMeasurement, match=r"^round 3: 1 of 2 requests came back$"):
        traces([REQUEST, REQUEST], [GOOD], "round 3")


TIMES = r"its timestamps lie outside the call of generate: .* readings of time\.perf_counter$"
FINITE = r"not a finite number"
WHOLE = "not a whole number of at least"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": (1.5, math.nan)}, f"a timestamp is nan, {FINITE}"),
        ({"times": (1.5, math.inf)}, f"a timestamp is inf, {FINITE}"),
        ({"times": ("1.5", "2.0")}, f"a timestamp is '1.5', {FINITE}"),
        ({"times": None}, "times is None, not a list"),
        ({"times": "12"}, "times is '12', not a list"),
        ({"submitted": math.nan}, f"the time of submission is nan, {FINITE}"),
        ({"submitted": -math.inf}, f"the time of submission is -inf, {FINITE}"),
        ({"submitted": 10**400}, f"the time of submission is a value of type int, {FINITE}"),
        ({"submitted": Weird()}, f"the time of submission is a value of type Weird, {FINITE}"),
        ({"submitted": 0.4}, TIMES),
        ({"times": (1.5, 2.6)}, TIMES),
        ({"counts": (2,)}, "1 counts of tokens but 2 timestamps"),
        ({"counts": (1, 1, 1)}, "3 counts of tokens but 2 timestamps"),
        ({"counts": (-1, 3)}, f"a count of tokens is -1, {WHOLE} 1"),
        ({"counts": (0, 2)}, f"a count of tokens is 0, {WHOLE} 1"),
        ({"counts": (0.5, 1.5)}, f"a count of tokens is 0.5, {WHOLE} 1"),
        ({"counts": (True, True)}, f"a count of tokens is True, {WHOLE} 1"),
        ({"input_tokens": None}, f"the number of prompt tokens is None, {WHOLE} 0"),
        ({"cached_tokens": -1}, f"the number of cached tokens is -1, {WHOLE} 0"),
        ({"cached_tokens": None}, f"the number of cached tokens is None, {WHOLE} 0"),
        ({"token_ids": (-1, 5)}, f"a token id is -1, {WHOLE} 0"),
        ({"token_ids": ("a", "b")}, f"a token id is 'a', {WHOLE} 0"),
    ],
)
def test_a_trace_that_cannot_be_true_is_invalid(change, message):
    bad = replace(GOOD, **change)
    with pytest.raises(InvalidMeasurement, match=message) as raised:
        traces([REQUEST], [bad], "round 3", window=(0.5, 2.5))
    assert "round 3, request 1 of 1: " in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("returned", [None, 7, "trace", {}, (x for x in ())])
def test_an_answer_that_is_no_list_of_traces_is_invalid(returned):
    message = r"^round 1: the answer of generate is .*, not a list of RequestTrace$"
    with pytest.raises(InvalidMeasurement, match=message):
        traces([REQUEST], returned, "round 1")


def test_an_answer_of_something_else_is_invalid():
    message = r"^round 1, request 1 of 1: None came back, not a RequestTrace$"
    with pytest.raises(InvalidMeasurement, match=message):
        traces([REQUEST], [None], "round 1")


def test_numbers_of_numpy_become_builtin_ones():
    (found,) = traces(
        [REQUEST],
        [replace(GOOD, times=numpy.array([1.5, 2.0]), counts=tuple(numpy.array([1, 1])))],
        "round 1",
        window=(1.0, 2.0),
    )
    assert found == GOOD
    assert {type(t) for t in found.times} == {float}
    assert {type(n) for n in found.counts} == {int}


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, None, "x"])
def test_memory_and_energy_are_finite_and_not_negative(value):
    with pytest.raises(InvalidMeasurement, match=r"^peak_memory in MiB is .* of at least 0$"):
        outputs.peak_memory(value)
    with pytest.raises(InvalidMeasurement, match=r"^energy: joules is .* of at least 0$"):
        outputs.energy({"joules": value})
    with pytest.raises(
        InvalidMeasurement, match=r"^load: model_memory in MiB is .* of at least 0$"
    ):
        outputs.info(replace(INFO, memory={"model_memory": value}))
    if value is not None:
        with pytest.raises(InvalidMeasurement, match=r"^the engine's energy in joules is .* 0$"):
            outputs.joules(value)


def test_an_engine_without_an_energy_counter_has_no_joules():
    assert outputs.joules(None) is None
    assert outputs.energy({"unavailable": "no counter"}) == {"unavailable": "no counter"}


class Color(enum.Enum):
    RED = 1


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"x": value}
    return value


CYCLE: dict = {}
CYCLE["x"] = CYCLE


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1.5, 1.5),
        (numpy.float32(1.5), 1.5),
        (numpy.int64(3), 3),
        (math.nan, "nan"),
        (2**70, "1180591620717411303424"),
        ([10**5000], ["a value of type int"]),
        (Path("/models"), "/models"),
        (Color.RED, "Color.RED"),
        ({1}, [1]),
        ((1, 2), [1, 2]),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (b"\xff", "b'\\xff'"),
        ("\ud800", "\\ud800"),
        ("z" * 20_000, "z" * 10_000),
        (Weird(), "a value of type Weird"),
    ],
)
def test_a_setting_is_kept_as_plain_data(value, kept):
    settings = outputs.info(replace(INFO, settings={"x": value})).settings
    assert settings == {"x": kept}
    assert json.loads(json.dumps(settings, allow_nan=False)) == settings


@pytest.mark.parametrize("settings", [nested(3000), CYCLE])
def test_settings_without_an_end_are_cut(settings):
    assert "..." in json.dumps(outputs.info(replace(INFO, settings=settings)).settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": 0}, f"load: vocabulary is 0, {WHOLE} 1"),
        ({"vocabulary": "many"}, f"load: vocabulary is 'many', {WHOLE} 1"),
        ({"device": None}, "load: device is None, not of type str"),
        ({"memory": {"nosuch": 1.0}}, "load: memory has 'nosuch'; known: model_memory, .*"),
        ({"settings": None}, "load: settings is None, not of type dict"),
        ({"devices": 0}, f"load: devices is 0, {WHOLE} 1"),
        ({"architecture": {"layers": 1}}, "load: architecture is {'layers': 1}, not of type .*"),
        ({"weights": {"linear_bytes": 1}}, "load: weights is {'linear_bytes': 1}, not of type .*"),
        ({"weights": Weights(0, 1.0)}, f"load: weights.linear_parameters is 0, {WHOLE} 1"),
        (
            {"weights": Weights(1, math.nan)},
            "load: weights.linear_bytes is nan, not a finite number of at least 0",
        ),
        ({"weights": Weights(1, 1.0, 1.5)}, "load: weights.unquantized_share is 1.5, above 1"),
        (
            {"weights": Weights(1, 1.0, places={"cpu": -1.0})},
            "load: weights.places in MiB is -1.0, not a finite number of at least 0",
        ),
        ({"mode": 8}, "load: mode is 8, not of type str"),
        (
            {"architecture": Architecture(10**30, 1, 1, 1, 1, 1, tied=True)},
            f"load: architecture.layers is {10**30}, {WHOLE} 1",
        ),
    ],
)
def test_what_load_reports_has_to_be_right(change, message):
    with pytest.raises(InvalidMeasurement, match=f"^{message}$"):
        outputs.info(replace(INFO, **change))


@pytest.mark.parametrize("returned", [None, {"device": "cpu"}])
def test_load_has_to_return_its_info(returned):
    with pytest.raises(InvalidMeasurement, match=r"^the answer of load is .* of type EngineInfo$"):
        outputs.info(returned)


def test_everything_that_load_reports_arrives():
    reported = EngineInfo(
        device="cuda:0",
        dtype="bfloat16",
        vocabulary=1000,
        has_tokenizer=True,
        parameters=7,
        revision="abc",
        memory={"model_memory": 2.0},
        settings={"graphs": "on"},
        threads=3,
        architecture=Architecture(2, 8, 2, 1, 4, 1000, tied=True, window=16),
        embedding_bytes=5.0,
        cache_value_bytes=1.0,
        arithmetic="float16",
        devices=2,
        traits={"cache": "kvfp8"},
        least_warmup=3,
        context=64,
        mode="nf4",
        weights=Weights(4, 2.0, 0.5, "bfloat16", {"cuda:0": 2.0}),
        speculation=True,
    )
    unchanged = [f.name for f in fields(EngineInfo) if getattr(reported, f.name) == f.default]
    assert unchanged == []
    assert outputs.info(reported) == reported


def test_a_device_cannot_write_on_a_terminal():
    assert outputs.info(replace(INFO, device="\x1b[31mcpu")).device == "\\x1b[31mcpu"
