"""A trace collector for tests: receives spans over OTLP/gRPC and answers questions about them.

    with OtlpReceiver() as collector:
        ...run something with OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint...
        (server,) = collector.wait_for("sax.Admin/Publish")
        assert server.parent == collector.wait_for("POST /publish")[0].span_id

Real grpcio and the real protos, on a free loopback port; nothing is checked but that messages decode.
Runs on threads of its own, so a test may block or use an event loop.
"""

import threading
import time
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class ReceivedSpan:
    """One span as it arrived. `parent` is empty for a root; ids are hexadecimal."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent: str
    is_error: bool
    events: tuple[str, ...]
    attributes: dict[str, object] = field(hash=False)


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """The collector; use as a context manager."""

    def __init__(self) -> None:
        self._spans: list[ReceivedSpan] = []
        self._arrived = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Take in one batch."""
        with self._arrived:
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_spans:
                    self._spans += [_received(str(service), span) for span in scope.spans]
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[ReceivedSpan]:
        """All spans so far, in order of arrival."""
        with self._arrived:
            return list(self._spans)

    def wait_for(self, name: str, *, count: int = 1, timeout_s: float = 10.0) -> list[ReceivedSpan]:
        """Return the spans of that name once `count` are here; AssertionError after `timeout_s`."""
        until = time.monotonic() + timeout_s
        with self._arrived:
            while len(found := [span for span in self._spans if span.name == name]) < count:
                seen = sorted({span.name for span in self._spans})
                left_s = until - time.monotonic()
                assert left_s > 0, f"{len(found)} of {count} spans named {name!r} arrived; seen: {seen}"
                self._arrived.wait(left_s)
            return found


def _received(service: str, span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=span.kind,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        is_error=span.status.code == span.status.STATUS_CODE_ERROR,
        events=tuple(event.name for event in span.events),
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, object]:
    """Turn OTLP's tagged values into Python ones; a list stays a list."""

    def plain(value: Any) -> object:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(each) for each in value.array_value.values]
        return getattr(value, kind) if kind else None

    return {pair.key: plain(pair.value) for pair in pairs}
