"""Is this process alive, and may work be sent to it: one truth, read by probes over gRPC and HTTP.

`Health` is a table from name to (serving, reason). The empty name is the whole process; other names are gRPC
services (`sax.Admin`) and models (`model:/sax/cell/m`). The shell that learns of a change calls `set`;
nobody else writes. `grpc.health.v1` (Check, Watch, List) is answered from the table by `HealthServicer`,
`/readyz` by the status server from `is_ready` and `reason`.

Liveness is not in the table: an event loop that can answer `/livez` is alive, one that cannot is not.

Owned by the event loop: call nothing here from another thread.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

OVERALL = ""
SERVICE = "grpc.health.v1.Health"


@dataclass(frozen=True)
class Condition:
    """Whether something may be sent work; `reason` is for people and empty while it serves."""

    serving: bool
    reason: str = ""


class Health:
    """The table. Begins with the whole process not ready, because it is starting."""

    def __init__(self) -> None:
        self._table: dict[str, Condition] = {OVERALL: Condition(serving=False, reason="starting")}
        self._changed = asyncio.Event()
        self._is_draining = False

    def set(self, service: str, serving: bool, reason: str = "") -> None:  # noqa: FBT001
        """Note that `service` may (not) be sent work; watchers learn it at once.

        While draining a name stays not serving, whatever is said about it.
        """
        if self._is_draining:
            return
        self._put(service, Condition(serving=serving, reason="" if serving else reason or "not serving"))

    def remove(self, service: str) -> None:
        """Forget `service`: Check answers NOT_FOUND, watchers see SERVICE_UNKNOWN. Unknown names are fine."""
        if self._table.pop(service, None) is not None:
            self._wake()

    def drain(self, reason: str = "shutting down") -> None:
        """Turn every name not serving, for good. The first step of every shutdown."""
        self._is_draining = True
        for service in list(self._table):
            self._put(service, Condition(serving=False, reason=reason))

    def condition(self, service: str) -> Condition | None:
        """Return what is known of `service`, None for a name never set."""
        return self._table.get(service)

    def snapshot(self) -> dict[str, Condition]:
        """Return a copy of the whole table."""
        return dict(self._table)

    @property
    def is_ready(self) -> bool:
        """Whether the whole process may be sent work."""
        return self._table[OVERALL].serving

    @property
    def reason(self) -> str:
        """Why the process is not ready; empty when it is."""
        return self._table[OVERALL].reason

    def next_change(self) -> asyncio.Event:
        """Return the event of the next change: take it before reading, and no change is missed."""
        return self._changed

    def _put(self, service: str, condition: Condition) -> None:
        if self._table.get(service) != condition:
            self._table[service] = condition
            self._wake()

    def _wake(self) -> None:
        # Everyone who waits holds the old event; whoever comes next takes a fresh one.
        waiting, self._changed = self._changed, asyncio.Event()
        waiting.set()


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpc ships no types.
    """`grpc.health.v1.Health` over one `Health` table."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        """Answer SERVING or NOT_SERVING; NOT_FOUND for a name never set."""
        condition = self._health.condition(request.service)
        if condition is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return health_pb2.HealthCheckResponse(status=_status(condition))

    async def Watch(self, request: Any, _context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:  # noqa: N802
        """Send the status now and after every change; an unknown name is SERVICE_UNKNOWN and stays open."""
        sent = None
        while True:
            change = self._health.next_change()
            status = _status(self._health.condition(request.service))
            if status != sent:
                sent = status
                yield health_pb2.HealthCheckResponse(status=status)
            await change.wait()

    async def List(self, _request: Any, _context: grpc.aio.ServicerContext) -> Any:  # noqa: N802
        """Answer the whole table."""
        answers = {
            name: health_pb2.HealthCheckResponse(status=_status(condition))
            for name, condition in self._health.snapshot().items()
        }
        return health_pb2.HealthListResponse(statuses=answers)


def _status(condition: Condition | None) -> int:
    kinds = health_pb2.HealthCheckResponse
    if condition is None:
        return int(kinds.SERVICE_UNKNOWN)
    return int(kinds.SERVING if condition.serving else kinds.NOT_SERVING)
