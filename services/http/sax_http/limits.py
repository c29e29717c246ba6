"""Bounds on a request's body, enforced before anything reads it whole.

An ASGI layer of its own, because only here every way to a body passes: declared length, chunks without one,
and handlers that would rather not know. It counts what arrives and stops at the bound, so no more than the
bound plus one network read is ever held. Limits and statuses: reference/reliability.md 5.4.

    more than max_body_bytes     413        a compressed body      415
    30 s without progress        408        POST/PUT that is not JSON   415

The last one is also what keeps a page in somebody's browser from publishing models on a laptop's cell: a
browser sends JSON to another origin only after asking, and we never say yes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from sax_http.problems import problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_IDLE_S = 30.0
# How much of a refused body is read before the answer, in bounds, and for how long.
DISCARD_FACTOR = 8
DISCARD_S = 2.0
_BODY_METHODS = frozenset({"POST", "PUT"})


class BodyLimits:
    """Wraps an app so that it never sees a body that is too long, too slow or of the wrong kind."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, idle_s: float = BODY_IDLE_S) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._idle_s = idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        refusal = self._refusal(scope["method"], fields)
        if refusal is None:
            await self._app(scope, self._counted(receive), send)
            return
        if b"expect" not in fields:
            await self._discard(receive)
        await problem(refusal, scope["path"])(scope, receive, send)

    def _refusal(self, method: str, fields: Mapping[bytes, bytes]) -> HTTPException | None:
        """Judge a request by its head alone; None when nothing speaks against reading the body."""
        length = int(fields.get(b"content-length", b"0"))
        if length > self._max_body_bytes:
            return self._too_long()
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            return _refused(415, "A compressed request body is not taken; send it as it is.")
        has_body = length > 0 or b"transfer-encoding" in fields
        if has_body and method in _BODY_METHODS and not _is_json(fields.get(b"content-type", b"")):
            return _refused(
                415, "The request body must be JSON; add the header 'Content-Type: application/json'."
            )
        return None

    def _counted(self, receive: Receive) -> Receive:
        received = 0
        is_complete = False

        async def counted() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()
            try:
                async with asyncio.timeout(self._idle_s):
                    message = await receive()
            except TimeoutError:
                raise _refused(408, f"Nothing of the request body arrived for {self._idle_s:g} s.") from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)
            if received > self._max_body_bytes:
                if not is_complete:
                    await self._discard(receive)
                raise self._too_long()
            return message

        return counted

    async def _discard(self, receive: Receive) -> None:
        """Read on and throw away, for a while.

        Closing a connection on which bytes still arrive resets it, and most clients then report the reset
        and never read the answer that says why.
        """
        left = DISCARD_FACTOR * self._max_body_bytes
        try:
            async with asyncio.timeout(DISCARD_S):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return

    def _too_long(self) -> HTTPException:
        return _refused(413, f"The request body is longer than {self._max_body_bytes} bytes.")


def _refused(status: int, reason: str) -> HTTPException:
    return HTTPException(status, reason, {"connection": "close"})


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))
