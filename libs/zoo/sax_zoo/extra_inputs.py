"""Extra inputs: named numbers that a client sends beside its text, checked against what the method declares.

The rules of the original (model_server.md 2.6): a key must be declared, may occur in one of the three maps
only, and a list must have the length of its default. A key that is not sent takes its default; a default of
None means "disabled". Beyond the original, numbers must be finite. Which values a key allows is said by
whoever reads it (`lm.decoding`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sax_common.errors import InvalidArgument
from sax_common.names import shown

Value = float | Sequence[float] | str | None
"""What a key may hold. Declared defaults use the same type; None is "disabled"."""
Spec = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ExtraInputs:
    """What the client sent: the three maps of sax.ExtraInputs."""

    items: Mapping[str, float] = field(default_factory=dict)
    tensors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    strings: Mapping[str, str] = field(default_factory=dict)


def validate(extra: ExtraInputs, spec: Spec) -> dict[str, Value]:
    """Return every declared key with the client's value, else its default.

    Raises InvalidArgument naming the key.
    """
    _check_keys(extra, spec)
    values: dict[str, Value] = dict(spec)
    for key, number in extra.items.items():
        if isinstance(spec[key], list | tuple | str):
            raise InvalidArgument(f"Extra input {key} is {_described(spec[key])}, not one number.")
        values[key] = _finite(key, number)
    for key, numbers in extra.tensors.items():
        default = spec[key]
        if not isinstance(default, list | tuple) or len(numbers) != len(default):
            raise InvalidArgument(
                f"Extra input {key} is {_described(default)}, not a list of {len(numbers)}."
            )
        values[key] = tuple(_finite(key, number) for number in numbers)
    for key, text in extra.strings.items():
        if not isinstance(spec[key], str | None):
            raise InvalidArgument(f"Extra input {key} is {_described(spec[key])}, not a string.")
        values[key] = text
    return values


def _check_keys(extra: ExtraInputs, spec: Spec) -> None:
    sent = [*extra.items, *extra.tensors, *extra.strings]
    for key in sent:
        if key not in spec:
            declared = ", ".join(sorted(spec)) or "none"
            raise InvalidArgument(
                f"Extra input {shown(key)} is not declared by this method; declared are: {declared}."
            )
        if sent.count(key) > 1:
            raise InvalidArgument(
                f"Extra input {shown(key)} occurs in more than one of items, tensors and strings."
            )


def _described(default: Value) -> str:
    """What kind of value a key takes, from its declared default."""
    if isinstance(default, str):
        return "a string"
    return f"a list of {len(default)} numbers" if isinstance(default, list | tuple) else "one number"


def _finite(key: str, number: float) -> float:
    if not math.isfinite(number):
        raise InvalidArgument(f"Extra input {key} is {number}; it must be a finite number.")
    return float(number)
