"""The `-extra` grammar of the lm commands: ``temperature:0.5,name:'a text'``. Pure.

Items are separated by ``,`` and have exactly one ``:``. A value in matching quotes is a string; one that
reads as a number is a number; all else is a string. There is no way to write a tensor, a comma or a colon,
as in the original.
"""

from __future__ import annotations

import struct

from sax_client.values import ExtraInputs

SHORTEST_QUOTED = 2


class BadExtraError(ValueError):
    """An item of `-extra` that cannot be read."""


def parse_extra(text: str) -> ExtraInputs | None:
    """Read the value of `-extra`; None when it is empty. Raises BadExtraError naming the item."""
    if not text:
        return None
    numbers: dict[str, float] = {}
    strings: dict[str, str] = {}
    for item in text.split(","):
        parts = item.split(":")
        if len(parts) != 2 or not parts[0]:  # noqa: PLR2004 - a name and a value
            raise BadExtraError(
                f"-extra item {item!r} must be <name>:<value>, with one colon and no comma inside"
            )
        name, value = parts
        number = _number(value)
        if len(value) >= SHORTEST_QUOTED and value[0] == value[-1] and value[0] in "'\"":
            strings[name] = value[1:-1]
        elif number is not None:
            numbers[name] = number
        else:
            strings[name] = value
    return ExtraInputs(items=numbers, strings=strings)


def _number(text: str) -> float | None:
    if "_" in text or text != text.strip():
        return None  # Python would take both, the original does not.
    try:
        number = float(text)
        struct.pack("f", number)  # The wire has float32: what does not fit is not a number there.
    except (ValueError, OverflowError):
        return None
    return number
