from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_client import ExtraInputs
from sax_util import goflags
from sax_util.extra import BadExtraError, parse_extra
from sax_util.goflags import Duration, Flag, UsageError, parse

FLAGS = (Flag("n", 0, ""), Flag("csv", False, ""), Flag("extra", "", ""), Flag("wait", Duration("60s"), ""))  # noqa: FBT003


@pytest.mark.parametrize("argv", [["-n=3"], ["--n=3"], ["-n", "3"], ["--n", "3"]])
def test_four_ways(argv):
    """A flag has one or two dashes, and its value after an equals sign or in the next argument."""
    assert parse(argv, FLAGS).values["n"] == 3


def test_booleans():
    """A boolean never takes the next argument; it is made false with an equals sign."""
    assert parse(["-csv", "false"], FLAGS).rest == ("false",)
    assert parse(["-csv=false"], FLAGS).values["csv"] is False


def test_parsing_stops_at_the_first_positional():
    """Flags after the first other argument are arguments; so is everything after two dashes."""
    assert parse(["-csv", "a", "-n=1"], FLAGS).rest == ("a", "-n=1")
    assert parse(["--", "-n=1"], FLAGS).rest == ("-n=1",)
    assert parse(["-", "-n=1"], FLAGS).rest == ("-", "-n=1")


def test_empty_value():
    """An equals sign with nothing behind it is an empty value."""
    assert parse(["-extra=", "x"], FLAGS).rest == ("x",)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["-csw"], r"not defined: -csw \(did you mean -csv\?\)"),
        (["-n"], "needs an argument: -n"),
        (["-n=x"], "invalid value 'x' for flag -n"),
        (["-csv=maybe"], "invalid value 'maybe'"),
        (["-wait=5"], "invalid duration"),
    ],
)
def test_errors_name_the_flag(argv, words):
    """A wrong command line says which flag and what is wrong."""
    with pytest.raises(UsageError, match=words):
        parse(argv, FLAGS)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("0", 0)]
)
def test_durations(text, seconds):
    """Durations are written as in Go."""
    assert goflags.duration_s(text) == pytest.approx(seconds)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_command_line_parses_or_is_a_usage_error(argv):
    """Nothing that a person may type ends in another exception, and no argument is lost."""
    try:
        parsed = parse(argv, FLAGS)
    except UsageError:
        return
    assert parsed.rest == tuple(argv[len(argv) - len(parsed.rest) :])


def test_extra_inputs():
    """Quoted values are strings, numbers are numbers, all else is a string."""
    assert parse_extra("t:0.5,s:'1',u:abc,v:\"x y\"") == ExtraInputs(
        {"t": 0.5}, {}, {"s": "1", "u": "abc", "v": "x y"}
    )
    assert parse_extra("") is None


@pytest.mark.parametrize("text", ["a", "a:b:c", "a:1,,b:2", ":1"])
def test_bad_extra_inputs(text):
    """An item without exactly one colon is refused."""
    with pytest.raises(BadExtraError):
        parse_extra(text)
