"""Read and set ACLs: of a cell (kept in its configuration object) and of one method of a model.

The cell's configuration is changed by compare-and-swap, so two people who set ACLs at once do not undo each
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_common import names
from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_common.roots import config_name
from saxml.protobuf import admin_pb2

if TYPE_CHECKING:
    from sax_client.admin import AdminClient
    from sax_client.client import AsyncClient


async def cell_acl(client: AsyncClient, cell: str) -> str:
    """Give the ACL of who may publish in the cell; empty for none. Raises FailedPrecondition."""
    config, _ = await _read(client, names.parse_cell(cell))
    return config.admin_acl


async def set_cell_acl(client: AsyncClient, cell: str, acl: str) -> None:
    """Set the ACL of a cell, which cannot be empty. Raises InvalidArgument, FailedPrecondition, Aborted."""
    if not acl:
        raise InvalidArgument("The ACL of a cell cannot be empty: acl/all lets everybody publish.")
    name = names.parse_cell(cell)
    names.check_acl_name(acl)
    config, generation = await _read(client, name)
    config.admin_acl = acl
    store = await client.store()
    await store.replace(config_name(name), config.SerializeToString(), generation=generation)


async def set_method_acl(
    admin: AdminClient, model_id: str, method: str, acl: str, *, timeout_s: float
) -> None:
    """Set the ACL of one method of a model; an empty one is removed. Raises InvalidArgument, NotFound."""
    names.check_data_method(method)
    names.check_acl_name(acl)
    model = await admin.list(model_id, timeout_s=timeout_s)
    changed = {name: value for name, value in model.acls.items() if name != method}
    if acl:
        changed[method] = acl
    await admin.update(model_id, acls=changed, timeout_s=timeout_s)


async def _read(client: AsyncClient, cell: names.CellName) -> tuple[admin_pb2.Config, str]:
    store = await client.store()
    stored = await store.read(config_name(cell))
    if stored is None:
        raise FailedPrecondition(f"There is no Sax cell {cell} under {client.sax_root}.")
    return admin_pb2.Config.FromString(stored.data), stored.generation
