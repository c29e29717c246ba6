"""Keeps this server known to the admin of its cell: looks at `location.proto`, calls Join when it is due.

When it is due is `core.joining`'s decision; here are the file, the call, the log lines that people look for
(`Joined <ip:port>`) and the sleep in between. Runs as one task for ever; nothing that goes wrong ends it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from sax_common.clock import Clock
from sax_common.errors import FailedPrecondition, SaxError
from sax_common.names import CellName
from sax_common.roots import config_name, location_name
from sax_common.store.port import ObjectStore
from sax_runtime.logs import get_logger

from sax_model import wire_join
from sax_model.core.joining import JoinState, next_join_ms, next_look_ms

_log = get_logger(__name__)


class Joiner:
    """Owner of what is known about the admin. Lives on the event loop."""

    def __init__(
        self,
        store: ObjectStore,
        cell: CellName,
        clock: Clock,
        call_join: Callable[[str], Awaitable[int]],
    ) -> None:
        """`call_join` takes the admin's address and returns its term, 0 for an original admin."""
        self._store = store
        self._cell = cell
        self._clock = clock
        self._call_join = call_join
        self._state = JoinState()

    async def check_cell(self) -> None:
        """Raise FailedPrecondition when the cell has not been made yet."""
        if await self._store.read(config_name(self._cell)) is None:
            raise FailedPrecondition(
                f"Cell {self._cell} does not exist under this root: create it with sax-admin-config first."
            )

    def polled(self) -> None:
        """The admin has called GetStatus."""
        self._state = self._state.polled(self._clock.monotonic_ms())

    async def run(self) -> None:
        """Look, join, sleep, for ever."""
        _log.info(f"Started joining SAX cell {self._cell}")
        look_ms = self._clock.monotonic_ms()
        while True:
            now_ms = self._clock.monotonic_ms()
            if now_ms >= look_ms:
                await self._look()
                look_ms = next_look_ms(self._state, now_ms)
            join_ms = next_join_ms(self._state, self._clock.monotonic_ms())
            if join_ms is not None and join_ms <= self._clock.monotonic_ms():
                await self._join()
                join_ms = next_join_ms(self._state, self._clock.monotonic_ms())
            wake_ms = min(look_ms, join_ms) if join_ms is not None else look_ms
            await self._clock.sleep_ms(wake_ms - self._clock.monotonic_ms())

    async def _look(self) -> None:
        try:
            stored = await self._store.read(location_name(self._cell))
        except SaxError as error:
            # The last good address stays: the store is often away longer than the admin.
            _log.warning("the location file cannot be read", reason=error.message)
            return
        location = wire_join.location(stored.data) if stored is not None else None
        if location is not None:
            self._state = self._state.located(location)

    async def _join(self) -> None:
        admin = self._state.location
        if admin is None:
            return
        if admin != self._state.joined_location:
            _log.info("Calling Join due to address update", admin=admin)
        try:
            term = await self._call_join(admin)
        except SaxError as error:
            self._state = self._state.failed(self._clock.monotonic_ms())
            _log.warning(f"Failed to join {admin}: {error.message}")
            return
        self._state = self._state.joined(self._clock.monotonic_ms(), admin, is_original=term == 0)
        _log.info(f"Joined {admin}")


async def run_joiner(joiner: Joiner) -> None:
    """Run a joiner; a bug in it is logged and does not end the server, which can serve without an admin."""
    while True:
        try:
            await joiner.run()
        except Exception:  # noqa: BLE001 - a bug here must not end a server that can serve.
            _log.exception("the Join task failed and begins again")
            await asyncio.sleep(1)
