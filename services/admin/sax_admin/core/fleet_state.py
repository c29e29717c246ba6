"""The servers the machine knows: polls that are due, joins that wait, silence, and the wish-to-orders step.

One `FleetState` per machine. It turns the durable wish and what is seen into orders and routes; it never
touches the journal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sax_common.errors import DeadlineExceeded

from sax_admin.core.assignment import Held, Hold, Placement, Room, assign
from sax_admin.core.draining import keep_serving
from sax_admin.core.events import Answer, Effect, Forget, Join, Note, Poll, Send, Wake, WakeUp
from sax_admin.core.liveness import POLL_DEAD_EVERY_MS, POLL_EVERY_MS, Liveness, majority_vanished
from sax_admin.core.reconcile import UnloadBudget, Wanted, orders
from sax_admin.core.rolling import refusal
from sax_admin.core.routing import Routes, ready_addresses
from sax_admin.core.servers import Order, OrderKind, Report, ServerView, Status
from sax_admin.core.views import model_stats_view, model_view, stats_view
from sax_admin.core.waker import WAKE_AGAIN_MS, Sleeper, whom_to_wake

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sax_common.errors import SaxError
    from sax_common.names import ModelName

    from sax_admin.core.cell import CellState, ModelSpec, ServerAddress, ServerHint, Term
    from sax_admin.core.commands import Mutation
    from sax_admin.core.events import Token
    from sax_admin.core.views import ModelView, StatsView

# How long a Join may wait for the server to answer its first poll (the original's dial and status timeout).
JOIN_MS = 10_000
JOIN_RETRY_MS = 250
# How long a new leader waits for the servers its predecessor knew (DESIGN D16).
WINDOW_MS = 10_000

_HOLDS = {
    Status.LOADED: Hold.LOADED,
    Status.LOADING: Hold.LOADING,
    Status.FAILED: Hold.FAILED,
    Status.UNLOADING: Hold.FAILED,
}


class FleetState:
    """Servers by address, the current placement and the routes. Owned by the machine.

    `is_silent` is true until the first reconcile of the term after the observation window: until then the
    routes say nothing about the world and watchers are told nothing (DESIGN D16).
    """

    def __init__(self) -> None:
        """Start with no servers."""
        self.servers: dict[ServerAddress, ServerView] = {}
        self.placement: Placement = {}
        self.routes = Routes()
        self.are_hints_dirty = False
        self._joins: dict[ServerAddress, list[tuple[Token, int]]] = {}
        self._budget = UnloadBudget()
        self._window_ends_ms: int | None = None
        self.is_silent = True
        self.reconciles = 0

    # ---- What happens to servers ----

    def begin(self, hints: Sequence[ServerHint], now_ms: int) -> None:
        """Start a term: every server must answer again before it gets an order."""
        for hint in hints:
            self.servers.setdefault(
                hint.address,
                ServerView(
                    address=hint.address,
                    data_address=hint.data_address,
                    debug_address=hint.debug_address,
                    offer=hint.offer,
                    known_since_ms=now_ms,
                    is_hinted=True,
                    ordered=dict(hint.ordered),
                    unknown=hint.unknown,
                ),
            )
        for view in self.servers.values():
            view.answered_ms, view.known_since_ms, view.next_poll_ms, view.is_polled = (
                None,
                now_ms,
                now_ms,
                False,
            )
            view.is_hinted = True
            view.in_flight.clear()
            view.orders_changed += 1
        self._window_ends_ms = now_ms + WINDOW_MS if self.servers else now_ms
        self.is_silent = True

    def _is_observing(self, now_ms: int) -> bool:
        """Tell whether the observation window is open: no order is sent."""
        if self._window_ends_ms is None:
            return True
        if now_ms >= self._window_ends_ms:
            return False
        if any(view.is_hinted and view.answered_ms is None for view in self.servers.values()):
            return True
        self._window_ends_ms = now_ms
        return False

    def join(self, event: Join, now_ms: int, term: Term) -> list[Effect]:
        """Take in a Join; answered at once only by a server that is known to answer."""
        view = self.servers.get(event.address)
        if view is None:
            view = ServerView(address=event.address, data_address=event.data_address, known_since_ms=now_ms)
            self.servers[event.address] = view
        is_changed = (view.offer, view.data_address) != (event.offer, event.data_address)
        self.are_hints_dirty |= is_changed
        view.offer, view.data_address, view.debug_address = (
            event.offer,
            event.data_address,
            event.debug_address,
        )
        view.next_poll_ms = now_ms
        is_same_run = event.incarnation == view.report.incarnation
        is_fresh = view.answered_ms is None or not is_same_run
        if view.answered_ms is not None and is_same_run and now_ms - view.answered_ms < 2 * POLL_EVERY_MS:
            return [Answer(event.token, term)]
        self._joins.setdefault(event.address, []).append((event.token, now_ms + JOIN_MS))
        # A connection to a run that is gone would sit out its reconnect backoff.
        return [Forget(event.address)] if is_fresh else []

    def answered(
        self, address: ServerAddress, orders_changed: int, report: Report, now_ms: int, term: Term
    ) -> tuple[list[Effect], bool]:
        """Take in a poll's answer; also says whether decisions may change."""
        view = self.servers.get(address)
        if view is None:
            return [], False
        view.is_polled = False
        is_back = view.liveness(now_ms) != Liveness.ALIVE
        changed = view.answer(report, orders_changed, now_ms)
        joins = self._joins.pop(address, [])
        effects: list[Effect] = [Answer(token, term) for token, _ in joins]
        if joins:
            paths = len(view.offer.model_paths)
            effects.append(Note(f"Model server {address} joined with {paths} servable paths"))
            self.are_hints_dirty = True
        effects += self._wake(view, now_ms, term)
        return effects, changed or is_back or bool(joins)

    def _wake(self, told: ServerView, now_ms: int, term: Term) -> list[Effect]:
        """Wake servers that are missed, judged whenever a sleeping one has told its rates."""
        if not told.report.is_dormant:
            return []
        homes = {
            name: [_sleeper(view) for view in self.servers.values() if name in view.seen]
            for name in told.seen
        }
        effects: list[Effect] = []
        for address in whom_to_wake(homes):
            view = self.servers[address]
            if now_ms >= view.wake_at_ms:
                view.wake_at_ms = now_ms + WAKE_AGAIN_MS
                effects += [Note(f"Waking server {address}"), WakeUp(address, term, view.report.incarnation)]
        return effects

    def not_answered(self, address: ServerAddress, now_ms: int) -> None:
        """Take in a failed poll: somebody who waits to join is asked again soon."""
        view = self.servers.get(address)
        if view is not None:
            view.is_polled = False
            if address in self._joins:
                view.next_poll_ms = min(view.next_poll_ms, now_ms + JOIN_RETRY_MS)

    def finished(self, order: Order, error: str | None, now_ms: int) -> list[Effect] | None:
        """Take in the end of an order; None when it was superseded."""
        view = self.servers.get(order.server)
        if view is None or not view.finish(order, error, now_ms):
            return None
        self.are_hints_dirty |= view.is_original
        what = f"{order.kind.value} of {order.model} on server {order.server}"
        if error is None:
            return [Note(f"Finished {what}")]
        tries = view.unload_attempts if order.kind == OrderKind.UNLOAD else view.attempts
        attempt = tries[order.model]
        wait_s = (attempt.retry_at_ms - now_ms) / 1000
        return [
            Note(f"Failed {what}, try {attempt.failures}, next in {wait_s:.0f} s: {error}", is_warning=True)
        ]

    # ---- What time brings ----

    def tick(self, now_ms: int, term: Term) -> list[Effect]:
        """Send polls that are due, end joins that waited too long, forget who has been silent for long."""
        effects: list[Effect] = []
        for address in list(self._joins):
            effects += self._end_joins(address, now_ms)
        for view in list(self.servers.values()):
            state = view.liveness(now_ms)
            if state == Liveness.GONE and view.address not in self._joins:
                effects += self._forget(view.address)
            elif now_ms >= view.next_poll_ms and not view.is_polled:
                every_ms = POLL_DEAD_EVERY_MS if state == Liveness.DEAD else POLL_EVERY_MS
                view.is_polled, view.next_poll_ms = True, now_ms + every_ms
                effects.append(Poll(view.address, term, view.orders_changed, view.is_original))
        return effects

    def _end_joins(self, address: ServerAddress, now_ms: int) -> list[Effect]:
        waiting = self._joins[address]
        late = [token for token, deadline_ms in waiting if now_ms >= deadline_ms]
        if not late:
            return []
        self._joins[address] = [join for join in waiting if join[0] not in late]
        if not self._joins[address]:
            del self._joins[address]
        error = DeadlineExceeded(f"{address} did not answer GetStatus within {JOIN_MS // 1000} s of its Join")
        effects: list[Effect] = [Answer(token, error) for token in late]
        view = self.servers.get(address)
        if (
            view is not None
            and view.answered_ms is None
            and not view.is_hinted
            and address not in self._joins
        ):
            effects += self._forget(address)
        return effects

    def _forget(self, address: ServerAddress) -> list[Effect]:
        del self.servers[address]
        self.are_hints_dirty = True
        return [Forget(address), Note(f"Forgot model server {address}: silent for too long")]

    def refuse_joins(self, error: SaxError) -> list[Effect]:
        """Answer all waiting joins with an error."""
        waiting = [token for joins in self._joins.values() for token, _ in joins]
        self._joins.clear()
        return [Answer(token, error) for token in waiting]

    # ---- From wish to orders ----

    def reconcile(
        self,
        state: CellState,
        unpublished: Collection[ModelName],
        term: Term,
        now_ms: int,
    ) -> list[Effect]:
        """Place what is wanted, order the difference, and tell clients what is ready."""
        models = state.models
        self.reconciles += 1
        for address, view in self.servers.items():
            view.is_to_drain = address in state.draining
        gone = self.routes.follow(models)
        effects: list[Effect] = [Wake(gone)] if gone else []
        if self._is_observing(now_ms):
            return effects
        states = {address: view.liveness(now_ms) for address, view in self.servers.items()}
        is_frozen = self._freeze(states)
        placed = assign(models.values(), self._rooms(states, models, is_frozen=is_frozen), self.placement)
        self.placement = keep_serving(placed, models, self.servers, now_ms)
        obedient = [
            view
            for address, view in self.servers.items()
            if states[address] == Liveness.ALIVE and not view.report.is_draining
        ]
        wanted = Wanted(models=models, placement=self.placement, unpublished=unpublished, term=term)
        for order in orders(wanted, obedient, self._budget, now_ms):
            view = self.servers[order.server]
            view.start(order)
            self.are_hints_dirty |= view.is_original
            effects += [Note(_order_text(order)), Send(order)]
        changed = self.routes.replace(ready_addresses(models, self.servers.values(), self.placement, now_ms))
        if self.is_silent:
            # Whoever waited for the window to end gets a full set now, even an empty one (DESIGN D16).
            self.is_silent, changed = False, frozenset(models)
        if changed:
            # Addresses go before the orders that make them wrong are sent.
            effects.insert(0, Wake(changed))
        return effects

    def _freeze(self, states: Mapping[ServerAddress, Liveness]) -> bool:
        """Tell whether more than half vanished together; if not, the dead are given up for good."""
        counted = [states[address] for address, view in self.servers.items() if not view.is_written_off]
        if majority_vanished(counted):
            return True
        for address, view in self.servers.items():
            view.is_written_off |= states[address] == Liveness.DEAD
        return False

    def _rooms(
        self,
        states: Mapping[ServerAddress, Liveness],
        models: Mapping[ModelName, ModelSpec],
        *,
        is_frozen: bool,
    ) -> dict[ServerAddress, Room]:
        rooms = {}
        for address, view in self.servers.items():
            state = states[address]
            is_there = state in (Liveness.ALIVE, Liveness.SUSPECT) or (state == Liveness.DEAD and is_frozen)
            if not is_there or view.report.is_draining or view.is_to_drain:
                continue
            for name in [name for name in view.attempts if name not in models]:
                del view.attempts[name]
            rooms[address] = Room(
                offer=view.offer,
                is_open=state == Liveness.ALIVE,
                total_bytes=view.report.total_bytes,
                used_bytes=view.report.used_bytes,
                held=_held(view),
            )
        return rooms

    def refusal(self, mutation: Mutation, state: CellState, now_ms: int) -> SaxError | None:
        """Return why what runs now forbids a mutation; None when it does not."""
        return refusal(mutation, state, self.placement, self.servers, now_ms)

    def view(self, spec: ModelSpec, now_ms: int) -> ModelView:
        """Show one model with what is known of its replicas."""
        view = model_view(spec, self.servers, self.placement, now_ms)
        if view.shortfall_reason and self.is_silent:
            reason = "this admin has just begun to lead and waits up to 10 s for the servers it was told of"
            return replace(view, shortfall_reason=reason)
        return view

    def stats(self, spec: ModelSpec | None, now_ms: int) -> StatsView:
        """Count all servers, or those of one model. Raises NotFound for a lost server."""
        if spec is None:
            return stats_view(self.servers.values(), now_ms)
        return model_stats_view(spec, self.servers, self.placement, now_ms)

    def hints(self) -> tuple[ServerHint, ...]:
        """Return what the next record remembers of the servers."""
        return tuple(self.servers[address].hint() for address in sorted(self.servers))


def _sleeper(view: ServerView) -> Sleeper:
    report = view.report
    return Sleeper(view.address, report.is_dormant, report.rejections_per_s, view.rejections_before_per_s)


def _held(view: ServerView) -> dict[ModelName, Held]:
    held = {}
    for name, seen in view.seen.items():
        attempt = view.attempts.get(name)
        failures = attempt.failures if attempt else 0
        held[name] = Held(_HOLDS.get(seen.status, Hold.FAILED), seen.memory_bytes, failures)
    for name, attempt in view.attempts.items():
        if name not in held:
            held[name] = Held(Hold.PLACED, 0, attempt.failures)
    return held


def _order_text(order: Order) -> str:
    match order.kind:
        case OrderKind.LOAD:
            return f"Loading model {order.model} onto server {order.server} (term {order.term})"
        case OrderKind.UNLOAD:
            why = ", nobody asked for it here" if order.is_guarded else ""
            return f"Unloading model {order.model} from server {order.server} (term {order.term}{why})"
        case _:
            what = f"{order.kind.value} (term {order.term})"
            return f"Updating model {order.model} on server {order.server}: {what}"
