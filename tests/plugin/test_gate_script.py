"""The gate's script and the actions around it, run as CI runs them: a repository of two commits, the
steps of both actions in their order, and a stand-in for ``gh`` that keeps comments in a file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.report.verdicts import MARK

pytest.importorskip("scipy", reason="judging needs the extra gate")

ROOT = Path(__file__).parents[2]
ACTION = (ROOT / "action.yml").read_text("utf-8")
COMMENT = (ROOT / ".github/actions/comment/action.yml").read_text("utf-8")
WORKFLOW = (ROOT / ".github/workflows/gpu-benchmarks.yml").read_text("utf-8")
GATE = ROOT / ".github/scripts/gate.sh"
SCRIPT = GATE.read_text("utf-8")
PROJECT = """
[tool.pytest.ini_options]
llm_backend = ["simulated"]
llm_backend_arg = ["simulated.tpot={tpot}"]
llm_metrics = ["tpot"]
llm_min_effect = ["30%"]
llm_must_see = ["99%"]
"""
TEST = """
def test_speed(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=16, rounds=3, warmup=0)
"""
GH = """#!{python}
import json, os, pathlib, sys
folder = pathlib.Path(os.environ["FAKE_GH"])
arguments = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if (folder / "refuse").exists():
    sys.exit("HTTP 403: Resource not accessible by integration")
state = folder / "comments"
comments = json.loads(state.read_text()) if state.exists() else {{}}
if "--paginate" in arguments:
    print("".join(f"{{number}}\\n" for number in comments), end="")
    sys.exit()
method = arguments[arguments.index("--method") + 1]
target = arguments[arguments.index("--method") + 2]
body = pathlib.Path(arguments[-1].removeprefix("body=@")).read_text()
number = str(len(comments) + 41) if method == "POST" else target.rpartition("/")[2]
state.write_text(json.dumps({{**comments, number: body}}))
"""


@dataclass
class CI:
    """A runner with a checkout of a pull request, number 7."""

    checkout: Path
    place: Path
    exit_code: int = -1
    log: str = ""

    def run(self, **inputs: str) -> CI:
        """The script's steps as the actions have them; the result is that of the first that failed."""
        given = {
            "ARGS": "-p no:cacheprovider",
            "PAIRS": "2",
            "MORE_PAIRS": "2",
            "PR": "7",
            **inputs,
        }
        codes = []
        for step in re.findall(r'gate\.sh" (\w+)', ACTION + COMMENT):
            done = self.step(step, FOLDER=self.outputs.get("folder", ""), **given)
            self.log += done.stdout + done.stderr
            codes.append(done.returncode)
        self.exit_code = next((code for code in codes if code), 0)
        return self

    def step(self, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GATE, name],
            cwd=self.checkout,
            env=self.environment(**inputs),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def environment(self, **inputs: str) -> dict[str, str]:
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GITHUB_"))
        }
        return {
            **inherited,
            "PATH": f"{self.place / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "FAKE_GH": str(self.place),
            "RUNNER_TEMP": str(self.place),
            "GITHUB_OUTPUT": str(self.place / "output"),
            "GITHUB_STEP_SUMMARY": str(self.place / "summary"),
            "GITHUB_REPOSITORY": "us/ours",
            "GITHUB_RUN_ID": "123",
            "GATE_PYTHON": sys.executable,
            **{f"GATE_{key}": value for key, value in inputs.items()},
        }

    @property
    def outputs(self) -> dict[str, str]:
        file = self.place / "output"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    @property
    def summary(self) -> str:
        return (self.place / "summary").read_text()

    @property
    def comments(self) -> dict[str, str]:
        file = self.place / "comments"
        return json.loads(file.read_text()) if file.exists() else {}

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.place / "calls").read_text().splitlines()]

    def commit(self, tpot: float, test: str = TEST) -> None:
        (self.checkout / "pyproject.toml").write_text(PROJECT.format(tpot=tpot))
        (self.checkout / "test_speed.py").write_text(test)
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "-m", f"tpot={tpot}")

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=self.checkout, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def new_ci(tmp_path_factory):
    """A fresh runner whose checkout has one commit for each time per output token."""

    def make(*times: float) -> CI:
        place = tmp_path_factory.mktemp("runner")
        (place / "bin").mkdir()
        gh = place / "bin" / "gh"
        gh.write_text(GH.format(python=sys.executable))
        gh.chmod(0o755)
        ci = CI(place / "checkout", place)
        ci.checkout.mkdir()
        ci.git("init", "--quiet", "--initial-branch=main")
        for tpot in times:
            ci.commit(tpot)
        return ci

    return make


