import os
import shutil
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest

from pytest_llmperf.backends.conversion import cached_folder
from pytest_llmperf.core.models import embedded_gguf
from pytest_llmperf.session.options import default_cache_dir

CACHE = default_cache_dir()
_USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
VLLM_CACHE = os.environ.get("VLLM_CACHE_ROOT") or str(_USER_CACHE / "vllm")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/engines/" in item.nodeid:
            item.add_marker(pytest.mark.engine)
            if "llm" in item.fixturenames:
                item.add_marker(pytest.mark.resident)


@pytest.fixture(autouse=True)
def quick_vllm(request, monkeypatch):
    """Keep vLLM's core in the engine's process in the runs inside tests: half of the time to load.

    The engine of this run, which meets the contract, is as vLLM starts it.
    """
    if "llm" not in request.fixturenames:
        monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")


@pytest.fixture(autouse=True)
def shared_cache(monkeypatch):
    """Share the caches with the runs inside tests, which have another home folder."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(CACHE))
    # vLLM inspects an architecture in a process of ten seconds, and caches the result.
    monkeypatch.setenv("VLLM_CACHE_ROOT", VLLM_CACHE)


@pytest.fixture(scope="session")
def checkpoint():
    """Return the embedded model as a folder of safetensors; make it unless an earlier run did."""
    file = embedded_gguf()
    folder = cached_folder(file, CACHE)
    code = (
        "import sys; from pathlib import Path; "
        "from pytest_llmperf.backends.conversion import convert; "
        "convert(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    # In a separate process, because it imports an engine.
    subprocess.run([sys.executable, "-c", code, file, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def quantized(checkpoint, tmp_path_factory):
    """Return a function from a name of ``checkpoints`` to its folder, which it makes once."""
    root = tmp_path_factory.mktemp("quantized")

    def folder_of(name):
        folder = root / name
        if not folder.exists():
            subprocess.run(
                [sys.executable, checkpoints.__file__, checkpoint, folder, name],
                check=True,
                capture_output=True,
            )
        return folder

    yield folder_of
    # All of them together are 1.3 GiB, and pytest keeps the folders of three runs.
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def save_weights():
    """Write random weights of given shapes: ``save_weights(folder, {"lm_head.weight": (500, 64)})``.

    Without torch, which takes seconds to import, and must not be imported twice in this process.
    """
    import numpy
    from safetensors.numpy import save_file

    def save(folder, shapes):
        source = numpy.random.default_rng(0)
        weights = {name: source.normal(0, 0.02, shape) for name, shape in shapes.items()}
        as_float32 = {name: values.astype(numpy.float32) for name, values in weights.items()}
        save_file(as_float32, folder / "model.safetensors", {"format": "pt"})

    return save


@pytest.fixture
def session_processes():
    """Return a function that lists the processes of a session: an engine and all its children."""

    def find(session: int) -> list[int]:
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if os.getsid(int(entry.name)) == session and state != "Z":
                        pids.append(int(entry.name))
                except OSError:
                    continue
        return pids

    return find
