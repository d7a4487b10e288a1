"""Everything that the user sees: the header line, the table, the progress line on a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from pytest_llmperf import __version__

CELL = "smollm2-135m-simulated-none"


def test_the_header_says_models_engine_and_device(one_test, llm_pytest, model_folder):
    run = llm_pytest(f"--llm-model=phi-2,own={model_folder('own')}", "--llm-device=cpu")
    (line,) = [line for line in run.outlines if line.startswith("llm: ")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = max(1, cores - 1)
    assert line == (f"llm: phi-2, own on simulated {__version__}; cpu, {threads} of {cores} cores")
    collected = next(i for i, text in enumerate(run.outlines) if text.startswith("collected "))
    assert run.outlines[collected + 1] == line


def test_the_header_says_random_weights(one_test, llm_pytest):
    run = llm_pytest("--llm-load-format=dummy")
    run.stdout.fnmatch_lines(["llm: smollm2-135m (random weights) on simulated *"])
    run.stdout.fnmatch_lines(
        ["random weights (--llm-load-format=dummy): speed and memory are real*"]
    )


def columns(run, first):
    """The cells of a row of the table."""
    (line,) = [line for line in run.outlines if re.match(rf"{re.escape(first)}\s\s", line)]
    return [text.strip() for text in re.split(r"\s{2,}", line)]


@pytest.mark.timing
def test_the_table_has_a_section_a_test_and_a_row_a_cell(pytester, llm_pytest, model_folder):
    pytester.makepyfile(
        test_file="""
        import pytest

        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=6, rounds=3, warmup=0)

        @pytest.mark.parametrize("batch_size", [1, 2])
        def test_y(llm, llm_benchmark, batch_size):
            llm_benchmark(llm, input_len=8, output_len=6, batch_size=batch_size, rounds=3, warmup=0)
    """
    )
    run = llm_pytest(
        f"--llm-model=a={model_folder('a')},b={model_folder('b')}", ttft=0.05, tpot=0.01
    )
    run.assert_outcomes(passed=6)
    run.stdout.fnmatch_lines(
        [
            "*= LLM performance =*",
            "test_file.py::test_x",
            "*ttft ms * tpot ms * e2e s * tokens/s * peak MiB * ratio",
            "a-simulated-none *1.00x",
            "b-simulated-none *",
            "test_file.py::test_y",
            "*ttft ms * tpot ms * tokens/s * per request * peak MiB * ratio",
            "a-simulated-none batch_size=1 *1.00x",
            "p50 ± reach of its 95 % interval; ratio: tokens/s against the first engine at *",
        ]
    )
    _, ttft, tpot, rate, each, memory, ratio = columns(run, "a-simulated-none batch_size=2")
    assert float(ttft.split()[0]) == pytest.approx(50, rel=0.02)
    assert float(tpot.split()[0]) == pytest.approx(10, rel=0.02)
    assert float(rate.split()[0]) == pytest.approx(2 * 6 / 0.1, rel=0.02)
    assert float(each.split()[0]) == pytest.approx(6 / 0.1, rel=0.02)
    assert memory == "64"
    # Against the other batch it would be 2.
    assert ratio == "1.00x"


@pytest.mark.parametrize("width", [80, 120])
def test_the_columns_fit_the_terminal(pytester, monkeypatch, width):
    """Each test shows what it asks: prompt tokens/s, tokens/s of all and of one, time per token."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("input_len", [16, 128])
        def test_prefill(llm, llm_benchmark, input_len):
            llm_benchmark(llm, input_len=input_len, output_len=2, rounds=3, warmup=0)

        @pytest.mark.parametrize("batch_size", [1, 8])
        def test_throughput(llm, llm_benchmark, batch_size):
            llm_benchmark(llm, input_len=16, output_len=8, batch_size=batch_size, rounds=3, warmup=0)

        @pytest.mark.parametrize("output_len", [4, 8])
        def test_decode(llm, llm_benchmark, output_len):
            llm_benchmark(llm, input_len=16, output_len=output_len, rounds=3, warmup=0)
    """
    )
    monkeypatch.setenv("COLUMNS", str(width))
    command = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", "-q"]
    engines = ["-W", "default", "--llm-backend=simulated,simulated@slower"]
    slower = "--llm-backend-arg=simulated@slower.tpot=0.004"
    drawn = on_a_terminal([*command, *engines, slower], pytester.path)
    lines = re.sub(r"\x1b7.*?\x1b8", "", drawn).splitlines()
    table = lines[next(i for i, line in enumerate(lines) if "LLM performance" in line) :]
    assert max(map(len, table)) <= width
    titles = [line for line in table if line.rstrip().endswith("ratio")]
    prefill, throughput, decode = (re.split(r"\s{2,}", line.strip()) for line in titles)
    assert prefill[:2] == ["ttft ms", "prompt tokens/s"]
    assert [name for name in throughput if name in ("tokens/s", "per request")] == [
        "tokens/s",
        "per request",
    ]
    assert decode[0] == "tpot ms"


def test_load_times_have_a_table_of_their_own(pytester, llm_pytest):
    pytester.makepyfile("def test_load(llm, llm_benchmark): llm_benchmark.load(llm)")
    run = llm_pytest(load_time=0.2)
    run.stdout.fnmatch_lines(["*load s*", f"{CELL} *0.2*"])
    assert "ttft" not in run.stdout.str()


def test_an_ordinary_run_says_nothing(pytester):
    pytester.makepyfile("def test_ordinary(benchmark): benchmark(sum, [1, 2])")
    run = pytester.runpytest_subprocess(timeout=60)
    run.assert_outcomes(passed=1)
    assert not [line for line in run.outlines if "llm" in line.lower() and "plugins:" not in line]
    assert not (pytester.path / ".pytest_cache/d/llmperf-logs").exists()
    assert not (pytester.path / ".benchmarks/.llmperf").exists()


def test_an_ordinary_run_with_our_options_says_nothing(pytester, llm_pytest):
    pytester.makepyfile("def test_ordinary(): pass")
    run = llm_pytest()
    run.assert_outcomes(passed=1)
    assert not [line for line in run.outlines if "llm" in line.lower() and "plugins:" not in line]


def test_a_run_whose_llm_tests_measure_nothing_has_no_table(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): pass")
    run = llm_pytest()
    run.assert_outcomes(passed=1)
    assert "LLM performance" not in run.stdout.str()


def test_without_a_terminal_there_is_no_progress_line(one_test, llm_pytest):
    output = llm_pytest("-s").stdout.str()
    assert "\r" not in output
    assert "round 1/3" not in output
    assert "loading" not in output


def on_a_terminal(arguments, folder):
    """Run a command on a terminal and give what it drew."""
    parent, child = pty.openpty()
    process = subprocess.Popen(arguments, cwd=folder, stdin=child, stdout=child, stderr=child)
    os.close(child)
    drawn = b""
    try:
        while chunk := os.read(parent, 65536):
            drawn += chunk
    except OSError:  # The last writer is gone.
        pass
    os.close(parent)
    assert process.wait(30) == 0
    return drawn.decode()


def test_on_a_terminal_a_line_says_what_the_engine_does(pytester, one_test, arguments):
    command = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider"]
    drawn = on_a_terminal([*command, *arguments("--llm-warmup=1", load_time=0.1)], pytester.path)
    shown = [text.strip() for text in re.findall(r"\x1b7\x1b\[K(.*?)\x1b8", drawn)]
    assert shown == [
        f"{CELL}: loading ...",
        "",
        f"{CELL}: warm-up 1/1",
        f"{CELL}: round 1/3",
        f"{CELL}: round 2/3",
        f"{CELL}: round 3/3",
        "",
    ]
    # What stays on the screen has none of it, and all that stood there before.
    final = re.sub(r"\x1b7.*?\x1b8", "", drawn).splitlines()
    assert not [line for line in final if "round" in line and CELL in line]
    assert [line for line in final if line.startswith("test_speed.py .")]
    assert "1 passed" in final[-1]


def test_help_lists_every_option(pytester):
    run = pytester.runpytest_inprocess("--help")
    options = (
        "model backend quant dtype device revision load-format input-len prompts output-len batch-size "
        "rounds warmup metrics backend-arg python isolation threads timeout round-timeout "
        "cache-dir require fail-if hourly-cost fit"
    )
    for name in options.split():
        assert f"--llm-{name}" in run.stdout.str()
        assert f"llm_{name.replace('-', '_')} " in run.stdout.str()


def test_fixtures_and_markers_are_described(pytester):
    fixtures = pytester.runpytest_inprocess("--fixtures").stdout.str()
    for name in ("llm", "llm_benchmark", "simulated_llm", "transformers_llm", "vllm_llm"):
        assert re.search(rf"^{name} (\[session scope\] )?-- ", fixtures, re.MULTILINE), name
    assert (
        "no docstring available"
        not in fixtures.partition("pytest_llmperf")[2].partition("fixtures defined")[0]
    )
    markers = pytester.runpytest_inprocess("--markers").stdout.str()
    assert "@pytest.mark.llm(model=, backend=, quant=): " in markers
