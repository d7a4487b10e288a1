"""Sizes and counts from the command line, the ini file and the test: which wins, and what ids say."""

import pytest

CELL = "smollm2-135m-simulated-none"
PARAMETRIZED = """
import pytest

@pytest.mark.parametrize("batch_size", [1, 8])
def test_x(llm, llm_benchmark, batch_size):
    llm_benchmark(llm, input_len=8, output_len=4, batch_size=batch_size, rounds=1, warmup=0)
"""


@pytest.fixture
def workloads(records):
    """A part of the workload of every stored test, by test name."""
    return lambda key: {name: record["workload"][key] for name, record in records().items()}


def test_batch_size_replaces_the_values_of_a_tests_own_parameter(pytester, llm_pytest, workloads):
    pytester.makepyfile(PARAMETRIZED)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    assert workloads("batch_size") == {f"test_x[{CELL}-1]": 1, f"test_x[{CELL}-8]": 8}
    llm_pytest("--benchmark-autosave", "--llm-batch-size=2,4,6").assert_outcomes(passed=3)
    assert workloads("batch_size") == {
        f"test_x[{CELL}-2]": 2,
        f"test_x[{CELL}-4]": 4,
        f"test_x[{CELL}-6]": 6,
    }


@pytest.mark.parametrize(
    ("option", "letter", "key"),
    [
        ("--llm-batch-size", "b", "batch_size"),
        ("--llm-input-len", "in", "input_tokens"),
        ("--llm-output-len", "out", "output_tokens"),
    ],
)
def test_a_size_of_the_command_line_is_part_of_the_id(
    one_test, llm_pytest, workloads, option, letter, key
):
    llm_pytest("--benchmark-autosave", f"{option}=2,5").assert_outcomes(passed=2)
    assert workloads(key) == {f"test_x[{CELL}-{letter}2]": 2, f"test_x[{CELL}-{letter}5]": 5}


@pytest.mark.parametrize("name", ["input_len", "output_len"])
def test_lengths_replace_a_tests_own_parameter_too(pytester, llm_pytest, workloads, name):
    pytester.makepyfile(f"""
        import pytest

        @pytest.mark.parametrize("{name}", [16])
        def test_x(llm, llm_benchmark, {name}):
            sizes = {{"input_len": 8, "output_len": 4}} | {{"{name}": {name}}}
            llm_benchmark(llm, **sizes, rounds=1, warmup=0)
    """)
    option = "--llm-" + name.replace("_", "-")
    llm_pytest("--benchmark-autosave", f"{option}=3,5").assert_outcomes(passed=2)
    key = name.replace("_len", "_tokens")
    assert workloads(key) == {f"test_x[{CELL}-3]": 3, f"test_x[{CELL}-5]": 5}


def test_several_sizes_sweep_together(one_test, llm_pytest, records):
    run = llm_pytest(
        "--benchmark-autosave", "--llm-input-len=3", "--llm-output-len=2,5", "--llm-batch-size=2"
    )
    run.assert_outcomes(passed=2)
    keys = ("input_tokens", "output_tokens", "batch_size")
    assert {n: tuple(r["workload"][k] for k in keys) for n, r in records().items()} == {
        f"test_x[{CELL}-in3-out2-b2]": (3, 2, 2),
        f"test_x[{CELL}-in3-out5-b2]": (3, 5, 2),
    }


def test_one_size_replaces_and_another_becomes_part_of_the_id(pytester, llm_pytest, records):
    pytester.makepyfile(PARAMETRIZED)
    llm_pytest("--benchmark-autosave", "--llm-batch-size=2", "--llm-output-len=5").assert_outcomes(
        passed=1
    )
    (record,) = records().values()
    assert record["workload"]["batch_size"] == 2
    assert record["workload"]["output_tokens"] == 5
    assert list(records()) == [f"test_x[{CELL}-out5-2]"]


def test_an_input_length_takes_the_place_of_a_prompt(pytester, llm_pytest, workloads):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, prompt="abc", output_len=4, rounds=1, warmup=0)
    """)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    assert workloads("input_tokens") == {f"test_x[{CELL}]": 3}
    llm_pytest("--benchmark-autosave", "--llm-input-len=20").assert_outcomes(passed=1)
    assert workloads("input_tokens") == {f"test_x[{CELL}-in20]": 20}


def test_a_size_changes_no_test_that_does_not_measure(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): assert len(llm.generate_ids('abc', output_len=3)) == 3")
    run = llm_pytest("--llm-batch-size=2,4", "--llm-output-len=9", "-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines([f"*::test_x[[]{CELL}] PASSED*"])


NOTHING_SAID = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2)
"""
TEST_SAYS = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2, rounds=3, warmup=1)
"""


@pytest.mark.parametrize(
    ("test", "ini", "options", "rounds", "warmup"),
    [
        (TEST_SAYS, "", [], 3, 1),
        (NOTHING_SAID, "llm_rounds = 4\nllm_warmup = 0", [], 4, 0),
        (TEST_SAYS, "llm_rounds = 4\nllm_warmup = 0", [], 4, 0),
        (TEST_SAYS, "", ["--llm-rounds=2", "--llm-warmup=0"], 2, 0),
        (TEST_SAYS, "llm_rounds = 4\nllm_warmup = 3", ["--llm-rounds=2"], 2, 3),
    ],
    ids=["test", "ini", "test and ini", "test and option", "all three"],
)
def test_rounds_and_warmup(pytester, llm_pytest, records, test, ini, options, rounds, warmup):
    pytester.makepyfile(test)
    pytester.makeini(f"[pytest]\n{ini}")
    llm_pytest("--benchmark-autosave", *options).assert_outcomes(passed=1)
    (record,) = records().values()
    assert (record["workload"]["rounds"], record["workload"]["warmup"]) == (rounds, warmup)
    assert record["metrics"]["ttft"]["n"] == rounds


def test_warmup_rounds_reach_the_engine(pytester, llm_pytest):
    pytester.makepyfile(TEST_SAYS)
    # One warm-up and three rounds are the requests 0 to 3.
    llm_pytest(crash_at=4).assert_outcomes(passed=1)
    llm_pytest(crash_at=3).assert_outcomes(failed=1)
    llm_pytest("--llm-warmup=2", crash_at=4).assert_outcomes(failed=1)


INI = """
    [pytest]
    llm_backend = simulated
    llm_model = phi-2
        mistral-7b
    llm_backend_arg =
        simulated.ttft=0.05
        simulated.memory_mib=100
    llm_batch_size = 2
    llm_metrics = ttft,peak_memory
    llm_isolation = none
