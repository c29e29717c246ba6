"""The object store of the simulated cell: one truth, and a port per process through which faults are seen.

The life of a call: the port draws how it will end; the request reaches the truth after a while, or much
later than its caller waited, or never; the answer comes back, or not. What callers are told is what the
production adapters promise in `sax_common.store.port`: a refused request was surely not applied, one
without an answer may have been or may still be.

The truth is a plain linearizable store with generations. `on_change` is told of each change at the very
moment it happens, before anybody can know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sax_common.store.port import Conflict, OutcomeUnknown, StoredObject, StoreUnavailable

from sax_testing.sim.world import Host, World, wake

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

TIMEOUT_MS = 2_000.0
LATE_MS_MAX = 25_000.0


@dataclass(slots=True)
class StoreFaults:
    """How often what goes wrong; changed while a schedule runs. Probabilities per call."""

    hop_ms: float = 20.0
    refused: float = 0.0
    lost_reply: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    slow_ms: float = 20_000.0


class Truth:
    """All objects as they are. Owned by the world."""

    def __init__(
        self, on_send: Callable[[Host, str, bytes], None], on_change: Callable[[Host, str, bytes], None]
    ) -> None:
        """Start empty."""
        self.objects: dict[str, StoredObject] = {}
        self.on_send = on_send
        self.on_change = on_change
        self.late: dict[int, Callable[[], object]] = {}
        self.late_landed = 0
        self._generations = 0

    def put(self, host: Host, name: str, data: bytes, expected: str | None) -> str | Conflict:
        """Apply a change now if the object has the generation `expected`: "" absent, None whatever it is."""
        found = self.objects.get(name)
        if expected is not None and (found.generation if found else "") != expected:
            return Conflict(f"Object {name} is not at generation {expected or 'none'}.")
        self._generations += 1
        generation = str(self._generations)
        self.objects[name] = StoredObject(data, generation)
        self.on_change(host, name, data)
        return generation

    def land(self, number: int) -> None:
        """Apply a late change now, unless that has happened."""
        change = self.late.pop(number, None)
        if change is not None:
            change()

    def land_all(self) -> None:
        """Apply all that is still on its way, in the order in which it was sent."""
        for number in list(self.late):
            self.land(number)

    def names(self, prefix: str, start_after: str) -> list[str]:
        """List names in order."""
        return sorted(name for name in self.objects if name.startswith(prefix) and name > start_after)


class BucketPort:
    """One process's way to the store: the production port `ObjectStore`.

    `is_cut` is true while the process cannot reach the store at all.
    """

    def __init__(
        self, world: World, truth: Truth, host: Host, faults: StoreFaults, chance: random.Random
    ) -> None:
        """Connect `host`; `chance` is drawn from in the order of its calls."""
        self._world = world
        self._truth = truth
        self._host = host
        self._faults = faults
        self._chance = chance
        self.is_cut = False

    # ---- Reads ----

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None when it does not exist."""
        found: StoredObject | None = await self._ask(lambda: self._truth.objects.get(name))
        return found

    async def list(self, prefix: str, *, start_after: str = "") -> list[str]:
        """List names with this prefix after `start_after`."""
        names: list[str] = await self._ask(lambda: self._truth.names(prefix, start_after))
        return names

    def _ask(self, look: Callable[[], object]) -> asyncio.Future[Any]:
        future = self._host.create_future()
        chance, faults = self._chance, self._faults
        there_ms, back_ms = self._hop_ms(), self._hop_ms()
        draw = chance.random()
        if draw < faults.refused:
            self._reply(there_ms + back_ms, future, StoreUnavailable("503: try again"))
        elif self.is_cut or draw < faults.refused + faults.lost_reply or there_ms + back_ms > TIMEOUT_MS:
            self._reply(TIMEOUT_MS, future, StoreUnavailable("no answer in time"))
        else:
            self._world.after(there_ms, None, self._look, look, back_ms, future)
        return future

    def _look(self, look: Callable[[], object], back_ms: float, future: asyncio.Future[Any]) -> None:
        self._reply(back_ms, future, look())

    # ---- Changes ----

    async def create(self, name: str, data: bytes) -> str:
        """Make a new object."""
        generation: str = await self._change(name, data, "")
        return generation

    async def replace(self, name: str, data: bytes, *, generation: str) -> str:
        """Change an object from `generation`."""
        changed: str = await self._change(name, data, generation)
        return changed

    async def write(self, name: str, data: bytes) -> str:
        """Make or change an object, whatever was there."""
        generation: str = await self._change(name, data, None)
        return generation

    async def delete(self, name: str) -> None:
        """Remove an object."""
        await self._ask(lambda: self._truth.objects.pop(name, None) and None)

    def _change(self, name: str, data: bytes, expected: str | None) -> asyncio.Future[Any]:
        self._truth.on_send(self._host, name, data)
        future = self._host.create_future()
        chance, faults = self._chance, self._faults
        there_ms, back_ms = self._hop_ms(), self._hop_ms()
        draw = chance.random()
        if draw < faults.refused:
            self._reply(there_ms + back_ms, future, StoreUnavailable("429: slow down"))
            return future
        draw -= faults.refused
        if draw < faults.late:
            self._send_late(chance.uniform(500, LATE_MS_MAX), name, data, expected)
            self._reply(TIMEOUT_MS, future, OutcomeUnknown("no answer in time"))
            return future
        draw -= faults.late
        if self.is_cut:
            self._reply(TIMEOUT_MS, future, OutcomeUnknown("no answer in time"))
            return future
        if draw < faults.lost_reply:
            self._world.after(there_ms, None, self._put, name, data, expected, None, 0.0)
            reset_ms = TIMEOUT_MS if chance.random() < 0.5 else there_ms + back_ms  # noqa: PLR2004
            self._reply(reset_ms, future, OutcomeUnknown("the connection broke"))
            return future
        self._world.after(there_ms, None, self._put, name, data, expected, future, back_ms)
        if there_ms + back_ms > TIMEOUT_MS:
            self._reply(TIMEOUT_MS, future, OutcomeUnknown("no answer in time"))
        return future

    def _send_late(self, delay_ms: float, name: str, data: bytes, expected: str | None) -> None:
        number = self._world.steps * 1_000 + len(self._truth.late)
        self._truth.late[number] = lambda: self._put(name, data, expected, None, 0.0, is_late=True)
        self._world.after(delay_ms, None, self._truth.land, number)

    def _put(
        self,
        name: str,
        data: bytes,
        expected: str | None,
        future: asyncio.Future[Any] | None,
        back_ms: float,
        *,
        is_late: bool = False,
    ) -> None:
        outcome = self._truth.put(self._host, name, data, expected)
        if is_late:
            self._truth.late_landed += not isinstance(outcome, Conflict)
        if future is not None:
            self._reply(back_ms, future, outcome)

    # ---- The way ----

    def _hop_ms(self) -> float:
        draw = self._chance.random()
        if draw < self._faults.slow:
            return self._chance.uniform(500, self._faults.slow_ms)
        return self._faults.hop_ms * (0.3 + 1.4 * draw)

    def _reply(self, delay_ms: float, future: asyncio.Future[Any], outcome: object) -> None:
        self._world.after(delay_ms, self._host, wake, future, outcome)

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""
