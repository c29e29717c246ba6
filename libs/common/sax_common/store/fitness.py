"""Is this file system fit to hold a cell's objects? Asked once per process, before the first change.

Three questions, each answered by trying or by the kernel's own table, never by the name of a vendor's
product: does link(2) work (create-once rests on it), do modification times keep nanoseconds (generations
rest on them), and is the file system one of this machine alone (locks and caches rest on that)?
"""

import os
import tempfile
from pathlib import Path

from sax_common.errors import FailedPrecondition

SHARED_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "afs", "fuse.gcsfuse", "fuse.sshfs", "fuse.s3fs"}
)
"""File system types that several machines write at once, without the promises of one kernel."""

ADVICE = "Use a local directory or a gs:// bucket as root."

# A time that only a file system with nanoseconds can keep.
_PROBE_NS = 1_700_000_000_123_456_789


def check_fitness(folder: Path, *, is_shared_fs_allowed: bool = False) -> None:
    """Return when files in this (existing, writable) folder can be objects, or raise FailedPrecondition."""
    kind = file_system_type(folder, _mounts())
    if kind in SHARED_TYPES and not is_shared_fs_allowed:
        raise FailedPrecondition(f"{folder} is on {kind}, which several machines can write at once. {ADVICE}")
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as probe:
        source = Path(probe, "source")
        source.touch()
        os.utime(source, ns=(_PROBE_NS, _PROBE_NS))
        if source.stat().st_mtime_ns != _PROBE_NS:
            raise FailedPrecondition(f"{folder} does not keep file times to the nanosecond. {ADVICE}")
        try:
            Path(probe, "target").hardlink_to(source)
        except OSError as error:
            raise FailedPrecondition(
                f"{folder} does not support link(2): {error.strerror}. {ADVICE}"
            ) from error


def file_system_type(folder: Path, mounts: str) -> str:
    """Say which type of file system a folder is on, from /proc/self/mountinfo's text; empty when unknown."""
    resolved = folder.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, separator, right = line.partition(" - ")
        columns = left.split()
        if not separator or len(columns) < 5:  # noqa: PLR2004 -- Column 5 is the mount point (man 5 proc).
            continue
        point = Path(columns[4].encode().decode("unicode_escape"))
        if (point == resolved or point in resolved.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split()[0]
    return kind


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # Not Linux: the two probes decide alone.
        return ""
