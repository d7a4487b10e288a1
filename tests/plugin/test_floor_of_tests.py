"""The floor: a text of one's own, a switch, engines that agree, and one failure per engine."""

import math
import sys

import pytest

CELL = "smollm2-135m-simulated-none"
SPEED = """
def test_speed(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)

def test_load(llm, llm_benchmark):
    llm_benchmark.load(llm)
"""
QUALITY = """
def test_quality(llm, llm_benchmark):
    llm_benchmark.quality(llm)
"""
# Of a vocabulary of 256: a perplexity of 90 is a loss of 4.5 nats, more than 0.75 ln 256 = 4.16.
GUESSING = 4.5
ADVICE = (
    "its perplexity on plain English is 90, little better than guessing among 256 tokens (random "
    "weights: --llm-load-format=dummy); for a model of another language or domain give a text that it "
    "knows, --llm-floor-text=FILE, or switch this check off, --llm-floor=off"
)
TEXT = "Le chat dort sur le lit. " * 60
# An engine whose loss is 1 for texts in French, and that of a guess for the shipped text.
POLYGLOT = """
from pytest_llmperf.backends.simulated import SimulatedBackend
from dataclasses import replace

class TinyBackend(SimulatedBackend):
    name = "tiny"
    by_default = False

    def log_probabilities(self, ids):
        known = "chat" in self.decode(ids)
        program = self._program
        self._program = replace(program, nll=1.0) if known else program
        try:
            return super().log_probabilities(ids)
        finally:
            self._program = program
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Give each test an empty cache: what one engine predicts must not reach the next test."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def french(pytester):
    return pytester.path.joinpath("french.txt").write_text(TEXT, "utf-8") and "french.txt"


@pytest.fixture
def tiny(pytester):
    """Run the engine that knows French only, ``backends`` before it."""

    def run(*extra, backends=""):
        programs = [f"--llm-backend-arg={name}.nll={GUESSING}" for name in ("tiny", "simulated")]
        return pytester.runpytest_subprocess(
            "-Wdefault", f"--llm-backend={backends}tiny", *programs, "-rs", *extra, timeout=60
        )

    return run


def test_an_engine_fails_once_and_the_line_says_what_to_do(pytester, llm_pytest):
    pytester.makepyfile(SPEED + QUALITY)
    run = llm_pytest("-rs", nll=GUESSING)
    run.assert_outcomes(failed=1, skipped=2)
    assert run.ret == 1
    assert f"{CELL}: invalid measurement: {ADVICE}" in run.outlines
    run.stdout.fnmatch_lines([f"SKIPPED * {CELL}: its output is wrong, as *::test_speed* says"])


def test_each_engine_fails_once(pytester, llm_pytest):
    pytester.makepyfile(SPEED)
    two = ("--llm-backend=simulated,simulated@b", f"--llm-python=simulated@b={sys.executable}")
    llm_pytest(*two, broken=1).assert_outcomes(failed=2, skipped=2)


def test_an_expected_failure_does_not_make_the_other_tests_green(pytester, llm_pytest):
    pytester.makepyfile("import pytest\n@pytest.mark.xfail" + SPEED)
    llm_pytest(broken=1).assert_outcomes(xfailed=1, failed=1)


def test_a_failure_that_a_test_catches_does_not_make_the_other_tests_green(pytester, llm_pytest):
    pytester.makepyfile(
        """
        import pytest

        def test_caught(llm, llm_benchmark):
            with pytest.raises(pytest.fail.Exception):
                llm_benchmark(llm, input_len=8, output_len=4)

        def test_next(llm, llm_benchmark):
            llm_benchmark.load(llm)
        """
    )
    llm_pytest(broken=1).assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("broken", [0, 1, 2, 3])
def test_the_switch_measures_anything_and_says_so(pytester, llm_pytest, records, broken):
    pytester.makepyfile(SPEED)
    run = llm_pytest("--benchmark-autosave", "--llm-floor=off", nll=GUESSING, broken=broken)
    run.assert_outcomes(passed=2)
    assert "the output of engines is not checked (--llm-floor=off)" in run.outlines
    run.stdout.fnmatch_lines(["floor off (--llm-floor=off, *): * of 2 of 2 measurements was not *"])
    assert [record["floor"] for record in records().values()] == [{"check": "off"}] * 2


def test_the_switch_may_be_in_the_ini_file(pytester, llm_pytest):
    pytester.makepyfile(SPEED)
    pytester.makeini("[pytest]\nllm_floor = off\n")
    llm_pytest(broken=1).assert_outcomes(passed=2)


def test_without_the_floor_quality_needs_numbers_all_the_same(pytester, llm_pytest, records):
    pytester.makepyfile(QUALITY)
    llm_pytest("--benchmark-autosave", "--llm-floor=off", nll=GUESSING).assert_outcomes(passed=1)
    (record,) = records().values()
    assert record["metrics"]["perplexity"]["p50"] == pytest.approx(math.exp(GUESSING))
    assert record["metrics"]["kl_divergence"]["p50"] == 0
    run = llm_pytest("--llm-floor=off", broken=1)
    run.assert_outcomes(failed=1)
    message = "its log-probabilities are not finite numbers"
    assert f"{CELL}: invalid measurement: {message}" in run.outlines


def test_the_usual_floor_is_not_in_the_record(pytester, llm_pytest, records):
    pytester.makepyfile(SPEED)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    assert not any("floor" in record for record in records().values())


def test_a_model_of_another_language_is_checked_with_a_text_of_its_own(
    pytester, tiny, package, french, records
):
    package(POLYGLOT)
    pytester.makepyfile(SPEED + QUALITY)
    tiny().assert_outcomes(failed=1, skipped=2)
    run = tiny("--llm-floor-text=french.txt", "--benchmark-autosave")
    run.assert_outcomes(passed=3)
    assert "output checked with a text of the project's own: french.txt" in run.outlines
    floors = [record["floor"] for record in records().values()]
    assert [floor["text"]["name"] for floor in floors] == ["french.txt"] * 3
    quality = next(record for record in records().values() if "quality" in record)
    assert quality["quality"]["text"]["name"] == "prose"
    assert quality["metrics"]["kl_divergence"]["p50"] == 0


def test_a_broken_engine_is_caught_by_a_text_of_ones_own_too(pytester, llm_pytest, french):
    pytester.makepyfile(SPEED)
    run = llm_pytest("--llm-floor-text=french.txt", nll=GUESSING)
    run.assert_outcomes(failed=1, skipped=1)
    run.stdout.fnmatch_lines(["*its perplexity on french.txt is 90, little better than guessing*"])
    llm_pytest("--llm-floor-text=french.txt", broken=1).assert_outcomes(failed=1, skipped=1)


def test_a_marker_gives_a_test_its_text_or_no_check(pytester, tiny, package, french, records):
    package(POLYGLOT)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm_floor(text="french.txt")
        def test_text(llm, llm_benchmark):
            llm_benchmark.load(llm)

        @pytest.mark.llm_floor("off")
        def test_off(llm, llm_benchmark):
            llm_benchmark.load(llm)

        def test_usual(llm, llm_benchmark):
            llm_benchmark.load(llm)
        """
    )
    run = tiny("--benchmark-autosave")
    run.assert_outcomes(passed=2, failed=1)
    assert [record["floor"]["check"] for record in records().values()] == ["on", "off"]


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("'on'", "the marker llm_floor has the form @pytest.mark.llm_floor(text="),
        ("", "the marker llm_floor has the form @pytest.mark.llm_floor(text="),
        ("tekst='a'", "the marker llm_floor has the form @pytest.mark.llm_floor(text="),
        ("text=5", "text has to be a file, not 5"),
        ("text='none.txt'", "is not a text file in UTF-8 that can be read"),
    ],
)
def test_a_wrong_marker_is_one_line_before_anything_loads(pytester, llm_pytest, marker, message):
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.llm_floor({marker})\ndef test_x(llm, llm_benchmark): pass"
    )
    run = llm_pytest()
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in run.errlines if line]
    assert message in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a text file in UTF-8 that can be read"),
        (b"\xff\xfe", "is not a text file in UTF-8 that can be read"),
        (b" \n", "holds no text"),
        (b"a" * 40_000, "has 40,000 bytes, and at most 32,768 are scored: give a part of it"),
    ],
)
def test_a_file_that_is_no_text_is_one_line(pytester, one_test, llm_pytest, content, message):
    if content is not None:
        (pytester.path / "t.txt").write_bytes(content)
    run = llm_pytest("--llm-floor-text=t.txt")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in run.errlines if line]
    assert line.startswith("ERROR: --llm-floor-text: '")
    assert line.endswith(message)


