"""What the status pages show, as rows: models, replicas, servers, held models, operations. Sorted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from saxml.protobuf import admin_pb2

from sax_admin.core.liveness import Liveness
from sax_admin.core.servers import SeenModel, ServerView, Status, Traffic
from sax_admin.page import Number, Safe, Text, joined, link, marked, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sax_common.names import ModelName

    from sax_admin.core.cell import AppliedOperation, ServerAddress
    from sax_admin.core.views import ModelView, ReplicaView

OPERATIONS_SHOWN = 20
_KIND = {Status.LOADED: "good", Status.FAILED: "bad", Status.LOADING: "wait", Status.UNLOADING: "wait"}
_CHIPS = {number: name for name, number in admin_pb2.ModelServer.ChipType.items()}
_TOPOLOGIES = {number: name for name, number in admin_pb2.ModelServer.ChipTopology.items()}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024

_RATES = ("Calls/s", "Errors/s", "Mean (ms)", "p99 (ms)")
_MODELS = ("Name", "Max", "Active", "Path", "Checkpoint", *_RATES, "Why not more")
_REPLICAS = ("Addr", "Status", "Failed loads", "Next try (s)", "Reason", "Memory", "Queue", *_RATES)
_SERVERS = (
    *("Addr", "Chip", "Topo", "Lag (s)", "ModelStatus", "ServerStatus", "Failures", "Memory", "Queue"),
    *_RATES,
)
_HELD = (
    *("Name", "Status", "Memory", "Queue", "Running", "Steps", "Step age (ms)", "Slowest step (ms)"),
    *(*_RATES, "Reason"),
)
_OPERATIONS = ("When (UTC)", "Who", "What", "Model or server", "Record")


def models_table(
    views: Iterable[ModelView], servers: Mapping[ServerAddress, ServerView], title: str = "Models"
) -> Safe:
    """Show models: what the original shows, traffic, and why some have too few replicas."""
    rows: list[Sequence[Text]] = []
    for view in views:
        spec, ready = view.spec, sum(replica.is_ready for replica in view.replicas)
        kind = "good" if ready >= spec.replicas else ("wait" if ready else "bad")
        seen = [
            servers[replica.address].seen[spec.name]
            for replica in view.replicas
            if replica.address in servers and spec.name in servers[replica.address].seen
        ]
        rows.append(
            [
                link(f"/model{spec.name}", spec.name),
                Number(spec.replicas),
                marked(kind, str(ready)),
                spec.model_path,
                spec.checkpoint_path,
                *rates(total(seen)),
                view.shortfall_reason,
            ]
        )
    return table(title, _MODELS, rows, "No model is published.")


def replicas_table(view: ModelView, servers: Mapping[ServerAddress, ServerView]) -> Safe:
    """Show where one model is, how it is doing there, and what went wrong."""
    rows = [_replica(view, replica, servers.get(replica.address)) for replica in view.replicas]
    return table("Replicas", _REPLICAS, rows, "No server was found for it.")


def _replica(view: ModelView, replica: ReplicaView, server: ServerView | None) -> list[Text]:
    seen = server.seen.get(view.spec.name) if server else None
    wait = f"{replica.retry_in_ms / 1000:.0f}" if replica.retry_in_ms else ""
    return [
        link(f"/server/{replica.address}", replica.address),
        _status(seen.load_fraction if seen else 0.0, replica.status),
        Number(replica.failed_loads or ""),
        Number(wait),
        replica.failure_reason,
        size(seen.memory_bytes) if seen else "",
        Number(seen.progress.queued if seen else ""),
        *rates(total([seen] if seen else [])),
    ]


def servers_table(views: Iterable[ServerView], now_ms: int) -> Safe:
    """Show servers: what the original shows, memory, queue, traffic and failures."""
    rows = [_server(view, now_ms) for view in sorted(views, key=lambda view: view.address)]
    return table("Servers", _SERVERS, rows, "No model server has joined.")


def _server(view: ServerView, now_ms: int) -> list[Text]:
    held = [f"{name}: {view.seen[name].status.name}" for name in sorted(view.seen)]
    failures = [f"{name}: {reason}" for name, reason in failure_reasons(view)]
    report = view.report
    return [
        link(f"/server/{view.address}", view.address),
        _CHIPS.get(view.offer.chip_type, str(view.offer.chip_type)),
        _TOPOLOGIES.get(view.offer.chip_topology, str(view.offer.chip_topology)),
        Number("never" if view.answered_ms is None else f"{(now_ms - view.answered_ms) / 1000:.3f}"),
        ", ".join(held) or "Idle",
        server_status(view, now_ms),
        joined(failures),
        f"{size(report.used_bytes)} of {size(report.total_bytes)}" if report.total_bytes else "",
        Number(sum(seen.progress.queued for seen in view.seen.values())),
        *rates(total(view.seen.values())),
    ]


def server_status(view: ServerView, now_ms: int) -> Safe:
    """Say whether a server is active, and everything else about it that is not usual."""
    liveness = view.liveness(now_ms)
    words = [f"{'Dormant' if view.report.is_dormant else 'Active'} ({liveness.value})"]
    words += ["drained" if not view.seen else "draining"] if view.is_to_drain else []
    words += ["ending"] if view.report.is_draining else []
    words += ["unfenced (original)"] if view.is_original and view.answered_ms is not None else []
    kind = "good" if liveness == Liveness.ALIVE and len(words) == 1 else "wait"
    return marked("bad" if liveness in (Liveness.DEAD, Liveness.GONE) else kind, ", ".join(words))


def failure_reasons(view: ServerView) -> list[tuple[ModelName, str]]:
    """Return why models failed on a server: as it reports, else as its last order ended."""
    found = {name: attempt.reason for name, attempt in view.attempts.items()}
    found |= {name: attempt.reason for name, attempt in view.unload_attempts.items()}
    found |= {name: seen.failure_reason for name, seen in view.seen.items() if seen.failure_reason}
    return sorted(found.items())


def held_table(view: ServerView) -> Safe:
    """Show the models on one server with load and engine progress."""
    reasons = dict(failure_reasons(view))
    rows: list[Sequence[Text]] = []
    for name in sorted({*view.seen, *reasons}):
        seen = view.seen.get(name, SeenModel(status=Status.NONE))
        progress = seen.progress
        rows.append(
            [
                link(f"/model{name}", name),
                _status(seen.load_fraction, seen.status),
                size(seen.memory_bytes),
                Number(progress.queued),
                Number(progress.running),
                Number(progress.steps_finished or ""),
                Number(progress.step_age_ms or ""),
                Number(progress.slowest_step_ms or ""),
                *rates(seen.traffic),
                reasons.get(name, ""),
            ]
        )
    return table("Models on this server", _HELD, rows, "It holds no model.")


def operations_table(operations: Iterable[AppliedOperation]) -> Safe:
    """Show what was changed, newest first, and by whom."""
    newest = list(operations)[::-1][:OPERATIONS_SHOWN]
    rows: list[Sequence[Text]] = [
        [
            moment(operation.unix_ms),
            operation.client,
            operation.kind,
            link(f"/model{operation.model}", operation.model)
            if operation.model
            else link(f"/server/{operation.server}", operation.server)
            if operation.server
            else "",
            Number(operation.sequence),
        ]
        for operation in newest
    ]
    return table("Recent operations", _OPERATIONS, rows)


def total(seen: Iterable[SeenModel]) -> Traffic:
    """Add up traffic; means are weighted by the calls that they are means of, p99 is the worst."""
    parts = [one.traffic for one in seen]
    successes = sum(part.successes_per_s for part in parts)
    time_s = sum(part.mean_s * part.successes_per_s for part in parts)
    return Traffic(
        successes_per_s=successes,
        errors_per_s=sum(part.errors_per_s for part in parts),
        mean_s=time_s / successes if successes else 0.0,
        p99_s=max((part.p99_s for part in parts), default=0.0),
    )


def rates(traffic: Traffic) -> list[Text]:
    """Show traffic in four cells; no calls are four empty ones."""
    if not traffic.successes_per_s and not traffic.errors_per_s:
        return [Number(), Number(), Number(), Number()]
    return [
        Number(f"{traffic.successes_per_s:.2f}"),
        Number(f"{traffic.errors_per_s:.2f}"),
        Number(f"{traffic.mean_s * 1000:.0f}"),
        Number(f"{traffic.p99_s * 1000:.0f}"),
    ]


def moment(unix_ms: int) -> str:
    """Show a time; empty when it is not known."""
    if not unix_ms:
        return ""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Show bytes; empty when they are not told."""
    value, unit = float(count), 0
    while value >= _STEP and unit < len(_UNITS) - 1:
        value, unit = value / _STEP, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if count else ""


def _status(load_fraction: float, status: Status) -> Safe:
    done = f" {load_fraction:.0%}" if status == Status.LOADING and load_fraction else ""
    return marked(_KIND.get(status, "none"), f"{status.name}{done}")
