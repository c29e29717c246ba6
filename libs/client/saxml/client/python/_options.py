"""Options of the original API: plain mutable objects that may be copied."""

# ruff: noqa: INP001 - saxml is a PEP 420 namespace, shared with the protos.

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf import text_format
from sax_client import ClientOptions, ExtraInputs, wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saxml.protobuf import common_pb2

NO_TIMEOUT = -1.0


@dataclass
class AdminOptions:
    """How an admin call is made. `timeout` is in seconds; 0 or less means the default of 60 s."""

    timeout: float = NO_TIMEOUT


@dataclass
class Options:
    """How a model is called; see `sax_client.ClientOptions`."""

    num_conn: int = 37
    proxy_addr: str = ""
    fail_fast: bool = False

    def to_client(self) -> ClientOptions:
        """The same, for our client."""
        return ClientOptions(num_conn=self.num_conn, proxy_address=self.proxy_addr, fail_fast=self.fail_fast)


@dataclass
class ModelOptions:
    """Extra inputs and deadline of one call; the setters take their arguments by position."""

    _items: dict[str, float] = field(default_factory=dict)
    _tensors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    _strings: dict[str, str] = field(default_factory=dict)
    _timeout: float = NO_TIMEOUT

    def SetExtraInput(self, key: str, value: float, /) -> None:  # noqa: N802 - the original's names, as below
        """Set a number."""
        self._items[key] = float(value)

    def SetExtraInputTensor(self, key: str, value: Sequence[float], /) -> None:  # noqa: N802
        """Set a list of numbers."""
        self._tensors[key] = tuple(map(float, value))

    def SetExtraInputString(self, key: str, value: str, /) -> None:  # noqa: N802
        """Set a text."""
        self._strings[key] = value

    def GetExtraInput(self, key: str, /) -> float:  # noqa: N802
        """Give a number that was set. Raises IndexError when it was not, as the original does."""
        if key not in self._items:
            raise IndexError(f"no extra input {key!r} was set")
        return self._items[key]

    def SetTimeout(self, timeout: float, /) -> None:  # noqa: N802
        """Set the deadline in seconds; 0 or less means the default of 60 s."""
        self._timeout = float(timeout)

    def GetTimeout(self) -> float:  # noqa: N802
        """Give the deadline that was set; -1 when none was."""
        return self._timeout

    def ToProto(self) -> common_pb2.ExtraInputs:  # noqa: N802
        """Give the extra inputs as their message."""
        message = wire.extra_inputs(self.to_client())
        assert message is not None  # noqa: S101 - only None gives None
        return message

    def ToDebugString(self) -> str:  # noqa: N802
        """Give the extra inputs as text."""
        return text_format.MessageToString(self.ToProto())

    def to_client(self) -> ExtraInputs:
        """Give the extra inputs for our client, as they are now."""
        return ExtraInputs(dict(self._items), dict(self._tensors), dict(self._strings))

    @property
    def timeout_s(self) -> float | None:
        """The deadline for our client; None for its default."""
        return self._timeout if self._timeout > 0 else None

    def __copy__(self) -> ModelOptions:
        # The original copies by value: a shallow copy does not share its inputs.
        return copy.deepcopy(self)
