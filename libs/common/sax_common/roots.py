"""Roots and object names: where a cell keeps its few small objects.

Two roots, nothing else relates them (reference/control_plane.md 2.2): `sax_root` is shared by everyone and
found by flag, then by the environment; `fs_root` is the admin's own and known only through `config.proto`.

    <sax_root>/sax/<cell>/METADATA          empty; tells original programs on a bucket that the cell exists
    <sax_root>/sax/<cell>/config.proto      binary sax.Config, written by sax-admin-config
    <sax_root>/sax/<cell>/location.proto    binary sax.Location, written by the leader
    <fs_root>/sax/<cell>/state/%020d        numbered create-once records
    <fs_root>/sax/<cell>/lease              one object changed by compare-and-swap
    <fs_root>/sax/<cell>/state.proto        the original's state, only read, when no record exists

All functions but `find_sax_root` are joins: no file is touched, and the names are legal for `store.port`.
"""

import re
from collections.abc import Mapping

from sax_common.errors import FailedPrecondition
from sax_common.names import CellName, short_cell

ROOT_ENVIRONMENT = "SAX_ROOT"
SLOT_DIGITS = 20
CELLS_PREFIX = "sax/"

NO_ADMIN_YET = "No admin server has been started for this Sax cell."
"""What `location.proto` says before the first admin; the original's clients recognise exactly this text."""


class MissingRoot(FailedPrecondition):
    """Nobody said where the root is. Programs print the message and end with status 1."""


def find_sax_root(flag: str | None, environ: Mapping[str, str]) -> str:
    """Say the root: flag `--sax_root`, else variable SAX_ROOT. Raises MissingRoot when both are empty."""
    root = flag or environ.get(ROOT_ENVIRONMENT, "")
    if not root:
        raise MissingRoot(
            "The root of the cell is not known: give --sax_root or set SAX_ROOT to a directory or gs://bucket/path."
        )
    return root


def cell_dir(cell: CellName) -> str:
    """Name the cell's folder, without a slash at the end."""
    return f"{CELLS_PREFIX}{short_cell(cell)}"


def marker_name(cell: CellName) -> str:
    """Name the empty object that marks a cell's folder on a bucket."""
    return f"{cell_dir(cell)}/METADATA"


def config_name(cell: CellName) -> str:
    """Name the cell's configuration object."""
    return f"{cell_dir(cell)}/config.proto"


def location_name(cell: CellName) -> str:
    """Name the object that says where the leader is."""
    return f"{cell_dir(cell)}/location.proto"


def original_state_name(cell: CellName) -> str:
    """Name the state file of an original admin server."""
    return f"{cell_dir(cell)}/state.proto"


def lease_name(cell: CellName) -> str:
    """Name the lease object."""
    return f"{cell_dir(cell)}/lease"


def state_prefix(cell: CellName) -> str:
    """Say what the names of all records of a cell begin with."""
    return f"{cell_dir(cell)}/state/"


def state_name(cell: CellName, slot: int) -> str:
    """Name record number `slot`. Raises ValueError when it does not fit in 20 digits or is negative."""
    if not 0 <= slot < 10**SLOT_DIGITS:
        raise ValueError(f"A slot number is 0 to {10**SLOT_DIGITS - 1}, not {slot}.")
    return f"{state_prefix(cell)}{slot:0{SLOT_DIGITS}d}"


def slot_of(name: str) -> int | None:
    """Say the number of a record from its name, or None when this is not the name of a record."""
    match = re.fullmatch(r".*/state/(\d{20})", name, re.ASCII)
    return int(match[1]) if match else None
