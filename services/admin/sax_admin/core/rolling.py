"""How a model gets another checkpoint without a moment in which nobody serves it.

    several replicas   one after the other (or 30 % at once), and never the last one that serves: the others
                       come back first; a replica that fails with the new spec stops the roll
    one replica        loaded beside the old one where the server has memory for both, then swapped
    one, no room       the update is refused until its caller accepts the gap (`allow_downtime`), for only
                       they can know whether it matters

A server that reports no memory is believed to have room; an original never has, for it reloads in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_common.errors import FailedPrecondition

from sax_admin.core.cell import digest_of, same_but_checkpoint
from sax_admin.core.commands import Update, spec_after
from sax_admin.core.liveness import Liveness
from sax_admin.core.servers import OrderKind, ServerView, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sax_common.names import ModelName

    from sax_admin.core.assignment import Placement
    from sax_admin.core.cell import CellState, ModelSpec, ServerAddress
    from sax_admin.core.commands import Mutation

# Replicas of one model that may reload at the same time: one, or this share.
ROLLING_SHARE = 0.3


def may_reload(
    spec: ModelSpec, placed: Sequence[ServerAddress], views: Mapping[ServerAddress, ServerView]
) -> int:
    """Return how many replicas of a model may start to reload now: those allowed less those not back yet.

    A replica that failed with the new spec counts as not back: a broken checkpoint stops the roll and the
    old one goes on serving.
    """
    digest = digest_of(spec)
    homes = [views[address] for address in placed if address in views]
    away = sum(_is_away(view, spec.name) and not _failed_before(view, spec.name, digest) for view in homes)
    serving = [view for view in homes if not _is_away(view, spec.name)]
    if len(placed) > 1 and len(serving) == 1 and not serving[0].fits_beside(spec.name):
        return 0
    return max(1, int(ROLLING_SHARE * len(placed))) - away


def _is_away(view: ServerView, name: ModelName) -> bool:
    under_way = view.in_flight.get(name)
    seen = view.seen.get(name)
    is_changing = under_way is not None and under_way.kind != OrderKind.UPDATE_ACLS
    return is_changing or seen is None or seen.status != Status.LOADED


def _failed_before(view: ServerView, name: ModelName, digest: bytes) -> bool:
    """Tell whether a replica is away because of a spec that nobody wants any more."""
    attempt = view.attempts.get(name)
    return attempt is not None and attempt.digest != digest


def refusal(
    mutation: Mutation,
    state: CellState,
    placement: Placement,
    views: Mapping[ServerAddress, ServerView],
    now_ms: int,
) -> FailedPrecondition | None:
    """Return why an update must not be made yet: it would take away the only replica that serves.

    None for everything else, also for what `decide` will refuse or has decided before.
    """
    command = mutation.command
    if not isinstance(command, Update) or command.allow_downtime or mutation.operation_id in state.operations:
        return None
    old, new = spec_after(state, command)
    if old is None or new.replicas == 0 or digest_of(old) == digest_of(new):
        return None
    placed = placement.get(old.name, ())
    ready = [
        views[address]
        for address in placed
        if address in views
        and views[address].is_ready(old.name)
        and views[address].liveness(now_ms) == Liveness.ALIVE
    ]
    if len(placed) != 1 or len(ready) != 1:
        return None
    if same_but_checkpoint(digest_of(old), digest_of(new)) and ready[0].fits_beside(old.name):
        return None
    return FailedPrecondition(
        f"model {old.name} is served by one replica only, on {ready[0].address}, and that server cannot load "
        "the new version beside the old one: the update would leave nobody serving until it is loaded. Ask "
        "for two replicas first, or accept the gap: saxutil update_checkpoint -allow_downtime"
    )
