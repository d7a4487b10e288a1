import json
import os
import platform
import re
import socket
import sys
from pathlib import Path

import pytest

from pytest_llmperf.machine import host as environment
from pytest_llmperf.machine.host import (
    describe_device,
    describe_host,
    only_visible,
    usable_cores,
    visible_gpus,
)


def test_the_host_is_described_by_what_explains_a_number():
    host = describe_host()
    assert set(host) - {"governor"} == {"host", "cpu", "cores", "memory_mib", "os", "python"}
    assert host["host"] == platform.node()
    assert host["cpu"]
    assert host["cores"] >= 1
    assert host["memory_mib"] > 0
    assert host["os"] == f"{platform.system()} {platform.release()}"
    assert host["python"] == platform.python_version()


def test_the_description_survives_json():
    assert json.loads(json.dumps(describe_host())) == describe_host()


def test_the_description_names_no_path_and_the_host_in_one_place():
    host = describe_host()
    assert host.pop("host") == platform.node()
    words = " ".join(str(value) for value in host.values()).split()
    assert socket.gethostname() not in words
    assert not any(word.startswith("/") for word in words)
    assert str(Path.cwd()) not in json.dumps(host)
    assert str(Path.home()) not in words


@pytest.mark.parametrize("text", ["performance\n", None])
def test_the_governor_is_there_where_the_kernel_tells_it(monkeypatch, text):
    def read_text(path):
        if text is None:
            raise OSError
        assert str(path) == "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
        return text

    monkeypatch.setattr(environment.Path, "read_text", read_text)
    assert environment._governor() == (text and "performance")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="not on this system")
def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(environment, "cpu_quota", lambda: None)
    assert usable_cores() == len(os.sched_getaffinity(0))


def test_without_a_framework_no_accelerator_is_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert describe_device() == {**describe_host(), "accelerators": []}
    assert "torch" not in sys.modules


@pytest.mark.parametrize(
    ("device", "setting", "chosen"),
    [
        ("cuda:1", None, "1"),
        ("cuda:0", "2,3", "2"),
        ("cuda:1", "2,3", "3"),
        ("cuda:1", " 2 , 3 ", "3"),
        ("cuda:1", "GPU-8b4c,GPU-11aa", "GPU-11aa"),
        ("cuda:1", "MIG-5d7e,MIG-99f0", "MIG-99f0"),
    ],
)
def test_a_gpu_is_counted_among_those_that_are_visible(device, setting, chosen):
    environ = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    assert only_visible(device, environ) == chosen


@pytest.mark.parametrize(
    ("setting", "count"), [("2,3", 2), ("", 0), ("-1", 0), ("0,-1,1", 1), ("GPU-8b4c,,1", 1)]
)
def test_a_gpu_beyond_those_that_are_visible_is_one_line(monkeypatch, setting, count):
    message = (
        f"--llm-device=cuda:2: CUDA_VISIBLE_DEVICES={setting} names {count} GPU(s), and the first is "
        "cuda:0"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        only_visible("cuda:2", {"CUDA_VISIBLE_DEVICES": setting})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    assert visible_gpus() == count
