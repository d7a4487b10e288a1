"""Trade-offs out of stored records, worked out by hand."""

import json

import matplotlib
import pytest

from pytest_llmperf.analysis.tradeoff import trade_offs
from pytest_llmperf.cli.main import main
from pytest_llmperf.report.tradeoff import lines, plot


@pytest.fixture
def record(stored_record):
    """A record of one mode in one test."""

    def make(mode, test="test_speed.py::test_x", backend="transformers", **values):
        cell = f"m-{backend}-{mode}"
        return stored_record(
            f"{test}[{cell}]", backend={"name": backend}, quantization={"mode": mode}, **values
        )

    return make


@pytest.fixture
def records(record):
    return [
        record("none", output_throughput=50.0, model_memory=300.0, peak_memory=400.0),
        record("nf4", output_throughput=35.0, model_memory=100.0, peak_memory=180.0),
        record("none", test="test_quality.py::test_q", perplexity=10.0, top1_agreement=1.0),
        record("nf4", test="test_quality.py::test_q", perplexity=10.4, top1_agreement=0.9),
    ]


def test_a_mode_is_put_in_words_against_its_engine_unquantized(records):
    (found,) = trade_offs(records)
    # 100 / 300, 180 / 400, 35 / 50, 10.4 / 10 - 1
    assert found.words() == [
        "transformers-nf4: weights 67 % smaller, peak memory 55 % lower, 0.7x speed, "
        "perplexity +4.0 %, 90 % of next tokens the same"
    ]


def test_more_memory_is_said_as_such(records):
    metrics = records[1]["metrics"]
    metrics["model_memory"]["p50"] = 600.0
    metrics["peak_memory"]["p50"] = 401.0
    words = trade_offs(records)[0].words()[0]
    assert "weights 100 % larger, peak memory unchanged" in words


def test_smaller_weights_with_a_higher_peak_are_no_saving(records):
    # transformers-int8 of README's table: it unpacks its weights as it goes.
    for mode, weights, peak in ((0, 257.0, 844.0), (1, 156.0, 1151.0)):
        metrics = records[mode]["metrics"]
        metrics["model_memory"]["p50"], metrics["peak_memory"]["p50"] = weights, peak
    words = trade_offs(records)[0].words()[0]
    assert "weights 39 % smaller, peak memory 36 % higher" in words
    assert "less memory" not in words


def test_a_reserved_pool_is_no_need(records):
    records[0]["metrics"]["kv_cache_memory"] = {"p50": 150.0}
    points = trade_offs(records)[0].points
    assert [point.values["peak_memory"] for point in points] == [250.0, 180.0]


def test_on_a_cpu_nothing_reports_how_much_of_the_pool_is_resident(records):
    for record in records:
        record["environment"] = {"device": "cpu", "cpu": "a processor"}
    records[0]["metrics"]["kv_cache_memory"] = {"p50": 150.0}
    points = trade_offs(records)[0].points
    assert [point.values["peak_memory"] for point in points] == [400.0, 180.0]


def test_speeds_come_from_the_test_that_most_cells_ran(record, records):
    records.insert(0, record("none", test="test_other.py::test_o", output_throughput=1.0))
    (found,) = trade_offs(records)
    assert found.test == "test_speed.py::test_x"
    assert [point.values["output_throughput"] for point in found.points] == [50.0, 35.0]


def test_the_newest_of_equal_measurements_counts(record, records):
    records.append(record("nf4", output_throughput=40.0))
    assert trade_offs(records)[0].points[1].values["output_throughput"] == 40.0


def test_an_engine_without_an_unquantized_cell_has_no_words(record, records):
    records.append(record("q4_1", backend="llama-cpp", output_throughput=90.0))
    (found,) = trade_offs(records)
    assert len(found.points) == 3
    assert len(found.words()) == 1


def test_rows_have_the_names_of_their_ids(records):
    for record in records:
        record["nodeid"] = record["nodeid"].replace(record["cell"], f"{record['cell']}-tp2")
        record["cell"] += "-tp2"
    (found,) = trade_offs(records)
    assert [point.name for point in found.points] == [
        "transformers-none-tp2",
        "transformers-nf4-tp2",
    ]
    assert len(found.words()) == 1


@pytest.fixture
def cell(record):
    """A record of one cell in one test."""

    def make(cell_id, backend, mode, traits=(), **values):
        made = record(mode, backend=backend, **values)
        made["nodeid"] = made["nodeid"].replace(made["cell"], cell_id)
        made["backend"]["traits"] = list(traits)
        return {**made, "cell": cell_id}

    return make


