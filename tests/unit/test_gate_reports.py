"""Verdicts for people and for programs: terminal, markdown, JSON, exit codes."""

import io
import json
import re

import pytest

from pytest_llmperf.gate.verdict import EntryVerdict, Judgement, Verdict
from pytest_llmperf.report.line import Line, write
from pytest_llmperf.report.markdown import code, code_in_table
from pytest_llmperf.report.verdicts import amount, closing, deliver, lines, markdown, text

SLOW = EntryVerdict(
    "test_speed.py::test_slow[m]",
    "tpot",
    Verdict.REGRESSION,
    unit="s",
    baseline=0.010,
    candidate=0.0106,
    effect=0.06,
    low=0.051,
    high=0.069,
    detectable=0.035,
    n=8,
)
FAST = EntryVerdict(
    "test_speed.py::test_fast[m]",
    "output_throughput",
    Verdict.IMPROVEMENT,
    unit="tokens/s",
    baseline=100.0,
    candidate=125.0,
    effect=-0.2,
    low=-0.21,
    high=-0.19,
    n=3,
)
SAME = EntryVerdict(
    "test_speed.py::test_same[m]",
    "ttft",
    Verdict.PASS,
    unit="s",
    baseline=1.5,
    candidate=1.5,
    effect=0.0,
    low=-0.01,
    high=0.01,
    detectable=0.032,
    n=3,
)
UNSURE = EntryVerdict(
    "test_speed.py::test_noisy[m]",
    "e2e",
    Verdict.INCONCLUSIVE,
    unit="s",
    baseline=0.5,
    candidate=0.54,
    effect=0.08,
    low=-0.05,
    high=0.22,
    detectable=0.17,
    n=3,
    reason="this run could have seen >= 17.0% (80 %); 5% needs 40 pairs",
)
OTHER = EntryVerdict(
    "test_speed.py::test_moved[m]",
    "ttft",
    Verdict.NOT_COMPARABLE,
    reason="GPU: NVIDIA H100 / NVIDIA H200",
)
MEMORY = EntryVerdict(
    "test_speed.py::test_big[m]",
    "peak_memory",
    Verdict.REGRESSION,
    unit="MiB",
    baseline=10000.0,
    candidate=12345.6,
    effect=0.23456,
    n=3,
)


def judged(*entries, mode="pairs", **more):
    return Judgement(mode, "base (abc)", "head (def)", entries, **more)


def many(n, entry):
    return [
        EntryVerdict(f"test_{i}", entry.metric, entry.verdict, reason=f"reason {i}")
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("judgement", "code", "strict"),
    [
        (judged(SAME), 0, 0),
        (judged(SAME, FAST), 0, 0),
        (judged(SAME, SLOW), 1, 1),
        (judged(SAME, UNSURE), 0, 2),
        (judged(SAME, OTHER), 0, 2),
        (judged(SAME, UNSURE, SLOW), 1, 1),
        (judged(OTHER), 3, 3),
        (judged(OTHER, mode="history"), 0, 2),
        (judged(OTHER, SLOW), 1, 1),
        (judged(), 3, 3),
        (judged(mode="history"), 3, 3),
        (judged(SAME, broken=("test_a",)), 3, 3),
        (judged(SLOW, broken=("test_a",)), 1, 1),
        (judged(SAME, new=("test_a",), failures=("c",), notes=("d",)), 0, 0),
        (judged(SAME, gone=("test_b",)), 0, 2),
    ],
)
def test_the_exit_code_says_regression_undecided_or_broken(judgement, code, strict):
    assert judgement.exit_code() == code
    assert judgement.exit_code(strict=True) == strict


def test_the_summary_counts_the_worst_first():
    judgement = judged(SAME, SAME, FAST, UNSURE, OTHER, SLOW, broken=("test_a",))
    assert judgement.summary() == (
        "1 regression, 1 not comparable, 1 inconclusive, 1 improvement, 2 pass, 1 broken"
    )
    assert judged(SLOW, MEMORY, FAST, FAST).summary() == "2 regressions, 2 improvements"
    assert judged().summary() == "nothing to compare"


