"""Quality and the floor under every benchmark, on an engine whose distributions are programmed."""

import math
import sys

import pytest

CELL = "smollm2-135m-simulated-none"
QUALITY = """
def test_quality(llm, llm_benchmark):
    llm_benchmark.quality(llm)
"""
SPEED = """
def test_speed(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)

def test_load(llm, llm_benchmark):
    llm_benchmark.load(llm)
"""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path_factory):
    """Give each test an empty cache: kept distributions must not reach the next test."""
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_a_programmed_loss_comes_back_as_perplexity(pytester, llm_pytest, records):
    pytester.makepyfile(QUALITY)
    llm_pytest("--benchmark-autosave", nll=1.25).assert_outcomes(passed=1)
    (record,) = records().values()
    found = {key: metric["p50"] for key, metric in record["metrics"].items()}
    assert found["perplexity"] == pytest.approx(math.exp(1.25))
    assert (found["kl_divergence"], found["top1_agreement"]) == (0, 1)
    assert record["quality"]["text"]["sha256"].startswith("81d804429b39238c")
    assert [d["nll"] for d in record["quality"]["documents"]] == pytest.approx([1.25] * 8)
    assert record["quality"]["reference"]["own"] is True


def test_another_engine_is_compared_with_the_first(pytester, llm_pytest, records):
    pytester.makepyfile(QUALITY)
    run = llm_pytest(
        "--benchmark-autosave",
        "--llm-backend=simulated,simulated@b",
        f"--llm-python=simulated@b={sys.executable}",
        "--llm-backend-arg=simulated@b.nll=2",
        nll=1,
    )
    run.assert_outcomes(passed=2)
    _, second = records().values()
    # P(next) is 1/e and 1/e^2, all others are alike: 1/e ln(e) + (1 - 1/e) ln((1 - 1/e)/(1 - 1/e^2)).
    p, q = math.exp(-1), math.exp(-2)
    divergence = p * 1 + (1 - p) * math.log((1 - p) / (1 - q))
    metrics = second["metrics"]
    assert metrics["kl_divergence"]["p50"] == pytest.approx(divergence, rel=1e-5)
    assert metrics["top1_agreement"]["p50"] == 1
    assert second["quality"]["reference"]["backend"] == "simulated"


@pytest.mark.parametrize(
    ("broken", "flaw"),
    [
        (1, "its log-probabilities are not finite numbers"),
        (2, "its likeliest next token is the same at each of *places of a text"),
        (3, "its *places of a text"),
    ],
)
def test_a_broken_engine_measures_nothing_however_fast_it_is(
    pytester, llm_pytest, stored_files, broken, flaw
):
    pytester.makepyfile(SPEED + QUALITY)
    run = llm_pytest("--benchmark-autosave", broken=broken)
    run.assert_outcomes(failed=1, skipped=2)
    run.stdout.fnmatch_lines([f"{CELL}: invalid measurement: {flaw}"])
    assert not stored_files()


def test_an_output_far_from_the_reference_measures_nothing(pytester, llm_pytest):
    pytester.makepyfile(QUALITY)
    llm_pytest(nll=1).assert_outcomes(passed=1)
    pytester.makepyfile(SPEED)
    run = llm_pytest(nll=2.5)
    run.assert_outcomes(failed=1, skipped=1)
    run.stdout.fnmatch_lines(
        [
            f"{CELL}: invalid measurement: its perplexity is 12.2, far from the unquantized model's 2.7"
        ]
    )


def test_random_weights_are_measured_and_have_no_quality(pytester, llm_pytest):
    pytester.makepyfile(SPEED + QUALITY)
    run = llm_pytest("--llm-load-format=dummy", "-rs", broken=1)
    run.assert_outcomes(passed=2, skipped=1)
    run.stdout.fnmatch_lines(["*not available: random weights: there is no quality to measure"])
    run.stdout.fnmatch_lines(["random weights (--llm-load-format=dummy): speed*"])


def test_the_output_of_an_engine_is_looked_at_once(pytester, llm_pytest):
    pytester.makepyfile(
        """
        def test_twice(llm, monkeypatch):
            llm.check_output()
            with monkeypatch.context() as patch:
                # A second look would be a call.
                patch.setattr(llm._slot, "_call", None)
                llm.check_output()
        """
    )
    llm_pytest().assert_outcomes(passed=1)


def test_plain_assertions_have_scores_and_perplexity(pytester, llm_pytest):
    pytester.makepyfile(
        """
        import pytest

        def test_scores(llm):
            assert llm.score("abc") == pytest.approx([-1.5, -1.5])
            assert llm.score([1, 2, 3, 4]) == pytest.approx([-1.5] * 3)
            assert llm.perplexity("some text") == pytest.approx(4.4817, rel=1e-4)

        def test_too_short(llm):
            llm.score("a")
        """
    )
    run = llm_pytest(nll=1.5)
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.fnmatch_lines([f"{CELL}: ValueError: a score needs at least 2 tokens*"])


def test_quality_without_benchmarks_is_not_stored(pytester, llm_pytest, stored_files):
    pytester.makepyfile(QUALITY)
    llm_pytest("--benchmark-disable", "--benchmark-autosave").assert_outcomes(passed=1)
    assert not stored_files()
