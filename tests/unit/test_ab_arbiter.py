"""The arbiter of two sides: whose turn it is, and how long a side waits for the other one."""

import socket

import pytest

from pytest_llmperf.ab.turns import Arbiter, twin
from pytest_llmperf.core.turns import ROUND, WARM_UP, Asks, Request, Turn

PATIENCE = 30.0
WORK, NEEDS, WANTS, ENOUGH, OVER = Asks.WORK, Asks.NEEDS, Asks.WANTS, Asks.ENOUGH, Asks.OVER
GO, GO_ALONE, END = Turn(goes=True, beside=True), Turn(goes=True), Turn(goes=False)


class Engine:
    """A side's engine at one piece of its work."""

    def __init__(self, table, side):
        self._table = table
        self.side = side
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(table.paths[side])
        table.engines.append(self)

    def asks(self, asks, part=-1, number=0):
        """Ask for a turn; return the answer, None if there is none yet."""
        self._table.now += 0.001
        self._socket.sendall(Request(asks, (part, number), PATIENCE).line())
        return self.answer()

    def answer(self):
        self._table.settle()
        self._socket.setblocking(False)
        try:
            return Turn.of_line(self._socket.recv(1000))
        except BlockingIOError:
            return None
        finally:
            self._socket.setblocking(True)

    def leaves(self):
        self._socket.close()
        self._table.settle()


class Table:
    """An arbiter with a clock of its own, and the two sides' reports."""

    def __init__(self, folder):
        self.now = 0.0
        self.paths = {side: str(folder / side) for side in ("base", "head")}
        self.arbiter = Arbiter("base", self.paths, lambda: self.now)
        self.engines = []

    def settle(self):
        for _ in range(3):
            self.arbiter.hear(0.0)
        self.arbiter.give()

    def report(self, side, **line):
        self.arbiter.note(side, [line])

    def both(self, *tests):
        for side in ("base", "head"):
            self.arbiter.begins(side)
            self.report(side, ids=list(tests))

    def at_test(self, side, test):
        """The side begins a test; return its engine, which has done what stands before the rounds."""
        self.report(side, begins=test)
        engine = Engine(self, side)
        assert engine.asks(WORK) == GO_ALONE
        return engine


@pytest.fixture
def table(tmp_path):
    made = Table(tmp_path)
    with made.arbiter:
        yield made
        for engine in made.engines:
            engine.leaves()


@pytest.fixture
def pair(table):
    """Both sides at the first round of the same test; base has its turn."""
    table.both("test_x", "test_y")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None  # Head can still come.
    head = table.at_test("head", "test_x")
    assert head.asks(NEEDS, ROUND, 0) is None
    assert base.answer() == GO
    return base, head


def test_the_order_alternates_pair_by_pair(table, pair):
    order = ["base"]
    engines = {engine.side: engine for engine in pair}
    done = {"base": 0, "head": 0}
    working = "base"
    for _ in range(7):
        done[working] += 1
        answer = engines[working].asks(NEEDS, ROUND, done[working])
        if answer is None:
            working = "head" if working == "base" else "base"
            answer = engines[working].answer()
        assert answer == GO
        order.append(working)
    assert order == ["base", "head", "head", "base", "base", "head", "head", "base"]


def test_only_one_side_works_at_a_time(table):
    loading, other = Engine(table, "base"), Engine(table, "head")
    assert loading.asks(WORK) == GO_ALONE
    assert other.asks(WORK) is None
    loading.leaves()
    assert other.answer() == GO_ALONE


def test_a_load_of_the_other_side_waits_for_the_end_of_a_round(table):
    table.both("test_x")
    table.report("head", number=1, test="test_x")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) == GO_ALONE
    loading = Engine(table, "head")
    assert loading.asks(WORK) is None
    assert base.asks(NEEDS, ROUND, 1) is None
    assert loading.answer() == GO_ALONE
    loading.leaves()
    assert base.answer() == GO_ALONE


def step(table, pair, asks, number):
    """Both sides end a round and ask for the next; return base's and head's answers to it."""
    base, head = pair
    first, second = (base, head) if number % 2 else (head, base)
    answers = {}
    assert first.asks(asks[first.side], ROUND, number) is None
    answers[second.side] = second.answer()
    assert answers[second.side] in (GO, GO_ALONE)
    answers[second.side] = second.asks(asks[second.side], ROUND, number)
    answers[first.side] = first.answer()
    for engine, other in ((first, second), (second, first)):
        if answers[engine.side] == END:
            engine.leaves()
            answers[other.side] = answers[other.side] or other.answer()
    return answers["base"], answers["head"]


@pytest.mark.parametrize(
    ("base", "head", "answers"),
    [
        (ENOUGH, ENOUGH, (END, END)),
        (OVER, OVER, (END, END)),
        (OVER, ENOUGH, (END, END)),
        (OVER, WANTS, (END, END)),
        (WANTS, OVER, (END, END)),
        (OVER, NEEDS, (END, GO_ALONE)),
        (ENOUGH, WANTS, (None, GO)),
        (WANTS, ENOUGH, (None, GO)),
        (ENOUGH, NEEDS, (None, GO)),
        (WANTS, WANTS, (None, GO)),
    ],
)
def test_rounds_go_on_while_a_side_asks_for_them(table, pair, base, head, answers):
    # Head is the first of the second pair of rounds.
    assert step(table, pair, {"base": base, "head": head}, 1) == answers


