"""The object store port: the few promises that everything durable in a cell rests on.

An object is a name, some bytes and a generation. A generation is an opaque text that is never used twice for
one name, not even when the same bytes come back (no ABA). The life of one object: `create` wins or loses once
and for all; `replace` changes it only from the generation that the caller read; `write` replaces it
whatever it is; `read` gives bytes and generation of the same instant, never a mixture of
two writes; `delete` ends it.

What every adapter promises (proved by `sax_testing.store_suite`):
  * An answer that is not an exception means: durable, and seen by every later read and list of every process.
  * Readers never see a torn object.
  * Exactly one of many `create` calls for a name wins, and of many `replace` calls from one generation.

What the exceptions of the changing calls mean, and what the caller does next:

    Conflict          not applied; somebody else was first           read, decide again
    StoreUnavailable  surely not applied                             back off, try again
    StoreFull         surely not applied; no space or over quota     tell a person, old objects are intact
    OutcomeUnknown    perhaps applied, perhaps applied later         read back before anything else
    NotDurable        visible now, may be gone after a power loss    end the process; never acknowledge

Every call may also raise FailedPrecondition (no credentials, no bucket, unfit file system) or
PermissionDenied, after which nothing is changed. `read` and `list` raise only these two and StoreUnavailable.
A conditional delete is not part of the port: emulators (and so tests) ignore the condition.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from sax_common.errors import Aborted, InvalidArgument, ResourceExhausted, Unavailable
from sax_common.names import shown

NAME_BYTES_MAX = 512
PART_BYTES_MAX = 200

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.=+-]*"
_NAME = re.compile(f"{_PART}(?:/{_PART})*", re.ASCII)
_PREFIX = re.compile(f"(?:{_PART}/)*(?:{_PART})?", re.ASCII)


class Conflict(Aborted):
    """The object was not in the state that the caller expected; nothing was changed."""


class StoreUnavailable(Unavailable):
    """The store did not take the request; surely nothing was changed."""


class OutcomeUnknown(Unavailable):
    """No answer came back: the change may have happened, or may still happen."""


class NotDurable(OutcomeUnknown):
    """The change is visible, but the disk failed to make it durable: reading it back proves nothing."""


class StoreFull(ResourceExhausted):
    """No space or quota is left; nothing was changed."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The bytes of an object and the generation they belong to."""

    data: bytes
    generation: str


class ObjectStore(Protocol):
    """A place for small objects (at most a few MiB). Any number of tasks and processes may use it at once.

    Names are '/'-joined relative paths; all methods raise InvalidArgument for an illegal one.
    """

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None when it does not exist."""
        ...

    async def create(self, name: str, data: bytes) -> str:
        """Make a new object and return its generation. Raises Conflict when the name exists."""
        ...

    async def replace(self, name: str, data: bytes, *, generation: str) -> str:
        """Change an object from `generation`; return the new one. Conflict if it changed or is gone."""
        ...

    async def write(self, name: str, data: bytes) -> str:
        """Make or change an object, whatever was there, and return its generation."""
        ...

    async def list(self, prefix: str, *, start_after: str = "") -> list[str]:
        """List the names that begin with `prefix` and sort after `start_after`, in ascending order."""
        ...

    async def delete(self, name: str) -> None:
        """Remove an object; it is fine when there is none."""
        ...

    async def close(self) -> None:
        """Release threads and connections; the store must not be used afterwards. Twice is fine."""
        ...


def check_name(name: str) -> str:
    """Return a legal object name unchanged, or raise InvalidArgument.

    No '..', no leading '/', no empty part, and no part with a leading dot: those are the adapters' own files.
    """
    if not is_name(name):
        raise InvalidArgument(
            f"Object name {shown(name)} must be a relative path of parts that start with a letter, digit or "
            f"'_' and go on with those or . = + - (each at most {PART_BYTES_MAX} bytes, "
            f"all at most {NAME_BYTES_MAX})."
        )
    return name


def is_name(name: str) -> bool:
    """Say whether this is a legal object name."""
    return _NAME.fullmatch(name) is not None and not _is_too_long(name)


def check_prefix(prefix: str) -> str:
    """Return a prefix (empty, or the beginning of a legal name) unchanged, or raise InvalidArgument."""
    if _PREFIX.fullmatch(prefix) is None or _is_too_long(prefix):
        raise InvalidArgument(f"Prefix {shown(prefix)} is not the beginning of a legal object name.")
    return prefix


def _is_too_long(name: str) -> bool:
    return len(name) > NAME_BYTES_MAX or any(len(part) > PART_BYTES_MAX for part in name.split("/"))
