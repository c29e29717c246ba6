"""Channels to other processes: every call has a deadline and carries the trace.

`open_channel` returns an ordinary `grpc.aio.Channel` for generated stubs. Its multicallables add two things
when a call starts: a default deadline where the caller gave none (no call inside a cell may wait for ever),
and the current trace context, with a client span when tracing records. The call object itself is grpc's
own, so a streamed message costs nothing extra; grpc.aio client interceptors would put two generators in its
way.

A caller that really wants no deadline passes `timeout=math.inf`.

No retries here: `sax_client` retries, and only one layer may (reference/reliability.md 2.5, C7).
Not for the original's servers with keepalive: they end connections that ping (DESIGN D15), so pass
`keepalive=False`.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace import Span, Tracer

from sax_runtime import tracing

CALL_S = 60.0
STREAM_S = 3600.0
KEEPALIVE_MS = 20_000
_MAX_RECEIVE_BYTES = 64 << 20


def open_channel(
    address: str,
    *,
    keepalive: bool = True,
    credentials: grpc.ChannelCredentials | None = None,
    call_s: float = CALL_S,
    stream_s: float = STREAM_S,
    tracer: Tracer | None = None,
) -> grpc.aio.Channel:
    """Open a channel to `host:port`; connects when first used and again when the peer comes back.

    `call_s` and `stream_s` are the deadlines of calls that name none. Needs a running event loop.
    """
    options = _options(keepalive=keepalive)
    if credentials is None:
        plain = grpc.aio.insecure_channel(address, options=options)
    else:
        plain = grpc.aio.secure_channel(address, credentials, options=options)
    return _Channel(
        plain, call_s=call_s, stream_s=stream_s, tracer=tracer or trace.get_tracer("sax.grpc.client")
    )


class _Channel(grpc.aio.Channel):  # type: ignore[misc] # grpc ships no types.
    """A channel that hands everything to another one, and starts calls through `_Method`."""

    def __init__(self, plain: grpc.aio.Channel, *, call_s: float, stream_s: float, tracer: Tracer) -> None:
        self._plain = plain
        self._call_s = call_s
        self._stream_s = stream_s
        self._tracer = tracer

    async def __aenter__(self) -> grpc.aio.Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close; calls in flight are cancelled after `grace` seconds."""
        await self._plain.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002
        """Return the connectivity now."""
        return self._plain.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another one."""
        await self._plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self._plain.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the multicallable of one method; so do the next three."""
        return _Method(self._plain.unary_unary(method, *args, **kwargs), method, self._call_s, self._tracer)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(
            self._plain.unary_stream(method, *args, **kwargs), method, self._stream_s, self._tracer
        )

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(
            self._plain.stream_unary(method, *args, **kwargs), method, self._stream_s, self._tracer
        )

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return _Method(
            self._plain.stream_stream(method, *args, **kwargs), method, self._stream_s, self._tracer
        )


class _Method:
    """Starts calls of one method."""

    __slots__ = ("_default_s", "_method", "_service", "_start", "_tracer")

    def __init__(self, start: Callable[..., Any], path: str, default_s: float, tracer: Tracer) -> None:
        self._start = start
        self._service, _, self._method = path.removeprefix("/").rpartition("/")
        self._default_s = default_s
        self._tracer = tracer

    def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **rest: Any
    ) -> Any:
        """Start a call; `timeout` in seconds, math.inf for none."""
        if timeout is None:
            timeout = self._default_s
        span = tracing.start_client_span(self._tracer, self._service, self._method)
        call = self._start(
            request,
            timeout=None if timeout == math.inf else timeout,
            metadata=tracing.with_trace(metadata, span),
            **rest,
        )
        if span.is_recording():
            call.add_done_callback(lambda done: _end_later(done, span))
        return call


_ending: set[asyncio.Task[None]] = set()


def _end_later(call: Any, span: Span) -> None:
    """End the span once the status is known, which grpc.aio tells only to a coroutine."""
    task = asyncio.get_running_loop().create_task(_end(call, span))
    _ending.add(task)  # The loop keeps only weak references to tasks.
    task.add_done_callback(_ending.discard)


async def _end(call: Any, span: Span) -> None:
    with trace.use_span(span, end_on_exit=False):
        tracing.end_client_span(span, await call.code())


def _options(*, keepalive: bool) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", -1),  # The receiver has the limit and can say so.
        # A server that restarts is found again in seconds; the default backs off to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 3_000),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),  # Calls inside a cell never leave through the user's web proxy.
    ]
    if keepalive:
        options += [
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options
