from dataclasses import replace

import pytest

from pytest_llmperf.backends.base import Backend
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.errors import InvalidMeasurement
from pytest_llmperf.core.measurement import Measurement
from pytest_llmperf.core.trace import RequestTrace
from pytest_llmperf.core.turns import ROUND, WARM_UP, Asks
from pytest_llmperf.core.workload import Workload
from pytest_llmperf.machine import canary
from pytest_llmperf.worker import measure as measuring
from pytest_llmperf.worker.measure import encoder, measure
from pytest_llmperf.worker.turns import Turns

# Not the device "cpu", where every measurement would run the canary.
INFO = EngineInfo(device="simulated", dtype="float32", vocabulary=1000, has_tokenizer=True)


class FakeBackend(Backend):
    """Answers at once with the right tokens, and records its requests."""

    name = "fake"

    def __init__(self):
        self.calls = []
        self.seen = []
        self.too_short_from = 10**9

    def load(self, spec):
        raise AssertionError("measure does not load")

    def generate(self, requests):
        self.calls.append("generate")
        self.seen.append([request.prompt_ids for request in requests])
        missing = 1 if len(self.seen) >= self.too_short_from else 0
        start = float(len(self.seen))
        return [
            RequestTrace(
                submitted=start,
                times=tuple(start + 0.1 * (i + 1) for i in range(request.output_len - missing)),
                counts=(1,) * (request.output_len - missing),
                input_tokens=len(request.prompt_ids),
            )
            for request in requests
        ]

    def clock(self):
        """A moment after the last call's timestamps and before those of the next."""
        return len(self.seen) + 0.9

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode()

    def reset_peak_memory(self):
        self.calls.append("reset_peak_memory")

    def peak_memory(self):
        self.calls.append("peak_memory")
        return 123.5


def silent(phase, number, total):
    pass


def measured(backend, info, workload, progress):
    """Measure by the fake engine's own clock."""
    return measure(backend, info, workload, progress, clock=backend.clock)


def test_warm_up_is_not_measured():
    backend = FakeBackend()
    measurement = measured(backend, INFO, Workload(2, input_len=3, rounds=3, warmup=2), silent)
    assert len(backend.seen) == 5
    # The fake engine's clock counts its calls.
    assert [r.requests[0].submitted for r in measurement.rounds] == [3.0, 4.0, 5.0]


def test_peak_memory_is_that_of_the_rounds_alone():
    backend = FakeBackend()
    measurement = measured(backend, INFO, Workload(2, input_len=3, rounds=3, warmup=2), silent)
    warm_up, rounds = ["generate"] * 2, ["generate"] * 3
    assert backend.calls == [*warm_up, "reset_peak_memory", *rounds, "peak_memory"]
    assert measurement.peak_memory == 123.5


def test_the_canary_is_outside_the_window_of_peak_memory(monkeypatch):
    backend = FakeBackend()

    def run(device):
        backend.calls.append(f"canary on {device}")
        return {"compute_s": float(len(backend.calls))}

    monkeypatch.setattr(canary, "run", run)
    info = replace(INFO, device="cpu")
    measurement = measured(backend, info, Workload(2, input_len=3, rounds=1, warmup=1), silent)
    assert backend.calls == [
        "canary on cpu",
        "generate",
        "reset_peak_memory",
        "generate",
        "peak_memory",
        "canary on cpu",
    ]
    assert measurement.canary == {"compute_s": [1.0, 6.0]}


def test_conditions_are_those_of_the_rounds_alone(monkeypatch):
    backend = FakeBackend()
    taken = []

    class Taken:
        @classmethod
        def take(cls):
            backend.calls.append("take")
            taken.append(cls())
            return taken[-1]

    def between(before, after):
        assert [before, after] == taken
        return {"steal_share": 0.25}

    monkeypatch.setattr(measuring, "Snapshot", Taken)
    monkeypatch.setattr(measuring, "between", between)
    measurement = measured(backend, INFO, Workload(2, input_len=3, rounds=2, warmup=1), silent)
    assert backend.calls == [
        "generate",
        "reset_peak_memory",
        "take",
        "generate",
        "generate",
        "take",
        "peak_memory",
    ]
    assert measurement.conditions == {"steal_share": 0.25}
    assert measurement.canary == {}


def test_progress_is_told_before_each_round():
    backend = FakeBackend()
    told = []

    def progress(phase, number, total):
        told.append((phase, number, total, len(backend.seen)))

    measured(backend, INFO, Workload(2, input_len=3, rounds=3, warmup=2), progress)
    assert told == [
        ("warm-up", 1, 2, 0),
        ("warm-up", 2, 2, 1),
        ("round", 1, 3, 2),
        ("round", 2, 3, 3),
        ("round", 3, 3, 4),
    ]


