"""Subcommands about model servers: `servers`, `drain`, `undrain`, and the counts of `stats`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sax_client import ModelStatus, cells
from sax_common.errors import NotFound, Unimplemented

from sax_util.commands_admin import CELL_PARTS, admin_of
from sax_util.context import CommandFailed, Progress, say

if TYPE_CHECKING:
    from sax_client import AdminClient, Stats
    from sax_client.fleet import FleetReport, HeldModel, ServerState

    from sax_util.context import Call

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
STEP = 1024
WAIT_S = 0.5
WITH_CELL = 2


async def servers(call: Call) -> int:
    """Print one row per model server of a cell."""
    report = await call.client.admin(call.args[0]).servers(timeout_s=call.timeout_s)
    if call.is_json:
        call.show_json(report_json(report))
        return 0
    rows = [
        [
            server.address,
            short(server.chip_type),
            short(server.chip_topology),
            status(server),
            ", ".join(model_text(model) for model in server.models) or "idle",
            str(server.queued_requests),
            memory(server),
        ]
        for server in report.servers
    ]
    header = ["Address", "Chip", "Topology", "Status", "Models", "Queue", "Memory"]
    call.show(header, rows, is_csv=bool(call.flags["csv"]))
    for server in report.servers:
        for model in server.models:
            if model.failure_reason:
                say(f"{model.model_id} on {server.address}: {model.failure_reason}")
            if model.is_waiting_for_place:
                say(f"{model.model_id} stays on the draining {server.address} until it is ready elsewhere")
    for address in report.absent_draining:
        say(f"{address} is marked as draining and is gone: `saxutil undrain {address}` forgets it")
    return 0


def status(server: ServerState) -> str:
    """Say in a word or two how a server is doing."""
    words: list[str] = [server.presence]
    if server.presence in {"suspect", "dead"} and server.silent_ms is not None:
        words = [f"{server.presence} for {server.silent_ms / 1000:.0f}s"]
    if server.is_draining:
        words.append("drained" if server.is_empty else "draining")
    words += ["ending"] if server.is_ending else []
    words += ["dormant"] if server.is_dormant else []
    words += ["original"] if server.is_original else []
    return ", ".join(words)


def model_text(model: HeldModel) -> str:
    """Show a model and its state, with progress while it loads."""
    is_partly = model.status is ModelStatus.LOADING and model.load_fraction
    done = f" {model.load_fraction:.0%}" if is_partly else ""
    return f"{model.model_id.rpartition('/')[2]}: {model.status.name}{done}"


def memory(server: ServerState) -> str:
    """Show used and total device memory; empty when the server does not tell."""
    if not server.total_bytes:
        return ""
    return f"{size(server.used_bytes)} of {size(server.total_bytes)}"


def size(count: int) -> str:
    """Show a number of bytes with a binary unit."""
    value = float(count)
    for unit in UNITS[:-1]:
        if value < STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= STEP
    return f"{value:.1f} {UNITS[-1]}"


def short(enum: str) -> str:
    """Drop the part of an enum name that every value has."""
    return enum.removeprefix("CHIP_TYPE_").removeprefix("CHIP_TOPOLOGY_")


def report_json(report: FleetReport) -> dict[str, Any]:
    """Give the whole report for `-output=json`."""
    return {
        "servers": [
            {
                **{name: getattr(server, name) for name in _PLAIN},
                "models": [
                    {
                        "model": model.model_id,
                        "status": model.status.name,
                        **{name: getattr(model, name) for name in _MODEL_PLAIN},
                    }
                    for model in server.models
                ],
            }
            for server in report.servers
        ],
        "absent_draining": list(report.absent_draining),
        "leader": report.leader_address,
        "term": report.term,
        "record": report.sequence,
    }


_PLAIN = (
    *("address", "data_address", "debug_address", "chip_type", "chip_topology", "tags", "presence"),
    *("silent_ms", "is_draining", "is_ending", "is_dormant", "is_original", "total_bytes", "used_bytes"),
)
_MODEL_PLAIN = (
    *("failure_reason", "memory_bytes", "load_fraction", "queued_requests", "running_requests"),
    *("steps_finished", "step_age_ms", "successes_per_s", "errors_per_s", "mean_latency_s", "p99_latency_s"),
    "is_waiting_for_place",
)


async def drain(call: Call) -> int:
    """Have a server emptied; with -wait, return when it is."""
    admin, address = await _server(call)
    await admin.drain(address, timeout_s=call.timeout_s)
    if not call.flags["wait"]:
        return 0
    deadline_s, progress = time.monotonic() + call.timeout_s, Progress()
    while True:
        (server,) = (await admin.servers(address, timeout_s=call.timeout_s)).servers
        if server.is_empty:
            return 0
        held = ", ".join(model_text(model) for model in server.models)
        if time.monotonic() > deadline_s:
            raise CommandFailed(
                f"{address} is draining and still holds {held}; each stays until it is ready on another "
                "server. Add a server, or raise --sax_timeout."
            )
        progress(f"{address} still holds {held}")
        await asyncio.sleep(WAIT_S)


async def undrain(call: Call) -> int:
    """Give a drained server models again; silent."""
    admin, address = await _server(call)
    await admin.undrain(address, timeout_s=call.timeout_s)
    return 0


async def _server(call: Call) -> tuple[AdminClient, str]:
    """Find the cell of a server: as given, else the one under the root that knows it."""
    address = call.args[-1]
    if len(call.args) == WITH_CELL:
        return call.client.admin(call.args[0]), address
    found = await cells.list_cells(call.client)
    if len(found) == 1:
        return call.client.admin(found[0]), address
    for cell in found:
        admin = call.client.admin(cell)
        try:
            report = await admin.servers(timeout_s=call.timeout_s)
        except Unimplemented:
            continue  # An original admin drains nothing.
        if address in report.absent_draining or address in {server.address for server in report.servers}:
            return admin, address
    raise NotFound(f"No cell of {', '.join(found) or call.client.sax_root} has a model server {address}.")


async def stats(call: Call) -> int:
    """Print how many servers there are, by kind and by model path; for a cell a summary first."""
    name = call.args[0]
    is_cell = name.count("/") == CELL_PARTS
    admin = call.client.admin(name) if is_cell else admin_of(call, name)
    found = await admin.stats("" if is_cell else name, timeout_s=call.timeout_s)
    summary = await _summary(admin, call.timeout_s) if is_cell else None
    if call.is_json:
        call.show_json(_stats_json(found, summary))
        return 0
    is_csv = bool(call.flags["csv"])
    if summary is not None:
        call.show(list(summary), [[_plain(value) for value in summary.values()]], is_csv=is_csv)
    kinds = [
        [short(kind.chip_type), short(kind.chip_topology), str(kind.count)] for kind in found.server_types
    ]
    call.show(["Chip Type", "Chip Topology", "# of Servers"], kinds, is_csv=is_csv)
    paths = [[path, str(count)] for path, count in found.servers_by_model_path.items()]
    call.show(["Model Path", "# of Servers"], paths, is_csv=is_csv)
    return 0


def _stats_json(found: Stats, summary: dict[str, float] | None) -> dict[str, Any]:
    kinds = [
        {"chip_type": kind.chip_type, "chip_topology": kind.chip_topology, "servers": kind.count}
        for kind in found.server_types
    ]
    shown: dict[str, Any] = {
        "server_types": kinds,
        "servers_by_model_path": dict(found.servers_by_model_path),
    }
    if summary is not None:
        shown["summary"] = {name.lower().replace(" ", "_"): value for name, value in summary.items()}
    return shown


async def _summary(admin: AdminClient, timeout_s: float) -> dict[str, float] | None:
    """Count a cell; None when its admin is an original, which does not tell."""
    try:
        report = await admin.servers(timeout_s=timeout_s)
    except Unimplemented:
        return None
    models = await admin.list_all(timeout_s=timeout_s)
    held = [model for server in report.servers for model in server.models]
    return {
        "Servers": len(report.servers),
        "Alive": sum(server.presence == "alive" for server in report.servers),
        "Draining": sum(server.is_draining for server in report.servers),
        "Models": len(models),
        "Replicas Wanted": sum(model.requested_replicas for model in models),
        "Replicas Ready": sum(model.ready_replicas or 0 for model in models),
        "Queue": sum(server.queued_requests for server in report.servers),
        "Requests per s": round(sum(model.successes_per_s for model in held), 2),
        "Errors per s": round(sum(model.errors_per_s for model in held), 2),
    }


def _plain(value: float) -> str:
    return f"{value:g}"
