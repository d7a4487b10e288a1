import sys
from types import ModuleType

import pytest

# The suite of an earlier commit, for test_same_records.
collect_ignore = ["data"]


@pytest.fixture(scope="module", autouse=True)
def _no_worker_of_xdist():
    """Runs inside do not know that this one has workers: they would skip every test of an LLM."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)
        yield


@pytest.fixture
def _compiled_modules():
    """Put back what the ``pytester`` below keeps, when pytest's own has removed it."""
    kept = {}
    yield kept
    sys.modules.update(kept)
    _forget_removed_modules()


def _forget_removed_modules():
    """Take modules that are no longer loaded out of the packages that still are.

    ``from package import module`` would find one there, beside a second copy of what it imports.
    """
    for name, package in list(sys.modules.items()):
        if name.partition(".")[0] != "pytest_llmperf":
            continue
        for attribute, value in list(vars(package).items()):
            is_part = isinstance(value, ModuleType) and value.__name__ == f"{name}.{attribute}"
            if is_part and sys.modules.get(value.__name__) is not value:
                delattr(package, attribute)


@pytest.fixture
def pytester(_compiled_modules, pytester, monkeypatch):
    """pytest's own, which removes what a test imports; torch loaded a second time ends the process."""
    before = set(sys.modules)
    inline_run = pytester.inline_run

    def run(*arguments, **options):
        try:
            return inline_run(*arguments, **options)
        finally:
            _forget_removed_modules()

    monkeypatch.setattr(pytester, "inline_run", run)
    yield pytester
    for name in set(sys.modules) - before:
        package = sys.modules.get(name.partition(".")[0])
        if "site-packages" in (getattr(package, "__file__", None) or ""):
            _compiled_modules[name] = sys.modules[name]


@pytest.fixture
def interpreter(tmp_path):
    """Make an interpreter from a shell script; ``$PYTHON`` is the real one."""

    def make(script):
        file = tmp_path / "interpreter"
        file.write_text(f"#!/bin/sh\nPYTHON={sys.executable}\n{script}\n")
        file.chmod(0o755)
        return str(file)

    return make
