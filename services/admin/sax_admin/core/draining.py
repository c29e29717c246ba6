"""What a drain means: an administrator wants a server to be empty, and no user shall notice.

The life of a drain: the mark becomes durable; from the next reconcile on the server takes nothing new and
its replicas are placed elsewhere; each of them goes on serving where it is until enough others are ready;
then clients are told, and it is unloaded. A replica for which there is no other place stays, and people
are shown that it waits. The mark is part of the state record, so it outlives admin and server alike, until
an undrain.

A server that says itself that it is about to end (`Report.is_draining`) is another matter: it will be gone
whatever is decided here, so clients leave at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_admin.core.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sax_common.names import ModelName

    from sax_admin.core.assignment import Placement
    from sax_admin.core.cell import ModelSpec, ServerAddress
    from sax_admin.core.servers import ServerView


def keep_serving(
    placement: Placement,
    models: Mapping[ModelName, ModelSpec],
    servers: Mapping[ServerAddress, ServerView],
    now_ms: int,
) -> Placement:
    """Return `placement` with the replicas on draining servers that are still needed.

    `placement` names no draining server. A model keeps as many replicas there as it has too few ready
    ones elsewhere, lowest address first, and none that is not ready itself.
    """
    leaving = [servers[address] for address in sorted(servers) if servers[address].is_to_drain]
    result = dict(placement)
    for view in leaving:
        if view.liveness(now_ms) != Liveness.ALIVE:
            continue
        for name in sorted(view.seen):
            spec = models.get(name)
            if spec is None or not view.is_ready(name):
                continue
            ready = sum(_is_ready(servers.get(address), name, now_ms) for address in result.get(name, ()))
            if ready < spec.replicas:
                result[name] = tuple(sorted((*result.get(name, ()), view.address)))
    return result


def _is_ready(view: ServerView | None, name: ModelName, now_ms: int) -> bool:
    return view is not None and view.is_ready(name) and view.liveness(now_ms) == Liveness.ALIVE
