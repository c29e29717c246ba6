"""One span, one set of metrics and one request id per HTTP request.

The outermost ASGI layer. A request comes in, its `traceparent` becomes the parent of a SERVER span, which
is current while the app runs, so that the client library's gRPC span is its child and the engine's a
grandchild. When the answer has ended, the span and the metrics get its status and the route's *pattern*
(never the path: a path has as many values as an attacker likes). The id is the client's own `x-request-id`
when it is harmless, else a fresh one; the answer carries it.

A streamed event passes one small function here and nothing else. Neither prompts nor answers are ever
looked at.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from sax_runtime import metrics
from sax_runtime.logs import get_logger
from sax_runtime.telemetry import tracer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.trace import Span, Tracer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = get_logger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PROPAGATED = frozenset({b"traceparent", b"tracestate", b"baggage"})
NO_ROUTE = "none"
CLIENT_GONE = 499
_SERVER_ERROR = 500


class Observe:
    """Wraps the whole app."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer = tracer("sax_http")) -> None:  # noqa: B008 - it is a constant.
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and say how it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        request_id = _request_id(scope["headers"])
        # Until something is sent the client has no answer; if that stays so, it has gone.
        status = CLIENT_GONE
        extra = [(b"x-request-id", request_id), (b"x-content-type-options", b"nosniff")]

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *extra]
            await send(message)

        parent = propagate.extract(
            {
                key.decode("ascii"): value.decode("latin-1")
                for key, value in scope["headers"]
                if key in _PROPAGATED
            }
        )
        span = self._tracer.start_span(
            method, context=parent, kind=SpanKind.SERVER, attributes={"http.request.method": method}
        )
        metrics.HTTP_IN_FLIGHT.inc()
        try:
            # An unsampled span still carries the caller's context on.
            with trace.use_span(
                span, end_on_exit=False, record_exception=False, set_status_on_exception=False
            ):
                await self._app(scope, receive, noting)
        finally:
            metrics.HTTP_IN_FLIGHT.dec()
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            seconds = time.perf_counter() - started
            metrics.HTTP_REQUESTS.labels(method=method, route=route, status=str(status)).inc()
            metrics.HTTP_SECONDS.labels(method=method, route=route).observe(seconds)
            _end_span(span, method, route, status)
            log = _log.warning if status >= _SERVER_ERROR else _log.debug
            log(
                "request", method=method, route=route, status=status, seconds=round(seconds, 4),
                request_id=request_id.decode("ascii"),
            )  # fmt: skip


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return secrets.token_hex(16).encode("ascii")


def _end_span(span: Span, method: str, route: str, status: int) -> None:
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR, str(status)))
    span.end()
