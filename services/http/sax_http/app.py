"""The ASGI app: layers, routes and what happens to errors.

    Observe (span, metrics, id) ─► guard (401, 403) ─► BodyLimits (413, 415, 408)
                                                        ─► FastAPI (routes; errors become JSON)

FastAPI routes and documents; it validates nothing per token and reads no body (see `openapi`). No layer is
a BaseHTTPMiddleware, which would copy every event through a queue.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI, Request, Response
from sax_common.errors import SaxError
from sax_runtime.access_rules import HTTP_RULES
from sax_runtime.authorization import Guard
from sax_runtime.http_guard import guarded
from sax_runtime.status_server import status_routes
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sax_http.limits import BodyLimits
from sax_http.observe import CLIENT_GONE, Observe
from sax_http.openai.bodies import ChatBody, CompletionBody
from sax_http.openai.routes import openai_routes
from sax_http.openapi import add_schemas
from sax_http.original.bodies import CellBody, GenerateBody, ModelBody, PublishBody
from sax_http.original.routes import original_routes
from sax_http.pages.routes import page_routes
from sax_http.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, ExceptionHandler

    from sax_http.services import Services

VERSION = importlib.metadata.version("sax-http")


def make_app(services: Services, *, max_body_bytes: int, guard: Guard | None = None) -> ASGIApp:
    """Make the app over its services; starts nothing. Raises MissingRule for a route that no rule names."""
    app = FastAPI(
        title="Sax HTTP server",
        version=VERSION,
        description="Publishes models to a Sax cell and asks them.",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere; `pages` has its own.
        redoc_url=None,
    )
    for routes in (original_routes, openai_routes, page_routes):
        # Not `include_router`, which keeps them in an object of its own where the guard cannot list them.
        app.router.routes.extend(routes(services).routes)
    app.router.routes.extend(status_routes(services.health))
    add_schemas(app, (ModelBody, CellBody, PublishBody, GenerateBody, CompletionBody, ChatBody))
    for kind in (SaxError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_problem)
    app.add_exception_handler(ClientDisconnect, cast("ExceptionHandler", _answer_nobody))
    inside = guarded(
        BodyLimits(app, max_body_bytes=max_body_bytes),
        app.routes,
        guard=guard or Guard(),
        rules=HTTP_RULES,
        refuse=problem,
    )
    return Observe(inside)


async def _answer_problem(request: Request, error: Exception) -> Response:
    return problem(error, request.url.path)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """Answer a request whose client left in the middle of its body; nobody reads this."""
    return Response(status_code=CLIENT_GONE)
