import json
import os
import platform
import socket
import sys
from pathlib import Path

import pytest

from pytest_llmperf.machine import host as environment
from pytest_llmperf.machine.host import describe_device, describe_host, usable_cores


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
def test_cores_are_those_that_this_process_may_use():
    assert usable_cores() == len(os.sched_getaffinity(0))


def test_without_a_framework_no_accelerator_is_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert describe_device() == {**describe_host(), "accelerators": []}
    assert "torch" not in sys.modules
