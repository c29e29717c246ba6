"""The replicas of one model as one client sees them: who is there, how loaded, and who is next.

Two kinds with one face, `Replicas`:

    WatchedReplicas   follows the cell in the background (`watch.follow`), waits when none is ready
    FixedReplica      a proxy: one target, no cell

The life of an attempt: `lease` gives an address (waiting until the deadline when there is none), `model.py`
calls it, `give_back` says how it went. Addresses outlive the admin: no failure of the watch removes one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from sax_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    SaxError,
    Unauthenticated,
    Unavailable,
)

from sax_client import pick, watch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

    from sax_common.clock import Clock

    from sax_client.admin import AdminClient
    from sax_client.cache import AddressCache
    from sax_client.pool import ChannelPool
    from sax_client.rpc import CallFailed

IDLE_MS = 600_000
"""A model that was not called for ten minutes is no longer followed (the original closes idle connections
then).
"""

FIRST_ANSWER_MS = 2_000
"""How long a caller that must not wait for a replica waits for the watch to tell of one at all."""

TELL_AFTER_MS = 1_000
"""A person who waits longer than this for a replica is told why; nobody else is worth the extra List."""

_HOPELESS = (FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated)
"""Watch errors that waiting does not heal: no such cell, no admin ever, not allowed."""


class Replicas(Protocol):
    """Where the calls of one model go."""

    async def lease(self, *, tried: Collection[str], deadline_ms: int, may_wait: bool) -> str:
        """Give an address to call now; its channel is held until `give_back`.

        Raises SaxError when there is none.
        """

    def give_back(self, address: str, *, is_reachable: bool) -> None:
        """The call has ended."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is followed."""

    async def close(self) -> None:
        """Stop following and let all channels go."""


class FixedReplica:
    """One target that is always there: a proxy, or a server that belongs to no cell."""

    def __init__(self, address: str, pool: ChannelPool) -> None:
        self._address = address
        self._pool = pool

    async def lease(self, *, tried: Collection[str], deadline_ms: int, may_wait: bool) -> str:  # noqa: ARG002
        """Give the only address."""
        self._pool.hold(self._address)
        return self._address

    def give_back(self, address: str, *, is_reachable: bool) -> None:  # noqa: ARG002
        """Let the channel go."""
        self._pool.let_go(address)

    @property
    def is_idle(self) -> bool:
        """Always: nothing is followed."""
        return True

    async def close(self) -> None:
        """Nothing is kept."""


class WatchedReplicas:
    """The ready replicas of a published model. Owned by one event loop; one background task while in use."""

    def __init__(
        self,
        model_id: str,
        admin: AdminClient,
        pool: ChannelPool,
        *,
        limit: int,
        salt: str,
        notice: Callable[[str], None] | None,
        cache: AddressCache,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._model_id = model_id
        self._admin = admin
        self._pool = pool
        self._limit = limit
        self._salt = salt
        self._notice = notice
        self._cache = cache
        self._clock = clock
        self._rng = rng
        self._loads: dict[str, pick.Load] = {}
        self._task: asyncio.Task[None] | None = None
        self._watcher = admin.watcher(model_id)
        self._error: SaxError | None = None
        self._changed = asyncio.Event()
        self._last_lease_ms = 0

    async def lease(self, *, tried: Collection[str], deadline_ms: int, may_wait: bool) -> str:
        """Pick a replica, waiting for one until the deadline when `may_wait`.

        Raises NotFound (not published), what makes waiting hopeless, or Unavailable saying why none is ready.
        """
        self._last_lease_ms = self._clock.monotonic_ms()
        if not may_wait:
            # An admin does not answer while there is no replica at all, so waiting to hear needs a bound.
            deadline_ms = min(deadline_ms, self._last_lease_ms + FIRST_ANSWER_MS)
        self._follow()
        is_told = False
        while True:
            now_ms = self._clock.monotonic_ms()
            address = pick.pick(self._loads, tried=tried, now_ms=now_ms, draw=self._rng.randrange)
            if address is not None:
                self._loads[address] = pick.started(self._loads[address])
                self._pool.hold(address)
                return address
            if isinstance(self._error, (NotFound, *_HOPELESS)):
                raise self._error
            if now_ms >= deadline_ms or (self._has_heard and not may_wait):
                raise Unavailable(await self._why_none())
            wait_ms = deadline_ms - now_ms
            if self._notice is not None and not is_told:
                wait_ms = min(wait_ms, TELL_AFTER_MS)
                is_told = await self._has_nothing_new(wait_ms)
                if is_told:
                    self._notice(f"waiting: {await self._why_none()}")
            else:
                await self._has_nothing_new(wait_ms)

    def give_back(self, address: str, *, is_reachable: bool) -> None:
        """Note how the call ended; an address that left the set meanwhile is simply let go."""
        self._pool.let_go(address)
        load = self._loads.get(address)
        if load is not None:
            now_ms = self._clock.monotonic_ms()
            self._loads[address] = pick.finished(load, is_reachable=is_reachable, now_ms=now_ms)

    @property
    def is_idle(self) -> bool:
        """Whether the watch has ended: the model is not published, or was not called for long."""
        return self._task is None or self._task.done()

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._use(frozenset())

    async def _has_nothing_new(self, wait_ms: int) -> bool:
        """Wait for the watch to say something; True when it did not within `wait_ms`."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._changed.wait()
        except TimeoutError:
            return True
        return False

    @property
    def _has_heard(self) -> bool:
        """Whether the watch has said anything, good or bad, since it was started."""
        return self._error is not None or bool(self._watcher.state.server_id)

    def _follow(self) -> None:
        if self._task is None or self._task.done():
            self._error = None
            self._task = asyncio.get_running_loop().create_task(
                watch.follow(
                    self._watcher,
                    on_addresses=self._on_addresses,
                    on_failure=self._on_failure,
                    is_wanted=lambda: self._clock.monotonic_ms() - self._last_lease_ms < IDLE_MS,
                ),
                name=f"watch {self._model_id}",
            )

    async def _on_addresses(self, addresses: frozenset[str]) -> None:
        self._error = None
        self._use(addresses)
        if addresses:
            await asyncio.to_thread(self._cache.save, self._model_id, addresses, now_ms=self._clock.unix_ms())

    async def _on_failure(self, failed: CallFailed) -> None:
        self._error = failed.error
        if isinstance(failed.error, NotFound):
            self._error = NotFound(
                f"Model {self._model_id} is not published: `saxutil ls {self._model_id.rpartition('/')[0]}` "
                "lists the models of its cell."
            )
            self._task = None  # This task ends by itself; the next call starts a new one.
            self._use(frozenset())
            await asyncio.to_thread(self._cache.forget, self._model_id)
        elif not self._loads:
            self._use(await asyncio.to_thread(self._cache.load, self._model_id, now_ms=self._clock.unix_ms()))
        self._wake()

    def _use(self, addresses: frozenset[str]) -> None:
        wanted = pick.subset(addresses, limit=self._limit, salt=self._salt)
        for address in wanted - self._loads.keys():
            self._pool.hold(address)
            self._loads[address] = pick.Load()
        for address in self._loads.keys() - wanted:
            del self._loads[address]
            self._pool.let_go(address)
        self._wake()

    def _wake(self) -> None:
        self._changed, changed = asyncio.Event(), self._changed
        changed.set()

    async def _why_none(self) -> str:
        if self._error is not None:
            return (
                f"{self._model_id} has no known replica, "
                f"and its admin server cannot be asked: {self._error.message}"
            )
        return f"{self._model_id} has no ready replica: {await self._admin.why_not_ready(self._model_id)}"
