"""Planted bugs in orders, routes and watches. See `mutants`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sax_admin.core import reconcile, servers
from sax_admin.core.fleet_state import FleetState
from sax_admin.core.reconcile import UnloadBudget
from sax_admin.core.routing import Routes
from sax_admin.core.servers import Attempt, ServerView, Status
from sax_admin.service import AdminService
from sax_common.watchable import WatchAnswer
from sax_model.core.fencing import Fence

from sax_testing.sim.mutants import Mutant, Patch, weather
from sax_testing.sim.params import Kind

if TYPE_CHECKING:
    from sax_admin.core.servers import Report

_answer = ServerView.answer
_is_ready = ServerView.is_ready
_replace = Routes.replace
_check = Fence.check


def _route_loading(self: ServerView, model: Any) -> bool:
    seen = self.seen.get(model)
    return _is_ready(self, model) or (seen is not None and seen.status == Status.LOADING)


def _same_run(self: ServerView, report: Report, orders_changed: int, now_ms: int) -> bool:
    if self.report.incarnation:
        report = replace(report, incarnation=self.report.incarnation)
    return _answer(self, report, orders_changed, now_ms)


def _no_backoff(last: Attempt | None, digest: Any, reason: str, now_ms: int) -> Attempt:
    return Attempt(digest, last.failures + 1 if last else 1, now_ms, reason)


def _keep_addresses(self: Routes, routes: Any) -> Any:
    return _replace(self, {name: wanted | self._now.get(name, set()) for name, wanted in routes.items()})


def _no_term(self: Fence, term: int, incarnation: str) -> Fence:
    return _check(Fence(self.incarnation), term, incarnation).seen(self.highest_term)


def _no_incarnation(self: Fence, term: int, _incarnation: str) -> Fence:
    return _check(self, term, "")


def _no_full_set(_self: AdminService, machine: Any, name: Any, request: Any) -> WatchAnswer | None:
    log = machine.fleet.routes.logs.get(name)
    if name not in machine.journal.state.models:
        return WatchAnswer(0, has_full_set=True)
    if log is None or machine.fleet.is_silent:
        return None
    answer = log.read(request.seqno)
    return answer if isinstance(answer, WatchAnswer) else None


def _speak_at_once(self: FleetState, now_ms: int) -> bool:
    del now_ms
    self.is_silent = True
    return False


MUTANTS = (
    Mutant(
        "order without term check on the server",
        (Patch(Fence, "check", _no_term),),
        weather(Kind.PAUSE, Kind.CUT_LINKS, net_slow=0.2, servers=3, think_ms=250, reads=0.0),
    ),
    Mutant(
        "server obeys orders for another run",
        (Patch(Fence, "check", _no_incarnation),),
        weather(
            Kind.CRASH, target="server0", at_most_ms=900, net_slow=0.3, servers=1, think_ms=250, reads=0.0
        ),
    ),
    Mutant(
        "restart of a server not noticed",
        (Patch(ServerView, "answer", _same_run),),
        weather(Kind.CRASH, target="server0", at_most_ms=2_000, servers=2),
    ),
    Mutant(
        "observation window skipped",
        (Patch(FleetState, "_is_observing", _speak_at_once),),
        weather(servers=2, watchers=1, clients=2, think_ms=500, reads=0.93, load_ms=200, net_slow=0.4),
    ),
    Mutant(
        "route LOADING",
        (Patch(ServerView, "is_ready", _route_loading),),
        weather(servers=2, watchers=3, load_ms=3_000),
    ),
    Mutant(
        "stale address kept", (Patch(Routes, "replace", _keep_addresses),), weather(servers=2, watchers=3)
    ),
    Mutant(
        "watch without full set on term change",
        (Patch(AdminService, "_read_log", _no_full_set),),
        weather(servers=2, watchers=3),
    ),
    Mutant(
        "unload guard off", (Patch(UnloadBudget, "take", lambda *_args: True),), weather(servers=1, orphans=6)
    ),
    Mutant(
        "never unload what nobody wants",
        (Patch(reconcile, "_unloads", lambda *_args: []),),
        weather(servers=2),
    ),
    Mutant(
        "retry a load at once",
        (Patch(servers, "next_attempt", _no_backoff),),
        weather(servers=2, load_failures=1.0, load_ms=200),
    ),
)
