"""Pages for people: the cell, one model, one server (reference/control_plane.md 2.14, with what it hides).

Served on loopback by the status server. Every text that comes from outside is escaped.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from sax_common.errors import NotFound
from sax_common.names import ModelName
from saxml.protobuf import admin_pb2
from starlette.responses import HTMLResponse
from starlette.routing import Route

from sax_admin.core.servers import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sax_common.names import CellName
    from starlette.requests import Request
    from starlette.responses import Response

    from sax_admin.controller import Controller
    from sax_admin.core.servers import SeenModel, ServerView
    from sax_admin.core.views import ModelView

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:75rem}"
    "table{border-collapse:collapse;margin:0 0 1.5rem;display:block;overflow-x:auto}"
    "th,td{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd;vertical-align:top}"
    "th{background:#f4f4f4}"
)
_MODEL_COLUMNS = ("Name", "Max", "Active", "Path", "Checkpoint", "Why not more")
_SERVER_COLUMNS = ("Addr", "Chip", "Topo", "Lag (s)", "ModelStatus", "ServerStatus", "Failures")


def page_routes(cell: CellName, controller: Controller) -> list[Route]:
    """Return the pages of one admin server."""

    async def cell_page(_request: Request) -> Response:
        machine = controller.machine
        state = f"{machine.phase.value}, term {machine.term}, record {machine.journal.sequence}"
        return _page(
            f"{cell} Cell Status",
            f"<p>{escape(state)}</p>",
            _table(
                "Models", _MODEL_COLUMNS, [_model_row(view) for view in machine.models(controller.now_ms)]
            ),
            _servers(machine.fleet.servers.values(), controller.now_ms),
        )

    async def model_page(request: Request) -> Response:
        name = ModelName(f"/{request.path_params['name']}")
        try:
            view = controller.machine.model(name, controller.now_ms)
        except NotFound as error:
            return _page("Not found", f"<p>{escape(error.message)}</p>", code=404)
        servers = controller.machine.fleet.servers
        homes = [servers[replica.address] for replica in view.replicas if replica.address in servers]
        return _page(
            f"{name} Model Status",
            _table("Models", _MODEL_COLUMNS, [_model_row(view)]),
            _servers(homes, controller.now_ms),
        )

    async def server_page(request: Request) -> Response:
        address = request.path_params["address"]
        found = [view for key, view in controller.machine.fleet.servers.items() if key == address]
        if not found:
            return _page("Not found", f"<p>no model server at {escape(address)}</p>", code=404)
        views = [
            view for view in controller.machine.models(controller.now_ms) if view.spec.name in found[0].seen
        ]
        return _page(
            f"{address} Server Status",
            _table("Models", _MODEL_COLUMNS, [_model_row(view) for view in views]),
            _servers(found, controller.now_ms),
        )

    return [
        Route("/model/{name:path}", model_page),
        Route("/server/{address:path}", server_page),
        Route("/{rest:path}", cell_page),
    ]


def _page(title: str, *parts: str, code: int = 200) -> HTMLResponse:
    head = (
        f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    )
    body = f"<h1>{escape(title)}</h1>{''.join(parts)}"
    return HTMLResponse(f"<!doctype html>{head}<style>{_STYLE}</style>{body}", status_code=code)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>"


def _model_row(view: ModelView) -> list[str]:
    spec = view.spec
    ready = sum(replica.is_ready for replica in view.replicas)
    link = f'<a href="/model{escape(spec.name)}">{escape(spec.name)}</a>'
    texts = (str(spec.replicas), str(ready), spec.model_path, spec.checkpoint_path, view.shortfall_reason)
    return [link, *(escape(text) for text in texts)]


def _servers(views: Iterable[ServerView], now_ms: int) -> str:
    rows = [_server_row(view, now_ms) for view in sorted(views, key=lambda view: view.address)]
    return _table("Servers", _SERVER_COLUMNS, rows)


def _server_row(view: ServerView, now_ms: int) -> list[str]:
    lag = "never" if view.answered_ms is None else f"{(now_ms - view.answered_ms) / 1000:.3f}"
    held = ", ".join(f"{name}: {_state(seen)}" for name, seen in sorted(view.seen.items())) or "Idle"
    failures = "; ".join(
        f"{name} failed {attempt.failures}x: {attempt.reason}"
        for name, attempt in sorted(view.attempts.items())
    )
    status = "Dormant" if view.report.is_dormant else "Active"
    status = "Draining" if view.report.is_draining else status
    link = f'<a href="/server/{escape(view.address)}">{escape(view.address)}</a>'
    chip = _enum_name(admin_pb2.ModelServer.ChipType, view.offer.chip_type)
    topology = _enum_name(admin_pb2.ModelServer.ChipTopology, view.offer.chip_topology)
    liveness = view.liveness(now_ms).value
    return [link, *(escape(text) for text in (chip, topology, lag, held, f"{status} ({liveness})", failures))]


def _state(seen: SeenModel) -> str:
    if seen.status == Status.LOADING and seen.load_fraction:
        return f"LOADING {seen.load_fraction:.0%}"
    return seen.status.name


def _enum_name(enum: object, number: int) -> str:
    names = {value: name for name, value in enum.items()}  # type: ignore[attr-defined]  # A protobuf enum wrapper.
    return str(names.get(number, number))
