"""Another package's engine, found by its entry point, is an engine like every other."""

from pathlib import Path

import pytest

SOURCE = (Path(__file__).parent / "tiny_engine.py").read_text()
CONTRACT = Path(__file__).parents[1] / "engines" / "contract" / "test_engine.py"
SPEED = """
    def test_speed(llm, llm_benchmark):
        result = llm_benchmark(llm, input_len=8, output_len=4, rounds=2, warmup=1)
        assert result.tpot.n == 2
"""


def test_it_runs_beside_the_others_by_its_name(pytester, package):
    package()
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=simulated,tiny", "--llm-quant=none")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["llm: smollm2-135m on simulated *, tiny 1.2 (tiny-engine); *"])


def test_it_fails_where_it_runs_another_mode_than_the_test_id_says(pytester, package):
    package(source=SOURCE.replace("has_tokenizer=True,", "has_tokenizer=True, mode='half',"))
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--llm-quant=none,half")
    run.assert_outcomes(errors=1, passed=1)
    assert run.outlines.count(
        "cannot load smollm2-135m-tiny-none: the engine runs half, not none: give --llm-quant=half"
    )


def test_it_is_a_default_engine_where_it_is_installed(pytester, package):
    package()
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--collect-only", "-q")
    run.stdout.fnmatch_lines(["*::test_speed[[]smollm2-135m-tiny-none]"])


FIXTURE = """
    def test_speed(tiny_llm, llm_benchmark):
        assert tiny_llm.info.backend == "tiny"
        llm_benchmark(tiny_llm, input_len=8, output_len=4, rounds=1, warmup=0)
"""
OF_ITS_OWN_FIXTURE = """
    import pytest

    def test_ids(engine):
        assert engine.generate_ids([5], 3) == [5, 6, 7]

    @pytest.fixture
    def engine(tiny_llm):
        return tiny_llm
"""
IN_A_CLASS = """
    class TestIt:
        def test_ids(self, tiny_llm):
            assert tiny_llm.generate_ids([5], 3) == [5, 6, 7]
"""


@pytest.mark.parametrize("tests", [FIXTURE, OF_ITS_OWN_FIXTURE, IN_A_CLASS])
@pytest.mark.parametrize("options", [(), ("--llm-backend=tiny,simulated",)])
def test_it_has_a_fixture_of_its_own(pytester, package, tests, options):
    package()
    pytester.makepyfile(test_it=tests)
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)


def test_a_fixture_of_a_conftest_may_use_its_fixture(pytester, package):
    package()
    pytester.makeconftest("""
        import pytest

        @pytest.fixture
        def engine(tiny_llm):
            return tiny_llm
    """)
    pytester.makepyfile("def test_ids(engine): assert engine.generate_ids([5], 3) == [5, 6, 7]")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_its_fixture_is_listed_beside_the_others(pytester, package):
    package()
    run = pytester.runpytest_subprocess("--fixtures")
    listed = run.stdout.str()
    assert "tiny_llm [session scope]" in listed
    assert "A model loaded by tiny, whatever other backends the run has." in listed
    assert "vllm_llm [session scope]" in listed
    assert "A model loaded by vLLM, whatever other backends the run has." in listed


def test_a_run_without_our_tests_asks_no_package(pytester, package):
    package()
    pytester.makeconftest("""
        import importlib.metadata
        import pytest

        entry_points = importlib.metadata.entry_points
        asked = []

        def noted(**parameters):
            asked.append(parameters.get("group"))
            return entry_points(**parameters)

        importlib.metadata.entry_points = noted

        @pytest.fixture
        def asked_for():
            return asked
    """)
    pytester.makepyfile("""
        def test_ordinary(asked_for, benchmark, tmp_path):
            assert "pytest_llmperf.backends" not in asked_for
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_its_modes_are_known(pytester, package):
    package()
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--llm-quant=all", "-v")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["*::test_speed[[]smollm2-135m-tiny-half] PASSED*"])


def test_a_marker_may_name_it(pytester, package):
    package()
    test = SPEED.replace("def test", "@pytest.mark.llm(backend='tiny')\n    def test", 1)
    pytester.makepyfile(f"    import pytest\n{test}")
    pytester.runpytest_subprocess("--llm-backend=tiny,simulated").assert_outcomes(passed=1)


def test_it_keeps_the_contract_or_its_author_sees_where_not(pytester, package):
    package()
    pytester.makepyfile(test_contract=CONTRACT.read_text())
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "-rs")
    run.assert_outcomes(passed=8, skipped=16)
    run.stdout.fnmatch_lines(["SKIPPED * tiny has no quantization mode nf4; it has none, half"])


def test_without_the_package_its_name_is_unknown(pytester):
    run = pytester.runpytest_subprocess("--llm-backend=tiny")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --llm-backend: unknown backend 'tiny'; known: " in run.stderr.str()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source": "import no_such_module"},
            "backend 'tiny' (tiny_engine:TinyBackend) cannot be imported: ModuleNotFoundError: No "
            "module named 'no_such_module'",
        ),
        (
            {"value": "tiny_engine:TINY", "source": "TINY = 1"},
            "backend 'tiny' (tiny_engine:TINY) is not a subclass of pytest_llmperf.backends.Backend",
        ),
        (
            {"source": SOURCE.replace('name = "tiny"', 'name = "small"')},
            "backend 'tiny' (tiny_engine:TinyBackend) has another name in its class: 'small'",
        ),
    ],
)
def test_a_broken_package_says_what_is_wrong_and_costs_no_other_engine(
    pytester, package, changes, message
):
    package(**changes)
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=tiny")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in run.errlines if line] == [f"ERROR: --llm-backend: {message}"]
    pytester.runpytest_subprocess("--llm-backend=simulated").assert_outcomes(passed=1)


def test_an_engine_of_ours_cannot_be_replaced(pytester, package):
    package(name="simulated")
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=simulated")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["llm: smollm2-135m on simulated *"])
