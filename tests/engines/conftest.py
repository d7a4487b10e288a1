import pytest

from pytest_llmperf.options import default_cache_dir

CACHE = default_cache_dir()


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/engines/" in item.nodeid:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(autouse=True)
def shared_cache(monkeypatch):
    """Runs inside runs have a home folder of their own; the converted model is the same."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(CACHE))
