"""Channels to other processes: every call has a deadline and carries the trace.

`open_channel` returns an ordinary `grpc.aio.Channel` for generated stubs. Its multicallables add two things
when a call starts: a default deadline where the caller gave none (no call inside a cell may wait for ever),
and the current trace context, with a client span when tracing records. The call object itself is grpc's
own, so a streamed message costs nothing extra; grpc.aio client interceptors would put two generators in its
way.

A channel speaks TLS and its calls carry a bearer token where `outgoing` says so (by default what the
environment says). When the certificate files change, the next call opens a new connection under the same
channel; calls on the old one run to their end.

A caller that really wants no deadline passes `timeout=math.inf`.

No retries here: `sax_client` retries, and only one layer may (reference/reliability.md 2.5, C7).
Not for the original's servers with keepalive: they end connections that ping (DESIGN D15), so pass
`keepalive=False`.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace import Span, Tracer

from sax_runtime import outgoing as outgoing_module
from sax_runtime import tracing
from sax_runtime.outgoing import Outgoing

CALL_S = 60.0
STREAM_S = 3600.0
KEEPALIVE_MS = 20_000
_MAX_RECEIVE_BYTES = 64 << 20


def open_channel(
    address: str,
    *,
    keepalive: bool = True,
    outgoing: Outgoing | None = None,
    call_s: float = CALL_S,
    stream_s: float = STREAM_S,
    tracer: Tracer | None = None,
) -> grpc.aio.Channel:
    """Open a channel to `host:port`; connects when first used and again when the peer comes back.

    `call_s` and `stream_s` are the deadlines of calls that name none. Needs a running event loop. Raises
    InvalidArgument or FailedPrecondition when the environment names files that cannot be used.
    """
    return _Channel(
        address,
        options=_options(keepalive=keepalive),
        outgoing=outgoing or outgoing_module.default(),
        call_s=call_s,
        stream_s=stream_s,
        tracer=tracer or trace.get_tracer("sax.grpc.client"),
    )


class _Channel(grpc.aio.Channel):  # type: ignore[misc] # grpc ships no types.
    """A channel that hands everything to another one, and starts calls through `_Method`."""

    def __init__(
        self,
        address: str,
        *,
        options: list[tuple[str, Any]],
        outgoing: Outgoing,
        call_s: float,
        stream_s: float,
        tracer: Tracer,
    ) -> None:
        self._address = address
        self._options = [*options, *outgoing.options]
        self._outgoing = outgoing
        self._call_s = call_s
        self._stream_s = stream_s
        self._tracer = tracer
        self._closing: set[asyncio.Task[None]] = set()
        self._plain, self.version = self._open()

    async def __aenter__(self) -> grpc.aio.Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close; calls in flight are cancelled after `grace` seconds."""
        await self._plain.close(grace)
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002
        """Return the connectivity now."""
        self.follow()
        return self._plain.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connectivity is another one."""
        await self._plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self._plain.channel_ready()

    def follow(self) -> None:
        """Take the certificates in force now: when they are others, open a new connection for new calls."""
        if self._outgoing.version == self.version:
            return
        old = self._plain
        self._plain, self.version = self._open()
        task = asyncio.get_running_loop().create_task(old.close(self._stream_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def metadata(self) -> outgoing_module.Metadata:
        """Return what a call carries to show who makes it."""
        return self._outgoing.metadata(self._address)

    def start(self, kind: str, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return the plain multicallable of one method on the connection of now."""
        made: Callable[..., Any] = getattr(self._plain, kind)(method, *args, **kwargs)
        return made

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Return the multicallable of one method; so do the next three."""
        return self._method("unary_unary", self._call_s, method, *args, **kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._method("unary_stream", self._stream_s, method, *args, **kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_unary", self._stream_s, method, *args, **kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._method("stream_stream", self._stream_s, method, *args, **kwargs)

    def _method(self, kind: str, default_s: float, method: str, *args: Any, **kwargs: Any) -> "_Method":
        make = partial(self.start, kind, method, *args, **kwargs)
        return _Method(self, make, method, default_s, self._tracer)

    def _open(self) -> tuple[grpc.aio.Channel, int]:
        credentials, version = self._outgoing.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self._address, options=self._options), version
        return grpc.aio.secure_channel(self._address, credentials, options=self._options), version


class _Method:
    """Starts calls of one method."""

    __slots__ = ("_channel", "_default_s", "_make", "_method", "_service", "_start", "_tracer", "_version")

    def __init__(
        self,
        channel: _Channel,
        make: Callable[[], Callable[..., Any]],
        path: str,
        default_s: float,
        tracer: Tracer,
    ) -> None:
        self._channel = channel
        self._make = make
        self._start = make()
        self._version = channel.version
        self._service, _, self._method = path.removeprefix("/").rpartition("/")
        self._default_s = default_s
        self._tracer = tracer

    def __call__(
        self, request: Any = None, *, timeout: float | None = None, metadata: Any = None, **rest: Any
    ) -> Any:
        """Start a call; `timeout` in seconds, math.inf for none."""
        if timeout is None:
            timeout = self._default_s
        self._channel.follow()
        if self._version != self._channel.version:
            self._start, self._version = self._make(), self._channel.version
        shown = self._channel.metadata()
        span = tracing.start_client_span(self._tracer, self._service, self._method)
        call = self._start(
            request,
            timeout=None if timeout == math.inf else timeout,
            metadata=tracing.with_trace((*(metadata or ()), *shown) if shown else metadata, span),
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


def _options(*, keepalive: bool) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
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
