"""Time as a port: the real clock, and one that a test moves by hand.

Cores take `now_ms` as an argument and never come here; shells hold one `Clock`, ask it, and sleep with it.
Monotonic milliseconds decide (leases, timeouts, backoff); wall-clock milliseconds are only shown to people
and written into records, because they jump (reference/reliability.md A18).
"""

import asyncio
import time
from typing import Protocol

NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What a shell may know about time. All numbers are integer milliseconds."""

    def monotonic_ms(self) -> int:
        """Say the time since an arbitrary point; never goes back. For every decision."""
        ...

    def unix_ms(self) -> int:
        """Say the time since 1970; may jump. For people and records only."""
        ...

    async def sleep_ms(self, ms: int) -> None:
        """Wait at least this long; at once when `ms` <= 0, after letting other tasks run."""
        ...


class SystemClock:
    """The clock of this machine. Stateless: share one or make many."""

    def monotonic_ms(self) -> int:
        """Say the time since an arbitrary point; never goes back."""
        return time.monotonic_ns() // NS_PER_MS

    def unix_ms(self) -> int:
        """Say the time since 1970; may jump."""
        return time.time_ns() // NS_PER_MS

    async def sleep_ms(self, ms: int) -> None:
        """Wait at least this long on the event loop."""
        await asyncio.sleep(max(ms, 0) / 1000)


class ManualClock:
    """A clock that stands still until `advance_ms`; owned by one event loop.

    Sleepers wake in the order of their deadlines (then of their arrival), each only once its time has come.
    """

    def __init__(self, *, monotonic_ms: int = 0, unix_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = monotonic_ms
        self._unix_offset_ms = unix_ms - monotonic_ms
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def monotonic_ms(self) -> int:
        """Say how far the clock was moved."""
        return self._now_ms

    def unix_ms(self) -> int:
        """Say the wall-clock time that belongs to `monotonic_ms`."""
        return self._now_ms + self._unix_offset_ms

    async def sleep_ms(self, ms: int) -> None:
        """Wait until the clock was moved by this much."""
        if ms <= 0:
            await asyncio.sleep(0)
            return
        entry = (self._now_ms + ms, asyncio.get_running_loop().create_future())
        self._sleepers.append(entry)
        try:
            await entry[1]
        finally:  # A cancelled sleeper must not be woken later.
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    def advance_ms(self, ms: int) -> None:
        """Move the clock and wake everyone whose time has come. Raises ValueError when `ms` is negative."""
        if ms < 0:
            raise ValueError(f"A monotonic clock cannot go back ({ms} ms).")
        self._now_ms += ms
        due = sorted((s for s in self._sleepers if s[0] <= self._now_ms), key=lambda s: s[0])
        self._sleepers = [s for s in self._sleepers if s[0] > self._now_ms]
        for _, future in due:
            if not future.done():
                future.set_result(None)

    @property
    def sleeping(self) -> int:
        """How many tasks are asleep on this clock now."""
        return len(self._sleepers)
