"""An engine that dies or hangs fails only its own test, and no engine outlives its run."""

import json

import pytest

from pytest_llmperf.backends import backend_class, names
from pytest_llmperf.worker.server import installed_packages

TESTS = """
    import json, os, signal, threading
    from pathlib import Path

    PIDS = Path("pids.json")

    def at_work(llm, number):
        llm.check_output()  # Now, so that the engine's next work is a round.
        pid = llm.engine().pid
        PIDS.write_text(json.dumps([*(json.loads(PIDS.read_text()) if PIDS.exists() else []), pid]))
        threading.Timer(0.5, os.kill, (pid, number)).start()

    def test_killed(llm, llm_benchmark):
        at_work(llm, signal.SIGKILL)
        llm_benchmark(llm, input_len=8, output_len=1000)

    def test_stopped(llm, llm_benchmark):
        at_work(llm, signal.SIGSTOP)
        assert llm.engine().number == 2
        llm_benchmark(llm, input_len=8, output_len=1000)
"""


def installed():
    packages = installed_packages()
    engines = [name for name in names() if backend_class(name).by_default]
    return [name for name in engines if backend_class(name).refusal("none", packages) is None]


def pytest_generate_tests(metafunc):
    """Make one test per installed engine, or per installed engine that the command line names."""
    engines = installed()
    named = ",".join(metafunc.config.getoption("llm_backend") or engines).split(",")
    metafunc.parametrize("backend", [name for name in engines if name in named])


def test_a_crash_and_a_hang_cost_their_own_tests_and_nothing_stays(
    pytester, session_processes, backend
):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(f"--llm-backend={backend}", "--llm-round-timeout=3")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            f"smollm2-135m-{backend}-*: the engine's process was killed by SIGKILL *; log: *.log",
            f"smollm2-135m-{backend}-*: no answer for 3 s (--llm-round-timeout), *; log: *.log",
        ]
    )
    pids = json.loads((pytester.path / "pids.json").read_text())
    assert len(set(pids)) == 2
    assert [session_processes(pid) for pid in pids] == [[], []]


def test_a_foreign_mode_is_refused_before_anything_loads(pytester, backend):
    pytester.makepyfile(TESTS)
    mode = backend_class(backend).contract.foreign_mode
    result = pytester.runpytest_subprocess(f"--llm-backend={backend}", f"--llm-quant={mode}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: --llm-quant: ")
    assert mode in line
    assert not (pytester.path / "pids.json").exists()
