"""CPU quotas from handwritten trees of control groups."""

import pytest

from pytest_llmperf.machine import host
from pytest_llmperf.machine.cgroup import cpu_quota

V2 = "29 23 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "30 25 0:27 {top} /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "31 25 0:28 {top} /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory"


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes a root folder.

    For instance ``machine([mount], "0::/", {"sys/fs/cgroup/cpu.max": "..."})``.
    """

    def make(mounts, groups, files):
        texts = {"proc/self/mountinfo": "\n".join(mounts), "proc/self/cgroup": groups, **files}
        for name, text in texts.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return tmp_path

    return make


def test_a_container_of_version_2_has_its_quota_at_its_own_root(machine):
    root = machine([V2.format(top="/")], "0::/", {"sys/fs/cgroup/cpu.max": "200000 100000"})
    assert cpu_quota(root) == 2.0


def test_no_limit_is_no_quota(machine):
    root = machine([V2.format(top="/")], "0::/", {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert cpu_quota(root) is None


def test_the_least_quota_on_the_way_up_counts(machine):
    files = {
        "sys/fs/cgroup/a.slice/cpu.max": "150000 100000",
        "sys/fs/cgroup/a.slice/b.scope/cpu.max": "400000 100000",
        "sys/fs/cgroup/a.slice/other/cpu.max": "10000 100000",
    }
    root = machine([V2.format(top="/")], "0::/a.slice/b.scope", files)
    assert cpu_quota(root) == 1.5


def test_a_container_that_sees_its_hosts_path_finds_its_own_folder(machine):
    files = {"sys/fs/cgroup/cpu.max": "300000 100000"}
    root = machine([V2.format(top="/docker/abc")], "0::/docker/abc", files)
    assert cpu_quota(root) == 3.0


def test_a_path_outside_of_the_mount_means_the_mount(machine):
    files = {"sys/fs/cgroup/cpu.max": "300000 100000"}
    root = machine([V2.format(top="/")], "0::/../../elsewhere", files)
    assert cpu_quota(root) == 3.0


def test_version_1_has_two_files(machine):
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{folder}/cpu.cfs_quota_us": "250000", f"{folder}/cpu.cfs_period_us": "100000"}
    mounts = [V1_MEMORY.format(top="/docker/abc"), V1.format(top="/docker/abc")]
    groups = "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc"
    assert cpu_quota(machine(mounts, groups, files)) == 2.5


def test_nested_groups_of_version_1_have_the_least_quota(machine):
    folder = "sys/fs/cgroup/cpu,cpuacct/pod"
    files = {
        f"{folder}/cpu.cfs_quota_us": "100000",
        f"{folder}/cpu.cfs_period_us": "50000",
        f"{folder}/box/cpu.cfs_quota_us": "-1",
        f"{folder}/box/cpu.cfs_period_us": "100000",
    }
    root = machine([V1.format(top="/")], "4:cpu,cpuacct:/pod/box", files)
    assert cpu_quota(root) == 2.0


@pytest.mark.parametrize("text", ["", "many", "0 0 0", "-5 what"])
def test_a_file_that_says_something_else_limits_nothing(machine, text):
    assert cpu_quota(machine([V2.format(top="/")], "0::/", {"sys/fs/cgroup/cpu.max": text})) is None


def test_a_machine_without_control_groups_has_no_quota(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "cores"), [(None, 64), (2.0, 2), (2.5, 2), (0.5, 1), (100.0, 64)]
)
def test_usable_cores_are_the_whole_ones_of_the_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(host, "cpu_quota", lambda: quota, raising=False)
    assert host.usable_cores() == cores
