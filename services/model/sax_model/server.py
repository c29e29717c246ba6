"""The model server put together: who owns what, and the order of starting and stopping.

    gRPC server ─► servicers ─► ModelOrders, LanguageRunner ─► Dispatcher ⇄ DeviceThread (engines)
                                     └► ModelTable, Loader (a thread per load)
    Joiner ─► admin                StatusServer ─► /livez /readyz /metrics

All of it lives on one event loop but the device thread, loads and tokenising. `ModelServer.start` binds
everything, so that a port in use is said before anything is loaded; `stop` goes the other way round:
NOT_SERVING, a lame-duck time in which requests are still taken, drain, gRPC, device.

A step that hangs, or a device that is broken, ends the process through the front door: the watch task
sees it, turns health NOT_SERVING, ends all requests with UNAVAILABLE and asks for the end (exit code 1).
"""

import asyncio
import faulthandler
import sys
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from opentelemetry.trace import Tracer
from sax_common.clock import Clock
from sax_common.errors import Unavailable
from sax_common.names import CellName
from sax_common.store.port import ObjectStore
from sax_runtime import telemetry
from sax_runtime.addresses import is_loopback, join_host_port, my_address
from sax_runtime.grpc_server import GrpcServer
from sax_runtime.health import Health
from sax_runtime.logs import get_logger
from sax_runtime.security import PLAIN, Security
from sax_runtime.status_server import StatusServer
from saxml.protobuf import lm_pb2_grpc, modelet_pb2_grpc

from sax_model import wire_join
from sax_model.config import ModelServerConfig
from sax_model.core.admission import ServerView
from sax_model.device_thread import DeviceThread
from sax_model.dispatch import Dispatcher
from sax_model.join import Joiner, run_joiner
from sax_model.loader import Loader, LoadFunction, LoadSpec
from sax_model.mailbox import LaneId, Stepped
from sax_model.orders import ModelOrders
from sax_model.refusals import Refuser
from sax_model.runner import LanguageRunner
from sax_model.servicer_lm import LMServicer
from sax_model.servicer_modelet import ModeletServicer
from sax_model.servicer_others import OTHER_SERVICES, refusing_servicer
from sax_model.table import ModelTable
from sax_model.tokenizing import TokenizerPool

WATCH_S = 1.0
DEVICE_STOP_S = 5.0

_log = get_logger(__name__)


