"""Subcommands that ask the admin server: ls, publish, unpublish, update, update_checkpoint, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sax_client import ModelStatus, cells, reasons
from sax_common import names

from sax_util.context import CommandFailed, is_watched, say, write
from sax_util.goflags import UsageError

if TYPE_CHECKING:
    from sax_client import AdminClient, PublishedModel

    from sax_util.context import Call

ALL_CELLS = "/sax"
CELL_PARTS = 2


def admin_of(call: Call, model_id: str) -> AdminClient:
    """The admin server of a model's cell."""
    return call.client.admin(names.cell_of(names.parse_model(model_id)))


async def ls(call: Call) -> int:
    """List cells, models or one model, by the number of parts of the path."""
    path = call.args[0]
    if path.rstrip("/") == ALL_CELLS:
        await _ls_cells(call)
    elif path.count("/") == CELL_PARTS:
        await _ls_models(call, path)
    else:
        await _ls_model(call, path)
    return 0


async def _ls_cells(call: Call) -> None:
    found = [cell.rpartition("/")[2] for cell in await cells.list_cells(call.client)]
    if call.is_json:
        call.show_json({"cells": [f"{ALL_CELLS}/{cell}" for cell in found]})
        return
    rows = [[str(index), cell] for index, cell in enumerate(found)]
    call.show(["#", "Cell"], rows, is_csv=bool(call.flags["csv"]))


async def _ls_models(call: Call, cell: str) -> None:
    models = await call.client.admin(cell).list_all(timeout_s=call.timeout_s)
    if call.is_json:
        call.show_json({"models": [_as_json(model) for model in models]})
        return
    header, rows = ["#", "Model ID"], []
    has_methods = "details" in call.given and bool(call.flags["details"])
    if has_methods:
        header.append("Methods")
    for index, model in enumerate(models):
        row = [str(index), model.model_id.rpartition("/")[2]]
        rows.append([*row, ", ".join(model.methods)] if has_methods else row)
    call.show(header, rows, is_csv=bool(call.flags["csv"]))
    for model in models:
        _explain(model)


async def _ls_model(call: Call, model_id: str) -> None:
    has_details, has_acls = bool(call.flags["details"]), bool(call.flags["acls"])
    has_status, is_csv = bool(call.flags["status"]), bool(call.flags["csv"])
    if not (has_details or has_acls or has_status):
        raise CommandFailed("Nothing to show: give one of -details, -acls and -status.")
    model = await admin_of(call, model_id).list(model_id, timeout_s=call.timeout_s)
    if call.is_json:
        call.show_json(_as_json(model))
        return
    if has_details:
        header = [
            "Model",
            "Model Path",
            "Checkpoint Path",
            "# of Replicas",
            "(Selected) ReplicaAddress",
            "Methods",
        ]
        row = [
            model.model_id.rpartition("/")[2],
            model.model_path,
            model.checkpoint,
            str(len(model.addresses)),
        ]
        call.show(header, [[*row, selected_address(model), ", ".join(model.methods)]], is_csv=is_csv)
    if has_acls:
        call.show(
            ["Method", "ACL"], sorted([method, acl] for method, acl in model.acls.items()), is_csv=is_csv
        )
    if has_status:
        call.show(
            ["Replica", "Status", "Failed Loads", "Next Load In", "Reason"],
            [
                [
                    replica.address,
                    replica.status.name,
                    str(replica.failed_loads),
                    f"{replica.retry_in_ms / 1000:.1f}s" if replica.retry_in_ms else "",
                    replica.failure_reason,
                ]
                for replica in model.replicas
            ],
            is_csv=is_csv,
        )
    _explain(model)


def selected_address(model: PublishedModel) -> str:
    """Give one address that serves the model; any assigned one when the admin is an original."""
    loaded = [replica.address for replica in model.replicas if replica.status is ModelStatus.LOADED]
    if model.replicas:
        return loaded[0] if loaded else ""
    return model.addresses[0] if model.addresses else ""


def _explain(model: PublishedModel) -> None:
    """Say on standard error why fewer replicas are ready than were asked for."""
    reason = reasons.shortfall(model)
    if reason and model.requested_replicas > 0:
        ready = model.ready_replicas
        have = len(model.addresses) if ready is None else ready
        say(f"{model.model_id}: {have} of {model.requested_replicas} replicas ready: {reason}")


def _as_json(model: PublishedModel) -> dict[str, Any]:
    return {
        "model": model.model_id,
        "model_path": model.model_path,
        "checkpoint": model.checkpoint,
        "requested_replicas": model.requested_replicas,
        "ready_replicas": model.ready_replicas,
        "reason": reasons.shortfall(model),
        "addresses": list(model.addresses),
        "selected_address": selected_address(model),
        "methods": list(model.methods),
        "overrides": dict(model.overrides),
        "acls": dict(model.acls),
        "admin_acl": model.admin_acl,
        "generation": model.generation,
        "replicas": [
            {
                "address": replica.address,
                "data_address": replica.data_address,
                "status": replica.status.name,
                "failure_reason": replica.failure_reason,
                "failed_loads": replica.failed_loads,
                "retry_in_ms": replica.retry_in_ms,
            }
            for replica in model.replicas
        ],
    }


async def publish(call: Call) -> int:
    """Publish a model; silent on success, with a hint for a person at a terminal."""
    model_id, model_path, checkpoint, replicas, *items = call.args
    try:
        count = int(replicas)
    except ValueError:
        raise UsageError(f"the number of replicas must be an integer, not {replicas!r}") from None
    overrides = {}
    for item in items:
        key, has_value, value = item.partition("=")
        if not has_value:
            raise UsageError(f"{item!r} must be <key>=<value>")
        overrides[key] = value
    admin = admin_of(call, model_id)
    await admin.publish(model_id, model_path, checkpoint, count, overrides, timeout_s=call.timeout_s)
    if is_watched():
        say(f"Published. `saxutil ls {model_id}` shows when it is ready.")
    return 0


async def unpublish(call: Call) -> int:
    """Take a model away; silent."""
    await admin_of(call, call.args[0]).unpublish(call.args[0], timeout_s=call.timeout_s)
    return 0


async def update(call: Call) -> int:
    """Change the number of replicas; silent."""
    replicas = int(call.flags["replicas"])
    if replicas < 0:
        raise CommandFailed("Give the new number of replicas: update -replicas=<0 or more> <model ID>.")
    await admin_of(call, call.args[0]).update(call.args[0], replicas=replicas, timeout_s=call.timeout_s)
    return 0


async def update_checkpoint(call: Call) -> int:
    """Change the checkpoint; silent."""
    model_id, checkpoint = call.args
    await admin_of(call, model_id).update(
        model_id,
        checkpoint=checkpoint,
        allow_downtime=bool(call.flags["allow_downtime"]),
        timeout_s=call.timeout_s,
    )
    return 0


async def watch(call: Call) -> int:
    """Print where the model is served until it is unpublished or Ctrl-C."""
    admin = admin_of(call, call.args[0])
    async for answer in admin.watch(call.args[0], on_failure=lambda error: say(f"... {error.message}")):
        lines = []
        if answer.full_set is not None:
            lines = ["Reset", *(f"+ {address}" for address in sorted(answer.full_set))]
        lines += [f"{'+' if change.is_addition else '-'} {change.address}" for change in answer.mutations]
        write("".join(f"{line}\n" for line in lines))
    return 0
