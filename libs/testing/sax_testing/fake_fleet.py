"""The part of the fake admin that is about model servers: list, drain, undrain."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import grpc
from saxml.protobuf import admin_pb2, admin_pb2_grpc, common_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence


class FleetCalls(admin_pb2_grpc.AdminServicer):
    """Handlers for `FakeAdmin`. A test may put whatever it likes into `server_states`."""

    is_original: bool
    address: str
    term: int

    def __init__(self) -> None:
        self.draining: set[str] = set()
        self.server_states: list[admin_pb2.ServerState] = []

    @property
    @abstractmethod
    def sequence(self) -> int:
        """Number of the last change."""

    @property
    @abstractmethod
    def placed(self) -> dict[str, list[str]]:
        """Where each server's models are, by server address."""

    @abstractmethod
    async def enter_leading(self, method: str, request: Any, context: Any) -> None:
        """Do what every call begins with."""

    async def ListServers(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Show every running server as a CPU server with what is placed there; scripted ones instead."""
        await self.enter_leading("ListServers", request, context)
        if self.is_original:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        states = self.server_states or [self._state(address, held) for address, held in self.placed.items()]
        wanted = [state for state in states if request.address in {"", state.address}]
        if not wanted and request.address:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model server {request.address}")
        gone = self.draining - {state.address for state in states}
        return admin_pb2.ListServersResponse(
            servers=wanted,
            absent_draining=sorted(gone),
            leader_address=self.address,
            term=self.term,
            sequence=self.sequence,
            unix_ms=time.time_ns() // 1_000_000,
        )

    async def Drain(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Mark a server."""
        await self.enter_leading("Drain", request, context)
        self.draining.add(request.address)
        return admin_pb2.DrainResponse(sequence=self.sequence)

    async def Undrain(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Take a mark away."""
        await self.enter_leading("Undrain", request, context)
        self.draining.discard(request.address)
        return admin_pb2.UndrainResponse(sequence=self.sequence)

    def _state(self, address: str, held: Sequence[str]) -> admin_pb2.ServerState:
        return admin_pb2.ServerState(
            address=address,
            data_address=address,
            model_server=admin_pb2.ModelServer(
                chip_type=admin_pb2.ModelServer.CHIP_TYPE_CPU,
                chip_topology=admin_pb2.ModelServer.CHIP_TOPOLOGY_1,
                servable_model_paths=["hf.CausalLM"],
            ),
            presence=admin_pb2.ServerState.PRESENCE_ALIVE,
            is_draining=address in self.draining,
            models=[admin_pb2.HeldModel(model_id=name, status=common_pb2.LOADED) for name in held],
        )
