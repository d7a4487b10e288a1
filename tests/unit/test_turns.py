"""The engine's end of turns: it asks, rests, and goes on alone without an arbiter."""

import socket
import threading

import pytest

from pytest_llmperf.ab.turns import Arbiter
from pytest_llmperf.core.progress import silent
from pytest_llmperf.core.turns import PATH, ROUND, WAITING, WORKING, Asks, Request, Turn
from pytest_llmperf.machine import memory
from pytest_llmperf.machine.conditions import Snapshot, between
from pytest_llmperf.machine.proc import CpuTicks
from pytest_llmperf.worker.turns import Turns, turns


@pytest.mark.parametrize("asks", Asks)
def test_without_an_arbiter_a_side_decides_itself(asks):
    alone = Turns(None, silent)
    assert alone.goes_on(asks) is (asks in (Asks.WORK, Asks.NEEDS, Asks.WANTS))
    assert not alone.beside
    assert alone.waited == 0


def test_nobody_listens_where_the_sides_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv(PATH, str(tmp_path / "base.turns"))
    with turns(silent) as taken:
        assert not taken.are_shared


def test_a_request_and_a_turn_are_read_as_they_were_written():
    request = Request(Asks.WANTS, (ROUND, 7), 2.5, "no room")
    assert Request.of_line(request.line()) == request
    for turn in (Turn(goes=True, beside=True), Turn(goes=False)):
        assert Turn.of_line(turn.line()) == turn


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"1", b'{"asks": "x"}', b"\xff", b"[" * 2000])
def test_what_is_no_request_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - of any text.
        Request.of_line(line)


@pytest.fixture
def arbiter(tmp_path, monkeypatch):
    """An arbiter that gives turns all the time, and waits for nobody."""
    paths = {side: str(tmp_path / side) for side in ("base", "head")}
    monkeypatch.setenv(PATH, paths["base"])
    done = threading.Event()
    with Arbiter("base", paths) as made:
        made.seats["head"].has_ended = True

        def serve():
            while not done.is_set():
                made.hear(0.01)
                made.give()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield made
        finally:
            done.set()
            thread.join()


def test_the_limit_of_a_call_rests_while_a_side_waits_and_begins_with_its_turn(arbiter):
    phases = []
    with turns(lambda phase, *_: phases.append(phase)) as taken:
        assert taken.goes_on(Asks.NEEDS, (ROUND, 0))
        assert not taken.goes_on(Asks.OVER, (ROUND, 1))
        assert taken.waited > 0
    # A round reports itself.
    assert phases == [WAITING, WORKING, WAITING, WAITING, WORKING]


def test_an_arbiter_that_has_ended_leaves_the_side_alone():
    ours, theirs = socket.socketpair()
    taken = Turns(ours, silent)
    theirs.close()
    assert taken.goes_on(Asks.WORK)
    assert taken.goes_on(Asks.WANTS, (ROUND, 0))
    assert not taken.goes_on(Asks.ENOUGH, (ROUND, 1))
    assert not taken.are_shared


def test_what_was_counted_in_a_pause_belongs_to_nobody():
    def at(seconds, busy, session, swapped):
        return Snapshot(seconds, CpuTicks(int(seconds * 200), busy, 0), session, swapped)

    before = at(0.0, busy=0, session=0, swapped=0)
    moved = before.moved(
        at(10.0, busy=100, session=100, swapped=5), at(20.0, 1100, session=100, swapped=9)
    )
    seen = between(moved, at(30.0, busy=1300, session=250, swapped=9), tick=0.01, page=2**20)
    assert seen == {"steal_share": 0, "other_cores": 0.025, "swapped_mib": 5}


def test_memory_that_is_free_is_that_of_the_machine_or_of_the_container(tmp_path):
    assert memory.available_mib(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 99 kB\nMemAvailable: 4194304 kB\n")
    assert memory.available_mib(tmp_path) == 4096
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text(f"{2**30}\n")
    assert memory.available_mib(tmp_path) == 4096
    (group / "memory.max").write_text(f"{2 * 2**30}\n")
    (group / "memory.stat").write_text(f"file 5\ninactive_file {2**29}\n")
    assert memory.available_mib(tmp_path) == 1536
