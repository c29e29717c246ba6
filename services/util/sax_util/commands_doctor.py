"""Subcommand `doctor`: look at everything a cell needs, in the order in which it is needed.

    root -> cells -> configuration -> state -> location -> admin server -> clocks -> servers -> models

A step that fails hides the ones behind it, for they would fail for the same reason. The judgements are in
`findings`; here is only the looking. Exit status 1 when there is a FAIL.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sax_client import cells
from sax_client.location import find_leader
from sax_common import names
from sax_common.clock import SystemClock
from sax_common.errors import SaxError, Unimplemented
from sax_common.roots import state_prefix
from sax_common.store.open import open_store

from sax_util import findings
from sax_util.context import write
from sax_util.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_util.context import Call

ASK_S = 5.0


async def doctor(call: Call) -> int:
    """Print what is found, one line each; 1 when something is broken."""
    found = await _root(call)
    if call.is_json:
        call.show_json({"findings": [asdict(finding) for finding in found]})
    else:
        write("".join(f"{finding.line()}\n" for finding in found))
        counts = {level: sum(one.level == level for one in found) for level in ("FAIL", "WARN", "OK")}
        write(", ".join(f"{count} {level}" for level, count in counts.items()) + "\n")
    return 1 if any(finding.level == "FAIL" for finding in found) else 0


async def _root(call: Call) -> list[Finding]:
    try:
        root = call.client.sax_root
        known = await cells.list_cells(call.client)
    except SaxError as error:
        todo = "give --sax_root or set SAX_ROOT to the directory or bucket of the cells, and check the access"
        return [Finding("FAIL", "root", error.message, todo)]
    count = "1 cell" if len(known) == 1 else f"{len(known)} cells"
    found = [Finding("OK", "root", f"{root} holds {count}")]
    wanted: Sequence[str] = [names.parse_cell(call.args[0])] if call.args else known
    if not wanted:
        todo = "make one: saxutil create /sax/<cell> <directory of its state> acl/all"
        return [Finding("FAIL", "root", f"{root} holds no cell", todo)]
    for cell in wanted:
        found += await _cell(call, cell, known)
    return found


async def _cell(call: Call, cell: str, known: Sequence[str]) -> list[Finding]:
    if cell not in known:
        there = ", ".join(known) or "none"
        return [Finding("FAIL", f"cell {cell}", f"does not exist; there are: {there}", "check the name")]
    found, is_sound = await _config(call, cell)
    if not is_sound:
        return found
    try:
        location = await find_leader(
            await call.client.store(), names.parse_cell(cell), root=call.client.sax_root
        )
    except SaxError as error:
        todo = f"sax-admin-server --sax_cell={cell} --sax_root={call.client.sax_root}"
        return [*found, Finding("FAIL", f"location of {cell}", error.message, todo)]
    found.append(Finding("OK", f"location of {cell}", location))
    return found + await _admin(call, cell, location)


async def _config(call: Call, cell: str) -> tuple[list[Finding], bool]:
    subject = f"config of {cell}"
    try:
        config = await cells.read_config(call.client, cell)
    except SaxError as error:
        todo = f"write it again: sax-admin-config --sax_cell={cell} --fs_root=<as before>"
        return [Finding("FAIL", subject, error.message, todo)], False
    if not config.fs_root:
        todo = f"sax-admin-config --sax_cell={cell} --fs_root=<directory or gs://bucket/path>"
        return [Finding("FAIL", subject, "names no fs_root: the state has no place", todo)], False
    found = [Finding("OK", subject, f"fs_root {config.fs_root}, admin ACL {config.admin_acl or 'none'}")]
    try:
        store = open_store(config.fs_root)
        try:
            records = await store.list(state_prefix(names.parse_cell(cell)))
        finally:
            await store.close()
    except SaxError as error:
        todo = "fine if only the admin servers have access to it; else check path and rights"
        return [*found, Finding("WARN", f"state of {cell}", error.message, todo)], True
    newest = f"newest record {int(records[-1].rpartition('/')[2])}" if records else "no record yet"
    return [*found, Finding("OK", f"state of {cell}", newest)], True


async def _admin(call: Call, cell: str, location: str) -> list[Finding]:
    admin, clock = call.client.admin(cell), SystemClock()
    try:
        published = await admin.list_all(timeout_s=ASK_S)
        sent_ms = clock.unix_ms()
        report = await admin.servers(timeout_s=ASK_S)
        received_ms = clock.unix_ms()
    except Unimplemented:
        seen = f"{location} answers and is an original admin, which does not tell about its servers"
        original = Finding("WARN", f"admin of {cell}", seen, "replace it by sax-admin-server")
        return [original, *findings.models(cell, published)]
    except SaxError as error:
        todo = "is the process alive and its port open from here? A standby takes over within 8 s"
        return [Finding("FAIL", f"admin of {cell}", f"{location}: {error.message}", todo)]
    return [
        *findings.leader(cell, report, location),
        *findings.clock(cell, report.unix_ms, sent_ms, received_ms),
        *findings.servers(cell, report, has_models=any(model.requested_replicas for model in published)),
        *findings.models(cell, published),
    ]
