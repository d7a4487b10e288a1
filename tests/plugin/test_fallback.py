"""Without pytest-benchmark's private names, siblings still reach the files."""

import sys

import pytest

CELL = "smollm2-135m-simulated-none"
SIBLINGS = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
# pytest-benchmark's own fixture holds its reference by now; only ours is new.
GONE = """
import pytest_benchmark.fixture
import pytest_benchmark.stats

del pytest_benchmark.stats.Metadata
"""
OTHER_SIGNATURE = """
import pytest_benchmark.fixture
import pytest_benchmark.stats

class Metadata:
    def __init__(self, node):
        raise AssertionError("never reached")

pytest_benchmark.stats.Metadata = Metadata
"""
OTHER_CONTENT = """
import pytest_benchmark.fixture
import pytest_benchmark.stats

class Metadata(pytest_benchmark.stats.Metadata):
    def as_dict(self, **kwargs):
        return {**super().as_dict(**kwargs), "fullname": "something else"}

pytest_benchmark.stats.Metadata = Metadata
"""


@pytest.fixture
def two_tests(pytester):
    pytester.makepyfile("""
        def test_one(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)

        def test_two(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """)


@pytest.mark.timing
@pytest.mark.parametrize(
    "conftest",
    [GONE, OTHER_SIGNATURE, OTHER_CONTENT],
    ids=["gone", "other signature", "other content"],
)
def test_every_entry_is_saved_once_with_one_warning(
    pytester, two_tests, llm_pytest_process, stored, conftest
):
    pytester.makeconftest(conftest)
    run = llm_pytest_process("--benchmark-autosave", ttft=0.05)
    run.assert_outcomes(passed=2, warnings=1)
    warned = [line for line in run.outlines if "has changed inside" in line]
    assert len(warned) == 1
    assert "the metrics are in the saved files, not in this run's own comparison" in warned[0]
    entries = stored()
    names = {f"{test}[{CELL}]" for test in ("test_one", "test_two")}
    siblings = {name[:-1] + f"-{metric}]" for name in names for metric in SIBLINGS}
    assert set(entries) == names | siblings
    for name in names:
        ttft = entries[name[:-1] + "-ttft]"]
        samples = entries[name]["extra_info"]["llmperf"]["metrics"]["ttft"]["samples"]
        assert sorted(samples)[1] == ttft["stats"]["median"] == pytest.approx(0.05, rel=0.01)


def test_entries_are_the_same_as_without_the_fallback(
    pytester, two_tests, llm_pytest_process, stored, stored_files
):
    llm_pytest_process("--benchmark-json=normal.json").assert_outcomes(passed=2)
    pytester.makeconftest(GONE)
    llm_pytest_process("--benchmark-json=fallback.json").assert_outcomes(passed=2, warnings=1)
    normal = stored(pytester.path / "normal.json")
    fallback = stored(pytester.path / "fallback.json")
    assert set(normal) == set(fallback)
    for name, entry in normal.items():
        assert set(fallback[name]) == set(entry)
        assert set(fallback[name]["stats"]) == set(entry["stats"])
        for key in ("group", "name", "fullname", "param", "params", "options"):
            assert fallback[name][key] == entry[key], (name, key)
        if "metric" in entry["extra_info"]["llmperf"]:
            assert fallback[name]["extra_info"] == entry["extra_info"]


def test_the_compare_command_works_on_such_files(
    pytester, two_tests, llm_pytest_process, stored_files
):
    pytester.makeconftest(GONE)
    for _ in range(2):
        llm_pytest_process("--benchmark-autosave").assert_outcomes(passed=2, warnings=1)
    (pytester.path / "conftest.py").unlink()
    run = pytester.run(sys.executable, "-m", "pytest_benchmark", "compare", *stored_files())
    assert run.ret == 0
    for metric in SIBLINGS:
        for number in ("0001", "0002"):
            assert f"test_one[{CELL}-{metric}] ({number}_" in run.stdout.str()


@pytest.mark.timing
def test_a_later_normal_run_compares_with_such_a_file(pytester, two_tests, llm_pytest_process):
    pytester.makeconftest(GONE)
    llm_pytest_process("--benchmark-autosave").assert_outcomes(passed=2, warnings=1)
    (pytester.path / "conftest.py").unlink()
    run = llm_pytest_process(
        "--benchmark-compare", "--benchmark-compare-fail=median:30%", ttft=0.05
    )
    assert run.ret == 1
    regressed = [line for line in run.errlines + run.outlines if "RegressionCheck" in line]
    assert any(f"test_one[{CELL}-ttft]" in line for line in regressed)
    assert not any(f"{CELL}-tpot]" in line for line in regressed)


def test_the_journal_has_every_entry_once_too(pytester, two_tests, llm_pytest_process, journals):
    pytester.makeconftest(GONE)
    pytester.makepyfile(
        test_end="""
        import os

        def test_end():
            os.kill(os.getpid(), 9)
    """
    )
    llm_pytest_process("test_the_journal_has_every_entry_once_too.py", "test_end.py")
    (journal,) = journals()
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 2 * (1 + len(SIBLINGS))
