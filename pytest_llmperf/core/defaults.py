"""Defaults that several subpackages share. This module imports nothing, so it adds no start-up time."""

from __future__ import annotations

DEFAULT_ROUNDS = 5
"""Of a workload that is made by hand; tests measure by need."""
DEFAULT_WARMUP = 2
DEFAULT_PRECISION = 0.01
"""Reach of the 95 % interval of a median, as a share of it, at which rounds end."""
DEFAULT_MIN_ROUNDS = 3
DEFAULT_MAX_TIME_CPU, DEFAULT_MAX_TIME_GPU = 4.0, 10.0
"""Seconds that the rounds of a test may take; a GPU waits a minute for each load."""
SMALL, FULL = "small", "full"
"""Suites of sizes: for a CPU, and for a GPU."""
EMBEDDED = "smollm2-135m"
"""The model that is measured when no model is named."""
JOB = "PYTEST_LLMPERF_JOB"
BRANCH = "PYTEST_LLMPERF_BRANCH"
"""Environment variables that name job and branch of a run; they take precedence over those of a CI."""
AB = "PYTEST_LLMPERF_AB"
"""Environment variable of the runs that ``pytest-llmperf ab`` starts: it judges them, not they."""
AB_TREES = "PYTEST_LLMPERF_AB_TREES"
"""Environment variable of such a run: its own tree, the user's repository and other trees, in JSON."""
