"""Subcommands `create` and `delete`: a cell comes into being and goes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sax_client import cells
from sax_common import names
from sax_common.errors import DataLoss, SaxError

from sax_util.context import CommandFailed, is_watched, say, write

if TYPE_CHECKING:
    from sax_util.context import Call

YES = frozenset({"y", "yes"})
# An admin that runs answers within milliseconds; one that does not must not hold the command up.
ASK_ADMIN_S = 3.0
SHOWN = 5


async def create(call: Call) -> int:
    """Make a cell; silent, with a hint for a person at a terminal."""
    cell, fs_root, acl = call.args
    await cells.create_cell(call.client, cell, fs_root, acl)
    if is_watched():
        root = call.client.sax_root
        say(f"Created. Start its admin server: sax-admin-server --sax_cell={cell} --sax_root={root}")
    return 0


async def delete(call: Call) -> int:
    """Remove a cell for good, after asking."""
    cell = names.parse_cell(call.args[0])
    config = await cells.read_config(call.client, cell)
    is_forced = bool(call.flags["force"])
    obstacles = [
        *await _published(cell, config.fs_root),
        *await _running(call, cell),
    ]
    if obstacles and not is_forced:
        raise CommandFailed(f"{'; '.join(obstacles)} (or delete -force {cell}). Nothing was deleted.")
    write(f"Delete the cell {cell}, with its state under {config.fs_root or 'no fs_root'}? (y/n) ")
    if sys.stdin.readline().strip().lower() not in YES:
        write("Nothing was deleted.\n")
        return 1
    left = await cells.delete_cell(call.client, cell)
    write(f"Deleted {cell}.\n")
    if left:
        say(f"What this program did not write was left there: {', '.join(left[:SHOWN])}")
    for obstacle in obstacles:
        say(f"Forced although {obstacle}.")
    return 0


async def _published(cell: str, fs_root: str) -> list[str]:
    """Say which models are in the way; what cannot be read is in the way too."""
    if not fs_root:
        return []
    try:
        models = await cells.published_models(cell, fs_root)
    except DataLoss as error:
        return [f"whether models are published cannot be read: {error.message}"]
    if not models:
        return []
    more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
    verb = "model is" if len(models) == 1 else "models are"
    return [f"{len(models)} {verb} published in {cell}: unpublish {', '.join(models[:SHOWN])}{more} first"]


async def _running(call: Call, cell: str) -> list[str]:
    """Say that an admin server still runs: it would write the cell's files again."""
    try:
        await call.client.admin(cell).list_all(timeout_s=ASK_ADMIN_S)
    except SaxError:
        return []
    return [f"an admin server of {cell} still runs and would write its files again: stop it first"]
