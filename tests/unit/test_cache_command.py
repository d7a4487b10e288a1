"""``pytest-llmperf cache``: what is kept besides stored runs."""

import os
import time

import pytest

from pytest_llmperf.cli.main import main

DAY = 24 * 3600.0
DIGEST = "0123456789ab"
ENTRIES = {
    "models": f"cache/models/a-bf16-{DIGEST}/model.safetensors",
    "compute-types": "cache/compute-types/ctranslate2-0123456789abcdef.txt",
    "references": f"cache/references/a-{DIGEST}/0.npy",
    "ceilings": "cache/ceilings/0123456789abcdef.json",
    "logs": "project/.pytest_cache/d/llmperf-logs/a-simulated-none.log",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine with one entry of each kind, of 2,000 bytes."""
    for path in ENTRIES.values():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(bytes(2000))
    (tmp_path / "project/pytest.ini").write_text("[pytest]\n")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


@pytest.fixture
def run(place, capsys):
    """Run the command; give its exit code and lines."""

    def command(*arguments):
        code = main(["cache", *arguments])
        written = capsys.readouterr()
        return code, (written.out + written.err).splitlines()

    return command


def left(place):
    return {kind for kind, path in ENTRIES.items() if (place / path).exists()}


def age(path, days):
    """Make a file or folder old."""
    then = time.time() - days * DAY
    for part in [path, *path.rglob("*")]:
        os.utime(part, (then, then))


def test_it_says_where_everything_lies_and_how_large_it_is(run, place):
    code, lines = run()
    assert code == 0
    assert lines == [
        "kind          entries       size  folder",
        f"models              1    2.0 KiB  {place}/cache/models",
        f"compute-types       1    2.0 KiB  {place}/cache/compute-types",
        f"references          1    2.0 KiB  {place}/cache/references",
        f"ceilings            1    2.0 KiB  {place}/cache/ceilings",
        f"logs                1    2.0 KiB  {place}/project/.pytest_cache/d/llmperf-logs",
        "total               5    9.8 KiB",
    ]


def test_a_machine_without_anything(run, place, monkeypatch):
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(place / "nothing"))
    code, lines = run()
    assert code == 0
    assert f"models              0        0 B  {place}/nothing/models" in lines
    assert not (place / "nothing").exists()


def test_all_is_cleared(run, place):
    assert run("--clear") == (0, ["removed 5 entries, 9.8 KiB"])
    assert left(place) == set()


def test_one_kind_is_cleared(run, place):
    assert run("--clear", "models", "logs") == (0, ["removed 2 entries, 3.9 KiB"])
    assert left(place) == {"compute-types", "references", "ceilings"}


def test_what_was_used_lately_stays(run, place):
    age(place / "cache/models", 40)
    assert run("--clear", "--older-than=30d") == (0, ["removed 1 entry, 2.0 KiB"])
    assert left(place) == set(ENTRIES) - {"models"}


def test_what_is_not_of_this_package_is_neither_counted_nor_removed(run, place):
    foreign = place / "cache/models/my-own-checkpoint"
    foreign.mkdir()
    (foreign / "model.safetensors").write_bytes(bytes(2000))
    assert run("--clear", "models") == (0, ["removed 1 entry, 2.0 KiB"])
    assert (foreign / "model.safetensors").is_file()


def test_a_link_is_removed_and_not_what_it_leads_to(run, place):
    kept = place / "kept"
    kept.mkdir()
    (kept / "file").write_text("")
    (place / f"cache/models/b-{DIGEST}").symlink_to(kept)
    run("--clear", "models")
    assert (kept / "file").is_file()
    assert not (place / f"cache/models/b-{DIGEST}").is_symlink()


def test_what_a_run_may_be_making_is_left_alone(run, place):
    part = place / f"cache/models/.b-{DIGEST}-abcdefgh"
    part.mkdir()
    code, lines = run("--clear", "models")
    assert (code, lines[0]) == (0, f"left alone, a run may be making it: {part}")
    age(part, 1)
    assert run("--clear", "models") == (0, ["removed 1 entry, 0 B"])


def test_temporary_logs_are_found_and_their_folders_removed(run, place):
    folders = [
        place / f"temporary/pytest-llmperf-{os.geteuid()}/llmperf-logs/project-01234567",
        place / "temporary/pytest-llmperf-logs-4711",
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "a.log").write_text("text")
        (folder / "README.md").write_text("text")
    _, lines = run()
    assert [line.split()[-1] for line in lines if line.startswith("logs")] == [
        f"{place}/project/.pytest_cache/d/llmperf-logs",
        f"{place}/temporary/pytest-llmperf-{os.geteuid()}/llmperf-logs/*",
        f"{place}/temporary/pytest-llmperf-logs-*",
    ]
    assert run("--clear", "logs")[0] == 0
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize(
    "ini",
    [
        "[pytest]\nllm_cache_dir = ../other\n",
        "[pytest]\nllm_cache_dir = $OTHER\n",
        "[pytest]\naddopts = --llm-cache-dir=../other\n",
    ],
)
def test_the_cache_folder_is_that_of_the_project(run, place, monkeypatch, ini):
    monkeypatch.setenv("OTHER", "../other")
    (place / "project/pytest.ini").write_text(ini)
    _, lines = run()
    folders = {os.path.normpath(line.split()[-1]) for line in lines if line.startswith("models")}
    assert folders == {f"{place}/other/models"}


def test_a_cache_folder_that_cannot_be_is_one_line(run, place):
    (place / "project/pytest.ini").write_text("[pytest]\nllm_cache_dir = $NO_SUCH_VARIABLE\n")
    assert run() == (
        3,
        [
            "pytest-llmperf cache: '$NO_SUCH_VARIABLE': $NO_SUCH_VARIABLE is not set (write $$ for a "
            "dollar sign)"
        ],
    )


@pytest.mark.parametrize("given", ["soon", "30", "-1d", "9999999d", ""])
def test_an_age_that_is_none_is_refused(run, given):
    code, lines = run("--clear", f"--older-than={given}")
    assert code == 3
    assert f"{given!r} is not a duration such as 30d, 12h or 90min" in lines[-1]


def test_an_unknown_kind_is_refused(run, place):
    code, _ = run("--clear", "everything")
    assert code == 3
    assert left(place) == set(ENTRIES)


def test_what_cannot_be_removed_is_said(run, place, monkeypatch):
    def refuse(entry):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pytest_llmperf.cli.cache.remove", refuse)
    code, lines = run("--clear", "ceilings")
    assert code == 3
    assert (
        f"pytest-llmperf cache: {place}/{ENTRIES['ceilings']} cannot be removed (Permission denied)"
        in lines
    )