def test_another_engine_that_predicts_the_same_vouches_for_a_model(
    pytester, tiny, package, records
):
    package(POLYGLOT)
    pytester.makepyfile(SPEED + QUALITY)
    run = tiny("--benchmark-autosave", backends="simulated,")
    run.assert_outcomes(failed=1, skipped=2, passed=3)
    run.stdout.fnmatch_lines(["smollm2-135m-tiny-none hardly knows plain English, but simulated *"])
    assert {record["floor"]["agrees_with"][:9] for record in records().values()} == {"simulated"}
    # Now both of them are known.
    tiny(backends="simulated,").assert_outcomes(passed=6)


def test_quality_on_a_text_of_ones_own_is_other_work(pytester, llm_pytest, french, records):
    pytester.makepyfile(
        QUALITY
        + """
def test_french(llm, llm_benchmark):
    result = llm_benchmark.quality(llm, text="french.txt")
    assert result.perplexity.p50 > 1

def test_path(llm, llm_benchmark, request):
    llm_benchmark.quality(llm, text=request.config.rootpath / "french.txt")
"""
    )
    llm_pytest("--benchmark-autosave", nll=1).assert_outcomes(passed=3)
    shipped, french, path = records().values()
    assert french["quality"]["text"]["name"] == "french.txt"
    assert french["workload"]["hash"] == path["workload"]["hash"] != shipped["workload"]["hash"]
    assert len(french["quality"]["documents"]) == 2
    assert french["metrics"]["kl_divergence"]["p50"] == 0
    (pytester.path / "french.txt").write_text(TEXT + "Encore.", "utf-8")
    llm_pytest("--benchmark-autosave", nll=1).assert_outcomes(passed=3)
    assert list(records().values())[1]["workload"]["hash"] != french["workload"]["hash"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'none.txt'", "text=: '*none.txt' is not a text file in UTF-8 that can be read"),
        ("['a']", "text has to be a file, not ['a']"),
        ("''", "text=: '*' is not a text file in UTF-8 that can be read"),
    ],
)
def test_a_wrong_text_of_quality_is_one_line(pytester, llm_pytest, text, message):
    pytester.makepyfile(f"def test_x(llm, llm_benchmark): llm_benchmark.quality(llm, text={text})")
    run = llm_pytest("--tb=line")
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines([f"*ValueError: {message.replace('[', '[[]')}"])
