"""Subcommand `state`: look at a cell's state records, without any admin server.

state verify <cell>              is every record whole, and does each follow from the one before?
state history <cell>             who changed what, when, from where
state restore <cell> <number>    want again what record <number> wanted, after asking
state export -original <cell>    write `state.proto`, for the way back to original admin servers
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sax_client import cells
from sax_client.state_log import StateLog
from sax_common import names
from sax_common.store.open import open_store

from sax_util.context import CommandFailed, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from typing import Any

    from sax_util.context import Call

ORIGINAL = frozenset({"-original", "--original"})
YES = frozenset({"y", "yes"})
HISTORY_COLUMNS = ("Record", "When (UTC)", "What", "Model", "From")


async def state(call: Call) -> int:
    """Carry out one of the actions above."""
    # Flags of an action are written behind it, where Go's flag rules no longer look.
    args = tuple(arg for arg in call.args if arg not in ORIGINAL)
    if len(args) < 2:  # noqa: PLR2004  # Action and cell.
        raise CommandFailed("Say what to do with which cell: state verify|history|restore|export <cell>.")
    is_original = bool(call.flags["original"]) or len(args) < len(call.args)
    call = replace(call, args=args, flags={**call.flags, "original": is_original})
    action, cell = args[0], names.parse_cell(args[1])
    run = _ACTIONS.get(action)
    if run is None:
        raise CommandFailed(f"state knows {', '.join(_ACTIONS)}, not {action!r}.")
    config = await cells.read_config(call.client, cell)
    if not config.fs_root:
        raise CommandFailed(f"The configuration of {cell} names no place for its state.")
    async with _opened(config.fs_root, cell) as log:
        return await run(call, log, config.cell_uid)


@asynccontextmanager
async def _opened(fs_root: str, cell: names.CellName) -> AsyncIterator[StateLog]:
    store = open_store(fs_root)
    try:
        yield StateLog(store, cell)
    finally:
        await store.close()


async def _verify(_call: Call, log: StateLog, cell_uid: str) -> int:
    found = await log.verify(cell_uid)
    write("".join(f"{line}\n" for line in found.wrong))
    verdict = f"{len(found.wrong)} things are wrong" if found.wrong else "all is well"
    newest = f"newest {found.newest}, term {found.term}, {found.models} models"
    write(f"{found.records} records, {newest}: {verdict}\n")
    return 1 if found.wrong else 0


async def _history(call: Call, log: StateLog, _cell_uid: str) -> int:
    operations = await log.history()
    if call.is_json:
        keys = ("sequence", "unix_ms", "kind", "subject", "client")
        call.show_json([{key: getattr(operation, key) for key in keys} for operation in operations])
        return 0
    rows = [
        (str(each.sequence), _when(each.unix_ms), each.kind, each.subject, each.client) for each in operations
    ]
    call.show(HISTORY_COLUMNS, rows, is_csv=bool(call.flags["csv"]))
    return 0


async def _restore(call: Call, log: StateLog, _cell_uid: str) -> int:
    if len(call.args) != 3 or not call.args[2].isdecimal():  # noqa: PLR2004  # Action, cell, number.
        raise CommandFailed("Say which record: state restore <cell> <number>; `state history` lists them.")
    sequence = int(call.args[2])
    old, _ = await log.read(sequence)
    newest, _ = await log.newest()
    write(
        f"Record {sequence} of {_when(old.written_unix_ms)} has {len(old.models)} models, the newest "
        f"({newest.sequence}) has {len(newest.models)}. Want the old ones again? (y/n) "
    )
    if sys.stdin.readline().strip().lower() not in YES:
        write("Nothing was changed.\n")
        return 1
    write(f"Restored in record {await log.restore(sequence)}.\n")
    return 0


async def _export(call: Call, log: StateLog, _cell_uid: str) -> int:
    if not call.flags["original"]:
        raise CommandFailed("There is one format: state export -original <cell>.")
    write(f"Wrote state.proto with {await log.export_original()} models.\n")
    return 0


def _when(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


_ACTIONS: dict[str, Callable[[Call, StateLog, str], Coroutine[Any, Any, int]]] = {
    "verify": _verify,
    "history": _history,
    "restore": _restore,
    "export": _export,
}
