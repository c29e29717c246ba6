"""Errors as this server's clients read them: one status table, two shapes of JSON.

    /v1/...          {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}   as OpenAI's
    anything else    {"detail": "..."}                                                    as the original's

The status comes from the one table in `sax_common.errors`. An exception that is not a SaxError is our own
bug: its text stays in the log, under the request's id, and the client reads a constant sentence
(CVE-2026-22778 was an exception's text in an answer).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sax_common.errors import (
    DeadlineExceeded,
    Internal,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SaxError,
    Unauthenticated,
    Unavailable,
    kind,
)
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sax_http.bodies import InvalidField
from sax_http.openai.chunks import event
from sax_http.original.bodies import pretty

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENAI_TYPES: Mapping[type[SaxError], str] = {
    Unauthenticated: "authentication_error",
    PermissionDenied: "permission_error",
    NotFound: "not_found_error",
    ResourceExhausted: "rate_limit_error",
    Unavailable: "overloaded_error",
    DeadlineExceeded: "timeout_error",
}
_CODES: Mapping[type[SaxError], str] = {NotFound: "model_not_found"}

# What a client may wait before it asks again, when the answer says "not now".
RETRY_AFTER_S = "1"
_TOO_MANY, _SERVER_ERROR, _UNAVAILABLE = 429, 500, 503
_BUG = "The HTTP server failed on this request; the server's log has the reason."


def is_openai(path: str) -> bool:
    """Say which shape of error belongs to a path."""
    return path.startswith("/v1/")


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, HTTPException):
        return error.status_code
    return kind(error).http_status


def problem(error: Exception, path: str) -> Response:
    """Make the whole answer for an error on `path`."""
    status = status_of(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status in {_TOO_MANY, _UNAVAILABLE}:
        headers.setdefault("retry-after", RETRY_AFTER_S)
    content = problem_body(error, path)
    return Response(content, status_code=status, headers=headers, media_type="application/json")


def problem_body(error: Exception, path: str) -> bytes:
    """Write the JSON of an error on `path`."""
    if is_openai(path):
        return json.dumps({"error": openai_error(error)}).encode()
    return pretty({"detail": message_of(error)})


def problem_event(error: Exception) -> bytes:
    """Write an error that happened after the first byte: one event inside a 200 (landscape.md E1)."""
    return event({"error": openai_error(error)})


def message_of(error: Exception) -> str:
    """Return the sentence for the client; never the text of an exception that is not ours."""
    if isinstance(error, SaxError):
        return error.message or kind(error).name
    if isinstance(error, HTTPException):
        return str(error.detail)
    return _BUG


def openai_error(error: Exception) -> dict[str, object]:
    """Return the error object of OpenAI's API."""
    status = status_of(error)
    base = kind(error).error if isinstance(error, SaxError) else Internal
    default = "server_error" if status >= _SERVER_ERROR else "invalid_request_error"
    return {
        "message": message_of(error),
        "type": _OPENAI_TYPES.get(base, default),
        "param": error.field if isinstance(error, InvalidField) else None,
        "code": _CODES.get(base),
    }
