"""An engine of another package may return or raise anything: one line, and only its own tests."""

from pathlib import Path

import pytest

SOURCE = (Path(__file__).parent / "tiny_engine.py").read_text()
CELL = "smollm2-135m-tiny-none"
# What the engine does is chosen by the length of the prompt.
ACTS = {
    10: ("return None", "the answer of generate is None, not a list of RequestTrace"),
    11: ("return ['trace'] * len(requests)", "'trace' came back, not a RequestTrace"),
    12: ("raise SystemExit(3)", "SystemExit: 3"),
    13: ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
    14: ("raise BaseException('base')", "BaseException: base"),
    15: ("raise RuntimeError('\\x1b[31mred')", r"RuntimeError: \x1b[31mred"),
    16: ("raise Unspeakable", "Unspeakable: no message: its __str__ raises RuntimeError"),
    17: (
        "return changed(traces, times=(math.nan,) * 4)",
        "a timestamp is nan, not a finite number",
    ),
    18: (
        "return changed(traces, times=('1', '2', '3', '4'))",
        "a timestamp is '1', not a finite number",
    ),
    19: ("return changed(traces, counts=(4,))", "1 counts of tokens but 4 timestamps"),
    20: (
        "return changed(traces, counts=(-1, 3, 1, 1))",
        "a count of tokens is -1, not a whole number of at least 1",
    ),
    21: (
        "return changed(traces, counts=(.5, .5, 1, 2))",
        "a count of tokens is 0.5, not a whole number of at least 1",
    ),
    22: (
        "return changed(traces, submitted=traces[0].submitted - 1e6)",
        "its timestamps lie outside the ",
    ),
    23: (
        "return changed(traces, times=tuple(t + 1e6 for t in traces[0].times))",
        "its timestamps lie outside the ",
    ),
    24: (
        "self.peak = math.nan; return traces",
        "peak_memory in MiB is nan, not a finite number of ",
    ),
    25: ("self.peak = None; return traces", "peak_memory in MiB is None, not a finite number of "),
    26: ("raise StopIteration", "StopIteration: no message"),
    27: (
        "return traces[0]",
        "the answer of generate is a value of type RequestTrace, not a list of ",
    ),
}
METHODS = """
    peak = 1.0

    def peak_memory(self):
        peak, self.peak = self.peak, 1.0
        return peak

    def generate(self, requests):
        traces = self.honest(requests)
        # The floor under every benchmark asks for one token at a time.
        length = len(requests[0].prompt_ids) if requests[0].output_len == 4 else 0
        {branches}
        return traces


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


def changed(traces, **fields):
    return [replace(trace, **fields) for trace in traces]
"""
TESTS = """
    import pytest

    @pytest.mark.parametrize("length", {lengths})
    def test_it(llm, llm_benchmark, length):
        llm_benchmark(llm, input_len=length, output_len=4, rounds=1, warmup=0)
"""


def with_branches(branches):
    """The tiny engine, which does something else in ``generate``."""
    source = SOURCE.replace("import time\n", "import math\nimport time\n", 1)
    source = source.replace("def generate(", "def honest(")
    return source + METHODS.replace("{branches}", branches)


