"""What happens round every handler of a gRPC server: tracing, status codes, metrics, deadlines, drain.

The life of a call. gRPC hands raw bytes to the wrapper that `CallFront.wrap` made for the method when it
was registered. It starts a span (child of the caller's), asks the guard whether this caller may
(`authorization`), decodes the request, runs the handler, and ends in exactly one way: an answer, the
status of a SaxError, INVALID_ARGUMENT for bytes that are no such message, INTERNAL with a reference for a
bug, or a cancellation that passes through. Then span and metrics are closed.

Why not `grpc.aio.ServerInterceptor`: interceptors are resolved again for every call and put a generator
between handler and wire, so each streamed message crosses it. Wrapping once at registration costs a call a
few tens of microseconds and a message nothing but `context.write`; and because the wrapper of a stream is a
plain coroutine, a cancelled call closes the handler's generator there and then, not when the garbage
collector comes by.

Knows nothing of any service. Owned by the event loop.
"""

import asyncio
import inspect
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, NoReturn

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer
from sax_common.errors import InvalidArgument, ResourceExhausted, SaxError

from sax_runtime import metrics, rpc_errors, tracing
from sax_runtime.authorization import Check
from sax_runtime.logs import get_logger

_log = get_logger(__name__)
METADATA_KEYS_MAX = 64  # reference/reliability.md 5.4.
_SHUTTING_DOWN = "this server is shutting down: try another one"


class CallFront:
    """Wraps handlers and knows the calls in flight. `max_call_s` ends calls that came without a deadline."""

    def __init__(self, *, tracer: Tracer, max_call_s: float) -> None:
        self.tracer = tracer
        self.max_call_s = max_call_s
        self.refuses = False
        self._calls: set[_Call] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_flight = metrics.RPC_IN_FLIGHT

    def wrap(
        self, service: str, method: str, handler: grpc.RpcMethodHandler, check: Check | None = None
    ) -> grpc.RpcMethodHandler:
        """Return `handler` with everything of this module round it; `check` raises for callers who may not.

        Raises TypeError for a handler that is neither `async def` nor an async generator: it would
        block the event loop.
        """
        behaviour = _behaviour(handler)
        if behaviour.__module__.endswith("_pb2_grpc"):
            behaviour = _unimplemented  # The generated base class would do it with a traceback in the log.
        described = _Method(service, method, handler, check)
        if inspect.isasyncgenfunction(behaviour):
            run: Callable[..., Any] = _generator_runner(self, described, behaviour)
        elif inspect.iscoroutinefunction(behaviour):
            run = _coroutine_runner(self, described, behaviour)
        else:
            raise TypeError(f"the handler of {service}/{method} must be `async def` or an async generator")
        return _handler_like(handler, run)

    def enter(self, call: "_Call") -> None:
        """Count a call in."""
        self._calls.add(call)
        self._idle.clear()
        self._in_flight.set(len(self._calls))

    def leave(self, call: "_Call") -> None:
        """Count a call out."""
        self._calls.discard(call)
        self._in_flight.set(len(self._calls))
        if not self._calls:
            self._idle.set()

    @property
    def in_flight(self) -> int:
        """How many calls handlers are working on."""
        return len(self._calls)

    async def finish(self, grace_s: float) -> int:
        """Refuse new calls, wait up to `grace_s` for the others, end the rest with UNAVAILABLE.

        Returns how many had to be ended. A handler that ignores its cancellation is given one more second.
        """
        self.refuses = True
        if await _waits(self._idle, grace_s):
            return 0
        left = list(self._calls)
        for call in left:
            call.end()
        await _waits(self._idle, 1.0)
        return len(left)


class _Method:
    """What is the same for every call of one method, looked up once."""

    def __init__(
        self, service: str, method: str, handler: grpc.RpcMethodHandler, check: Check | None
    ) -> None:
        self.check = check
        self.span_name = f"{service}/{method}"
        self.attributes = tracing.rpc_attributes(service, method)
        self.decode = None if handler.request_streaming else handler.request_deserializer
        self._labels = (service, method)
        self._seconds = metrics.RPC_SECONDS.labels(*self._labels)
        self._counts: dict[grpc.StatusCode, Any] = {}

    def count(self, code: grpc.StatusCode, started: float) -> None:
        counter = self._counts.get(code)
        if counter is None:
            counter = self._counts[code] = metrics.RPC_CALLS.labels(*self._labels, code.name)
        counter.inc()
        self._seconds.observe(time.perf_counter() - started)


