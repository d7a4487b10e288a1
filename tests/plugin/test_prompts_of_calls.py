"""Prompts of calls: what is not one text, or not token ids, is one line before an engine sees it."""

import pytest

WRONG = {
    "llm_benchmark(llm, prompt=['a', 'b'])": "prompt must be a text, not ['a', 'b']: give several as "
    "prompts=[...]",
    "llm_benchmark(llm, prompt=[])": "prompt must be a text, not []",
    "llm_benchmark(llm, prompt=[1, 2])": "prompt must be a text, not [1, 2]: give token ids as "
    "prompts=[[1, 2, 3]]; input_len= takes that many random ones",
    "llm_benchmark(llm, prompt=[{'role': 'user'}])": "prompt must be a text, not [{'role': 'user'}]: "
    "give a chat as prompts=[[{'role': 'user', 'content': '...'}]]",
    "llm_benchmark(llm, prompts='ab')": "prompts must be a list of texts, token ids or chat messages, ",
    "llm_benchmark(llm, prompts=[1, 2])": "prompts must be a list of prompts: one of this kind is ",
    "llm_benchmark(llm, prompts=[])": "prompts must not be empty",
    "llm_benchmark(llm, prompts=[[1, 256]])": "prompt: a token id is a whole number from 0 to 255, not ",
    "llm_benchmark(llm, prompts=['a'], prompt='a')": "give exactly one of prompt=, prompts= and ",
    "llm_benchmark(llm, prompts=['a'], output_len=[1, 2])": "output_len has 2 lengths for 1 prompts",
    "llm_benchmark(llm, prompts=pathlib.Path('nosuch.jsonl'))": "prompts: ",
    "llm_benchmark(llm, input_len=4, output_len=[])": "output_len must not be empty",
    "llm_benchmark(llm, input_len=4, temperature='hot')": "temperature must be a number from 0 ",
    "llm_benchmark(llm, input_len=4, seed=1)": "seed= is that of sampling: give temperature=, too",
    "llm.generate('a', temperature=-1)": "temperature must be a number from 0 (greedy) to 100, not -1",
    "llm_benchmark(llm, prompt=5)": "prompt must be a text, not 5",
    "llm_benchmark(llm, prompt=b'ab')": "prompt must be a text, not b'ab'",
    "llm_benchmark(llm, prompt=numpy.array([1, 2]))": "prompt must be a text, not array([1, 2])",
    "llm_benchmark(llm, input_len=numpy.float64(4))": "input_len must be a whole number of at least 1, ",
    "llm_benchmark(llm, input_len=numpy.bool_(True))": "input_len must be a whole number of at least 1,",
    "llm_benchmark(llm, input_len=[4, 8])": "input_len must be a whole number of at least 1, not [4, 8]",
    "llm.generate(['a'])": "prompt must be a text, not ['a']",
    "llm.generate('')": "prompt must not be empty",
    "llm.generate(None)": "prompt must be a text, not None",
    "llm.generate('a', output_len=0)": "output_len must be a whole number of at least 1, not 0",
    "llm.generate('a', output_len=1.5)": "output_len must be a whole number of at least 1, not 1.5",
    "llm.generate_ids([])": "prompt must not be empty",
    "llm.generate_ids([1, 256])": "prompt: a token id is a whole number from 0 to 255, not 256",
    "llm.generate_ids([-1])": "prompt: a token id is a whole number from 0 to 255, not -1",
    "llm.generate_ids([True])": "prompt: a token id is a whole number from 0 to 255, not True",
    "llm.generate_ids([1.0])": "prompt: a token id is a whole number from 0 to 255, not 1.0",
    "llm.generate_ids(['a'])": "prompt: a token id is a whole number from 0 to 255, not 'a'",
    "llm.generate_ids(5)": "prompt must be a text or a list of token ids, not 5",
    "llm.generate_batch_ids('ab')": "prompts must be a list of texts or of token ids, not 'ab'",
    "llm.generate_batch_ids([])": "prompts must not be empty",
    "llm.generate_batch_ids([1, 2])": "prompt must be a text or a list of token ids, not 1",
    "llm.score(5)": "prompt must be a text or a list of token ids, not 5",
    "llm.score([2**70])": "prompt: a token id is a whole number from 0 to 255, not 11805",
    "llm.generate_ids({1, 2})": "prompt must be a text or a list of token ids, not {1, 2}",
    "llm.generate_ids(itertools.count())": "prompt: a token id is a whole number from 0 to 255, not 256",
    "llm.generate_ids(1 / 0 for _ in 'x')": "prompt cannot be read: ZeroDivisionError: division by zero",
    "llm.quality('a')": "text must be a Text, not 'a'",
    "llm.measure(5)": "workload must be a Workload, not 5",
    "llm.checked(5)": "floor must be a Floor, not 5",
    "llm.perplexity(['a'])": "prompt must be a text, not ['a']",
    "llm.perplexity('')": "prompt must not be empty",
}