def test_whatever_generate_does_is_one_line_and_costs_its_own_test_only(pytester, package):
    branches = "\n        ".join(
        f"if length == {length}:\n            {act}" for length, (act, _) in ACTS.items()
    )
    package(source=with_branches(branches))
    pytester.makepyfile(test_it=TESTS.format(lengths=[*ACTS, 9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--tb=short", "--benchmark-autosave")
    run.assert_outcomes(failed=len(ACTS), passed=1)
    lines = [line for line in run.outlines if line.startswith(f"{CELL}: ")]
    for line, (_, message) in zip(lines, ACTS.values(), strict=True):
        assert message in line
    assert "Traceback" not in run.stdout.str()
    assert "\x1b[31m" not in run.stdout.str()
    # Nobody loaded it again: it was still there.
    assert "engine was ended" not in run.stdout.str()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("return None", "invalid measurement: the answer of load is None, not of type EngineInfo"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
        ("import os; os.kill(os.getpid(), 40)", "the engine's process was killed by signal 40"),
    ],
)
def test_whatever_load_does_is_one_line(pytester, package, act, message):
    package(source=SOURCE.replace("def load(self, spec):", f"def load(self, spec):\n        {act}"))
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--tb=short")
    run.assert_outcomes(errors=1, passed=1)
    (line,) = (line for line in run.outlines if line.startswith(f"cannot load {CELL}: "))
    assert message in line
    assert "Traceback" not in run.stdout.str()


CLOSES = """
    def close(self):
        raise SystemExit(1)
"""


def test_an_engine_that_fails_to_close_fails_no_test(pytester, package):
    package(source=SOURCE + CLOSES)
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated")
    run.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("raise RuntimeError('one\\ntwo')", "ready: RuntimeError: one"),
        ("raise SystemExit(3)", "ready: SystemExit: 3"),
        ("raise KeyboardInterrupt", "ready: KeyboardInterrupt: no message"),
        ("raise GeneratorExit", "ready: GeneratorExit: no message"),
        ("return 7", "ready returned a value of type int"),
        ("return replace(spec, model=b'', args={'x': {1}})", None),
        ("return replace(spec, model=object())", "the answer of ready cannot be sent: DumpError: "),
        ("import os; os._exit(0)", "the engine's process ended unexpectedly with exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "the engine's process was killed by SIGKILL"),
        ("import os; os.closerange(3, 200); os._exit(0)", "the engine's process "),
    ],
)
def test_whatever_ready_does_is_one_line(pytester, package, act, message):
    package(source=SOURCE.replace('return replace(spec, model="")', act))
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--tb=short")
    if message is None:  # Odd, and it can travel.
        run.assert_outcomes(passed=2)
        return
    run.assert_outcomes(errors=1, passed=1)
    (line,) = (line for line in run.outlines if line.startswith(f"cannot load {CELL}: "))
    assert message in line
    assert "Traceback" not in run.stdout.str()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("raise RuntimeError('one\\ntwo')", "ready: RuntimeError: one"),
        ("raise KeyboardInterrupt", "ready: KeyboardInterrupt: no message"),
        ("return 7", "ready returned a value of type int"),
    ],
)
def test_whatever_ready_returns_or_raises_in_pytests_process_is_one_line(
    pytester, package, act, message
):
    package(source=SOURCE.replace('return replace(spec, model="")', act))
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--llm-isolation=none")
    run.assert_outcomes(errors=1, passed=1)
    (line,) = (line for line in run.outlines if line.startswith(f"cannot load {CELL}: "))
    assert message in line


def test_the_limit_of_a_load_is_a_limit_of_ready(pytester, package):
    hangs = "import time; time.sleep(100)"
    package(source=SOURCE.replace('return replace(spec, model="")', hangs))
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--llm-timeout=1")
    run.assert_outcomes(errors=1, passed=1)
    (line,) = (line for line in run.outlines if line.startswith(f"cannot load {CELL}: "))
    assert line.endswith("backend 'tiny': ready: TimeoutError: no answer for 1 s")


def test_a_ready_that_hangs_has_a_limit(pytester, package, monkeypatch):
    hangs = "import time; time.sleep(100)"
    package(source=SOURCE.replace('return replace(spec, model="")', hangs))
    pytester.makeconftest("import pytest_llmperf.backends; pytest_llmperf.backends._LIMIT = 0.5")
    pytester.makepyfile(test_it=TESTS.format(lengths=[9, 10]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--tb=short", timeout=60)
    run.assert_outcomes(errors=2, passed=2)
    first, second = (line for line in run.outlines if line.startswith(f"cannot load {CELL}: "))
    assert first.endswith("backend 'tiny': ready: TimeoutError: no answer for 0.5 s")
    assert second == f"{first} (tried once, not again)"


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("refusal(cls, quantization, packages)", "raise RuntimeError('no')"),
        ("refusal_of_model(cls, model, quantization, setup)", "return 'no'"),
        ("mode_of(cls, quantization, model)", "raise RuntimeError('no')"),
        ("traits(cls, args, model, setup)", "return None"),
    ],
)
def test_a_class_that_cannot_answer_is_one_line_while_tests_are_collected(
    pytester, package, method, body
):
    package(source=SOURCE + f"\n    @classmethod\n    def {method}:\n        {body}\n")
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--tb=short")
    run.assert_outcomes(errors=1)
    (line,) = (line for line in run.outlines if line.startswith("test_it.py::test_it: "))
    assert f"backend 'tiny': {method.partition('(')[0]}" in line
    assert "Traceback" not in run.stdout.str()


