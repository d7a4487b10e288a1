"""Odd values in whole runs: one line and exit code 4, never an internal error or a traceback."""

import sys
import tomllib

import pytest

ODD = "class Odd:\n    def __repr__(self): raise RuntimeError('no')\n"


def check_refused(run, start):
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in run.errlines if line]
    assert line.startswith(f"ERROR: {start}")
    assert "INTERNALERROR" not in run.stdout.str()


@pytest.mark.parametrize(
    ("option", "start"),
    [
        (
            "--llm-model=",
            "--llm-model: the value is empty (a variable that is not set?): give NAME",
        ),
        ("--llm-model=~nosuchuser/m", "--llm-model: '~nosuchuser/m': the home folder of that user"),
        (f"--llm-model={'a' * 300}.gguf", "--llm-model: 'aaa"),
        (f"--llm-model=./{'a' * 300}", "--llm-model: './aaa"),
        (
            "--llm-python=simulated=~nosuchuser/python",
            "--llm-python: '~nosuchuser/python': the home",
        ),
        ("--llm-timeout=1e10", "--llm-timeout: '1e10' is more than 1,000,000,000"),
        ("--llm-cache-dir=a\udcff", "--llm-cache-dir: 'a\\udcff' is not text in UTF-8"),
        (f"--llm-backend-arg=simulated.seed={'[' * 100_000}", "--llm-backend-arg: '[[["),
    ],
)
def test_an_odd_value_is_one_line(one_test, llm_pytest, option, start):
    check_refused(llm_pytest(option), start)


def test_a_deep_configuration_is_one_line(pytester, one_test, llm_pytest):
    (pytester.mkdir("deep") / "config.json").write_text("[" * 100_000)
    check_refused(
        llm_pytest("--llm-model=deep"), "--llm-model: 'deep': config.json is nested too deeply"
    )


def test_an_interpreter_beside_the_tests_is_not_looked_up_elsewhere(pytester, one_test, llm_pytest):
    (pytester.path / "python").symlink_to("/bin/false")
    start = f"--llm-python: {pytester.path}/python does not run as a Python interpreter"
    check_refused(llm_pytest("--llm-python=simulated=./python"), start)


def test_a_program_without_a_folder_is_looked_up(pytester, one_test, llm_pytest, monkeypatch):
    (pytester.mkdir("bin") / "my-python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(pytester.path / "bin"), prepend=":")
    run = llm_pytest("--llm-python=simulated=my-python", "--collect-only")
    assert run.ret == 0


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("llm_model =", "llm_model: the value is empty (a variable that is not set?): give NAME"),
        ("llm_rounds =", "--llm-rounds: '' is not a whole number of at least 1"),
        ("llm_model = own=$NO_SUCH/m", "llm_model: 'own=$NO_SUCH/m': $NO_SUCH is not set"),
        ("llm_require = perhaps", ""),
    ],
)
def test_an_odd_line_of_the_ini_file_is_one_line(pytester, one_test, llm_pytest, line, start):
    pytester.makeini(f"[pytest]\n{line}\n")
    check_refused(llm_pytest(), start)