@pytest.fixture(scope="module")
def slower(new_ci):
    """The gate of a pull request that is slower than the commit before."""
    return new_ci(0.004, 0.008).run()


@pytest.fixture(scope="module")
def broken(new_ci):
    """The gate of a pull request whose baseline is not a commit."""
    return new_ci(0.004).run(BASE="nowhere")


def test_an_unchanged_pull_request_is_green(new_ci):
    # The base branch went on after the pull request left it; what it gained is not judged.
    ci = new_ci(0.004, 0.002)
    tip = ci.git("rev-parse", "HEAD")
    ci.git("switch", "--quiet", "-c", "work", "HEAD~1")
    ci.commit(0.004)
    ci.run(PR_BASE=tip)
    assert ci.exit_code == 0, ci.log
    assert ci.summary.startswith(MARK)
    assert ci.outputs["exit-code"] == "0"
    assert "regression" not in ci.outputs["verdict"]
    assert ci.git("rev-parse", "HEAD~1")[:10] in ci.summary


def test_a_slower_pull_request_is_red_and_its_verdict_is_posted(slower):
    assert slower.exit_code == 1, slower.log
    assert slower.outputs["exit-code"] == "1"
    assert slower.outputs["verdict"] == "1 regression"
    assert "LLM performance: regression" in slower.summary
    (comment,) = slower.comments.values()
    assert comment.startswith(slower.summary)
    assert "https://github.com/us/ours/actions/runs/123" in comment


def test_the_uploaded_folder_has_every_measurement(slower):
    folder = Path(slower.outputs["folder"])
    assert slower.outputs["artifact"] == folder.name
    names = {file.name for file in folder.iterdir()}
    assert {"verdict.json", "verdict.md", "output.txt", "pair-04-head.json"} <= names
    assert "1 regression" in (folder / "output.txt").read_text()


def test_a_second_verdict_replaces_the_first(slower):
    first = set(slower.comments)
    page = Path(slower.outputs["folder"]) / "comment.md"
    before = page.read_text()
    page.write_text(f"{before}\nagain")
    slower.step("comment", PR="7", FOLDER=str(page.parent))
    assert set(slower.comments) == first
    assert slower.comments == dict.fromkeys(first, f"{before}\nagain")
    methods = [c[c.index("--method") + 1] for c in slower.calls if "--method" in c]
    assert methods == ["POST", "PATCH"]
    assert slower.calls[-1][4] == f"repos/us/ours/issues/comments/{next(iter(first))}"


def test_only_our_own_marked_comments_are_looked_for(slower):
    listing = next(call for call in slower.calls if "--paginate" in call)
    assert listing[2] == "repos/us/ours/issues/7/comments?per_page=100"
    assert f'startswith("{MARK}")' in listing[-1]
    assert '.user.login == "github-actions[bot]"' in listing[-1]


def test_a_comparison_that_breaks_says_so(broken):
    assert broken.exit_code == 3
    assert broken.outputs["exit-code"] == "3"
    assert broken.outputs["verdict"] == "no verdict: the comparison broke"
    assert broken.summary.startswith(f"{MARK}\n### LLM performance: the comparison broke")
    assert "    pytest-llmperf ab: 'nowhere' is not a commit of the repository" in broken.summary
    assert next(iter(broken.comments.values())).startswith(broken.summary)


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"ARGS": "-k 'open"}, "    args: No closing quotation"),
        ({"PAIRS": "many"}, "'many' is not a whole number of at least 2"),
        ({"STRICT": "yes"}, "    strict has to be true or false, not 'yes'"),
        ({"PYTHON": "no-such-python"}, "no-such-python: command not found"),
    ],
)
def test_a_wrong_input_is_no_verdict(new_ci, inputs, line):
    ci = new_ci(0.004).run(**inputs)
    assert ci.exit_code == 3
    assert line in ci.summary