def test_a_label_is_compared_with_the_plain_engine_in_the_same_mode(cell):
    of_cell = {"perplexity": 10.0, "model_memory": 300.0}
    (found,) = trade_offs(
        [
            cell("m-vllm-none", "vllm", "none", output_throughput=50.0, **of_cell),
            cell("m-vllm-nf4", "vllm", "nf4", output_throughput=40.0, **of_cell),
            cell(
                "m-vllm@kv8-none-kvfp8",
                "vllm",
                "none",
                ["kvfp8"],
                output_throughput=60.0,
                **of_cell,
            ),
            cell(
                "m-vllm@kv8-nf4-kvfp8", "vllm", "nf4", ["kvfp8"], output_throughput=30.0, **of_cell
            ),
        ]
    )
    assert [line.partition(", perplexity")[0] for line in found.words()] == [
        "vllm-nf4: weights unchanged, 0.8x speed",
        "vllm@kv8-none-kvfp8 against vllm-none: weights unchanged, 1.2x speed",
        "vllm@kv8-nf4-kvfp8: weights unchanged, 0.5x speed",
        "vllm@kv8-nf4-kvfp8 against vllm-nf4: weights unchanged, 0.75x speed",
    ]


def test_a_trait_is_compared_with_the_same_number_of_devices_first(cell):
    (found,) = trade_offs(
        [
            cell("m-vllm-none", "vllm", "none", perplexity=10.0),
            cell("m-vllm-none-tp2", "vllm", "none", ["tp2"], perplexity=10.0),
            cell("m-vllm@a-fp8-tp2-kvfp8", "vllm", "fp8", ["tp2", "kvfp8"], perplexity=11.0),
            cell("m-vllm@a-none-tp2-kvfp8", "vllm", "none", ["tp2", "kvfp8"], perplexity=12.0),
        ]
    )
    assert found.words() == [
        "vllm-none-tp2 against vllm-none: perplexity +0.0 %",
        "vllm@a-fp8-tp2-kvfp8: perplexity -8.3 %",
        "vllm@a-none-tp2-kvfp8 against vllm-none-tp2: perplexity +20.0 %",
    ]


def test_a_mode_with_traits_of_its_own_is_compared_with_none(cell):
    (found,) = trade_offs(
        [
            cell("m-vllm-none", "vllm", "none", perplexity=10.0),
            cell("m-vllm@a-fp8-kvfp8", "vllm", "fp8", ["kvfp8"], perplexity=11.0),
        ]
    )
    assert found.words() == ["vllm@a-fp8-kvfp8 against vllm-none: perplexity +10.0 %"]


def test_machines_stand_apart(records):
    for item in records[:2]:
        item["environment"] = {"device": "cuda:0", "accelerators": [{"name": "H100"}]}
    for item in records[2:]:
        item["environment"] = {"device": "cpu", "cpu": "a processor"}
    (found,) = trade_offs(records)
    assert found.model == "m on a processor"
    assert not any("output_throughput" in point.values for point in found.points)


def test_revisions_of_a_model_stand_apart(record, records):
    old, new = "a" * 40, "b" * 40
    for item in records:
        item["model"]["revision"] = old
    assert [found.model for found in trade_offs(records)] == ["m"]
    later = [
        record(
            "none", test="test_quality.py::test_q", number=2, perplexity=12.0, top1_agreement=1.0
        ),
        record(
            "nf4", test="test_quality.py::test_q", number=2, perplexity=12.1, top1_agreement=0.9
        ),
    ]
    for item in later:
        item["model"]["revision"] = new
    first, second = trade_offs([*records, *later])
    assert (first.model, second.model) == (
        "m (revision aaaaaaaaaaaa)",
        "m (revision bbbbbbbbbbbb)",
    )
    assert [point.values["perplexity"] for point in first.points] == [10.0, 10.4]
    assert [point.values["perplexity"] for point in second.points] == [12.0, 12.1]


def test_what_has_no_revision_stands_with_the_newest(record, records):
    for item, revision in zip(records, ("a", "b", None, "b"), strict=True):
        item["model"]["revision"] = revision
    other = record("q4_1", test="test_quality.py::test_q", perplexity=10.2)
    other["model"] |= {"source": "organisation/m-GGUF", "revision": "c"}
    (found,) = trade_offs([*records, other])
    assert found.model == "m (revision b)"
    assert [point.mode for point in found.points] == ["nf4", "none", "q4_1"]


def on(environment, items):
    for item in items:
        item["environment"] = environment


