"""Which tests run, and in which order: the marker, and options that mix tests."""

from itertools import pairwise

import pytest

TESTS = """
import pytest

@pytest.fixture
def model(llm):
    return llm

def test_llm(llm): pass
def test_own_fixture(model): pass
def test_of_a_backend(simulated_llm): pass
def test_benchmark(llm, llm_benchmark): pass
def test_ordinary(): pass
"""
OTHERS = """
import pytest

@pytest.fixture
def llm():
    return "a project's own"

def test_of_the_project(llm): pass
"""
MIXED = """
def test_a(llm): assert FAILS
def test_b(llm): pass
def test_ordinary(): pass
"""


@pytest.fixture
def two_engines(llm_pytest, model_folder):
    """Run tests with two models, each of which is an engine to load."""
    models = ",".join(str(model_folder(name)) for name in ("one", "two"))
    return lambda *options: llm_pytest(f"--llm-model={models}", *options)


def names(run):
    return [line.partition("::")[2] for line in run.outlines if "::" in line]


def test_the_marker_keeps_engines_out(pytester, llm_pytest):
    pytester.makepyfile(test_ours=TESTS, test_theirs=OTHERS)
    run = llm_pytest("-m", "not llm", "--collect-only", "-q", "--strict-markers")
    assert names(run) == ["test_ordinary", "test_of_the_project"]


def test_the_marker_selects_what_uses_an_engine(pytester, llm_pytest):
    pytester.makepyfile(test_ours=TESTS, test_theirs=OTHERS)
    run = llm_pytest("-m", "llm", "--collect-only", "-q")
    assert [name.partition("[")[0] for name in names(run)] == [
        "test_llm",
        "test_own_fixture",
        "test_of_a_backend",
        "test_benchmark",
    ]


def test_the_marker_is_on_a_test_case_too(pytester, llm_pytest):
    pytester.makepyfile("""
        import unittest
        import pytest

        class TestCase(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def model(self, llm): pass
            def test_x(self): pass
    """)
    run = llm_pytest("-m", "not llm")
    assert run.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def order(run):
    return [name.partition("[")[2].partition("-")[0] for name in names(run) if "[" in name]


def changes(models):
    return sum(before != after for before, after in pairwise(models))


@pytest.mark.parametrize("option", ["--ff", "--nf"])
def test_an_option_that_orders_tests_keeps_engines_together(pytester, two_engines, option):
    pytester.makepyfile(MIXED.replace("FAILS", "llm.cell.model.name == 'one'"))
    assert two_engines().ret == 1
    pytester.makepyfile(test_new=MIXED.replace("FAILS", "True"))
    run = two_engines(option, "--collect-only", "-q")
    assert sorted(order(run)) == ["one"] * 4 + ["two"] * 4
    assert changes(order(run)) == 1
    assert sum("test_ordinary" in name for name in names(run)) == 2


def test_failed_tests_still_come_first(pytester, two_engines):
    pytester.makepyfile(MIXED.replace("FAILS", "llm.cell.model.name == 'one'"))
    assert two_engines().ret == 1
    assert names(two_engines("--ff", "--collect-only", "-q"))[0] == "test_a[two-simulated-none]"


SHUFFLED = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--random-order-bucket", default="module")

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name.partition("[")[0])
"""


def test_shuffled_tests_keep_engines_together(pytester, two_engines):
    pytester.makepyfile(MIXED.replace("FAILS", "True"))
    pytester.makeconftest(SHUFFLED)
    assert order(two_engines("--collect-only", "-q")) == ["one", "one", "two", "two"]


def test_an_order_of_the_projects_own_stays(pytester, two_engines):
    pytester.makepyfile(MIXED.replace("FAILS", "True"))
    pytester.makeconftest(SHUFFLED.replace("--random-order-bucket", "--another"))
    assert order(two_engines("--collect-only", "-q")) == ["one", "two", "one", "two"]
