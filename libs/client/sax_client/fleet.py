"""The model servers of a cell as values, and the messages they come from.

An original admin has no such call: it answers UNIMPLEMENTED, and that is what callers get.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from saxml.protobuf import admin_pb2

from sax_client.values import ModelStatus
from sax_client.wire import enum_name

if TYPE_CHECKING:
    from collections.abc import Iterable

Presence = Literal["unknown", "new", "alive", "suspect", "dead"]
"""Is the server heard: `suspect` missed polls, `dead` was given up, `new` has not answered this leader."""

_PRESENCE: dict[int, Presence] = {
    admin_pb2.ServerState.PRESENCE_NEW: "new",
    admin_pb2.ServerState.PRESENCE_ALIVE: "alive",
    admin_pb2.ServerState.PRESENCE_SUSPECT: "suspect",
    admin_pb2.ServerState.PRESENCE_DEAD: "dead",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldModel:
    """One model on one server; rates and latencies are over the server's last minute."""

    model_id: str
    status: ModelStatus
    failure_reason: str = ""
    memory_bytes: int = 0
    load_fraction: float = 0.0
    queued_requests: int = 0
    running_requests: int = 0
    steps_finished: int = 0
    step_age_ms: int = 0
    successes_per_s: float = 0.0
    errors_per_s: float = 0.0
    mean_latency_s: float = 0.0
    p99_latency_s: float = 0.0
    is_waiting_for_place: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """One model server. `silent_ms` is None when it has not answered this leader; memory 0 is not told."""

    address: str
    data_address: str = ""
    debug_address: str = ""
    chip_type: str = ""
    chip_topology: str = ""
    model_paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    presence: Presence = "unknown"
    silent_ms: int | None = None
    is_draining: bool = False
    is_ending: bool = False
    is_dormant: bool = False
    is_original: bool = False
    total_bytes: int = 0
    used_bytes: int = 0
    models: tuple[HeldModel, ...] = ()

    @property
    def queued_requests(self) -> int:
        """Requests that wait on this server, of all models."""
        return sum(model.queued_requests for model in self.models)

    @property
    def is_empty(self) -> bool:
        """Whether the server holds no model any more: a drain of it is over."""
        return not self.models


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """All model servers of a cell, by address, and who says so.

    `absent_draining` are drained servers that are gone. `unix_ms` is the admin's clock.
    """

    servers: tuple[ServerState, ...]
    absent_draining: tuple[str, ...]
    leader_address: str
    term: int
    sequence: int
    unix_ms: int


def fleet_report(response: admin_pb2.ListServersResponse) -> FleetReport:
    """Take a ListServers answer apart."""
    return FleetReport(
        servers=tuple(_server(message) for message in response.servers),
        absent_draining=tuple(response.absent_draining),
        leader_address=response.leader_address,
        term=response.term,
        sequence=response.sequence,
        unix_ms=response.unix_ms,
    )


def _server(message: admin_pb2.ServerState) -> ServerState:
    offer = message.model_server
    return ServerState(
        address=message.address,
        data_address=message.data_address,
        debug_address=message.debug_address,
        chip_type=enum_name(admin_pb2.ModelServer.ChipType, offer.chip_type),
        chip_topology=enum_name(admin_pb2.ModelServer.ChipTopology, offer.chip_topology),
        model_paths=tuple(offer.servable_model_paths),
        tags=tuple(offer.tags),
        presence=_PRESENCE.get(message.presence, "unknown"),
        silent_ms=None if message.silent_ms < 0 else message.silent_ms,
        is_draining=message.is_draining,
        is_ending=message.is_ending,
        is_dormant=message.is_dormant,
        is_original=message.is_original,
        total_bytes=message.total_bytes,
        used_bytes=message.used_bytes,
        models=_models(message.models),
    )


def _models(messages: Iterable[admin_pb2.HeldModel]) -> tuple[HeldModel, ...]:
    known = {status.value for status in ModelStatus}
    return tuple(
        HeldModel(
            model_id=message.model_id,
            status=ModelStatus(message.status) if message.status in known else ModelStatus.NONE,
            failure_reason=message.failure_reason,
            memory_bytes=message.memory_bytes,
            load_fraction=message.load_fraction,
            queued_requests=message.queued_requests,
            running_requests=message.running_requests,
            steps_finished=message.steps_finished,
            step_age_ms=message.step_age_ms,
            successes_per_s=message.successes_per_second,
            errors_per_s=message.errors_per_second,
            mean_latency_s=message.mean_latency_seconds,
            p99_latency_s=message.p99_latency_seconds,
            is_waiting_for_place=message.is_waiting_for_place,
        )
        for message in messages
    )