def test_a_python_without_the_plugin_is_no_regression(new_ci, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    ci = new_ci(0.004).run(PYTHON=str(python))
    assert ci.exit_code == 3, "Python itself ends with 1"
    assert "No module named" in ci.summary


def test_no_input_is_run_or_expanded(new_ci):
    evil = "--x $(touch hit) `touch hit` ; touch hit"
    ci = new_ci(0.004).run(BASE=evil, HEAD=evil, ARGS=evil, PR_BASE=evil)
    assert ci.exit_code == 3
    assert f"    pytest-llmperf ab: '{evil}' is not a commit" in ci.summary
    assert not (ci.checkout / "hit").exists()


def test_a_cancelled_job_leaves_nothing_running(new_ci, wait_until):
    ci = new_ci(1.0, 1.0)
    log = ci.place / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [GATE, "measure"],
            cwd=ci.checkout,
            env=ci.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            # As a runner starts it, also when this suite itself runs in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    wait_until(lambda: list(ci.place.glob("*/pair-01-base.log")), "the first run", 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 3
    assert "pytest-llmperf ab: interrupted" in log.read_text()
    assert len(ci.git("worktree", "list").splitlines()) == 1


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"PR": ""}, "no comment: not a pull request\n"),
        ({"PR": "7", "FOLDER": ""}, "::warning::no comment: nothing was measured\n"),
    ],
)
def test_no_comment_where_none_is_wanted(broken, inputs, said):
    calls = broken.calls
    done = broken.step("comment", **{"FOLDER": broken.outputs["folder"], **inputs})
    assert (done.returncode, done.stdout) == (0, said)
    assert broken.calls == calls


def test_a_refused_comment_is_a_warning(new_ci, broken):
    ci = new_ci(0.004)
    (ci.place / "refuse").touch()
    done = ci.step("comment", PR="7", FOLDER=broken.outputs["folder"])
    assert done.returncode == 0
    assert "::warning::no comment: the pull request's comments cannot be read" in done.stdout


def test_a_long_page_is_cut_to_what_github_takes(new_ci):
    ci = new_ci(0.004)
    script = SCRIPT.replace('main "$@"', 'fitting "$1" 1000')
    page = ci.place / "page"
    page.write_text("<details>\n" + "a line\n" * 1000)
    done = subprocess.run(["bash", "-c", script, "x", page], capture_output=True, text=True)
    assert len(done.stdout) < 1100
    assert done.stdout.endswith("the whole page is verdict.md in the artifact.\n")


def test_the_actions_give_the_script_what_it_reads():
    assert set(re.findall(r"\$\{?(GATE_\w+)", SCRIPT)) | {"GATE_ARGS"} == set(
        re.findall(r"^ +(GATE_\w+): ", ACTION + COMMENT, re.MULTILINE)
    )
    assert f"MARK='{MARK}'" in SCRIPT


def test_no_expression_stands_in_a_shell_script():
    actions = [ROOT / "action.yml", *(ROOT / ".github/actions").glob("*/action.yml")]
    for file in [*actions, *(ROOT / ".github/workflows").glob("gpu-*.yml")]:
        text = file.read_text("utf-8")
        for block in re.findall(r"^( *)(?:- )?run: (.*\n(?:\1 {3,}.*\n|\n)*)", text, re.MULTILINE):
            assert "${{" not in block[1], f"{file.name}: {block[1]}"


HOSTILE = """
import json, os, pathlib
place = pathlib.Path(os.environ["RUNNER_TEMP"])
(place / "seen").write_text(json.dumps(dict(os.environ)))
# It needs no variable to find the files.
with (place / "env").open("a") as file:
    file.write("BASH_ENV=/evil\\n")
with (place / "path").open("a") as file:
    file.write("/evil\\n")
with (place / "output").open("a") as file:
    file.write("folder=/evil\\n")
with (place / "summary").open("a") as file:
    file.write("all is well\\n")
"""


@pytest.fixture(scope="module")
def hostile(new_ci):
    """The gate of a pull request whose tests reach for the job's later steps; gives its result."""
    ci = new_ci(0.004)
    ci.commit(0.004, HOSTILE + TEST)
    (ci.place / "env").write_text("EARLIER=1\n")
    (ci.place / "path").touch()
    (ci.place / "state").touch()
    given = {
        **ci.environment(ARGS="-p no:cacheprovider", PAIRS="2", MORE_PAIRS="0", SETUP="true"),
        "GITHUB_ENV": str(ci.place / "env"),
        "GITHUB_PATH": str(ci.place / "path"),
        "GITHUB_STATE": str(ci.place / "state"),
        "GITHUB_TOKEN": "ghs_secret",
        "GH_TOKEN": "ghs_secret",
        "ACTIONS_RUNTIME_TOKEN": "ghs_secret",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "ghs_secret",
    }
    done = subprocess.run(
        [GATE, "measure"], cwd=ci.checkout, env=given, capture_output=True, text=True, timeout=120
    )
    ci.exit_code, ci.log = done.returncode, done.stdout + done.stderr
    return ci