def test_the_text_begins_with_the_verdict():
    lines = text(judged(SAME, SLOW)).splitlines()
    assert lines[0] == "base (abc) -> head (def): 1 regression, 1 pass"


def test_the_text_names_each_test_that_changed_with_its_metrics_the_worst_first():
    lines = text(judged(SAME, FAST, UNSURE, SLOW, MEMORY)).splitlines()
    assert lines[1:10] == [
        "",
        "regression: test_speed.py::test_big[m]",
        "    peak_memory +23.5% (10,000 MiB to 12,346 MiB; 3 pairs of processes)",
        "regression: test_speed.py::test_slow[m]",
        "    tpot +6.0% (10 ms to 10.6 ms; 90 % interval +5.1% to +6.9%; 8 pairs of processes)",
        "improvement: test_speed.py::test_fast[m]",
        "    output_throughput +25.0% (100 tokens/s to 125 tokens/s; 90 % interval +23.5% to +26.6%; "
        "3 pairs of processes)",
        "",
        "inconclusive: test_speed.py::test_noisy[m] (e2e +8.0%): this run could have seen >= 17.0% "
        "(80 %); 5% needs 40 pairs",
    ]
    assert (
        "1 of 5 entries pass; smallest slowdown that this run would notice: 3.2% (median test)"
    ) in lines
    assert "test_same" not in text(judged(SAME, SLOW))


def slow(metric, effect, baseline, candidate, unit="s"):
    return EntryVerdict(
        "test_speed.py::test_slow[m]",
        metric,
        Verdict.REGRESSION,
        unit=unit,
        baseline=baseline,
        candidate=candidate,
        effect=effect,
        low=effect - 0.01,
        high=effect + 0.01,
        n=3,
    )


# 2 ms became 3 ms, so 216.3 tokens/s became 146.2: 32 % less, and a log-ratio of 1.48.
ONE_CAUSE = (
    slow("output_throughput", 216.3 / 146.2 - 1, 216.3, 146.2, "tokens/s"),
    slow("e2e", 0.47, 0.3, 0.441),
    slow("tpot", 0.5, 0.002, 0.003),
    slow("ttft", 0.32, 0.1, 0.132),
)


def test_one_cause_is_one_test_with_the_metrics_that_follow_in_one_line():
    lines = text(judged(*ONE_CAUSE)).splitlines()
    assert lines[2:6] == [
        "regression: test_speed.py::test_slow[m]",
        "    tpot +50.0% (2 ms to 3 ms; 90 % interval +49.0% to +51.0%; 3 pairs of processes)",
        "    ttft +32.0% (100 ms to 132 ms; 90 % interval +31.0% to +33.0%; 3 pairs of processes)",
        "    so also output_throughput -32.4%, e2e +47.0%",
    ]


def test_one_cause_is_one_bullet_of_the_markdown():
    open_part, _, folded = markdown(judged(*ONE_CAUSE)).partition("<details>")
    (bullet,) = (line for line in open_part.splitlines() if line.startswith("- "))
    assert bullet == (
        "- **regression**: `test_speed.py::test_slow[m]` tpot +50.0% (2 ms to 3 ms), "
        "ttft +32.0% (100 ms to 132 ms), so also output_throughput -32.4%, e2e +47.0%"
    )
    assert "-32.4%" in folded


@pytest.mark.parametrize(
    ("metric", "effect", "change"),
    [
        ("output_throughput", 216.3 / 146.2 - 1, 146.2 / 216.3 - 1),
        ("output_throughput", 223 / 358 - 1, 358 / 223 - 1),
        ("top1_agreement", 0.25, -0.2),
        ("tpot", 0.5, 0.5),
        ("a metric of a later release", 0.5, 0.5),
        ("output_throughput", None, None),
    ],
)
def test_the_change_of_a_rate_is_its_own(metric, effect, change):
    entry = EntryVerdict("test_a", metric, Verdict.PASS, effect=effect)
    assert entry.change == (None if change is None else pytest.approx(change))
    assert entry.as_dict()["effect"] == effect


