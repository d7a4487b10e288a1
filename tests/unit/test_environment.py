import json
import os
import platform
import socket
import sys
from pathlib import Path

import pytest

from pytest_llmperf.environment import describe_device, describe_host, usable_cores


def test_the_host_is_described_by_what_explains_a_number():
    host = describe_host()
    assert set(host) == {"cpu", "cores", "memory_mib", "os", "python"}
    assert host["cpu"]
    assert host["cores"] >= 1
    assert host["memory_mib"] > 0
    assert host["os"] == f"{platform.system()} {platform.release()}"
    assert host["python"] == platform.python_version()


def test_the_description_survives_json():
    assert json.loads(json.dumps(describe_host())) == describe_host()


def test_the_description_names_no_path_and_no_host():
    host = describe_host()
    words = " ".join(str(value) for value in host.values()).split()
    assert socket.gethostname() not in words
    assert not any(word.startswith("/") for word in words)
    assert str(Path.cwd()) not in json.dumps(host)
    assert str(Path.home()) not in words


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="not on this system")
def test_cores_are_those_that_this_process_may_use():
    assert usable_cores() == len(os.sched_getaffinity(0))


def test_without_a_framework_no_accelerator_is_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert describe_device() == {**describe_host(), "accelerators": []}
    assert "torch" not in sys.modules
