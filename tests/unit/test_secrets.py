"""Secrets are found by their names and masked."""

import pytest

from pytest_llmperf.core.secrets import is_secret, masked, masked_arguments, without_secrets


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "hf_token",
        "HF_TOKEN",
        "hfToken",
        "use_auth_token",
        "key",
        "api_key",
        "api-key",
        "apiKey",
        "vllm.api_key",
        "password",
        "db_password_2",
        "client_secret",
        "aws_secret_access_key",
        "aws_access_key_id",
        "credentials",
        "Authorization",
    ],
)
def test_a_name_says_that_its_value_is_a_secret(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "tokenizer",
        "tokenizer_mode",
        "max_tokens",
        "max_num_batched_tokens",
        "eos_token_id",
        "eos_token",
        "pad_token",
        "skip_special_tokens",
        "num_key_value_heads",
        "kv_cache_dtype",
        "monkey",
        "author",
        "tpot",
    ],
)
def test_a_name_of_something_else_is_left(name):
    assert not is_secret(name)


def test_values_are_masked_at_any_depth():
    args = {
        "hf_token": "A",
        "password": 1234,
        "use_auth_token": True,
        "token": None,
        "loader": {"api_key": "B", "format": "x", "list": [{"secret": {"value": "C"}}]},
        "url": "https://user:D@host/path",
        "max_tokens": 8,
    }
    assert masked(args) == {
        "hf_token": "***",
        "password": "***",
        "use_auth_token": True,
        "token": None,
        "loader": {"api_key": "***", "format": "x", "list": [{"secret": {"value": "***"}}]},
        "url": "https://***@host/path",
        "max_tokens": 8,
    }


def test_what_is_compared_has_no_secrets():
    args = {"hf_token": "A", "loader": {"api_key": "B", "format": "x"}, "trust_token": True}
    assert without_secrets(args) == {"loader": {"format": "x"}, "trust_token": True}
    assert without_secrets({"hf_token": "***"}) == {}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--llm-backend-arg=vllm.hf_token=A", "--llm-backend-arg=vllm.hf_token=***"),
        ("vllm.hf_token=A=B", "vllm.hf_token=***"),
        ("vllm@next.api_key=A", "vllm@next.api_key=***"),
        ("--api-key=A", "--api-key=***"),
        ("--llm-backend-arg=vllm.token=true", "--llm-backend-arg=vllm.token=true"),
        ('vllm.extra={"token": "A", "n": 1}', 'vllm.extra={"token": "***", "n": 1}'),
        ('vllm.extra={"n":1}', 'vllm.extra={"n":1}'),
        ("--index=https://user:A@host", "--index=https://***@host"),
        ("--llm-backend-arg=simulated.tpot=0.01", "--llm-backend-arg=simulated.tpot=0.01"),
        ("benchmarks/test_m.py::test_x[a=b]", "benchmarks/test_m.py::test_x[a=b]"),
    ],
)
def test_an_argument_is_masked(argument, expected):
    assert masked_arguments([argument]) == (expected,)


def test_the_value_after_an_option_is_masked():
    arguments = ["--api-key", "A", "-q", "--api-key", "-x", "test_m.py"]
    assert masked_arguments(arguments) == ("--api-key", "***", "-q", "--api-key", "-x", "test_m.py")


@pytest.mark.parametrize("name", ["ttft_per_input_token", "bytes_per_token", "key"])
def test_a_number_under_a_name_of_two_meanings_is_not_a_secret(name):
    assert masked({name: 0.001}) == {name: 0.001}
    assert without_secrets({name: 0.001}) == {name: 0.001}
    assert masked_arguments([f"--x=engine.{name}=0.001"]) == (f"--x=engine.{name}=0.001",)
