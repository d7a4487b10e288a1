"""Measure time and memory of ``pytest-llmperf compare`` over many stored runs.

    python tools/compare_speed.py [--runs 1000]

Measures eight tests with the simulated engine (40 entries: five metrics each), multiplies the stored run
with a little noise, and compares the last with all others.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = """
import pytest

@pytest.mark.parametrize("output_len", [4, 5, 6, 7, 8, 9, 10, 12])
def test_it(llm, llm_benchmark, output_len):
    llm_benchmark(llm, input_len=8, output_len=output_len)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "test_it.py").write_text(TESTS)
        command = [sys.executable, "-m", "pytest", "-q", "test_it.py", "--llm-backend=simulated"]
        subprocess.run(
            [*command, "--benchmark-json=new.json"], cwd=folder, capture_output=True, check=True
        )
        multiply(folder / "new.json", folder / "runs", options.runs)
        size = sum(file.stat().st_size for file in (folder / "runs").iterdir())
        start = time.perf_counter()
        compare = [sys.executable, "-m", "pytest_llmperf.cli", "compare", "runs", "new.json"]
        process = subprocess.Popen(compare, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.read().splitlines()[0]
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    print(first)
    print(
        f"{options.runs} runs, {size / 2**20:.0f} MiB: {seconds:.2f} s, {used.ru_maxrss // 1024} MiB, "
        f"exit code {os.waitstatus_to_exitcode(status)}"
    )


def multiply(run: Path, folder: Path, times: int) -> None:
    folder.mkdir()
    source = random.Random(1)
    text = run.read_text()
    for number in range(times):
        data = json.loads(text)
        for entry in data["benchmarks"]:
            record = entry["extra_info"]["llmperf"]
            if "parent" in record:
                continue
            hours = f"{number // 24 % 28 + 1:02}T{number % 24:02}"
            started = f"2026-{number // 672 + 1:02}-{hours}:00:00+00:00"
            record["run"] |= {"run_id": f"{number:012}", "job_id": None, "started_at": started}
            for metric in record["metrics"].values():
                metric["p50"] *= source.gauss(1, 0.01)
        (folder / f"{number:04}_run.json").write_text(json.dumps(data, indent=4))


if __name__ == "__main__":
    main()
