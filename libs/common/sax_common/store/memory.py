"""An object store in memory: for tests, for a one-process cell, and as the plainest reading of the port.

Owned by one event loop: no method awaits anything, so each is atomic. Generations count up over all names
and are never used again, also after a delete.
"""

import itertools

from sax_common.store.port import Conflict, StoredObject, check_name, check_prefix


class MemoryStore:
    """Objects in a dictionary; gone with the process."""

    def __init__(self) -> None:
        self._objects: dict[str, StoredObject] = {}
        self._generations = itertools.count(1)

    async def read(self, name: str) -> StoredObject | None:
        """Read an object; None when it does not exist."""
        return self._objects.get(check_name(name))

    async def create(self, name: str, data: bytes) -> str:
        """Make a new object. Raises Conflict when the name exists."""
        if check_name(name) in self._objects:
            raise Conflict(f"Object {name} exists already.")
        return self._put(name, data)

    async def replace(self, name: str, data: bytes, *, generation: str) -> str:
        """Change an object from `generation`. Raises Conflict when it changed or is gone."""
        found = self._objects.get(check_name(name))
        if found is None or found.generation != generation:
            at = "gone" if found is None else f"at generation {found.generation}"
            raise Conflict(f"Object {name} is {at}, not at generation {generation}.")
        return self._put(name, data)

    async def write(self, name: str, data: bytes) -> str:
        """Make or change an object, whatever was there."""
        return self._put(check_name(name), data)

    async def list(self, prefix: str, *, start_after: str = "") -> list[str]:
        """List names with this prefix after `start_after`, in ascending order."""
        check_prefix(prefix)
        return sorted(name for name in self._objects if name.startswith(prefix) and name > start_after)

    async def delete(self, name: str) -> None:
        """Remove an object; it is fine when there is none."""
        self._objects.pop(check_name(name), None)

    async def close(self) -> None:
        """Do nothing: there is nothing to release, and what was stored stays readable."""

    def _put(self, name: str, data: bytes) -> str:
        generation = str(next(self._generations))
        self._objects[name] = StoredObject(bytes(data), generation)
        return generation
