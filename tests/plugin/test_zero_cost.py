"""A run without an LLM costs nothing; one with an LLM loads no engine into pytest's process."""

import pytest

ENGINES = ("torch", "transformers", "vllm", "numpy", "scipy", "bitsandbytes", "accelerate", "gguf")
OURS = (
    "pytest_llmperf.session.session",
    "pytest_llmperf.session.slot",
    "pytest_llmperf.machine.gpus",
    "pytest_llmperf.machine.nvml",
    "pytest_llmperf.session.collect",
    "pytest_llmperf.worker.client",
    "pytest_llmperf.store.entries",
)


def test_an_ordinary_run_imports_nothing_heavy(pytester):
    pytester.makepyfile(f"""
        import sys

        def test_ordinary():
            heavy = {(*ENGINES, "tabulate", "pynvml", *OURS)}
            assert [name for name in heavy if name in sys.modules] == []
            assert "pytest_llmperf.plugin" in sys.modules
    """)
    pytester.runpytest_subprocess(timeout=60).assert_outcomes(passed=1)


def test_an_ordinary_run_does_not_import_execnet(pytester, monkeypatch):
    # pytest-xdist may import it for itself.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ["-p", "pytest_benchmark.plugin", "-p", "pytest_llmperf.plugin"]
    pytester.makepyfile("""
        import sys

        def test_ordinary():
            assert "execnet" not in sys.modules
    """)
    pytester.runpytest_subprocess(*plugins, timeout=60).assert_outcomes(passed=1)


def test_importing_the_package_imports_none_of_its_modules(pytester):
    code = """
        import sys
        import pytest_llmperf

        loaded = [name for name in sys.modules if name.startswith("pytest_llmperf.")]
        assert loaded == [], loaded
        assert pytest_llmperf.__version__
        assert pytest_llmperf.Metric and pytest_llmperf.LLM and pytest_llmperf.Result
    """
    assert pytester.runpython(pytester.makepyfile(code)).ret == 0


@pytest.mark.parametrize("option", ["--collect-only", "-v"])
def test_a_run_with_llm_tests_loads_no_engine_here(pytester, llm_pytest_process, option):
    pytester.makepyfile(f"""
        import sys

        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
            assert [name for name in {ENGINES} if name in sys.modules] == []
    """)
    pytester.makeconftest(f"""
        import sys

        def pytest_unconfigure():
            print("loaded:", [name for name in {ENGINES} if name in sys.modules])
    """)
    run = llm_pytest_process(option)
    assert run.ret == 0
    assert "loaded: []" in run.outlines


def test_choosing_cells_loads_no_engine_here(pytester):
    # Every installed engine is a cell here; none is asked for more than its version.
    pytester.makepyfile("def test_x(llm): pass")
    pytester.makeconftest(f"""
        import sys

        def pytest_unconfigure():
            print("loaded:", [name for name in {ENGINES} if name in sys.modules])
    """)
    run = pytester.runpytest_subprocess("--collect-only", timeout=60)
    assert run.ret == 0
    assert "loaded: []" in run.outlines
