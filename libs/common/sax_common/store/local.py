"""An object store in a directory of this machine: plain files that original programs can read too.

The life of a write: the bytes go to a temporary file in `<root>/.sax-store/`, which gets its generation
and is fsynced; only then does it appear under its name, by link(2) when it must be new (exactly one
wins, no lock) or by rename(2) when it replaces something (under the lock, after looking at the
generation); then the directory is fsynced. So a reader finds the old file or the new one, never a part,
and a crash leaves at most a temporary file, which a later process sweeps away after an hour.

A generation is the file's modification time in nanoseconds with its inode number: it arrives together
with the bytes, needs no second file, and also changes when an original program writes the file in place.
The time is drawn so that it never repeats: it only grows within a process, and two processes that draw
the same nanosecond hold two different inodes. (Content hashes were no choice: they cannot tell A-B-A.
Extended attributes neither: tmpfs and NFS lack them.)

The lock is flock(2) on `<root>/.sax-store/lock`, held for a stat and a rename, never during an fsync. A
process that is stopped exactly there delays others for 2 s each (then StoreUnavailable), but never
`create` or `read`.

Before its first change the store proves that the file system is fit: link(2) works, times keep
nanoseconds, and it is none that is shared between machines (locks and caches of NFS and gcsfuse do not
keep the promises).

What is not promised: `fsync` may take as long as the disk likes. All of this runs in four threads of the
store; a cancelled caller does not stop its thread.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sax_common.errors import FailedPrecondition, PermissionDenied, SaxError
from sax_common.store.fitness import check_fitness
from sax_common.store.port import (
    Conflict,
    NotDurable,
    OutcomeUnknown,
    StoredObject,
    StoreFull,
    StoreUnavailable,
    check_name,
    check_prefix,
    is_name,
)

T = TypeVar("T")

THREADS = 4
LOCK_WAIT_S = 2.0
LOCK_POLL_S = 0.002
STALE_S = 3600.0
OWN_FOLDER = ".sax-store"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_MISPLACED = frozenset({errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


class _Stamps:
    """Draws modification times that never repeat in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_ns = 0

    def draw_ns(self) -> int:
        with self._lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return self._last_ns


_stamps = _Stamps()


