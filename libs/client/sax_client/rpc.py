"""One attempt of one call: connect, send, and say how it failed. No retries here.

`CallFailed` never leaves this package: `retry.py` decides what an attempt's failure means, and the last one's
`error` is what the caller sees.

A gRPC channel hides whether a server was there: it reports UNAVAILABLE for "refused", "reset" and "said
so". So `connect` asks the channel first, and a failed connect is marked `is_connect_failure`, for only that
may eject a replica.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
from sax_common.errors import KINDS, SaxError, Unavailable, Unknown, error_for_code, kind

PUSHBACK = "grpc-retry-pushback-ms"
"""Trailing metadata by which a server asks for patience (gRPC proposal A6)."""

_INNER_CODE = re.compile(r"code = (\w+)")
_CODE_BY_GO_NAME = {row.name.replace("_", "").lower(): row.code for row in KINDS}


class CallFailed(Exception):  # noqa: N818 - an outcome; the error is inside
    """An attempt's failure: what to tell the caller, and what the retry decision needs to know."""

    def __init__(
        self, error: SaxError, *, pushback_ms: int | None = None, is_connect_failure: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.pushback_ms = pushback_ms
        self.is_connect_failure = is_connect_failure

    @property
    def code(self) -> str:
        """The canonical name, such as UNAVAILABLE."""
        return kind(self.error).name


def failure_of(error: grpc.aio.AioRpcError) -> CallFailed:
    """What a gRPC error means to us.

    Original admins wrap their errors so that the wire says UNKNOWN and the text ``code = NotFound``
    (control_plane.md W8); the inner code is what was meant.
    """
    code, details = error.code().value[0], error.details() or ""
    if code == kind(Unknown()).code:
        inner = _INNER_CODE.findall(details)
        code = _CODE_BY_GO_NAME.get(inner[-1].lower(), code) if inner else code
    return CallFailed(error_for_code(code, details), pushback_ms=_pushback(error))


def _pushback(error: grpc.aio.AioRpcError) -> int | None:
    for key, value in error.trailing_metadata() or ():
        if key == PUSHBACK:
            try:
                return int(value)
            except ValueError:
                return -1  # A6: what cannot be read means "do not retry".
    return None


async def connect(channel: grpc.aio.Channel, address: str, *, who: str, timeout_s: float) -> None:
    """Wait until the channel is connected; raise CallFailed (UNAVAILABLE) when it cannot, at once or in time.

    `who` begins the message, as in "The admin server of /sax/test".
    """
    ready, failed = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
    state = channel.get_state(try_to_connect=True)
    if state is ready:
        return
    try:
        async with asyncio.timeout(timeout_s):
            while state is not ready:
                if state in (failed, grpc.ChannelConnectivity.SHUTDOWN):
                    raise _unreachable(f"{who} at {address} does not take connections.")
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        raise _unreachable(f"{who} at {address} did not take a connection within {timeout_s:g} s.") from None


def _unreachable(message: str) -> CallFailed:
    return CallFailed(Unavailable(message), is_connect_failure=True)


async def unary(method: Any, request: Any, *, timeout_s: float) -> Any:
    """Call `method` (of a stub) once. Raises CallFailed; cancelling the task cancels the call."""
    try:
        return await method(request, timeout=max(timeout_s, 0.001))
    except grpc.aio.AioRpcError as error:
        raise failure_of(error) from None
