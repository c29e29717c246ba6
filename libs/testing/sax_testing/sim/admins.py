"""Admin processes: the production server on a simulated host, without its listeners.

The life of a run: it starts as a standby with a new run id, whatever its address did before, and answers the
calls of `sax.Admin` through the production handlers, messages and all. Only what touches a socket is
replaced: `Connections` carries polls and orders over the simulated network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sax_admin.controller import Controller
from sax_admin.core.commands import Rules
from sax_admin.core.election import Candidate
from sax_admin.core.lease import LeaseTimes
from sax_admin.core.machine import Machine
from sax_admin.server import AdminServer, Settings
from sax_admin.service import AdminService
from sax_admin.slots import Slots
from sax_common.errors import Cancelled, SaxError
from sax_runtime.health import Health

from sax_testing.sim.world import HostClock, wake

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from sax_admin.core.cell import ServerAddress, Term
    from sax_admin.core.servers import Order, Report
    from sax_common.names import CellName

    from sax_testing.sim.bucket import BucketPort
    from sax_testing.sim.network import Network
    from sax_testing.sim.oracle import Oracle
    from sax_testing.sim.params import Params
    from sax_testing.sim.ready import ReadyLog
    from sax_testing.sim.world import Host

CALLS = ("Publish", "Update", "Unpublish", "List", "WatchLoc", "Join")
POLL_MS = 2_000
# After this much silence gRPC's pings have found out that the connection is gone.
BROKEN_MS = 30_000
END_MS = 5_000
UID = "cell-1"


class Refusal:
    """An error as it comes over the wire, with the leader's address from the trailing metadata."""

    def __init__(self, error: SaxError, leader: str) -> None:
        """Carry an error as a value."""
        self.error = error
        self.leader = leader


class _Call:
    """What the handlers ask of a gRPC context."""

    def __init__(self) -> None:
        self.leader = ""

    def peer(self) -> str:
        """Say where the call comes from."""
        return "ipv4:127.0.0.1:1"

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Keep the leader's address."""
        self.leader = metadata[0][1]


class Connections:
    """The fleet's port: calls to model servers over the simulated network."""

    def __init__(self, host: Host, network: Network, oracle: Oracle, ready: ReadyLog) -> None:
        """Start with no connection."""
        self._ready = ready
        self._host = host
        self._network = network
        self._oracle = oracle
        self._open: dict[str, list[asyncio.Future[Any]]] = {}

    async def poll(self, address: ServerAddress, term: Term, *, is_original: bool) -> Report:
        """Ask a server for its status."""
        del is_original
        report: Report = await self._call(address, "GetStatus", term, POLL_MS)
        return report

    async def send(self, order: Order) -> None:
        """Give a server an order and wait for its end."""
        self._oracle.acts(self._host, f"orders {order.kind.value} of {order.model}")
        self._ready.sent(order)
        await self._call(order.server, "Order", order, BROKEN_MS)

    def _call(self, address: str, method: str, argument: object, timeout_ms: float) -> asyncio.Future[Any]:
        future = self._network.call(self._host, address, method, (argument,), timeout_ms=timeout_ms)
        waiting = [one for one in self._open.get(address, ()) if not one.done()]
        self._open[address] = [*waiting, future]
        return future

    def forget(self, address: ServerAddress) -> None:
        """Close the connection: calls on it end."""
        for future in self._open.pop(address, ()):
            wake(future, Cancelled("the connection was closed"))

    async def close(self) -> None:
        """Close all connections."""
        for address in list(self._open):
            self.forget(address)  # type: ignore[arg-type]


class SimAdmin(AdminServer):
    """One run of one admin server: the production server without its listeners. Owned by its host."""

    def __init__(  # Everything that the production class opens is replaced.
        self,
        host: Host,
        network: Network,
        store: BucketPort,
        *,
        cell: CellName,
        oracle: Oracle,
        ready: ReadyLog,
        params: Params,
        run_id: str,
    ) -> None:
        """Start as a standby."""
        self.host = host
        self.settings = Settings(cell=cell, sax_root="/sim", port=0, times=LeaseTimes(*params.times))
        self.health = Health()
        self.address = host.name
        self.oracle = oracle
        self._clock = HostClock(host, params.grain_ms)
        self._root = store
        candidate = Candidate(address=host.name, cell_uid=UID, run_id=run_id)
        self.machine = Machine(candidate, Rules(cell), self.settings.times)
        self._controller = Controller(
            self.machine,
            slots=Slots(store, cell),
            fleet=Connections(host, network, oracle, ready),  # type: ignore[arg-type]
            clock=self._clock,
            on_lead=self._lead,
            on_step_down=self._step_down,
            on_fatal=self._fatal,
        )
        self.controller = self._controller
        service = AdminService(self._controller, f"{host.name}_{run_id}")
        network.listen(host, {name: self._handler(getattr(service, name)) for name in CALLS})
        host.start(self._run())

    @property
    def is_leading(self) -> bool:
        """Say whether this run would answer callers as the leader now."""
        return self.host.is_alive and self.machine.is_leading(self._controller.now_ms)

    async def _run(self) -> None:
        try:
            await self._controller.run()
        except SaxError as error:
            self._fatal(error.message)

    def _fatal(self, reason: str) -> None:
        self.oracle.note("ended itself", self.host.name, reason)
        self.oracle.seen["admins that ended themselves"] += 1
        self.host.crash()

    async def end(self) -> None:
        """End in good order, as on SIGTERM."""
        await self._controller.end(END_MS)
        self.host.crash()

    def _handler(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def handle(request: object) -> object:
            call = _Call()
            try:
                return await method(request, call)
            except SaxError as error:
                if call.leader:
                    return Refusal(error, call.leader)
                raise

        return handle
