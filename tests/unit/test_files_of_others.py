"""What others have put into the storage folder costs itself only: one line, no wait, no traceback."""

import json
import os
import re
import resource
import shutil
from pathlib import Path

import pytest

from pytest_llmperf.cli.main import main
from pytest_llmperf.core.files import MOST_BYTES, read_regular
from pytest_llmperf.store.stored import StoredError, read_file, read_runs

EARLIER = Path(__file__).parents[1] / "data/simulated-7eb26ee.json"
ENTRY = {"name": "test_a", "fullname": "t.py::test_a", "extra_info": {}, "stats": {"data": [0.1]}}
DEEP = b"[" * 100_000


def too_large(path):
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)


ODD_FILES = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "dangling": lambda path: path.symlink_to("nothing"),
    "loop": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "large": too_large,
    "deep": lambda path: path.write_bytes(DEEP),
    "inside": lambda path: path.write_bytes(b'{"benchmarks": ' + DEEP),
    "digits": lambda path: path.write_bytes(b'{"benchmarks": [' + b"1" * 5000 + b"]}"),
    "binary": lambda path: path.write_bytes(b'{"benchmarks": ["\xff\xfe"]}'),
    "null": lambda path: path.write_bytes(b"null"),
    "nulls": lambda path: path.write_bytes(b'{"benchmarks": [null]}'),
}


@pytest.mark.parametrize("kind", ODD_FILES)
def test_an_odd_stored_file_is_refused_in_one_line(tmp_path, kind):
    odd = tmp_path / "odd.json"
    ODD_FILES[kind](odd)
    with pytest.raises(StoredError, match=f"^{re.escape(str(odd))}: ") as error:
        read_file(odd)
    assert "\n" not in str(error.value)
    runs, problems = read_runs([odd, EARLIER])
    assert (len(runs), problems) == (1, [str(error.value)])


@pytest.fixture
def odd_storage(storage, monkeypatch):
    """A storage with one run and every kind of odd file."""
    monkeypatch.chdir(storage.parent)
    folder = storage / "machine"
    folder.mkdir()
    shutil.copy(EARLIER, folder / "0001_abc.json")
    for kind, make in ODD_FILES.items():
        make(folder / f"0002_{kind}.json")
    return storage


@pytest.mark.parametrize("command", [["history"], ["tradeoff"], ["fit", "--size=16GiB"]])
def test_a_command_reads_the_run_beside_odd_files_and_names_each(odd_storage, command, capsys):
    main([*command, str(odd_storage)])
    written = capsys.readouterr()
    lines = (written.out + written.err).splitlines()
    left_out = [line for line in lines if line.startswith("left out: ")]
    for kind in ODD_FILES:
        assert sum(f"/0002_{kind}.json: " in line for line in left_out) == 1
    assert len(left_out) == len(ODD_FILES)


def test_a_report_is_made_of_the_files_that_can_be_read(odd_storage, capsys):
    assert main(["fit", str(odd_storage), "--size=16GiB"]) == 0
    assert "smollm2-135m on a GPU of 16,384 MiB" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["tradeoff"], ["fit", "--size=16GiB"]])
def test_a_name_that_means_only_what_cannot_be_read_is_an_error(tmp_path, command, capsys):
    odd = tmp_path / "odd.json"
    odd.write_text("null")
    assert main([*command, str(EARLIER), str(odd)]) == 3
    message = f"pytest-llmperf {command[0]}: {odd}: is not a file of pytest-benchmark\n"
    assert capsys.readouterr().err == message


def test_recover_names_odd_journals_and_stores_the_others(storage, leave_journal, capsys):
    good = leave_journal("good", [ENTRY])
    for kind, make in ODD_FILES.items():
        make(good.with_name(f"{kind}.jsonl"))
    assert main(["recover", "--storage", str(storage)]) == 3
    written = capsys.readouterr()
    assert written.out.startswith("recovered 1 entries: ")
    assert written.out.count("\n") == 1
    assert not good.exists()
    named = [line.partition(".jsonl: ")[0] for line in written.err.splitlines()]
    # What is not there is nobody's journal.
    expected = ODD_FILES.keys() - {"dangling", "loop"}
    assert sorted(named) == sorted(f"pytest-llmperf recover: {good.parent}/{k}" for k in expected)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the kernel does not say it")
def test_a_small_file_takes_little_memory(tmp_path):
    path = tmp_path / "small"
    path.write_text("small")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES // 2, limits[1]))
    try:
        assert read_regular(path) == b"small"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_file_that_does_not_fit_the_memory_is_an_error_of_its_own(tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    path = tmp_path / "large"
    path.write_text(json.dumps({}))
    monkeypatch.setattr(os, "fdopen", no_memory)
    with pytest.raises(OSError, match="there is no memory for it"):
        read_regular(path)
