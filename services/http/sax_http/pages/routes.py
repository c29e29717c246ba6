"""/console and /docs: static files of this package, and the one JSON the console reads.

A page may load scripts, styles and data from this server only, and may not be framed: that is the
Content-Security-Policy below, and it is why no script stands in the HTML.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sax_client import PublishedModel

    from sax_http.directory import CellView
    from sax_http.services import Services

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    # A page of another version than the server beside it would be confusing.
    "cache-control": "no-cache",
}
_MEDIA_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
_FILES = ("console.html", "console.js", "docs.html", "docs.js", "sse.js", "style.css")


def page_routes(services: Services) -> APIRouter:
    """Make the router. The files are read here, once."""
    router = APIRouter(include_in_schema=False)
    folder = resources.files("sax_http.pages")
    files: Mapping[str, bytes] = {name: (folder / name).read_bytes() for name in _FILES}

    def page(name: str) -> Response:
        media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
        return Response(files[name], headers=_HEADERS, media_type=media_type)

    @router.get("/console")
    async def console() -> Response:
        return page("console.html")

    @router.get("/docs")
    async def docs() -> Response:
        return page("docs.html")

    @router.get("/console/cells.json")
    async def cells() -> Response:
        return JSONResponse([_cell(view) for view in await services.directory.views()], headers=_HEADERS)

    @router.get("/console/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "Not Found")
        return page(name)

    return router


def _cell(view: CellView) -> dict[str, object]:
    return {"cell": view.name, "problem": view.problem, "models": [_model(model) for model in view.models]}


def _model(model: PublishedModel) -> dict[str, object]:
    return {
        "model": model.model_id,
        "model_path": model.model_path,
        "checkpoint": model.checkpoint,
        "wanted": model.requested_replicas,
        # An original admin does not tell states: the assigned servers are all that is known then.
        "ready": len(model.addresses) if model.ready_replicas is None else model.ready_replicas,
        "shortfall": model.shortfall_reason,
        "replicas": [
            {
                "address": replica.address,
                "status": replica.status.name,
                "failure": replica.failure_reason,
                "retry_in_ms": replica.retry_in_ms,
            }
            for replica in model.replicas
        ],
    }
