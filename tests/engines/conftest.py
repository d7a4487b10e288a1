import os
from pathlib import Path

import pytest

from pytest_llmperf.session.options import default_cache_dir

CACHE = default_cache_dir()


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/engines/" in item.nodeid:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(autouse=True)
def shared_cache(monkeypatch):
    """Runs inside runs have a home folder of their own; the converted model is the same."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(CACHE))


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
