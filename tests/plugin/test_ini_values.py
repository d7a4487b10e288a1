"""Paths and environment variables in the ini file."""

import sys

import pytest


@pytest.fixture
def project(pytester, model_folder):
    """A project whose tests lie below its ini file; a model lies beside it."""
    model_folder("acme")
    folder = pytester.mkdir("project")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_x.py").write_text("def test_x(llm): pass\n")
    return folder


def ids(run):
    return [line.rpartition("[")[2].rstrip("]") for line in run.outlines if "::" in line]


@pytest.mark.parametrize("place", [".", "tests"])
@pytest.mark.parametrize("value", ["own=../acme", "own=$LLMPERF_MODELS/acme", "own=${N}/acme"])
def test_a_path_in_the_ini_file_begins_at_its_folder(
    pytester, project, llm_pytest, monkeypatch, place, value
):
    monkeypatch.setenv("LLMPERF_MODELS", str(pytester.path))
    monkeypatch.setenv("N", "..")
    (project / "pytest.ini").write_text(f"[pytest]\nllm_model = {value}\n")
    monkeypatch.chdir(project / place)
    run = llm_pytest("--collect-only", "-q")
    assert run.ret == 0
    assert ids(run) == ["own-simulated-none"]


def test_a_home_folder_in_the_ini_file(pytester, project, llm_pytest, monkeypatch):
    monkeypatch.setenv("HOME", str(pytester.path))
    (project / "pytest.ini").write_text("[pytest]\nllm_model = own=~/acme\n")
    monkeypatch.chdir(project)
    assert ids(llm_pytest("--collect-only", "-q")) == ["own-simulated-none"]


def test_every_path_of_the_ini_file_begins_at_its_folder(project, llm_pytest, monkeypatch):
    (project / "python").symlink_to(sys.executable)
    (project / "ids").write_text("test_x.py::test_x[smollm2-135m-simulated-none]\n")
    (project / "pytest.ini").write_text(
        "[pytest]\nllm_python = simulated=./python\nllm_cache_dir = cache\nllm_tests_from = ids\n"
        "llm_backend_arg = simulated.ttft=0.01\n"
    )
    monkeypatch.chdir(project / "tests")
    run = llm_pytest("-q", "--rootdir=.")
    assert run.ret == 0
    assert (project / "cache").is_dir()


def test_a_path_of_the_command_line_begins_here(pytester, project, llm_pytest, monkeypatch):
    (project / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(project / "tests")
    run = llm_pytest("--llm-model=own=../../acme", "--collect-only", "-q")
    assert ids(run) == ["own-simulated-none"]
