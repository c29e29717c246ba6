"""Sends server-sent events while they come, and nothing but events.

One answer, from start to end:

    wait for the first event ──► 200 and headers ──► event, event, ... ──► end
      │ error: the right status                        │ error: one event with the error, then the end
      │ nothing for 15 s: 200, ": ping"                │ nothing for 15 s: ": ping"
      │                                                │ reader takes nothing for 30 s: closed
      └ client gone: upstream is cancelled             └ client gone: upstream is cancelled

The wait for the first event is what lets a full queue be a 429 and not a 200. The heartbeat keeps proxies
from cutting a connection whose prompt is still being read (reference/reliability.md 5.5), and its timer is
also what notices a reader that has stopped (C2): a slow reader pauses only its own upstream, because `send`
waits for it.

Per event: one `await`, one write. The task that sends owns the state; the heartbeat only looks at it
between two steps of the event loop, and writes when the sender is waiting for upstream.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from sax_common.errors import Cancelled, SaxError, Unavailable
from sax_runtime.logs import get_logger
from starlette.responses import Response

from sax_http.disconnect import unless_disconnected
from sax_http.openai.chunks import PING
from sax_http.problems import problem, problem_event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

# Key of `scope["extensions"]` under which our protocol class offers to drop the connection.
ABORT = "sax.abort"
HEARTBEAT_S = 15.0
STALLED_READER_S = 30.0

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # Asks nginx not to collect events into larger pieces.
    (b"x-accel-buffering", b"no"),
]

_log = get_logger(__name__)


class EventStream(Response):
    """An answer made of the events of `events`, which it closes in every case. Serves one request."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        stalled_reader_s: float = STALLED_READER_S,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._events = events
        self._heartbeat_s = heartbeat_s
        self._stalled_reader_s = stalled_reader_s
        self._has_started = False
        self._sending_since: float | None = None
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole answer. Returns early, without error, when the client goes away."""
        try:
            await unless_disconnected(self._run(scope, receive, send), receive)
        except Cancelled:
            # Gone, or deaf: waiting for the rest of the buffer to leave would hold the connection for ever.
            extension = scope.get("extensions", {}).get(ABORT)
            if extension is not None:
                extension["drop"]()
                await asyncio.sleep(0)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self._last_sent = loop.time()
        sender = asyncio.current_task()
        heartbeat = asyncio.ensure_future(self._beat(send, sender))
        try:
            async with aclosing(self._events) as events:
                async for piece in events:
                    if not self._has_started:
                        await self._start(send)
                    self._sending_since = self._last_sent = loop.time()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    self._sending_since = None
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must read that it failed.
            if not isinstance(error, SaxError):
                _log.exception("a stream failed")
            if not self._has_started:
                await problem(error, scope["path"])(scope, receive, send)
                return
            await send({"type": "http.response.body", "body": problem_event(error), "more_body": True})
        finally:
            heartbeat.cancel()
        if not self._has_started:
            await problem(Unavailable("The model said nothing."), scope["path"])(scope, receive, send)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send) -> None:
        self._has_started = True
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def _beat(self, send: Send, sender: asyncio.Task[object] | None) -> None:
        """Send a comment when nothing else is sent, and end the answer when the reader has stopped."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(self._heartbeat_s, self._stalled_reader_s) / 2)
            now = loop.time()
            if self._sending_since is not None:
                if now - self._sending_since > self._stalled_reader_s and sender is not None:
                    _log.warning(
                        "a reader stopped taking its stream; closed", stalled_s=self._stalled_reader_s
                    )
                    sender.cancel()
                    return
            elif now - self._last_sent >= self._heartbeat_s:
                self._last_sent = now
                if not self._has_started:
                    await self._start(send)
                await send({"type": "http.response.body", "body": PING, "more_body": True})
