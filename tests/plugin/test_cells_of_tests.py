"""The cells that a test runs on: ids, the llm marker, views, one load per cell."""

import pytest

CELL = "smollm2-135m-simulated-none"
ONE = "def test_x(llm): pass"


def collected(run):
    """Test ids that --collect-only -q lists."""
    return [line.partition("::")[2] for line in run.outlines if "::" in line and " " not in line]


def test_ids_start_with_model_backend_and_mode(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        def test_x(llm): pass

        @pytest.mark.parametrize("name", ["one", "two"])
        def test_y(name, llm): pass
    """)
    assert collected(llm_pytest("--collect-only", "-q")) == [
        f"test_x[{CELL}]",
        f"test_y[{CELL}-one]",
        f"test_y[{CELL}-two]",
    ]


def test_every_model_and_mode_is_a_cell(pytester, llm_pytest):
    pytester.makepyfile(ONE)
    run = llm_pytest(
        "--collect-only", "-q", "--llm-model=phi-2,mistral-7b", "--llm-quant=none,int8"
    )
    assert collected(run) == [
        "test_x[phi-2-simulated-none]",
        "test_x[phi-2-simulated-int8]",
        "test_x[mistral-7b-simulated-none]",
        "test_x[mistral-7b-simulated-int8]",
    ]


def test_collecting_loads_nothing(pytester, llm_pytest):
    pytester.makepyfile(ONE)
    run = llm_pytest("--collect-only", load_time=30)
    assert run.ret == 0
    assert run.duration < 10


def test_a_marker_sets_the_cells_of_a_test(pytester):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.llm(model=["phi-2", "mistral-7b"], backend="simulated")
        def test_x(llm):
            assert llm.info.model in ("phi-2", "mistral-7b")
            assert llm.info.backend == "simulated"
            assert llm.info.quantization == "none"
    """)
    run = pytester.runpytest_inprocess("-v", "--strict-markers")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(
        ["*test_x[[]phi-2-simulated-none] *", "*[[]mistral-7b-simulated-none] *"]
    )


def test_a_marker_of_a_module_counts_and_the_closest_wins(pytester):
    pytester.makepyfile("""
        import pytest

        pytestmark = pytest.mark.llm(model="phi-2", backend="simulated")

        def test_x(llm): pass

        @pytest.mark.llm(model="mistral-7b", backend="simulated")
        def test_y(llm): pass
    """)
    assert collected(pytester.runpytest_inprocess("--collect-only", "-q")) == [
        "test_x[phi-2-simulated-none]",
        "test_y[mistral-7b-simulated-none]",
    ]


def test_the_command_line_narrows_a_marker(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.llm(model=["phi-2", "mistral-7b"], backend=["vllm", "simulated"])
        def test_x(llm): pass
    """)
    run = llm_pytest("--llm-model=mistral-7b,smollm2-135m", "-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*::test_x[[]mistral-7b-simulated-none] PASSED*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('"simulated"', "@pytest.mark.llm takes model=, backend= and quant= only"),
        ("engine=1", "@pytest.mark.llm takes model=, backend= and quant= only, not engine="),
        (
            'backend="fast"',
            "@pytest.mark.llm(backend=): unknown backend 'fast'; known: transformers, vllm, ",
        ),
        (
            'quant="int3"',
            "@pytest.mark.llm(quant=): unknown mode 'int3'; "
            "known: none, int8, fp4, nf4, nf4-dq, all",
        ),
        ('model="nothing"', "@pytest.mark.llm(model=): unknown model 'nothing'; aliases: "),
    ],
)
def test_a_marker_that_means_nothing_is_an_error_at_collection(
    pytester, llm_pytest, marker, message
):
    pytester.makepyfile(test_it=f"import pytest\n@pytest.mark.llm({marker})\ndef test_x(llm): pass")
    run = llm_pytest()
    assert run.ret == 2
    (line,) = [line for line in run.outlines if line.startswith("test_it.py::test_x: ")]
    assert line.startswith(f"test_it.py::test_x: {message}")
    assert "Traceback" not in run.stdout.str()


def test_a_view_is_the_same_engine(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm):
            assert llm.engine().number == 1

        def test_y(simulated_llm):
            assert simulated_llm.info.backend == "simulated"
            assert simulated_llm.engine().number == 1

        def test_z(llm):
            assert llm.engine().number == 1
    """)
    run = llm_pytest("-v")
    run.assert_outcomes(passed=3)
    run.stdout.fnmatch_lines([f"*::test_y[[]{CELL}] PASSED*"])


def test_a_view_chooses_its_backend_without_an_option(pytester):
    pytester.makepyfile(
        "def test_x(simulated_llm): assert simulated_llm.info.backend == 'simulated'"
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_two_views_in_one_test_are_an_error_at_collection(pytester, llm_pytest):
    pytester.makepyfile(test_it="def test_x(transformers_llm, vllm_llm): pass")
    run = llm_pytest()
    assert run.ret == 2
    assert (
        "test_it.py::test_x: one engine is resident at a time, so a test takes one of "
        "transformers_llm, vllm_llm" in run.outlines
    )


def test_a_test_may_parametrize_llm_itself(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize(
            "llm", ["phi-2-simulated-none", "mistral-7b-simulated-none"], indirect=True
        )
        def test_x(llm):
            assert llm.info.model in ("phi-2", "mistral-7b")
    """)
    run = llm_pytest("-v")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["*::test_x[[]phi-2-simulated-none] PASSED*"])


def test_a_cell_that_does_not_exist_fails_its_test_with_one_line(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("llm", ["phi-2-simulated"], indirect=True)
        def test_x(llm): pass
    """)
    run = llm_pytest()
    run.assert_outcomes(errors=1)
    assert (
        "'phi-2-simulated' is not a cell, which is MODEL-BACKEND-MODE, e.g. "
        "smollm2-135m-transformers-none" in run.outlines
    )


def test_llm_by_getfixturevalue_is_a_clear_error(pytester, llm_pytest):
    pytester.makepyfile("def test_x(request): request.getfixturevalue('llm')")
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    assert "llm has to be an argument of the test or of a fixture that it uses" in run.stdout.str()


def test_llm_through_a_fixture_of_the_user(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def answer(llm):
            return llm.generate("abc", output_len=3)

        def test_x(answer):
            assert len(answer) == 3
    """)
    run = llm_pytest("-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines([f"*::test_x[[]{CELL}] PASSED*"])
