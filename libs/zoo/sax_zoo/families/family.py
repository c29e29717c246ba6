"""What a family is: a rule from a checkpoint's own configuration to a `DecoderConfig`, and a table of names.

    architecture in the checkpoint ──► Family ──► DecoderConfig ──► param_shapes ──► each canonical name's
    stored name

A name table is written once per format for all layers, with `{i}` for the layer: `layers.{i}.attn.q` is
`model.layers.{i}.self_attn.q_proj.weight`. Because the engine's layouts are the formats' own (output-major,
either rotary order), a stored tensor is a canonical tensor; no family transposes or permutes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sax_common.errors import InvalidArgument
from sax_engine.decoder import DecoderConfig, param_shapes

_LAYER: Final = re.compile(r"layers\.([0-9]+)\.")


class Fields:
    """Typed access to a checkpoint's configuration; every complaint names the file and the key."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def integer(self, key: str, default: int | None = None) -> int:
        """A positive whole number; required when there is no default."""
        value = self._get(key, default)
        if type(value) is not int or value < 1:
            raise InvalidArgument(f"{self.where}: {key} is {value!r}; it must be a positive whole number.")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; required when there is no default."""
        value = self._get(key, default)
        if type(value) not in {int, float} or value != value or abs(value) == float("inf"):  # noqa: PLR0124 - NaN.
            raise InvalidArgument(f"{self.where}: {key} is {value!r}; it must be a number.")
        return float(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._get(key, default)
        if type(value) is not bool:
            raise InvalidArgument(f"{self.where}: {key} is {value!r}; it must be true or false.")
        return value

    def section(self, key: str) -> "Fields":
        """An object inside; absent or null is empty."""
        value = self.values.get(key) or {}
        if not isinstance(value, Mapping):
            raise InvalidArgument(f"{self.where}: {key} is not an object.")
        return Fields(value, f"{self.where}: {key}")

    def refuse(self, key: str, value: object, known: str) -> InvalidArgument:
        """The error for a value that this server cannot compute."""
        return InvalidArgument(
            f"{self.where}: {key} is {value!r}, which this server cannot compute; known: {known}."
        )

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise InvalidArgument(f"{self.where}: {key} is missing.")
        return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Decoders of one kind in one format.

    `config` may look at the stored tensors' shapes (second argument), where a format leaves things out of
    its metadata. `ignored` are patterns of stored names that carry nothing to learn (precomputed
    frequencies, masks).
    """

    architectures: tuple[str, ...]
    config: Callable[[Fields, Mapping[str, tuple[int, ...]]], DecoderConfig]
    names: Mapping[str, str]
    ignored: tuple[str, ...] = ()

    def stored_names(self, config: DecoderConfig) -> dict[str, str]:
        """Canonical name -> stored name, for every tensor that this configuration needs."""
        return {name: self._stored_name(name) for name in param_shapes(config)}

    def is_ignored(self, stored_name: str, config: DecoderConfig) -> bool:
        """Whether a stored tensor that nothing asks for is harmless.

        A tied model may store its output matrix again.
        """
        if config.tied_embedding and stored_name == self.names["unembed"]:
            return True
        return any(re.fullmatch(pattern, stored_name) for pattern in self.ignored)

    def _stored_name(self, name: str) -> str:
        match = _LAYER.match(name)
        if match is None:
            return self.names[name]
        return self.names["layers.{i}." + name[match.end() :]].format(i=match[1])


def find_family(families: tuple[Family, ...], architecture: object, where: str) -> Family:
    """Pick the family of an architecture. Raises InvalidArgument listing the known ones."""
    for family in families:
        if architecture in family.architectures:
            return family
    known = ", ".join(sorted(name for family in families for name in family.architectures))
    raise InvalidArgument(f"{where}: architecture {architecture!r} is not known; known are {known}.")
