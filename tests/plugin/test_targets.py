"""What a run will write to is checked before an engine loads: exit code 4 and one line."""

import importlib
import os
import stat

import pytest

from pytest_llmperf.core import folders

CELL = "smollm2-135m-simulated-none"
ORDINARY = "def test_ordinary(): pass"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The shared temporary folder of runs in this process."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def full_disk(monkeypatch):
    """Make a folder one that has no space left."""
    real = folders.check_writable

    def fill(full):
        def check(folder):
            if folder.is_relative_to(full):
                raise OSError(28, "No space left on device")
            real(folder)

        for module in ("session.targets", "session.logs", "core.files"):
            module = importlib.import_module(f"pytest_llmperf.{module}")
            monkeypatch.setattr(module, "check_writable", check)

    return fill


def error(run):
    """Return the only line on standard error."""
    (line,) = [line for line in run.errlines if line]
    return line.removeprefix("ERROR: ")


def refused(run):
    """Return the line of a run that ended before an engine was loaded."""
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert "passed" not in run.stdout.str()
    return error(run)


def test_a_json_file_in_a_missing_folder_is_refused(one_test, llm_pytest):
    run = llm_pytest("--benchmark-json=out/dir/run.json")
    assert refused(run) == (
        "--benchmark-json: out/dir/run.json cannot be written (there is no folder out/dir)"
    )


def test_a_json_file_that_is_a_folder_is_refused(pytester, one_test, llm_pytest):
    pytester.mkdir("out")
    run = llm_pytest("--benchmark-json=out")
    assert refused(run) == "--benchmark-json: out cannot be written (it is a folder)"


def test_a_json_file_on_a_full_disk_is_refused(pytester, one_test, llm_pytest, full_disk):
    full_disk(pytester.mkdir("full").relative_to(pytester.path))
    run = llm_pytest("--benchmark-json=full/run.json")
    assert refused(run) == (
        "--benchmark-json: full/run.json cannot be written (No space left on device)"
    )


@pytest.mark.parametrize("saving", ["--benchmark-autosave", "--benchmark-save=name"])
def test_a_storage_that_cannot_be_written_is_refused_where_it_is_to_be_written(
    pytester, one_test, llm_pytest, saving
):
    (pytester.path / "file").write_text("")
    run = llm_pytest(saving, "--benchmark-storage=file/storage")
    option = saving.partition("=")[0]
    line = refused(run)
    assert line.startswith(f"{option}: {pytester.path}/file/storage/")
    assert line.endswith(" cannot be written (Not a directory)")


def test_a_storage_that_cannot_be_written_is_a_note_where_nothing_is_saved(
    pytester, one_test, llm_pytest
):
    (pytester.path / ".benchmarks").write_text("")
    run = llm_pytest("-W", "error")
    assert run.ret == 0
    assert (
        "nothing is kept on disk before the run ends: "
        f"{pytester.path}/.benchmarks cannot be written" in run.outlines
    )


def test_a_named_cache_folder_that_cannot_be_written_is_refused(
    pytester, one_test, llm_pytest, monkeypatch
):
    (pytester.path / "file").write_text("")
    line = "--llm-cache-dir: file/cache cannot be written (Not a directory)"
    assert refused(llm_pytest("--llm-cache-dir=file/cache")) == line
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", "file/cache")
    assert refused(llm_pytest()) == line


def test_a_cache_folder_on_a_full_disk_is_refused(pytester, one_test, llm_pytest, full_disk):
    cache = pytester.path / "full"
    full_disk(cache)
    run = llm_pytest(f"--llm-cache-dir={cache}")
    assert refused(run) == f"--llm-cache-dir: {cache} cannot be written (No space left on device)"


