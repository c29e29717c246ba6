"""A gRPC server as every process of this project runs it.

    server = GrpcServer(health=health)
    server.add(admin_pb2_grpc.add_AdminServicer_to_server, AdminServicer(...))
    port = server.bind(["[::]:10000"])
    await server.start()
    health.set("", True)
    ...
    await server.drain(grace_s=30)

`add` takes the registration function that the protobuf compiler made and wraps each handler (see `calls`);
health and reflection are there without asking and are neither traced nor counted. Each method needs an
access rule, or `add` raises; the guard asks callers only when access control is on. Shutting down goes in the
order of DESIGN D18: health turns NOT_SERVING, new calls are refused with UNAVAILABLE, those in flight have
`grace_s`, the rest is ended with UNAVAILABLE.

Owned by the event loop that is running when it is made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from opentelemetry.trace import Tracer
from sax_common.access import Rule
from sax_common.errors import SaxError

from sax_runtime import access_rules, ports, rpc_errors, telemetry
from sax_runtime import health as health_module
from sax_runtime.addresses import is_loopback, join_host_port, split_host_port
from sax_runtime.authorization import Check, Guard, warn_if_exposed
from sax_runtime.calls import CallFront
from sax_runtime.health import Health, HealthServicer
from sax_runtime.logs import get_logger

_log = get_logger(__name__)

MAX_RECEIVE_BYTES = 4 << 20
MAX_SEND_BYTES = 64 << 20
MAX_PENDING_REQUESTS = 10_000
MAX_CALL_S = 3600.0  # reference/reliability.md 5.4: lifetime of a stream.
_MIN_PING_INTERVAL_MS = (
    10_000  # Our clients ping every 20 s (channels.KEEPALIVE_MS); reference/reliability.md 2.3.
)


class GrpcServer:
    """One server on one or more addresses. A message over its limit (bytes) is RESOURCE_EXHAUSTED."""

    def __init__(
        self,
        *,
        health: Health | None = None,
        max_receive_bytes: int = MAX_RECEIVE_BYTES,
        max_send_bytes: int = MAX_SEND_BYTES,
        max_pending_requests: int = MAX_PENDING_REQUESTS,
        max_call_s: float = MAX_CALL_S,
        credentials: grpc.ServerCredentials | None = None,
        guard: Guard | None = None,
        rules: Mapping[str, Rule] = access_rules.GRPC_RULES,
        tracer: Tracer | None = None,
    ) -> None:
        self.health = health or Health()
        self._credentials = credentials
        self._guard = guard or Guard()
        self._rules = rules
        self._is_warned = False
        self._front = CallFront(tracer=tracer or telemetry.tracer("sax.grpc.server"), max_call_s=max_call_s)
        self._server = grpc.aio.server(
            options=_options(
                max_receive_bytes=max_receive_bytes,
                max_send_bytes=max_send_bytes,
                max_pending_requests=max_pending_requests,
            )
        )
        self._services: list[str] = []
        self._is_started = False
        health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(self.health), self._server)

    def add(self, register: Callable[[Any, Any], None], servicer: Any) -> None:
        """Add `servicer` with the generated `add_<Name>Servicer_to_server`; before `start`.

        Its service is marked serving in `health` as soon as the whole process is started, unless the
        caller has said something else about it. Raises MissingRule for a method that no rule speaks about.
        """
        door = _Registration(self._front, lambda name: self._guard.check_of(name, self._rules))
        register(servicer, door)
        for service, handlers in door.services.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
            self._server.add_registered_method_handlers(service, handlers)
            self._services.append(service)

    def bind(self, addresses: str | Iterable[str], *, purpose: str = "gRPC") -> int:
        """Listen on every address (`host:port`) and return the port.

        With port 0 the first address takes a free one and the others follow it. Raises PortUnavailable, whose
        message is meant for a person's terminal.
        """
        port = 0
        for address in [addresses] if isinstance(addresses, str) else addresses:
            host, wanted = split_host_port(address)
            port = self._bind_one(join_host_port(host, wanted or port), purpose)
            if not is_loopback(host) and not self._is_warned:
                self._is_warned = warn_if_exposed(
                    join_host_port(host, port),
                    has_tls=self._credentials is not None,
                    has_acls=self._guard.is_on,
                )
        return port

    async def start(self) -> None:
        """Begin to answer."""
        names = [*self._services, health_module.SERVICE, reflection.SERVICE_NAME]
        check = self._guard.check_of(f"{reflection.SERVICE_NAME}/ServerReflectionInfo", self._rules)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(names, check), self._server)
        await self._server.start()
        self._is_started = True
        for service in self._services:
            if self.health.condition(service) is None:
                self.health.set(service, serving=True)

    async def serve(self) -> None:
        """Start and wait until `drain` or `stop` has ended the server."""
        if not self._is_started:
            await self.start()
        await self._server.wait_for_termination()

    @property
    def in_flight(self) -> int:
        """How many calls are being worked on, health and reflection not counted."""
        return self._front.in_flight

    async def drain(self, grace_s: float = 30.0, *, lame_duck_s: float = 0.0) -> int:
        """Shut down in order; returns how many calls had to be ended.

        For `lame_duck_s` health already says NOT_SERVING while calls are still taken, so that balancers can
        look away first.
        """
        self.health.drain()
        await asyncio.sleep(lame_duck_s)
        ended = await self._front.finish(grace_s)
        if ended:
            _log.warning("calls ended by shutdown", count=ended, grace_s=grace_s)
        await self.stop()
        return ended

    async def stop(self) -> None:
        """End at once; what is still in flight is cancelled."""
        # A moment for the last statuses to leave; after a drain only health watches are open.
        await self._server.stop(0.1 if self._is_started else None)

    def _bind_one(self, address: str, purpose: str) -> int:
        ports.check_free(address, purpose=purpose)
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:  # Somebody took it since the check.
            raise ports.unavailable(address, purpose=purpose, cause=error) from error
        if not port:
            raise ports.unavailable(address, purpose=purpose, cause=OSError("gRPC could not bind it"))
        return int(port)


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc] # grpc ships no types.
    """Reflection that asks the guard first: it tells a stranger what there is to attack."""

    def __init__(self, names: Iterable[str], check: Check | None) -> None:
        super().__init__(names)
        self._check = check

    async def ServerReflectionInfo(  # noqa: N802 - the name is the protocol's.
        self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """Answer what an operator's tool asks."""
        if self._check is not None:
            try:
                self._check(context)
            except SaxError as refusal:
                await context.abort(rpc_errors.status_of(refusal), rpc_errors.details(refusal.message))
        async for answer in super().ServerReflectionInfo(request_iterator, context):
            yield answer


