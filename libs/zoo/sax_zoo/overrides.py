"""Published overrides: new values for a class's template attributes, typed and checked.

A publisher sends JSON texts by attribute name, such as BATCH_SIZE -> `4` or EXTRA_INPUTS -> `{"temperature":
0}`. The result is a fresh subclass; the registered class never changes. Rules (model_server.md 3.3): values
must be JSON; the type must be exactly that of the current value (an int is not a float, a bool not an int);
an attribute that is None takes any of its declared types. Unlike the original, an unknown key or bad JSON
fails the load and names the key, for a typo must not serve another model than was meant.
"""

import difflib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from sax_common.errors import InvalidArgument
from sax_common.names import shown

from sax_zoo.servable import ServableModel

KEYS_MAX: Final = 64
VALUE_BYTES_MAX: Final = 4096
_NAMES: Final = {"NoneType": "null", "tuple": "list", "dict": "object"}


def apply(cls: type[ServableModel], overrides: Mapping[str, str]) -> type[ServableModel]:
    """Return a subclass with the overridden attributes; `cls` itself when nothing is overridden.

    Raises InvalidArgument naming the key, and for an unknown key its near matches.
    """
    if len(overrides) > KEYS_MAX:
        raise InvalidArgument(f"{len(overrides)} overrides were given; at most {KEYS_MAX} are accepted.")
    declared = attributes(cls)
    changed: dict[str, Any] = {}
    for key, text in sorted(overrides.items()):
        if _is_admin_key(key):
            continue
        if key not in declared:
            raise InvalidArgument(_unknown(cls, key, declared))
        changed[key] = _typed(key, _parse(key, text), getattr(cls, key), declared[key])
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, **changed}) if changed else cls


def attributes(cls: type[ServableModel]) -> dict[str, Any]:
    """Template attributes of a class with their declared types: public names in capitals."""
    return {
        name: hint for name, hint in typing.get_type_hints(cls).items() if name.isupper() and name[0] != "_"
    }


def _is_admin_key(key: str) -> bool:
    """`ram`, `ram<N>` and `constraints` tell the admin where to place a model; they mean nothing here."""
    return key == "constraints" or (key.startswith("ram") and (key == "ram" or key[3:].isdecimal()))


def _unknown(cls: type[ServableModel], key: str, declared: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.upper(), declared, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"Override {shown(key)} is not an attribute of {cls.__name__}.{hint}"


def _parse(key: str, text: str) -> Any:
    if len(text.encode("utf-8", "replace")) > VALUE_BYTES_MAX:
        raise InvalidArgument(f"Override {key} is longer than {VALUE_BYTES_MAX} bytes.")
    try:
        return _frozen(json.loads(text, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(
            f'Override {key}: {shown(text)} is not JSON ({error}). Strings need quotes ("foo"), truth '
            "values are true and false."
        ) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _frozen(value: Any) -> Any:
    """Lists become tuples: class attributes are never changed in place."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def _typed(key: str, value: Any, current: Any, declared: Any) -> Any:
    if current is None or value is None:
        fits = _fits(value, declared)
        wanted = _describe(declared)
    else:
        fits = type(value) is type(current) and (not isinstance(value, tuple) or _fits(value, declared))
        wanted = _NAMES.get(type(current).__name__, type(current).__name__)
    if not fits:
        found = _NAMES.get(type(value).__name__, type(value).__name__)
        raise InvalidArgument(
            f"Mismatched type of override {key}: original: {wanted}; override: {found} "
            f"({shown(json.dumps(value))})."
        )
    return value


def _fits(value: Any, declared: Any) -> bool:
    """Whether a JSON value has one of the declared types.

    Only what class attributes use: unions, tuples, mappings, scalars.
    """
    origin = typing.get_origin(declared)
    if origin in {typing.Union, types.UnionType}:
        return any(_fits(value, option) for option in typing.get_args(declared))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, typing.get_args(declared)[0]) for item in value)
    if origin is not None:
        return isinstance(value, dict)
    if isinstance(declared, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return _fits(value, declared.__value__)
    return type(value) is declared


def _describe(declared: Any) -> str:
    if typing.get_origin(declared) in {typing.Union, types.UnionType}:
        return " or ".join(_describe(option) for option in typing.get_args(declared))
    kind = typing.get_origin(declared) or declared
    return _NAMES.get(kind.__name__, "object" if "Mapping" in kind.__name__ else kind.__name__)
