"""What an engine has made goes with it, whoever ends it: processes, shared memory, temporary files."""

import json
import os
import sys
from multiprocessing import shared_memory
from pathlib import Path

import pytest

from pytest_llmperf.core.errors import EngineDied, EngineTimeout
from pytest_llmperf.worker import client, scratch
from pytest_llmperf.worker.client import ProcessWorker

CELL = "smollm2-135m-tiny-none"
MAKES = """
    def load(self, spec):
        pids = [
            subprocess.Popen(["sleep", "60"]).pid,
            subprocess.Popen(["sleep", "60"], start_new_session=True).pid,
        ]
        pids.append(forked(lambda: os.setpgid(0, 0)))
        pids.append(forked(os.setsid))
        # Nothing in it names the worker, and it has left the group.
        pids.append(subprocess.Popen(["sleep", "60"], env={}, process_group=0).pid)
        segment = shared_memory.SharedMemory(create=True, size=4096)
        self.segment = segment
        folder = tempfile.mkdtemp()
        Path(folder, "half-made").write_text("x")
        made = {"pids": pids, "segment": "/dev/shm/" + segment.name, "folder": folder}
        Path("made.json").write_text(json.dumps(made))
        return self.plain_load(spec)


def forked(leave):
    pid = os.fork()
    if pid == 0:
        leave()
        time.sleep(60)
        os._exit(0)
    return pid
"""
IMPORTS = """
import json, os, signal, subprocess, tempfile
from multiprocessing import shared_memory
from pathlib import Path
"""
ENDS = {
    "close": "",
    "killed engine": "os.kill(llm.engine().pid, signal.SIGKILL); time.sleep(0.2)",
    "killed pytest": "os.kill(os.getpid(), signal.SIGKILL)",
    "exited pytest": "os._exit(3)",
    "Ctrl-C": "raise KeyboardInterrupt",
}


def engine(body):
    """The source of the tiny engine with a load, or another method, of its own."""
    source = (Path(__file__).parent / "tiny_engine.py").read_text()
    for method in ("load", "generate"):
        if f"def {method}(" in body:
            source = source.replace(f"def {method}(", f"def plain_{method}(")
    return IMPORTS + source + body


@pytest.mark.parametrize("end", ENDS)
def test_nothing_stays(pytester, package, wait_until, wait_until_gone, end):
    package(source=engine(MAKES))
    pytester.makepyfile(f"""
        import os, signal, time

        def test_x(llm):
            {ENDS[end] or "pass"}
    """)
    pytester.runpytest_subprocess("--llm-backend=tiny")
    made = json.loads((pytester.path / "made.json").read_text())
    for pid in made["pids"]:
        wait_until_gone(pid)
    for key in ("segment", "folder"):
        wait_until(lambda key=key: not Path(made[key]).exists(), f"the end of the {key}")


def test_files_that_an_engine_only_maps_stay(pytester, package):
    kept = Path(f"/dev/shm/llmperf-test-{os.getpid()}")
    segment = shared_memory.SharedMemory(create=True, size=4096)
    package(
        source=engine(f"""
    def load(self, spec):
        import mmap
        self.maps = []
        for name in ({str(kept)!r}, {"/dev/shm/" + segment.name!r}):
            with open(name, "r+b") as file:
                self.maps.append(mmap.mmap(file.fileno(), 4096))
        return self.plain_load(spec)
""")
    )
    pytester.makepyfile("def test_x(llm): pass")
    try:
        kept.write_bytes(bytes(4096))
        pytester.runpytest_subprocess("--llm-backend=tiny").assert_outcomes(passed=1)
        assert kept.exists()
        assert Path("/dev/shm", segment.name).exists()
    finally:
        kept.unlink()
        segment.close()
        segment.unlink()


