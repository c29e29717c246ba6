"""Where is the leader of a cell? Read from the store, never remembered here.

The leader writes ``location.proto`` when it takes office, so a client that meets a standby or nobody reads
the object again. What can be found there, and what the user hears (all FAILED_PRECONDITION: waiting does
not help, somebody has to do something):

    no object, no config   there is no such cell under this root
    no object              the cell exists, no admin server was ever started
    placeholder, empty     the same, said by `saxutil create`
    something else         not an address: the object is damaged

An original admin truncates the object before it writes it (control_plane.md W17), so an empty one is read a
few times more before it is believed.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from sax_common.errors import FailedPrecondition
from sax_common.names import CellName, shown
from sax_common.roots import NO_ADMIN_YET, config_name, location_name
from saxml.protobuf import admin_pb2

if TYPE_CHECKING:
    from sax_common.store.port import ObjectStore

EMPTY_READS = 3
EMPTY_PAUSE_S = 0.05
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]:/]+):\d{1,5}", re.ASCII)


async def find_leader(store: ObjectStore, cell: CellName, *, root: str) -> str:
    """The address in the cell's location object. Raises FailedPrecondition, or what the store raises."""
    for _ in range(EMPTY_READS):
        stored = await store.read(location_name(cell))
        if stored is None or stored.data:
            break
        await asyncio.sleep(EMPTY_PAUSE_S)
    if stored is not None:
        return leader_in(stored.data, cell=cell, root=root)
    if await store.read(config_name(cell)) is None:
        raise FailedPrecondition(
            f"There is no Sax cell {cell} under {root}: check the name and the root, "
            f"or make it with saxutil --sax_root={root} create {cell} <directory of the state> acl/all."
        )
    raise _no_admin(cell, root)


def leader_in(data: bytes, *, cell: CellName, root: str) -> str:
    """The address that the bytes of a location object hold. Raises FailedPrecondition."""
    try:
        text = admin_pb2.Location.FromString(data).location
    except DecodeError:
        raise FailedPrecondition(
            f"{root}/{location_name(cell)} is damaged: not a sax.Location message. Restart the admin server."
        ) from None
    if not text or text == NO_ADMIN_YET:
        raise _no_admin(cell, root)
    if _ADDRESS.fullmatch(text) is None:
        raise FailedPrecondition(
            f"{root}/{location_name(cell)} holds {shown(text)}, which is not an address (host:port). "
            "Restart the admin server."
        )
    return text


def _no_admin(cell: CellName, root: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"No admin server has been started for the Sax cell {cell}: start one with "
        f"sax-admin-server --sax_cell={cell} --sax_root={root}."
    )
