"""What must be sent so that what is seen becomes what is wanted.

Level-triggered: nothing is remembered between calls but the orders under way, the failed attempts and the
unload budget, so a lost order is simply said again. Per server and model:

    seen        wanted here                              not wanted here
    ----------  ---------------------------------------  --------------------------------------------
    absent      LOAD, after everything unwanted is gone  -
    LOADING     wait                                     UNLOAD (an original: wait, it cannot stop)
    LOADED      other checkpoint: UPDATE_CHECKPOINT      UNLOAD, within the budget unless somebody
                other spec: UNLOAD, later LOAD           asked for it
                other ACLs: UPDATE_ACLS
    FAILED      after the wait: UNLOAD, then LOAD        UNLOAD
    UNLOADING   wait                                     wait

A failed model is unloaded before it is loaded again because an original answers OK to a Load of a FAILED
key and does nothing (DESIGN D15).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sax_admin.core.cell import NO_DIGEST, digest_of, same_but_checkpoint
from sax_admin.core.rolling import may_reload
from sax_admin.core.servers import Order, OrderKind, ServerView, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sax_common.names import ModelName

    from sax_admin.core.assignment import Placement
    from sax_admin.core.cell import Digest, ModelSpec, ServerAddress, Term

# Replicas that may be taken away in one round without anybody's asking: one, or this share
# (reference/reliability.md A13).
GUARDED_SHARE = 0.3
ROUND_MS = 10_000


@dataclass(slots=True)
class UnloadBudget:
    """Unasked unloads of the current round. Owned by the machine."""

    round_started_ms: int = -ROUND_MS
    used: int = 0

    def take(self, loaded: int, now_ms: int) -> bool:
        """Use one unasked unload if the round still allows it, with `loaded` replicas in the cell."""
        if now_ms - self.round_started_ms >= ROUND_MS:
            self.round_started_ms, self.used = now_ms, 0
        if self.used >= max(1, int(GUARDED_SHARE * loaded)):
            return False
        self.used += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What should be where, and which models went away because somebody asked."""

    models: Mapping[ModelName, ModelSpec]
    placement: Placement
    unpublished: Collection[ModelName]
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One call of `orders`: everything it looks at. `rolling` counts down as reloads are ordered."""

    wanted: Wanted
    budget: UnloadBudget
    loaded: int
    rolling: dict[ModelName, int]
    now_ms: int


def orders(wanted: Wanted, servers: Iterable[ServerView], budget: UnloadBudget, now_ms: int) -> list[Order]:
    """Say what must be sent now to `servers`, all of which answer at this term and are not draining.

    Sorted by (server, model) with unloads first on each server: equal inputs give equal lists.
    """
    views = sorted(servers, key=lambda view: view.address)
    by_address = {view.address: view for view in views}
    one = _Round(
        wanted=wanted,
        budget=budget,
        loaded=sum(seen.status == Status.LOADED for view in views for seen in view.seen.values()),
        rolling={
            name: may_reload(spec, wanted.placement.get(name, ()), by_address)
            for name, spec in wanted.models.items()
        },
        now_ms=now_ms,
    )
    homes: dict[ServerAddress, list[ModelName]] = {}
    for name, addresses in sorted(wanted.placement.items()):
        for address in addresses:
            homes.setdefault(address, []).append(name)
    result: list[Order] = []
    for view in views:
        home = homes.get(view.address, [])
        result += _unloads(one, view, home)
        steps = (_toward(one, wanted.models[name], view, home) for name in home)
        result += [order for order in steps if order is not None]
    return result


def _unloads(one: _Round, view: ServerView, home: Collection[ModelName]) -> list[Order]:
    """Order away what is not wanted on a server, as far as guard and waits allow."""
    # A server that offers nothing holds static models and refuses unloads.
    if not view.offer.model_paths:
        return []
    result = []
    for name in sorted(view.seen):
        status = view.seen[name].status
        is_settled = name in home or status in (Status.UNLOADING, Status.NONE)
        if is_settled or not _is_free(view, name, status) or _waits_to_unload(view, name, one.now_ms):
            continue
        is_guarded = status == Status.LOADED and not _is_asked_for(one.wanted, name)
        if is_guarded and not one.budget.take(one.loaded, one.now_ms):
            continue
        result.append(_order(OrderKind.UNLOAD, view, name, one.wanted.term, is_guarded=is_guarded))
    return result


def _is_asked_for(wanted: Wanted, name: ModelName) -> bool:
    """Tell whether an unload follows from what somebody asked: an unpublish, or enough replicas elsewhere."""
    spec = wanted.models.get(name)
    if spec is None:
        return name in wanted.unpublished
    return len(wanted.placement.get(name, ())) >= spec.replicas


def _is_free(view: ServerView, name: ModelName, status: Status) -> bool:
    """Tell whether an unload may be sent now: nothing is under way, or a load that our servers can stop."""
    under_way = view.in_flight.get(name)
    if status == Status.LOADING or (under_way is not None and under_way.kind == OrderKind.LOAD):
        return not view.is_original and (under_way is None or under_way.kind == OrderKind.LOAD)
    return under_way is None


def _waits(view: ServerView, name: ModelName, digest: Digest, now_ms: int) -> bool:
    """Tell whether the same try failed lately and its time has not come yet."""
    attempt = view.attempts.get(name)
    return attempt is not None and attempt.digest in (digest, NO_DIGEST) and now_ms < attempt.retry_at_ms


def _waits_to_unload(view: ServerView, name: ModelName, now_ms: int) -> bool:
    """Tell whether an unload failed lately and its time has not come yet."""
    attempt = view.unload_attempts.get(name)
    return attempt is not None and now_ms < attempt.retry_at_ms


def _toward(one: _Round, spec: ModelSpec, view: ServerView, home: Collection[ModelName]) -> Order | None:
    """Say the one next step that brings a wanted replica closer, if there is one to take now."""
    digest = digest_of(spec)
    if spec.name in view.in_flight or _waits(view, spec.name, digest, one.now_ms):
        return None
    seen = view.seen.get(spec.name)
    match seen.status if seen else Status.NONE:
        case Status.NONE:
            # A server has memory for what it should hold and no more: what it should not goes first.
            is_clear = all(other in home for other in view.seen) and bool(view.offer.model_paths)
            kind = OrderKind.LOAD if is_clear else None
        case Status.FAILED:
            kind = OrderKind.UNLOAD
        case Status.LOADED:
            kind = _next_for_loaded(one, spec, view)
        case _:
            kind = None
    if kind is None or (kind == OrderKind.UNLOAD and _waits_to_unload(view, spec.name, one.now_ms)):
        return None
    if kind == OrderKind.UNLOAD:
        return _order(kind, view, spec.name, one.wanted.term)
    if kind == OrderKind.UPDATE_ACLS and seen is not None:
        # ACLs change nothing that is loaded, so the server is told its own digest.
        digest = seen.digest
    return _order(kind, view, spec.name, one.wanted.term, spec=spec, digest=digest)


def _next_for_loaded(one: _Round, spec: ModelSpec, view: ServerView) -> OrderKind | None:
    """Compare what is loaded with what is wanted; a reload takes one from the model's rolling count."""
    wanted = digest_of(spec)
    loaded = view.seen_digest(spec.name, wanted)
    if loaded == wanted:
        return None if view.acls_told.get(spec.name) == spec.acls else OrderKind.UPDATE_ACLS
    if one.rolling[spec.name] <= 0:
        return None
    one.rolling[spec.name] -= 1
    return OrderKind.UPDATE_CHECKPOINT if same_but_checkpoint(loaded, wanted) else OrderKind.UNLOAD


def _order(
    kind: OrderKind,
    view: ServerView,
    name: ModelName,
    term: Term,
    *,
    spec: ModelSpec | None = None,
    digest: Digest = NO_DIGEST,
    is_guarded: bool = False,
) -> Order:
    return Order(
        kind=kind,
        server=view.address,
        model=name,
        term=term,
        incarnation=view.report.incarnation,
        spec=spec,
        digest=digest,
        is_guarded=is_guarded,
    )
