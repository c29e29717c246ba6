"""The `sax.Admin` service: protobuf in, protobuf out, and the waiting of long polls.

Publish, Update, Unpublish and Join go to the machine and wait for its answer. List and Stats read it.
WatchLoc and WaitForReady read it again after each change of their model. Semantics and status codes:
reference/control_plane.md 2.11 and 2.12; errors raised here become statuses in `sax_runtime`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sax_common import errors, names
from sax_common.errors import Cancelled, InvalidArgument, SaxError
from sax_common.watchable import WatchAnswer
from sax_runtime import metrics
from sax_runtime.authorization import caller, check_join
from saxml.protobuf import admin_pb2

from sax_admin import wire
from sax_admin.controller import fresh_bytes
from sax_admin.core.commands import check_admin, model_of_cell, published
from sax_admin.service_answers import EncodedAnswers
from sax_admin.service_servers import ServerCalls

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from sax_common.names import ModelName

    from sax_admin.controller import Controller
    from sax_admin.core.commands import Mutation
    from sax_admin.core.machine import Machine

# A long poll without news ends with an empty answer, never with an error (DESIGN D15).
WATCH_S = 60.0
# Trailing metadata of a refusal: who leads instead.
LEADER_KEY = "sax-leader-address"
# Addresses and counts: a client that waits longer than this asks again, so nothing is held for ever.
READY_S = 3600.0


class AdminService(ServerCalls):
    """Handlers of `sax.Admin` over one controller. `server_id` differs between any two process runs."""

    def __init__(self, controller: Controller, server_id: str) -> None:
        """Serve what `controller` knows."""
        self._controller = controller
        self._server_id = server_id
        self._answers = EncodedAnswers()

    # ---- Changes ----

    async def Publish(  # noqa: N802  # Named by the contract, as all handlers.
        self, request: admin_pb2.PublishRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.PublishResponse:
        """Make a model wanted; answered once that is durable."""
        mutation = wire.publish_of(request, fresh_bytes(), _client(context))
        sequence = await self._mutate(context, "publish", mutation)
        return admin_pb2.PublishResponse(sequence=sequence)

    async def Update(  # noqa: N802
        self, request: admin_pb2.UpdateRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.UpdateResponse:
        """Replace a model's whole spec."""
        mutation = wire.update_of(request, fresh_bytes(), _client(context))
        sequence = await self._mutate(context, "update", mutation)
        return admin_pb2.UpdateResponse(sequence=sequence)

    async def Unpublish(  # noqa: N802
        self, request: admin_pb2.UnpublishRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.UnpublishResponse:
        """Make a model unwanted."""
        mutation = wire.unpublish_of(request, fresh_bytes(), _client(context))
        sequence = await self._mutate(context, "unpublish", mutation)
        return admin_pb2.UnpublishResponse(sequence=sequence)

    def _client_of(self, context: grpc.aio.ServicerContext) -> str:
        return _client(context)

    async def _mutate(self, context: grpc.aio.ServicerContext, operation: str, mutation: Mutation) -> int:
        self._leading(context)
        with _counted(operation):
            return await self._controller.mutate(replace(mutation, access=caller()))

    async def Join(  # noqa: N802
        self, request: admin_pb2.JoinRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.JoinResponse:
        """Take in a model server, once it has answered a GetStatus."""
        machine = self._leading(context)
        access = caller()
        if not access.is_on:  # Otherwise the rule of Join has been applied.
            check_admin(machine.rules, access, "Join")
        if not request.address:
            raise InvalidArgument("a Join needs the model server's address")
        if not request.HasField("model_server"):
            raise InvalidArgument(f"the Join of {request.address} needs a model_server that says what it is")
        check_join((request.address, request.data_address, request.debug_address), context.peer(), access)
        term = await self._controller.join(lambda token: wire.join_of(request, token))
        return admin_pb2.JoinResponse(term=term)

    # ---- Reads ----

    async def List(  # noqa: N802
        self, request: admin_pb2.ListRequest, context: grpc.aio.ServicerContext
    ) -> bytes:
        """Show one model, or all of the cell by name."""
        machine, now_ms = self._leading(context), self._controller.now_ms

        def show() -> admin_pb2.ListResponse:
            if request.model_id:
                views = [machine.model(model_of_cell(request.model_id, machine.rules.cell), now_ms)]
            else:
                views = machine.models(now_ms)
            return admin_pb2.ListResponse(published_models=[wire.published_of(view) for view in views])

        version = (machine.reigns, machine.version)
        return self._answers.get(("List", request.model_id), version, now_ms, show)

    async def Stats(  # noqa: N802
        self, request: admin_pb2.StatsRequest, context: grpc.aio.ServicerContext
    ) -> bytes:
        """Count model servers, of the cell or of one model."""
        machine, now_ms = self._leading(context), self._controller.now_ms

        def show() -> admin_pb2.StatsResponse:
            name = model_of_cell(request.model_id, machine.rules.cell) if request.model_id else None
            return wire.stats_of(machine.stats(name, now_ms))

        version = (machine.reigns, machine.version)
        return self._answers.get(("Stats", request.model_id), version, now_ms, show)

    async def WaitForReady(  # noqa: N802
        self, request: admin_pb2.WaitForReadyRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.WaitForReadyResponse:
        """Wait until enough replicas are ready, or the caller's deadline."""
        name = model_of_cell(request.model_id, self._leading(context).rules.cell)
        published(self._leading(context).journal.state, name)
        while self._leading(context).fleet.routes.ready(name) < request.num_replicas:
            if not await self._controller.wait_for_change(name, READY_S):
                raise errors.DeadlineExceeded(f"model {name} was not ready within {READY_S:.0f} s; ask again")
            if name not in self._leading(context).journal.state.models:
                raise Cancelled(f"model {name} was unpublished while waiting for it")
        return admin_pb2.WaitForReadyResponse()

    async def WatchLoc(  # noqa: N802
        self, request: admin_pb2.WatchLocRequest, context: grpc.aio.ServicerContext
    ) -> admin_pb2.WatchLocResponse:
        """Tell what is new about a model's addresses since the caller's number, waiting for news.

        The cell in the name is not checked, as in the original.
        """
        name = names.parse_model(request.model_id)
        if request.seqno < 0:
            raise InvalidArgument(f"seqno is {request.seqno}; it must be 0 or more")
        published(self._leading(context).journal.state, name)
        answer = await self._news(name, request, context)
        return admin_pb2.WatchLocResponse(
            result=wire.watch_of(answer),
            admin_server_id=self._id_of(name),
            term=self._controller.machine.term,
        )

    async def _news(
        self, name: ModelName, request: admin_pb2.WatchLocRequest, context: grpc.aio.ServicerContext
    ) -> WatchAnswer:
        deadline_s = time.monotonic() + WATCH_S
        while (left_s := deadline_s - time.monotonic()) > 0:
            answer = self._read_log(self._leading(context), name, request)
            if answer is not None:
                return answer
            if not await self._controller.wait_for_change(name, left_s):
                break
        is_ours = request.admin_server_id == self._id_of(name)
        return WatchAnswer(request.seqno if is_ours else 0)

    def _read_log(
        self, machine: Machine, name: ModelName, request: admin_pb2.WatchLocRequest
    ) -> WatchAnswer | None:
        """Read the model's log for this caller; None when it has to wait."""
        if name not in machine.journal.state.models:
            return WatchAnswer(0, has_full_set=True)
        log = machine.fleet.routes.logs.get(name)
        if log is None or machine.fleet.is_silent:
            return None
        if request.admin_server_id != self._id_of(name) and (request.admin_server_id or log.next_seqno):
            # What this client knows comes from another leader, or it asks afresh and still has the addresses
            # of before: it gets everything, once (DESIGN D16), for changes alone would not take those away.
            return WatchAnswer(log.next_seqno, has_full_set=True, values=log.values)
        answer = log.read(request.seqno if request.admin_server_id else 0)
        return answer if isinstance(answer, WatchAnswer) else None

    def _id_of(self, name: ModelName) -> str:
        """Name the log that a client's number belongs to: this run, reign, publish and life of it."""
        machine = self._controller.machine
        spec = machine.journal.state.models.get(name)
        log = machine.fleet.routes.logs.get(name)
        publish = spec.uuid.hex()[:8] if spec else "gone"
        return f"{self._server_id}_{machine.reigns}_{publish}_{log.lives if log else 0}"

    # ---- Who leads ----

    def _leading(self, context: grpc.aio.ServicerContext) -> Machine:
        """Return the machine while it leads, else raise Unavailable with the leader's address."""
        machine = self._controller.machine
        if not machine.is_leading(self._controller.now_ms):
            if machine.leader_address:
                context.set_trailing_metadata(((LEADER_KEY, machine.leader_address),))
            raise machine.not_leading()
        return machine


def _client(context: grpc.aio.ServicerContext) -> str:
    """Say who changes something, for the record: the name if it is known, and where from."""
    return " ".join(part for part in (caller().who, context.peer()) if part)


@contextmanager
def _counted(operation: str) -> Iterator[None]:
    started = time.perf_counter()
    outcome = "CANCELLED"
    try:
        yield
        outcome = "OK"
    except SaxError as error:
        outcome = errors.kind(error).name
        raise
    finally:
        metrics.PUBLISHES.labels(operation=operation, outcome=outcome).inc()
        metrics.PUBLISH_SECONDS.labels(operation=operation).observe(time.perf_counter() - started)