class _Call:
    """One call from its arrival to its only end. Used by the task that runs it, but for `end`."""

    __slots__ = (
        "_context",
        "_front",
        "_has_too_many_keys",
        "_is_ended",
        "_method",
        "_span",
        "_started",
        "_task",
        "_token",
    )

    def __init__(self, front: CallFront, method: _Method, context: grpc.aio.ServicerContext) -> None:
        self._started = time.perf_counter()
        self._front = front
        self._method = method
        self._context = context
        self._is_ended = False
        self._task = asyncio.current_task()
        metadata = context.invocation_metadata() or ()
        self._has_too_many_keys = len(metadata) > METADATA_KEYS_MAX
        parent = tracing.parent_of(metadata)
        self._span = front.tracer.start_span(
            method.span_name, context=parent, kind=SpanKind.SERVER, attributes=method.attributes
        )
        self._token = otel_context.attach(trace.set_span_in_context(self._span, parent))
        front.enter(self)

    def request(self, raw: Any) -> Any:
        """Decode the request of a caller who may make it; InvalidArgument when it is not such a message."""
        if self._front.refuses:
            raise _Refused
        if self._has_too_many_keys:
            raise ResourceExhausted(f"the call has more than {METADATA_KEYS_MAX} metadata keys")
        if self._method.check is not None:
            self._method.check(self._context)
        if self._method.decode is None:
            return raw
        try:
            return self._method.decode(raw)
        except Exception as error:
            raise InvalidArgument(
                f"the request of {self._method.span_name} cannot be decoded: {error}"
            ) from error

    def time_limit(self) -> asyncio.Timeout | None:
        """Return the limit of a call that brought no deadline of its own."""
        if self._context.time_remaining() is None:
            return asyncio.timeout(self._front.max_call_s)
        return None

    def end(self) -> None:
        """End the call from outside, in a drain: its handler is cancelled, its caller sees UNAVAILABLE."""
        self._is_ended = True
        if self._task is not None:
            self._task.cancel()

    def succeeded(self) -> None:
        """Close the books on a call that the handler finished, with whatever status it set."""
        self._close(rpc_errors.status_number(self._context.code()))

    async def failed(self, error: BaseException) -> NoReturn:
        """Turn what the handler raised into the call's status."""
        if isinstance(error, grpc.aio.AbortError):  # The handler chose the status itself.
            self._close(rpc_errors.status_number(self._context.code()))
            raise error
        if isinstance(error, asyncio.CancelledError):
            if not self._is_ended:
                self._close(grpc.StatusCode.CANCELLED)
                raise error
            if self._task is not None:
                self._task.uncancel()
        code, message = self._status(error)
        self._close(code, message)
        await self._context.abort(code, rpc_errors.details(message))
        raise error  # Not reached: abort raises.

    def _status(self, error: BaseException) -> tuple[grpc.StatusCode, str]:
        if isinstance(error, _Refused | asyncio.CancelledError):
            return grpc.StatusCode.UNAVAILABLE, _SHUTTING_DOWN
        if isinstance(error, SaxError):
            return rpc_errors.status_of(error), error.message
        if isinstance(error, _OutOfTime):
            limit = self._front.max_call_s
            return grpc.StatusCode.DEADLINE_EXCEEDED, f"calls without a deadline end after {limit:g} s here"
        if isinstance(error, NotImplementedError):
            return (
                grpc.StatusCode.UNIMPLEMENTED,
                f"{self._method.span_name} is not implemented by this server",
            )
        reference = secrets.token_hex(4)
        _log.error("handler failed", method=self._method.span_name, reference=reference, exc_info=error)
        return (
            grpc.StatusCode.INTERNAL,
            f"internal error; the server's log has it under reference {reference}",
        )

    def _close(self, code: grpc.StatusCode, message: str = "") -> None:
        otel_context.detach(self._token)
        tracing.end_server_span(self._span, code, message)
        self._method.count(code, self._started)
        self._front.leave(self)


class _Refused(Exception):  # noqa: N818 - a signal between two functions of this module.
    """The server takes no new calls."""


class _OutOfTime(Exception):  # noqa: N818 - likewise.
    """The call had no deadline and used up the server's own limit."""


def _coroutine_runner(front: CallFront, method: _Method, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Unary answers, and streams whose handler writes to the context itself."""

    async def run(raw: Any, context: grpc.aio.ServicerContext) -> Any:
        call = _Call(front, method, context)
        try:
            request = call.request(raw)
            limit = call.time_limit()
            if limit is None:
                response = await behaviour(request, context)
            else:
                response = await _within(limit, behaviour(request, context))
        except BaseException as error:  # noqa: BLE001 - failed() re-raises what is not an answer.
            await call.failed(error)
        call.succeeded()
        return response

    return run


def _generator_runner(front: CallFront, method: _Method, behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Streams whose handler is an async generator."""

    async def run(raw: Any, context: grpc.aio.ServicerContext) -> None:
        call = _Call(front, method, context)
        try:
            messages = behaviour(call.request(raw), context)
            limit = call.time_limit()
            if limit is None:
                await _send_all(messages, context)
            else:
                await _within(limit, _send_all(messages, context))
        except BaseException as error:  # noqa: BLE001 - failed() re-raises what is not an answer.
            await call.failed(error)
        call.succeeded()

    return run


async def _unimplemented(_request: Any, _context: grpc.aio.ServicerContext) -> Any:
    raise NotImplementedError


async def _send_all(messages: AsyncGenerator[Any, None], context: grpc.aio.ServicerContext) -> None:
    write = context.write
    try:
        async for message in messages:
            await write(message)
    finally:
        await messages.aclose()  # Now, not at garbage collection.


async def _within(limit: asyncio.Timeout, work: Any) -> Any:
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise _OutOfTime from error
        raise


async def _waits(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for `event` up to `timeout_s`; say whether it came."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _behaviour(handler: grpc.RpcMethodHandler) -> Callable[..., Any]:
    found: Callable[..., Any] = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return found


def _handler_like(handler: grpc.RpcMethodHandler, run: Callable[..., Any]) -> grpc.RpcMethodHandler:
    """Make a handler of the same shape; single requests stay bytes, for the wrapper decodes them."""
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    decode = handler.request_deserializer if handler.request_streaming else None
    return make(run, request_deserializer=decode, response_serializer=handler.response_serializer)