def test_the_interval_of_a_rate_has_its_lower_end_first():
    entry = EntryVerdict(
        "test_a", "output_throughput", Verdict.PASS, effect=0.25, low=0.0, high=1.0
    )
    assert entry.change_interval == pytest.approx((-0.5, 0.0))


def test_without_tpot_and_ttft_the_latency_is_the_cause():
    lines = text(judged(*ONE_CAUSE[:2])).splitlines()
    assert lines[3].startswith("    e2e +47.0% (300 ms to 441 ms;")
    assert lines[4] == "    so also output_throughput -32.4%"


def test_everything_can_be_shown():
    lines = text(judged(SAME, SLOW), everything=True).splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("pass", "regression"))] == [
        ["regression", "tpot"],
        ["pass", "ttft"],
    ]
    (row,) = (line for line in lines if line.startswith("regression"))
    assert row.split()[2:] == ["10", "ms", "10.6", "ms", "+6.0%", "+5.1%", "to", "+6.9%", "8"]
    assert lines.index("test_speed.py::test_slow[m]") < lines.index(row)
    assert "test_speed.py::test_same[m]" in lines
    assert "entries pass" not in "\n".join(lines)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_text_fits_the_terminal(everything, width):
    judgement = judged(
        SAME, FAST, UNSURE, SLOW, MEMORY, *ONE_CAUSE, notes=("head: " + 30 * "hot ",)
    )
    lines = text(judgement, everything, width).splitlines()
    assert max(map(len, lines)) <= width


def test_the_text_of_a_pass_is_short():
    assert text(judged(SAME)).splitlines() == [
        "base (abc) -> head (def): 1 pass",
        "1 of 1 entries pass; smallest slowdown that this run would notice: 3.2% (median test)",
    ]


MEASURED = {
    "hardware": ["NVIDIA H100"],
    "engines": ["vllm 0.27.1 -> 0.28.0"],
    "workloads": ["128 input and 64 output tokens, batch 1"],
}


def test_the_verdict_names_hardware_versions_and_workload():
    judgement = judged(SAME, measured=MEASURED)
    assert text(judgement).splitlines()[1] == (
        "measured on NVIDIA H100; vllm 0.27.1 -> 0.28.0; 128 input and 64 output tokens, batch 1"
    )
    assert (
        "measured on `NVIDIA H100`; `vllm 0.27.1 -> 0.28.0`; "
        "`128 input and 64 output tokens, batch 1`."
    ) in markdown(judgement).splitlines()
    assert judgement.as_dict()["measured"] == MEASURED


def test_many_workloads_are_counted():
    judgement = judged(SAME, measured={"workloads": [f"batch {n}" for n in range(9)]})
    assert text(judgement).splitlines()[1] == (
        "measured on batch 0 and batch 1 and batch 2 and 6 more workloads"
    )


@pytest.mark.parametrize(
    ("judgement", "strict", "last", "color"),
    [
        (judged(SAME), False, "passed, 1 entry", "green"),
        (judged(SAME, FAST), True, "passed, 2 entries", "green"),
        (judged(SAME, SLOW, MEMORY), False, "FAILED, 2 regressions", "red"),
        (judged(SLOW, broken=("test_a",)), False, "FAILED, 1 regression, 1 test broken", "red"),
        (judged(SAME, UNSURE), False, "passed, but 1 of 2 entries undecided", "yellow"),
        (judged(SAME, UNSURE), True, "FAILED, 1 of 2 entries undecided", "red"),
        (judged(OTHER), False, "FAILED, 1 of 1 entry undecided", "red"),
        (judged(), False, "FAILED, nothing to compare", "red"),
        (judged(SAME, gone=("test_b",)), True, "FAILED, 1 test missing", "red"),
    ],
)
def test_the_last_line_says_what_the_exit_code_says(judgement, strict, last, color):
    line = closing(judgement, strict)
    assert (line.text, line.color) == (f"LLM gate: {last}", color)
    assert (line.color == "red") == bool(judgement.exit_code(strict))


