"""The lease says when a standby may begin to take over, and until when a leader may act.

One object per cell, changed only by compare-and-swap. Nothing in it is a time: a standby measures with its
own clock how long the object has not changed, and the holder measures with its own since when it has not
succeeded in changing it. A lease is for liveness only; what makes two leaders harmless is the claim record
(`election`) and the term on every order (reference/reliability.md 2.2).

    WATCHING --unchanged for a lease time, absent or released: CAS term+1--> HOLDING
       ^                                                                      | CAS renewals+1 every retry
       +--- somebody else's, or not renewed within the renew deadline <-------+
                                                                              | asked to end: CAS released
                                                                              v
                                                                          RELEASED

    |<------------------------ lease 6 s, seen by the standby ----------------------->| CAS
    |<---- renew deadline 4 s, from when the renewal was SENT ---->| holder stops      |
    |<-retry 1.2 s->|<- .. ->|

After every conflict and every unknown outcome the object is read back, and what it holds decides: what we
wrote (the write counts, from when it was sent), an older renewal of ours (write again), or somebody else's
(we no longer hold it). At most one call to the store is under way; one without an answer for `CALL_MS`
counts as unknown and its late answer is dropped.

Numbers: DESIGN D5. Everything is in integer milliseconds of the caller's monotonic clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from sax_common.errors import InvalidArgument

from sax_admin.core.cell import Term
from sax_admin.core.events import (
    Effect,
    LeaseConflict,
    LeaseRead,
    LeaseUnavailable,
    LeaseUnknown,
    LeaseWritten,
    ReadLease,
    Released,
    WriteLease,
)

if TYPE_CHECKING:
    from sax_admin.core.election import Candidate

LeaseEvent = LeaseRead | LeaseWritten | LeaseConflict | LeaseUnknown | LeaseUnavailable

# Two store calls fit into the renew deadline (reference/reliability.md 2.3).
CALL_MS = 2_000
# A store that refuses is asked again this much later; also between a read-back and the next write.
AGAIN_MS = 200
# Standbys that start together must not ask together for ever: up to this factor on top of the retry time.
JITTER = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What the lease object says. `sequence` is the newest record that the holder knew to be durable."""

    holder_address: str
    run_id: str
    term: Term
    renewals: int = 0
    is_released: bool = False
    sequence: int = 0
    unknown: bytes = b""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The three times that an election lives by, in milliseconds."""

    lease_ms: int = 6_000
    renew_deadline_ms: int = 4_000
    retry_ms: int = 1_200

    def __post_init__(self) -> None:
        """Refuse times with which a holder could act on a lease that has moved. Raises InvalidArgument."""
        if not 0 < self.retry_ms * JITTER < self.renew_deadline_ms < self.lease_ms:
            raise InvalidArgument(
                f"lease {self.lease_ms} ms, renew deadline {self.renew_deadline_ms} ms and retry "
                f"{self.retry_ms} ms do not fit: the lease must be longer than the renew deadline, and that "
                f"longer than {JITTER} times the retry"
            )


class Role(Enum):
    """What this process is to the lease."""

    WATCHING = "watching"
    HOLDING = "holding"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class _Call:
    """One call to the store. `lease` is None for a read."""

    attempt: int
    sent_ms: int
    lease: Lease | None = None


class LeaseKeeper:
    """Watches, takes, renews and gives up the lease. Owned by the machine, which tells it of every tick.

    Set by the machine: `held_sequence` and `held_term`, what the next renewal shall say, and `least_term`,
    below which the lease is never taken again.
    """

    def __init__(self, candidate: Candidate, times: LeaseTimes) -> None:
        """Begin to watch; nothing is known of the object yet."""
        self.role = Role.WATCHING
        self.times = times
        self.seen: Lease | None = None
        self.held_sequence = 0
        self.held_term = Term(0)
        self.least_term = Term(0)
        self._candidate = candidate
        self._generation: str | None = None
        self._is_known = False
        self._is_free = False
        self._is_first_sight = True
        self._unchanged_since_ms = 0
        self._confirmed_ms = 0
        self._next_ms = 0
        self._pause_until_ms = 0
        self._failures = 0
        self._attempts = 0
        self._call: _Call | None = None
        self._unproven: _Call | None = None
        self._is_ending = False
        self._is_end_told = False

    @property
    def term(self) -> Term:
        """Term of the lease as last seen or written."""
        return self.seen.term if self.seen is not None else Term(0)

    @property
    def leader_address(self) -> str:
        """Which other process holds the lease as far as known; empty when none does."""
        seen = self.seen
        if seen is None or seen.is_released or seen.run_id == self._candidate.run_id:
            return ""
        return seen.holder_address

    def is_held(self, now_ms: int) -> bool:
        """Tell whether the holder may act: the last renewal that succeeded was sent recently enough."""
        return self.role == Role.HOLDING and now_ms - self._confirmed_ms <= self.times.renew_deadline_ms

    def stand_back(self, now_ms: int) -> None:
        """Stop holding without a word to the store; whatever is under way no longer counts."""
        self.role, self._call, self._unproven = Role.WATCHING, None, None
        self._is_known, self._next_ms = False, now_ms

    def end(self, now_ms: int) -> list[Effect]:
        """Give the lease up in good order; `Released` follows once that is known, at once without a lease."""
        self._is_ending = True
        return self.tick(now_ms)

    # ---- What time brings ----

    def tick(self, now_ms: int) -> list[Effect]:
        """Do what is due."""
        if self._call is not None:
            return self._overdue(self._call, now_ms)
        if self.role == Role.RELEASED:
            return self._tell_end()
        return self._next_step(now_ms) if now_ms >= self._pause_until_ms else []

    def _next_step(self, now_ms: int) -> list[Effect]:
        """Say what is due, given that nothing is under way."""
        if self._unproven is not None:
            return self._read(now_ms)
        if self._is_ending:
            return self._tick_ending(now_ms)
        is_due = now_ms >= self._next_ms
        if self.role == Role.HOLDING:
            return self._renew(self.seen, now_ms) if self.seen and is_due else []
        if self._is_known and (self._is_free or self._is_expired(now_ms)):
            return self._take(now_ms)
        return self._read(now_ms) if is_due else []

    def _tick_ending(self, now_ms: int) -> list[Effect]:
        if self.role != Role.HOLDING or self.seen is None:
            self.role = Role.RELEASED
            return self._tell_end()
        return self._write(self._renewed(self.seen, is_released=True), now_ms)

    def _tell_end(self) -> list[Effect]:
        if self._is_end_told or not self._is_ending:
            return []
        self._is_end_told = True
        return [Released()]

    def _overdue(self, call: _Call, now_ms: int) -> list[Effect]:
        if now_ms - call.sent_ms < CALL_MS:
            return []
        return self.on(LeaseUnknown(call.attempt, f"no answer within {CALL_MS} ms"), now_ms)

    def _is_expired(self, now_ms: int) -> bool:
        return now_ms - self._unchanged_since_ms >= self.times.lease_ms

    # ---- Calls to the store ----

    def _read(self, now_ms: int) -> list[Effect]:
        self._call = self._next_call(now_ms, None)
        return [ReadLease(self._call.attempt)]

    def _write(self, lease: Lease, now_ms: int) -> list[Effect]:
        self._call = self._next_call(now_ms, lease)
        return [WriteLease(self._call.attempt, lease, self._generation)]

    def _next_call(self, now_ms: int, lease: Lease | None) -> _Call:
        self._attempts += 1
        return _Call(self._attempts, now_ms, lease)

    def _take(self, now_ms: int) -> list[Effect]:
        old = self.seen
        lease = Lease(
            holder_address=self._candidate.address,
            run_id=self._candidate.run_id,
            term=Term(max(self.term + 1, self.least_term)),
            sequence=old.sequence if old is not None else 0,
            unknown=old.unknown if old is not None else b"",
        )
        return self._write(lease, now_ms)

    def _renew(self, held: Lease, now_ms: int) -> list[Effect]:
        return self._write(self._renewed(held), now_ms)

    def _renewed(self, held: Lease, *, is_released: bool = False) -> Lease:
        return replace(
            held,
            renewals=held.renewals + 1,
            term=Term(max(held.term, self.held_term)),
            sequence=max(held.sequence, self.held_sequence),
            is_released=is_released,
        )

    # ---- What came of them ----

    def on(self, event: LeaseEvent, now_ms: int) -> list[Effect]:
        """Take in the outcome of a call; one of an earlier call changes nothing."""
        call = self._call
        if call is None or event.attempt != call.attempt:
            return []
        self._call = None
        match event:
            case LeaseRead(_, lease, generation):
                self._saw(lease, generation, now_ms)
            case LeaseWritten(_, generation) if call.lease is not None:
                self._wrote(call, call.lease, generation, now_ms)
            case LeaseConflict() | LeaseUnknown() if call.lease is not None:
                # Whether it was ours that won, or somebody else's, only the object itself can say.
                self._unproven = call
                self._pause(now_ms)
            case _:
                self._failures = max(self._failures, 1)
                self._pause(now_ms)
        return self.tick(now_ms)

    def _pause(self, now_ms: int) -> None:
        """Wait before the next call: not at all after one failure, then 0.2 s, 0.4 s ... one retry time."""
        pause_ms = min(self.times.retry_ms, AGAIN_MS << min(self._failures - 1, 8)) if self._failures else 0
        self._pause_until_ms = now_ms + pause_ms
        self._failures += 1

    def _wrote(self, call: _Call, lease: Lease, generation: str, now_ms: int) -> None:
        self.seen, self._generation, self._is_known = lease, generation, True
        self._is_first_sight, self._unproven, self._failures = False, None, 0
        self._unchanged_since_ms, self._confirmed_ms = now_ms, call.sent_ms
        self.role = Role.RELEASED if lease.is_released else Role.HOLDING
        self._next_ms = call.sent_ms + self.times.retry_ms

    def _saw(self, lease: Lease | None, generation: str, now_ms: int) -> None:
        unproven, self._unproven = self._unproven, None
        if unproven is None:
            self._failures = 0
        elif lease is not None and lease == unproven.lease:
            self._wrote(unproven, lease, generation, now_ms)
            return
        if self.role == Role.HOLDING:
            if lease is not None and lease.run_id == self._candidate.run_id and not lease.is_released:
                # An older renewal of ours: the last one did not happen, or not yet.
                self.seen, self._generation, self._next_ms = lease, generation, now_ms
                return
            self.stand_back(now_ms)
        self._observe(lease, generation, now_ms)

    def _observe(self, lease: Lease | None, generation: str, now_ms: int) -> None:
        if not self._is_known or generation != self._generation:
            self._unchanged_since_ms = now_ms
        self._is_free = lease is None or lease.is_released or self._is_of_the_past(lease)
        self.seen, self._generation, self._is_known = lease, generation or None, True
        self._is_first_sight = False
        until_expiry_ms = max(0, self._unchanged_since_ms + self.times.lease_ms - now_ms)
        self._next_ms = now_ms + min(self._retry_ms(), until_expiry_ms)

    def _is_of_the_past(self, lease: Lease) -> bool:
        """Tell whether the holder surely does not act: we ourselves before we stood back, or our predecessor.

        A predecessor listened where we listen now, so it is gone. That is believed once, at the first look:
        two processes that advertise one address by mistake would take the lease from each other for ever.
        """
        if lease.run_id == self._candidate.run_id:
            return True
        return self._is_first_sight and lease.holder_address == self._candidate.address

    def _retry_ms(self) -> int:
        """Return the retry time with its jitter, drawn from who we are so that a schedule can be replayed."""
        draw = hashlib.sha256(f"{self._candidate.run_id}/{self._attempts}".encode()).digest()[0] / 255
        return int(self.times.retry_ms * (1 + (JITTER - 1) * draw))
