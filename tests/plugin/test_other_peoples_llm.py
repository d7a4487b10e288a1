"""A project's own ``llm``, whatever it is, stays what it is without this plugin."""

import pytest

CELL = "smollm2-135m-simulated-none"
FIXTURE = """
    import pytest

    @pytest.fixture
    def llm():
        return "a client"

    def test_chain(llm):
        assert llm == "a client"
"""
FIXTURE_WITH_PARAMETERS = """
    import pytest

    @pytest.fixture(params=["openai", "ollama"], scope="module")
    def llm(request):
        return request.param

    @pytest.mark.parametrize("size", [1, 2])
    def test_chain(llm, size):
        assert llm in ("openai", "ollama")
"""
PARAMETERS = """
    import pytest

    @pytest.mark.parametrize("size", [1, 2])
    @pytest.mark.parametrize("llm", ["openai", "ollama"])
    def test_named(llm, size):
        assert llm in ("openai", "ollama")

    @pytest.mark.parametrize("name, llm", [("a", "openai")])
    def test_pair(llm, name):
        assert llm == "openai"
"""
GENERATED = """
    def pytest_generate_tests(metafunc):
        if "size" in metafunc.fixturenames:
            metafunc.parametrize("size", [1, 2])
        if "llm" in metafunc.fixturenames:
            metafunc.parametrize("llm", ["openai", "ollama"])

    def test_named(llm):
        assert llm in ("openai", "ollama")

    def test_sized(size, llm):
        assert llm in ("openai", "ollama")
"""
MARKER = """
    import pytest

    pytestmark = pytest.mark.llm("gpt-4", temperature=0)

    def pytest_generate_tests(metafunc):
        metafunc.parametrize("llm", ["openai"])

    @pytest.mark.llm_gate("strict")
    def test_marked(llm):
        assert llm == "openai"
"""
OTHER_NAMES = """
    import pytest

    @pytest.fixture
    def vllm_llm():
        return "a client of a vLLM server"

    @pytest.fixture
    def llm_benchmark():
        return "a stopwatch"

    @pytest.fixture
    def llm():
        return "a client"

    def test_all(llm_benchmark, llm, vllm_llm):
        assert (llm_benchmark, llm) == ("a stopwatch", "a client")
        assert vllm_llm == "a client of a vLLM server"
"""
PROJECTS = {
    "fixture": FIXTURE,
    "fixture with parameters": FIXTURE_WITH_PARAMETERS,
    "parameters": PARAMETERS,
    "generated": GENERATED,
    "marker": MARKER,
    "other names": OTHER_NAMES,
}


def outcomes(run):
    """The tests of a verbose run with their outcomes, in order."""
    return [line.split()[:2] for line in run.outlines if "::" in line]


@pytest.mark.parametrize("options", [(), ("--llm-backend=simulated",)], ids=["plain", "option"])
@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS)
def test_its_tests_run_as_without_the_plugin(pytester, project, options):
    pytester.makepyfile(project)
    # A client library changes no engine: the same with every one of them, and with none.
    without = pytester.runpytest_subprocess("-v", "-p", "no:llmperf", timeout=60)
    run = pytester.runpytest_subprocess("-v", *options, timeout=60)
    assert without.ret == 0
    assert run.ret == 0
    assert outcomes(run) == outcomes(without)
    assert len(outcomes(run)) == run.parseoutcomes()["passed"]


@pytest.mark.parametrize("project", [FIXTURE, PARAMETERS, GENERATED], ids=["fix", "par", "gen"])
def test_its_tests_run_in_processes_of_xdist(pytester, project):
    pytester.makepyfile(project)
    run = pytester.runpytest_subprocess("-n", "2", "--llm-backend=simulated", timeout=60)
    assert run.ret == 0
    assert set(run.parseoutcomes()) == {"passed"}


