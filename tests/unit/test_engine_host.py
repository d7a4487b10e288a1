"""The engine's side of a worker: its environment variables, and the GPU that it is given."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.worker.server import EngineHost

LOCAL = EngineSpec("simulated", "none", "/models/m", threads=3)
ON_THE_HUB = EngineSpec("simulated", "none", "some/model", local=False)


@pytest.fixture
def host(monkeypatch):
    """An EngineHost in this process, as with --llm-isolation=none."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    host = EngineHost()
    yield host
    host.close()


@pytest.fixture
def hub_library(monkeypatch):
    """The constants of a hub library that is imported already."""
    constants = SimpleNamespace(HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", constants)
    return constants


def silent(phase, number, total):
    pass


def test_a_model_of_this_machine_asks_no_hub_and_the_next_one_may(host, hub_library):
    before = dict(os.environ)
    host.load(LOCAL.to_wire())
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert hub_library.HF_HUB_OFFLINE
    host.close()
    assert dict(os.environ) == before
    assert not hub_library.HF_HUB_OFFLINE
    host.load(ON_THE_HUB.to_wire())
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_failed_load_changes_no_environment(host):
    before = dict(os.environ)
    spec = EngineSpec("simulated", "none", "/models/m", args={"nonsense": 1})
    with pytest.raises(ValueError, match="nonsense"):
        host.load(spec.to_wire())
    assert dict(os.environ) == before


def test_preparing_changes_no_environment(host, tmp_path, monkeypatch):
    def prepare(cls, spec, cache, report):
        assert os.environ["HF_HUB_OFFLINE"] == "1"
        return spec

    monkeypatch.setattr(SimulatedBackend, "prepare", classmethod(prepare))
    before = dict(os.environ)
    host.prepare(LOCAL.to_wire(), str(tmp_path), report=silent)
    assert dict(os.environ) == before


def test_what_others_set_while_an_engine_runs_stays(host, monkeypatch):
    host.load(LOCAL.to_wire())
    monkeypatch.setenv("OF_A_TEST", "1")
    host.close()
    assert os.environ["OF_A_TEST"] == "1"


@pytest.mark.parametrize(
    ("backend", "module"), [("vllm", "vllm"), ("tensorrt-llm", "tensorrt_llm")]
)
def test_an_engine_without_a_choice_of_gpu_sees_only_the_one_that_was_asked_for(
    host, monkeypatch, backend, module
):
    seen = []

    class Engine(ModuleType):
        def __getattr__(self, name):
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
            raise ImportError("seen enough")

    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, module, Engine(module))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    spec = EngineSpec(backend, "none", "/models/m", device="cuda:1")
    with pytest.raises(ImportError):
        host.load(spec.to_wire())
    assert set(seen) == {"3"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3"