"""
PYPROJECT = """
    [tool.pytest.ini_options]
    llm_backend = ["simulated"]
    llm_model = ["phi-2", "mistral-7b"]
    llm_backend_arg = ["simulated.ttft=0.05", "simulated.memory_mib=100"]
    llm_batch_size = ["2"]
    llm_metrics = ["ttft", "peak_memory"]
    llm_isolation = "none"
"""


@pytest.mark.timing
@pytest.mark.parametrize(
    ("file", "content"), [("pytest.ini", INI), ("pyproject.toml", PYPROJECT)], ids=["ini", "toml"]
)
def test_options_have_ini_twins(pytester, one_test, stored, file, content):
    import textwrap

    (pytester.path / file).write_text(textwrap.dedent(content))
    pytester.runpytest_inprocess("--benchmark-autosave", "--strict-config").assert_outcomes(
        passed=2
    )
    entries = stored()
    names = {f"test_x[{model}-simulated-none-b2" for model in ("phi-2", "mistral-7b")}
    assert set(entries) == {n + end for n in names for end in ("]", "-ttft]", "-peak_memory]")}
    assert entries["test_x[phi-2-simulated-none-b2-ttft]"]["stats"]["median"] == pytest.approx(
        0.05, rel=0.01
    )
    memory = entries["test_x[phi-2-simulated-none-b2-peak_memory]"]["stats"]["median"]
    assert memory == 100


def test_the_command_line_goes_before_the_ini_file(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): pass")
    pytester.makeini("[pytest]\nllm_model = phi-2\nllm_backend = vllm\nllm_require = true")
    run = llm_pytest("--llm-model=mistral-7b", "-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*::test_x[[]mistral-7b-simulated-none] PASSED*"])


def test_require_has_an_ini_twin(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.llm(quant="int8")
        def test_x(llm): pass
    """)
    llm_pytest().assert_outcomes(skipped=1)
    pytester.makeini("[pytest]\nllm_require = true")
    llm_pytest().assert_outcomes(errors=1)


def test_a_bad_ini_value_is_a_usage_error(pytester, one_test, llm_pytest):
    pytester.makeini("[pytest]\nllm_rounds = many")
    run = llm_pytest()
    assert run.ret == 4
    assert [line for line in run.errlines if line] == [
        "ERROR: --llm-rounds: 'many' is not a whole number of at least 1"
    ]


def test_sizes_that_are_parametrized_together_cannot_be_replaced(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("batch_size,output_len", [(1, 4), (8, 4)])
        def test_x(llm, llm_benchmark, batch_size, output_len): pass
    """)
    run = llm_pytest("--llm-batch-size=2")
    run.stdout.fnmatch_lines(
        [
            "*::test_x: --llm-batch-size cannot replace values that the test parametrizes together "
            "(batch_size, output_len)"
        ]
    )
    assert run.ret == 2


# The simulated engine's tokens are a digest of the prompt.
TOKENS = """
from pathlib import Path

import pytest

SEEN = Path("tokens")

@pytest.mark.parametrize("length", [8, 40])
def test_one(llm, llm_benchmark, length):
    keep(llm_benchmark(llm, input_len=length, output_len=30, batch_size=2, rounds=2, warmup=0))

def test_two(llm, llm_benchmark):
    keep(llm_benchmark(llm, input_len=8, output_len=30, batch_size=2, rounds=2, warmup=0))

def keep(result):
    requests = [r for round_ in result.measurement.rounds for r in round_.requests]
    with SEEN.open("a") as file:
        file.writelines(f"{r.token_ids}\\n" for r in requests)
"""


def test_random_prompts_differ_in_a_run_and_are_the_same_in_the_next(pytester, llm_pytest):
    pytester.makepyfile(TOKENS)
    tokens = pytester.path / "tokens"
    llm_pytest().assert_outcomes(passed=3)
    first = tokens.read_text().splitlines()
    assert len(first) == len(set(first)) == 12
    tokens.unlink()
    llm_pytest().assert_outcomes(passed=3)
    assert tokens.read_text().splitlines() == first


def test_work_that_is_measured_again_has_new_prompts(pytester, llm_pytest):
    pytester.makepyfile("""
        from pytest_llmperf.core.workload import Workload

        def test_x(llm):
            work = Workload(output_len=30, input_len=8, rounds=2, warmup=0)
            rounds = [*llm.measure(work).rounds, *llm.measure(work).rounds]
            assert len({r.requests[0].token_ids for r in rounds}) == 4
    """)
    llm_pytest().assert_outcomes(passed=1)
