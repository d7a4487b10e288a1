"""Batches that CTranslate2 splits or keeps together."""

TEST = """
    import pytest
    from pytest_llmperf.core.workload import Workload

    def test_batch(llm):
        workload = Workload(output_len=4, input_len=8, batch_size=4, rounds=1, warmup=1)
        requests = llm.measure(workload).rounds[0].requests
        starts = sorted(request.first for request in requests)
        ends = sorted(request.last for request in requests)
        print("one after another" if starts[2] > ends[1] else "together")
"""


def test_a_batch_is_one_and_may_be_split(pytester):
    pytester.makepyfile(TEST)
    run = ["--llm-backend=ctranslate2", "-s", "-p", "no:cacheprovider"]
    together = pytester.runpytest_subprocess(*run)
    together.assert_outcomes(passed=1)
    together.stdout.fnmatch_lines(["*together"])
    split = pytester.runpytest_subprocess(*run, "--llm-backend-arg=ctranslate2.max_batch_size=2")
    split.assert_outcomes(passed=1)
    split.stdout.fnmatch_lines(["*one after another"])
