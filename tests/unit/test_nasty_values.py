"""Whatever is written for any option of the table, the answer is a value or one line."""

import json

import pytest
from test_options import BY_NAME, Config

from pytest_llmperf.core.values import check_whole, expanded
from pytest_llmperf.core.workload import Workload
from pytest_llmperf.session.values import backend_arg

WITH_VALUE = [name for name, option in BY_NAME.items() if option.metavar]
NASTY = {
    "blank": " ",
    "comma": ",",
    "NUL": "\0",
    "NUL inside": "a\0b",
    "surrogate": "\ud800",
    "bytes of a path": "a\udcff/b",
    "unknown user": "~nosuchuser",
    "folder of an unknown user": "~nosuchuser/m",
    "long name": "a" * 300,
    "long GGUF file": "a" * 300 + ".gguf",
    "long file on the hub": "a/b/" + "c" * 300 + ".gguf",
    "long path": "/a" * 5000,
    "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "400 digits with a unit": "9" * 400 + "GiB",
    "400 digits of a share": "0." + "0" * 400 + "1",
    "10^30": "1" + "0" * 30,
    "2^70": str(2**70),
    "float beyond": "1e10",
    "no finite float": "1e400",
    "inf": "inf",
    "nan": "nan",
    "negative": "-1",
    "tiny": "5e-324",
    "digits of another script": "٣",
    "superscript": "²",
    "deep list": "[" * 100_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "number beyond 64 bits in JSON": f"[{2**70}]",
    "NaN in JSON": '{"a": [NaN]}',
    "equals": "=",
    "colon": ":",
    "dots": "..",
    "device": "/dev/zero",
    "line end": "a\nb",
    "escape": "\x1b[31m",
    "format": "%s {} {0} %(x)s",
    "one million commas": "," * 1_000_000,
}
BEFORE = {
    "llm-model": ("own=",),
    "llm-backend": ("simulated@",),
    "llm-backend-arg": ("simulated.seed=", "simulated."),
    "llm-python": ("simulated=",),
    "llm-fail-if": ("ttft.p50:", "ttft.p50:+", "ttft."),
    "llm-min-effect": ("ttft:",),
    "llm-must-see": ("ttft:",),
}
"""What stands before a nasty part, where a value has several."""


def outcome(option, config):
    """Return an option's value, or the one line that refuses it."""
    try:
        return option.value(config), None
    except pytest.UsageError as error:
        (line,) = error.args
        return None, line


def check_line(option, line):
    assert line.startswith((option.flag, option.ini))
    assert line.isprintable()
    assert len(line) < 2_000


def check_value(value):
    """A value can be sent to the engine's process and be stored."""
    text = json.dumps(value, allow_nan=False, default=str)
    text.encode()
    assert "=inf" not in text


def check(option, config):
    value, line = outcome(option, config)
    if line is None:
        check_value(value)
    else:
        check_line(option, line)


@pytest.mark.parametrize("name", WITH_VALUE)
def test_a_nasty_value_of_the_command_line_is_a_value_or_one_line(name):
    option = BY_NAME[name]
    for text in NASTY.values():
        for before in ("", *BEFORE.get(name, ())):
            given = before + text
            check(option, Config({option.ini: [given] if option.many else given}))


@pytest.mark.parametrize("name", WITH_VALUE)
def test_a_nasty_value_of_the_ini_file_is_a_value_or_one_line(name):
    option = BY_NAME[name]
    for text in NASTY.values():
        check(option, Config(ini={option.ini: [text] if option.many else text}))


@pytest.mark.parametrize("name", WITH_VALUE)
def test_another_type_in_toml_is_a_value_or_one_line(name):
    option = BY_NAME[name]
    for given in (5, 2.5, True, [1, 2], ["a", None], [["a"]], {"a": 1}, [{}], b"a"):
        check(option, Config(ini={option.ini: given}))


