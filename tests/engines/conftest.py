import os
import subprocess
import sys
from pathlib import Path

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
def shared_cache(monkeypatch):
    """Runs inside runs have a home folder of their own; the converted model is the same."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(CACHE))
    # What vLLM knows of an architecture: a process of ten seconds finds it out, once.
    monkeypatch.setenv("VLLM_CACHE_ROOT", VLLM_CACHE)


@pytest.fixture(scope="session")
def checkpoint():
    """The embedded model as a folder of safetensors: made now, unless a run before has."""
    file = embedded_gguf()
    folder = cached_folder(file, CACHE)
    code = (
        "import sys; from pathlib import Path; "
        "from pytest_llmperf.backends.conversion import convert; "
        "convert(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    # In a process of its own: it imports an engine.
    subprocess.run([sys.executable, "-c", code, file, folder], check=True)
    return folder


@pytest.fixture
def session_processes():
    """Tells every process of a session: an engine and whatever it has started."""

    def find(session: int) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if os.getsid(int(entry.name)) == session and state != "Z":
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    return find