def test_only_the_tests_of_a_run_that_get_our_llm_are_cells(pytester, llm_pytest):
    pytester.makepyfile(test_own=FIXTURE, test_llm_cells="def test_x(llm): assert llm.info.backend")
    pytester.makepyfile(test_parameters=PARAMETERS)
    run = llm_pytest("-v")
    assert outcomes(run) == [
        [f"test_llm_cells.py::test_x[{CELL}]", "PASSED"],
        ["test_own.py::test_chain", "PASSED"],
        ["test_parameters.py::test_named[openai-1]", "PASSED"],
        ["test_parameters.py::test_named[openai-2]", "PASSED"],
        ["test_parameters.py::test_named[ollama-1]", "PASSED"],
        ["test_parameters.py::test_named[ollama-2]", "PASSED"],
        ["test_parameters.py::test_pair[a-openai]", "PASSED"],
    ]


def test_a_fixture_that_wraps_our_llm_keeps_its_cells(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.fixture(scope="session")
        def llm(llm):
            return ("wrapped", llm)

        def test_x(llm):
            assert llm[0] == "wrapped"
            assert llm[1].info.backend == "simulated"
    """)
    assert outcomes(llm_pytest("-v")) == [
        [f"test_a_fixture_that_wraps_our_llm_keeps_its_cells.py::test_x[{CELL}]", "PASSED"]
    ]


def test_parameters_that_others_generate_stay_behind_the_cell(pytester, llm_pytest):
    pytester.makepyfile(
        test_sized="""
        def pytest_generate_tests(metafunc):
            metafunc.parametrize("size", [1, 2])

        def test_x(llm, size):
            assert llm.info.backend == "simulated"
    """
    )
    assert outcomes(llm_pytest("-v")) == [
        [f"test_sized.py::test_x[{CELL}-1]", "PASSED"],
        [f"test_sized.py::test_x[{CELL}-2]", "PASSED"],
    ]


def test_an_engine_fixture_beside_an_own_llm_is_one_line(pytester, llm_pytest):
    pytester.makepyfile(
        test_both="""
        import pytest

        @pytest.fixture
        def llm():
            return "a client"

        def test_x(simulated_llm):
            pass
    """
    )
    run = llm_pytest()
    assert run.ret == 2
    assert (
        "test_both.py::test_x: simulated_llm needs this plugin's llm, and the test gets that of "
        "test_both" in run.outlines
    )


TEST_CASE = """
    import unittest
    import pytest

    class TestSpeed(unittest.TestCase):
        @pytest.fixture(autouse=True)
        def load(self, llm):
            self.llm = llm

        def test_x(self):
            pass
"""


def test_a_test_case_is_told_that_it_takes_no_parameters(pytester, llm_pytest):
    pytester.makepyfile(TEST_CASE)
    run = llm_pytest()
    assert run.ret == 1
    assert (
        "llm gives its test a parameter for each cell, and a unittest.TestCase takes no parameters: "
        "write the test as a function, or in a class that is not a TestCase" in run.outlines
    )


@pytest.mark.parametrize("destination", ["", ', dest="model"'])
def test_an_option_of_a_conftest_that_is_ours_is_one_line(pytester, destination):
    pytester.mkdir("tests")
    (pytester.path / "tests" / "conftest.py").write_text(
        f'def pytest_addoption(parser):\n    parser.addoption("--llm-model"{destination})\n'
    )
    (pytester.path / "tests" / "test_it.py").write_text("def test_it(): pass\n")
    run = pytester.runpytest_subprocess(timeout=60)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in run.errlines if line] == [
        "ERROR: tests/conftest.py declares --llm-model, which is an option of pytest-llmperf: rename "
        "it there, or leave pytest-llmperf out of this project's runs (addopts = -p no:llmperf)"
    ]
    pytester.runpytest_subprocess("-p", "no:llmperf", timeout=60).assert_outcomes(passed=1)


def test_other_mistakes_of_a_conftest_keep_their_traceback(pytester):
    pytester.makeconftest('def pytest_addoption(parser): raise ValueError("llm models")')
    run = pytester.runpytest_subprocess(timeout=60)
    assert run.ret != 0
    assert "ValueError: llm models" in run.stdout.str() + run.stderr.str()
