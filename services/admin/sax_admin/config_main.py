"""`sax-admin-config`: make a cell, or change where it keeps its state and who may administer it.

Overwrites an existing `config.proto` like the original, but keeps the cell's identity and what a newer
program wrote there.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import TYPE_CHECKING

from pydantic import Field
from sax_common import names, roots
from sax_common.config import LogFlags, load
from sax_common.errors import InvalidArgument
from sax_common.store.open import GCS_SCHEME, open_store
from sax_runtime import logs, process

from sax_admin import wire_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_common.names import CellName

PROGRAM = "sax-admin-config"
_log = logs.get_logger(__name__)


class ConfigFlags(LogFlags):
    """What the program can be told."""

    sax_cell: str = Field(default="", description="The cell to make or change, as /sax/<cell>.")
    sax_root: str = Field(default="", description="Directory or gs://bucket/path where cells are found.")
    fs_root: str = Field(
        default="", description="Directory or gs://bucket/path where the admin keeps its state."
    )
    admin_acl: str = Field(default="acl/all", description="Access control list of those who may publish.")
    cell_uid: str = Field(
        default="",
        description="Identity to give the cell; only to go on with state whose config.proto was lost.",
    )


async def configure(
    cell: CellName, *, sax_root: str, fs_root: str, admin_acl: str, cell_uid: str = ""
) -> wire_cell.CellConfig:
    """Write the cell's configuration and return it. Raises SaxError when the store refuses.

    A new cell gets a new identity. One that an original program made has none, and keeps none: its admin
    server takes that of the state, if there is any.
    """
    await open_store(fs_root).close()  # A root that cannot be one is refused before anything is written.
    root = open_store(sax_root)
    try:
        found = await root.read(roots.config_name(cell))
        old = wire_cell.decode_config(found.data) if found else wire_cell.CellConfig(fs_root="")
        if old.fs_root and old.fs_root.rstrip("/") != fs_root.rstrip("/"):
            _log.warning("fs_root changes; the state stays in the old place", old=old.fs_root, new=fs_root)
        config = wire_cell.CellConfig(
            fs_root=fs_root,
            admin_acl=admin_acl,
            cell_uid=cell_uid or (old.cell_uid if found else secrets.token_hex(16)),
            unknown=old.unknown,
        )
        _log.info(f"Creating config {config}")
        if sax_root.startswith(GCS_SCHEME):
            await root.write(roots.marker_name(cell), b"")
        await root.write(roots.config_name(cell), wire_cell.encode_config(config))
    finally:
        await root.close()
    _log.info(f"Created config {config}")
    return config


async def run(flags: ConfigFlags) -> int:
    """Check the flags and write. Raises SaxError with one sentence for a person."""
    if not flags.sax_cell:
        raise InvalidArgument("The cell is not known: give --sax_cell=/sax/<cell>.")
    if not flags.fs_root:
        raise InvalidArgument(
            "The place of the state is not known: give --fs_root=<directory or gs://bucket/path>."
        )
    cell = names.parse_cell(flags.sax_cell)
    sax_root = roots.find_sax_root(flags.sax_root, os.environ)
    await configure(
        cell,
        sax_root=sax_root,
        fs_root=flags.fs_root,
        admin_acl=names.check_acl_name(flags.admin_acl),
        cell_uid=flags.cell_uid,
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 1 not done, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    flags = load(
        ConfigFlags, arguments, os.environ, program=PROGRAM, description="Makes or changes a Sax cell."
    )
    logs.setup_logs(
        PROGRAM, verbosity=flags.v, to_stderr=flags.is_logging_to_stderr, log_dir=flags.log_dir or None
    )
    return process.run(lambda _stop: run(flags))


if __name__ == "__main__":
    sys.exit(main())
