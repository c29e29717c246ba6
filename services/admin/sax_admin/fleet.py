"""Connections to model servers: one channel per address, polls and orders over it.

The life of a channel: opened at the first poll, closed when the server is forgotten or turns out to be an
original (which ends connections that ping, DESIGN D15), reopened without pings then. gRPC reconnects it by
itself when the process behind the address restarts. Decides nothing: what to send and what an answer means
is the machine's business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from sax_common.errors import Cancelled, SaxError
from sax_runtime import rpc_errors
from sax_runtime.channels import open_channel
from saxml.protobuf import modelet_pb2, modelet_pb2_grpc

from sax_admin.core.servers import Order, OrderKind, Report
from sax_admin.wire import order_request, report_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from sax_runtime.outgoing import Outgoing

    from sax_admin.core.cell import ServerAddress, Term
    from sax_admin.core.events import WakeUp

POLL_S = 2.0
# An original answers GetStatus from the thread that loads models; its own admin allows it 10 s.
POLL_ORIGINAL_S = 10.0
# A load may read hundreds of gigabytes (reference/reliability.md 2.3).
ORDER_S = 1800.0


class _Peer:
    """One channel and its stub."""

    def __init__(self, address: ServerAddress, *, keepalive: bool, outgoing: Outgoing | None) -> None:
        self.keepalive = keepalive
        self.channel = open_channel(address, keepalive=keepalive, outgoing=outgoing)
        self.stub: Any = modelet_pb2_grpc.ModeletStub(self.channel)  # type: ignore[no-untyped-call]


class Fleet:
    """All channels to model servers. Owned by the controller's loop."""

    def __init__(self, outgoing: Outgoing | None = None) -> None:
        """Start with no connections; `outgoing` is what we show to model servers."""
        self._outgoing = outgoing
        self._peers: dict[ServerAddress, _Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def poll(self, address: ServerAddress, term: Term, *, is_original: bool) -> Report:
        """Ask a server for its status. Raises SaxError when it does not answer in time.

        The first poll of an unknown server counts as one to an original and sends no pings.
        """
        request = modelet_pb2.GetStatusRequest(
            include_failure_reasons=True, include_method_stats=True, term=term
        )
        stub = self._stub(address, keepalive=not is_original)
        timeout_s = POLL_ORIGINAL_S if is_original else POLL_S
        return report_of(await _call(stub.GetStatus, request, timeout_s))

    async def send(self, order: Order) -> None:
        """Give a server an order and wait for its end. Raises SaxError with the server's words."""
        stub = self._stub(order.server, keepalive=bool(order.incarnation))
        methods: dict[OrderKind, Callable[..., Awaitable[Any]]] = {
            OrderKind.LOAD: stub.Load,
            OrderKind.UNLOAD: stub.Unload,
            OrderKind.UPDATE_ACLS: stub.UpdateLoaded,
            OrderKind.UPDATE_CHECKPOINT: stub.UpdateLoaded,
        }
        await _call(methods[order.kind], order_request(order), ORDER_S)

    async def wake_up(self, effect: WakeUp) -> None:
        """Tell a dormant server to wake up. Raises SaxError with the server's words."""
        stub = self._stub(effect.address, keepalive=bool(effect.incarnation))
        request = modelet_pb2.WakeUpRequest(term=effect.term, incarnation=effect.incarnation)
        await _call(stub.WakeUp, request, POLL_ORIGINAL_S)

    def forget(self, address: ServerAddress) -> None:
        """Close the connection to a server; calls on it end."""
        peer = self._peers.pop(address, None)
        if peer is not None:
            task = asyncio.get_running_loop().create_task(peer.channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all connections."""
        for address in list(self._peers):
            self.forget(address)
        await asyncio.gather(*self._closing)

    def _stub(self, address: ServerAddress, *, keepalive: bool) -> Any:
        peer = self._peers.get(address)
        # Only upwards: a channel without pings serves both kinds, so nothing is torn down to lose them.
        if peer is None or (keepalive and not peer.keepalive):
            old = self._peers.get(address)
            peer = self._peers[address] = _Peer(address, keepalive=keepalive, outgoing=self._outgoing)
            if old is not None:
                task = asyncio.get_running_loop().create_task(old.channel.close(POLL_ORIGINAL_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        return peer.stub


async def _call(method: Callable[..., Awaitable[Any]], request: object, timeout_s: float) -> Any:
    try:
        return await method(request, timeout=timeout_s)
    except grpc.RpcError as error:
        failure: SaxError = rpc_errors.error_of(error)
        raise failure from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Not we were cancelled but the channel was closed under the call.
        raise Cancelled("the connection was closed") from None
