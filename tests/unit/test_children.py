"""Which ends of an engine's processes are reported."""

import itertools
import subprocess
import sys
from queue import Empty, Queue

import pytest

from pytest_llmperf.worker import children
from pytest_llmperf.worker.children import Children, how_it_ended


@pytest.fixture
def child(monkeypatch):
    """Start a process that ends with a code that it is told; an engine may go on for 0.3 s."""
    monkeypatch.setattr(children, "_GRACE", 0.3)
    code = "import sys; sys.exit(int(sys.stdin.readline()))"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def watched(work):
    reports = Queue()
    watching = Children(reports.put, work)
    watching.watch()
    return watching, reports


def nothing(reports):
    with pytest.raises(Empty):
        reports.get(timeout=1.0)
    return True


def finish(child, code):
    child.stdin.write(b"%d\n" % code)
    child.stdin.flush()


def name(child):
    return f"the engine's {children._name(child.pid)} (process {child.pid})"


def test_a_crash_is_reported_at_once_whatever_the_engine_does(child):
    _, reports = watched(itertools.count().__next__)
    line = f"{name(child)} was killed by SIGKILL (out of memory, or by hand)"
    child.kill()
    assert reports.get(timeout=10) == line


@pytest.mark.parametrize(
    ("end", "how"),
    [
        (lambda child: child.terminate(), "was killed by SIGTERM"),
        (lambda child: finish(child, 3), "ended unexpectedly with exit code 3"),
    ],
)
def test_another_end_is_reported_if_the_engine_stands_still(child, end, how):
    _, reports = watched(lambda: 7)
    line = f"{name(child)} {how}"
    end(child)
    assert reports.get(timeout=10) == line


@pytest.mark.parametrize("work", [itertools.count().__next__, lambda: None])
def test_an_engine_that_goes_on_or_has_nothing_to_do_may_end_a_helper(child, work):
    _, reports = watched(work)
    child.terminate()
    assert nothing(reports)


def test_a_helper_that_is_done_is_no_loss(child):
    _, reports = watched(lambda: 7)
    finish(child, 0)
    assert nothing(reports)


def test_an_engine_that_closes_may_end_its_processes(child):
    watching, reports = watched(lambda: 7)
    watching.ignore()
    child.kill()
    assert nothing(reports)


def test_a_signal_without_a_name_has_its_number():
    assert how_it_ended(-40) == "was killed by signal 40"
    assert how_it_ended(-11) == "was killed by SIGSEGV"
    assert how_it_ended(7) == "ended unexpectedly with exit code 7"
