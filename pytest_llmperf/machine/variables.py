"""Environment variables that change an engine's speed, so that a step in a history can be explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ..core.secrets import masked

COMMON = (
    "AMD_SERIALIZE_KERNEL",
    "COVERAGE_*",
    "COV_CORE_*",
    "CUBLAS_*",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDNN_*",
    "DNNL_*",
    "GLIBC_TUNABLES",
    "GOMP_*",
    "HIP_LAUNCH_BLOCKING",
    "KMP_*",
    "LD_PRELOAD",
    "MALLOC_*",
    "MIMALLOC_*",
    "MKL_*",
    "NCCL_*",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_*",
    "ONEDNN_*",
    "OPENBLAS_*",
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONOPTIMIZE",
    "PYTHONTRACEMALLOC",
    "TCMALLOC_*",
)
"""Patterns of names that count for every engine; a backend adds its own (``Backend.variables``)."""
OF_COVERAGE = (
    "COVERAGE_PROCESS_CONFIG",
    "COVERAGE_PROCESS_START",
    "COV_CORE_BRANCH",
    "COV_CORE_CONFIG",
    "COV_CORE_CONTEXT",
    "COV_CORE_DATAFILE",
    "COV_CORE_SOURCE",
)
"""Variables by which coverage starts in every child process, where it slows the engine down."""


def speed_variables(environ: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Return the variables that are set and match a pattern, without secrets and folders."""
    return {
        name: str(masked({name: _without_folders(environ[name])})[name])
        for name in sorted(environ)
        if any(fnmatchcase(name, pattern) for pattern in (*COMMON, *patterns))
    }


def _without_folders(value: str) -> str:
    """Return a value with the last part of each path: a record holds no path of the machine."""
    parts = value.split(":") if "://" not in value else [value]
    return ":".join(part.rstrip("/").rpartition("/")[2] if "/" in part else part for part in parts)
