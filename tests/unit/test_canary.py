import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from pytest_llmperf.machine import canary


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_the_reference_work_takes_time(without_torch):
    times = canary.run("cpu")
    assert set(times) == {"compute_s", "copy_s"}
    assert all(seconds > 0 for seconds in times.values())


def test_the_simulated_engine_has_none():
    assert canary.run("simulated") == {}


def test_times_are_joined_only_when_both_are_there():
    before = {"compute_s": 1.0, "copy_s": 2.0}
    assert canary.joined(before, {"compute_s": 3.0, "copy_s": 4.0}) == {
        "compute_s": [1.0, 3.0],
        "copy_s": [2.0, 4.0],
    }
    assert canary.joined(before, {}) == canary.joined({}, before) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read through /proc")
def test_its_memory_is_given_back():
    code = """
import json, os
from pytest_llmperf.machine import canary, memory

def resident():
    return memory._status_kib(os.getpid(), "VmRSS") / 1024

canary.run("cpu")
before = resident()
for _ in range(3):
    canary.run("cpu")
print(json.dumps(resident() - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 1


class FakeTorch:
    """Records the canary's calls. The machine that runs these tests has no GPU."""

    uint8 = bfloat16 = None

    def __init__(self, free=80 * 2**30, started=True, error=None):
        self.calls = []
        self.error = error
        self.cuda = SimpleNamespace(
            is_initialized=lambda: started,
            empty_cache=lambda: self.calls.append("empty_cache"),
            mem_get_info=lambda where: (free, 80 * 2**30),
            synchronize=lambda where: self.calls.append("synchronize"),
        )

    def device(self, name):
        return name

    def inference_mode(self):
        return nullcontext()

    def Generator(self, where):
        return SimpleNamespace(manual_seed=lambda seed: None)

    def tensor(self, *size, **options):
        if self.error:
            raise self.error
        return SimpleNamespace(copy_=lambda source: self.calls.append("copy"))

    randn = zeros = empty_like = tensor

    def mm(self, a, b, out):
        self.calls.append("mm")


@pytest.fixture
def on(monkeypatch):
    """Return a function that runs the canary for an engine on cuda:0 with a given torch."""

    def run(torch):
        monkeypatch.setitem(sys.modules, "torch", torch)
        return canary.run("cuda:0")

    return run


def test_on_a_gpu_the_gpu_does_the_work(on):
    torch = FakeTorch()
    assert set(on(torch)) == {"compute_s", "copy_s"}
    assert torch.calls.count("mm") == 13 * 4
    assert torch.calls.count("copy") == 13 * 10
    assert torch.calls.count("synchronize") == 13 + 13
    assert torch.calls[0] == torch.calls[-1] == "empty_cache"


def test_a_gpu_without_room_is_left_alone(on):
    torch = FakeTorch(free=2**30)
    assert on(torch) == {}
    assert "mm" not in torch.calls


def test_a_gpu_that_cannot_is_left_out(on):
    assert on(FakeTorch(error=RuntimeError("CUDA out of memory"))) == {}


def test_a_process_that_computes_elsewhere_starts_no_gpu(on):
    torch = FakeTorch(started=False)
    assert set(on(torch)) == {"compute_s", "copy_s"}
    assert torch.calls == []
