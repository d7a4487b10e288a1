import datetime
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.metrics.definitions import METRICS
from pytest_llmperf.metrics.samples import known
from pytest_llmperf.session.cells import CellPlan
from pytest_llmperf.session.options import Settings
from pytest_llmperf.store import journal
from pytest_llmperf.store.stored import Observation, StoredRun, TestRecord

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
    """Id of a process that has ended."""
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
    """Write the journal that an interrupted run leaves behind."""

    def leave(run_id, entries, pid=ended_pid, **changes):
        header = {
            "journal": 1,
            "pid": pid,
            "machine_info": {"cpu": "some"},
            "commit_info": {"id": "abc123"},
            "machine_id": "Linux-CPython-3.11-64bit",
            "benchmark_version": "5.3.1",
            "datetime": "2026-01-02T03:04:05+00:00",
            **changes,
        }
        path = storage / journal.FOLDER / f"{run_id}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in [header, *entries]))
        return path

    return leave


NODEID = "test_speed.py::test_x[m-vllm-none]"
_GPU = {"name": "NVIDIA H100", "mig": False, "power_limit_w": 700.0, "driver": "570.1"}


def _start_of(number):
    first = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (first + datetime.timedelta(hours=number)).isoformat(timespec="seconds")


def _commit(number):
    return f"{number:02x}" + 38 * "c"


@pytest.fixture(scope="session")
def stored_test():
    """One test of a stored run as the gate reads it: ``stored_test(ttft=0.1, peak_memory=900.0)``.

    A metric is a number in its own unit, or an Observation; what is not given is the same everywhere.
    """

    def make(nodeid=NODEID, /, cell="m-vllm-none", limits=(), **given):
        parts = {
            "subject": {"model": "m", "engine": "vllm", "quantization": "none"},
            "workload": {"requests": "r1", "input_tokens": 8, "output_tokens": 4, "batch_size": 1},
            "environment": {"device": "cuda:0", "cpu": "some CPU", "gpus": [_GPU]},
        }
        for name, part in parts.items():
            part.update(given.pop(name, {}))
        metrics = {
            key: value
            if isinstance(value, Observation)
            else Observation(value, METRICS[key].unit, METRICS[key].better, METRICS[key].kind)
            for key, value in given.items()
        }
        return TestRecord(nodeid=nodeid, cell=cell, metrics=metrics, limits=dict(limits), **parts)

    return make


@pytest.fixture(scope="session")
def stored_run():
    """A stored run as the gate reads it: ``stored_run(3, test, other_test)``, the third hour's run."""

    def make(number, /, *tests, **changes):
        run = StoredRun(
            path=Path(f"{number:04}.json"),
            run_id=f"run{number}",
            job_id=f"job{number}",
            started_at=_start_of(number),
            commit=_commit(number),
            branch="main",
            dirty=False,
            tests={test.nodeid: test for test in tests},
            rejected=frozenset(),
        )
        return replace(run, **changes)

    return make


def _metric(key, value):
    samples = value if isinstance(value, list) else [value]
    return known({key: samples})[key].as_dict()


@pytest.fixture(scope="session")
def stored_record():
    """A complete record of schema 1: ``stored_record(ttft=0.1, output_throughput=[50.0, 51.0])``.

    A part is changed by its name: ``stored_record(model={"name": "other"}, ttft=0.1)``.
    """

    def make(nodeid=NODEID, /, number=1, nats=None, **given):
        parts = {
            "model": {
                "name": "m",
                "source": "organisation/m",
                "revision": None,
                "dtype": "bfloat16",
                "load_format": "auto",
                "parameters": 1000,
            },
            "backend": {
                "name": "vllm",
                "version": "0.27.1",
                "args": {"block_size": 16},
                "settings": {},
            },
            "quantization": {"mode": "none", "compute_dtype": "bfloat16"},
            "workload": {
                "hash": "h1",
                "requests": "r1",
                "input_tokens": 8,
                "output_tokens": 4,
                "batch_size": 1,
                "rounds": 5,
                "warmup": 2,
            },
            "environment": {
                "device": "cuda:0",
                "cpu": "some CPU",
                "cores": 8,
                "threads": None,
                "host": "a",
                "packages": {"vllm": "0.27.1"},
                "accelerators": [{"name": "NVIDIA H100", "driver": "570.1", "cuda": "12.8"}],
                "gpus": [dict(_GPU)],
                "conditions": {
                    "steal_share": 0.0,
                    "other_cores": 0.1,
                    "swapped_mib": 0.0,
                    "other_gpu_processes": 0,
                    "throttling": ["sw_power_cap"],
                },
            },
            "run": {
                "run_id": f"run{number}",
                "started_at": _start_of(number),
                "commit": _commit(number),
                "dirty": False,
                "job_id": None,
                "engine": 1,
            },
        }
        for name, part in parts.items():
            part.update(given.pop(name, {}))
        names = (parts["model"]["name"], parts["backend"]["name"], parts["quantization"]["mode"])
        record = {
            "schema": 1,
            "nodeid": nodeid,
            "cell": given.pop("cell", "-".join(names)),
            **parts,
            "gate": {"min_effect": {"ttft": 0.03}, "must_see": {"*": 0.1}},
            "metrics": {key: _metric(key, value) for key, value in given.items()},
        }
        if nats is not None:
            record["quality"] = {
                "text": {"name": "prose", "sha256": "0" * 64},
                "documents": [{"tokens": 240, "nll": nll} for nll in nats],
                "reference": None,
            }
        return record

    return make


@pytest.fixture(scope="session")
def stored_json(stored_record):
    """A record with its siblings as a file's content: ``stored_json(3, ttft=0.1)``."""

    def make(number, /, nodeid=NODEID, nats=None, **values):
        record = stored_record(nodeid, number=number, nats=nats, **values)
        siblings = [
            {
                "fullname": f"{nodeid[:-1]}-{key}]",
                "extra_info": {
                    "llmperf": {
                        "parent": nodeid,
                        "metric": key,
                        "unit": METRICS[key].unit,
                        "better": METRICS[key].better,
                    }
                },
            }
            for key in values
            if key in METRICS
        ]
        return {
            "commit_info": {"branch": "main"},
            "benchmarks": [
                {"fullname": nodeid, "extra_info": {"llmperf": record}},
                *siblings,
                {"fullname": "test_other.py::test_other", "extra_info": {}},
            ],
            "llmperf_gate": {"regressions": [{"nodeid": "test_a", "metric": "ttft"}]},
        }

    return make


@pytest.fixture
def save(storage):
    """Write a file's content into the storage folder under pytest-benchmark's own kind of name."""

    def write(number, content):
        folder = storage / "Linux-CPython-3.11-64bit"
        folder.mkdir(exist_ok=True)
        path = folder / f"{number:04}_{_commit(number)}_20260101_000000.json"
        path.write_text(json.dumps(content))
        return path

    return write
