"""The calls of `sax.Admin` that are about model servers: ListServers, Drain, Undrain.

An original admin has none of them. A drain names a server that is known; the mark outlives the server, so
an undrain may name one that is gone.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from typing import TYPE_CHECKING

from sax_common.errors import InvalidArgument, NotFound
from saxml.protobuf import admin_pb2, admin_pb2_grpc

from sax_admin.controller import Controller, fresh_bytes
from sax_admin.core.cell import ServerAddress
from sax_admin.core.commands import Drain, Undrain
from sax_admin.wire_servers import mark_of, state_of

if TYPE_CHECKING:
    import grpc

    from sax_admin.core.commands import Mutation
    from sax_admin.core.machine import Machine


class ServerCalls(admin_pb2_grpc.AdminServicer):
    """Handlers about model servers; the rest of the service is added by the subclass."""

    _controller: Controller

    @abstractmethod
    def _leading(self, context: grpc.aio.ServicerContext) -> Machine:
        """Return the machine while it leads, else raise Unavailable."""

    @abstractmethod
    async def _mutate(self, context: grpc.aio.ServicerContext, operation: str, mutation: Mutation) -> int:
        """Make a change durable and return the number of its record."""

    @abstractmethod
    def _client_of(self, context: grpc.aio.ServicerContext) -> str:
        """Say who calls, for the record."""

    async def ListServers(  # noqa: N802  # Named by the contract, as all handlers.
        self, request: admin_pb2.ListServersRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.ListServersResponse:
        """Show one model server, or all by address."""
        machine, now_ms = self._leading(context), self._controller.now_ms
        servers = machine.fleet.servers
        if request.address:
            _check_known(machine, request.address)
        wanted = [ServerAddress(request.address)] if request.address else sorted(servers)
        return admin_pb2.ListServersResponse(
            servers=[state_of(servers[address], now_ms) for address in wanted],
            absent_draining=sorted(machine.journal.state.draining - servers.keys()),
            leader_address=machine.leader_address,
            term=machine.term,
            sequence=machine.journal.sequence,
            unix_ms=self._controller.unix_ms,
        )

    async def Drain(  # noqa: N802
        self, request: admin_pb2.DrainRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.DrainResponse:
        """Move a server's models elsewhere and give it none until Undrain; answered once that is durable."""
        machine = self._leading(context)
        if request.address not in machine.journal.state.draining:
            _check_known(machine, request.address)
        command = Drain(ServerAddress(request.address))
        mutation = mark_of(request, command, fresh_bytes(), self._client_of(context))
        return admin_pb2.DrainResponse(sequence=await self._mutate(context, "drain", mutation))

    async def Undrain(  # noqa: N802
        self, request: admin_pb2.UndrainRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.UndrainResponse:
        """Give a server models again."""
        machine = self._leading(context)
        if request.address not in machine.journal.state.draining:
            _check_known(machine, request.address)
        command = Undrain(ServerAddress(request.address))
        mutation = mark_of(request, command, fresh_bytes(), self._client_of(context))
        return admin_pb2.UndrainResponse(sequence=await self._mutate(context, "undrain", mutation))


def _check_known(machine: Machine, address: str) -> None:
    """Raise NotFound with the nearest addresses unless a server has joined under this one."""
    if not address:
        raise InvalidArgument("the call needs the control address of a model server, as host:port")
    if address in machine.fleet.servers:
        return
    known = sorted(machine.fleet.servers)
    near = difflib.get_close_matches(address, known, n=3, cutoff=0.6) or known[:3]
    raise NotFound(
        f"no model server with the address {address} has joined {machine.rules.cell}"
        + (f"; there are {len(known)}, such as {', '.join(near)}" if near else "; none has")
    )
