"""The admin's gauges, read from the machine at every scrape.

A standby shows no models and no servers: what it knew belongs to another term. So a sum over the admins of
a cell counts everything once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_runtime import metrics

from sax_admin.core.liveness import Liveness
from sax_admin.core.machine import Phase
from sax_admin.core.servers import Status

if TYPE_CHECKING:
    from sax_common.names import CellName

    from sax_admin.controller import Controller
    from sax_admin.core.views import ModelView

_STATES = (Liveness.NEW, Liveness.ALIVE, Liveness.SUSPECT, Liveness.DEAD)


def bind(cell: CellName, controller: Controller) -> None:
    """Let `/metrics` show what the machine of this controller knows."""
    machine = controller.machine
    metrics.IS_LEADER.labels(cell=cell).set_function(lambda: machine.phase == Phase.LEADING)
    metrics.TERM.labels(cell=cell).set_function(lambda: machine.term)
    metrics.RECORD.labels(cell=cell).set_function(lambda: machine.journal.sequence)
    metrics.MODELS.labels(cell=cell).set_function(lambda: len(machine.journal.state.models))
    metrics.before_scrape[cell] = lambda: _refresh(cell, controller)


def _refresh(cell: CellName, controller: Controller) -> None:
    """Count servers and replicas; series of models that went are dropped."""
    now_ms = controller.now_ms
    servers = list(controller.machine.fleet.servers.values())
    states = [view.liveness(now_ms) for view in servers]
    for state in _STATES:
        metrics.SERVERS.labels(cell=cell, state=state.value).set(states.count(state))
    draining = sum(view.is_to_drain or view.report.is_draining for view in servers)
    metrics.SERVERS.labels(cell=cell, state="draining").set(draining)
    views = controller.machine.models(now_ms)
    metrics.REPLICAS.clear()
    for view in views:
        for kind, count in _replicas(view).items():
            metrics.REPLICAS.labels(model=view.spec.name, kind=kind).set(count)
    ready = sum(_replicas(view)["ready"] >= view.spec.replicas for view in views)
    metrics.MODELS_READY.labels(cell=cell).set(ready)


def _replicas(view: ModelView) -> dict[str, int]:
    """Count the replicas of one model by kind."""
    return {
        "wanted": view.spec.replicas,
        "assigned": len(view.replicas),
        "ready": sum(replica.is_ready for replica in view.replicas),
        "loading": sum(replica.status == Status.LOADING for replica in view.replicas),
        "failed": sum(replica.status == Status.FAILED for replica in view.replicas),
    }