H100 = {"name": "NVIDIA H100", "power_limit_w": 700.0}
HOST = {"cpu": "a processor", "cores": 26, "gpus": [H100]}


def test_engines_of_one_gpu_stand_together_whether_their_framework_sees_it_or_not(record, records):
    # llama.cpp has no torch to list devices, and vLLM does not number them.
    records += [
        record("q4_1", backend="llama-cpp", output_throughput=90.0),
        record("none", backend="vllm", output_throughput=80.0),
    ]
    torch = {**HOST, "device": "cuda:0", "accelerators": [{"name": "NVIDIA H100"}]}
    on(torch, records[:4])
    on({**HOST, "device": "cuda:0", "accelerators": []}, records[4:5])
    on({**torch, "device": "cuda"}, records[5:])
    (found,) = trade_offs(records)
    assert found.model == "m"
    assert [point.values["output_throughput"] for point in found.points] == [50.0, 35.0, 90.0, 80.0]


def test_without_a_driver_to_ask_an_engine_on_a_gpu_is_not_on_another_machine(record, records):
    on({"device": "cuda:0", "accelerators": [{"name": "NVIDIA H100"}]}, records)
    records.append(record("q4_1", backend="llama-cpp", output_throughput=90.0))
    on({"device": "cuda:0", "accelerators": []}, records[4:])
    (found,) = trade_offs(records)
    assert len(found.points) == 3


def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_stands_apart(record, records):
    cpu_run = [record(mode, output_throughput=5.0, perplexity=10.0) for mode in ("none", "nf4")]
    torch = {**HOST, "accelerators": [{"name": "NVIDIA H100"}]}
    on({**torch, "device": "cuda:0"}, records)
    on({**torch, "device": "cpu"}, cpu_run)
    found = {one.model: one for one in trade_offs([*records, *cpu_run])}
    assert set(found) == {"m on NVIDIA H100", "m on a processor"}
    assert [p.values["output_throughput"] for p in found["m on NVIDIA H100"].points] == [50.0, 35.0]
    assert [p.values["output_throughput"] for p in found["m on a processor"].points] == [5.0, 5.0]


def test_cards_of_one_name_with_other_limits_stand_apart(record, records):
    slow = [record(mode, output_throughput=5.0, perplexity=10.0) for mode in ("none", "nf4")]
    on({**HOST, "device": "cuda:0"}, records)
    on({**HOST, "device": "cuda:0", "gpus": [{**H100, "power_limit_w": 400.0}]}, slow)
    assert [one.model for one in trade_offs([*records, *slow])] == [
        "m on NVIDIA H100 (GPU power limit 700.0)",
        "m on NVIDIA H100 (GPU power limit 400.0)",
    ]


def test_one_quality_is_no_trade_off(records):
    assert trade_offs(records[:3]) == []


def test_the_table_leaves_out_what_nobody_has(records):
    text = "\n".join(lines(trade_offs(records)))
    assert "perplexity" in text
    assert "J/token" not in text


@pytest.fixture
def stored(tmp_path, records):
    foreign = [{"extra_info": {}}, {"extra_info": {"llmperf": {"parent": "x", "metric": "ttft"}}}]
    ours = [{"extra_info": {"llmperf": record}} for record in records]
    entries = [{"fullname": f"test_{i}", **entry} for i, entry in enumerate([*foreign, *ours])]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"benchmarks": entries}))
    return str(path)


def test_the_command_prints_the_table_and_draws_the_plot(stored, tmp_path, capsys):
    picture = tmp_path / "trade.svg"
    assert main(["tradeoff", stored, "--plot", str(picture)]) == 0
    assert "nf4: weights 67 % smaller" in capsys.readouterr().out
    assert "<svg" in picture.read_text()


