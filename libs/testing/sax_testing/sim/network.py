"""Calls between the processes of a simulated cell.

The life of a call: it leaves its caller, travels, waits if the callee is paused, is handled by a task of
the callee, and the answer travels back; a cut link or a loss swallows either half, and then only the
caller's deadline ends it. A callee that is not there refuses at once; one that dies breaks the calls it
holds. A copy of a call may arrive a second time later, as proxies and retries of lower layers make it.

A link is cut per direction, by the names of the two ends (an address, not a run of a process).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sax_common.errors import DeadlineExceeded, SaxError, Unavailable

from sax_testing.sim.world import Host, World, wake

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Awaitable, Callable

    Handler = Callable[..., Awaitable[Any]]

COPY_MS_MAX = 10_000.0
SLOW_MS_MAX = 5_000.0


@dataclass(slots=True)
class NetFaults:
    """How often what goes wrong; changed while a schedule runs. Probabilities per message or call."""

    hop_ms: float = 2.0
    lost: float = 0.0
    slow: float = 0.0
    copied: float = 0.0


@dataclass(slots=True)
class _Station:
    host: Host
    handlers: dict[str, Handler]


class Network:
    """Who listens where, and which links are cut. Owned by the world."""

    def __init__(self, world: World, faults: NetFaults, chance: random.Random) -> None:
        """Start with nobody listening."""
        self._world = world
        self._faults = faults
        self._chance = chance
        self._stations: dict[str, _Station] = {}
        self._open: dict[int, tuple[Host, Host, asyncio.Future[Any]]] = {}
        self._calls = 0
        self.cuts: dict[tuple[str, str], int] = {}

    def listen(self, host: Host, handlers: dict[str, Handler]) -> None:
        """Let `host` answer calls to its name."""
        self._stations[host.name] = _Station(host, handlers)
        host.endings.append(lambda: self._hang_up(host))

    def is_cut(self, source: str, target: str) -> bool:
        """Say whether messages from `source` to `target` are swallowed."""
        return bool(self.cuts) and self.cuts.get((source, target), 0) > 0

    def call(
        self,
        source: Host,
        target: str,
        method: str,
        args: tuple[Any, ...],
        *,
        timeout_ms: float,
        is_copyable: bool = False,
    ) -> asyncio.Future[Any]:
        """Call a process; the future ends with the answer or with a SaxError."""
        future = source.create_future()
        self._world.after(
            timeout_ms / source.rate, source, wake, future, DeadlineExceeded("no answer in time")
        )
        for at_ms in self._arrivals(is_copyable=is_copyable):
            self._calls += 1
            if not self.is_cut(source.name, target):
                self._world.after(
                    at_ms, None, self._arrive, self._calls, source, target, method, args, future
                )
        return future

    def _arrivals(self, *, is_copyable: bool) -> list[float]:
        chance = self._chance
        arrivals = [] if chance.random() < self._faults.lost else [self._hop_ms()]
        if is_copyable and chance.random() < self._faults.copied:
            arrivals.append(chance.uniform(0, COPY_MS_MAX))
        return arrivals

    def _hop_ms(self) -> float:
        draw = self._chance.random()
        if draw < self._faults.slow:
            return self._chance.uniform(50, SLOW_MS_MAX)
        return self._faults.hop_ms * (0.3 + 1.4 * draw)

    def _arrive(  # noqa: PLR0917  # All of one call.
        self,
        number: int,
        source: Host,
        target: str,
        method: str,
        args: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        station = self._stations.get(target)
        if station is None or not station.host.is_alive:
            self._answer(target, source, future, Unavailable(f"{target} refuses connections"))
            return
        self._open[number] = (station.host, source, future)
        station.host.receive(self._handle, (number, station, source, method, args, future))

    def _handle(  # noqa: PLR0917  # All of one call.
        self,
        number: int,
        station: _Station,
        source: Host,
        method: str,
        args: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        station.host.spawn(self._serve(number, station, source, method, args, future))

    async def _serve(  # noqa: PLR0917  # All of one call.
        self,
        number: int,
        station: _Station,
        source: Host,
        method: str,
        args: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        try:
            outcome = await station.handlers[method](*args)
        except SaxError as error:
            outcome = error
        if self._open.pop(number, None) is not None:
            self._answer(station.host.name, source, future, outcome)

    def _answer(self, target: str, source: Host, future: asyncio.Future[Any], outcome: object) -> None:
        if self.is_cut(target, source.name) or self._chance.random() < self._faults.lost:
            return
        self._world.after(self._hop_ms(), source, wake, future, outcome)

    def _hang_up(self, host: Host) -> None:
        """Break the calls that a dying process holds."""
        mine = [number for number, (callee, _, _) in self._open.items() if callee is host]
        for number in mine:
            _, source, future = self._open.pop(number)
            self._answer(host.name, source, future, Unavailable(f"the connection to {host.name} broke"))
