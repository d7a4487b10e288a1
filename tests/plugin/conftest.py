"""Shared fixtures: run pytest on a small file, read its stored runs, watch processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

# Compiled modules that the runs inside import: once in this process, not once per run.
import msgspec  # noqa: F401
import numpy  # noqa: F401
import pytest

from pytest_llmperf.machine.ci import VARIABLES

STUBS = Path(__file__).with_name("stubs")
TINY_ENGINE = Path(__file__).with_name("tiny_engine.py")
ONE_TEST = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""


@pytest.fixture(scope="module", autouse=True)
def _plain_environment(tmp_path_factory):
    """Runs inside have a cache of their own, and do not look up the processor, which takes a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        # The runs inside are not those of the CI job that runs these tests.
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        # What real engines have left in a cache is not the truth of the engines that stand in here.
        patch.delenv("PYTEST_LLMPERF_CACHE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # For those in a process of their own, and for those in this one.
        patch.setenv("PYTHONPATH", str(STUBS), prepend=os.pathsep)
        patch.setattr("cpuinfo.get_cpu_info", lambda: {"brand_raw": "a processor"})
        yield


@pytest.fixture(scope="session")
def arguments():
    """The command line of a run on the simulated engine: ``arguments("-q", ttft=0.1)``."""

    def make(*extra, **program):
        programmed = [f"--llm-backend-arg=simulated.{k}={v}" for k, v in program.items()]
        # This suite turns warnings into errors; the runs inside see them as a user does.
        return ["-W", "default", "--llm-backend=simulated", *programmed, *map(str, extra)]

    return make


@pytest.fixture
def llm_pytest(pytester, arguments):
    """Run pytest in this process on the simulated engine."""

    def run(*extra, **program):
        return pytester.runpytest_inprocess(*arguments(*extra, **program))

    return run


@pytest.fixture
def llm_pytest_process(pytester, arguments):
    """Run pytest in a separate process on the simulated engine."""

    def run(*extra, **program):
        return pytester.runpytest_subprocess(*arguments(*extra, **program), timeout=60)

    return run


@pytest.fixture(scope="session")
def run_in(arguments):
    """Run pytest in a folder that several tests share; gives the exit code."""

    def run(folder, *extra, environment=(), **program):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments(*extra, **program)],
            cwd=folder,
            env={**inherited, **dict(environment)},
            capture_output=True,
            timeout=60,
        )
        return done.returncode

    return run


@pytest.fixture
def one_test(pytester):
    """A file with one test, test_speed.py::test_x: 3 rounds of 8 prompt and 4 output tokens."""
    return pytester.makepyfile(test_speed=ONE_TEST)


@pytest.fixture
def stored_files(pytester):
    """The stored runs, oldest first."""
    return lambda: sorted(pytester.path.glob(".benchmarks/*/*.json"))


@pytest.fixture
def stored(stored_files):
    """The entries of a stored run by name, the newest unless a file is given."""

    def read(file=None):
        run = json.loads(Path(file or stored_files()[-1]).read_text())
        entries = {entry["name"]: entry for entry in run["benchmarks"]}
        assert len(entries) == len(run["benchmarks"]), "an entry is stored twice"
        return entries

    return read


@pytest.fixture
def records(stored):
    """The records of a stored run's primary entries, by test name."""

    def read(file=None):
        found = {name: e["extra_info"].get("llmperf", {}) for name, e in stored(file).items()}
        return {name: record for name, record in found.items() if "schema" in record}

    return read


@pytest.fixture
def journals(pytester):
    """The journals in the storage folder."""
    return lambda: list(pytester.path.glob(".benchmarks/.llmperf/*.jsonl"))


@pytest.fixture
def model_folder(pytester):
    """Make a folder that counts as a model: ``model_folder("a")``."""

    def make(name):
        folder = pytester.mkdir(name)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        return folder

    return make


@pytest.fixture
def bare_python(pytester):
    """An interpreter without any installed package, which has to be enough for the worker."""
    script = pytester.path / "bare-python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def wait_until():
    """Wait for something to become true, a few seconds at most."""

    def wait(condition, what, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def is_comparison_running():
    """Whether a process of a comparison lives, whatever has become of its parents.

    It was started with the environment variable ``COMPARISON=FOLDER``.
    """

    def is_running(folder):
        mark = f"COMPARISON={folder}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if mark in (process / "environ").read_bytes() and not zombie:
                    return True
            except OSError:  # It has ended meanwhile.
                continue
        return False

    return is_running


@pytest.fixture
def wait_until_gone(wait_until):
    """Wait until a process has ended (a zombie has)."""

    def gone(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return not Path("/proc/self").exists()

    return lambda pid: wait_until(lambda: gone(pid), f"the end of process {pid}")


@pytest.fixture
def package(pytester, monkeypatch):
    """Installs a package with one backend, where runs inside find it."""

    def install(source=None, value="tiny_engine:TinyBackend", name="tiny"):
        folder = pytester.mkdir("site")
        (folder / "tiny_engine.py").write_text(source or TINY_ENGINE.read_text())
        info = folder / "tiny_engine-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[pytest_llmperf.backends]\n{name} = {value}\n")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    return install