class LocalStore:
    """Objects as files below a root directory, which the first change makes. Many processes may share it.

    `is_shared_fs_allowed` lets a network file system pass; several machines may then break promises.
    """

    def __init__(self, root: str | os.PathLike[str], *, is_shared_fs_allowed: bool = False) -> None:
        self._root = Path(root).absolute()
        self._own = self._root / OWN_FOLDER
        self._is_shared_fs_allowed = is_shared_fs_allowed
        self._is_fit = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sax-store")

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None when it does not exist."""
        path = self._root / check_name(name)
        return await self._run(lambda: self._read(path))

    async def create(self, name: str, data: bytes) -> str:
        """Make a new object. Raises Conflict when the name exists."""
        path = self._root / check_name(name)
        return await self._run(lambda: self._put(path, data, self._link))

    async def replace(self, name: str, data: bytes, *, generation: str) -> str:
        """Change an object from `generation`. Raises Conflict when it changed or is gone."""
        path = self._root / check_name(name)

        def publish(source: Path, target: Path) -> None:
            with self._locked():
                found = _generation_of(target)
                if found != generation:
                    at = f"at generation {found}" if found else "gone"
                    raise Conflict(f"{target} is {at}, not at generation {generation}.")
                source.rename(target)

        return await self._run(lambda: self._put(path, data, publish))

    async def write(self, name: str, data: bytes) -> str:
        """Make or change an object, whatever was there."""
        path = self._root / check_name(name)

        def publish(source: Path, target: Path) -> None:
            with self._locked():  # Not between another's look at the generation and its rename.
                source.rename(target)

        return await self._run(lambda: self._put(path, data, publish))

    async def list(self, prefix: str, *, start_after: str = "") -> list[str]:
        """List names with this prefix after `start_after`, in ascending order."""
        check_prefix(prefix)
        return await self._run(lambda: list(self._names(prefix, start_after)))

    async def delete(self, name: str) -> None:
        """Remove an object; it is fine when there is none."""
        path = self._root / check_name(name)
        await self._run(lambda: self._delete(path))

    async def close(self) -> None:
        """Let running operations end and stop the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _read(self, path: Path) -> StoredObject | None:
        try:
            # Files are replaced, not changed in place: one descriptor, one generation.
            with path.open("rb") as file:
                return StoredObject(file.read(), _generation(os.fstat(file.fileno())))
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise _not_applied(f"read {path}", error) from error

    def _put(self, path: Path, data: bytes, publish: Callable[[Path, Path], None]) -> str:
        try:
            self._prepare(path.parent)
            descriptor, temporary = tempfile.mkstemp(dir=self._own, prefix="new-")
        except OSError as error:
            raise _not_applied(f"write {path}", error) from error
        try:
            generation = _fill(descriptor, data)
            publish(Path(temporary), path)
        except OSError as error:
            raise _not_applied(f"write {path}", error) from error
        finally:
            with contextlib.suppress(OSError):  # Renamed away, or swept later.
                Path(temporary).unlink()
        self._sync_published(path)
        return generation

    @staticmethod
    def _link(source: Path, target: Path) -> None:
        try:
            target.hardlink_to(source)
        except FileExistsError as error:
            raise Conflict(f"{target} exists already.") from error

    def _delete(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            self._prepare(None)
            with self._locked():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise _not_applied(f"delete {path}", error) from error
        self._sync_published(path)

    def _sync_published(self, path: Path) -> None:
        try:
            _sync_folder(path.parent)
        except OSError as error:
            raise NotDurable(f"{path} was changed, but fsync of its folder failed: {error}") from error

    def _names(self, prefix: str, start_after: str) -> Sequence[str]:
        folder, _, _ = prefix.rpartition("/")
        try:
            names = list(_names_below(self._root, folder))
        except OSError as error:
            raise _not_applied(f"list {self._root / folder}", error) from error
        return sorted(name for name in names if name.startswith(prefix) and name > start_after)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._own / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            give_up = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= give_up:
                        raise StoreUnavailable(
                            f"{self._own / 'lock'} was held for {LOCK_WAIT_S} s; is its holder stopped?"
                        ) from error
                    time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(descriptor)  # Also unlocks.

    def _prepare(self, folder: Path | None) -> None:
        """Make the folders that a change needs, and prove once that the file system is fit."""
        if not self._is_fit:
            _make_folders(self._own)
            _sweep(self._own)
            check_fitness(self._own, is_shared_fs_allowed=self._is_shared_fs_allowed)
            self._is_fit = True
        if folder is not None:
            _make_folders(folder)


def _fill(descriptor: int, data: bytes) -> str:
    """Write a temporary file durably, close it, and return the generation that it will have."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, 0o644)  # As the original's; mkstemp makes files that only the owner reads.
        stamp_ns = _stamps.draw_ns()
        os.utime(descriptor, ns=(stamp_ns, stamp_ns))
        try:
            os.fsync(descriptor)
        except OSError as error:  # Nobody saw this file; a later try writes another one.
            raise StoreUnavailable(
                f"The disk refused to keep {len(data)} bytes: {error.strerror}."
            ) from error
        return _generation(os.fstat(descriptor))


def _generation(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_ino}"


def _names_below(root: Path, folder: str) -> Iterator[str]:
    """Give the names of all objects at or below a folder; files that cannot be objects are left out."""
    try:
        entries = list(os.scandir(root / folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.name != OWN_FOLDER and entry.is_dir(follow_symlinks=False):
            yield from _names_below(root, name)
        elif entry.is_file() and is_name(name):
            yield name


def _generation_of(path: Path) -> str | None:
    try:
        return _generation(path.stat())
    except FileNotFoundError:
        return None


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents so that they survive a power loss."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove what crashed processes left behind more than an hour ago."""
    for path in folder.glob("new-*"):
        with contextlib.suppress(OSError):  # Another process may sweep too.
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()


def _not_applied(action: str, error: OSError) -> SaxError:
    """Say in the port's words what an error means that came before anything was visible."""
    message = f"Could not {action}: {error.strerror or error}."
    if error.errno in _FULL:
        return StoreFull(f"{message} Nothing was changed; free some space.")
    if error.errno in _REFUSED:
        return PermissionDenied(f"{message} Nothing was changed.")
    if error.errno in _MISPLACED:
        return FailedPrecondition(f"{message} A folder is where an object should be, or the reverse.")
    if error.errno == errno.EIO:  # Of a rename or link, the only case in which even the kernel cannot say.
        return OutcomeUnknown(message)
    return StoreUnavailable(message)
