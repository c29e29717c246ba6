"""Is a server alive? Judged by the time since its last GetStatus answer, on the admin's own clock.

    NEW      has not answered at this term: gets no orders, is not routed to
    ALIVE    answers
    SUSPECT  three polls missed: out of routing, keeps its place
    DEAD     given up: its replicas go elsewhere
    GONE     silent for so long that it is forgotten (it may come back with a Join)

Numbers: reference/reliability.md 2.3; a server without an incarnation is an original and keeps the
original's 25 s (DESIGN D15).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

POLL_EVERY_MS = 2_000
# A server that has been given up is still asked now and then: a healed partition needs no Join.
POLL_DEAD_EVERY_MS = 5_000
FORGET_AFTER_MS = 600_000


class Liveness(Enum):
    """How a server is doing."""

    NEW = "new"
    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Bounds:
    """After how much silence a server is suspect and dead, in milliseconds."""

    suspect_ms: int
    dead_ms: int


OURS = Bounds(suspect_ms=6_000, dead_ms=20_000)
ORIGINAL = Bounds(suspect_ms=25_000, dead_ms=25_000)


def liveness(*, answered_ms: int | None, known_since_ms: int, now_ms: int, is_original: bool) -> Liveness:
    """Judge one server. One that never answered is NEW until it would be dead, then GONE."""
    bounds = ORIGINAL if is_original and answered_ms is not None else OURS
    silent_ms = now_ms - (known_since_ms if answered_ms is None else answered_ms)
    if answered_ms is None:
        return Liveness.NEW if silent_ms < bounds.dead_ms else Liveness.GONE
    if silent_ms >= FORGET_AFTER_MS:
        return Liveness.GONE
    if silent_ms >= bounds.dead_ms:
        return Liveness.DEAD
    return Liveness.SUSPECT if silent_ms >= bounds.suspect_ms else Liveness.ALIVE


def majority_vanished(states: Collection[Liveness]) -> bool:
    """Tell whether more than half of the servers are silent: then it is more likely us who are cut off."""
    silent = sum(1 for state in states if state in (Liveness.SUSPECT, Liveness.DEAD))
    return silent * 2 > sum(1 for state in states if state not in (Liveness.NEW, Liveness.GONE))
