"""Texts, token ids, chats and files as prompts, mixed lengths, and sampling: measured and recorded."""

import json

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend

CELL = "smollm2-135m-simulated-none"
CHAT = "[{'role': 'user', 'content': 'Hi'}]"


def test_a_batch_of_mixed_prompts_keeps_its_lengths(pytester, llm_pytest, records):
    pytester.makepyfile(
        f"""
        def test_x(llm, llm_benchmark):
            result = llm_benchmark(
                llm, prompts=["abc", [65, 66], {CHAT}], output_len=[4, 2, 6], rounds=2, warmup=1
            )
            for r in result.measurement.rounds:
                counts = [(t.input_tokens, t.output_tokens) for t in r.requests]
                # The simulated template: <user>Hi, a new line, <assistant>.
                assert counts == [(3, 4), (2, 2), (20, 6)]
    """
    )
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    work = records()[f"test_x[{CELL}]"]["workload"]
    assert work["input_lengths"] == [3, 2, 20]
    assert work["output_lengths"] == [4, 2, 6]
    assert (work["input_tokens"], work["output_tokens"], work["batch_size"]) == (20, 6, 3)
    assert not {"temperature", "seed"} & set(work)


def test_mixed_lengths_give_the_programmed_times(pytester, llm_pytest, records):
    """Each request ends with its own last token: 3 and 11 tokens of 10 ms after 50 ms."""
    pytester.makepyfile(
        """
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, prompts=["a", "bb"], output_len=[3, 11], rounds=1, warmup=1)
    """
    )
    llm_pytest("--benchmark-autosave", ttft=0.05, tpot=0.01).assert_outcomes(passed=1)
    metrics = records()[f"test_x[{CELL}]"]["metrics"]
    assert metrics["e2e"]["samples"] == pytest.approx([0.07, 0.15], rel=0.1)
    assert metrics["output_throughput"]["p50"] == pytest.approx(14 / 0.15, rel=0.1)


def test_prompts_come_from_a_file_beside_the_tests(pytester, llm_pytest, records):
    lines = [{"prompt": "abc"}, {"messages": [{"role": "user", "content": "Hi"}], "output_len": 5}]
    folder = pytester.mkdir("data")
    (folder / "some.jsonl").write_text("\n".join(map(json.dumps, lines)))
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_x(llm, llm_benchmark):
            prompts = Path("data/some.jsonl")
            llm_benchmark(llm, prompts=prompts, output_len=4, batch_size=3, rounds=1, warmup=0)
    """
    )
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    work = records()[f"test_x[{CELL}]"]["workload"]
    assert work["input_lengths"] == [3, 20, 3]
    assert work["output_lengths"] == [4, 5, 4]


def test_a_file_with_a_wrong_line_is_one_line(pytester, llm_pytest):
    (pytester.path / "some.jsonl").write_text('{"prompt": "a"}\n{"text": "b"}')
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, prompts=Path("some.jsonl"))
    """
    )
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(
        ["E * ValueError: prompts: *some.jsonl', line 2: a line is an object *"]
    )


SAMPLED = """
    def test_x(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=8, rounds=2, warmup=0, temperature=%s, seed=%s)
"""


def test_sampling_is_in_the_record_and_another_work(pytester, llm_pytest, records):
    works = []
    for temperature, seed in ((0, 0), (0.5, 1), (0.5, 2)):
        pytester.makepyfile(test_file=SAMPLED % (temperature, seed))
        llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
        works.append(records()[f"test_x[{CELL}]"]["workload"])
    greedy, one, _ = works
    assert "temperature" not in greedy
    assert (one["temperature"], one["seed"]) == (0.5, 1)
    assert len({work["requests"] for work in works}) == len({work["hash"] for work in works}) == 3


def test_a_seed_draws_the_same_tokens_again(pytester, llm_pytest):
    pytester.makepyfile(
        """
        def test_x(llm):
            one, again = (llm.generate_ids("a", temperature=1, seed=1) for _ in "ab")
            assert one == again
            assert one != llm.generate_ids("a", temperature=1, seed=2) != llm.generate_ids("a")
            batch = llm.generate_batch_ids(["a", "a"], temperature=1, seed=1)
            assert batch[0] == one != batch[1]
    """
    )
    llm_pytest().assert_outcomes(passed=1)


REFUSED = {
    f"prompts=[{CHAT}]": "applies no chat template here: give prompts of text or token ids *",
    "input_len=4, temperature=1": "cannot draw the same tokens twice: leave out temperature=",
}


def test_what_an_engine_cannot_do_is_one_line_before_it_is_asked(pytester, llm_pytest, monkeypatch):
    """The engine would end its process with the first request."""
    monkeypatch.setattr(SimulatedBackend, "chats", False)
    monkeypatch.setattr(SimulatedBackend, "samples", False)
    tests = [
        f"def test_{i}(llm, llm_benchmark): llm_benchmark(llm, {arguments})"
        for i, arguments in enumerate(REFUSED)
    ]
    pytester.makepyfile("\n".join(tests))
    run = llm_pytest("--tb=line", crash_at=0)
    run.assert_outcomes(failed=len(REFUSED))
    for message in REFUSED.values():
        run.stdout.fnmatch_lines([f"*{CELL}: simulated {message}"])
    assert "died" not in run.stdout.str()


