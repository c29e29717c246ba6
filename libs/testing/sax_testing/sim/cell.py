"""One cell in virtual time: the store, the network, all processes and the oracle beside them.

Processes are known by their address; a crash ends a run and `start` makes the next one at the same address.
Every random stream is named after who draws from it, so that what one process does moves no other's draws.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sax_admin.core.cell import Digest
from sax_common.names import ModelName, parse_cell

from sax_testing.sim.admins import SimAdmin
from sax_testing.sim.bucket import BucketPort, StoreFaults, Truth
from sax_testing.sim.clients import Client, Watcher
from sax_testing.sim.fleet import HollowServer
from sax_testing.sim.network import NetFaults, Network
from sax_testing.sim.oracle import Oracle
from sax_testing.sim.params import MODELS
from sax_testing.sim.ready import ReadyLog
from sax_testing.sim.world import World, start_host

if TYPE_CHECKING:
    from sax_testing.sim.params import Params
    from sax_testing.sim.world import Host

CELL = parse_cell("/sax/sim")


class Cell:
    """Everything of one schedule. Owned by whoever runs the world."""

    def __init__(self, params: Params) -> None:
        """Make all processes; nothing runs before the world does."""
        self.params = params
        self.world = World()
        self.oracle = Oracle(self.world, CELL, params.times[1])
        self.oracle.is_net_sound = not (params.net_lost or params.net_slow)
        self.ready = ReadyLog(self.oracle)
        self.store_faults = StoreFaults(
            params.store_hop_ms,
            params.store_refused,
            params.store_lost,
            params.store_late,
            params.store_slow,
            params.store_slow_ms,
        )
        self.net_faults = NetFaults(params.net_hop_ms, params.net_lost, params.net_slow, params.net_copied)
        self.truth = Truth(self.oracle.sent, self.oracle.changed)
        self.network = Network(self.world, self.net_faults, self.chance("network"))
        self.admin_names = [f"admin{number}" for number in range(params.admins)]
        self.server_names = [f"server{number}" for number in range(params.servers)]
        self.admins: dict[str, SimAdmin] = {}
        self.servers: dict[str, HollowServer] = {}
        self.stores: dict[str, BucketPort] = {}
        self.store_cuts: dict[str, int] = {}
        self._runs = 0
        self._rates = {
            name: 1 + self.chance(f"rate/{name}").uniform(-params.drift, params.drift) for name in self.names
        }
        for name in self.names:
            self.start(name)
        self.clients = [self._client(number) for number in range(params.clients)]
        self.watchers = [self._watcher(number) for number in range(params.watchers)]
        for number in range(params.orphans if self.servers else 0):
            server = self.servers[self.server_names[number % len(self.servers)]]
            server.preload(ModelName(f"{CELL}/orphan{number}"), Digest(bytes([number]) * 32))

    @property
    def names(self) -> list[str]:
        """Addresses of all admins and servers."""
        return [*self.admin_names, *self.server_names]

    def chance(self, name: str) -> random.Random:
        """Return the stream of random numbers of this name."""
        return random.Random(f"{self.params.seed}/{name}")  # noqa: S311  # Not a secret.

    # ---- Processes ----

    def host(self, name: str) -> Host:
        """Return the newest run at an address."""
        return (self.admins.get(name) or self.servers[name]).host

    def start(self, name: str) -> None:
        """Start a run at an address where none lives."""
        self._runs += 1
        chance = self.chance(f"{name}/{self._runs}")
        host = start_host(self.world, name, rate=self._rates[name], started_ms=chance.uniform(0, 1e7))
        port = BucketPort(self.world, self.truth, host, self.store_faults, chance)
        port.is_cut = bool(self.store_cuts.get(name))
        self.stores[name] = port
        if name in self.admin_names:
            self.admins[name] = SimAdmin(
                host,
                self.network,
                port,
                cell=CELL,
                oracle=self.oracle,
                ready=self.ready,
                params=self.params,
                run_id=f"run{self._runs}",
            )
            return
        self.servers[name] = HollowServer(
            host,
            self.network,
            port,
            cell=CELL,
            log=self.ready,
            params=self.params,
            chance=self.chance(f"loads/{name}/{self._runs}"),
            incarnation=f"{name}/{self._runs}",
        )

    def _client(self, number: int) -> Client:
        name = f"client{number}"
        return Client(
            start_host(self.world, name),
            self.network,
            self.admin_names,
            self.chance(name),
            cell=CELL,
            oracle=self.oracle,
            params=self.params,
        )

    def _watcher(self, number: int) -> Watcher:
        name = f"watcher{number}"
        model = ModelName(f"{CELL}/{MODELS[number % len(MODELS)]}")
        return Watcher(
            start_host(self.world, name),
            self.network,
            self.admin_names,
            self.chance(name),
            model=model,
            oracle=self.oracle,
            ready=self.ready,
        )

    def leader(self) -> SimAdmin | None:
        """Return the admin that leads now; the one of the highest term if several believe so."""
        leading = [admin for admin in self.admins.values() if admin.is_leading]
        self.oracle.seen["two at once believed to lead"] += len(leading) > 1
        return max(leading, key=lambda admin: admin.machine.term, default=None)
