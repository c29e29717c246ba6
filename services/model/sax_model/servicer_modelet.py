"""sax.Modelet: how an admin drives this server.

Every order is checked against the fence first (`core.fencing`), then carried out by `ModelOrders`. Load and
UpdateLoaded return when the model serves; a caller that goes away does not undo what it ordered.
"""

from collections.abc import Callable

import grpc
from sax_common.errors import Unimplemented
from saxml.protobuf import modelet_pb2, modelet_pb2_grpc

from sax_model import wire_modelet
from sax_model.core.fencing import Fence
from sax_model.memory import device_memory
from sax_model.orders import ModelOrders
from sax_model.table import ModelTable


class ModeletServicer(modelet_pb2_grpc.ModeletServicer):
    """The control service; owner of the fence. Called on the event loop."""

    def __init__(
        self, table: ModelTable, orders: ModelOrders, incarnation: str, on_polled: Callable[[], None]
    ) -> None:
        """`on_polled` is told of every GetStatus."""
        self._table = table
        self._orders = orders
        self._on_polled = on_polled
        self.fence = Fence(incarnation)
        self.is_draining = False

    async def Load(  # noqa: N802 - the names are the protocol's.
        self, request: modelet_pb2.LoadRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.LoadResponse:
        """Load a model; answers when it is LOADED or has FAILED."""
        self.fence = self.fence.check(request.term, request.incarnation)
        await self._orders.load(wire_modelet.load_spec(request))
        return modelet_pb2.LoadResponse()

    async def UpdateLoaded(  # noqa: N802
        self, request: modelet_pb2.UpdateLoadedRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.UpdateLoadedResponse:
        """Replace the ACLs, and the checkpoint if it is another one."""
        self.fence = self.fence.check(request.term, request.incarnation)
        await self._orders.update(
            request.model_key,
            acls=dict(request.acls.items) if request.HasField("acls") else None,
            checkpoint_path=request.checkpoint_path,
            digest=request.digest,
        )
        return modelet_pb2.UpdateLoadedResponse()

    async def Unload(  # noqa: N802
        self, request: modelet_pb2.UnloadRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.UnloadResponse:
        """Drain and drop a model."""
        self.fence = self.fence.check(request.term, request.incarnation)
        await self._orders.unload(request.model_key)
        return modelet_pb2.UnloadResponse()

    async def GetStatus(  # noqa: N802
        self, request: modelet_pb2.GetStatusRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.GetStatusResponse:
        """Say how everything stands, whatever the term: a stale leader learns the higher one from it."""
        self.fence = self.fence.seen(request.term)
        self._on_polled()
        reports = self._table.reports()
        models = [
            wire_modelet.model_status(
                report,
                with_failure=request.include_failure_reasons,
                with_stats=request.include_method_stats,
            )
            for report in reports
        ]
        is_device_in_use = any(report.snapshot is not None for report in reports)
        return wire_modelet.status_response(
            models,
            incarnation=self.fence.incarnation,
            highest_term=self.fence.highest_term,
            memory=device_memory(is_device_in_use=is_device_in_use),
            is_draining=self.is_draining,
        )

    async def WakeUp(  # noqa: N802
        self, request: modelet_pb2.WakeUpRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.WakeUpResponse:
        """Nothing here ever sleeps, so being awake is all there is to do."""
        self.fence = self.fence.check(request.term, request.incarnation)
        return modelet_pb2.WakeUpResponse()

    async def Export(  # noqa: N802
        self, _request: modelet_pb2.ExportRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.ExportResponse:
        """Refuse."""
        raise Unimplemented(
            "Export to a TensorFlow SavedModel is not offered: this server has no TensorFlow."
        )

    async def Save(  # noqa: N802
        self, _request: modelet_pb2.SaveRequest, _context: grpc.aio.ServicerContext
    ) -> modelet_pb2.SaveResponse:
        """Refuse."""
        raise Unimplemented(
            "Save is not offered: a served model is never changed, "
            "so its checkpoint is still where it was loaded from."
        )
