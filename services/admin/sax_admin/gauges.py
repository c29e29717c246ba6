"""The admin's gauges, read from the machine at every scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_runtime import metrics

from sax_admin.core.liveness import Liveness
from sax_admin.core.machine import Phase

if TYPE_CHECKING:
    from sax_common.names import CellName

    from sax_admin.controller import Controller


def bind(cell: CellName, controller: Controller) -> None:
    """Let `/metrics` show what the machine of this controller knows."""
    machine = controller.machine

    def servers(state: Liveness) -> int:
        views = machine.fleet.servers.values()
        return sum(view.liveness(controller.now_ms) == state for view in views)

    metrics.IS_LEADER.labels(cell=cell).set_function(lambda: machine.phase == Phase.LEADING)
    metrics.TERM.labels(cell=cell).set_function(lambda: machine.term)
    metrics.MODELS.labels(cell=cell).set_function(lambda: len(machine.journal.state.models))
    metrics.SERVERS.labels(cell=cell, state="live").set_function(lambda: servers(Liveness.ALIVE))
    metrics.SERVERS.labels(cell=cell, state="suspect").set_function(lambda: servers(Liveness.SUSPECT))
    metrics.SERVERS.labels(cell=cell, state="draining").set_function(
        lambda: sum(view.report.is_draining for view in machine.fleet.servers.values())
    )
