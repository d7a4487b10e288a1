import json
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_llmperf import journal
from pytest_llmperf.cells import CellPlan
from pytest_llmperf.options import Settings

EVERY_ENGINE = {"transformers": "5.17.0", "vllm": "0.27.1", "bitsandbytes": "0.50.2"}


@pytest.fixture
def unsaid(pytestconfig):
    """The settings of a command line and an ini file that say nothing about models."""
    return Settings.from_config(pytestconfig)


@pytest.fixture
def plan(unsaid):
    """A CellPlan with some settings, in an environment where these packages are installed."""

    def make(packages=EVERY_ENGINE, **settings):
        return CellPlan(replace(unsaid, **settings), {sys.executable: packages})

    return make


@pytest.fixture
def ended_pid():
    """Number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def storage(tmp_path):
    """An empty storage folder of pytest-benchmark."""
    path = tmp_path / ".benchmarks"
    path.mkdir()
    return path


@pytest.fixture
def leave_journal(storage, ended_pid):
    """Writes the journal that an interrupted run leaves behind."""

    def leave(run_id, entries, pid=ended_pid):
        header = {
            "journal": 1,
            "pid": pid,
            "machine_info": {"cpu": "some"},
            "commit_info": {"id": "abc123"},
            "machine_id": "Linux-CPython-3.11-64bit",
            "benchmark_version": "5.3.1",
            "datetime": "2026-01-02T03:04:05+00:00",
        }
        path = storage / journal.FOLDER / f"{run_id}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in [header, *entries]))
        return path

    return leave
