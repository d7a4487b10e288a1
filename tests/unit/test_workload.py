import re
import subprocess
import sys

import pytest

from pytest_llmperf.core.workload import DEFAULT_ROUNDS, DEFAULT_WARMUP, Request, Workload


def no_tokenizer(text):
    raise AssertionError("random prompts need no tokenizer")


def prompts(workload, round_index, vocabulary=1000):
    return [r.prompt_ids for r in workload.requests(round_index, no_tokenizer, vocabulary)]


def test_defaults_are_five_rounds_after_two_of_warm_up():
    workload = Workload(output_len=4, input_len=8)
    assert (workload.rounds, workload.warmup) == (DEFAULT_ROUNDS, DEFAULT_WARMUP) == (5, 2)


@pytest.mark.parametrize("given", [{}, {"prompt": "a", "input_len": 1}])
def test_exactly_one_of_prompt_and_input_len_is_given(given):
    with pytest.raises(ValueError, match=r"^give exactly one of prompt=, prompts= and input_len=$"):
        Workload(output_len=4, **given)


def test_an_empty_prompt_is_rejected():
    with pytest.raises(ValueError, match=r"^prompt= must not be empty$"):
        Workload(output_len=4, prompt="")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("output_len", 0, "output_len must be a whole number of at least 1, not 0"),
        ("output_len", None, "output_len must be a whole number of at least 1, not None"),
        ("batch_size", 0, "batch_size must be a whole number of at least 1, not 0"),
        ("batch_size", 1.0, "batch_size must be a whole number of at least 1, not 1.0"),
        ("batch_size", "8", "batch_size must be a whole number of at least 1, not '8'"),
        ("rounds", 0, "rounds must be a whole number of at least 1, not 0"),
        ("rounds", True, "rounds must be a whole number of at least 1, not True"),
        ("warmup", -1, "warmup must be a whole number of at least 0, not -1"),
        ("input_len", 0, "input_len must be a whole number of at least 1, not 0"),
    ],
)
def test_sizes_that_mean_nothing_are_rejected(name, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Workload(**{"output_len": 4, "input_len": 8, name: value})


def test_no_warm_up_is_allowed():
    assert Workload(output_len=4, input_len=8, warmup=0).warmup == 0


def test_requests_have_the_sizes_of_the_workload():
    workload = Workload(output_len=4, input_len=8, batch_size=3)
    requests = workload.requests(0, no_tokenizer, 1000)
    assert [len(r.prompt_ids) for r in requests] == [8, 8, 8]
    assert [r.output_len for r in requests] == [4, 4, 4]


def test_random_prompts_differ_in_every_request_and_round():
    workload = Workload(output_len=4, input_len=8, batch_size=4)
    found = [ids for round_index in (-2, -1, 0, 1) for ids in prompts(workload, round_index)]
    assert len(set(found)) == 16


def test_random_prompts_differ_with_the_seed():
    one, other = (Workload(output_len=4, input_len=8, seed=seed) for seed in (0, 1))
    assert prompts(one, 0) != prompts(other, 0)


def test_random_prompts_differ_between_measurements():
    one, other = (Workload(output_len=4, input_len=8, salt=salt) for salt in ("a", "b"))
    assert prompts(one, 0)[0][:4] != prompts(other, 0)[0][:4]


def test_a_long_prompt_does_not_begin_with_a_short_one():
    short, long = (Workload(output_len=4, input_len=length) for length in (16, 64))
    assert prompts(short, 0)[0] != prompts(long, 0)[0][:16]


def test_random_prompts_are_reproducible():
    workload = Workload(output_len=4, input_len=8, batch_size=2)
    assert prompts(workload, 0) == prompts(workload, 0)


def test_random_prompts_are_the_same_in_another_process():
    code = (
        "from pytest_llmperf.core.workload import Workload\n"
        "print(Workload(output_len=4, input_len=8).requests(0, None, 1000)[0].prompt_ids)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = prompts(Workload(output_len=4, input_len=8), 0)[0]
    assert done.stdout.strip() == str(here)


@pytest.mark.parametrize(
    ("vocabulary", "lowest"), [(50_000, 256), (512, 256), (300, 150), (256, 128), (2, 1)]
)
def test_random_prompts_lie_inside_the_vocabulary_above_its_control_tokens(vocabulary, lowest):
    workload = Workload(output_len=4, input_len=2000)
    (ids,) = prompts(workload, 0, vocabulary)
    assert min(ids) >= lowest
    assert max(ids) < vocabulary


def test_a_text_prompt_is_the_same_in_every_request_and_round():
    workload = Workload(output_len=4, prompt="hello", batch_size=3)
    expected = [Request((104, 101, 108, 108, 111), 4)] * 3
    for round_index in (-1, 0, 1):
        assert workload.requests(round_index, lambda text: list(text.encode()), 256) == expected


BASE = {"output_len": 4, "input_len": 8, "batch_size": 2, "seed": 3}


@pytest.mark.parametrize("change", [{"rounds": 9}, {"warmup": 9}, {"salt": "another test"}])
def test_hash_leaves_out_how_often_the_work_is_repeated(change):
    assert Workload(**BASE, **change).hash == Workload(**BASE).hash


@pytest.mark.parametrize(
    "change",
    [
        {"output_len": 5},
        {"input_len": 9},
        {"batch_size": 1},
        {"seed": 4},
        {"input_len": None, "prompt": "hello"},
    ],
)
def test_hash_changes_with_the_work(change):
    assert Workload(**{**BASE, **change}).hash != Workload(**BASE).hash


def test_hash_is_that_of_earlier_commits():
    # Stored baselines name their work by it.
    assert Workload(**BASE).hash == "87ad693b1caeb45c"


def test_hash_changes_with_the_text():
    assert Workload(output_len=4, prompt="a").hash != Workload(output_len=4, prompt="b").hash


def test_wire_form_gives_back_the_same_workload():
    workload = Workload(**BASE, rounds=3, warmup=1)
    assert Workload(**workload.to_wire()) == workload


# Prompts and lengths of people

CHAT = [{"role": "user", "content": "Say yes."}]


def bytes_of(prompt):
    """A tokenizer with a template: a chat begins with token 1."""
    return list(prompt.encode()) if isinstance(prompt, str) else [1, *prompt[0]["content"].encode()]


def asked(**given):
    return Workload(**given).requests(0, bytes_of, 256)


def test_prompts_are_texts_token_ids_or_chats():
    requests = asked(output_len=4, prompts=["ab", [7, 8, 9], CHAT], batch_size=3)
    assert [r.prompt_ids for r in requests] == [(97, 98), (7, 8, 9), (1, *b"Say yes.")]


def test_each_prompt_may_have_its_own_output_length():
    workload = Workload(output_len=[3, 9], prompts=["a", "b"], batch_size=2)
    assert [r.output_len for r in workload.requests(0, bytes_of, 256)] == [3, 9]
    assert (workload.output_len, workload.output_lengths) == (9, (3, 9))


def test_a_batch_takes_prompts_and_lengths_in_turn():
    requests = asked(output_len=[3, 9], prompts=["a", "b"], batch_size=5)
    assert [(r.prompt_ids, r.output_len) for r in requests] == [
        ((97,), 3),
        ((98,), 9),
        ((97,), 3),
        ((98,), 9),
        ((97,), 3),
    ]


def test_random_prompts_may_have_several_output_lengths():
    requests = asked(output_len=[3, 9], input_len=8, batch_size=3)
    assert [(len(r.prompt_ids), r.output_len) for r in requests] == [(8, 3), (8, 9), (8, 3)]


def test_equal_lengths_are_one_length():
    one, several = (Workload(output_len=n, input_len=8, batch_size=2) for n in (4, [4, 4]))
    assert one == several
    assert one.hash == several.hash


@pytest.mark.parametrize(
    "change",
    [
        {"prefix_len": 4},
        {"output_len": [4, 5]},
        {"input_len": None, "prompts": ["a"]},
        {"input_len": None, "prompts": [[1, 2]]},
        {"input_len": None, "prompts": [CHAT]},
        {"temperature": 0.7},
        {"temperature": 0.7, "sampling_seed": 1},
    ],
)
def test_another_work_has_another_hash_and_the_same_wire_form(change):
    workload = Workload(**{**BASE, **change})
    assert workload.hash != Workload(**BASE).hash
    assert Workload(**workload.to_wire()) == workload


def test_a_seed_is_another_work():
    one, other = (Workload(**BASE, temperature=1, sampling_seed=seed) for seed in (0, 1))
    assert one.hash != other.hash


def test_requests_of_a_batch_are_drawn_independently_and_alike_in_every_round():
    workload = Workload(output_len=4, prompts=["a"], batch_size=2, temperature=0.5, sampling_seed=3)
    first, second = workload.requests(0, bytes_of, 256)
    assert (first.temperature, second.temperature) == (0.5, 0.5)
    assert first.seed != second.seed
    assert workload.requests(1, bytes_of, 256) == [first, second]


def test_greedy_requests_have_no_seed():
    assert {(r.temperature, r.seed) for r in asked(output_len=4, input_len=4, batch_size=2)} == {
        (0.0, 0)
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"prompts": "ab"},
            "prompts must be a list of texts, token ids or chat messages, not 'ab'",
        ),
        ({"prompts": []}, "prompts must not be empty"),
        (
            {"prompts": [1, 2]},
            "prompts must be a list of prompts: one of this kind is prompts=[[1, 2, 3]]",
        ),
        (
            {"prompts": CHAT},
            "prompts must be a list of prompts: one of this kind is "
            "prompts=[[{'role': 'user', 'content': '...'}]]",
        ),
        (
            {"prompts": [[{"role": "user"}]]},
            "a message of a chat has the texts role and content only, not {'role': 'user'}",
        ),
        (
            {"prompts": ["a"], "output_len": [1, 2]},
            "output_len has 2 lengths for 1 prompts: give one",
        ),
        ({"prompts": ["a"], "output_len": []}, "output_len must not be empty"),
        ({"prompts": ["a"], "output_len": [0]}, "output_len must be a whole number of at least 1"),
        (
            {"prompts": ["a"], "temperature": -1},
            "temperature must be a number from 0 (greedy) to 100",
        ),
        ({"prompts": ["a"], "temperature": float("nan")}, "temperature must be a number from 0"),
        ({"prompts": ["a"], "prefix_len": 4}, "prefix_len= is a part of input_len=: give that"),
        (
            {"input_len": 4, "prefix_len": 4},
            "prefix_len must be less than input_len, which is 4, not 4",
        ),
        ({"prompts": ["a"], "temperature": True}, "temperature must be a number from 0 (greedy)"),
        (
            {"prompts": ["a"], "sampling_seed": 1},
            "seed= is that of sampling: give temperature=, too",
        ),
        (
            {"prompts": ["a"], "temperature": 1, "sampling_seed": -1},
            "seed must be a whole number of",
        ),
    ],
)
def test_what_is_no_prompt_length_or_sampling_is_one_line(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Workload(**{"output_len": 4, **given})


def test_prompts_with_a_prefix_share_it_in_all_rounds_and_nothing_else():
    workload = Workload(output_len=4, input_len=32, prefix_len=16, batch_size=2)
    requests = [r for n in (-1, 0) for r in workload.requests(n, no_tokenizer, 1000)]
    assert len({r.prompt_ids[:16] for r in requests}) == 1
    assert len({r.prompt_ids[16] for r in requests}) > 1
    assert {(len(r.prompt_ids), r.prefix_len) for r in requests} == {(32, 16)}
