"""One trace from curl to the engine: the few lines that carry it over gRPC.

Written on opentelemetry-api alone. The contrib instrumentation (opentelemetry-instrumentation-grpc) works
as an interceptor of grpc.aio on both sides and wraps every stream in another generator, so each streamed
token passes through it; here a call pays once when it starts and once when it ends, and a message pays
nothing. bench/runtime.py measures it. Without a configured SDK a span is a shared no-op, but
an incoming `traceparent` is still handed on, so a trace passes through processes that record nothing.

Span names and attributes follow the RPC semantic conventions: `sax.Admin/Publish`, `rpc.system` and friends.
"""

from collections.abc import Iterable, Mapping

import grpc
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

Metadata = tuple[tuple[str, str | bytes], ...]

# Codes that mean the server failed; the others are the caller's (semantic conventions for gRPC).
_SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


def rpc_attributes(service: str, method: str) -> Mapping[str, AttributeValue]:
    """Return the attributes that every span of this method carries."""
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def parent_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> Context:
    """Read the caller's trace context out of gRPC metadata; the current context when there is none."""
    return propagate.extract({key: value for key, value in metadata or () if isinstance(value, str)})


def with_trace(metadata: Iterable[tuple[str, str | bytes]] | None, span: Span) -> Metadata:
    """Return `metadata` with the trace context of `span` added (nothing to add: the same items)."""
    given = tuple(metadata or ())
    if not span.get_span_context().is_valid:
        return given
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=trace.set_span_in_context(span))
    return given + tuple(carrier.items())


def end_server_span(span: Span, code: grpc.StatusCode, message: str = "") -> None:
    """End a server span; only codes that mean a fault of the server turn it into an error."""
    if span.is_recording():
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code.name in _SERVER_FAULTS:
            span.set_status(Status(StatusCode.ERROR, message or code.name))
    span.end()


def end_client_span(span: Span, code: grpc.StatusCode) -> None:
    """End a client span; every code but OK is an error to the one who called."""
    span.set_attribute("rpc.grpc.status_code", code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_status(Status(StatusCode.ERROR, code.name))
    span.end()


def start_client_span(tracer: Tracer, service: str, method: str) -> Span:
    """Start the span of an outgoing call, child of whatever is current."""
    return tracer.start_span(
        f"{service}/{method}", kind=SpanKind.CLIENT, attributes=rpc_attributes(service, method)
    )