def test_measured_code_has_nothing_of_the_runner(hostile):
    assert hostile.exit_code == 0, hostile.log
    seen = json.loads((hostile.place / "seen").read_text())
    private = re.compile(
        r"GITHUB_(ENV|PATH|OUTPUT|STATE|STEP_SUMMARY|TOKEN)|GH_TOKEN|ACTIONS_.*|GATE_.*"
    )
    assert [name for name in seen if private.fullmatch(name)] == []
    assert "ghs_secret" not in seen.values()
    assert seen["GITHUB_REPOSITORY"] == "us/ours", "what is public stays"


def test_what_measured_code_writes_for_later_steps_is_taken_back(hostile):
    assert (hostile.place / "env").read_text() == "EARLIER=1\n"
    assert (hostile.place / "path").read_text() == ""
    assert "/evil" not in (hostile.place / "output").read_text()
    assert hostile.summary.startswith(MARK)
    for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        line = f"::warning::measured code wrote to {name}, which changes later steps: taken back"
        assert line in hostile.log.splitlines()


def test_the_action_that_runs_foreign_code_has_no_token_and_the_other_runs_none():
    assert not re.search("token", ACTION.partition("\nruns:")[2], re.IGNORECASE)
    measuring, comment = re.findall(
        r"^  (?:gate|comment):\n(.*?)(?=^  [#\w]|\Z)", WORKFLOW, re.MULTILINE | re.DOTALL
    )
    assert "write" not in measuring
    assert "pull-requests: write" in comment
    assert "runs-on: ubuntu-latest" in comment
    assert re.findall(r"uses: (.*)", comment) == [
        "actions/checkout@v5",
        "./.github/actions/comment",
    ]
    assert "ref: ${{ github.event.pull_request.base.sha }}" in comment
    assert "run:" not in comment


@pytest.mark.parametrize("page", ["a page of its own\n", "x" * 200_000])
def test_a_page_of_the_measuring_machine_is_one_marked_comment(new_ci, tmp_path, page):
    ci = new_ci(0.004)
    (tmp_path / "comment.md").write_text(page)
    done = ci.step("comment", PR="7", FOLDER=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (comment,) = ci.comments.values()
    assert comment.startswith(MARK)
    assert len(comment) < 65_536


def test_a_link_is_no_page(new_ci, tmp_path):
    ci = new_ci(0.004)
    (tmp_path / "comment.md").symlink_to(ROOT / "LICENSE")
    done = ci.step("comment", PR="7", FOLDER=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "::warning::no comment: nothing was measured\n")
    assert ci.comments == {}


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"RUNNER_TEMP": "/nosuch"}, "RUNNER_TEMP or TMPDIR (/nosuch) cannot be written"),
        ({"GITHUB_OUTPUT": "/nosuch/x"}, "GITHUB_OUTPUT (/nosuch/x) cannot be written"),
        ({"GITHUB_STEP_SUMMARY": "/nosuch/x"}, "GITHUB_STEP_SUMMARY (/nosuch/x) cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_no_regression_and_nothing_is_measured(
    new_ci, variables, line
):
    ci = new_ci(0.004)
    done = subprocess.run(
        [GATE, "measure"],
        cwd=ci.checkout,
        env={**ci.environment(BASE="HEAD"), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert (done.stdout, done.stderr) == ("", f"gate.sh: no verdict: {line}\n")


def test_a_summary_that_fails_at_the_end_is_no_regression(new_ci):
    ci = new_ci(0.004)
    done = subprocess.run(
        [GATE, "measure"],
        cwd=ci.checkout,
        # Opened without complaint, as on a disk that is full.
        env={**ci.environment(BASE="nowhere"), "GITHUB_STEP_SUMMARY": "/dev/full"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    last = "gate.sh: no verdict: this script failed (its last message says why)"
    assert done.stderr.splitlines()[-1] == last
