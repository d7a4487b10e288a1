"""One measured test beside each of the plugins that GPU projects use most, and beside all of them."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

# tools/install-cpu.sh installs them there.
OTHERS = Path(sys.prefix) / "other-plugins"
# By the names that -p knows.
NAMES = {
    "xdist": "xdist",
    "timeout": "timeout",
    "rerunfailures": "rerunfailures",
    "randomly": "randomly",
    "cov": "pytest_cov",
    "asyncio": "asyncio",
    "html": "html",
    "json-report": "pytest_jsonreport",
    "order": "pytest_order",
    "split": "pytest-split",
    "metadata": "metadata",
    "flaky": "flaky",
}
NEEDED = {"html": ("metadata",), "json-report": ("metadata",)}
CELL = "smollm2-135m-simulated-none"
TEST = """
def test_m(llm, llm_benchmark):
    result = llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    assert result.ttft.p50 >= 0.019  # A busy machine makes it longer than the 0.02 s programmed.
"""


@pytest.fixture
def beside(pytester, arguments, records):
    """Run pytest with some plugins of others; gives the outcome, after a look at what was stored."""
    if not OTHERS.is_dir():
        message = "the other plugins are not installed: run tools/install-cpu.sh"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)

    def run(*plugins, options=(), source=TEST, stored=(f"test_m[{CELL}]",), code=0):
        pytester.makepyfile(test_m=source)
        wanted = {*plugins, *(needed for name in plugins for needed in NEEDED.get(name, ()))}
        others = [f"-pno:{name}" for key, name in NAMES.items() if key not in wanted]
        path = os.pathsep.join(filter(None, [str(OTHERS), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *arguments(),
                "--benchmark-autosave",
                *others,
                *options,
            ],
            cwd=pytester.path,
            env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
            | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        assert "INTERNALERROR" not in output
        if stored:
            assert sorted(records()) == sorted(stored)
            assert output.count(" LLM performance ") == 1
        return output

    return run


def test_timeout(beside):
    beside("timeout", options=["--timeout=50"])


def test_a_timeout_in_a_measurement_costs_that_test_only(beside):
    source = TEST + (
        "\n\ndef test_n(llm, llm_benchmark):\n"
        "    llm_benchmark(llm, input_len=8, output_len=4000, rounds=3, warmup=0)\n"
    )
    output = beside("timeout", options=["--timeout=4"], source=source, code=1)
    assert "1 failed, 1 passed" in output


def test_rerunfailures_leaves_one_entry_of_a_test_that_ran_twice(beside):
    source = TEST + (
        "    from pathlib import Path\n"
        "    if not Path('again').exists():\n"
        "        Path('again').touch()\n"
        "        raise AssertionError('the first time')\n"
    )
    output = beside("rerunfailures", options=["--reruns=2"], source=source)
    assert "1 passed, 1 rerun" in output


def test_randomly(beside):
    beside("randomly", options=["--randomly-seed=1"])


def test_cov(beside, pytester):
    output = beside("cov", options=["--cov=test_m", "--cov-report=json"])
    assert "Coverage JSON written" in output
    assert json.loads((pytester.path / "coverage.json").read_text())["totals"]["num_statements"]


def test_asyncio(beside):
    source = TEST + "\n\nasync def test_of_another_kind():\n    assert True\n"
    assert "2 passed" in beside("asyncio", options=["--asyncio-mode=auto"], source=source)


def test_html(beside, pytester):
    beside("html", options=["--html=report.html", "--self-contained-html"])
    assert f"test_m[{CELL}]" in (pytester.path / "report.html").read_text()


def test_json_report(beside, pytester):
    beside("json-report", options=["--json-report", "--json-report-file=report.json"])
    report = json.loads((pytester.path / "report.json").read_text())
    assert [test["outcome"] for test in report["tests"]] == ["passed"]


def test_order(beside):
    source = (
        "import pytest\n\norder = []\n\n"
        "@pytest.mark.order(2)\ndef test_second(llm):\n    assert order == [1]\n\n"
        "@pytest.mark.order(1)\ndef test_first(llm):\n    order.append(1)\n" + TEST
    )
    assert "3 passed" in beside("order", source=source)


def test_split_measures_each_test_in_one_group(beside, records, stored_files):
    source = TEST + TEST.replace("test_m", "test_n")
    beside("split", options=["--splits=2", "--group=1"], source=source, stored=())
    beside("split", options=["--splits=2", "--group=2"], source=source, stored=())
    names = [name for file in stored_files() for name in records(file)]
    assert sorted(names) == [f"test_m[{CELL}]", f"test_n[{CELL}]"]


def test_xdist_is_refused_with_the_reason(beside):
    output = beside("xdist", options=["-n2", "--llm-require"], stored=(), code=4)
    assert "without -n" in output


def test_xdist_that_is_installed_only(beside):
    beside("xdist", options=["-n0"])


def test_flaky_leaves_one_entry_of_a_test_that_ran_twice(beside):
    source = (
        "import flaky\n\n@flaky.flaky(max_runs=3)"
        + TEST.rstrip()
        + (
            "\n    from pathlib import Path\n"
            "    if not Path('again').exists():\n"
            "        Path('again').touch()\n"
            "        raise AssertionError('the first time')\n"
        )
    )
    beside("flaky", source=source)


def test_all_of_them_together(beside, pytester):
    options = ["--timeout=50", "--reruns=1", "--cov=test_m", "--html=a.html", "--json-report"]
    beside(*NAMES, options=[*options, "--splits=1", "--group=1", "--junitxml=a.xml"])
    (suite,) = ElementTree.parse(pytester.path / "a.xml").getroot()
    assert suite.attrib["tests"] == "1"
