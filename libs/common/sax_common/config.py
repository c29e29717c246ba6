"""Configuration: flags over SAX_* environment over one optional TOML file, checked into one frozen value.

A program says what it can be told as a subclass of `Config` (pydantic: types, defaults, descriptions,
constraints) and calls `load` once, before anything else. The life of a setting `port`:

    TOML file of --config_file      port = 10000       weakest
    environment SAX_PORT            10001              (a flag called sax_root is just SAX_ROOT)
    flag -port=10002, --port 10002  10002              strongest; the last one wins

then pydantic turns the text into the type and checks it; a bad value ends the program with status 2 and names
the setting, what was given, and where it was given. `--help` teaches; `--print_config` prints what would be
used, as a TOML file that `--config_file` reads back; secrets (`SecretStr`) are never printed.

Flags follow the rules of Go and absl, which argparse cannot, so the scanner is ours: `-x` and `--x` are
equal, `x-y` is `x_y`; a bool takes a value only after `=` (`-x=false`, absl's `-nox`), all others take the
next argument whatever it looks like; scanning stops at the first argument that is not a flag, or after `--`.
Lists are comma-separated with CSV quoting, as absl's.

Nothing here starts, opens or remembers anything but the configuration file.
"""

import csv
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from sax_common.config_text import (
    RESERVED,
    config_text,
    help_text,
    is_bool,
    is_list,
    is_secret,
    near,
    variable,
)

ConfigT = TypeVar("ConfigT", bound="Config")

_DURATION_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|us|\u00b5s|ns|m|s)", re.ASCII)
HELP_SPELLINGS = frozenset({"h", "helpfull", "helpshort"})


class Config(BaseModel):
    """What a program can be told. Subclass it with annotated fields; instances never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class LogFlags(Config):
    """The logging flags that users of the original type (glog and absl)."""

    v: int = Field(
        default=0, description="Verbosity: 0 says what users need, 1 and more say how it came about."
    )
    logtostderr: bool = Field(default=False, description="Log to standard error and not to files.")
    alsologtostderr: bool = Field(
        default=False, description="Log to standard error also when log_dir is set."
    )
    stderrthreshold: str = Field(
        default="INFO", description="The least severity that goes to standard error."
    )
    log_dir: str = Field(default="", description="Folder for a log file; empty: standard error only.")
    vmodule: str = Field(default="", description="Accepted for the original's sake, without effect.")
    log_backtrace_at: str = Field(default="", description="Accepted for the original's sake, without effect.")

    @property
    def is_logging_to_stderr(self) -> bool:
        """Standard error is used unless log lines go to a folder only."""
        return self.logtostderr or self.alsologtostderr or not self.log_dir


def parse_duration_s(text: object) -> object:
    """Turn Go's `1m30s` or `500ms` into seconds; a number is seconds already. ValueError for other text."""
    if not isinstance(text, str) or re.fullmatch(r"\d+(\.\d*)?([eE][-+]?\d+)?", text, re.ASCII):
        return text  # Pydantic checks numbers.
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise ValueError("must be a number of seconds or a duration such as 500ms, 60s or 1m30s")
    return sum(float(part[1]) * _DURATION_UNITS_S[part[2]] for part in parts)


DurationS = Annotated[float, BeforeValidator(parse_duration_s), Field(ge=0)]
"""Seconds as a float, written as a number or as a Go duration (`60s`)."""


class _UsageError(Exception):
    """Something in the flags, environment or file that a person must correct."""


@dataclass(frozen=True)
class _Given:
    """A value before it is checked, and where it came from in words for an error message."""

    value: Any
    source: str


def load(
    config_class: type[ConfigT],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    program: str,
    description: str = "",
) -> ConfigT:
    """Make the configuration of a program that takes only flags. `argv` is without the program's name.

    Raises SystemExit: 0 after --help and --print_config, 2 (reason on standard error) for wrong usage.
    """
    config, rest = load_with_rest(config_class, argv, environ, program=program, description=description)
    if rest:
        _fail(program, f"unexpected argument {rest[0]!r}: this program takes only flags")
    return config


