"""Whatever is written for an option of a command, it ends with an exit code and a line, no traceback."""

import argparse

import pytest
from test_nasty_values import NASTY

from pytest_llmperf.cli.main import main, parser

(SUBCOMMANDS,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
OPTIONS = [
    (command, action.option_strings[0])
    for command, of_command in SUBCOMMANDS.choices.items()
    for action in of_command._actions
    if action.option_strings and action.nargs != 0
]
POSITIONALS = {
    command: [
        action.dest
        for action in of_command._actions
        if not action.option_strings and action.nargs != "*"
    ]
    for command, of_command in SUBCOMMANDS.choices.items()
}
REQUIRED = {"fit": ["--size=16GiB"]}
TEXTS = {name: text for name, text in NASTY.items() if len(text) < 1_000_000} | {"empty": ""}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder with a storage."""
    (tmp_path / ".benchmarks").mkdir()
    (tmp_path / "pytest.ini").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("PYTEST_LLMPERF_CACHE", str(tmp_path / "cache"))

    def stop(comparison):
        raise OSError("nothing is measured here")

    monkeypatch.setattr("pytest_llmperf.ab.comparison.Comparison.run", stop)


def check(code, capsys):
    written = capsys.readouterr()
    assert code in (0, 1, 2, 3)
    assert "Traceback" not in written.err
    last = written.err.rstrip("\n").rpartition("\n")[2]
    assert len(last) < 3_000 or code == 0


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_nasty_value_of_a_command_is_one_line(command, option, capsys):
    given = [*REQUIRED.get(command, ()), *POSITIONALS[command]]
    for text in TEXTS.values():
        check(main([command, *given, f"{option}={text}"]), capsys)


@pytest.mark.parametrize("command", ["compare", "fit", "history", "tradeoff"])
def test_a_nasty_name_of_a_run_is_one_line(command, capsys):
    number = max(len(POSITIONALS[command]), 1)
    for text in TEXTS.values():
        check(main([command, *REQUIRED.get(command, ()), *["./" + text] * number]), capsys)
