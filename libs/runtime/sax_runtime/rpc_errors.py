"""Between `sax_common.errors` and gRPC: what a handler raised becomes a status, a received status an error.

The table is in `sax_common.errors`; this is the only place that knows both it and grpc. A stranger, an
exception that is no SaxError, is a bug of ours: the caller gets a short reference and nothing else, the log
gets the traceback under the same reference.
"""

import grpc
from sax_common import errors

# Details travel as a header, percent-encoded (up to three bytes each), and a peer refuses headers over 8 KiB.
_MAX_DETAILS = 2000

_STATUS_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def status_of(error: errors.SaxError) -> grpc.StatusCode:
    """Return the gRPC status of an error."""
    return _STATUS_BY_NUMBER[errors.kind(error).code]


def status_number(code: grpc.StatusCode | int | None) -> grpc.StatusCode:
    """Return the status for what grpc.aio reports: a member, a number, or None for OK."""
    if isinstance(code, grpc.StatusCode):
        return code
    return _STATUS_BY_NUMBER.get(code or 0, grpc.StatusCode.UNKNOWN)


def details(message: str) -> str:
    """Return `message` short enough to travel; what is cut is said."""
    if len(message) <= _MAX_DETAILS:
        return message
    return f"{message[:_MAX_DETAILS]}... ({len(message) - _MAX_DETAILS} more characters)"


def error_of(failure: grpc.RpcError) -> errors.SaxError:
    """Return the SaxError that a failed call means; `failure` is what `await stub.Method()` raised."""
    return errors.error_for_code(failure.code().value[0], failure.details() or failure.code().name)
