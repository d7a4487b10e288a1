"""Prompts of calls: what is not one text, or not token ids, is one line before an engine sees it."""

import pytest

SEVERAL = "it is that of every request of the batch; parametrize the test over several prompts"
WRONG = {
    "llm_benchmark(llm, prompt=['a', 'b'])": f"prompt must be a text, not ['a', 'b']: {SEVERAL}",
    "llm_benchmark(llm, prompt=[])": f"prompt must be a text, not []: {SEVERAL}",
    "llm_benchmark(llm, prompt=[1, 2])": "prompt must be a text, not [1, 2]: llm.generate_ids takes "
    "token ids, and input_len= measures that many random ones",
    "llm_benchmark(llm, prompt=[{'role': 'user'}])": "prompt must be a text, not [{'role': 'user'}]: "
    "apply the chat template to messages first (docs/how-to/faq.md)",
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
    "llm.perplexity(['a'])": "prompt must be a text, not ['a']",
    "llm.perplexity('')": "prompt must not be empty",
}


def test_a_wrong_prompt_or_size_is_one_line(pytester, llm_pytest):
    tests = [f"def test_{i}(llm, llm_benchmark): {call}" for i, call in enumerate(WRONG)]
    pytester.makepyfile("\n".join(["import numpy", *tests]))
    run = llm_pytest("--tb=line")
    run.assert_outcomes(failed=len(WRONG))
    told = [line.partition("ValueError: ")[2] for line in run.outlines if ": ValueError: " in line]
    assert len(told) == len(WRONG)
    for line, (call, message) in zip(told, WRONG.items(), strict=True):
        assert line.startswith(message), call


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
