"""A driver with one GPU that has 3,000 MiB in use, and 500 more at each question."""

from types import SimpleNamespace

_used = [2500]


class NVMLError(Exception):
    pass


def nvmlInit():
    pass


def nvmlDeviceGetCount():
    return 1


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetName(device):
    return "Stand-in GPU"


def nvmlDeviceGetMemoryInfo(device):
    _used[0] += 500
    return SimpleNamespace(used=_used[0] * 2**20, total=2**36)


def __getattr__(name):
    def unknown(*arguments):
        raise NVMLError("Not Supported")

    return unknown
