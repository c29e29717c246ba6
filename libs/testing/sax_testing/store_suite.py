"""What every object store must do: one suite, subclassed once per adapter.

    class TestMemoryStore(StoreSuite):
        @pytest.fixture
        async def store(self) -> AsyncIterator[ObjectStore]:
            yield MemoryStore()

`store` gives an empty store. An adapter that processes share also fills `peer`, a second, independent store
over the same objects; by default it is the same one. A test that needs more than the port promises does not
belong here.
"""

import asyncio

import pytest
from sax_common.errors import InvalidArgument
from sax_common.store.port import Conflict, ObjectStore

ILLEGAL_NAMES = (
    "",
    "/a",
    "a/",
    "a//b",
    "..",
    "a/../b",
    "./a",
    "a/.hidden",
    "a b",
    "a\\b",
    "a\n",
    "ä",
    "a" * 600,
)
RACERS = 8


class StoreSuite:
    """Subclass with a `store` fixture (and a `peer` fixture when processes can share the objects)."""

    @pytest.fixture
    def peer(self, store: ObjectStore) -> ObjectStore:
        """Another way to the same objects."""
        return store

    async def test_absent_object_reads_as_none(self, store: ObjectStore) -> None:
        """Reading a name that nobody wrote gives None and is no error."""
        assert await store.read("a/b") is None

    async def test_created_object_is_read_back(self, store: ObjectStore, peer: ObjectStore) -> None:
        """What was created is seen by everyone, with the generation that create returned."""
        generation = await store.create("a/b", b"\x00bytes\xff")
        found = await peer.read("a/b")
        assert found is not None
        assert (found.data, found.generation) == (b"\x00bytes\xff", generation)

    async def test_empty_object_exists(self, store: ObjectStore) -> None:
        """An object of no bytes is an object."""
        generation = await store.write("empty", b"")
        found = await store.read("empty")
        assert found is not None
        assert (found.data, found.generation) == (b"", generation)

    async def test_second_create_conflicts(self, store: ObjectStore, peer: ObjectStore) -> None:
        """A name can be created once; the loser changes nothing."""
        await store.create("slot", b"first")
        with pytest.raises(Conflict):
            await peer.create("slot", b"second")
        found = await store.read("slot")
        assert found is not None
        assert found.data == b"first"

    async def test_create_race_has_one_winner(self, store: ObjectStore, peer: ObjectStore) -> None:
        """Of many creates of one name at once exactly one wins, and its bytes stay."""
        stores = [store, peer] * (RACERS // 2)
        results = await asyncio.gather(
            *(each.create("race", b"%d" % number) for number, each in enumerate(stores)),
            return_exceptions=True,
        )
        winners = [number for number, result in enumerate(results) if isinstance(result, str)]
        assert len(winners) == 1
        assert all(isinstance(result, str | Conflict) for result in results)
        found = await store.read("race")
        assert found is not None
        assert found.data == b"%d" % winners[0]

    async def test_replace_needs_the_current_generation(self, store: ObjectStore, peer: ObjectStore) -> None:
        """A change from an old generation conflicts; from the current one it works."""
        old = await store.create("lease", b"1")
        new = await peer.replace("lease", b"2", generation=old)
        with pytest.raises(Conflict):
            await store.replace("lease", b"3", generation=old)
        found = await store.read("lease")
        assert found is not None
        assert (found.data, found.generation) == (b"2", new)

    async def test_replace_race_has_one_winner(self, store: ObjectStore, peer: ObjectStore) -> None:
        """Of many changes from one generation exactly one wins."""
        generation = await store.create("lease", b"")
        stores = [store, peer] * (RACERS // 2)
        results = await asyncio.gather(
            *(each.replace("lease", b"x", generation=generation) for each in stores), return_exceptions=True
        )
        assert sum(isinstance(result, str) for result in results) == 1
        assert all(isinstance(result, str | Conflict) for result in results)

    async def test_the_same_bytes_again_are_another_generation(self, store: ObjectStore) -> None:
        """A change from A to B and back to A is noticed by one who saw the first A (no ABA)."""
        first = await store.write("lease", b"A")
        later = [await store.write("lease", data) for data in (b"B", b"A", b"B", b"A")]
        assert len({first, *later}) == len(later) + 1
        with pytest.raises(Conflict):
            await store.replace("lease", b"C", generation=first)

    async def test_generation_of_a_deleted_object_is_dead(self, store: ObjectStore) -> None:
        """A generation does not come back with a new object of the same name and bytes."""
        old = await store.create("lease", b"A")
        await store.delete("lease")
        with pytest.raises(Conflict):
            await store.replace("lease", b"B", generation=old)
        assert await store.create("lease", b"A") != old
        with pytest.raises(Conflict):
            await store.replace("lease", b"B", generation=old)

    async def test_replace_of_an_absent_object_conflicts(self, store: ObjectStore) -> None:
        """An object that is gone cannot be changed, whatever the generation says."""
        with pytest.raises(Conflict):
            await store.replace("gone", b"", generation="1")
        assert await store.read("gone") is None

    async def test_write_needs_no_generation(self, store: ObjectStore, peer: ObjectStore) -> None:
        """An unconditional write makes the object or changes it."""
        await store.write("location", b"one")
        generation = await peer.write("location", b"two")
        found = await store.read("location")
        assert found is not None
        assert (found.data, found.generation) == (b"two", generation)

    async def test_readers_never_see_a_torn_object(self, store: ObjectStore, peer: ObjectStore) -> None:
        """While an object is being written over and over, each read gives one whole version of it."""
        size = 200_000
        await store.write("big", b"0" * size)

        async def write_all() -> None:
            for digit in b"123456789":
                await store.write("big", bytes([digit]) * size)

        writer = asyncio.create_task(write_all())
        reads = 0
        while not writer.done() or reads == 0:
            found = await peer.read("big")
            assert found is not None
            assert len(found.data) == size
            assert len(set(found.data)) == 1
            reads += 1
            await asyncio.sleep(0)  # A store that never waits must let the writer run.
        await writer

    async def test_list_is_sorted_and_by_prefix(self, store: ObjectStore, peer: ObjectStore) -> None:
        """Names come in ascending order, from all levels, only those with the prefix, whole parts or not."""
        names = ["s/c/state/2", "s/c/state/10", "s/c/lease", "s/c-d/lease", "s/d/x/y"]
        for name in names:
            await store.write(name, b"")
        assert await peer.list("") == sorted(names)
        assert await peer.list("s/c/") == ["s/c/lease", "s/c/state/10", "s/c/state/2"]
        assert await peer.list("s/c") == ["s/c-d/lease", "s/c/lease", "s/c/state/10", "s/c/state/2"]
        assert await peer.list("s/c/state/1") == ["s/c/state/10"]
        assert await peer.list("nothing/") == []

    async def test_list_starts_after_a_name(self, store: ObjectStore) -> None:
        """`start_after` itself is left out, and need not exist."""
        for slot in range(5):
            await store.create(f"state/{slot:020d}", b"")
        assert await store.list("state/", start_after=f"state/{2:020d}") == [
            f"state/{n:020d}" for n in (3, 4)
        ]
        assert await store.list("state/", start_after="state/00000000000000000003x") == [f"state/{4:020d}"]

    async def test_delete_of_an_absent_object_is_fine(self, store: ObjectStore, peer: ObjectStore) -> None:
        """Deleting twice, or what never was, is no error; afterwards the object is gone for everyone."""
        await store.delete("never/was")
        await store.create("once", b"")
        await store.delete("once")
        await store.delete("once")
        assert await peer.read("once") is None
        assert await peer.list("") == []

    @pytest.mark.parametrize("name", ILLEGAL_NAMES)
    async def test_illegal_names_are_refused(self, store: ObjectStore, name: str) -> None:
        """A name that could leave the root, or that some store cannot hold, is refused by every method."""
        for call in (
            store.read(name),
            store.create(name, b""),
            store.replace(name, b"", generation="1"),
            store.write(name, b""),
            store.delete(name),
        ):
            with pytest.raises(InvalidArgument):
                await call
        assert await store.list("") == []

    @pytest.mark.parametrize("prefix", ["/", "../", "a/../", ".", "a//"])
    async def test_illegal_prefixes_are_refused(self, store: ObjectStore, prefix: str) -> None:
        """A prefix that no legal name can begin with is refused: a typing error is not an empty list."""
        with pytest.raises(InvalidArgument):
            await store.list(prefix)

    async def test_closing_twice_is_fine(self, store: ObjectStore) -> None:
        """Shutdown paths may meet."""
        await store.close()
        await store.close()