@pytest.mark.parametrize("name", WITH_VALUE)
def test_an_empty_value_is_a_mistake(name):
    option = BY_NAME[name]
    for text in ("", " "):
        _, line = outcome(option, Config({option.ini: [text] if option.many else text}))
        assert line is not None, f"{option.flag}={text}"
        _, line = outcome(option, Config(ini={option.ini: [text] if option.many else text}))
        assert line is not None, f"{option.ini} = {text}"
    _, line = outcome(option, Config(ini={option.ini: []}))
    assert line == (
        f"{option.ini}: the value is empty (a variable that is not set?): give {option.metavar}, "
        "or leave the option out"
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("llm-model", "", "--llm-model: the value is empty (a variable that is not set?): give "),
        ("llm-backend", ",", "--llm-backend: the value is empty (a variable that is not set?)"),
        ("llm-revision", "", "--llm-revision: the value is empty (a variable that is not set?)"),
        ("llm-timeout", "1e10", "--llm-timeout: '1e10' is more than 1,000,000,000"),
        ("llm-rounds", "1" + "0" * 30, f"--llm-rounds: '1{'0' * 30}' is more than 1,000,000"),
        ("llm-input-len", str(2**70), f"--llm-input-len: '{2**70}' is more than 10,000,000"),
        (
            "llm-model",
            "~nosuchuser/m",
            "--llm-model: '~nosuchuser/m': the home folder of that user is not known",
        ),
        ("llm-model", "a\0b", "--llm-model: 'a\\x00b' holds a NUL character"),
        ("llm-cache-dir", "a\udcff", "--llm-cache-dir: 'a\\udcff' is not text in UTF-8"),
        ("llm-fit", "9" * 400 + "GiB", "--llm-fit: "),
        ("llm-min-effect", "5e-324", "--llm-min-effect: '5e-324' is less than 0.0001%"),
    ],
)
def test_the_line_says_what_is_wrong(name, text, message):
    option = BY_NAME[name]
    _, line = outcome(option, Config({option.ini: [text] if option.many else text}))
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        (" 5", 5),
        ("1_000", 1000),
        ("-5", -5),
        ("2.5", 2.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("nan", "nan"),
        ("Infinity", "Infinity"),
        ("1.2.3", "1.2.3"),
        (str(2**64 - 1), 2**64 - 1),
        ("{not JSON", "{not JSON"),
        ('{"a": [1, "b"]}', {"a": [1, "b"]}),
    ],
)
def test_an_argument_of_an_engine_is_what_its_text_says(text, value):
    _, _, parsed = backend_arg(f"simulated.key={text}")
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (str(2**70), "a whole number has at most 64 bits"),
        ("9" * 5000, "a whole number has at most 64 bits"),
        ("1e400", "inf is not a finite number"),
        ("[" * 51, "is nested more than 50 levels deep"),
        ('{"a": NaN}', "nan is not a finite number"),
    ],
)
def test_an_argument_that_cannot_be_stored_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        backend_arg(f"simulated.key={text}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_len": 2**70}, "input_len must be at most 10,000,000, not "),
        ({"output_len": 2**20000}, "output_len must be at most 10,000,000, not a number of "),
        ({"rounds": 2**70}, "rounds must be at most 1,000,000, not "),
        ({"warmup": 2**70}, "warmup must be at most 1,000,000, not "),
        ({"batch_size": 2**70}, "batch_size must be at most 1,000,000, not "),
        ({"output_len": 2.0}, "output_len must be a whole number of at least 1, not 2.0"),
        ({"input_len": None, "prompt": 5}, "prompt must be a text, not 5"),
        ({"input_len": None, "prompt": ["a", "b"]}, r"prompt must be a text, not \['a', 'b'\]"),
        ({"input_len": None, "prompt": "\ud800"}, r"prompt must be text in UTF-8, not '\\ud800'"),
    ],
)
def test_an_argument_of_a_call_has_bounds_that_are_said(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Workload(**{"input_len": 4, "output_len": 4, **arguments})


def test_an_object_that_cannot_be_shown_is_named_by_its_type():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no")

    with pytest.raises(ValueError, match=r"not a Odd whose repr raises RuntimeError$"):
        check_whole("rounds", Odd(), 1, 10)


def test_variables_are_replaced():
    environment = {"HOME": "/home/some", "N": "4"}
    assert expanded("own=$HOME/m${N}", environment) == "own=/home/some/m4"
    assert expanded("$$HOME costs $5", environment) == "$HOME costs $5"
    with pytest.raises(ValueError, match=r"\$MODEL is not set \(write \$\$ for a dollar sign\)$"):
        expanded("$MODEL", environment)
