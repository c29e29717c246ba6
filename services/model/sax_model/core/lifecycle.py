"""The life of one model on one server, as a table.

    (absent) ──load──► LOADING ──load_done──► LOADED ──unload──► UNLOADING ──unload_done──► (absent)
                          │  │                  │                    ▲
                          │  └────unload────────┼────────────────────┤ (a load in progress is cancelled)
                     load_failed           lane_failed               │
                          ▼                     ▼                    │
                        FAILED ◄────────────────┘                    │
                          └──load──► LOADING        ──unload──► (absent): nothing is held, so nothing is freed

Everything that may change a model's state is in this file (reference/control_plane.md 2.10). Two rules
differ from the original on purpose: a failed model may be loaded again without an Unload in between (the
original answers OK and does nothing), and a load in progress can be given up.

An event that the table does not know raises `IllegalTransition`, which names state and event; nothing
changes.
"""

from enum import Enum


class State(Enum):
    """What GetStatus reports; a model that is not here has no state at all (`None`)."""

    LOADING = "LOADING"
    LOADED = "LOADED"
    FAILED = "FAILED"
    UNLOADING = "UNLOADING"


class Event(Enum):
    """What may happen to a model."""

    LOAD = "load"
    LOAD_DONE = "load_done"
    LOAD_FAILED = "load_failed"
    UNLOAD = "unload"
    UNLOAD_DONE = "unload_done"
    LANE_FAILED = "lane_failed"


class IllegalTransition(Exception):  # noqa: N818 - says what happened, as gRPC codes do.
    """This event cannot happen in this state."""

    def __init__(self, state: State | None, event: Event) -> None:
        super().__init__(f"a model that is {state.value if state else 'absent'} cannot '{event.value}'")
        self.state = state
        self.event = event


TRANSITIONS: dict[tuple[State | None, Event], State | None] = {
    (None, Event.LOAD): State.LOADING,
    (State.FAILED, Event.LOAD): State.LOADING,
    (State.LOADING, Event.LOAD_DONE): State.LOADED,
    (State.LOADING, Event.LOAD_FAILED): State.FAILED,
    (State.LOADING, Event.UNLOAD): State.UNLOADING,
    (State.LOADED, Event.UNLOAD): State.UNLOADING,
    (State.LOADED, Event.LANE_FAILED): State.FAILED,
    (State.FAILED, Event.UNLOAD): None,
    (State.UNLOADING, Event.UNLOAD_DONE): None,
    # The engine of a model that is going away may still fail; going away is what was asked for.
    (State.UNLOADING, Event.LANE_FAILED): State.UNLOADING,
}


def after(state: State | None, event: Event) -> State | None:
    """Return the state that follows, `None` for "no longer here"; raises `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
