import fcntl
import json
import os
import signal

import pytest

from pytest_llmperf import __version__
from pytest_llmperf.cli.main import main

ENTRY = {"name": "test_a", "stats": {"data": [0.1]}}


@pytest.fixture
def recover(storage, capsys):
    """Runs ``pytest-llmperf recover``; gives its exit code and what it wrote."""

    def run():
        code = main(["recover", "--storage", str(storage)])
        written = capsys.readouterr()
        return code, written.out, written.err

    return run


def test_an_interrupted_run_is_stored(recover, storage, leave_journal):
    path = leave_journal("ffff", [ENTRY, ENTRY])
    code, out, err = recover()
    target = storage / "Linux-CPython-3.11-64bit" / "0001_abc123_recovered-ffff.json"
    assert (code, out, err) == (0, f"recovered 2 entries: {target}\n", "")
    assert json.loads(target.read_text())["benchmarks"] == [ENTRY, ENTRY]
    assert not path.exists()


def test_a_journal_with_damaged_lines_is_kept_beside_the_others(recover, leave_journal):
    path = leave_journal("ffff", [ENTRY, {"name": 3}])
    kept, before = path.with_name("ffff.damaged"), path.read_bytes()
    code, out, err = recover()
    assert (code, err) == (0, "")
    assert out.startswith("recovered 1 entries (1 damaged line left out): ")
    assert out.endswith(f"; they are kept in {kept}\n")
    assert kept.read_bytes() == before
    assert recover()[1].startswith("nothing to recover")


def test_a_journal_of_damaged_lines_only_is_an_error_and_stays(recover, storage, leave_journal):
    path = leave_journal("ffff", [{"name": 3}])
    message = f"pytest-llmperf recover: {path}: holds no entry that can be read\n"
    assert recover() == (3, "", message)
    assert path.is_file()
    assert list(storage.glob("*/*.json")) == []


def test_a_journal_without_a_measurement_is_removed(recover, storage, leave_journal):
    path = leave_journal("ffff", [])
    assert recover() == (0, f"{path}: its run had not measured anything; removed\n", "")
    assert list(storage.iterdir()) == []


def test_a_journal_that_another_process_stores_is_left_alone(recover, leave_journal):
    path = leave_journal("ffff", [ENTRY])
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert recover() == (0, f"{path}: another process stores it just now\n", "")
    assert recover()[1].startswith("recovered 1 entries: ")


def test_a_journal_that_cannot_be_stored_is_an_error_and_stays(recover, storage, leave_journal):
    path = leave_journal("ffff", [ENTRY])
    (storage / "Linux-CPython-3.11-64bit").touch()
    code, out, err = recover()
    assert (code, out) == (3, "")
    assert err.startswith(f"pytest-llmperf recover: {path}: cannot be stored ([Errno 17] ")
    assert path.is_file()


def test_a_second_time_there_is_nothing_to_recover(recover, storage, leave_journal):
    leave_journal("ffff", [ENTRY])
    recover()
    assert recover() == (0, f"nothing to recover in {storage}\n", "")


def test_a_run_that_is_going_on_is_left_alone(recover, leave_journal):
    path = leave_journal("ffff", [ENTRY], pid=os.getpid())
    message = f"{path}: the run is still going on (process {os.getpid()}); left alone\n"
    assert recover() == (0, message, "")
    assert path.is_file()


def test_a_broken_journal_is_an_error_and_stays(recover, leave_journal):
    path = leave_journal("ffff", [])
    path.write_text("{}\n")
    code, out, err = recover()
    assert (code, out) == (3, "")
    assert err == f"pytest-llmperf recover: {path}: not a journal of pytest-llmperf\n"
    assert path.is_file()


def test_a_broken_journal_does_not_keep_others_from_being_stored(recover, storage, leave_journal):
    broken, good = leave_journal("aaaa", []), leave_journal("bbbb", [ENTRY])
    broken.write_text("{}\n")
    os.utime(broken, (1, 1))
    code, out, err = recover()
    assert code == 3
    assert "aaaa" in err
    assert out.startswith("recovered 1 entries: ")
    assert not good.exists()


def test_a_storage_that_is_no_folder_is_an_error(tmp_path, capsys):
    path = tmp_path / "none"
    assert main(["recover", "--storage", str(path)]) == 3
    assert capsys.readouterr().err == f"pytest-llmperf recover: {path} is not a folder\n"


def test_the_storage_is_pytest_benchmarks_own_by_default(storage, capsys, monkeypatch):
    monkeypatch.chdir(storage.parent)
    assert main(["recover"]) == 0
    assert capsys.readouterr().out == "nothing to recover in .benchmarks\n"


@pytest.mark.parametrize("arguments", [[], ["destroy"], ["recover", "--force"]])
def test_a_command_line_that_means_nothing_is_a_usage_error(arguments, capsys):
    assert main(arguments) == 3
    assert "usage: pytest-llmperf" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pytest-llmperf {__version__}\n"


def test_help_is_no_error(capsys):
    assert main(["--help"]) == 0
    assert "recover" in capsys.readouterr().out


def test_ctrl_c_anywhere_in_a_command_is_one_line(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_llmperf.cli.history.run", interrupted)
    assert main(["history"]) == 130
    assert capsys.readouterr().err == "pytest-llmperf history: interrupted\n"


def test_ctrl_c_is_one_line_where_a_library_makes_another_error_of_it(monkeypatch, capsys):
    # A module in C, say, that imports another one: "ImportError: initialization failed".
    def importing(options):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("pytest_llmperf.cli.history.run", importing)
    assert main(["history"]) == 130
    assert capsys.readouterr().err == "pytest-llmperf history: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is before
