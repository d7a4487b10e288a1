import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_worker_of_xdist():
    """Runs inside do not know that this one has workers: they would skip every test of an LLM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)
        yield
