"""Which replica does a client call? The only place that decides it.

Pure: loads, time and randomness are arguments. `replicas.py` keeps the loads of one model and asks here
before every attempt; it tells here how the attempt ended.

The rule is *the power of two choices*: draw two different replicas at random, take the one with fewer calls
in flight. Compared with a ring it follows load without any message, and compared with "the least loaded of
all" it does not send every client to the same idle server at once.

A replica is *ejected* after `EJECT_AFTER` failed connects in a row (the target of reference/reliability.md
G11 is three), for 1 s at first and twice as long each time it fails again, at most 30 s (Envoy's base
ejection). An ejected replica is only drawn when every other has been tried: an ejection is an opinion, not
a fact, and with all replicas ejected it is better to try than to fail.

    draw from:   ready and not yet tried in this call
       else      ejected and not yet tried in this call
       else      any
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

EJECT_AFTER = 3
EJECT_BASE_MS = 1_000
EJECT_MAX_MS = 30_000

Draw = Callable[[int], int]
"""Gives a uniform integer in [0, n); `random.Random.randrange` is one."""


@dataclass(frozen=True, slots=True)
class Load:
    """What this process knows of one replica."""

    in_flight: int = 0
    failures: int = 0
    ejected_until_ms: int = 0

    def is_ejected(self, now_ms: int) -> bool:
        """Whether the replica is to be avoided at `now_ms`."""
        return now_ms < self.ejected_until_ms


def pick(loads: Mapping[str, Load], *, tried: Collection[str], now_ms: int, draw: Draw) -> str | None:
    """Choose the address to call next, or None when there is no replica at all.

    Never returns an address already tried in this call while an untried one exists.
    """
    addresses = sorted(loads)
    untried = [address for address in addresses if address not in tried]
    healthy = [address for address in untried if not loads[address].is_ejected(now_ms)]
    candidates = healthy or untried or addresses
    if len(candidates) < 2:  # noqa: PLR2004 - two choices need two
        return candidates[0] if candidates else None
    first = draw(len(candidates))
    second = draw(len(candidates) - 1)
    if second >= first:
        second += 1  # Two different ones: the second draw skips the first.
    one, other = candidates[first], candidates[second]
    return other if loads[other].in_flight < loads[one].in_flight else one


def started(load: Load) -> Load:
    """A call to this replica begins."""
    return replace(load, in_flight=load.in_flight + 1)


def finished(load: Load, *, is_reachable: bool, now_ms: int) -> Load:
    """A call to this replica has ended; `is_reachable` says whether the server was there with the model."""
    in_flight = max(0, load.in_flight - 1)
    if is_reachable:
        return Load(in_flight=in_flight)
    failures = load.failures + 1
    if failures < EJECT_AFTER:
        return replace(load, in_flight=in_flight, failures=failures)
    # Bounded before it is shifted: a replica that has been dead for a week must not make a huge number.
    doublings = min(failures - EJECT_AFTER, 10)
    ejected_ms = min(EJECT_MAX_MS, EJECT_BASE_MS << doublings)
    return Load(in_flight=in_flight, failures=failures, ejected_until_ms=now_ms + ejected_ms)


def subset(addresses: Iterable[str], *, limit: int, salt: str) -> frozenset[str]:
    """The at most `limit` addresses that a process with this `salt` uses.

    Rendezvous hashing: when an address comes or goes, at most one member of the subset changes.
    """
    everything = frozenset(addresses)
    if len(everything) <= limit:
        return everything
    ranked = sorted(everything, key=lambda address: hashlib.blake2b(f"{salt}/{address}".encode()).digest())
    return frozenset(ranked[:limit])