@pytest.mark.parametrize(
    "value",
    ["5", "[1, 2]", "{a = 1}", "[[]]", "[]", "true", '"\\u0000"', "1979-05-27", "[{a = 1}]"],
)
@pytest.mark.parametrize("table", ["tool.pytest.ini_options", "tool.pytest"])
@pytest.mark.parametrize("option", ["llm_rounds", "llm_model", "llm_require"])
def test_another_type_in_toml_is_no_internal_error(
    pytester, one_test, llm_pytest, table, option, value
):
    text = f"[{table}]\n{option} = {value}\n"
    tomllib.loads(text)
    pytester.makepyprojecttoml(text)
    run = llm_pytest("--collect-only")
    assert run.ret in (pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR)
    assert "INTERNALERROR" not in run.stdout.str()
    assert "Traceback" not in run.stdout.str() + run.stderr.str()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("model=[[1]]", "(model=): [[1]] is neither a name nor a list of names"),
        ("model={'phi-2': 1}", "(model=): {'phi-2': 1} is neither a name nor a list of names"),
        ("model=b'phi-2'", "(model=): b'phi-2' is neither a name nor a list of names"),
        ("model=Odd()", "(model=): a Odd whose repr raises RuntimeError is neither a name nor "),
        ("model=[]", "(model=): [] holds no name"),
        ("model='a\\0b'", "(model=): 'a\\x00b' holds a NUL character"),
        ("model='\\ud800'", "(model=): '\\ud800' is not text in UTF-8"),
        ("model='~nosuchuser'", "(model=): '~nosuchuser': the home folder of that user"),
        ("backend=''", "(backend=): unknown backend ''"),
        ("backend=float('nan')", "(backend=): nan is neither a name nor a list of names"),
        ("quant={1, 2}", "(quant=): {1, 2} is neither a name nor a list of names"),
    ],
)
def test_an_odd_object_in_a_marker_is_one_line(pytester, llm_pytest, given, message):
    pytester.makepyfile(f"import pytest\n{ODD}\n@pytest.mark.llm({given})\ndef test_x(llm): pass")
    run = llm_pytest()
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert f"test_x: @pytest.mark.llm{message}" in run.stdout.str()
    assert "INTERNALERROR" not in run.stdout.str()


def test_names_of_a_generator_count(pytester, llm_pytest):
    pytester.makepyfile(
        "import pytest\n@pytest.mark.llm(quant=(mode for mode in ('nf4', 'int8')))\n"
        "def test_x(llm): pass"
    )
    run = llm_pytest("--collect-only", "-q")
    assert [line for line in run.outlines if "::" in line] == [
        f"test_names_of_a_generator_count.py::test_x[smollm2-135m-simulated-{mode}]"
        for mode in ("nf4", "int8")
    ]


@pytest.mark.parametrize(
    "given", ["min_effect=Odd()", "must_see=[1]", "min_effect={1: 2}", "must_see=10**5000"]
)
def test_an_odd_limit_in_a_marker_is_one_line(pytester, llm_pytest, given):
    pytester.makepyfile(
        f"import pytest\n{ODD}\n@pytest.mark.llm_gate({given})\n"
        "def test_x(llm, llm_benchmark): pass"
    )
    run = llm_pytest()
    check_refused(run, "test_an_odd_limit_in_a_marker_is_one_line.py::test_x[")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("llm_benchmark(llm, input_len=2**70)", "input_len must be at most 10,000,000, not 1,180,"),
        (
            "llm_benchmark(llm, input_len=4, rounds=2**70)",
            "rounds must be at most 1,000,000, not 1,",
        ),
        (
            "llm_benchmark(None, input_len=4)",
            "llm_benchmark measures what the llm fixture gives, not",
        ),
        ("llm_benchmark(llm, input_len=4, slo=5)", "slo has to be seconds by metric, such as {"),
        (
            "llm_benchmark(llm, input_len=4, slo={'ttft': 'fast'})",
            "slo: ttft has to be a positive number of seconds, not 'fast'",
        ),
        ("llm.generate('a', 2**70)", "output_len must be at most 10,000,000, not 1,180,"),
        ("llm.generate('\\ud800')", "prompt must be text in UTF-8, not '\\ud800'"),
    ],
)
def test_an_odd_argument_of_a_call_is_its_tests_own_error(pytester, llm_pytest, call, message):
    pytester.makepyfile(f"def test_x(llm, llm_benchmark):\n    {call}")
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    assert f"ValueError: {message}" in run.stdout.str()


def test_a_parameter_that_cannot_be_written_costs_no_measurement(pytester, llm_pytest, records):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("limit", [10**5000], ids=["long"])
        def test_x(llm, llm_benchmark, limit):
            llm_benchmark(llm, input_len=4, output_len=4, rounds=2, warmup=0, slo={"ttft": limit})
    """)
    run = llm_pytest("--benchmark-autosave")
    run.assert_outcomes(passed=1)
    assert len(records()) == 1
