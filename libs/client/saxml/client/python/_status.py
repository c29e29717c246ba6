"""Errors in the shape that users of the original catch: an exception with a status."""

# ruff: noqa: INP001 - saxml is a PEP 420 namespace, shared with the protos.

from __future__ import annotations

import contextlib
from enum import IntEnum
from typing import TYPE_CHECKING

from sax_common.errors import KINDS, SaxError, kind

if TYPE_CHECKING:
    from collections.abc import Iterator

StatusCode = IntEnum("StatusCode", {"OK": 0} | {row.name: row.code for row in KINDS})  # type: ignore[misc]
StatusCode.__doc__ = "Canonical status codes; their numbers are gRPC's."


class Status:
    """A code and a message. Method names are those of absl::Status."""

    def __init__(self, code: int, message: str = "") -> None:
        self._code = StatusCode(code)
        self._message = message

    def ok(self) -> bool:
        """Whether this is no error."""
        return self._code == 0

    def code(self) -> StatusCode:
        """The canonical code."""
        return self._code

    def code_int(self) -> int:
        """The number of the canonical code."""
        return int(self._code)

    def message(self) -> str:
        """What went wrong, without the name of the code."""
        return self._message

    def to_string(self) -> str:
        """Name of the code and message."""
        return f"{self._code.name}: {self._message}"

    def __str__(self) -> str:
        return self.to_string()

    def __repr__(self) -> str:
        return f"Status({self.to_string()!r})"


class StatusNotOk(Exception):  # noqa: N818 - the original's name
    """Raised by every function of this API that fails; `status` says how."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.to_string())
        self.status = status

    @property
    def code(self) -> int:
        """The number of the canonical code."""
        return self.status.code_int()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn a SaxError into StatusNotOk."""
    try:
        yield
    except SaxError as error:
        raise StatusNotOk(Status(kind(error).code, error.message)) from error
