"""One admin server from start to end: files, state, gRPC, status pages, in the order that matters.

    config.proto -> port -> standby -> lease -> newest record -> claim -> location.proto -> ready
    stop: not ready -> writes finish -> lease given up -> calls end -> status pages -> connections -> stores

The port is taken first, so that a busy one is told before anything is written; `location.proto` last, so
that nobody is sent here before we lead. Standbys answer calls, with the leader's address.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sax_common import roots
from sax_common.clock import NS_PER_MS, SystemClock
from sax_common.errors import FailedPrecondition, SaxError
from sax_common.store.open import open_store
from sax_common.store.port import Conflict
from sax_runtime.addresses import join_host_port, my_address
from sax_runtime.grpc_server import GrpcServer
from sax_runtime.health import Health
from sax_runtime.logs import get_logger
from sax_runtime.ports import PortUnavailable
from sax_runtime.security import PLAIN, Security
from sax_runtime.status_server import StatusServer

from sax_admin import gauges, wire_cell
from sax_admin.controller import Controller
from sax_admin.core.cell import Term
from sax_admin.core.commands import Rules
from sax_admin.core.election import Candidate
from sax_admin.core.events import ConfigRead
from sax_admin.core.lease import LeaseTimes
from sax_admin.core.machine import Machine
from sax_admin.fleet import Fleet
from sax_admin.service import AdminService
from sax_admin.service_answers import add_to_server
from sax_admin.slots import Slots
from sax_admin.status_pages import page_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sax_common.clock import Clock
    from sax_common.names import CellName
    from sax_common.store.port import ObjectStore
    from starlette.routing import BaseRoute

    from sax_admin.wire_cell import CellConfig

_log = get_logger(__name__)

CONFIG_EVERY_MS = 5_000
LOCATION_RETRY_MS = 500
LOCATION_EVERY_MS = 5_000
# Long polls never end by themselves; everything else takes milliseconds.
DRAIN_S = 1.0
END_MS = 5_000
STATUS_PORT = 8080
MAX_RECEIVE_BYTES = 1 << 20  # reference/reliability.md 5.4.


class LeaseClock(SystemClock):
    """The clock of this machine, which also counts the time that the machine was suspended."""

    def monotonic_ms(self) -> int:
        """Say the time since start-up: a lease must not survive a suspended virtual machine."""
        if sys.platform == "linux":
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // NS_PER_MS
        return super().monotonic_ms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an admin server needs to be told. `status_port` None means 8080 if it is free, else any."""

    cell: CellName
    sax_root: str
    port: int
    status_port: int | None = None
    listen_host: str = ""
    times: LeaseTimes = field(default_factory=LeaseTimes)
    security: Security = PLAIN


