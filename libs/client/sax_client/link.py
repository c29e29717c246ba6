"""The connection of one client to the leader of one cell.

Owned by the event loop of its `AsyncClient`; all calls of all models of that cell share it.

The life of a call: take the channel (one task reads the location and connects, the others wait for it),
send, and on UNAVAILABLE *poison* the channel: close it and find the leader again, for a standby answers
UNAVAILABLE too and the new leader is in ``location.proto``. Then repeat as `retry.py` says, until the
deadline.

When the store cannot be read, or holds nonsense, the address used last is tried: a broken store must not
cut off a leader that is still there.

Keepalive pings are sent only to an admin that has shown to be ours (a term or a sequence number in an
answer): an original's gRPC ends connections that ping (DESIGN.md D15).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sax_common.errors import FailedPrecondition, SaxError, Unavailable
from sax_runtime.channels import open_channel
from saxml.protobuf import admin_pb2_grpc

from sax_client import retry
from sax_client.location import find_leader
from sax_client.rpc import CallFailed, connect, unary

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    import grpc
    from sax_common.clock import Clock
    from sax_common.names import CellName
    from sax_common.store.port import ObjectStore
    from sax_runtime.outgoing import Outgoing

CONNECT_S = 3.0
"""An admin on a loaded machine accepts within milliseconds; the original waits 10 s and its users with it."""

ATTEMPT_S = 15.0
"""One attempt of a repeatable call: a stopped leader is given up after two elections (7.6 s each)."""


class AdminLink:
    """Calls the Admin service of one cell. Not thread-safe; never closes the store it was given."""

    def __init__(
        self,
        cell: CellName,
        *,
        root: str,
        store: Callable[[], Awaitable[ObjectStore]],
        clock: Clock,
        rng: random.Random,
        notice: Callable[[str], None],
        outgoing: Outgoing | None = None,
    ) -> None:
        self.cell = cell
        self._outgoing = outgoing
        self._root = root
        self._store = store
        self._clock = clock
        self._rng = rng
        self._notice = notice
        self._lock = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._has_keepalive = False
        self._address = ""
        self._is_ours = False
        self.last_sequence = 0

    async def call(self, method: str, request: Any, *, timeout_s: float, is_repeatable: bool) -> Any:
        """Call until it succeeds, fails for good or the deadline passes. Raises SaxError.

        `is_repeatable` allows a second attempt while the outcome of the first is unknown: reads always,
        changes only with an operation id that the admin understands.
        """
        deadline_ms = self._clock.monotonic_ms() + int(timeout_s * 1000)
        number = 0
        while True:
            number += 1
            remaining_s = (deadline_ms - self._clock.monotonic_ms()) / 1000
            may_cut_short = is_repeatable and remaining_s > ATTEMPT_S
            try:
                response = await self.once(
                    method, request, timeout_s=min(remaining_s, ATTEMPT_S) if may_cut_short else remaining_s
                )
            except CallFailed as failed:
                code = failed.code
                if code == "DEADLINE_EXCEEDED" and may_cut_short:
                    code = retry.UNAVAILABLE
                    await self.poison()
                attempt = retry.Attempt(number, code, pushback_ms=failed.pushback_ms)
                remaining_ms = deadline_ms - self._clock.monotonic_ms()
                pause_ms = retry.pause_before_retry(
                    retry.CallKind.ADMIN,
                    attempt,
                    retry.Budget(),
                    remaining_ms=remaining_ms,
                    jitter=self._rng.random(),
                )
                if pause_ms is None:
                    raise failed.error from None
                self._notice(f"waiting for the admin server: {failed.error.message}")
                await self._clock.sleep_ms(pause_ms)
            else:
                self._learn(response)
                return response

    async def once(self, method: str, request: Any, *, timeout_s: float) -> Any:
        """Call a single time. Raises CallFailed."""
        channel = await self._connected(timeout_s)
        try:
            return await unary(getattr(_stub(channel), method), request, timeout_s=timeout_s)
        except CallFailed as failed:
            if failed.code == retry.UNAVAILABLE:
                await self._close(channel)
            raise

    async def mark_ours(self) -> None:
        """Remember that the admin is ours; a channel without keepalive is replaced by one with."""
        self._is_ours = True
        if self._channel is not None and not self._has_keepalive:
            await self._close(self._channel)

    @property
    def is_ours(self) -> bool:
        """Whether an answer has shown that the admin knows operation ids and terms."""
        return self._is_ours

    async def poison(self) -> None:
        """Forget the connection, so that the next call finds the leader again."""
        if self._channel is not None:
            await self._close(self._channel)

    async def close(self) -> None:
        """Close the connection; calls in flight end with CANCELLED."""
        await self.poison()

    def _learn(self, response: Any) -> None:
        sequence = getattr(response, "sequence", 0)
        if sequence:
            self._is_ours = True
            self.last_sequence = max(self.last_sequence, sequence)

    async def _connected(self, timeout_s: float) -> grpc.aio.Channel:
        async with self._lock:
            if self._channel is None:
                self._address = await self._leader()
                self._has_keepalive = self._is_ours
                self._channel = open_channel(
                    self._address, keepalive=self._has_keepalive, outgoing=self._outgoing
                )
            channel = self._channel
            who = f"The admin server of {self.cell}"
            try:
                await connect(channel, self._address, who=who, timeout_s=min(CONNECT_S, timeout_s))
            except CallFailed:
                await self._close(channel)
                raise
            return channel

    async def _leader(self) -> str:
        try:
            return await find_leader(await self._store(), self.cell, root=self._root)
        except (Unavailable, FailedPrecondition) as error:
            if self._address:
                return self._address
            raise CallFailed(error) from None
        except SaxError as error:
            raise CallFailed(error) from None

    async def _close(self, channel: grpc.aio.Channel) -> None:
        # Another task may have replaced the channel already: only the one that failed is closed.
        if self._channel is channel:
            self._channel = None
        await channel.close()


def _stub(channel: grpc.aio.Channel) -> Any:
    return admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call] # generated