CHILD = """
    def load(self, spec):
        self.child = subprocess.Popen(["sleep", "60"])
        Path("child.pid").write_text(str(self.child.pid))
        return self.plain_load(spec)
"""
DIES = """
    def generate(self, requests):
        if len(requests[0].prompt_ids) == 40:
            {act}
        return self.plain_generate(requests)
"""
TWO_LENGTHS = """
    import pytest

    @pytest.mark.parametrize("length", [40, 39])
    def test_x(llm, llm_benchmark, length):
        llm_benchmark(llm, input_len=length, output_len=4, rounds=1, warmup=0)
"""


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (9, "was killed by SIGKILL (out of memory, or by hand)"),
        (11, "was killed by SIGSEGV"),
        (40, "was killed by signal 40"),
    ],
)
def test_a_child_that_dies_ends_the_call_with_its_name(pytester, package, number, how):
    act = f"os.kill(self.child.pid, {number}); time.sleep(200)"
    package(source=engine(CHILD + DIES.format(act=act)))
    pytester.makepyfile(TWO_LENGTHS)
    run = pytester.runpytest_subprocess("--llm-backend=tiny", "--tb=short", timeout=100)
    run.assert_outcomes(failed=1, passed=1)
    (line,) = (line for line in run.outlines if line.startswith(f"{CELL}: "))
    assert line.startswith(f"{CELL}: the engine's sleep (process ")
    assert f") {how}; log: " in line


@pytest.mark.parametrize(
    "act",
    [
        "self.child.terminate(); self.child.wait()",
        "self.child.terminate()",
        "self.child.kill(); self.child.wait()",
        "subprocess.run(['sh', '-c', 'kill -9 $$'])",
    ],
)
def test_an_engine_may_end_its_helpers(pytester, package, act):
    package(source=engine(CHILD + DIES.format(act="pass") + CLOSES.format(act=act)))
    pytester.makepyfile(TWO_LENGTHS)
    pytester.runpytest_subprocess("--llm-backend=tiny").assert_outcomes(passed=2)
    assert (pytester.path / "closed").exists()


CLOSES = """
    def close(self):
        {act}
        time.sleep(0.3)
        Path("closed").write_text("")
"""


def test_a_child_that_dies_between_two_tests_fails_neither(pytester, package):
    package(source=engine(CHILD))
    pytester.makepyfile("""
        import os
        import time
        from pathlib import Path

        def test_one(llm):
            os.kill(int(Path("child.pid").read_text()), 9)
            time.sleep(0.3)

        def test_two(llm):
            assert len(llm.generate_ids([1], 3)) == 3
            assert llm.engine().number == 2
    """)
    pytester.runpytest_subprocess("--llm-backend=tiny").assert_outcomes(passed=2)


# Starting


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'Loading module cuda'; exec $PYTHON \"$@\"",
            "it prints 'Loading module cuda' to stdout",
        ),
        ("echo 'no licence' >&2; exit 3", "no licence"),
        ("exit 0", "it ended without an answer"),
        ("printf '1\\0\\0'; exit 0", "it ended without an answer"),
    ],
)
def test_an_interpreter_that_does_not_start_is_one_line(tmp_path, interpreter, script, message):
    python = interpreter(script)
    with pytest.raises(EngineDied) as error:
        ProcessWorker(python, tmp_path / "a.log")
    assert str(error.value).startswith(f"cannot start a worker with {python}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "script", ["exec sleep 60", "sleep 60", "trap '' TERM INT; sleep 60; sleep 60"]
)
def test_an_interpreter_that_hangs_at_its_start_has_a_limit(tmp_path, interpreter, script):
    python = interpreter(script)
    with pytest.raises(EngineTimeout) as error:
        ProcessWorker(python, tmp_path / "a.log", start_limit=0.5)
    assert str(error.value) == (
        f"cannot start a worker with {python}: no answer for 0.5 s, so it was ended"
    )