def load_with_rest(
    config_class: type[ConfigT],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    program: str,
    description: str = "",
    usage: str = "[flags]",
) -> tuple[ConfigT, list[str]]:
    """Make the configuration from the flags before the first positional argument; return both.

    An empty `environ` switches the environment off (for the flags of subcommands). Ends as `load` does.
    """
    fields = config_class.model_fields
    try:
        flags, rest = _scan(argv, fields)
        if "help" in flags:
            sys.stdout.write(help_text(config_class, program=program, description=description, usage=usage))
            raise SystemExit(0)
        environment = _from_environment(environ, fields)
        chosen = flags.get("config_file") or environment.get("config_file")
        given = {**(_from_file(chosen.value, fields) if chosen else {}), **environment, **flags}
        config = _check(config_class, {name: item for name, item in given.items() if name in fields})
    except _UsageError as error:
        _fail(program, str(error))
    if "print_config" in given and _is_true(given["print_config"].value):
        sys.stdout.write(config_text(config, {name: item.source for name, item in given.items()}))
        raise SystemExit(0)
    return config, rest


def _scan(argv: Sequence[str], fields: Mapping[str, FieldInfo]) -> tuple[dict[str, _Given], list[str]]:
    """Read flags up to the first argument that is none (the rule of Go's package flag)."""
    given: dict[str, _Given] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        name, value = _read_flag(argument, fields)
        if value is None:
            if not rest:
                raise _UsageError(f"flag {argument} needs a value")
            value = rest.pop(0)
        given[name] = _Given(_split(value, fields.get(name)), "flag")
    return given, rest


def _read_flag(argument: str, fields: Mapping[str, FieldInfo]) -> tuple[str, str | None]:
    """Say which setting one argument means and its value; None when the value is the next argument."""
    spelled, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
    name = spelled.replace("-", "_")
    if name in fields or name in RESERVED:
        if equals:
            return name, value
        is_alone = is_bool(fields[name]) if name in fields else name != "config_file"
        return name, "true" if is_alone else None
    if name in HELP_SPELLINGS:
        return "help", "true"
    positive = name.removeprefix("no")
    if not equals and positive in fields and is_bool(fields[positive]):
        return positive, "false"
    raise _UsageError(f"unknown flag {argument.partition('=')[0]}{near(name, fields)}")


def _from_environment(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> dict[str, _Given]:
    given = {}
    for name in [*fields, "config_file"]:
        key = variable(name)
        text = environ.get(key, "")
        # Kubernetes sets SAX_PORT=tcp://10.0.0.1:80 in every pod beside a Service named "sax".
        if text and not (key.endswith("_PORT") and text.startswith("tcp://")):
            given[name] = _Given(_split(text, fields.get(name)), f"environment {key}")
    return given


def _from_file(path: str, fields: Mapping[str, FieldInfo]) -> dict[str, _Given]:
    try:
        with Path(path).open("rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise _UsageError(f"configuration file {path} cannot be read: {error}") from error
    for name in table:
        if name not in fields:
            raise _UsageError(
                f"configuration file {path} has an unknown setting {name!r}{near(name, fields)}"
            )
    return {name: _Given(value, f"file {path}") for name, value in table.items()}


def _check(config_class: type[ConfigT], given: Mapping[str, _Given]) -> ConfigT:
    try:
        return config_class.model_validate({name: item.value for name, item in given.items()})
    except ValidationError as error:
        reasons = []
        for problem in error.errors(include_url=False, include_context=False):
            name = str(problem["loc"][0]) if problem["loc"] else ""
            if problem["type"] == "missing":
                reasons.append(
                    f"--{name} is required (or {variable(name)}, or {name} in a configuration file)"
                )
            elif name in given:
                field = config_class.model_fields[name]
                value = "the secret value" if is_secret(field) else repr(given[name].value)
                reasons.append(f"--{name}: {value} ({given[name].source}): {problem['msg']}")
            else:
                reasons.append(f"{name}{': ' if name else ''}{problem['msg']}")
        raise _UsageError("; ".join(reasons)) from None  # The cause would show secret values.


def _fail(program: str, reason: str) -> NoReturn:
    sys.stderr.write(f"{program}: {reason}\n(see {program} --help)\n")
    raise SystemExit(2)


def _split(text: str, field: FieldInfo | None) -> Any:
    """Take a list apart at its commas; anything else stays text for pydantic."""
    if field is None or not is_list(field):
        return text
    try:
        return [item for row in csv.reader([text], strict=True) for item in row]
    except csv.Error as error:
        raise _UsageError(f"{text!r} is not a comma-separated list: {error}") from error


def _is_true(value: str) -> bool:
    return value.lower() not in ("false", "f", "0")