class AdminServer:
    """One admin process's parts. Made and used on one event loop; `on_fatal` ends the process."""

    def __init__(
        self, settings: Settings, *, on_fatal: Callable[[str], None], clock: Clock | None = None
    ) -> None:
        """Make the parts that need no I/O."""
        self.settings = settings
        self.health = Health()
        self.port = 0
        self.status_port = 0
        self.address = ""
        self._on_fatal = on_fatal
        self._clock = clock or LeaseClock()
        self._root: ObjectStore = open_store(settings.sax_root)
        self._fs: ObjectStore | None = None
        self._grpc = GrpcServer(
            health=self.health,
            max_receive_bytes=MAX_RECEIVE_BYTES,
            guard=settings.security.guard.with_cell_acl(lambda: self._config.admin_acl),
            credentials=settings.security.server_credentials,
        )
        self._status: StatusServer | None = None
        self._running: list[asyncio.Task[None]] = []
        self.controller: Controller | None = None
        self._config = wire_cell.CellConfig(fs_root="")

    async def start(self) -> None:
        """Start everything; returns before the claim. Raises what a person must correct."""
        self._config = await self._load_config()
        _log.info(f"Loaded config: {self._config}")
        self.port = self._grpc.bind(
            [join_host_port(self._listen_host(), self.settings.port)], purpose="the admin service"
        )
        self.address = my_address(self.port, rule="interface")
        self._fs = open_store(self._config.fs_root)
        slots = Slots(self._fs, self.settings.cell)
        self._config = await self._with_uid(slots)
        run_id = secrets.token_hex(8)
        candidate = Candidate(address=self.address, cell_uid=self._config.cell_uid, run_id=run_id)
        self.controller = Controller(
            Machine(candidate, Rules(self.settings.cell, self._config.admin_acl), self.settings.times),
            slots=slots,
            fleet=Fleet(self.settings.security.outgoing),
            clock=self._clock,
            on_lead=self._lead,
            on_step_down=self._step_down,
            on_fatal=self._on_fatal,
        )
        service = AdminService(self.controller, f"{self.address}_{run_id}")
        self._grpc.add(add_to_server, service)
        await self._grpc.start()
        _log.info(f"Starting the server on port {self.port}")
        await self._start_status(self.controller)
        gauges.bind(self.settings.cell, self.controller)
        self._running = [
            asyncio.create_task(self.controller.run(), name="admin-controller"),
            asyncio.create_task(self._watch_config(), name="admin-config"),
        ]

    async def wait(self) -> None:
        """Wait for the end of the parts that never end by themselves. Raises what ended them."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """End in good order: what was acknowledged is durable, what was not is refused."""
        self.health.drain()
        if self.controller is not None:
            await self.controller.end(END_MS)
        await self._grpc.drain(DRAIN_S)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._status is not None:
            await self._status.stop()
        if self.controller is not None:
            await self.controller.close()
        await self._root.close()
        if self._fs is not None:
            await self._fs.close()

    # ---- Files of the cell ----

    async def _load_config(self) -> CellConfig:
        cell, root = self.settings.cell, self.settings.sax_root
        found = await self._root.read(roots.config_name(cell))
        if found is None:
            raise FailedPrecondition(
                f"The cell {cell} does not exist under {root}; create it with: sax-admin-config "
                f"--sax_cell={cell} --sax_root={root} --fs_root=<directory or gs://bucket/path for the state>"
            )
        config = wire_cell.decode_config(found.data)
        if not config.fs_root:
            raise FailedPrecondition(
                f"The configuration of the cell {cell} under {root} names no fs_root; "
                "write it again with sax-admin-config"
            )
        return config

    async def _with_uid(self, slots: Slots) -> CellConfig:
        """Give the cell an identity if an original left it without one: that of its state, else a new one."""
        if self._config.cell_uid:
            return self._config
        newest = (await slots.find_newest(Term(0), 0)).record
        uid = newest.cell_uid if newest is not None and newest.cell_uid else secrets.token_hex(16)
        config = wire_cell.CellConfig(
            fs_root=self._config.fs_root,
            admin_acl=self._config.admin_acl,
            cell_uid=uid,
            unknown=self._config.unknown,
        )
        await self._root.write(roots.config_name(self.settings.cell), wire_cell.encode_config(config))
        _log.info("gave the cell an identity", cell_uid=uid)
        return config

    async def _watch_config(self) -> None:
        """Read the configuration again every 5 s; a new admin ACL counts at once, a new fs_root next time."""
        while True:
            await self._clock.sleep_ms(CONFIG_EVERY_MS)
            try:
                config = await self._load_config()
            except SaxError as error:
                _log.warning(
                    "the cell's configuration cannot be read, the old one stays", reason=error.message
                )
                continue
            if config != self._config and self.controller is not None:
                _log.info(f"Updated config: {config}")
                self._config = config
                self.controller.tell(ConfigRead(config.admin_acl))

    # ---- Leading ----

    async def _lead(self, term: Term) -> None:
        """Say where we are, and look now and then that nobody says otherwise, while this term lasts."""
        is_told = False
        while self._may_act(term):
            try:
                is_ours = await self._write_location(term)
            except SaxError as error:
                _log.warning("location.proto was not written, trying again", reason=error.message)
                await self._clock.sleep_ms(LOCATION_RETRY_MS)
                continue
            if is_ours and not is_told:
                is_told = True
                self._tell_ready()
            await self._clock.sleep_ms(LOCATION_EVERY_MS if is_ours else 0)

    async def _write_location(self, term: Term) -> bool:
        """Make `location.proto` name us if it does not; false when it changed meanwhile or the term is over.

        Never unconditionally: a leader that slept here must not overwrite its successor's address.
        """
        name, data = roots.location_name(self.settings.cell), wire_cell.encode_location(self.address)
        found = await self._root.read(name)
        if found is not None and wire_cell.decode_location(found.data) == self.address:
            return True
        if not self._may_act(term):
            return False
        try:
            if found is None:
                await self._root.create(name, data)
            else:
                await self._root.replace(name, data, generation=found.generation)
        except Conflict:
            return False
        return True

    def _may_act(self, term: Term) -> bool:
        return self.controller is not None and self.controller.may_act(term)

    def _tell_ready(self) -> None:
        name = roots.location_name(self.settings.cell)
        _log.info(f'SetAddr {self.settings.sax_root.rstrip("/")}/{name} "{self.address}"')
        _log.info("Refreshing manager state at every change and at least every 0.5s")
        self.health.set("", True)  # noqa: FBT003  # Positional in the contract.

    def _step_down(self, leader_address: str) -> None:
        leader = f"{leader_address} leads the cell" if leader_address else "this admin server does not lead"
        self.health.set("", False, leader)  # noqa: FBT003

    # ---- Listening ----

    def _listen_host(self) -> str:
        # Who advertises 127.0.0.1 is on one machine with all its peers.
        default = "127.0.0.1" if os.environ.get("SAX_DEBUG_IPADDR") == "1" else "::"
        return self.settings.listen_host or default

    async def _start_status(self, controller: Controller) -> None:
        routes = page_routes(self.settings.cell, controller)
        wanted = self.settings.status_port
        try:
            port = STATUS_PORT if wanted is None else wanted
            self._status = self._status_server(port, routes)
            self.status_port = await self._status.start()
        except PortUnavailable as error:
            if wanted is not None:
                raise
            _log.info("the usual status port is taken, using another", reason=error.message)
            self._status = self._status_server(0, routes)
            self.status_port = await self._status.start()
        _log.info(f"Starting the HTTP server on port {self.status_port}")

    def _status_server(self, port: int, routes: Sequence[BaseRoute]) -> StatusServer:
        return StatusServer(
            self.health, address=f"127.0.0.1:{port}", routes=routes, security=self.settings.security
        )
