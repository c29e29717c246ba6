"""Model servers as `ListServers` shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saxml.protobuf import admin_pb2

from sax_admin.core.commands import Drain, Mutation, Undrain
from sax_admin.core.liveness import Liveness
from sax_admin.wire import server_of

if TYPE_CHECKING:
    from sax_common.names import ModelName

    from sax_admin.core.servers import SeenModel, ServerView

_PRESENCE = {
    Liveness.NEW: admin_pb2.ServerState.PRESENCE_NEW,
    Liveness.ALIVE: admin_pb2.ServerState.PRESENCE_ALIVE,
    Liveness.SUSPECT: admin_pb2.ServerState.PRESENCE_SUSPECT,
    Liveness.DEAD: admin_pb2.ServerState.PRESENCE_DEAD,
    Liveness.GONE: admin_pb2.ServerState.PRESENCE_DEAD,
}


def state_of(view: ServerView, now_ms: int) -> admin_pb2.ServerState:
    """Write one server with everything that is seen of it."""
    return admin_pb2.ServerState(
        address=view.address,
        data_address=view.data_address,
        debug_address=view.debug_address,
        model_server=server_of(view.offer),
        presence=_PRESENCE[view.liveness(now_ms)],
        silent_ms=-1 if view.answered_ms is None else now_ms - view.answered_ms,
        is_draining=view.is_to_drain,
        is_ending=view.report.is_draining,
        is_dormant=view.report.is_dormant,
        is_original=view.is_original and view.answered_ms is not None,
        total_bytes=view.report.total_bytes,
        used_bytes=view.report.used_bytes,
        models=[
            _held(name, view.seen[name], is_waiting=view.is_to_drain and view.is_ready(name))
            for name in sorted(view.seen)
        ],
    )


def _held(name: ModelName, seen: SeenModel, *, is_waiting: bool) -> admin_pb2.HeldModel:
    return admin_pb2.HeldModel(
        model_id=name,
        status=int(seen.status),  # type: ignore[arg-type]  # The same numbers.
        failure_reason=seen.failure_reason,
        memory_bytes=seen.memory_bytes,
        load_fraction=seen.load_fraction,
        queued_requests=seen.progress.queued,
        running_requests=seen.progress.running,
        steps_finished=seen.progress.steps_finished,
        step_age_ms=seen.progress.step_age_ms,
        successes_per_second=seen.traffic.successes_per_s,
        errors_per_second=seen.traffic.errors_per_s,
        mean_latency_seconds=seen.traffic.mean_s,
        p99_latency_seconds=seen.traffic.p99_s,
        is_waiting_for_place=is_waiting,
    )


def mark_of(
    request: admin_pb2.DrainRequest | admin_pb2.UndrainRequest,
    command: Drain | Undrain,
    fresh: bytes,
    client: str,
) -> Mutation:
    """Read a Drain or Undrain call."""
    return Mutation(
        command=command,
        fresh=fresh,
        operation_id=request.operation_id,
        last_seen_sequence=request.last_seen_sequence,
        client=client,
    )
