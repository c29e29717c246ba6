"""uvicorn's HTTP/1.1 connection with bounds on the head of a request, and errors in JSON.

llhttp (under httptools) is strict about syntax: it refuses Content-Length beside Transfer-Encoding, bare
line feeds in names, and the like. What it leaves to its user is size and time, and those are added here,
where the bytes arrive (reference/reliability.md 5.4, C5):

    request line over 8 KiB, fields over 32 KiB in all or more than 64     431 (414 for the line)
    a field name with an underscore (proxies and CGI confuse it with '-')  400
    no complete head 10 s after the connection or the first byte           408
    anything llhttp refuses                                                400
    more connections than the server takes                                 503

Owned by the event loop, one per connection, as uvicorn's own class.
"""

from __future__ import annotations

import http
from typing import TYPE_CHECKING, Any

import httptools
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sax_http.event_stream import ABORT
from sax_http.problems import problem_body

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState

MAX_LINE_BYTES = 8 << 10
MAX_HEAD_BYTES = 32 << 10
MAX_FIELDS = 64
HEAD_TIMEOUT_S = 10.0


class _Refused(Exception):  # noqa: N818 - a signal from the parser's callbacks to `data_received`.
    """The head is over a bound."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Construct as uvicorn does."""

    head_timeout_s = HEAD_TIMEOUT_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn would answer connections over the limit in plain text; see `on_headers_complete`.
        self._max_connections = config.limit_concurrency
        self.limit_concurrency = None
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self.url = b""  # A head may be refused before its first byte.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, which would otherwise keep this object alive."""
        self._head_is_over()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; a head over a bound ends the connection with the right status."""
        self._unset_keepalive_if_required()
        # Body bytes are counted too; only the count since the last complete head or body is ever looked at.
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
            self._check_head_size()
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded here; the request is answered as if it had not asked.
            return
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refused):
                self._refuse(cause.status, cause.reason)
            else:
                self._refuse(400, "This is not a valid HTTP/1.1 request.")
        except _Refused as refusal:
            self._refuse(refusal.status, refusal.reason)

    def _check_head_size(self) -> None:
        """Catch what no callback sees: one field that grows and grows, or a head that never ends."""
        if self._is_in_head and self._head_bytes > MAX_LINE_BYTES + MAX_HEAD_BYTES:
            raise _Refused(431, f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin a request: its head has a time and a size."""
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"drop": self.transport.abort}}
        self._field_bytes = 0
        self._is_in_head = True
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        super().on_url(url)
        if len(self.url) > MAX_LINE_BYTES:
            raise _Refused(414, f"The request line is longer than {MAX_LINE_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field."""
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_FIELDS:
            raise _Refused(
                431, f"The request has more than {MAX_FIELDS} header fields or {MAX_HEAD_BYTES} bytes."
            )
        if b"_" in name:
            raise _Refused(400, "A header field's name holds an underscore.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the app, unless there are too many connections."""
        self._head_is_over()
        if self._max_connections is not None and len(self.connections) > self._max_connections:
            raise _Refused(
                503, f"This server has {self._max_connections} connections open and takes no more."
            )
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take the end of a request; what follows on this connection is the next head."""
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer as the rest of the server does. uvicorn's own paths to here are overridden above."""
        self._refuse(400, msg)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def _head_is_over(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_in_head:
            self._refuse(408, f"No complete request arrived within {self.head_timeout_s:g} s.")
        else:
            self.transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer and close. A request that is still being answered on this connection is cut off."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()
            return
        content = problem_body(HTTPException(status, reason), self.url.decode("latin-1"))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + content)
        self.transport.close()
