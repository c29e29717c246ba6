"""Make, list and remove cells: the few objects under the root that say that a cell exists.

The life of a cell here: `create_cell` writes its configuration (once: two people who make the same cell at
once do not undo each other) and a location that says that no admin server has been started; the first
admin takes it from there; `delete_cell` removes state, lease, location and, last of all, the configuration,
so that a removal that was interrupted can be taken up again.

Whether something is published is read from the newest state record, for it counts also when no admin runs.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from sax_common import names, roots
from sax_common.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from sax_common.store.open import GCS_SCHEME, open_store
from sax_common.store.port import Conflict
from saxml.protobuf import admin_pb2, state_pb2

if TYPE_CHECKING:
    from sax_common.names import CellName
    from sax_common.store.port import ObjectStore

    from sax_client.client import AsyncClient

_MARKS = ("METADATA", "config.proto", "location.proto")
# Magic, length and checksum before a state record's message (sax_admin.record).
_RECORD_HEAD_BYTES = 16
_RECORD_MAGIC = b"SAXSTAT1"


async def list_cells(client: AsyncClient) -> list[str]:
    """Full names of all cells under the root, sorted."""
    store = await client.store()
    parts = [name.split("/") for name in await store.list(roots.CELLS_PREFIX)]
    return sorted({f"/sax/{cell}" for _, cell, *rest in parts if rest and rest[-1] in _MARKS})


async def create_cell(client: AsyncClient, cell: str, fs_root: str, admin_acl: str) -> None:
    """Make a cell whose state will live under `fs_root`.

    Raises AlreadyExists, InvalidArgument, and FailedPrecondition when there is state of such a cell already.
    """
    name = names.parse_cell(cell)
    names.check_acl_name(admin_acl)
    if not admin_acl:
        raise InvalidArgument("The ACL of a cell cannot be empty: acl/all lets everybody publish.")
    if not fs_root.startswith((GCS_SCHEME, "/")):
        raise InvalidArgument(
            f"The place of the state must be /a/directory or gs://bucket/path, not {fs_root!r}."
        )
    await _check_no_state(name, fs_root)
    store = await client.store()
    config = admin_pb2.Config(fs_root=fs_root, admin_acl=admin_acl, cell_uid=secrets.token_hex(16))
    if client.sax_root.startswith(GCS_SCHEME):
        await store.write(roots.marker_name(name), b"")
    try:
        await store.create(roots.config_name(name), config.SerializeToString())
    except Conflict:
        raise AlreadyExists(f"The cell {name} already exists under {client.sax_root}.") from None
    location = admin_pb2.Location(location=roots.NO_ADMIN_YET)
    try:
        await store.create(roots.location_name(name), location.SerializeToString())
    except Conflict:
        # An admin server was quicker: it was started before the cell, and says the truth.
        return


async def read_config(client: AsyncClient, cell: str) -> admin_pb2.Config:
    """Read a cell's configuration. Raises NotFound when there is no such cell, DataLoss for a damaged one."""
    name = names.parse_cell(cell)
    store = await client.store()
    stored = await store.read(roots.config_name(name))
    if stored is None:
        raise NotFound(f"There is no Sax cell {name} under {client.sax_root}.")
    try:
        return admin_pb2.Config.FromString(stored.data)
    except DecodeError as error:
        raise DataLoss(f"{roots.config_name(name)} is no sax.Config message: {error}") from error


async def published_models(cell: str, fs_root: str) -> list[str]:
    """Full names of the models in the newest state record. Raises DataLoss when it cannot be read."""
    name = names.parse_cell(cell)
    store = open_store(fs_root)
    try:
        records = await store.list(roots.state_prefix(name))
        newest = records[-1] if records else roots.original_state_name(name)
        stored = await store.read(newest)
    finally:
        await store.close()
    if stored is None:
        return []
    try:
        if not records:
            return sorted(model.model_id for model in admin_pb2.State.FromString(stored.data).models)
        if not stored.data.startswith(_RECORD_MAGIC):
            raise DataLoss(f"{newest} under {fs_root} is no state record")
        record = state_pb2.StateRecord.FromString(stored.data[_RECORD_HEAD_BYTES:])
    except DecodeError as error:
        raise DataLoss(f"{newest} under {fs_root} is damaged: {error}") from error
    return sorted(model.model_id for model in record.models)


async def delete_cell(client: AsyncClient, cell: str) -> list[str]:
    """Remove a cell with its state. Returns what somebody else put into its folder, which stays.

    Checks nothing: who calls has asked whether anything is published and whether an admin server runs.
    """
    name = names.parse_cell(cell)
    config = await read_config(client, name)
    if config.fs_root:
        state = open_store(config.fs_root)
        try:
            await _delete_all(state, [*await state.list(roots.state_prefix(name))])
            await _delete_all(state, [roots.lease_name(name), roots.original_state_name(name)])
        finally:
            await state.close()
    store = await client.store()
    await _delete_all(store, [roots.location_name(name), roots.marker_name(name), roots.config_name(name)])
    return await store.list(f"{roots.cell_dir(name)}/")


async def _delete_all(store: ObjectStore, objects: list[str]) -> None:
    for name in objects:
        await store.delete(name)


async def _check_no_state(cell: CellName, fs_root: str) -> None:
    """Refuse to make a cell on the state of another: its admin would have to refuse to lead."""
    store = open_store(fs_root)
    try:
        records = await store.list(roots.state_prefix(cell))
    finally:
        await store.close()
    if records:
        raise FailedPrecondition(
            f"There is state of a cell {cell} under {fs_root} ({len(records)} records). Remove it, choose "
            "another place, or go on with it: sax-admin-config --cell_uid=<as its admin server says>."
        )