def test_a_side_with_a_longer_warm_up_has_the_rest_of_it_first(table):
    table.both("test_x")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, WARM_UP, 0) is None
    head = table.at_test("head", "test_x")
    assert head.asks(WANTS, ROUND, 0) is None
    assert base.answer() == GO
    assert base.asks(NEEDS, WARM_UP, 1) == GO
    assert base.asks(WANTS, ROUND, 0) == GO
    assert head.answer() is None
    assert base.asks(WANTS, ROUND, 1) is None
    assert head.answer() == GO


def test_a_side_that_dies_in_a_round_leaves_the_other_one_alone(table, pair):
    base, head = pair
    base.leaves()
    assert head.answer() == GO_ALONE
    assert head.asks(WANTS, ROUND, 1) == GO_ALONE
    assert head.asks(ENOUGH, ROUND, 2) == END


def test_a_side_that_hangs_in_a_round_blocks_the_other_one_no_longer_than_its_patience(table, pair):
    _, head = pair
    table.now = PATIENCE
    assert head.answer() is None
    table.now = PATIENCE + 1
    assert head.answer() == GO_ALONE
    assert head.asks(NEEDS, ROUND, 1) == GO_ALONE
    head.leaves()
    head = table.at_test("head", "test_y")
    assert head.asks(NEEDS, ROUND, 0) == GO_ALONE  # Nothing was heard of base since.


def test_a_side_that_has_not_begun_is_waited_for(table):
    table.report("base", ids=["test_x"])
    base = table.at_test("base", "test_x")
    table.now = 10 * PATIENCE
    assert base.asks(NEEDS, ROUND, 0) is None


def test_a_side_that_hangs_in_a_load_blocks_the_other_one_no_longer_than_its_patience(table):
    table.both("test_x")
    base = table.at_test("base", "test_x")
    loading = Engine(table, "head")
    assert base.asks(NEEDS, ROUND, 0) is None
    assert loading.asks(WORK) == GO_ALONE
    table.now = PATIENCE
    assert base.answer() is None
    table.now = PATIENCE + 1
    assert base.answer() == GO_ALONE


def test_whoever_shows_a_sign_of_life_is_waited_for(table):
    table.both("test_w", "test_x")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None
    table.now = PATIENCE
    table.report("head", begins="test_w")
    table.now = 2 * PATIENCE
    assert base.answer() is None
    table.now = 2 * PATIENCE + 1
    assert base.answer() == GO_ALONE


@pytest.mark.parametrize("line", [{"number": 1, "test": "test_x"}, {"ids": ["test_y"]}])
def test_a_test_that_the_other_side_has_not_or_has_ended_is_not_waited_for(table, line):
    table.both("test_x")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None
    table.report("head", **line)
    assert base.answer() == GO_ALONE


def test_a_side_that_has_ended_is_not_waited_for(table):
    table.both("test_x")
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None
    table.arbiter.seats["head"].has_ended = True
    assert base.answer() == GO_ALONE


def test_a_test_of_one_side_goes_first_and_then_both_meet(table):
    table.report("base", ids=["test_x"])
    table.report("head", ids=["test_new", "test_x"])
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None
    new = table.at_test("head", "test_new")
    assert new.asks(NEEDS, ROUND, 0) == GO_ALONE
    assert new.asks(OVER, ROUND, 1) == END
    new.leaves()
    assert base.answer() is None
    head = table.at_test("head", "test_x")
    assert head.asks(NEEDS, ROUND, 0) is None
    assert base.answer() == GO


def test_sides_with_another_order_of_tests_do_not_wait_for_each_other_forever(table):
    table.report("base", ids=["test_x", "test_y"])
    table.report("head", ids=["test_y", "test_x"])
    base = table.at_test("base", "test_x")
    assert base.asks(NEEDS, ROUND, 0) is None
    head = table.at_test("head", "test_y")
    assert head.asks(NEEDS, ROUND, 0) is None
    assert base.answer() == GO_ALONE
    assert base.asks(OVER, ROUND, 1) == END
    base.leaves()
    assert head.answer() is None
    base = table.at_test("base", "test_y")
    assert base.asks(NEEDS, ROUND, 0) == GO


def test_a_test_that_runs_again_on_one_side_only_runs_alone(table, pair):
    base, head = pair
    base.leaves()
    assert head.answer() == GO_ALONE
    again = Engine(table, "base")
    assert again.asks(WORK) is None  # Head works.
    assert head.asks(OVER, ROUND, 1) is None  # Whoever has waited for longer comes first.
    assert again.answer() == GO_ALONE
    assert again.asks(NEEDS, ROUND, 0) is None
    assert head.answer() == END
    head.leaves()
    table.report("head", number=1, test="test_x")
    assert again.answer() == GO_ALONE


def test_what_is_no_request_ends_the_connection(table):
    engine = Engine(table, "base")
    engine._socket.sendall(b"hello\n")
    table.settle()
    assert engine._socket.recv(10) == b""


@pytest.mark.parametrize(
    ("test", "tests", "others", "expected"),
    [
        ("t[a]", ["t[a]"], ["t[a]"], "t[a]"),
        ("t[b-2]", ["t[b-1]", "t[b-2]"], ["t[c-1]", "t[c-2]"], "t[c-2]"),
        ("t[b]", ["t[b]"], ["u[b]"], None),
        ("t[b]", ["t[b]"], ["t[c]", "t[d]"], None),
        ("t[b]", ["t[a]", "t[b]"], ["t[a]", "t[c]"], "t[c]"),
    ],
)
def test_tests_pair_up_by_id_and_else_in_order(test, tests, others, expected):
    assert twin(test, tests, others) == expected
