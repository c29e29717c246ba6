"""uvicorn as this project runs it: our protocol class, our signals, no log of its own.

`serve` returns when `stop` was asked for and the requests in progress have ended, or `drain_s` later.
Readiness is taken back first, so that a load balancer has stopped sending before connections close.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import uvicorn
from sax_runtime.http_guard import PeerCertificate
from sax_runtime.logs import get_logger

from sax_http.protocol import BoundedProtocol

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from sax_runtime.health import Health
    from sax_runtime.process import Stop
    from starlette.types import ASGIApp

KEEP_ALIVE_S = 75
BACKLOG = 2048

_log = get_logger(__name__)


class _Protocol(PeerCertificate, BoundedProtocol):
    """The bounded connection, with the client's certificate for the guard."""


class _Server(uvicorn.Server):
    """A server that leaves signals to `sax_runtime.process`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: Stop,
    health: Health,
    *,
    max_connections: int,
    drain_s: float,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve `app` on a bound socket until `stop`; closes the socket. Plain HTTP without `tls`."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=max_connections,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(drain_s)),
    )
    server = _Server(config)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        # uvicorn sets a flag and no event.
        while not server.started and not running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        host, port = listener.getsockname()[:2]
        address = f"{'http' if tls is None else 'https'}://{host}:{port}"
        _log.info("HTTP server ready", address=address, console=f"{address}/console")
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        health.drain()
        server.should_exit = True
        await running
    finally:
        stopping.cancel()
