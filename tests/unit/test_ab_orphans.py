"""Processes that a run of a comparison leaves behind are ended, whatever group they are in."""

import subprocess
import sys

import pytest

from pytest_llmperf.ab import orphans

LEAVES = """
import subprocess, sys
none = subprocess.DEVNULL
command = [{python!r}, "-c", {code!r}]
child = subprocess.Popen(command, start_new_session={leaves}, stdout=none, stderr=none)
print(child.pid)
"""
SLEEPS = "import time; time.sleep(60)"


def left_behind(code, leaves=True):
    """Run a process that starts another one and ends; give the other one's id."""
    script = LEAVES.format(python=sys.executable, code=code, leaves=leaves)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def is_alive(pid):
    # It was this process's child, and waited for: its number is free.
    return subprocess.run(["kill", "-0", str(pid)], capture_output=True).returncode == 0


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(orphans, "_GRACE", 0.5)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_process_that_is_left_behind_is_ended_and_named(leaves):
    said = []
    with orphans.ended(said.append):
        pid = left_behind(SLEEPS, leaves)
        assert is_alive(pid)
    assert not is_alive(pid)
    ((name,),) = said
    assert name.startswith("python")


def test_one_that_ends_by_itself_is_not_named():
    said = []
    with orphans.ended(said.append):
        left_behind("import time; time.sleep(0.1)")
    assert said == []


def test_other_children_are_left_alone():
    with subprocess.Popen([sys.executable, "-c", SLEEPS]) as other:
        with orphans.ended(lambda names: None):
            left_behind(SLEEPS)
        assert other.poll() is None
        other.kill()


def test_they_are_ended_after_an_error_as_well():
    pids = []

    def interrupted():
        with orphans.ended(lambda names: None):
            pids.append(left_behind(SLEEPS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not is_alive(*pids)
