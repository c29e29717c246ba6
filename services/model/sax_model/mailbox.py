"""What the event loop and the device thread say to each other: plain values, one way each.

Commands go in, news come out. A command is handled between two engine steps; news of one round are handed
over with one wake-up of the loop. Nobody else holds a reference to an engine once its lane was added.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NewType

from sax_engine.core.engine import Engine, EngineSnapshot
from sax_engine.core.requests import Emission, Request

LaneId = NewType("LaneId", str)
"""One loaded model of this process run; a reload of the same key is another lane."""


@dataclass(frozen=True, slots=True)
class AddLane:
    """Take over an engine. `release` frees what it holds; it is called on the device thread, once."""

    lane: LaneId
    engine: Engine
    release: Callable[[], None]


@dataclass(frozen=True, slots=True)
class RemoveLane:
    """End every request of the lane and release its engine; answered by `LaneRemoved`."""

    lane: LaneId


@dataclass(frozen=True, slots=True)
class Submit:
    """Run a request; answered by emissions or `Refused`."""

    lane: LaneId
    request: Request


@dataclass(frozen=True, slots=True)
class Cancel:
    """Free what a request holds before the next step; a request that is unknown or over is fine."""

    lane: LaneId
    request_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Release all lanes and end the thread."""


Command = AddLane | RemoveLane | Submit | Cancel | Stop


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step of one lane has finished at `at_ms` (monotonic), after `step_ms`."""

    lane: LaneId
    emissions: list[Emission]
    snapshot: EngineSnapshot
    at_ms: int
    step_ms: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine did not take a request (`RequestRejected`, `QueueFull`), or its lane is gone (None)."""

    request_id: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class LaneFailed:
    """A step raised; the lane is gone. `is_device_fault`: the device itself is broken, for all lanes."""

    lane: LaneId
    error: Exception
    is_device_fault: bool


@dataclass(frozen=True, slots=True)
class LaneRemoved:
    """The lane's engine has been released."""

    lane: LaneId


News = Stepped | Refused | LaneFailed | LaneRemoved


@dataclass(frozen=True, slots=True)
class StepInFlight:
    """The step in progress of a lane: its age, 0 when there is none, and whether it waits for a compiler."""

    age_ms: int
    is_compiling: bool
