"""A user whose tests use no LLM pays nothing for the plugin."""

import subprocess
import sys

HEAVY = (
    "torch",
    "transformers",
    "vllm",
    "numpy",
    "scipy",
    "tabulate",
    "execnet",
    "pytest_benchmark",
    "pynvml",
)


def loaded_by(statement):
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_plugin_and_its_options_load_nothing_heavy():
    loaded = loaded_by("import pytest_llmperf.plugin, pytest_llmperf.session.options")
    assert "pytest_llmperf" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_public_names_load_nothing_heavy():
    assert loaded_by("from pytest_llmperf import METRICS, Metric").isdisjoint(HEAVY)


def test_the_workers_side_needs_no_dependency_at_all():
    loaded = loaded_by("import pytest_llmperf.worker.server")
    assert loaded.isdisjoint({*HEAVY, "pytest", "_pytest", "pluggy"})


def test_backends_are_imported_without_their_engines():
    loaded = loaded_by(
        "from pytest_llmperf.backends import backend_class, names\n"
        "for name in names(): backend_class(name)"
    )
    assert loaded.isdisjoint(HEAVY)
