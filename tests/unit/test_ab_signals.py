"""``ab`` ends at SIGTERM and SIGHUP as at Ctrl-C, and leaves the handlers of whoever calls it."""

import signal
import threading

import pytest

from pytest_llmperf.ab import plan as plans
from pytest_llmperf.ab.comparison import Comparison
from pytest_llmperf.ab.plan import Plan
from pytest_llmperf.ab.sides import Side
from pytest_llmperf.cli import ab
from pytest_llmperf.cli.main import main
from pytest_llmperf.core.errors import OneLine
from pytest_llmperf.gate.limits import LimitSettings

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """Run the command in this process, where a function stands for the measurements."""
    sides = (Side("base"), Side("head"))
    plan = Plan("job", *sides, str(tmp_path), (), "", 2, 0, LimitSettings(), in_turns=True)

    def run(measure):
        (tmp_path / plans.FILE).touch()
        monkeypatch.setattr(ab, "_plan", lambda options: (tmp_path, plan))
        monkeypatch.setattr(Comparison, "run", lambda comparison: measure())
        return main(["ab"])

    return run


@pytest.fixture
def own_handlers():
    """Handlers of the caller, which do nothing."""
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    own = {ending: lambda signum, frame: None for ending in ENDINGS}
    for ending, handler in own.items():
        signal.signal(ending, handler)
    yield own
    for ending, handler in before.items():
        signal.signal(ending, handler)


def handlers():
    return {ending: signal.getsignal(ending) for ending in ENDINGS}


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_ends_as_at_ctrl_c_and_the_callers_handlers_are_back(
    compare, own_handlers, ending, capsys
):
    assert compare(lambda: signal.raise_signal(ending)) == 130
    assert "interrupted; go on with: pytest-llmperf ab --resume" in capsys.readouterr().err
    assert handlers() == own_handlers


def test_the_callers_handlers_are_back_after_an_error(compare, own_handlers):
    def measure():
        assert handlers() != own_handlers
        raise OneLine("a side does not run")

    assert compare(measure) == 3
    assert handlers() == own_handlers


def test_an_ending_that_is_ignored_stays_so(compare, own_handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # As nohup does.

    def measure():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        raise OneLine("a side does not run")

    compare(measure)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_thread_of_another_program_can_run_it(compare, own_handlers):
    codes = []

    def measure():
        assert handlers() == own_handlers
        raise OneLine("a side does not run")

    thread = threading.Thread(target=lambda: codes.append(compare(measure)))
    thread.start()
    thread.join()
    assert codes == [3]