class ModelServer:
    """One model server. Made, started and stopped on one event loop."""

    def __init__(
        self,
        config: ModelServerConfig,
        *,
        load: LoadFunction,
        servable_paths: list[str],
        store: ObjectStore | None,
        clock: Clock,
        request_end: Callable[[str], None],
        security: Security = PLAIN,
        tracer: Tracer | None = None,
    ) -> None:
        """`store` is None for a stand-alone server; `request_end` ends the process in order."""
        self._config = config
        self._security = security
        self._clock = clock
        self._store = store
        self._request_end = request_end
        self._servable_paths = [] if config.keep_statically_loaded_models else servable_paths
        self._incarnation = uuid.uuid4().hex
        self._tasks: list[asyncio.Task[None]] = []
        self._joiner: Joiner | None = None
        self.has_device_fault = False
        self.health = Health()
        self._pool = TokenizerPool()
        self._dispatcher = Dispatcher(on_stepped=self._on_stepped, on_lane_failed=self._on_lane_failed)
        self._device = DeviceThread(asyncio.get_running_loop(), clock, self._dispatcher.deliver)
        self._dispatcher.attach(self._device)
        self._loader = Loader(load, clock, stall_ms=int(config.load_timeout_s * 1000))
        self.table = ModelTable(health=self.health, clock=clock, step_in_flight=self._device.progress)
        drain_ms = int(config.drain_s * 1000)
        self._orders = ModelOrders(self.table, self._loader, self._dispatcher, clock, drain_ms=drain_ms)
        self._runner = LanguageRunner(
            self.table, self._dispatcher, self._pool, clock, tracer or telemetry.tracer("sax.model")
        )
        self._modelet = ModeletServicer(self.table, self._orders, self._incarnation, self._on_polled)
        self._grpc = GrpcServer(
            health=self.health, tracer=tracer, guard=security.guard, credentials=security.server_credentials
        )
        self._register()
        self.port = 0
        self._address = ""
        self.status_port = 0
        self._status: StatusServer | None = None

    async def start(self) -> None:
        """Bind, serve, join; returns when requests are answered. Raises SaxError meant for a person."""
        config = self._config
        if self._store is not None:
            self._joiner = Joiner(self._store, CellName(config.sax_cell), self._clock, self._call_join)
            await self._joiner.check_cell()
        self.port = self._grpc.bind(f"{config.listen_address}:{config.port}")
        # Told once: it may ask the resolver. Nobody else can reach a server that listens on loopback only.
        local = is_loopback(config.listen_address)
        self._address = join_host_port(config.listen_address, self.port) if local else my_address(self.port)
        await self._start_status()
        self._device.start()
        await self._grpc.start()
        self._spawn(self._runner.sweep(), "stalled readers")
        self._spawn(self._watch_device(), "device watch")
        _log.info(
            f"Starting the server on port {self.port}", status_port=self.status_port, cell=config.sax_cell
        )
        for path in self._servable_paths:
            _log.debug(f"Servable model {path}")
        if self._joiner is not None:
            self._spawn(run_joiner(self._joiner), "join")
        self.health.set("", True)  # noqa: FBT003 - the health table reads so.

    async def load_static(self) -> None:
        """Load the models named on the command line, one after another; raises the first failure."""
        config = self._config
        if config.keep_statically_loaded_models:
            self._orders.static_keys = frozenset(config.model_keys)
        columns = (config.models, config.model_keys, config.checkpoints, config.static_overrides())
        for path, key, checkpoint, overrides in zip(*columns, strict=True):
            await self._orders.load(
                LoadSpec(key=key, model_path=path, checkpoint_path=checkpoint, overrides=overrides)
            )

    async def stop(self) -> None:
        """Drain and end: NOT_SERVING, lame duck, no new requests, those in flight, gRPC, device."""
        self._modelet.is_draining = True
        self.health.drain()
        if not self.has_device_fault:
            await self._clock.sleep_ms(int(self._config.lame_duck_s * 1000))
        self.table.server = ServerView(is_draining=True)
        try:
            async with asyncio.timeout(self._config.drain_s):
                await self.table.idle()
        except TimeoutError:
            _log.warning("requests in flight are ended by the shutdown", count=self.table.in_flight)
        self._dispatcher.fail_all(Unavailable("this server is shutting down: try another one"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._grpc.drain(grace_s=1.0)
        if self._status is not None:
            await self._status.stop()
        self._pool.close()
        if not await asyncio.to_thread(self._device.stop, DEVICE_STOP_S):
            _log.error("the device thread hangs in a step and is left behind")

    def _register(self) -> None:
        refuser = Refuser(self.table)
        self._grpc.add(modelet_pb2_grpc.add_ModeletServicer_to_server, self._modelet)
        servicer = LMServicer(self._runner, refuser, self._clock)
        self._grpc.add(lm_pb2_grpc.add_LMServiceServicer_to_server, servicer)
        for service in OTHER_SERVICES:
            self._grpc.add(service.register, refusing_servicer(service, refuser))

    async def _start_status(self) -> None:
        port = self._config.status_port_for(self.port)
        if port >= 0:
            address = join_host_port(self._config.status_address, port)
            self._status = StatusServer(self.health, address=address, security=self._security)
            self.status_port = await self._status.start()

    async def _call_join(self, admin: str) -> int:
        request = wire_join.join_request(
            address=self._address,
            chip=self._config.platform_chip,
            topology=self._config.platform_topology,
            servable_paths=self._servable_paths,
            tags=list(self._config.tags),
            incarnation=self._incarnation,
            term=self._modelet.fence.highest_term,
        )
        return await wire_join.call_join(admin, request, self._security.outgoing)

    async def _watch_device(self) -> None:
        """End the process when a step does not come back."""
        limit_ms = int(self._config.step_timeout_s * 1000)
        while True:
            await asyncio.sleep(WATCH_S)
            age_ms = self._device.oldest_step_ms()
            if age_ms > limit_ms:
                faulthandler.dump_traceback(sys.__stderr__ or 2)
                self._end_process(f"a step of the device has run for {age_ms // 1000} s")
                return

    def _on_lane_failed(self, lane: LaneId, error: Exception, is_device_fault: bool) -> None:  # noqa: FBT001
        self.table.lane_failed(lane, error)
        if is_device_fault:
            self._end_process(f"the device is broken: {error}")

    def _end_process(self, reason: str) -> None:
        _log.critical("this process ends for a fresh one", reason=reason)
        self.has_device_fault = True
        self.health.drain(reason)
        self.table.server = ServerView(is_draining=True)
        self._dispatcher.fail_all(Unavailable(f"{reason}; try another server"))
        self._request_end(reason)

    def _on_stepped(self, news: Stepped) -> None:
        self.table.stepped(news)

    def _on_polled(self) -> None:
        if self._joiner is not None:
            self._joiner.polled()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))
