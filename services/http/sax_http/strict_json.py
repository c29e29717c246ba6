"""Read a request body as JSON, and refuse what a well-meaning client never sends.

`json.loads` alone accepts NaN, keeps the last of two equal keys, and spends memory in proportion to
nesting before anybody can object. A body passes through here first:

    bytes -> (UTF-8?) -> (few enough brackets and commas, shallow enough?) -> json -> (an object?) -> dict

The scan for brackets runs in C over the bytes with the strings taken out, so that four mebibytes of
`[[[[` are refused in a few milliseconds, before the parser sees them. Limits: reference/reliability.md 5.4.

Pure: values in, values out. Knows nothing of routes and fields; those are `bodies`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NoReturn

from sax_common.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH = 32
MAX_KEYS = 10_000
# Elements of arrays and objects together. A prompt is one element, so real bodies stay far below.
MAX_ELEMENTS = 100_000

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_OPENING = (b"[", b"{")


def parse_object(body: bytes) -> dict[str, object]:
    """Parse `body`, which must be one JSON object, and return it.

    Raises InvalidArgument saying what is wrong and where; the message never repeats the body's text,
    because it may be a prompt.
    """
    if not body.strip():
        raise InvalidArgument("The request body is empty; a JSON object is needed.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"The request body is not valid UTF-8 (byte {error.start}).") from None
    _check_size(body)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            f"The request body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError:
        # Python refuses integers of more than 4300 digits (CVE-2020-10735).
        raise InvalidArgument("The request body holds a number with too many digits.") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"The request body must be a JSON object, not {_kind(value)}.")
    return value


def _check_size(body: bytes) -> None:
    """Refuse too many elements or too deep nesting, without parsing."""
    skeleton = _STRING.sub(b"", body)
    if skeleton.count(b",") > MAX_ELEMENTS or skeleton.count(b"[") + skeleton.count(b"{") > MAX_KEYS:
        raise InvalidArgument(f"The request body has too many elements (at most {MAX_ELEMENTS}).")
    depth = 0
    for bracket in _BRACKET.findall(skeleton):
        depth += 1 if bracket in _OPENING else -1
        if depth > MAX_DEPTH:
            raise InvalidArgument(f"The request body is nested deeper than {MAX_DEPTH} levels.")


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_KEYS:
        raise InvalidArgument(f"A JSON object in the request body has more than {MAX_KEYS} keys.")
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidArgument(f"{printable(key)}: given twice in the same JSON object.")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidArgument(f"The request body holds {name}, which is not a JSON number.")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return "a string" if isinstance(value, str) else "an array"


def printable(key: str) -> str:
    """Shorten a key of the client's own making so that it can be shown in a message and a log line."""
    text = key if len(key) <= 64 else key[:61] + "..."  # noqa: PLR2004 - a line's worth
    return "".join(letter if letter.isprintable() else "?" for letter in text)
