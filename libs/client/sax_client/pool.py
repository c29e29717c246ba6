"""Channels to model servers, shared by all models of one client.

A channel is *held* by every model that has its address in its set and by every call in flight, and closed
when nobody holds it: a draining server leaves the set at once, while its last streams run to their end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sax_runtime.channels import open_channel

from sax_client.rpc import CallFailed, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc
    from sax_runtime.outgoing import Outgoing

CONNECT_S = 2.0
"""The original's dial timeout to a model server (control_plane.md 2.5)."""


@dataclass(slots=True)
class _Entry:
    holders: int = 0
    channel: grpc.aio.Channel | None = None
    stubs: dict[Any, Any] = field(default_factory=dict)


class ChannelPool:
    """Address to channel, counted. Owned by one event loop."""

    def __init__(self, outgoing: Outgoing | None = None) -> None:
        self._outgoing = outgoing
        self._entries: dict[str, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def hold(self, address: str) -> None:
        """Keep the channel to `address` until it is let go as often as it was held."""
        self._entries.setdefault(address, _Entry()).holders += 1

    def let_go(self, address: str) -> None:
        """Give up one hold; the last one closes the channel in the background."""
        entry = self._entries[address]
        entry.holders -= 1
        if entry.holders == 0:
            del self._entries[address]
            self._close_later(entry.channel)

    async def stub(
        self, address: str, factory: Callable[[grpc.aio.Channel], Any], *, timeout_s: float
    ) -> Any:
        """A stub on a connected channel to a held address. Raises CallFailed when there is no connection."""
        entry = self._entries[address]
        if entry.channel is None:
            # No keepalive: the server may be an original, whose gRPC ends connections that ping.
            entry.channel = open_channel(address, keepalive=False, outgoing=self._outgoing)
        channel = entry.channel
        try:
            await connect(channel, address, who="The model server", timeout_s=min(CONNECT_S, timeout_s))
        except CallFailed:
            # A failed channel sits out a growing pause; a new one tries at once.
            if entry.channel is channel:
                entry.channel = None
                entry.stubs.clear()
                self._close_later(channel)
            raise
        if factory not in entry.stubs:
            entry.stubs[factory] = factory(channel)
        return entry.stubs[factory]

    def _close_later(self, channel: grpc.aio.Channel | None) -> None:
        if channel is not None:
            task = asyncio.get_running_loop().create_task(channel.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all channels; calls in flight end with CANCELLED."""
        for entry in self._entries.values():
            self._close_later(entry.channel)
        self._entries.clear()
        await asyncio.gather(*self._closing)
