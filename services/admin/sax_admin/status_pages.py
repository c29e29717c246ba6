"""Pages for people: the cell, one model, one server (reference/control_plane.md 2.14, with what it hides).

Served on loopback by the status server. A standby has nothing to show but who leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_common.errors import NotFound
from sax_common.names import ModelName
from starlette.routing import Route

from sax_admin.core.cell import ServerAddress
from sax_admin.core.machine import Phase
from sax_admin.page import Number, Safe, Text, facts, html, link, page, table
from sax_admin.page_tables import (
    held_table,
    models_table,
    moment,
    operations_table,
    replicas_table,
    server_status,
    servers_table,
    size,
)

if TYPE_CHECKING:
    from sax_common.names import CellName
    from starlette.requests import Request
    from starlette.responses import Response

    from sax_admin.controller import Controller

HOME = "/"


def page_routes(cell: CellName, controller: Controller) -> list[Route]:
    """Return the pages of one admin server."""
    pages = Pages(cell, controller)
    return [
        Route("/model/{name:path}", pages.model),
        Route("/server/{address:path}", pages.server),
        Route("/{rest:path}", pages.cell),
    ]


class Pages:
    """The three pages over one controller, which they only read."""

    def __init__(self, cell: CellName, controller: Controller) -> None:
        """Show what `controller` knows."""
        self._cell = cell
        self._controller = controller
        self._nav = Safe(f"<nav>{link(HOME, cell)}</nav>")

    async def cell(self, _request: Request) -> Response:
        """Show everything: who leads, models, servers, recent operations."""
        machine, now_ms = self._controller.machine, self._controller.now_ms
        views = machine.models(now_ms)
        servers = machine.fleet.servers
        return page(
            f"{self._cell} Cell Status",
            self._leadership(),
            models_table(views, servers),
            servers_table(servers.values(), now_ms),
            operations_table(machine.journal.state.operations.values()),
        )

    async def model(self, request: Request) -> Response:
        """Show one model: where it is, and what it is."""
        machine, now_ms = self._controller.machine, self._controller.now_ms
        name = ModelName(f"/{request.path_params['name']}")
        try:
            view = machine.model(name, now_ms)
        except NotFound as error:
            return self._missing(error.message)
        spec, servers = view.spec, machine.fleet.servers
        homes = [servers[replica.address] for replica in view.replicas if replica.address in servers]
        settings: list[list[Text]] = [[key, value] for key, value in spec.overrides]
        lists: list[list[Text]] = [["admin", spec.admin_acl]] if spec.admin_acl else []
        lists += [[method, acl] for method, acl in spec.acls]
        about = [op for op in machine.journal.state.operations.values() if op.model == name]
        return page(
            f"{name} Model Status",
            self._nav,
            facts(
                [("Generation", Number(spec.generation)), ("Methods", ", ".join(view.methods) or "none yet")]
            ),
            models_table([view], servers),
            replicas_table(view, servers),
            servers_table(homes, now_ms),
            table("Overrides", ("Key", "Value"), settings),
            table("Access control lists", ("Method", "List"), lists),
            operations_table(about),
        )

    async def server(self, request: Request) -> Response:
        """Show one server: how it is doing, and what it holds."""
        machine, now_ms = self._controller.machine, self._controller.now_ms
        address = ServerAddress(request.path_params["address"])
        view = machine.fleet.servers.get(address)
        if view is None:
            return self._missing(f"no model server at {address}")
        models = [model for model in machine.models(now_ms) if model.spec.name in view.seen]
        about = [op for op in machine.journal.state.operations.values() if op.server == address]
        return page(
            f"{address} Server Status",
            self._nav,
            facts(
                [
                    ("Status", server_status(view, now_ms)),
                    ("Data address", view.data_address),
                    ("Debug address", view.debug_address or "none"),
                    ("Memory used", size(view.report.used_bytes) or "not told"),
                    ("Memory", size(view.report.total_bytes) or "not told"),
                    ("Tags", ", ".join(view.offer.tags) or "none"),
                    ("Run", view.report.incarnation or "not told"),
                ]
            ),
            held_table(view),
            models_table(models, machine.fleet.servers, "Their models in the cell"),
            servers_table([view], now_ms),
            table("Offered paths", ("Path",), [[path] for path in sorted(view.offer.model_paths)]),
            operations_table(about),
        )

    def _leadership(self) -> Safe:
        """Say what this admin is, and from which record it speaks."""
        machine = self._controller.machine
        record = machine.journal.last
        shown: list[tuple[str, Text]] = [
            ("This admin", machine.phase.value),
            ("Leader", machine.leader_address or "nobody known"),
            ("Term", str(machine.term or machine.keeper.term)),
            ("Record", str(machine.journal.sequence)),
            ("Written (UTC)", moment(record.written_unix_ms if record else 0) or "never"),
            ("Now (UTC)", moment(self._controller.unix_ms)),
        ]
        text = ""
        if machine.phase != Phase.LEADING:
            text = "This admin server does not lead: the leader's page shows the cell."
        elif machine.fleet.is_silent:
            text = "It has just begun to lead and waits up to 10 s for the servers it was told of."
        absent = sorted(machine.journal.state.draining - machine.fleet.servers.keys())
        if absent:
            text += f" Marked as draining and gone: {', '.join(absent)}."
        return Safe(facts(shown) + (f"<p class=wait>{html(text)}</p>" if text else ""))

    def _missing(self, why: str) -> Response:
        return page("Not found", self._nav, Safe(f"<p>{html(why)}</p>"), code=404)
