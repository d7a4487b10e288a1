"""Two versions of an engine in one run, each in a separate environment."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

OTHER = "5.18.0"
TEST = """
    def test_versions(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=1)
"""


@pytest.fixture(scope="module")
def other_python(tmp_path_factory):
    """Return an interpreter with another version of transformers and this environment's packages."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    # Most of its files are never imported.
    subprocess.run([*pip, "--no-compile", f"transformers=={OTHER}"], check=True)
    Path(site, "shared.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def test_two_versions_of_an_engine_are_two_cells_of_one_run(pytester, other_python):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess(
        "--llm-backend=transformers,transformers@old",
        f"--llm-python=transformers@old={other_python}",
        "--benchmark-json=out.json",
    )
    result.assert_outcomes(passed=2)
    benchmarks = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    records = [b["extra_info"]["llmperf"] for b in benchmarks]
    versions = {r["nodeid"]: r["backend"]["version"] for r in records if "nodeid" in r}
    names = "test_two_versions_of_an_engine_are_two_cells_of_one_run.py::test_versions"
    assert versions[f"{names}[smollm2-135m-transformers@old-none]"] == OTHER
    assert versions[f"{names}[smollm2-135m-transformers-none]"] != OTHER
