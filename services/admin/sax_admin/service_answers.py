"""Encoded answers to reads that many callers ask alike, kept while what they show has not changed.

Between two changes of the cell all List and Stats calls get the same bytes; encoding them again is what
a read costs. An answer is kept per request and state version, and for `KEEP_MS` at most, because silence and
waits are shown too and change by time alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import grpc
from saxml.protobuf import admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# Far below the 2 s in which anything is learned of a server.
KEEP_MS = 200
# One entry per published model and method at most; more requests than this are told apart by typing errors.
ENTRIES_MAX = 16_384


class Message(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes:  # noqa: N802  # Theirs.
        """Encode it."""
        ...


class EncodedAnswers:
    """Answers by request, all of one version. Owned by the service's loop."""

    def __init__(self) -> None:
        """Start with none."""
        self._version = (-1, -1)
        self._made_ms = 0
        self._answers: dict[object, bytes] = {}

    def get(
        self, request: object, version: tuple[int, int], now_ms: int, make: Callable[[], Message]
    ) -> bytes:
        """Return the answer to `request`, made by `make` unless it is known for this version."""
        if version != self._version or now_ms - self._made_ms > KEEP_MS or len(self._answers) > ENTRIES_MAX:
            self._version, self._made_ms = version, now_ms
            self._answers.clear()
        answer = self._answers.get(request)
        if answer is None:
            answer = self._answers[request] = make().SerializeToString()
        return answer


def add_to_server(servicer: object, server: Any) -> None:
    """Register `sax.Admin` so that the handlers of reads may return bytes that are encoded already."""
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, _Door(server))  # type: ignore[no-untyped-call]


class _Door:
    """Stands before the server when generated code registers its handlers, and widens two of them."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Iterable[object]) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        for method in ("List", "Stats"):
            handlers[method] = grpc.unary_unary_rpc_method_handler(
                handlers[method].unary_unary,
                request_deserializer=handlers[method].request_deserializer,
                response_serializer=_encoded,
            )
        self._server.add_registered_method_handlers(service, handlers)


def _encoded(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
