"""Small files that may change while a process runs: certificates, tokens, access control lists.

    acls = Watched([path], parse)
    acls.get()     # parsed anew when the file has changed

`get` looks at the files at most once a second, and reads them only when their time, size or inode is another
one (Kubernetes swaps a mounted secret by changing a link, which changes the inode). A file that is broken
when it changes, or half of a pair that is being replaced, leaves the last good value in force and one
warning in the log; a file that is broken at the start is an error for a person.

The files are tiny and local, so reading them on the event loop is fine. Safe from any thread, for gRPC asks
for certificates on its own.
"""

import stat
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from sax_common.errors import FailedPrecondition, SaxError

LOOK_S = 1.0
FILE_BYTES_MAX = 4 << 20

_ValueT = TypeVar("_ValueT")
_Signature = tuple[tuple[int, int, int], ...]


class Watched(Generic[_ValueT]):
    """A value that is parsed from files. `parse` takes their contents in order and raises SaxError."""

    def __init__(
        self,
        paths: Sequence[str],
        parse: Callable[[Sequence[bytes]], _ValueT],
        *,
        is_secret: bool = False,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files now. Raises FailedPrecondition, or what `parse` raises.

        `is_secret` refuses files that every user of this machine may read.
        """
        self._paths = [Path(path).expanduser() for path in paths]
        self._parse = parse
        self._is_secret = is_secret
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._look_at_s = monotonic_s() + LOOK_S
        self._signature = self._sign()
        self._value = self._read()
        self.generation = 1

    def get(self) -> _ValueT:
        """Return the newest good value."""
        return self.versioned()[0]

    def versioned(self) -> tuple[_ValueT, int]:
        """Return the newest good value and how often it was read; another number means another value."""
        if self._monotonic_s() >= self._look_at_s:
            with self._lock:
                self._look()
        return self._value, self.generation

    def _look(self) -> None:
        # Here, for saxutil follows two small files for a second and never comes to a log line.
        from sax_runtime.logs import get_logger  # noqa: PLC0415

        log = get_logger(__name__)
        self._look_at_s = self._monotonic_s() + LOOK_S
        try:
            signature = self._sign()
            if signature == self._signature:
                return
            self._signature = signature
            self._value = self._read()
        except SaxError as error:
            log.warning("a file changed and cannot be used; the old one stays in force", reason=str(error))
            return
        self.generation += 1
        log.info("a file changed and is in force now", files=[str(path) for path in self._paths])

    def _sign(self) -> _Signature:
        found = []
        for path in self._paths:
            try:
                status = path.stat()
            except OSError as error:
                self._signature = ()
                raise FailedPrecondition(f"cannot read {path}: {error.strerror}") from error
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)

    def _read(self) -> _ValueT:
        return self._parse([read_small(path, is_secret=self._is_secret) for path in self._paths])


def read_small(path: Path, *, is_secret: bool) -> bytes:
    """Read a file of a few kilobytes; FailedPrecondition says why it cannot be used.

    A secret must not be readable or writable by users outside its owner and group.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            if is_secret and mode & (stat.S_IROTH | stat.S_IWOTH):
                raise FailedPrecondition(
                    f"{path} is a secret that every user of this machine may read (mode {mode:04o}): "
                    "chmod 0600, or 0400 in the secret's defaultMode"
                )
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FailedPrecondition(f"cannot read {path}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise FailedPrecondition(f"{path} is longer than {FILE_BYTES_MAX} bytes")
    return content
