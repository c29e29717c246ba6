"""Follow where one model is served: the WatchLoc loop.

One poll: ask the leader with what we know (`WatchState`), wait at most a minute, apply the answer. `Watcher`
does a poll and keeps the state; `follow` is the loop that `replicas.py` runs in the background.

    answer           apply it; a stale one (lower term) sends us back to the location object
    deadline         no change: ask again. An original admin never ends a poll by itself
    NOT_FOUND        the model is not published: the only error that ends the loop
    anything else    keep every address, ask a fresh connection from the start after a random pause

Pauses: with addresses in hand 0-5 s, so that ten thousand clients do not fall on a new leader together
(reliability.md A29); without any, short, for somebody is waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sax_client import watchset, wire
from sax_client.rpc import CallFailed

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from sax_common.clock import Clock

    from sax_client.link import AdminLink

POLL_S = 65.0
"""A little more than the 60 s after which our admin ends an empty poll, so that its answer wins."""

SPREAD_MS = 5_000
EAGER_CAP_MS = 1_000
QUIET_MS = 1_000
"""An empty answer that took less than this was not a long poll: pause, or we would spin."""


class Watcher:
    """Polls for one model and keeps what the answers said. Owned by one task."""

    def __init__(self, link: AdminLink, model_id: str, *, clock: Clock, rng: random.Random) -> None:
        self._link = link
        self._model_id = model_id
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self.state = watchset.WatchState()

    async def poll(self) -> watchset.WatchAnswer | None:
        """Do one long poll; None when nothing has changed.

        Raises CallFailed, after which the next poll starts afresh.
        """
        asked_ms = self._clock.monotonic_ms()
        try:
            response = await self._link.once(
                "WatchLoc", wire.watch_request(self._model_id, self.state), timeout_s=POLL_S
            )
        except CallFailed as failed:
            if failed.code == "DEADLINE_EXCEEDED" and not failed.is_connect_failure:
                return None
            self._failures += 1
            self.state = watchset.restarted(self.state)
            raise
        answer = wire.watch_answer(response)
        applied = watchset.apply(self.state, answer)
        self.state = applied.state
        if applied.is_stale:
            # The location object may already name the new leader; this connection never will.
            await self._link.poison()
            await self._clock.sleep_ms(self._rng.randrange(QUIET_MS))
            return None
        self._failures = 0
        if answer.term and not self._link.is_ours:
            await self._link.mark_ours()
        if not applied.has_changed:
            if self._clock.monotonic_ms() - asked_ms < QUIET_MS:
                await self._clock.sleep_ms(QUIET_MS)
            return None
        return answer

    async def pause(self) -> None:
        """Wait before asking again after a failure."""
        if self.state.addresses:
            await self._clock.sleep_ms(self._rng.randrange(SPREAD_MS))
        else:
            whole = min(EAGER_CAP_MS, 50 << min(self._failures, 8))
            await self._clock.sleep_ms(whole // 2 + self._rng.randrange(whole // 2))


async def follow(
    watcher: Watcher,
    *,
    on_addresses: Callable[[frozenset[str]], Awaitable[None]],
    on_failure: Callable[[CallFailed], Awaitable[None]],
    is_wanted: Callable[[], bool],
) -> None:
    """Poll until the model is not published or no longer wanted; report every change and every failure."""
    while is_wanted():
        try:
            answer = await watcher.poll()
        except CallFailed as failed:
            await on_failure(failed)
            if failed.code == "NOT_FOUND":
                return
            await watcher.pause()
        else:
            if answer is not None:
                await on_addresses(watcher.state.addresses)
