"""A sample of what tools/try_malformed.py and tools/try_kills.py try."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.mark.parametrize(
    "arguments",
    [("try_malformed.py", "--count=24", "--seed=3"), ("try_kills.py", "--kills=3", "--seed=3")],
    ids=["malformed", "kills"],
)
def test_a_sample_of_faults_ends_in_clear_lines_and_loses_nothing(arguments):
    script, *options = arguments
    done = subprocess.run(
        [sys.executable, str(TOOLS / script), *options], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