def test_a_class_that_does_not_know_its_version_is_measured(pytester, package):
    version = "\n    @classmethod\n    def version(cls, packages):\n        return 1 / 0\n"
    package(source=SOURCE + version)
    pytester.makepyfile(test_it=TESTS.format(lengths=[9]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--collect-only")
    run.stdout.fnmatch_lines(["llm: smollm2-135m on tiny (version unknown); *"])


def test_numbers_of_numpy_are_numbers(pytester, llm_pytest):
    pytester.makepyfile("""
        import numpy

        def test_numpy(llm):
            ids = llm.generate_ids([numpy.int64(5)], numpy.int32(2))
            assert ids == llm.generate_ids([5], 2)
    """)
    llm_pytest().assert_outcomes(passed=1)


def test_arguments_of_a_test_that_make_no_sense_are_one_line_and_keep_the_engine(
    pytester, llm_pytest
):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize(
            ("prompt", "length"),
            [
                ("\\ud800", 2),
                ([10**5000], 2),
                ([1.5], 2),
                ([True], 2),
                ([None], 2),
                ([-1], 2),
                ([256], 2),
                (7, 2),
                ([1], 0),
                ([1], 1.5),
            ],
            ids=list("abcdefghij"),
        )
        def test_it(llm, prompt, length):
            llm.generate_ids(prompt, length)

        def test_next(llm):
            assert llm.engine().number == 1
    """)
    run = llm_pytest("--tb=short")
    run.assert_outcomes(failed=10, passed=1)
    number = "ValueError: prompt: a token id is a whole number from 0 to 255, not "
    assert [line.removeprefix("E   ") for line in run.outlines if line.startswith("E   ")] == [
        "ValueError: prompt must be text in UTF-8, not '\\ud800'",
        f"{number}a int whose repr raises ValueError",
        f"{number}1.5",
        f"{number}True",
        f"{number}None",
        f"{number}-1",
        f"{number}256",
        "ValueError: prompt must be a text or a list of token ids, not 7",
        "ValueError: output_len must be a whole number of at least 1, not 0",
        "ValueError: output_len must be a whole number of at least 1, not 1.5",
    ]
    assert "Traceback" not in run.stdout.str()


POINTS_TO_ITS_LOG = """
        import os
        os.write(2, b"ValueError: of an earlier call\\n") if length == 10 else None
        if length == 11:
            os.write(2, b"(Core pid=7) ERROR 11-25 06:44:28 [core.py:1] ValueError: the disk is full\\n")
            raise RuntimeError("Core failed. See root cause above.")
        if length == 12:
            raise RuntimeError("Core failed. See root cause above.")
        if length == 13:
            try:
                open("no such file")
            except OSError as error:
                raise RuntimeError("cannot start") from error
"""


def test_the_line_has_the_cause_that_the_engine_wrote_or_raised_in_this_call(pytester, package):
    package(source=with_branches(POINTS_TO_ITS_LOG))
    pytester.makepyfile(test_it=TESTS.format(lengths=[10, 11, 12, 13]))
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--tb=short")
    run.assert_outcomes(failed=3, passed=1)
    lines = [line.partition("; log: ")[0] for line in run.outlines if line.startswith(f"{CELL}: ")]
    assert lines == [
        f"{CELL}: RuntimeError: Core failed. See root cause above.; cause: ValueError: the disk is full",
        f"{CELL}: RuntimeError: Core failed. See root cause above.",
        f"{CELL}: RuntimeError: cannot start; cause: FileNotFoundError: [Errno 2] No such file or "
        "directory: 'no such file'",
    ]
