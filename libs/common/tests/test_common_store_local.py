import asyncio
import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_common.store import local
from sax_common.store.fitness import check_fitness, file_system_type
from sax_common.store.local import LocalStore
from sax_common.store.open import open_store
from sax_common.store.port import NotDurable, StoreFull, StoreUnavailable
from sax_testing.store_suite import StoreSuite

# One racer of `test_processes_*`: waits for a common start, then creates slots and counts up one object.
RACER = """
import asyncio, sys, time
from sax_common.store.local import LocalStore
from sax_common.store.port import Conflict

async def main(root, start, slots, increments):
    store = LocalStore(root)
    time.sleep(max(0, start - time.time()))
    won = 0
    for slot in range(slots):
        try:
            await store.create(f"state/{slot:020d}", sys.argv[1].encode())
            won += 1
        except Conflict:
            pass
    for _ in range(increments):
        while True:
            found = await store.read("count")
            try:
                await store.replace("count", b"%d" % (int(found.data) + 1), generation=found.generation)
                break
            except Conflict:
                pass
    print(won)
    await store.close()

asyncio.run(main(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
"""


@pytest.fixture
async def store(tmp_path):
    """A store in an empty directory that does not exist yet."""
    store = LocalStore(tmp_path / "deep" / "root")
    yield store
    await store.close()


class TestLocalStore(StoreSuite):
    """A directory keeps every promise of the port."""

    @pytest.fixture
    async def store(self, store):
        """Give the suite this store."""
        return store

    @pytest.fixture
    async def peer(self, tmp_path):
        """Open the same directory a second time."""
        peer = LocalStore(tmp_path / "deep" / "root")
        yield peer
        await peer.close()


@pytest.mark.processes
async def test_processes_race_safely(tmp_path):
    """Two real processes: each slot is won once, and no increment by compare-and-swap is lost."""
    store = LocalStore(tmp_path)
    await store.create("count", b"0")
    slots, increments = 30, 40
    start = str(time.time() + 2)
    racers = [
        subprocess.Popen(  # noqa: ASYNC220 -- Starting is short; waiting is in a thread.
            [sys.executable, "-c", RACER, name, tmp_path, start, str(slots), str(increments)],
            stdout=subprocess.PIPE,
        )
        for name in "AB"
    ]
    won = [int((await asyncio.to_thread(racer.communicate))[0]) for racer in racers]
    assert sum(won) == slots
    found = await store.read("count")
    assert int(found.data) == 2 * increments
    assert len(await store.list("state/")) == slots
    await store.close()


async def test_objects_are_plain_files(store, tmp_path):
    """Original programs find the bytes where they expect them, readable by all."""
    await store.write("sax/test/location.proto", b"x")
    path = tmp_path / "deep/root/sax/test/location.proto"
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o644


async def test_foreign_write_is_noticed(store, tmp_path):
    """An original program that writes the file in place changes the generation, even with the same bytes."""
    generation = await store.write("location", b"same")
    (tmp_path / "deep/root/location").write_bytes(b"same")
    assert (await store.read("location")).generation != generation


async def test_own_and_foreign_files_are_not_listed(store, tmp_path):
    """Temporary files, the lock, and files whose names are no object names do not show up."""
    await store.write("a", b"")
    (tmp_path / "deep/root/with space").touch()
    (tmp_path / "deep/root/.hidden").touch()
    assert await store.list("") == ["a"]


async def test_nothing_is_left_behind(store, tmp_path):
    """After success and conflict alike no temporary file remains."""
    generation = await store.create("a", b"")
    with pytest.raises(local.Conflict):
        await store.create("a", b"")
    await store.replace("a", b"", generation=generation)
    assert [path.name for path in (tmp_path / "deep/root/.sax-store").iterdir()] == ["lock"]


async def test_old_temporary_files_are_swept(tmp_path):
    """A new process removes what a crashed one left an hour ago, and not what is fresh."""
    own = tmp_path / ".sax-store"
    own.mkdir()
    for name, age_s in (("new-old", 7200), ("new-fresh", 60)):
        (own / name).touch()
        os.utime(own / name, (time.time() - age_s,) * 2)
    store = LocalStore(tmp_path)
    await store.write("a", b"")
    assert sorted(path.name for path in own.iterdir()) == ["lock", "new-fresh"]
    await store.close()


