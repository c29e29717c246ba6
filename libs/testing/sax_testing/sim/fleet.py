"""Model servers without models: loading takes time and may fail, everything that decides is production code.

The life of a run: it gets an incarnation, listens, looks for the leader with the production `Joiner`,
answers polls and obeys orders through the production `Fence`, and dies with all it holds. A load or an
unload in progress goes on when the admin that ordered it goes away. State changes follow the production
table (`sax_model.core.lifecycle`).

What the oracle is told: which orders were obeyed, and from when until when each model was ready.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sax_admin.core.servers import Order, OrderKind, Report, SeenModel, Status
from sax_common.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, SaxError, Unavailable
from sax_model.core.fencing import Fence
from sax_model.core.lifecycle import Event, State, after
from sax_model.join import Joiner
from saxml.protobuf import admin_pb2

from sax_testing.sim.admins import Refusal
from sax_testing.sim.world import HostClock

if TYPE_CHECKING:
    import asyncio
    import random

    from sax_admin.core.cell import Digest
    from sax_common.names import CellName, ModelName

    from sax_testing.sim.bucket import BucketPort
    from sax_testing.sim.network import Network
    from sax_testing.sim.params import Params
    from sax_testing.sim.ready import ReadyLog
    from sax_testing.sim.world import Host

MODEL_PATH = "sim.Model"
UNIT_BYTES = 1 << 30
CAPACITY_UNITS = 16
DRAIN_MS_MAX = 400
JOIN_TIMEOUT_MS = 10_000


@dataclass(slots=True)
class Held:
    """One model on a server. `change` is the load or unload under way."""

    state: State | None
    digest: Digest
    failure: str = ""
    is_changing: bool = False
    change: asyncio.Task[None] | None = field(default=None, repr=False)


class HollowServer:
    """One run of one model server. Owned by its host."""

    def __init__(
        self,
        host: Host,
        network: Network,
        store: BucketPort,
        *,
        cell: CellName,
        log: ReadyLog,
        params: Params,
        chance: random.Random,
        incarnation: str,
    ) -> None:
        """Start listening and looking for an admin."""
        self.host = host
        self.models: dict[ModelName, Held] = {}
        self.fence = Fence(incarnation)
        self.does_load_fail = params.load_failures
        self._network = network
        self._params = params
        self._chance = chance
        self._log = log
        self._clock = HostClock(host, params.grain_ms)
        self._joiner = Joiner(store, cell, self._clock, self._join)
        network.listen(host, {"GetStatus": self._status, "Order": self._obey})
        host.endings.append(self._end)
        host.start(self._joiner.run())

    def preload(self, name: ModelName, digest: Digest) -> None:
        """Hold a model that nobody of this cell ordered."""
        self.models[name] = Held(State.LOADED, digest)
        self._log.begin(self.host.name, name, digest)

    async def _join(self, admin: str) -> int:
        request = admin_pb2.JoinRequest(
            address=self.host.name,
            data_address=self.host.name,
            model_server=admin_pb2.ModelServer(servable_model_paths=[MODEL_PATH]),
            incarnation=self.fence.incarnation,
            highest_term=self.fence.highest_term,
        )
        response: Any = await self._network.call(
            self.host, admin, "Join", (request,), timeout_ms=JOIN_TIMEOUT_MS
        )
        if isinstance(response, Refusal):
            raise response.error
        return int(response.term)

    def _end(self) -> None:
        for name in self.models:
            self._log.end(self.host.name, name)

    # ---- What an admin asks ----

    async def _status(self, term: int) -> Report:
        self.fence = self.fence.seen(term)
        self._joiner.polled()
        models = {
            name: SeenModel(
                status=Status[held.state.value],
                digest=held.digest,
                failure_reason=held.failure,
                memory_bytes=UNIT_BYTES if held.state != State.FAILED else 0,
            )
            for name, held in self.models.items()
            if held.state is not None
        }
        return Report(
            models=models,
            incarnation=self.fence.incarnation,
            highest_term=self.fence.highest_term,
            total_bytes=CAPACITY_UNITS * UNIT_BYTES,
            used_bytes=len(models) * UNIT_BYTES,
        )

    async def _obey(self, order: Order) -> None:
        seen_term = self.fence.highest_term
        try:
            self.fence = self.fence.check(order.term, order.incarnation)
        except SaxError:
            self._log.refused_stale(order, seen_term)
            raise
        self._log.obeyed(self.host.name, order, seen_term, self.fence.incarnation)
        held = self.models.get(order.model)
        match order.kind:
            case OrderKind.LOAD:
                await self._load(order, held)
            case OrderKind.UNLOAD:
                await self._unload(order.model, held)
            case OrderKind.UPDATE_ACLS:
                if held is None or held.state != State.LOADED:
                    raise NotFound(f"{order.model} is not loaded here")
            case OrderKind.UPDATE_CHECKPOINT:
                await self._change_checkpoint(order, held)

    async def _load(self, order: Order, held: Held | None) -> None:
        if held is None or held.state == State.FAILED:
            held = Held(after(held.state if held else None, Event.LOAD), order.digest)
            self.models[order.model] = held
            held.change = self.host.create_task(self._carry_out_load(order.model, held))
        elif held.state == State.UNLOADING:
            raise Unavailable(f"{order.model} is being unloaded")
        elif held.digest != order.digest:
            raise FailedPrecondition(f"{order.model} is here with another specification")
        while held.state == State.LOADING and held.change is not None and not held.change.done():
            await self._clock.sleep_ms(self._params.grain_ms)
        if held.state != State.LOADED:
            raise Internal(held.failure or "the load was given up")

    async def _carry_out_load(self, name: ModelName, held: Held) -> None:
        await self._clock.sleep_ms(int(self._params.load_ms * self._chance.uniform(0.3, 1.7)))
        if held.state != State.LOADING:
            return
        if self._chance.random() < self.does_load_fail:
            held.state, held.failure = after(held.state, Event.LOAD_FAILED), "the checkpoint was not found"
            return
        held.state = after(held.state, Event.LOAD_DONE)
        self._log.begin(self.host.name, name, held.digest)

    async def _unload(self, name: ModelName, held: Held | None) -> None:
        if held is None or held.state == State.UNLOADING:
            raise InvalidArgument(f"{name} is not here, so it cannot be unloaded")
        self._log.end(self.host.name, name)
        held.state = after(held.state, Event.UNLOAD)
        if held.state is not None:
            await self._clock.sleep_ms(self._chance.randrange(DRAIN_MS_MAX))
            held.state = after(held.state, Event.UNLOAD_DONE)
        if self.models.get(name) is held:
            del self.models[name]

    async def _change_checkpoint(self, order: Order, held: Held | None) -> None:
        if held is None or held.state != State.LOADED:
            raise NotFound(f"{order.model} is not loaded here")
        if held.is_changing:
            raise Unavailable(f"another checkpoint of {order.model} is being loaded")
        held.is_changing = True
        await self._clock.sleep_ms(int(self._params.load_ms * self._chance.uniform(0.3, 1.7)))
        held.is_changing = False
        if held.state != State.LOADED:
            raise Unavailable(f"{order.model} was unloaded meanwhile")
        if self._chance.random() < self.does_load_fail:
            raise Internal("the checkpoint was not found")
        held.digest = order.digest
        self._log.begin(self.host.name, order.model, order.digest)