def test_what_changed_has_a_color():
    colors = {line.text.split(":")[0]: line.color for line in lines(judged(SLOW, FAST, UNSURE))}
    assert colors["regression"] == "red"
    assert colors["improvement"] == "green"
    assert colors["inconclusive"] == "yellow"


@pytest.mark.parametrize(
    ("environment", "is_terminal", "colored"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_color_is_for_terminals_that_want_it(monkeypatch, environment, is_terminal, colored):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    write([Line("a", "red"), Line("b")], stream)
    assert stream.getvalue() == ("\x1b[31ma\x1b[0m\nb\n" if colored else "a\nb\n")


def test_the_text_says_why_nothing_was_decided_metrics_of_a_test_together():
    second = EntryVerdict(OTHER.nodeid, "tpot", OTHER.verdict, reason=OTHER.reason)
    lines = text(judged(OTHER, second, UNSURE)).splitlines()
    assert (
        "not comparable: test_speed.py::test_moved[m] (ttft, tpot): GPU: NVIDIA H100 / NVIDIA H200"
    ) in lines
    assert (
        "inconclusive: test_speed.py::test_noisy[m] (e2e +8.0%): this run could have seen >= 17.0% "
        "(80 %); 5% needs 40 pairs"
    ) in lines


def test_the_text_ends_with_what_else_has_to_be_said():
    judgement = judged(
        SAME,
        broken=("test_a",),
        failures=("pair 1 head: boom",),
        new=("test_b",),
        gone=("test_c",),
        notes=("head: hot",),
    )
    assert text(judgement).splitlines()[-5:] == [
        "broken: test_a fails or is skipped on the candidate only",
        "failed: pair 1 head: boom",
        "new (no baseline): test_b",
        "missing (in the baseline only): test_c",
        "note: head: hot",
    ]


KINDS = {
    "not comparable": lambda n: judged(*many(n, OTHER)),
    "inconclusive": lambda n: judged(*many(n, UNSURE)),
    "failed": lambda n: judged(SAME, failures=tuple(map(str, range(n)))),
    "new (no baseline)": lambda n: judged(SAME, new=tuple(map(str, range(n)))),
    "missing (in the baseline only)": lambda n: judged(SAME, gone=tuple(map(str, range(n)))),
    "note": lambda n: judged(SAME, notes=tuple(map(str, range(n)))),
    "broken": lambda n: judged(SAME, broken=tuple(map(str, range(n)))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_has_twenty_lines_of_a_kind_at_most(kind):
    def shown(n):
        # A row of the table begins with only the verdict, a reason with the verdict and a colon.
        lines = text(KINDS[kind](n)).splitlines()
        return [line for line in lines if line.startswith(f"{kind}: ")]

    assert len(shown(20)) == 20
    assert "more of these" not in text(KINDS[kind](20))
    assert len(shown(25)) == 20
    assert "... and 5 more of these" in text(KINDS[kind](25)).splitlines()


def test_markdown_begins_with_the_mark_and_the_verdict():
    lines = markdown(judged(SAME, SLOW)).splitlines()
    assert lines[0] == "<!-- pytest-llmperf verdict -->"
    assert lines[1] == "### LLM performance: regression"
    assert "`base (abc)` against `head (def)`: 1 regression, 1 pass." in lines


@pytest.mark.parametrize(
    ("judgement", "headline"),
    [
        (judged(SAME), "pass"),
        (judged(SAME, FAST), "pass"),
        (judged(SLOW, UNSURE), "regression"),
        (judged(SAME, UNSURE), "no regression found, not everything could be decided"),
        (judged(SAME, OTHER), "no regression found, not everything could be decided"),
        (judged(), "nothing to compare"),
        (judged(SAME, broken=("test_a",)), "tests that ran before fail now"),
    ],
)
def test_the_headline_of_the_markdown_is_the_verdict(judgement, headline):
    assert markdown(judgement).splitlines()[1] == f"### LLM performance: {headline}"


def test_markdown_names_what_changed_and_folds_the_rest():
    page = markdown(judged(SAME, FAST, UNSURE, SLOW, MEMORY, notes=("head: hot",)))
    open_part, _, folded = page.partition("<details>")
    assert open_part.count("\n- ") == 3
    assert (
        "- **regression**: `test_speed.py::test_slow[m]` tpot +6.0% (10 ms to 10.6 ms)"
    ) in open_part
    assert (
        "- **regression**: `test_speed.py::test_big[m]` peak_memory +23.5% "
        "(10,000 MiB to 12,346 MiB)"
    ) in open_part
    assert (
        "- **improvement**: `test_speed.py::test_fast[m]` output_throughput +25.0% "
        "(100 tokens/s to 125 tokens/s)"
    ) in open_part
    assert open_part.index("test_big") < open_part.index("test_slow") < open_part.index("test_fast")
    assert "test_noisy" not in open_part
    assert "test_same" not in open_part
    assert "<summary>1 undecided</summary>" in page
    assert "- inconclusive: `test_speed.py::test_noisy[m]` (e2e +8.0%): `this run" in folded
    (row,) = (line for line in folded.splitlines() if line.startswith("| improvement"))
    assert "+23.5% to +26.6%" in row
    assert "- note: `head: hot`" in folded
    assert "<summary>All 5 entries</summary>" in page
    assert page.count("<details>") == page.count("</details>") == 3


def test_markdown_folds_nothing_that_is_not_there():
    page = markdown(judged(SAME))
    assert page.count("<details>") == 1
    assert "undecided" not in page


def test_a_markdown_page_fits_into_a_comment_on_github():
    """A comment may have 65,536 characters."""
    nodeid = (
        "benchmarks/test_throughput.py::test_throughput[mistral-7b-vllm-none-in1024-out128-b{}]"
    )
    entries = [
        EntryVerdict(
            nodeid.format(i), "output_throughput", UNSURE.verdict, reason=f"{UNSURE.reason} {i}"
        )
        for i in range(500)
    ]
    assert len(markdown(judged(*entries))) <= 65_536


def test_a_test_id_with_a_bar_keeps_the_columns_of_the_table():
    entry = EntryVerdict("test_a[x|y]", "ttft", Verdict.PASS, unit="s", baseline=1.0, candidate=1.0)
    (row,) = (line for line in markdown(judged(entry)).splitlines() if line.startswith("| pass"))
    assert row.replace("\\|", "").count("|") == 9


def test_json_comes_back_as_it_was():
    judgement = judged(
        SLOW, SAME, OTHER, new=("a",), gone=("b",), failures=("c",), broken=("d",), notes=("e",)
    )
    data = json.loads(json.dumps(judgement.as_dict(), allow_nan=False))
    assert data == judgement.as_dict()
    assert data["schema"] == 2
    assert data["summary"] == judgement.summary()
    computed = [
        {key: entry.pop(key) for key in ("change", "change_low", "change_high")}
        for entry in data["entries"]
    ]
    assert computed[0] == {"change": 0.06, "change_low": 0.051, "change_high": 0.069}
    assert computed[2] == {"change": None, "change_low": None, "change_high": None}
    entries = [
        EntryVerdict(**{**entry, "verdict": Verdict(entry["verdict"])}) for entry in data["entries"]
    ]
    assert tuple(entries) == judgement.entries
    rest = ("mode", "baseline", "candidate", "settings")
    assert [data[key] for key in rest] == [getattr(judgement, key) for key in rest]
    lists = ("new", "gone", "failures", "broken", "notes")
    assert [data[key] for key in lists] == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_reports_are_printed_and_written(tmp_path, capsys):
    judgement = judged(SAME, SLOW)
    deliver(judgement, tmp_path / "v.json", tmp_path / "v.md", everything=False)
    assert capsys.readouterr().out == text(judgement) + "\n\nLLM gate: FAILED, 1 regression\n"
    assert json.loads((tmp_path / "v.json").read_text()) == judgement.as_dict()
    assert (tmp_path / "v.md").read_text() == markdown(judgement)


def test_no_file_is_written_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deliver(judged(SAME), None, None, everything=True)
    assert "test_same" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "s", ""),
        (0.0123456, "s", "12.35 ms"),
        (0.0, "s", "0 ms"),
        (1.0, "s", "1 s"),
        (12.3456, "s", "12.35 s"),
        (1234.5, "MiB", "1,234 MiB"),
        (123.456, "tokens/s", "123.5 tokens/s"),
        (3.2, "-", "3.2"),
        (3.2, "", "3.2"),
    ],
)
def test_amounts_read_well(value, unit, shown):
    assert amount(value, unit) == shown


HOSTILE = [
    "test_h[@org/team **approved**]",
    "test_h[![x](https://evil.example/x.png)]",
    "test_h[[log](https://evil.example) #1 www.evil.example]",
    "test_h[</details><h1>PASS</h1>]",
    "test_h[`]",
    "test_h[``` `` `]`",
    "`test_h",
    "test_h[a|b]",
    r"test_h[a\|@org/team|b]",
    "test_h[<!-- pytest-llmperf verdict -->]",
    "test_h[x*y*z-__a__-~~b~~-$c$]",
    " test_h ",
    "test_h[\n\n# PASS\n\n\x1b[31m]",
]


def hostile(name):
    """A judgement in which every text of others is this one."""
    entries = [
        EntryVerdict(
            name, name, verdict, unit=name, baseline=1.0, candidate=2.0, effect=1.0, reason=name
        )
        for verdict in Verdict
    ]
    return Judgement(
        "pairs", name, name, tuple(entries), (name,), (name,), (name,), (name,), (name,)
    )


def without_code(line):
    """A line of markdown without its code spans, read as CommonMark reads them."""
    rest = ""
    while match := re.search("`+", line):
        fence = match.group()
        rest += line[: match.start()]
        end = re.search(f"(?<!`){fence}(?!`)", line[match.end() :])
        assert end, f"no end of {fence} in {line}"
        line = line[match.end() + end.end() :]
    return rest + line


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_others_in_markdown_is_in_code_spans_only(name):
    def ours(page):
        lines = [re.sub("-+", "-", without_code(line)) for line in page.splitlines()]
        return [line.split() for line in lines]

    assert ours(markdown(hostile(name))) == ours(markdown(hostile("x")))


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_others_in_a_table_stays_in_its_cell(name):
    rows = [line for line in markdown(hostile(name)).splitlines() if line.startswith("| ")]
    assert len(rows) == 6
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 9
        assert "\\\\|" not in row


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("test_a[x-1]", "`test_a[x-1]`"),
        ("a`b", "``a`b``"),
        ("`a``", "``` `a`` ```"),
        (" a ", "`  a  `"),
        ("a|b", "`a|b`"),
        ("a\nb", r"`a\nb`"),
        ("", ""),
    ],
)
def test_a_code_span_shows_the_text_as_it_is(name, span):
    assert code(name) == span


@pytest.mark.parametrize(
    ("name", "span"), [("a|b|c", r"`a\|b\|c`"), (r"a\|b", r"`a\\x7cb`"), ("a`|b", r"``a`\|b``")]
)
def test_a_code_span_in_a_table_keeps_its_bars_from_ending_the_cell(name, span):
    assert code_in_table(name) == span


@pytest.mark.parametrize("everything", [False, True])
def test_text_of_others_cannot_control_a_terminal(everything):
    shown = text(hostile("a\x1b]0;owned\x07\x1b[31mred\nb"), everything)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"a\x1b]0;owned\x07\x1b[31mred\nb" in shown
