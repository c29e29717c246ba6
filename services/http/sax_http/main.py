"""sax-http-server: from flags to a listening server, and back."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from sax_client import AsyncClient
from sax_common.clock import SystemClock
from sax_common.config import load
from sax_common.names import parse_cell, short_cell
from sax_runtime import process
from sax_runtime.addresses import is_loopback, join_host_port
from sax_runtime.authorization import warn_if_exposed
from sax_runtime.health import Health
from sax_runtime.logs import get_logger, setup_logs
from sax_runtime.ports import listen_socket
from sax_runtime.security import make_security
from sax_runtime.telemetry import setup_telemetry

from sax_http.app import VERSION, make_app
from sax_http.config import HttpConfig
from sax_http.directory import Directory
from sax_http.readiness import keep_readiness
from sax_http.server import serve
from sax_http.services import Services

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sax-http-server"

_log = get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until a signal; returns the exit code."""
    config = load(
        HttpConfig,
        sys.argv[1:] if argv is None else argv,
        os.environ,
        program=PROGRAM,
        description="HTTP server of a Sax cell: the original routes, OpenAI-compatible ones, a console.",
    )
    setup_logs(
        PROGRAM, verbosity=config.v, to_stderr=config.is_logging_to_stderr, log_dir=config.log_dir or None
    )
    return process.run(lambda stop: _traced(config, stop))


async def _traced(config: HttpConfig, stop: process.Stop) -> int:
    telemetry = setup_telemetry(PROGRAM, VERSION)
    try:
        return await _serve(config, stop)
    finally:
        await asyncio.to_thread(telemetry.shutdown)


async def _serve(config: HttpConfig, stop: process.Stop) -> int:
    clock = SystemClock()
    health = Health()
    default_cell = parse_cell(config.sax_cell) if config.sax_cell else None
    security = make_security(config, cell=short_cell(default_cell) if default_cell else "")
    async with AsyncClient(config.sax_root or None, clock=clock, outgoing=security.outgoing) as client:
        # A root that is not known, or a port that is taken, ends the program here, in one sentence.
        _log.info("starting", sax_root=client.sax_root, sax_cell=config.sax_cell or "any", version=VERSION)
        services = Services(
            client=client,
            directory=Directory(client, default_cell=default_cell, clock=clock),
            health=health,
            clock=clock,
            is_legacy_generate=config.legacy_generate_response,
            generate_timeout_s=config.generate_timeout,
            stream_timeout_s=config.stream_timeout,
            ready_timeout_s=config.ready_timeout,
        )
        listener = listen_socket(join_host_port(config.host, config.port), purpose="HTTP")
        if not is_loopback(config.host):
            warn_if_exposed(config.host, has_tls=security.has_tls, has_acls=security.guard.is_on)
        readiness = asyncio.ensure_future(keep_readiness(health, services.directory, clock))
        try:
            await serve(
                make_app(services, max_body_bytes=config.max_body_bytes, guard=security.guard),
                listener,
                stop,
                health,
                max_connections=config.max_connections,
                drain_s=config.drain_timeout,
                tls=security.server_context(),
            )
        finally:
            readiness.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main())