def test_warm_up_can_be_left_out():
    backend = FakeBackend()
    measured(backend, INFO, Workload(2, input_len=3, rounds=1, warmup=0), silent)
    assert backend.calls == ["reset_peak_memory", "generate", "peak_memory"]


def test_no_random_prompt_is_seen_twice():
    backend = FakeBackend()
    workload = Workload(2, input_len=8, batch_size=2, rounds=3, warmup=2)
    measured(backend, INFO, workload, silent)
    prompts = [ids for batch in backend.seen for ids in batch]
    assert len(set(prompts)) == len(prompts) == 10


def test_a_text_prompt_is_tokenized_by_the_engine():
    backend = FakeBackend()
    measured(backend, INFO, Workload(2, prompt="ab", batch_size=2, rounds=1, warmup=0), silent)
    assert backend.seen[0] == [(97, 98), (97, 98)]


def test_a_repeated_prompt_is_compared_with_new_ones_of_its_length():
    backend = FakeBackend()
    measured(backend, INFO, Workload(2, prompt="abc", batch_size=2, rounds=1, warmup=0), silent)
    fresh = [ids for prompts in backend.seen[1:] for ids in prompts]
    assert len(fresh) == len(set(fresh)) == 6
    assert {len(ids) for ids in fresh} == {3}


def test_new_prompts_are_new_in_every_measurement():
    backend = FakeBackend()
    for _ in range(2):
        measured(backend, INFO, Workload(2, prompt="abcdefgh", rounds=1, warmup=0), silent)
    measured(backend, INFO, Workload(2, input_len=8, rounds=3, warmup=0), silent)
    prompts = [ids for batch in backend.seen for ids in batch]
    # The text twice, with three new prompts after each, and three random prompts.
    assert len(prompts) == 11
    assert len(set(prompts)) == 10


def test_random_prompts_need_no_comparison():
    backend = FakeBackend()
    measured(backend, INFO, Workload(2, input_len=3, rounds=2, warmup=0), silent)
    assert len(backend.seen) == 2


def test_without_a_tokenizer_a_word_is_one_stable_token():
    encode = encoder(FakeBackend(), replace(INFO, has_tokenizer=False))
    one, other, again = encode("one other one")
    assert one == again != other
    assert 0 <= one < 1000
    assert encode("one") == [one]


def test_wire_form_gives_back_the_same_measurement():
    workload = Workload(2, input_len=3, batch_size=2, rounds=2, warmup=0)
    before = replace(
        measured(FakeBackend(), INFO, workload, silent),
        conditions={"steal_share": 0.5},
        canary={"copy_s": [0.1, 0.2]},
    )
    assert Measurement.from_wire(before.to_wire()) == before


@pytest.mark.parametrize(
    ("first_bad", "where"), [(2, "warm-up round 2"), (3, "round 1"), (4, "round 2")]
)
def test_every_round_is_checked_and_named(first_bad, where):
    backend = FakeBackend()
    backend.too_short_from = first_bad
    message = f"^{where}, request 1 of 2: the engine gave 1 output tokens instead of 2$"
    with pytest.raises(InvalidMeasurement, match=message):
        measured(backend, INFO, Workload(2, input_len=3, batch_size=2, rounds=2), silent)


class SharedTurns(Turns):
    """Turns that the other side shares, all but the last round."""

    def __init__(self, last):
        super().__init__(None, silent)
        self._last = last
        self.asked = []

    @property
    def are_shared(self):
        return True

    def goes_on(self, asks, at=(-1, 0)):
        self.asked.append((asks, at))
        goes = asks in (Asks.NEEDS, Asks.WANTS)
        self.beside = goes and at[1] < self._last
        return goes


def test_each_warm_up_and_round_waits_for_its_turn_and_the_share_of_common_rounds_is_kept():
    backend, turns = FakeBackend(), SharedTurns(last=3)
    workload = Workload(2, input_len=3, rounds=4, warmup=1)
    done = measure(backend, INFO, workload, silent, clock=backend.clock, turns=turns)
    assert turns.asked == [
        (Asks.NEEDS, (WARM_UP, 0)),
        *((Asks.NEEDS, (ROUND, number)) for number in range(4)),
        (Asks.OVER, (ROUND, 4)),
    ]
    assert len(done.rounds) == 4
    assert done.conditions["in_turns"] == 0.75
