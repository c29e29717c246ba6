"""Which addresses clients are told: per model a set that they follow by sequence number.

An address is in the set while the model is LOADED there, the server answers, is not draining, and nothing
is under way that takes the model away (DESIGN D7). The address goes before the unload is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_common.watchable import WatchLog

from sax_admin.core.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sax_common.names import ModelName

    from sax_admin.core.assignment import Placement
    from sax_admin.core.cell import ModelSpec
    from sax_admin.core.servers import ServerView


def ready_addresses(
    models: Iterable[ModelName], servers: Iterable[ServerView], placement: Placement, now_ms: int
) -> dict[ModelName, set[str]]:
    """Return per model the data addresses that may be advertised now."""
    routes: dict[ModelName, set[str]] = {name: set() for name in models}
    for view in servers:
        if view.liveness(now_ms) != Liveness.ALIVE:
            continue
        for name in view.seen:
            if name in routes and view.is_ready(name) and view.address in placement.get(name, ()):
                routes[name].add(view.data_address)
    return routes


class Routes:
    """One watch log per published model. Owned by the machine."""

    def __init__(self) -> None:
        """Start with no model."""
        self.logs: dict[ModelName, WatchLog] = {}
        self._now: dict[ModelName, set[str]] = {}

    def ready(self, model: ModelName) -> int:
        """Return how many replicas are advertised."""
        return len(self._now.get(model, ()))

    def follow(self, models: Mapping[ModelName, ModelSpec]) -> frozenset[ModelName]:
        """Open logs for new models and close those of models that went; returns the closed ones."""
        gone = frozenset(name for name in self.logs if name not in models)
        for name in gone:
            self.logs.pop(name).close()
            self._now.pop(name, None)
        for name in models:
            if name not in self.logs:
                self.logs[name] = WatchLog()
                self._now[name] = set()
        return gone

    def replace(self, routes: dict[ModelName, set[str]]) -> frozenset[ModelName]:
        """Make `routes` what clients are told; returns the models whose set changed."""
        changed = set()
        for name, wanted in routes.items():
            told = self._now[name]
            if told == wanted:
                continue
            for address in sorted(told - wanted):
                self.logs[name].remove(address)
            for address in sorted(wanted - told):
                self.logs[name].add(address)
            self._now[name] = wanted
            changed.add(name)
        return frozenset(changed)
