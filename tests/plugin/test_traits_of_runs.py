"""Traits of cells: in test ids, in records, and compared with what the engine says after loading."""

import json

import pytest

CELL = "smollm2-135m-simulated-none"
LABEL = "smollm2-135m-simulated@kv8-none-kvint8"
TEST = """
    def test_speed(llm, llm_benchmark):
        llm_benchmark(llm, prompt="Hello", output_len=4, rounds=2)
"""


def records(pytester):
    entries = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    found = [entry["extra_info"]["llmperf"] for entry in entries]
    return [record for record in found if "schema" in record]


def lines_about(result, *words):
    return [line for line in result.outlines if all(word in line for word in words)]


def test_a_trait_is_in_the_id_and_in_the_record(pytester, llm_pytest):
    pytester.makepyfile(TEST)
    result = llm_pytest("--benchmark-json=out.json", "-v", cache_bits=8, speculation=1)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*test_speed[[]{CELL}-kvint8-spec] PASSED*"])
    (record,) = records(pytester)
    assert record["cell"] == f"{CELL}-kvint8-spec"
    assert record["backend"]["traits"] == ["kvint8", "spec"]


def test_k_selects_by_a_trait(pytester, llm_pytest):
    pytester.makepyfile(TEST)
    argument = "--llm-backend-arg=simulated@kv8.cache_bits=8"
    result = llm_pytest("-v", argument, "--llm-backend=simulated,simulated@kv8", "-k", "kvint8")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines([f"*test_speed[[]{LABEL}] PASSED*"])


def test_what_the_engine_finds_by_itself_fails_the_cell_with_the_line_to_write(
    pytester, llm_pytest
):
    pytester.makepyfile(TEST)
    result = llm_pytest("--benchmark-json=out.json", found_cache_bits=8)
    result.assert_outcomes(errors=1)
    assert lines_about(result, "cannot load")[0] == (
        f"cannot load {CELL}: the engine runs with 'kvint8', so it is {CELL}-kvint8, which the test id "
        "does not say: give --llm-backend-arg=simulated.cache_bits=8"
    )
    # The line is right.
    result = llm_pytest(found_cache_bits=8, cache_bits=8)
    result.assert_outcomes(passed=1)


def test_a_cell_that_a_test_names_itself_has_to_be_what_runs(pytester, llm_pytest):
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.parametrize("llm", ["{CELL}", "{CELL}-kvint8"], indirect=True)
        def test_speed(llm, llm_benchmark):
            llm_benchmark(llm, prompt="Hello", output_len=4, rounds=2)
        """
    )
    result = llm_pytest(cache_bits=8)
    result.assert_outcomes(passed=1, errors=1)
    assert lines_about(result, "is not what would run")[0] == (
        f"{CELL!r} is not what would run: by this run's --llm-backend-arg and the model's files it is "
        f"'{CELL}-kvint8'"
    )


def test_a_label_is_put_in_words_against_the_plain_engine(pytester, llm_pytest):
    quality = """
    def test_quality(llm, llm_benchmark):
        llm_benchmark.quality(llm)
    """
    pytester.makepyfile(TEST + quality)
    result = llm_pytest(
        "--llm-backend=simulated,simulated@kv8", "--llm-backend-arg=simulated@kv8.cache_bits=8"
    )
    result.assert_outcomes(passed=4)
    (words,) = lines_about(result, " against ")[-1:]
    assert words.startswith("simulated@kv8-none-kvint8 against simulated-none: weights unchanged")


def test_random_prompts_are_refused_for_an_engine_that_drafts_tokens(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_text(llm, llm_benchmark):
            llm_benchmark(llm, prompt="Hello", output_len=4, rounds=2)

        def test_random(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=2)
    """)
    reason = (
        f"{CELL}-spec drafts tokens, and hardly any are accepted after the random prompts of "
        "input_len: give a text, llm_benchmark(llm, prompt=...), and leave out --llm-input-len"
    )
    result = llm_pytest("--benchmark-json=out.json", speculation=1, chunk=2)
    result.assert_outcomes(passed=1, failed=1)
    assert reason in result.outlines
    # Only the text's record; what is wrong with several tokens per step is left out.
    (record,) = records(pytester)
    assert "itl" not in record["metrics"]


def test_a_size_of_the_command_line_is_refused_before_the_engine_that_drafts_loads(
    pytester, llm_pytest
):
    pytester.makepyfile(TEST)
    result = llm_pytest("--llm-input-len=8", speculation=1, load_time=30)
    result.assert_outcomes(errors=1)
    assert lines_about(result, f"{CELL}-spec drafts tokens")


def test_random_weights_are_refused_for_an_engine_that_drafts_tokens(pytester, llm_pytest):
    pytester.makepyfile(TEST)
    result = llm_pytest("--llm-load-format=dummy", speculation=1)
    result.assert_outcomes(failed=1)
    assert lines_about(result, f"{CELL}-spec drafts tokens", "leave out --llm-load-format=dummy")


@pytest.mark.parametrize("value", ["[1]", "{}", "a b"])
def test_an_argument_of_another_form_is_one_line(pytester, llm_pytest, value):
    pytester.makepyfile(TEST)
    result = llm_pytest(f"--llm-backend-arg=simulated.cache_bits={value}")
    assert "Traceback" not in result.stdout.str()
    assert lines_about(result, "cache_bits")
