"""The house: import contracts hold, and an import that climbs is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")
CLIMBS = {
    "Rooms": ("core/trace.py", "from ..metrics import rounds"),
    "Offline": ("store/stored.py", "import execnet"),
    "Engine's process": ("machine/host.py", "import tabulate"),
    "pytest is known": ("gate/rule.py", "import pytest"),
    "pytest-benchmark is known": ("store/record.py", "import pytest_benchmark"),
    "Engines know nothing": ("backends/vllm.py", "from . import transformers"),
}

pytestmark = pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not installed")


@pytest.mark.parametrize("contract", CLIMBS)
def test_an_import_that_climbs_is_refused(tmp_path, monkeypatch, contract):
    file, line = CLIMBS[contract]
    shutil.copytree(ROOT / "pytest_llmperf", tmp_path / "pytest_llmperf")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "pytest_llmperf" / file
    planted.write_text(planted.read_text("utf-8") + f"\n{line}\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    done = subprocess.run(
        [LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert done.returncode == 1
    assert any(line.startswith(contract) for line in broken)


def test_reading_stored_runs_loads_no_pytest_no_worker_and_no_engine():
    code = "import sys, pytest_llmperf.store.stored; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(done.stdout.split())
    rooms = {f"pytest_llmperf.{room}" for room in ("session", "worker", "backends", "machine")}
    assert not loaded & {"pytest", "_pytest", "execnet", "pytest_benchmark", *rooms}


def test_the_top_level_of_the_package_can_be_seen_at_a_glance():
    entries = [p for p in (ROOT / "pytest_llmperf").iterdir() if p.name != "__pycache__"]

    assert len(entries) <= 18
