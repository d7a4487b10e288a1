import re
import sys
import time
from statistics import median

import pytest

from pytest_llmperf.backends import simulated
from pytest_llmperf.backends.simulated import Program, SimulatedBackend
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.text import shipped
from pytest_llmperf.core.workload import Request
from pytest_llmperf.metrics.rounds import e2e, tpot, ttft
from pytest_llmperf.worker import scoring

KNOWN = (
    "ttft, tpot, ttft_per_input_token, batch_penalty, jitter, run_jitter, seed, load_time, "
    "memory_mib, power_w, crash_at, hang_at, stop_at, cached_tokens, hidden_cache, nll, broken, chunk, "
    "layers, heads, parameters, cache_bits, found_cache_bits, speculation, prefix_cache"
)


class SleeperClock:
    """A clock that only sleeping moves, so that the programmed times come back exactly."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def exact_clock(monkeypatch):
    monkeypatch.setattr(simulated, "time", SleeperClock())


def engine(**args):
    backend = SimulatedBackend()
    backend.load(EngineSpec(backend="simulated", quantization="none", model="", args=args))
    return backend


def request(output_len, input_len=4):
    return Request(tuple(range(input_len)), output_len)


def test_without_numpy_its_tokens_are_not_taken_for_those_of_a_model(monkeypatch, tmp_path):
    # None in sys.modules makes an import fail: the plugin itself does not install numpy.
    monkeypatch.setitem(sys.modules, "numpy", None)
    backend = SimulatedBackend()
    info = backend.load(EngineSpec(backend="simulated", quantization="none", model=""))
    assert scoring.look(backend, info, shipped().documents[0], tmp_path) is None


def test_program_has_its_defaults():
    program = Program.from_args({})
    assert (program.ttft, program.tpot, program.memory_mib) == (0.020, 0.002, 64.0)
    assert (program.crash_at, program.hang_at, program.stop_at) == (-1, -1, -1)


def test_program_takes_whole_numbers_for_times():
    program = Program.from_args({"ttft": 1, "seed": 7})
    assert program == Program(ttft=1.0, seed=7)
    assert isinstance(program.ttft, float)


def test_program_rejects_an_unknown_argument():
    message = f"simulated has no 'speed'; known: {KNOWN}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Program.from_args({"speed": 1.0})


@pytest.mark.parametrize("value", ["fast", True, None])
def test_program_rejects_a_value_that_is_no_number(value):
    message = f"simulated.ttft must be a number, not {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Program.from_args({"ttft": value})


def test_program_rejects_chunks_of_no_token():
    with pytest.raises(ValueError, match=r"^simulated\.chunk "):
        Program.from_args({"chunk": 0})


# On the real clock. Medians, because the machine, not the engine, causes a single late wake-up.


@pytest.mark.timing
def test_ttft_is_as_programmed():
    backend = engine(ttft=0.18)
    times = [ttft(backend.generate([request(1)])[0]) for _ in range(5)]
    assert min(times) >= 0.18
    assert median(times) == pytest.approx(0.18, rel=0.01)


@pytest.mark.timing
def test_tpot_is_as_programmed():
    backend = engine(ttft=0.001, tpot=0.03)
    times = [tpot(backend.generate([request(7)])[0]) for _ in range(5)]
    assert median(times) == pytest.approx(0.03, rel=0.01)


@pytest.mark.timing
def test_delays_of_tokens_do_not_add_up():
    backend = engine(ttft=0.001, tpot=0.001)
    # 0.001 + 179 * 0.001: each sleep of one millisecond ends late, but their sum is not late.
    times = [e2e(backend.generate([request(180)])[0]) for _ in range(5)]
    assert min(times) >= 0.18
    assert median(times) == pytest.approx(0.18, rel=0.01)


@pytest.mark.timing
def test_load_takes_as_long_as_programmed():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        engine(load_time=0.18)
        times.append(time.perf_counter() - start)
    assert median(times) == pytest.approx(0.18, rel=0.01)


# On the simulated clock.


@pytest.mark.usefixtures("exact_clock")
def test_a_request_takes_what_is_programmed():
    (trace,) = engine(ttft=0.5, tpot=0.25).generate([request(3)])
    assert trace.submitted == 0.0
    assert trace.times == (0.5, 0.75, 1.0)
    assert trace.counts == (1, 1, 1)


@pytest.mark.usefixtures("exact_clock")
def test_ttft_grows_with_the_longest_prompt():
    backend = engine(ttft=0.02, ttft_per_input_token=0.002)
    traces = backend.generate([request(1, input_len=40), request(1, input_len=10)])
    # 0.02 + 40 * 0.002, for both requests of the batch
    assert [ttft(trace) for trace in traces] == pytest.approx([0.1, 0.1])


@pytest.mark.usefixtures("exact_clock")
@pytest.mark.parametrize(("batch_size", "expected"), [(1, 0.02), (2, 0.025), (3, 0.03)])
def test_tpot_grows_with_the_batch(batch_size, expected):
    backend = engine(tpot=0.02, batch_penalty=0.25)
    traces = backend.generate([request(5)] * batch_size)
    # 0.02 * (1 + 0.25 * (batch size - 1))
    assert [tpot(trace) for trace in traces] == pytest.approx([expected] * batch_size)


@pytest.mark.usefixtures("exact_clock")
def test_every_request_of_a_batch_has_its_own_length():
    traces = engine(ttft=0.5, tpot=0.25).generate([request(3), request(1), request(5)])
    assert [trace.output_tokens for trace in traces] == [3, 1, 5]
    assert [e2e(trace) for trace in traces] == [1.0, 0.5, 1.5]
    assert len({trace.submitted for trace in traces}) == 1


@pytest.mark.usefixtures("exact_clock")
def test_a_chunk_arrives_with_its_last_token():
    (trace,) = engine(ttft=0.5, tpot=0.25, chunk=2).generate([request(5)])
    assert trace.counts == (2, 2, 1)
    assert trace.times == (0.75, 1.25, 1.5)
    assert not trace.has_token_boundaries


@pytest.mark.usefixtures("exact_clock")
def test_a_chunk_ends_with_its_request():
    traces = engine(chunk=2).generate([request(3), request(5)])
    assert [trace.counts for trace in traces] == [(2, 1), (2, 2, 1)]


@pytest.mark.usefixtures("exact_clock")
def test_requests_can_stop_early():
    traces = engine(stop_at=3).generate([request(5), request(2)])
    assert [trace.output_tokens for trace in traces] == [3, 2]
    assert [len(trace.token_ids) for trace in traces] == [3, 2]


def ttfts(backend, rounds=2000):
    return [ttft(backend.generate([request(1)])[0]) for _ in range(rounds)]


@pytest.mark.usefixtures("exact_clock")
def test_jitter_is_reproducible_with_a_seed():
    first, second, another_seed = (
        ttfts(engine(ttft=1.0, jitter=0.3, seed=seed), rounds=5) for seed in (5, 5, 6)
    )
    assert first == pytest.approx(second)
    assert first != pytest.approx(another_seed)
    assert len(set(first)) == 5


@pytest.mark.usefixtures("exact_clock")
def test_jitter_has_the_programmed_spread_around_the_programmed_median():
    times = ttfts(engine(ttft=1.0, jitter=0.3))
    mean = sum(times) / len(times)
    variance = sum((t - mean) ** 2 for t in times) / len(times)
    assert median(times) == pytest.approx(1.0, rel=0.05)
    assert variance**0.5 / mean == pytest.approx(0.3, rel=0.1)


@pytest.mark.usefixtures("exact_clock")
def test_run_jitter_is_the_same_in_all_rounds_of_a_process():
    times = ttfts(engine(ttft=1.0, run_jitter=0.3), rounds=5)
    assert times == pytest.approx([times[0]] * 5)
    assert times[0] != pytest.approx(1.0)


@pytest.mark.usefixtures("exact_clock")
def test_tokens_depend_on_the_prompt_alone():
    backend = engine()
    first, again, other = backend.generate(
        [request(8), request(8), Request(tuple(b"something else"), 8)]
    )
    assert first.token_ids == again.token_ids != other.token_ids
    assert engine().generate([request(8)])[0].token_ids == first.token_ids
    assert backend.decode(first.token_ids).islower()


def test_a_prompt_has_a_token_a_byte():
    backend = engine()
    assert backend.encode("né") == [110, 195, 169]
    assert backend.decode(backend.encode("né")) == "né"


@pytest.mark.usefixtures("exact_clock")
def test_memory_and_cached_tokens_are_as_programmed():
    backend = engine(memory_mib=300, cached_tokens=2)
    backend.reset_peak_memory()
    (trace,) = backend.generate([request(1)])
    assert backend.peak_memory() == 300.0
    assert trace.cached_tokens == 2
    assert trace.input_tokens == 4
