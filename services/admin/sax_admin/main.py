"""`sax-admin-server`: the admin server of one cell."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from pydantic import Field
from sax_common import roots
from sax_common.config import LogFlags, load
from sax_common.errors import InvalidArgument
from sax_common.names import parse_cell, short_cell
from sax_runtime import logs, process
from sax_runtime.security import SecurityFlags, make_security
from sax_runtime.telemetry import setup_telemetry

from sax_admin.core.lease import LeaseTimes
from sax_admin.server import AdminServer, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sax-admin-server"
FATAL_EXIT_CODE = 70  # EX_SOFTWARE: state unknown, start again and read it from the store.
_log = logs.get_logger(__name__)


class AdminFlags(LogFlags, SecurityFlags):
    """What the admin server can be told."""

    sax_cell: str = Field(default="", description="The cell to serve, as /sax/<cell>.")
    port: int = Field(
        default=10000, ge=0, le=65535, description="gRPC port on all interfaces; 0 takes a free one."
    )
    sax_root: str = Field(default="", description="Directory or gs://bucket/path where cells are found.")
    sax_admin_exp_assigner: bool = Field(
        default=False, description="Accepted; the default assigner already places several models by memory."
    )
    status_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="HTTP port of status pages and metrics on 127.0.0.1; unset: 8080 if free, else any.",
    )
    listen_host: str = Field(
        default="",
        description="Address to listen on; empty: all interfaces (127.0.0.1 when SAX_DEBUG_IPADDR is 1).",
    )
    lease_s: float = Field(
        default=6.0, gt=0, description="A standby takes over after seeing the lease unchanged for this long."
    )
    renew_deadline_s: float = Field(
        default=4.0, gt=0, description="A leader that could not renew its lease for this long stops acting."
    )
    lease_retry_s: float = Field(
        default=1.2, gt=0, description="How often the lease is renewed, and looked at by standbys."
    )


def times_of(flags: AdminFlags) -> LeaseTimes:
    """Read the times of an election. Raises InvalidArgument when they do not fit together."""
    seconds = (flags.lease_s, flags.renew_deadline_s, flags.lease_retry_s)
    return LeaseTimes(*(int(1000 * each) for each in seconds))


def settings_of(flags: AdminFlags) -> Settings:
    """Check the flags that only make sense together. Raises SaxError with one sentence for a person."""
    if not flags.sax_cell:
        raise InvalidArgument("The cell is not known: give --sax_cell=/sax/<cell>.")
    cell = parse_cell(flags.sax_cell)
    return Settings(
        cell=cell,
        sax_root=roots.find_sax_root(flags.sax_root, os.environ),
        port=flags.port,
        status_port=flags.status_port,
        listen_host=flags.listen_host,
        times=times_of(flags),
        security=make_security(flags, cell=short_cell(cell)),
    )


async def serve(flags: AdminFlags, stop: process.Stop) -> int:
    """Run the admin server until `stop`."""
    _log.info("Starting the server")
    if flags.sax_admin_exp_assigner:
        _log.info("--sax_admin_exp_assigner: the one assigner places by memory, constraints and path")
    server = AdminServer(settings_of(flags), on_fatal=_die)
    try:
        await server.start()
        waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(server.wait())]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()
    finally:
        await server.stop()
    return 0


def _die(reason: str) -> None:
    """End at once, without the usual order: nothing this process believes may be acted on any more."""
    _log.error("ending at once", reason=reason)
    logs.flush()
    os._exit(FATAL_EXIT_CODE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    flags = load(
        AdminFlags, arguments, os.environ, program=PROGRAM, description="The admin server of one Sax cell."
    )
    logs.setup_logs(
        PROGRAM, verbosity=flags.v, to_stderr=flags.is_logging_to_stderr, log_dir=flags.log_dir or None
    )
    telemetry = setup_telemetry(PROGRAM, version("sax-admin"))
    try:
        # A leader whose loop stood still for longer may find that its lease has moved.
        return process.run(lambda stop: serve(flags, stop), exit_after_stall_s=flags.renew_deadline_s)
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    sys.exit(main())
