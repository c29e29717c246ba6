"""Which sleeping server is woken: the waker policy of reference/control_plane.md 2.9 as a pure function.

A server without work may go dormant: it keeps its models but gives its device away, and turns requests down
early. How many it turns down per second, and whether that grows, says whether it is missed. Per model:

    change   newest rate less the one before, averaged over the model's dormant servers
    wake     the dormant server with the highest address, if change > number of active servers

The average is what the original means to compute; its code keeps only the last server's change (W14).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sax_common.names import ModelName

    from sax_admin.core.cell import ServerAddress

# A server that was told to wake up is given this long before it is told again.
WAKE_AGAIN_MS = 10_000


@dataclass(frozen=True, slots=True)
class Sleeper:
    """One server of a model: whether it sleeps, and its last two rates of early rejections, newest first."""

    address: ServerAddress
    is_dormant: bool
    rate: float = 0.0
    rate_before: float = 0.0


def whom_to_wake(homes: Mapping[ModelName, Iterable[Sleeper]]) -> list[ServerAddress]:
    """Return the servers to wake, each once, by address; at most one per model."""
    chosen = (_of_model(list(servers)) for servers in homes.values())
    return sorted({address for address in chosen if address is not None})


def _of_model(servers: list[Sleeper]) -> ServerAddress | None:
    dormant = [server for server in servers if server.is_dormant]
    if not dormant:
        return None
    change = sum(server.rate - server.rate_before for server in dormant) / len(dormant)
    is_missed = change > len(servers) - len(dormant)
    return max(server.address for server in dormant) if is_missed else None