def test_markdown_has_a_table_and_bullets(stored, capsys):
    assert main(["tradeoff", stored, "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| `transformers-nf4`" in out
    assert "\n- `transformers-nf4`: weights" in out


EVIL = "@org/team|`<h1>\x1b[31m"


@pytest.fixture
def evil_trade_offs(records):
    """Trade-offs in which model, engine and test have text of others."""
    for record in records:
        cell = f"{EVIL}-{EVIL}-{record['quantization']['mode']}"
        record["model"]["name"] = record["backend"]["name"] = EVIL
        record["nodeid"] = f"{EVIL}::{record['nodeid'].replace(record['cell'], cell)}"
        record["cell"] = cell
    return trade_offs(records)


def test_text_of_others_cannot_control_a_terminal(evil_trade_offs):
    shown = "\n".join(lines(evil_trade_offs))
    assert "\x1b" not in shown
    assert r"@org/team|`<h1>\x1b[31m-nf4: weights" in shown


def test_text_of_others_in_markdown_is_in_code_spans(evil_trade_offs):
    shown = lines(evil_trade_offs, "github")
    assert shown[0].startswith(r"| ``@org/team\|`<h1>\x1b[31m``")
    assert shown[2].startswith(r"| ``@org/team\|`<h1>\x1b[31m-none``")
    assert any(line.startswith(r"- ``@org/team|`<h1>\x1b[31m-nf4``: weights") for line in shown)
    assert shown[-1].startswith(r"speed and memory: ``@org/team|`<h1>\x1b[31m::")


def test_a_plot_in_a_folder_that_is_missing_is_one_line(stored, tmp_path, capsys):
    assert main(["tradeoff", stored, "--plot", str(tmp_path / "none" / "trade.svg")]) == 3
    assert f"--plot {tmp_path}/none/trade.svg: No such file or directory" in capsys.readouterr().err


def test_an_unknown_format_of_a_plot_is_one_line(stored, tmp_path, capsys):
    assert main(["tradeoff", stored, "--plot", str(tmp_path / "trade.xyz")]) == 3
    assert "Format 'xyz' is not supported" in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_is_one_line(stored, tmp_path, capsys):
    picture = tmp_path / "no folder" / "trade.png"
    assert main(["tradeoff", stored, "--plot", str(picture)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"pytest-llmperf tradeoff: --plot {picture}: No such file or directory"


def test_runs_without_two_qualities_say_what_to_run(record, tmp_path, capsys):
    speed = {"fullname": "test_0", "extra_info": {"llmperf": record("none", ttft=0.1)}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"benchmarks": [speed]}))
    assert main(["tradeoff", str(path)]) == 3
    assert capsys.readouterr().err == (
        "pytest-llmperf tradeoff: no model has two modes with a perplexity: store a run "
        "(--benchmark-autosave) of a test with llm_benchmark.quality(llm) and a speed test, in several "
        "modes (--llm-quant=all)\n"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not complete JSON ("),
        ('{"benchmarks": [{"extra_info": 3}]}', "does not hold what schema 1 says ("),
        ("[]", "is not a file of pytest-benchmark"),
        ('{"benchmarks": []}', "holds no measurement of pytest-llmperf"),
    ],
)
def test_a_file_that_is_no_stored_run_is_one_line(tmp_path, capsys, content, reason):
    path = tmp_path / "run.json"
    path.write_text(content)
    assert main(["tradeoff", str(path)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pytest-llmperf tradeoff: {path}: {reason}")


def test_the_words_say_than_what_on_which_machine_and_at_which_size(records):
    printed = lines(trade_offs(records))
    assert (
        "each mode against none on the same engine, on NVIDIA H100; speed with 8 input and 4 output "
        "tokens, batch 1:"
    ) in printed


def test_weights_may_come_from_any_test_of_a_cell(record, records):
    # nf4 was measured in a test of its own, so the speeds cannot be compared.
    records[1]["nodeid"] = "test_nf4.py::test_n[m-transformers-nf4]"
    (found,) = trade_offs(records)
    assert found.points[1].values == {
        "model_memory": 100.0,
        "perplexity": 10.4,
        "top1_agreement": 0.9,
    }
    assert found.words() == [
        "transformers-nf4: weights 67 % smaller, perplexity +4.0 %, 90 % of next tokens the same"
    ]


def test_a_cell_without_a_value_has_no_row(record, records):
    records.append(record("int8", test="test_other.py::test_o", ttft=0.1))
    (found,) = trade_offs(records)
    assert [point.mode for point in found.points] == ["none", "nf4"]


def test_a_narrow_terminal_has_whole_lines(records):
    printed = lines(trade_offs(records), width=60)
    assert max(map(len, printed)) <= 60


def test_the_plot_says_where_good_is_and_what_is_not_drawn(record, records, tmp_path):
    records += [
        record("none", backend="vllm", output_throughput=90.0, perplexity=10.0),
        record("q4_1", backend="llama-cpp", output_throughput=99.0),
    ]
    picture = tmp_path / "trade.svg"
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        plot(trade_offs(records)[0], picture)
    drawn = picture.read_text()
    for words in (
        "the lower right is good",
        "NVIDIA H100, 8 input and 4 output tokens, batch 1",
        "transformers-nf4",
        "vllm-none",
        "not drawn, as speed or perplexity is missing: llama-cpp-q4_1",
    ):
        assert words in drawn
