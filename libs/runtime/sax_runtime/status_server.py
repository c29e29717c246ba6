"""The small HTTP server beside every process: is it alive, is it ready, what are its numbers.

    status = StatusServer(health, address="127.0.0.1:0", routes=[Route("/", pages.cell)])
    port = await status.start()
    ...
    await status.stop()

`/livez` answers as long as the event loop runs, for it runs on that loop. `/readyz` is 200 `ready` or 503
with the reason. `/metrics` is Prometheus text (or OpenMetrics when asked for). The caller may add routes,
as the admin adds its status pages. On loopback unless told otherwise. With access control on, all but the two
probes ask who is reading; they are answered to anybody, with or without a certificate.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import uvicorn
from prometheus_client.exposition import choose_encoder
from sax_common.access import Rule
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sax_runtime import access_rules, metrics, ports
from sax_runtime.addresses import is_loopback, split_host_port
from sax_runtime.authorization import warn_if_exposed
from sax_runtime.health import Health
from sax_runtime.http_guard import PeerCertificate, guarded
from sax_runtime.security import PLAIN, Security

LOOPBACK_ANY_PORT = "127.0.0.1:0"


def status_routes(health: Health) -> list[BaseRoute]:
    """Return the three routes, for a process that has an HTTP server already (the HTTP gateway)."""

    async def livez(_request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_request: Request) -> Response:
        if health.is_ready:
            return PlainTextResponse("ready\n")
        return PlainTextResponse(f"not ready: {health.reason}\n", status_code=503)

    async def show_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics.READY.set(health.is_ready)
        for refresh in metrics.before_scrape.values():
            refresh()
        return Response(encode(metrics.registry), media_type=content_type)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)]


class StatusServer:
    """Serves the status routes and `routes` on `address` (`host:port`); owned by the event loop.

    Every one of `routes` needs a rule in `rules`, or MissingRule is raised.
    """

    def __init__(
        self,
        health: Health,
        *,
        address: str = LOOPBACK_ANY_PORT,
        routes: Sequence[BaseRoute] = (),
        security: Security = PLAIN,
        rules: Mapping[str, Rule] = access_rules.STATUS_RULES,
    ) -> None:
        self._address = address
        self._security = security
        everything = [*status_routes(health), *routes]
        app = Starlette(routes=everything)
        self._app = guarded(app, everything, guard=security.guard, rules=rules)
        self._server: _Quiet | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen and return the port. Raises PortUnavailable, meant for a person's terminal."""
        host, _ = split_host_port(self._address)
        listening = ports.listen_socket(self._address, purpose="status pages")
        try:
            listening.listen(128)
        except OSError as error:
            listening.close()
            raise ports.unavailable(self._address, purpose="status pages", cause=error) from error
        port = int(listening.getsockname()[1])
        context = self._security.server_context(may_be_anonymous=True)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ssl_context_factory=(lambda _config, _default: context) if context is not None else None,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=64,  # Probes and scrapers; more is a mistake or an attack.
        )
        self._server = _Quiet(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="status-server")
        if not is_loopback(host):
            warn_if_exposed(
                f"{host}:{port}", has_tls=context is not None, has_acls=self._security.guard.is_on
            )
        return port

    async def stop(self) -> None:
        """End within a second; never started is fine."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await self._task  # Closes the socket too.


class _Protocol(PeerCertificate, HttpToolsProtocol):
    """uvicorn's connection, with the client's certificate for the guard."""


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handlers: `process.run` owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