def test_a_wrong_prompt_or_size_is_one_line(pytester, llm_pytest):
    tests = [f"def test_{i}(llm, llm_benchmark): {call}" for i, call in enumerate(WRONG)]
    pytester.makepyfile("\n".join(["import itertools, numpy, pathlib", *tests]))
    run = llm_pytest("--tb=line")
    run.assert_outcomes(failed=len(WRONG))
    told = [line.partition("ValueError: ")[2] for line in run.outlines if ": ValueError: " in line]
    assert len(told) == len(WRONG)
    for line, (call, message) in zip(told, WRONG.items(), strict=True):
        assert line.startswith(message), call


OTHERS = {
    "llm_benchmark(None, input_len=4)": "ValueError: llm_benchmark measures what the llm fixture gives",
    "llm_benchmark(llm)": "ValueError: give exactly one of prompt=, prompts= and input_len=",
    "llm_benchmark(llm, input_len=4, rounds='5')": "ValueError: rounds must be a whole number of at",
    "llm_benchmark(llm, input_len=4, slo=5)": "ValueError: slo has to be seconds by metric",
    "llm_benchmark(llm, input_len=4, slo={'x': 1})": "ValueError: slo: unknown metric 'x'; known:",
    "llm_benchmark.load(5)": "ValueError: llm_benchmark measures what the llm fixture gives, not 5",
    "llm_benchmark.quality(llm, text=5)": "ValueError: text has to be a file, not 5",
    "llm_benchmark.quality(llm, text='nosuch.txt')": "ValueError: text=: ",
    "llm_benchmark.load(llm), llm_benchmark.load(llm)": "RuntimeError: llm_benchmark measures once per",
    "llm_benchmark.load(llm).nosuch": "AttributeError: this measurement has no nosuch; it has ",
    "llm_benchmark.load(llm).load_time.median": "AttributeError: load_time has no median; did you mean",
    "llm_benchmark.load(llm).load_time < 1": "TypeError: load_time holds 1 sample, not one number",
    "format(llm_benchmark.load(llm).load_time, '.3f')": "TypeError: load_time holds 1 sample, not one",
    "llm_benchmark.load(llm).load_time.percentile(101)": "ValueError: a percentile is between 0 and 100",
    "llm_benchmark.load(llm).load_time.percentile('5')": "ValueError: a percentile is between 0 and 100",
}


def test_a_wrong_call_shows_the_tests_own_line_and_no_line_of_this_package(pytester, llm_pytest):
    calls = {call: f"ValueError: {message}" for call, message in WRONG.items()} | OTHERS
    tests = [f"def test_{i}(llm, llm_benchmark):\n    {call}" for i, call in enumerate(calls)]
    pytester.makepyfile(test_calls="\n".join(["import itertools, numpy, pathlib", *tests]))
    run = llm_pytest()
    run.assert_outcomes(failed=len(calls))
    for number, (call, message) in enumerate(calls.items()):
        line = f"test_calls.py:{2 * number + 3}: "
        assert f">       {call}" in run.outlines or f">   {call}" in run.outlines, call
        assert any(out.startswith(f"E       {message}") for out in run.outlines), call
        assert line + message.partition(":")[0] in run.outlines
    assert "pytest_llmperf/" not in run.stdout.str()


@pytest.mark.parametrize("isolation", ["process", "none"])
def test_numbers_of_numpy_are_whole_numbers(pytester, llm_pytest, records, isolation):
    pytester.makepyfile(
        """
        import numpy

        def test_x(llm, llm_benchmark):
            one, four = numpy.int64(1), numpy.int32(4)
            assert len(llm.generate_ids(numpy.array([65, 66]), output_len=four)) == 4
            assert len(llm.score(numpy.array([65, 66, 67]))) == 2
            llm_benchmark(
                llm, input_len=four, output_len=four, batch_size=one, rounds=one, warmup=numpy.uint8(0)
            )
        """
    )
    run = llm_pytest("--benchmark-autosave", f"--llm-isolation={isolation}")
    run.assert_outcomes(passed=1)
    (record,) = records().values()
    assert record["workload"]["input_tokens"] == 4