def test_random_weights_have_no_chat(pytester, llm_pytest):
    pytester.makepyfile(f"def test_x(llm, llm_benchmark): llm_benchmark(llm, prompts=[{CHAT}])")
    run = llm_pytest("--llm-load-format=dummy", "--tb=line")
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*random weights have no tokenizer, so no chat template: *"])


def test_sizes_of_the_command_line_replace_prompts(pytester, llm_pytest, records):
    pytester.makepyfile(
        """
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, prompts=["a", "bb"], output_len=[3, 5], rounds=1, warmup=0)
    """
    )
    options = ("--llm-input-len=8", "--llm-output-len=4", "--benchmark-autosave")
    llm_pytest(*options).assert_outcomes(passed=1)
    work = records()[f"test_x[{CELL}-in8-out4]"]["workload"]
    assert (work["input_tokens"], work["output_tokens"], work["batch_size"]) == (8, 4, 2)


PREFIX = """
    def test_x(llm, llm_benchmark):
        llm_benchmark(
            llm, input_len=100, prefix_len=60, output_len=4, batch_size=2, rounds=2, warmup=%d
        )
"""


def test_a_reused_prefix_is_measured_named_and_recorded(pytester, llm_pytest, records):
    """100 tokens of 1 ms after 10 ms; 60 of them come from the cache."""
    pytester.makepyfile(test_file=PREFIX % 1)
    program = {"prefix_cache": 1, "ttft": 0.01, "ttft_per_input_token": 0.001}
    llm_pytest("--benchmark-autosave", **program).assert_outcomes(passed=1)
    record = records()[f"test_x[{CELL}-prefix]"]
    work = record["workload"]
    assert (work["input_tokens"], work["prefix_tokens"], work["cached_tokens"]) == (100, 60, 60)
    assert record["metrics"]["ttft"]["p50"] == pytest.approx(0.05, rel=0.1)


def test_a_prefix_that_was_never_computed_is_no_measurement(pytester, llm_pytest):
    pytester.makepyfile(test_file=PREFIX % 0)
    run = llm_pytest(prefix_cache=1)
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*round 1: none of the 60 tokens of prefix_len came from the cache*"])


def test_a_prefix_needs_an_engine_that_reuses_it(pytester, llm_pytest):
    pytester.makepyfile(test_file=PREFIX % 1)
    run = llm_pytest("--tb=line")
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(
        ["*an engine that reuses a prefix: give --llm-backend-arg=simulated.prefix_cache=1"]
    )


def test_more_than_the_prefix_from_a_cache_is_no_measurement(pytester, llm_pytest):
    pytester.makepyfile(test_file=PREFIX % 1)
    run = llm_pytest(prefix_cache=1, cached_tokens=80)
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*80 of 100 prompt tokens came from a prefix cache*"])


def test_a_file_of_the_command_line_replaces_the_prompts_of_every_test(
    pytester, llm_pytest, records
):
    (pytester.path / "Our Chats.jsonl").write_text('{"prompt": "abc"}\n{"prompt": [65]}')
    pytester.makepyfile(
        test_file="""
        import pytest

        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)

        @pytest.mark.parametrize("input_len", [8])
        def test_y(llm, llm_benchmark, input_len):
            llm_benchmark(llm, input_len=input_len, output_len=4, rounds=1, warmup=0)
    """
    )
    run = llm_pytest("--llm-prompts=Our Chats.jsonl", "--benchmark-autosave", "--tb=line")
    # It fails before its engine loads.
    run.assert_outcomes(passed=1, errors=1)
    run.stdout.fnmatch_lines([f"{CELL} prompts=ourchats *"])
    work = records()[f"test_x[{CELL}-ourchats]"]["workload"]
    assert (work["input_lengths"], work["batch_size"]) == ([3, 1], 2)
    run.stdout.fnmatch_lines(["*--llm-prompts cannot replace the input_len that the test param*"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm-prompts=none.jsonl"], "*--llm-prompts: *none.jsonl' is not a text file in UTF-8*"),
        (["--llm-prompts=bad.jsonl"], "*--llm-prompts: *bad.jsonl', line 1: not JSON: 'x'"),
        (
            ["--llm-prompts=good.jsonl", "--llm-input-len=4"],
            "*--llm-prompts and --llm-input-len both say what the prompts are: give one of them",
        ),
    ],
)
def test_a_wrong_file_of_the_command_line_ends_the_run_before_it_begins(
    pytester, one_test, llm_pytest, options, message
):
    (pytester.path / "bad.jsonl").write_text("x")
    (pytester.path / "good.jsonl").write_text('{"prompt": "a"}')
    run = llm_pytest(*options)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines([message])


def test_a_chat_of_the_command_line_is_refused_before_anything_loads(
    pytester, one_test, llm_pytest
):
    (pytester.path / "chat.jsonl").write_text('{"messages": [{"role": "user", "content": "Hi"}]}')
    run = llm_pytest("--llm-prompts=chat.jsonl", "--llm-load-format=dummy", load_time=30)
    run.assert_outcomes(errors=1)
    assert run.duration < 30
    run.stdout.fnmatch_lines([f"{CELL}: random weights have no tokenizer, so no chat template: *"])
