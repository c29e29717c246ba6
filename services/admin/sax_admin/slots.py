"""The durable objects of a cell in its object store: the lease and the numbered state records.

Every outcome of a call is told as one of the machine's events; see `sax_admin.core.events`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sax_common import errors, roots
from sax_common.store.port import Conflict, NotDurable, OutcomeUnknown
from sax_runtime import metrics

from sax_admin import record as codec
from sax_admin import wire_cell
from sax_admin.core.events import (
    LeaseConflict,
    LeaseRead,
    LeaseUnavailable,
    LeaseUnknown,
    LeaseWritten,
    SlotRead,
    SlotRefused,
    SlotUnknown,
    SlotWritten,
    StateFound,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sax_common.names import CellName
    from sax_common.store.port import ObjectStore

    from sax_admin.core.cell import ModelSpec, Record, Term
    from sax_admin.core.events import WriteLease


class Slots:
    """Lease and state records of one cell. Holds no state of its own but what was collected."""

    def __init__(self, store: ObjectStore, cell: CellName) -> None:
        """`store` is the cell's fs_root."""
        self._store = store
        self._cell = cell
        self._collecting_term: Term | None = None
        self._collected_below = 0

    # ---- The lease ----

    async def read_lease(self, attempt: int) -> LeaseRead | LeaseUnavailable:
        """Say what the lease object holds."""
        try:
            with _timed("read_lease"):
                found = await self._store.read(roots.lease_name(self._cell))
        except errors.SaxError as error:
            return LeaseUnavailable(attempt, error.message)
        if found is None:
            return LeaseRead(attempt, None, "")
        return LeaseRead(attempt, wire_cell.decode_lease(found.data), found.generation)

    async def write_lease(
        self, effect: WriteLease
    ) -> LeaseWritten | LeaseConflict | LeaseUnknown | LeaseUnavailable:
        """Change the lease object from the generation that the effect names."""
        name, data = roots.lease_name(self._cell), wire_cell.encode_lease(effect.lease)
        try:
            with _timed("write_lease"):
                if effect.generation is None:
                    generation = await self._store.create(name, data)
                else:
                    generation = await self._store.replace(name, data, generation=effect.generation)
        except Conflict:
            return LeaseConflict(effect.attempt)
        except OutcomeUnknown as error:
            return LeaseUnknown(effect.attempt, error.message)
        except errors.SaxError as error:
            return LeaseUnavailable(effect.attempt, error.message)
        return LeaseWritten(effect.attempt, generation)

    # ---- The records ----

    async def find_newest(self, term: Term, unix_ms: int, *, hint_sequence: int = 0) -> StateFound:
        """Read the newest record; when there is none, the models of an original's state file.

        Raises DataLoss for a damaged record: it may hold acknowledged changes, so a person must decide.
        """
        start_after = roots.state_name(self._cell, hint_sequence - 1) if hint_sequence else ""
        with _timed("list"):
            names = await self._store.list(roots.state_prefix(self._cell), start_after=start_after)
        numbers = [number for name in names if (number := roots.slot_of(name)) is not None]
        if not numbers and hint_sequence:
            return await self.find_newest(term, unix_ms)
        if not numbers:
            return StateFound(term, None, 0, await self._original_models(), unix_ms)
        found = await self.read(term, max(numbers))
        return StateFound(term, found.record, found.crc, (), unix_ms)

    async def _original_models(self) -> tuple[ModelSpec, ...]:
        with _timed("read"):
            found = await self._store.read(roots.original_state_name(self._cell))
        return codec.decode_original(found.data) if found else ()

    async def read(self, term: Term, sequence: int) -> SlotRead:
        """Say what a number holds. Raises StoreUnavailable without an answer, DataLoss when it is damaged."""
        name = roots.state_name(self._cell, sequence)
        with _timed("read"):
            found = await self._store.read(name)
        if found is None:
            return SlotRead(term, sequence, None, 0)
        try:
            record, crc = codec.decode(found.data)
        except errors.DataLoss as error:
            raise errors.DataLoss(
                f"{name} in the cell's fs_root is damaged: {error.message}. It may hold accepted changes; "
                "restore it from a backup, or move it away to go on from the record before it"
            ) from error
        return SlotRead(term, sequence, record, crc)

    async def create(self, term: Term, record: Record) -> SlotWritten | SlotRefused | SlotUnknown:
        """Write a record under its number unless the number is taken.

        Raises NotDurable when the disk failed to keep it: the process must end and never acknowledge it.
        """
        data, crc = codec.encode(record)
        try:
            with _timed("create"):
                await self._store.create(roots.state_name(self._cell, record.sequence), data)
        except NotDurable:
            raise
        except Conflict as error:
            return SlotRefused(term, record.sequence, is_taken=True, error=error)
        except OutcomeUnknown as error:
            return SlotUnknown(term, record.sequence, error.message)
        except errors.SaxError as error:
            return SlotRefused(term, record.sequence, is_taken=False, error=error)
        return SlotWritten(term, record.sequence, crc)

    async def collect(self, term: Term, below: int) -> None:
        """Delete the records with numbers lower than `below`; first look, once in a term, what is there."""
        if self._collecting_term != term:
            with _timed("list"):
                names = await self._store.list(roots.state_prefix(self._cell))
            numbers = [number for name in names if (number := roots.slot_of(name)) is not None]
            self._collecting_term, self._collected_below = term, min(numbers, default=below)
        for sequence in range(self._collected_below, below):
            with _timed("delete"):
                await self._store.delete(roots.state_name(self._cell, sequence))
            self._collected_below = sequence + 1


@contextmanager
def _timed(operation: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except errors.SaxError as error:
        metrics.STORE_ERRORS.labels(operation=operation, code=errors.kind(error).name).inc()
        raise
    finally:
        metrics.STORE_SECONDS.labels(operation=operation).observe(time.perf_counter() - started)
