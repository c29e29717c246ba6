"""Errors: one tree, one table; what went wrong, which status it is, and may it be tried again.

The life of an error: the code that knows what happened raises the class that says so, with a message for the
reader at 3 a.m. (what was asked, what was found, what to do). A server's interceptor asks `kind` for the gRPC
code, the HTTP server for the HTTP status, a client's retry for `is_retryable`; a client turns a received code
back with `error_for_code`, so an error means the same in all processes.

    SaxError
     |- Cancelled            somebody stopped waiting
     |- Unknown              a peer failed without saying how
     |- InvalidArgument      the request is wrong whatever the state
     |- DeadlineExceeded     time ran out; it may have happened
     |- NotFound             no thing of that name
     |- AlreadyExists        the name is taken
     |- PermissionDenied     known, and not allowed
     |- ResourceExhausted    full: queue, memory, disk, quota
     |   `- store.port.StoreFull
     |- FailedPrecondition   right request, wrong state; retrying does not help
     |   `- roots.MissingRoot
     |- Aborted              lost a race; read again, then decide
     |   `- store.port.Conflict
     |- OutOfRange           past the end
     |- Unimplemented        not here
     |- Internal             our bug
     |- Unavailable          try again, perhaps elsewhere
     |   |- store.port.StoreUnavailable    surely not applied
     |   `- store.port.OutcomeUnknown      perhaps applied: the third outcome
     |       `- store.port.NotDurable      visible, but the disk did not take it
     |- DataLoss             bytes are gone or wrong
     `- Unauthenticated      who are you?

HTTP statuses are those of google/rpc/code.proto. Retryable are the codes that the original's clients retry on
admin calls (reference/control_plane.md 3.4); data calls add NOT_FOUND in `backoff`.
This module imports no grpc: codes are its public numbers.
"""

# ruff: noqa: N818 -- These are the status names that users of gRPC know; "InvalidArgumentError" says nothing more.

from dataclasses import dataclass


class SaxError(Exception):
    """Anything that this project raises on purpose. `message` is one or more full sentences for a person."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class Cancelled(SaxError):
    """The caller stopped waiting, or the thing waited for went away."""


class Unknown(SaxError):
    """A peer failed without saying how."""


class InvalidArgument(SaxError):
    """The request is wrong, whatever the state of the system."""


class DeadlineExceeded(SaxError):
    """Time ran out; the operation may have happened all the same."""


class NotFound(SaxError):
    """There is no thing of that name."""


class AlreadyExists(SaxError):
    """The name is taken."""


class PermissionDenied(SaxError):
    """The caller is known and not allowed to do this."""


class ResourceExhausted(SaxError):
    """Something bounded is full: a queue, memory, a disk, a quota."""


class FailedPrecondition(SaxError):
    """The request is fine but the state is not; a retry does not help until someone changes the state."""


class Aborted(SaxError):
    """The operation lost a race: read again, then decide again."""


class OutOfRange(SaxError):
    """The request went past the end of what there is."""


class Unimplemented(SaxError):
    """This server does not do that."""


class Internal(SaxError):
    """An invariant of ours is broken."""


class Unavailable(SaxError):
    """Not now, or not here: try again, perhaps elsewhere."""


class DataLoss(SaxError):
    """Stored bytes are gone or damaged."""


class Unauthenticated(SaxError):
    """The caller did not prove who they are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table: an error's name and code on gRPC, its HTTP status, and whether to try again."""

    error: type[SaxError]
    name: str
    code: int
    http_status: int
    is_retryable: bool = False


KINDS: tuple[Kind, ...] = (
    Kind(Cancelled, "CANCELLED", 1, 499),
    Kind(Unknown, "UNKNOWN", 2, 500),
    Kind(InvalidArgument, "INVALID_ARGUMENT", 3, 400),
    Kind(DeadlineExceeded, "DEADLINE_EXCEEDED", 4, 504),
    Kind(NotFound, "NOT_FOUND", 5, 404),
    Kind(AlreadyExists, "ALREADY_EXISTS", 6, 409),
    Kind(PermissionDenied, "PERMISSION_DENIED", 7, 403),
    Kind(ResourceExhausted, "RESOURCE_EXHAUSTED", 8, 429, is_retryable=True),
    Kind(FailedPrecondition, "FAILED_PRECONDITION", 9, 400),
    Kind(Aborted, "ABORTED", 10, 409),
    Kind(OutOfRange, "OUT_OF_RANGE", 11, 400),
    Kind(Unimplemented, "UNIMPLEMENTED", 12, 501),
    Kind(Internal, "INTERNAL", 13, 500),
    Kind(Unavailable, "UNAVAILABLE", 14, 503, is_retryable=True),
    Kind(DataLoss, "DATA_LOSS", 15, 500),
    Kind(Unauthenticated, "UNAUTHENTICATED", 16, 401),
)
"""The one table. In the order of the codes."""

_BY_CODE = {row.code: row for row in KINDS}
_BY_ERROR = {row.error: row for row in KINDS}


def kind(error: BaseException) -> Kind:
    """Say which row of the table an exception belongs to; a stranger (not a SaxError) is INTERNAL."""
    for cls in type(error).__mro__:
        if cls in _BY_ERROR:
            return _BY_ERROR[cls]
    return _BY_ERROR[Internal]


def error_for_code(code: int, message: str) -> SaxError:
    """Make the error for a gRPC code that was received; a code that gRPC does not define is Unknown.

    Raises ValueError for 0: OK is not an error.
    """
    if code == 0:
        raise ValueError("Code 0 is OK and has no error.")
    if code not in _BY_CODE:
        return Unknown(f"{message} (undefined status code {code})")
    return _BY_CODE[code].error(message)
