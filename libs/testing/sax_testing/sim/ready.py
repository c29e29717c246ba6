"""Which model was ready where and when, and which orders the servers obeyed: the oracle's other half.

Servers tell it at the very moment. It knows no protocol: an order is judged by what was ready elsewhere, an
advertised address by whether the model was ready there lately.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sax_admin.core.cell import digest_of
from sax_admin.core.reconcile import GUARDED_SHARE
from sax_admin.core.servers import Order, OrderKind

if TYPE_CHECKING:
    from sax_admin.core.cell import Digest
    from sax_common.names import ModelName

    from sax_testing.sim.oracle import Oracle

# A leader may still believe in a replica for as long as it is not suspect, on a clock that is 20 % slow,
# and one reconcile longer.
STALE_MS = 9_500.0
GUARD_MS = 10_000.0
# How long an admin may take to hear that a load has ended.
SEEN_MS = 3_500.0
FOREVER_MS = -1e12


@dataclass(slots=True)
class _Readiness:
    digest: Digest | None = None
    since_ms: float = 0.0
    ended_ms: float = FOREVER_MS


class ReadyLog:
    """Readiness by server address and model, over all runs of the servers."""

    def __init__(self, oracle: Oracle) -> None:
        """Start with nothing ready."""
        self._oracle = oracle
        self._ready: dict[tuple[str, ModelName], _Readiness] = {}
        self._excused: dict[int, Order] = {}
        self._terms: dict[tuple[str, str], int] = {}
        self._guarded: dict[int, list[float]] = {}
        self._started: dict[tuple[str, ModelName, str], list[float]] = {}

    def begin(self, server: str, model: ModelName, digest: Digest) -> None:
        """A model is ready from now on."""
        one = self._ready.setdefault((server, model), _Readiness())
        if one.digest != digest:
            one.since_ms = self._oracle.world.now_ms
        one.digest = digest
        self._oracle.note("ready", server, model)
        self._oracle.seen["loads"] += 1

    def end(self, server: str, model: ModelName) -> None:
        """A model is not ready any more."""
        one = self._ready.get((server, model))
        if one is not None and one.digest is not None:
            one.digest, one.ended_ms = None, self._oracle.world.now_ms

    def was_ready(self, server: str, model: ModelName, within_ms: float) -> bool:
        """Tell whether a model was ready on a server at some moment of the last `within_ms`."""
        one = self._ready.get((server, model))
        if one is None:
            return False
        return one.digest is not None or one.ended_ms >= self._oracle.world.now_ms - within_ms

    def ready_for_ms(self, server: str, model: ModelName, digest: Digest) -> float:
        """Return for how long a model has been ready on a server as wanted, -1 when it is not."""
        one = self._ready.get((server, model))
        return -1.0 if one is None or one.digest != digest else self._oracle.world.now_ms - one.since_ms

    # ---- Orders ----

    def sent(self, order: Order) -> None:
        """An admin sends an order; a load that ends while an unload is on its way is nobody's fault."""
        if order.kind == OrderKind.LOAD:
            self._check_need(order)
        if order.kind == OrderKind.UNLOAD:
            one = self._ready.get((order.server, order.model))
            if one is None or one.digest is None or self._oracle.world.now_ms - one.since_ms < SEEN_MS:
                self._excused[id(order)] = order

    def _check_need(self, order: Order) -> None:
        """Complain when a model is loaded anew though enough servers that the leader was told of serve it."""
        spec, last = self._oracle.spec(order.model), self._oracle.last
        if spec is None or last is None or self._oracle.calm_ms < STALE_MS:
            return
        known = {hint.address for hint in last.servers}
        digest = digest_of(spec)
        ready = sum(self.ready_for_ms(server, spec.name, digest) > STALE_MS for server in known)
        if spec.replicas and ready >= spec.replicas and digest == order.digest:
            where = f"loaded on {order.server}, though {ready} of {spec.replicas} replicas are ready"
            self._oracle.breach("I10", f"{order.model} is {where}")

    def refused_stale(self, order: Order, seen_term: int) -> None:
        """A server did not obey."""
        self._oracle.seen["orders of an old term refused"] += order.term < seen_term
        self._oracle.seen["orders for another run refused"] += order.term >= seen_term
        self._oracle.note("not obeyed", order.server, order.kind.value, order.model)

    def obeyed(self, server: str, order: Order, seen_term: int, incarnation: str) -> None:
        """A server obeys an order; `seen_term` is the highest that it had heard of."""
        oracle = self._oracle
        oracle.note("obeyed", server, order.kind.value, order.model, order.term)
        if order.term < seen_term:
            oracle.breach("I2", f"{server} obeys term {order.term} after it heard of {seen_term}")
        highest = max(seen_term, self._terms.get((server, incarnation), 0))
        if order.term < highest:
            oracle.breach("I2", f"{server} obeys {order.term} after term {highest}")
        self._terms[server, incarnation] = int(order.term)
        if order.incarnation and order.incarnation != incarnation:
            oracle.breach("I2", f"{server} obeys an order for another run of it")
        if order.kind == OrderKind.UNLOAD:
            self._check_unload(server, order)
        if order.kind == OrderKind.LOAD:
            self._check_pace(server, order, incarnation)

    def _check_unload(self, server: str, order: Order) -> None:
        """Complain when the last replica of what is wanted goes, or too many that nobody asked for."""
        here = self._ready.get((server, order.model))
        if here is None or here.digest is None or id(order) in self._excused:
            return
        now_ms, spec = self._oracle.world.now_ms, self._oracle.spec(order.model)
        others = any(
            self.was_ready(address, model, 2 * STALE_MS)
            for address, model in self._ready
            if model == order.model and address != server
        )
        if spec is not None and spec.replicas and here.digest == digest_of(spec) and not others:
            self._oracle.breach("I10", f"the only replica of {order.model} is taken from {server}")
        if spec is None and not self._was_asked_for(order.model):
            times = [at_ms for at_ms in self._guarded.get(order.term, ()) if at_ms > now_ms - GUARD_MS / 2]
            self._guarded[order.term] = [*times, now_ms]
            loaded = sum(one.digest is not None for one in self._ready.values())
            self._oracle.seen["orphans unloaded"] += 1
            # A round may end and the next begin within the time looked at.
            if len(times) + 1 > 2 * max(1, int(GUARDED_SHARE * (loaded + len(times)))):
                self._oracle.breach("I10", f"{len(times) + 1} of {loaded} models unloaded unasked within 5 s")

    def _was_asked_for(self, model: ModelName) -> bool:
        return any(self._oracle.history(model).generations)

    def _check_pace(self, server: str, order: Order, incarnation: str) -> None:
        """Complain when one load is tried again and again without a pause."""
        now_ms = self._oracle.world.now_ms
        key = (server, order.model, f"{incarnation}/{order.term}/{order.digest.hex()}")
        recent = [at_ms for at_ms in self._started.get(key, ()) if at_ms > now_ms - GUARD_MS]
        self._started[key] = [*recent, now_ms]
        # 2 s, 4 s, 8 s: three tries fit into ten seconds, one more may follow an unpublish and a publish.
        if len(recent) + 1 > 5:  # noqa: PLR2004
            self._oracle.breach(
                "I10", f"{server} is told {len(recent) + 1} times in 10 s to load {order.model}"
            )
