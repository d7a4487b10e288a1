"""Another package's engine, found by its entry point, is an engine like every other."""

import os
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parent / "tiny_engine.py").read_text()
CONTRACT = Path(__file__).parents[1] / "engines" / "contract" / "test_engine.py"
SPEED = """
    def test_speed(llm, llm_benchmark):
        result = llm_benchmark(llm, input_len=8, output_len=4, rounds=2, warmup=1)
        assert result.tpot.n == 2
"""


@pytest.fixture
def package(pytester, monkeypatch):
    """Installs a package with one backend, where runs inside find it."""

    def install(source=SOURCE, value="tiny_engine:TinyBackend", name="tiny"):
        folder = pytester.mkdir("site")
        (folder / "tiny_engine.py").write_text(source)
        info = folder / "tiny_engine-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[pytest_llmperf.backends]\n{name} = {value}\n")
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    return install


def test_it_runs_beside_the_others_by_its_name(pytester, package):
    package()
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--llm-backend=simulated,tiny", "--llm-quant=none")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["llm: smollm2-135m on simulated *, tiny 1.2 (tiny-engine); *"])


def test_it_is_a_default_engine_where_it_is_installed(pytester, package):
    package()
    pytester.makepyfile(SPEED)
    run = pytester.runpytest_subprocess("--collect-only", "-q")
    run.stdout.fnmatch_lines(["*::test_speed[[]smollm2-135m-tiny-none]"])


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
            "backend 'tiny' (tiny_engine:TINY) is no subclass of pytest_llmperf.backends.base.Backend",
        ),
        (
            {"source": SOURCE.replace('name = "tiny"', 'name = "small"')},
            "backend 'tiny' (tiny_engine:TinyBackend) calls itself 'small'",
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