async def test_full_disk_changes_nothing(store, monkeypatch):
    """ENOSPC is StoreFull; the old object is intact, and writing works again when there is space."""
    await store.write("a", b"old")

    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "fsync", lambda _: None)
        patch.setattr(local.os, "utime", lambda *_, **__: refuse(None))
        with pytest.raises(StoreFull, match="free some space"):
            await store.write("a", b"new")
    assert (await store.read("a")).data == b"old"
    await store.write("a", b"new")


async def test_fsync_error_before_publishing_changes_nothing(store, monkeypatch):
    """When the disk refuses the bytes the object is as before, and surely so."""
    await store.write("a", b"old")

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "fsync", refuse)
        with pytest.raises(StoreUnavailable):
            await store.write("a", b"new")
    assert (await store.read("a")).data == b"old"


async def test_fsync_error_of_the_folder_is_not_durable(store, monkeypatch):
    """When only the folder's fsync fails, the caller learns that reading back proves nothing."""
    await store.write("a", b"old")

    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(local, "_sync_folder", refuse)
        with pytest.raises(NotDurable):
            await store.write("a", b"new")


async def test_held_lock_delays_and_refuses(store, tmp_path, monkeypatch):
    """A stopped holder of the lock makes changes fail after a bound, but not reads and creates."""
    generation = await store.write("a", b"")
    monkeypatch.setattr(local, "LOCK_WAIT_S", 0.1)
    with (tmp_path / "deep/root/.sax-store/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="lock"):
            await store.replace("a", b"", generation=generation)
        assert await store.create("b", b"")
    assert await store.replace("a", b"", generation=generation)


async def test_file_system_without_link_is_refused(store, monkeypatch):
    """Where link(2) does not work the first change says so and what to use instead; nothing is written."""

    def refuse(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FailedPrecondition, match=r"link\(2\).*local directory or a gs:// bucket"):
        await store.write("a", b"")
    assert await store.list("") == []


def test_file_system_without_nanoseconds_is_refused(tmp_path, monkeypatch):
    """Where file times are coarse, generations would repeat; the reason is given."""
    real = os.utime
    monkeypatch.setattr(
        os, "utime", lambda path, _=None, *, ns=(0, 0): real(path, ns=(0, ns[1] // 10**9 * 10**9))
    )
    with pytest.raises(FailedPrecondition, match="nanosecond"):
        check_fitness(tmp_path)


def test_network_file_system_is_refused_unless_allowed(tmp_path, monkeypatch):
    """A root on NFS is refused with the type's name; a flag lets it pass."""
    line = f"1 1 0:1 / {tmp_path} rw - nfs4 server:/export rw"
    monkeypatch.setattr("sax_common.store.fitness._mounts", lambda: line)
    with pytest.raises(FailedPrecondition, match="nfs4"):
        check_fitness(tmp_path)
    check_fitness(tmp_path, is_shared_fs_allowed=True)


def test_longest_mount_point_decides():
    """The type is that of the nearest mount above the folder; spaces in mount points are understood."""
    mounts = "1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / /a\\040b rw shared:1 - fuse.gcsfuse d rw\nbroken"
    assert file_system_type(Path("/a b/c"), mounts) == "fuse.gcsfuse"
    assert file_system_type(Path("/c"), mounts) == "ext4"


async def test_folder_in_place_of_an_object_is_refused(store):
    """A name that is a folder already is a clear error, not a stack trace."""
    await store.write("a/b", b"")
    with pytest.raises(FailedPrecondition, match="folder"):
        await store.write("a", b"")
    with pytest.raises(FailedPrecondition, match="folder"):
        await store.write("a/b/c", b"")


@pytest.mark.parametrize("root", ["", "s3://bucket/x", "gs://", "gs:///x"])
def test_malformed_roots_are_refused(root):
    """Only a directory or a bucket can be a root."""
    with pytest.raises(InvalidArgument):
        open_store(root)