class _Registration:
    """Stands in for the server when generated code registers a servicer, and wraps its handlers."""

    def __init__(self, front: CallFront, check_of: Callable[[str], Check | None]) -> None:
        self._front = front
        self._check_of = check_of
        self.services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Take note of nothing: generated code says the same again, with names, in the next call."""

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler]
    ) -> None:
        """Wrap and keep the handlers of one service."""
        self.services[service] = {
            name: self._front.wrap(service, name, each, self._check_of(f"{service}/{name}"))
            for name, each in handlers.items()
        }


def _options(
    *, max_receive_bytes: int, max_send_bytes: int, max_pending_requests: int
) -> list[tuple[str, int]]:
    return [
        # On by default, and then a second server on the same port steals half of the calls in silence.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_receive_bytes),
        ("grpc.max_send_message_length", max_send_bytes),
        ("grpc.max_metadata_size", 8 << 10),
        ("grpc.absolute_max_metadata_size", 16 << 10),
        # The default of 1000 answers a burst of reconnecting watchers with RESOURCE_EXHAUSTED.
        ("grpc.server.max_pending_requests", max_pending_requests),
        ("grpc.server.max_pending_requests_hard_limit", 3 * max_pending_requests),
        # Permit our clients' pings: by default a ping more often than every 5 minutes is a strike.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        # And find clients that vanished without a word.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
