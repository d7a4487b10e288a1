"""The versions that another interpreter reports."""

import sys

import pytest

from pytest_llmperf.core.errors import EngineError
from pytest_llmperf.session import installed


def test_an_interpreter_whose_start_prints_is_understood(interpreter):
    python = interpreter("echo 'Loading module cuda'; exec $PYTHON \"$@\"")
    assert installed.installed_packages_of(python) == installed.installed_packages_of(
        sys.executable
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'no licence' >&2; exit 3", "(no licence)"),
        ("exit 3", "(exit code 3)"),
        ("exit 0", "(it printed '' instead of versions)"),
        ("echo 7", "(it printed '7\\n' instead of versions)"),
        ("echo '[[[['", "(it printed '[[[[\\n' instead of versions)"),
    ],
)
def test_what_is_no_python_is_one_line(interpreter, script, reason):
    python = interpreter(script)
    with pytest.raises(EngineError) as error:
        installed.installed_packages_of(python)
    assert str(error.value) == f"{python} does not run as a Python interpreter {reason}"


def test_an_interpreter_that_hangs_has_a_limit(interpreter, monkeypatch):
    monkeypatch.setattr(installed, "_LIMIT", 0.5)
    python = interpreter("sleep 60; echo {}")
    with pytest.raises(EngineError) as error:
        installed.installed_packages_of(python)
    assert str(error.value) == f"{python} gives no answer for 0.5 s"
