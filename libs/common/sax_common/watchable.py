"""WatchLog: a set of addresses that clients follow by sequence number (reference/control_plane.md 2.11).

The life of an address: the admin calls `add` when a replica is ready and `remove` when it is not; each
is one mutation and one sequence number. A client asks "what is new since s?" again and again and applies
the answer:

    base {A}    log [+B, -A, +C]          first = next - len(log)
                 |   |   |    `- next     s < first          full set: base, then the whole log
                 first                    first <= s < next  the log from s
                                          s = next           Blocked: wait for the next mutation
                                          s > next           no data, but the right number

After each mutation the older half of the log moves into the base when the log has at least two entries
and is more than twice as long as the base was; so an answer is never much longer than the set itself.
`close` (the model was unpublished) makes every later answer an empty full set with number 0.

The number is an int32 on the wire. The original would run into negative numbers after 2**31 mutations;
here the mutation that would reach 2**31 starts a new life instead: the set is said again as additions,
the numbers begin again at 0, and `lives` goes up by one. The owner must make `lives` part of the
`admin_server_id` that it sends, which lets every client start afresh at 0: the log itself cannot
tell an old number from a new one.

Pure and single-owner: no clock, no lock, no waiting; the owner keeps the waiters.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

SEQNO_MAX = 2**31 - 1
FOLD_ENTRIES_MIN = 2


class Mutation(NamedTuple):
    """One change of the set: the address came (True) or went (False)."""

    is_addition: bool
    address: str


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """What a client must do: take `values` if `has_full_set`, apply `changes`, remember `next_seqno`."""

    next_seqno: int
    has_full_set: bool = False
    values: frozenset[str] = frozenset()
    changes: tuple[Mutation, ...] = ()

    def apply_to(self, known: frozenset[str]) -> frozenset[str]:
        """Say the client's set after this answer."""
        result = set(self.values if self.has_full_set else known)
        for is_addition, address in self.changes:
            (result.add if is_addition else result.discard)(address)
        return frozenset(result)


@dataclass(frozen=True, slots=True)
class Blocked:
    """There is nothing new yet: ask again after the next mutation."""


@dataclass(slots=True)
class WatchLog:
    """The addresses of one model and their latest changes; owned by the admin's event loop.

    `next_seqno` may start above 0 only in tests of the wrap.
    """

    next_seqno: int = 0
    lives: int = 0
    is_closed: bool = False
    _base: set[str] = field(default_factory=set)
    _log: list[Mutation] = field(default_factory=list)

    @property
    def values(self) -> frozenset[str]:
        """The set as it is now."""
        return WatchAnswer(0, changes=tuple(self._log)).apply_to(frozenset(self._base))

    def add(self, address: str) -> None:
        """Say that an address came. A mutation even if it was there: clients apply it without harm."""
        self._mutate(Mutation(is_addition=True, address=address))

    def remove(self, address: str) -> None:
        """Say that an address went. A mutation even if it was not there."""
        self._mutate(Mutation(is_addition=False, address=address))

    def close(self) -> None:
        """End the log: all later reads get an empty full set with number 0. Twice is fine."""
        self.is_closed = True
        self._base.clear()
        self._log.clear()
        self.next_seqno = 0

    def read(self, seqno: int) -> WatchAnswer | Blocked:
        """Answer a client that has seen everything before `seqno` (0 = nothing). Changes nothing.

        Raises ValueError when `seqno` is negative; the service answers INVALID_ARGUMENT before it comes
        to that.
        """
        if seqno < 0:
            raise ValueError(f"A sequence number is not negative ({seqno}).")
        if self.is_closed:
            return WatchAnswer(0, has_full_set=True)
        first = self.next_seqno - len(self._log)
        if seqno < first:
            return WatchAnswer(
                self.next_seqno,
                has_full_set=True,
                values=frozenset(self._base),
                changes=tuple(self._log),
            )
        if seqno < self.next_seqno:
            return WatchAnswer(self.next_seqno, changes=tuple(self._log[seqno - first :]))
        return Blocked() if seqno == self.next_seqno else WatchAnswer(self.next_seqno)

    def _mutate(self, mutation: Mutation) -> None:
        if self.is_closed:
            raise ValueError(f"The log is closed; {mutation} came too late.")
        if self.next_seqno == SEQNO_MAX:
            self._start_new_life()
        self._log.append(mutation)
        self.next_seqno += 1
        entries = len(self._log)  # The rule of the original, to the letter.
        if entries >= FOLD_ENTRIES_MIN and entries > 2 * len(self._base):
            self._fold(entries // 2)

    def _fold(self, count: int) -> None:
        for is_addition, address in self._log[:count]:
            (self._base.add if is_addition else self._base.discard)(address)
        del self._log[:count]

    def _start_new_life(self) -> None:
        # The old set is said again as additions, so that a client at 0 of the new life learns all of it.
        values = sorted(self.values)
        self._base.clear()
        self._log = [Mutation(is_addition=True, address=address) for address in values]
        self.next_seqno = len(values)
        self.lives += 1
