"""What callers are shown: models with their replicas, why some are missing, and counts of servers.

Pure reads of the machine's state; nothing here changes anything.
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sax_common.errors import NotFound

from sax_admin.core.assignment import constraints, suits
from sax_admin.core.cell import digest_of
from sax_admin.core.liveness import Liveness
from sax_admin.core.servers import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sax_admin.core.assignment import Placement
    from sax_admin.core.cell import ModelSpec, ServerAddress
    from sax_admin.core.servers import ServerView


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One assigned replica. `retry_in_ms` is 0 when no retry is planned."""

    address: ServerAddress
    data_address: str
    status: Status
    is_ready: bool
    failure_reason: str = ""
    failed_loads: int = 0
    retry_in_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView:
    """One published model as List shows it."""

    spec: ModelSpec
    replicas: tuple[ReplicaView, ...]
    methods: tuple[str, ...]
    shortfall_reason: str


@dataclass(frozen=True, slots=True)
class StatsView:
    """Servers counted by (chip type, topology) and by servable path."""

    by_type: Mapping[tuple[int, int], int]
    by_path: Mapping[str, int]


def model_view(
    spec: ModelSpec, servers: Mapping[ServerAddress, ServerView], placement: Placement, now_ms: int
) -> ModelView:
    """Show one model."""
    views = [servers[address] for address in placement.get(spec.name, ()) if address in servers]
    replicas = tuple(_replica(spec, view, now_ms) for view in views)
    methods = {method for view in views if spec.name in view.seen for method in view.seen[spec.name].methods}
    return ModelView(
        spec=spec,
        replicas=replicas,
        methods=tuple(sorted(methods)),
        shortfall_reason=shortfall(spec, replicas, servers.values(), now_ms),
    )


def _replica(spec: ModelSpec, view: ServerView, now_ms: int) -> ReplicaView:
    seen = view.seen.get(spec.name)
    attempt = view.attempts.get(spec.name)
    is_current = attempt is not None and attempt.digest in (digest_of(spec), b"")
    status = seen.status if seen else Status.NONE
    reason = seen.failure_reason if seen and status == Status.FAILED else ""
    if attempt is not None and is_current:
        # Shown beside a LOADED one too: then an update failed and the old checkpoint goes on.
        reason = reason or attempt.reason
        # Between two tries the model is absent on the server, but for people it is a failed one.
        status = Status.FAILED if status == Status.NONE and spec.name not in view.in_flight else status
    if view.engines.stuck and status == Status.LOADED:
        longest_s = max(view.engines.stuck.values()) / 1000
        reason = reason or f"its engine has finished no step for {longest_s:.0f} s"
    return ReplicaView(
        address=view.address,
        data_address=view.data_address,
        status=Status.LOADING if status == Status.NONE and spec.name in view.in_flight else status,
        is_ready=view.is_ready(spec.name) and view.liveness(now_ms) == Liveness.ALIVE,
        failure_reason=reason,
        failed_loads=attempt.failures if attempt and is_current else 0,
        retry_in_ms=max(0, attempt.retry_at_ms - now_ms) if attempt and is_current else 0,
    )


def shortfall(
    spec: ModelSpec, replicas: Sequence[ReplicaView], servers: Iterable[ServerView], now_ms: int
) -> str:
    """Say why fewer replicas are ready than wanted; empty when all are."""
    ready = sum(replica.is_ready for replica in replicas)
    if ready >= spec.replicas:
        return ""
    parts = []
    loading = sum(replica.status == Status.LOADING for replica in replicas)
    if loading:
        parts.append(f"{loading} loading")
    parts += [
        f"failed on {replica.address} ({replica.failed_loads}x, "
        f"next try in {replica.retry_in_ms / 1000:.0f} s): {replica.failure_reason}"
        for replica in replicas
        if replica.status == Status.FAILED
    ]
    parts += [
        f"{replica.address}: {replica.failure_reason or 'it does not answer or is draining'}"
        for replica in replicas
        if replica.status == Status.LOADED and not replica.is_ready
    ]
    parts += [
        f"{replica.address} has to make room first"
        for replica in replicas
        if replica.status in (Status.NONE, Status.UNLOADING)
    ]
    if len(replicas) < spec.replicas:
        parts.append(_no_place(spec, list(servers), len(replicas), now_ms))
    return "; ".join(parts)


def _no_place(spec: ModelSpec, servers: Sequence[ServerView], placed: int, now_ms: int) -> str:
    """Say why no more servers take the model."""
    alive = [view for view in servers if view.liveness(now_ms) == Liveness.ALIVE]
    if not alive:
        return "no model server has joined the cell or answers"
    offering = [view for view in alive if spec.model_path in view.offer.model_paths]
    if not offering:
        paths = sorted({path for view in alive for path in view.offer.model_paths})
        near = difflib.get_close_matches(spec.model_path, paths, n=3, cutoff=0.5) or paths[:3]
        offers = f"; they offer {len(paths)} paths, such as {', '.join(near)}" if near else ""
        return f"no server offers the model path {spec.model_path!r}: {_servers(len(alive))} joined{offers}"
    suited = [view for view in offering if suits(spec, view.offer)]
    if not suited:
        tags = ", ".join(sorted(constraints(spec.overrides)))
        return f"{_servers(len(offering))} offer the model path, but none has all the tags {tags}"
    draining = sum(view.report.is_draining or view.is_to_drain for view in suited)
    others = f" ({draining} draining)" if draining else ""
    return (
        f"{placed} placed, and no room for more: {_servers(len(suited))} of {len(alive)} offer the path "
        f"and the others hold models or lack memory{others}"
    )


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"


def stats_view(servers: Iterable[ServerView], now_ms: int) -> StatsView:
    """Count the servers that answer or have only just stopped answering."""
    present = [view for view in servers if view.liveness(now_ms) in (Liveness.ALIVE, Liveness.SUSPECT)]
    return StatsView(
        by_type=Counter((view.offer.chip_type, view.offer.chip_topology) for view in present),
        by_path=Counter(path for view in present for path in set(view.offer.model_paths)),
    )


def model_stats_view(
    spec: ModelSpec, servers: Mapping[ServerAddress, ServerView], placement: Placement, now_ms: int
) -> StatsView:
    """Count the servers of one model. Raises NotFound when one of them has gone."""
    views = []
    for address in placement.get(spec.name, ()):
        view = servers.get(address)
        if view is None or view.liveness(now_ms) == Liveness.DEAD:
            raise NotFound(f"server {address} of model {spec.name} is gone")
        views.append(view)
    return stats_view(views, now_ms)
