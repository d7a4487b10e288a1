"""What commands read in a project's ini file."""

from pathlib import Path

import pytest

from pytest_llmperf.cli.main import main
from pytest_llmperf.store.project import Project, default_storage, storage_folder

OPTION = "--benchmark-storage"
INI = {
    "pytest.ini": "[pytest]\naddopts = -q\n    --benchmark-storage=runs\n",
    ".pytest.ini": "[pytest]\naddopts = --benchmark-storage runs\n",
    "tox.ini": "[tox]\n[pytest]\naddopts = --benchmark-storage='runs'\n",
    "setup.cfg": "[tool:pytest]\naddopts = --benchmark-storage=runs\n",
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--benchmark-storage=runs'\n",
    "pytest.toml": "[pytest]\naddopts = ['--benchmark-storage=runs']\n",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, below which nothing is a project yet."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (tmp_path / "pytest.ini").write_text("")  # The end of the search.
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.parametrize("name", INI)
def test_the_storage_of_addopts_is_the_default(folder, name, monkeypatch):
    (folder / name).write_text(INI[name])
    assert default_storage() == Path("runs")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert Project.of(Path.cwd()).root == folder


def test_without_any_it_is_that_of_pytest_benchmark():
    assert default_storage() == Path(".benchmarks")


def test_the_environment_comes_last(folder, monkeypatch):
    (folder / "pytest.ini").write_text(INI["pytest.ini"])
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-storage=file://others")
    assert default_storage() == Path("others")


def test_the_first_file_counts(folder):
    (folder / "setup.cfg").write_text("[tool:pytest]\naddopts = --benchmark-storage=other\n")
    (folder / "pyproject.toml").write_text(INI["pyproject.toml"])
    assert default_storage() == Path("runs")


@pytest.mark.parametrize(
    "text",
    ["", "[", "[pytest]\naddopts = 'unclosed\n", "addopts = [1]\n", "\xff", "[pytest]\naddopts\n"],
)
@pytest.mark.parametrize("name", INI)
def test_a_file_that_cannot_be_read_says_nothing(folder, name, text):
    (folder / name).write_bytes(text.encode("latin-1"))
    assert default_storage() == Path(".benchmarks")


@pytest.mark.parametrize("text", ["runs", "file://runs"])
def test_a_storage_is_a_path_or_a_uri(text):
    assert storage_folder(text) == Path("runs")


def test_an_absolute_uri():
    assert storage_folder("file:///a/runs") == Path("/a/runs")


def test_a_storage_that_is_no_folder_is_an_error(capsys):
    assert main(["recover", "--storage=elasticsearch+https://host/index"]) == 3
    assert "'elasticsearch+https://host/index' is not a folder" in capsys.readouterr().err


def test_a_storage_elsewhere_leaves_the_default(folder):
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = --benchmark-storage=elasticsearch+https://host/index\n"
    )
    assert default_storage() == Path(".benchmarks")


@pytest.mark.parametrize("given", [["--storage=file://runs"], []])
def test_commands_look_there(folder, capsys, given):
    (folder / "pytest.ini").write_text(INI["pytest.ini"])
    (folder / "runs").mkdir()
    assert main(["recover", *given]) == 0
    assert capsys.readouterr().out == "nothing to recover in runs\n"