def test_what_a_start_writes_to_stderr_is_in_the_log_not_on_the_terminal(
    tmp_path, interpreter, capfd
):
    python = interpreter("echo 'a warning' >&2; exec $PYTHON \"$@\"")
    worker = ProcessWorker(python, tmp_path / "a.log")
    worker.close()
    assert (tmp_path / "a.log").read_text() == "a warning\n"
    assert capfd.readouterr().err == ""


# Folders of those that nobody ended


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def old(folder):
    folder.mkdir()
    (folder / "weights").write_text("x")
    os.utime(folder, (0, 0))
    return folder


def test_a_folder_of_a_process_that_is_gone_is_removed_by_the_next(temporary):
    abandoned = old(temporary / "llmperf-worker-1")
    others = old(temporary / "llmperf-workshop")
    held = scratch.Scratch()
    os.utime(held.path, (0, 0))
    young = temporary / "llmperf-worker-2"
    young.mkdir()
    link = temporary / "llmperf-worker-3"
    link.symlink_to(others)
    new = scratch.Scratch()
    assert not abandoned.exists()
    assert set(temporary.iterdir()) == {others, held.path, young, link, new.path}
    assert (others / "weights").exists()
    for folder in (held, new):
        folder.release()


def test_a_workers_temporary_files_are_in_a_folder_of_its_own(tmp_path, temporary):
    worker = ProcessWorker(sys.executable, tmp_path / "a.log")
    (folder,) = temporary.glob("llmperf-worker-*")
    assert f"TMPDIR={folder}\0" in Path(f"/proc/{worker._pid}/environ").read_text()
    worker.close()
    assert not folder.exists()


# Conversions

CONVERTS = """
    @classmethod
    def ready(cls, spec, cache, packages):
        return None

    @classmethod
    def prepare(cls, spec, cache, report):
        from pytest_llmperf.backends.conversion import make_once

        def make(part):
            (part / "weights").write_text("half")
            Path("making").write_text("")
            {act}

        make_once(cache / "models" / "model", "convert", make, report)
        return replace(spec, model="")
"""


@pytest.mark.parametrize(
    "act", ["time.sleep(60)", "os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 2); time.sleep(60)"]
)
def test_a_conversion_that_is_ended_leaves_nothing(pytester, package, act):
    package(source=engine(CONVERTS.format(act=act)))
    pytester.makepyfile("def test_x(llm): pass")
    pytester.runpytest_subprocess(
        "--llm-backend=tiny",
        f"--llm-cache-dir={pytester.path}/cache",
        "--llm-timeout=2",
        timeout=60,
    )
    assert (pytester.path / "making").exists()
    assert list((pytester.path / "cache" / "models").iterdir()) == []


@pytest.mark.parametrize("what", ["Scratch", "Watchdog"])
def test_a_machine_without_room_is_one_line(tmp_path, monkeypatch, what):
    def no_room(*_):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(client, what, no_room)
    with pytest.raises(EngineDied) as error:
        ProcessWorker(sys.executable, tmp_path / "a.log")
    assert str(error.value) == (
        "cannot start a worker: BlockingIOError: [Errno 11] Resource temporarily unavailable"
    )


def test_a_machine_without_threads_is_one_line(tmp_path, monkeypatch):
    def no_threads(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", no_threads)
    with pytest.raises(EngineDied, match="can't start new thread"):
        ProcessWorker(sys.executable, tmp_path / "a.log")


FORKS = """
    def load(self, spec):
        if os.fork() == 0:
            time.sleep(0.5)
        return self.plain_load(spec)
"""


def test_a_fork_of_the_engine_that_comes_back_answers_nothing(pytester, package):
    package(source=engine(FORKS))
    pytester.makepyfile("""
        import time

        def test_x(llm):
            time.sleep(1)
            for n in (2, 3, 4):
                assert len(llm.generate_ids([1], n)) == n
    """)
    pytester.runpytest_subprocess("--llm-backend=tiny").assert_outcomes(passed=1)
