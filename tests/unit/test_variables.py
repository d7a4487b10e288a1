"""Environment variables that change an engine's speed: recorded, named, and coverage kept out."""

import sys

from pytest_llmperf.gate.comparable import noted_differences
from pytest_llmperf.machine.variables import speed_variables
from pytest_llmperf.worker.client import ProcessWorker


def test_variables_of_all_engines_and_of_this_one_are_kept():
    environ = {
        "CUDA_LAUNCH_BLOCKING": "1",
        "VLLM_USE_V1": "0",
        "GGML_NUMA": "1",
        "HOME": "/home/me",
        "HF_TOKEN": "hf_1",
    }
    assert speed_variables(environ, ("VLLM_*",)) == {
        "CUDA_LAUNCH_BLOCKING": "1",
        "VLLM_USE_V1": "0",
    }


def test_secrets_are_masked_and_folders_left_out():
    environ = {
        "VLLM_API_KEY": "sk-1",
        "LD_PRELOAD": "/usr/lib/libjemalloc.so.2:/opt/me/libx.so",
        "VLLM_CACHE_ROOT": "/home/me/cache",
    }
    assert speed_variables(environ, ("VLLM_*",)) == {
        "LD_PRELOAD": "libjemalloc.so.2:libx.so",
        "VLLM_API_KEY": "***",
        "VLLM_CACHE_ROOT": "cache",
    }


def test_a_variable_that_differs_is_named(stored_test):
    before = stored_test(ttft=0.1, environment={"variables": {}})
    after = stored_test(ttft=0.1, environment={"variables": {"CUDA_LAUNCH_BLOCKING": "1"}})
    assert noted_differences(before, after) == ["CUDA_LAUNCH_BLOCKING: none / 1"]


def test_a_record_of_before_they_were_recorded_differs_in_none(stored_test):
    after = stored_test(ttft=0.1, environment={"variables": {"CUDA_LAUNCH_BLOCKING": "1"}})
    assert noted_differences(stored_test(ttft=0.1), after) == []


def test_coverage_does_not_start_in_the_engines_process(tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    python = tmp_path / "my python"
    python.write_text(
        f'#!/bin/sh\necho "start=${{COVERAGE_PROCESS_START-unset}}" >> {seen}\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    monkeypatch.setenv("COVERAGE_PROCESS_START", str(tmp_path / "none.toml"))
    ProcessWorker(str(python), tmp_path / "log").close()
    assert seen.read_text() == "start=unset\n"