def test_without_a_usable_default_the_cache_is_temporary_and_the_run_says_so(
    pytester, one_test, llm_pytest, temporary, monkeypatch
):
    (pytester.path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "file"))
    run = llm_pytest()
    assert run.ret == 0
    cache = temporary / f"pytest-llmperf-{os.geteuid()}" / "cache"
    assert (
        f"cache: {cache}, because {pytester.path}/file/pytest-llmperf cannot be written"
        in run.outlines
    )
    assert cache.is_dir()


def test_the_accepted_changes_have_to_be_writable(pytester, one_test, llm_pytest):
    assert llm_pytest("--benchmark-autosave").ret == 0
    pytester.mkdir("llmperf-accepted.json")
    run = llm_pytest("--benchmark-autosave", "--llm-gate=history", "--llm-accept=wanted")
    assert "llmperf-accepted.json" in refused(run)


def test_logs_are_temporary_where_pytests_cache_cannot_be_written(
    pytester, one_test, llm_pytest, temporary
):
    (pytester.path / ".pytest_cache").write_text("")
    run = llm_pytest(nosuch=1)
    run.assert_outcomes(errors=1)
    (log,) = temporary.glob(f"pytest-llmperf-{os.geteuid()}/llmperf-logs/*/{CELL}.log")
    assert f"log: {log}" in run.stdout.str()
    assert stat.S_IMODE((temporary / f"pytest-llmperf-{os.geteuid()}").stat().st_mode) == 0o700


def test_a_run_without_any_folder_for_logs_is_refused(
    pytester, one_test, llm_pytest, temporary, full_disk
):
    full_disk(pytester.path)
    full_disk(temporary.parent)
    run = llm_pytest("-p", "no:cacheprovider")
    assert refused(run) == (
        "the folder for engines' logs cannot be written (No space left on device)"
    )


@pytest.mark.parametrize("options", [(), ("--collect-only",), ("-k", "ordinary")])
def test_nothing_is_checked_or_created_where_no_test_of_ours_runs(
    pytester, llm_pytest, temporary, monkeypatch, options
):
    tests = ORDINARY if not options else f"{ORDINARY}\ndef test_x(llm): pass"
    pytester.makepyfile(tests)
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(pytester.path / "cache"))
    run = llm_pytest("--benchmark-json=out/dir/run.json", *options)
    assert run.ret == 0
    assert list(temporary.iterdir()) == []
    assert not (pytester.path / "cache").exists()
    assert not (pytester.path / ".pytest_cache/d").exists()


def test_a_folder_of_ours_in_the_checkout_is_left_out_by_git(pytester, one_test, llm_pytest):
    assert llm_pytest("--llm-cache-dir=cache").ret == 0
    for folder in ("cache", ".pytest_cache/d/llmperf-logs"):
        assert "*" in (pytester.path / folder / ".gitignore").read_text().splitlines()


def test_a_folder_that_exists_is_left_as_it_is(pytester, one_test, llm_pytest):
    pytester.mkdir("cache")
    assert llm_pytest("--llm-cache-dir=cache").ret == 0
    assert not (pytester.path / "cache/.gitignore").exists()


def test_every_start_of_an_engine_is_marked_in_its_log(pytester, one_test, llm_pytest):
    for _ in range(2):
        assert llm_pytest().ret == 0
    log = pytester.path / f".pytest_cache/d/llmperf-logs/{CELL}.log"
    marks = [line for line in log.read_text().splitlines() if line.startswith("--- ")]
    assert len(marks) == 2
    assert f"pytest's process {os.getpid()}: {CELL} ---" in marks[0]


def test_a_large_log_begins_anew(pytester, one_test, llm_pytest):
    assert llm_pytest().ret == 0
    log = pytester.path / f".pytest_cache/d/llmperf-logs/{CELL}.log"
    log.write_bytes(b"x" * (1024 * 1024 + 1))
    assert llm_pytest().ret == 0
    assert log.stat().st_size < 10_000
    assert log.with_name(f"{log.name}.1").stat().st_size == 1024 * 1024 + 1
