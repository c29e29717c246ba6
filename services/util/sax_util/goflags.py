"""Go's flag syntax, for a command line that must start fast (no pydantic). Pure.

    -x  --x          a boolean that is true (other flags take the next argument)
    -x=v  --x=v      any flag
    -x v             any flag but a boolean
    --               the end of the flags; so is the first argument that is no flag, and a lone "-"

Flags are described by `Flag` values; `parse` gives a value for each, and what is left.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FlagValue = str | int | bool | float

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class UsageError(Exception):
    """The command line is wrong; programs print it with their usage and end with status 2."""


@dataclass(frozen=True, slots=True)
class Duration:
    """A default in Go's duration syntax, such as ``60s``."""

    text: str


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. The type of `default` says how its value is read."""

    name: str
    default: str | int | bool | Duration
    help: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Values of all flags, which of them were given, and the arguments that are left."""

    values: Mapping[str, FlagValue]
    given: frozenset[str] = field(default_factory=frozenset)
    rest: tuple[str, ...] = ()


def parse(arguments: Sequence[str], flags: Iterable[Flag]) -> Parsed:
    """Read flags up to the first argument that is none. Raises UsageError naming a near match."""
    known = {flag.name: flag for flag in flags}
    values = {flag.name: _default(flag) for flag in known.values()}
    given, position = set(), 0
    while position < len(arguments) and arguments[position].startswith("-") and arguments[position] != "-":
        argument = arguments[position]
        position += 1
        if argument == "--":
            break
        name, has_value, text = argument.removeprefix("-").removeprefix("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}{near(name, known, prefix='-')}")
        if not has_value and not isinstance(flag.default, bool):
            if position == len(arguments):
                raise UsageError(f"flag needs an argument: -{name}")
            text, position = arguments[position], position + 1
        values[name] = _read(flag, text if has_value or not isinstance(flag.default, bool) else "true")
        given.add(name)
    return Parsed(values, frozenset(given), tuple(arguments[position:]))


def near(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Give ``; did you mean ...?`` when one of `known` is close to `name`, else nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {prefix}{matches[0]}?)" if matches else ""


def duration_s(text: str) -> float:
    """Read a Go duration such as ``1m30s`` or ``250ms``, in seconds. Raises ValueError."""
    body = text.lstrip("+-")
    parts = _DURATION.findall(body)
    if body != "0" and (not parts or "".join(number + unit for number, unit in parts) != body):
        raise ValueError(f"invalid duration {text!r}: write it like 30s, 5m or 1h30m")
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds


def _default(flag: Flag) -> FlagValue:
    return duration_s(flag.default.text) if isinstance(flag.default, Duration) else flag.default


def _read(flag: Flag, text: str) -> FlagValue:
    try:
        if isinstance(flag.default, bool):
            return _boolean(text)
        if isinstance(flag.default, int):
            return int(text)
        if isinstance(flag.default, Duration):
            return duration_s(text)
    except ValueError as error:
        raise UsageError(f"invalid value {text!r} for flag -{flag.name}: {error}") from None
    return text


def _boolean(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError("write true or false")
    return text in _TRUE


def describe(flags: Iterable[Flag]) -> str:
    """List flags the way Go's `PrintDefaults` does."""
    lines = []
    for flag in sorted(flags, key=lambda one: one.name):
        if isinstance(flag.default, bool):
            kind, default = "", "" if not flag.default else " (default true)"
        elif isinstance(flag.default, Duration):
            kind, default = " duration", f" (default {flag.default.text})"
        elif isinstance(flag.default, int):
            kind, default = " int", f" (default {flag.default})" if flag.default else ""
        else:
            kind, default = " string", f' (default "{flag.default}")' if flag.default else ""
        lines.append(f"  -{flag.name}{kind}\n    \t{flag.help}{default}\n")
    return "".join(lines)
