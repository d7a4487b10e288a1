import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmperf.core.models import parse_model
from pytest_llmperf.core.workload import Workload
from pytest_llmperf.gate.limits import CONCURRENT_TTFT_MIN_EFFECT, MIN_EFFECT, MUST_SEE
from pytest_llmperf.session.option import rows
from pytest_llmperf.session.options import (
    OPTIONS,
    GateSettings,
    Settings,
    add_options,
    default_cache_dir,
)
from pytest_llmperf.session.rounds import Asked, rounds_of

ROOT = Path(__file__).parents[2]
BY_NAME = {option.name: option for option in OPTIONS}


class Config:
    """A command line and an ini file that give some options."""

    def __init__(self, line=None, ini=None):
        self.line, self.ini = line or {}, ini or {}
        self.inipath, self.rootpath = None, Path()
        self.invocation_params = SimpleNamespace(args=())

    def getoption(self, name):
        return self.line.get(name)

    def getini(self, name):
        return self.ini.get(name)


class Parser:
    """Notes what is declared to pytest."""

    def __init__(self):
        self.options, self.twins = {}, {}

    def getgroup(self, name, description):
        return self

    def addoption(self, flag, **declared):
        self.options[flag] = declared

    def addini(self, name, help, type, default=None):
        self.twins[name] = type


@pytest.fixture
def declared():
    parser = Parser()
    add_options(parser)
    return parser


@pytest.fixture
def no_home(monkeypatch):
    """A user whom the machine does not know, and no $HOME."""

    def unknown(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "PYTEST_LLMPERF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.parametrize(
    ("settings", "other"), [(Settings, {"gate", "given", "typed"}), (GateSettings, set())]
)
def test_every_field_of_the_settings_is_the_row_of_an_option(settings, other):
    without = {field.name for field in fields(settings)} - set(rows(settings)) - other
    assert not without, f"fields of {settings.__name__} that no option sets: {without}"


def test_no_two_rows_have_the_same_name():
    assert len(BY_NAME) == len(OPTIONS)


def test_every_row_is_an_option_and_an_ini_twin(declared):
    assert set(declared.options) == {f"--{name}" for name in BY_NAME}
    assert set(declared.twins) == {name.replace("-", "_") for name in BY_NAME}


@pytest.mark.parametrize("name", BY_NAME)
def test_help_states_a_default_once(declared, name):
    text = declared.options[f"--{name}"]["help"]
    assert text.count("default") == (1 if BY_NAME[name].default_text else 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llm-timeout", "900"),
        ("llm-metrics", "ttft,tpot,e2e,output_throughput,peak_memory"),
        ("llm-device", "auto"),
        ("llm-require", "off"),
        ("llm-fit", ""),
        ("llm-fail-if", ""),
    ],
)
def test_a_default_is_put_into_words(name, text):
    assert BY_NAME[name].default_text == text


def test_words_of_defaults_that_apply_elsewhere_are_true(unsaid):
    workload = Workload(output_len=1, input_len=1)
    number, need = rounds_of(unsaid, Asked(), Asked())
    assert BY_NAME["llm-precision"].default_text == f"the test's own, or {need.precision:.0%}"
    assert BY_NAME["llm-min-rounds"].default_text == f"the test's own, or {number}"
    on_cpu, on_gpu = (
        rounds_of(replace(unsaid, device=device), Asked(), Asked())[1].max_time
        for device in ("cpu", "cuda")
    )
    assert BY_NAME["llm-max-time"].default_text == (
        f"the test's own, or {on_cpu:g} on a CPU and {on_gpu:g} on a GPU"
    )
    assert BY_NAME["llm-warmup"].default_text == f"the test's own, or {workload.warmup}"
    model = BY_NAME["llm-model"].default_text
    assert unsaid.default_models == (parse_model(model),)
    assert BY_NAME["llm-min-effect"].default_text == (
        f"{MIN_EFFECT:.0%}; {CONCURRENT_TTFT_MIN_EFFECT:.0%} for ttft of batches"
    )
    assert BY_NAME["llm-must-see"].default_text == (
        f"{MUST_SEE['pairs']:.0%}; {MUST_SEE['history']:.0%} against a history"
    )


def test_a_percent_sign_of_a_row_is_escaped_for_argparse(declared):
    assert "3%%, or METRIC:5%%" in declared.options["--llm-min-effect"]["help"]


def test_without_options_every_setting_is_its_default():
    settings = Settings.from_config(Config())
    assert settings.given == ()
    assert (settings.models, settings.rounds, settings.fail_if) == (None, None, ())
    assert (settings.dtype, settings.timeout, settings.require) == ("auto", 900.0, False)
    assert (settings.backend_args, settings.pythons, settings.gate.limits) == ({}, {}, {})


def test_the_command_line_replaces_the_ini_file_and_is_noted_as_given():
    ini = {"llm_batch_size": ["1", "2"], "llm_rounds": "3", "llm_gate_branch": "main"}
    settings = Settings.from_config(Config({"llm_batch_size": ["4,8", "4"]}, ini))
    assert settings.batch_size == (4, 8)
    assert settings.rounds == 3
    assert settings.gate.branch == "main"
    assert settings.given == ("--llm-batch-size=4,8", "--llm-batch-size=4")


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["1", "true"], True), (["true", "1"], 1), (["a", "b", "a"], "a"), (["0", "false"], False)],
)
def test_the_last_value_of_an_engine_argument_counts(values, expected):
    line = {"llm_backend_arg": [f"simulated.key={value}" for value in values]}
    value = Settings.from_config(Config(line)).args_of("simulated")["key"]
    assert value == expected
    assert type(value) is type(expected)


def test_the_last_limit_of_a_metric_counts():
    line = {"llm_min_effect": ["3%,ttft:4%", "5%", "3%"], "llm_must_see": ["ttft:9%"]}
    limits = Settings.from_config(Config(line)).gate.limits
    assert limits == {"min_effect": {"*": 0.03, "ttft": 0.04}, "must_see": {"ttft": 0.09}}


def test_the_cache_folder_is_the_users(monkeypatch):
    for name in ("XDG_CACHE_HOME", "PYTEST_LLMPERF_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/some")
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_cache_dir() == Path("/home/some/.cache/pytest-llmperf")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_cache_dir() == Path("/home/some/Library/Caches/pytest-llmperf")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/pytest-llmperf")
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", "/own")
    assert default_cache_dir() == Path("/own")


def test_a_run_needs_no_home_folder_and_creates_no_cache_folder(no_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_config(Config())
    assert settings.cache_dir == Path(".pytest_cache/d/pytest-llmperf")
    assert not list(tmp_path.iterdir())
