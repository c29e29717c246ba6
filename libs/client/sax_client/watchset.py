"""Where is a model served? What one WatchLoc answer changes in what we know. Pure.

The life of an answer: `watch.py` asks with the `server_id` and `seqno` of its `WatchState`, waits up to a
minute, turns the message into a `WatchAnswer` and calls `apply`; the new state is the next question.

    full set      the answer replaces the set, then its mutations are applied in order
    no full set   the mutations are applied to what we have
    nothing       "no change"; only the sequence number may move
    lower term    a leader that has been deposed and does not know yet: all is dropped, `is_stale`

An original admin carries no term (0). It may follow one of ours after a roll-back, so term 0 is never
stale. After a restart an original sends no full set (control_plane.md W4): then the addresses that we had
stay, because a wrong address costs one failed connect and a missing one costs the service.

Refuses to know: connections, time, what to do about an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Mutation:
    """One address that came or went."""

    address: str
    is_addition: bool


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """One WatchLocResponse; `full_set` is None when the answer holds only mutations."""

    server_id: str
    next_seqno: int
    term: int = 0
    full_set: frozenset[str] | None = None
    mutations: tuple[Mutation, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchState:
    """What is known, and what the next WatchLoc asks with."""

    server_id: str = ""
    seqno: int = 0
    term: int = 0
    addresses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Applied:
    """The new state, and whether the answer said anything new."""

    state: WatchState
    has_changed: bool = False
    is_stale: bool = False


def apply(state: WatchState, answer: WatchAnswer) -> Applied:
    """The state after `answer`; a stale answer changes nothing."""
    if 0 < answer.term < state.term:
        return Applied(state, is_stale=True)
    addresses = state.addresses if answer.full_set is None else answer.full_set
    for mutation in answer.mutations:
        if mutation.is_addition:
            addresses |= {mutation.address}
        else:
            addresses -= {mutation.address}
    new = WatchState(answer.server_id, answer.next_seqno, answer.term, addresses)
    return Applied(new, has_changed=answer.full_set is not None or bool(answer.mutations))


def restarted(state: WatchState) -> WatchState:
    """The question to ask a fresh connection: everything from the start, while the addresses stay in use."""
    return replace(state, server_id="", seqno=0)
