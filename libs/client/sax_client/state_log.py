"""The state records of a cell, read by people: check them, tell their history, go back, export.

No admin server is needed, and none is asked: the records are the truth. `restore` writes one more record as a
new leader would: numbers go on, terms rise, nothing is overwritten. An admin that leads at that moment finds
its next number taken by somebody else, steps down, and whoever leads next goes on from the restored
state.
"""

from __future__ import annotations

import getpass
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from sax_common import roots
from sax_common.errors import Aborted, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from sax_common.sealed import seal, unseal
from sax_common.store.port import Conflict
from saxml.protobuf import admin_pb2, state_pb2

if TYPE_CHECKING:
    from sax_common.names import CellName
    from sax_common.store.port import ObjectStore

# The newest record version whose meaning this program knows (sax_admin.core.cell).
RECORD_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One change as the records remember it. `client` is a principal or the address that asked."""

    sequence: int
    unix_ms: int
    kind: str
    subject: str
    client: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a check found: how many records, the newest, and what is wrong (nothing, one hopes)."""

    records: int
    newest: int
    term: int
    models: int
    wrong: tuple[str, ...]


class StateLog:
    """The records of one cell in its fs_root. Holds no state; the caller closes the store."""

    def __init__(self, store: ObjectStore, cell: CellName) -> None:
        self._store = store
        self._cell = cell

    async def sequences(self) -> list[int]:
        """Return the numbers of all records there are, ascending."""
        names = await self._store.list(roots.state_prefix(self._cell))
        return sorted(number for name in names if (number := roots.slot_of(name)) is not None)

    async def read(self, sequence: int) -> tuple[state_pb2.StateRecord, int]:
        """Read one record and its checksum. Raises NotFound, DataLoss."""
        found = await self._store.read(roots.state_name(self._cell, sequence))
        if found is None:
            raise NotFound(f"{self._cell} has no state record {sequence}")
        try:
            payload, crc = unseal(found.data)
            return state_pb2.StateRecord.FromString(payload), crc
        except (DataLoss, DecodeError) as error:
            raise DataLoss(f"state record {sequence} of {self._cell} is damaged: {error}") from error

    async def newest(self) -> tuple[state_pb2.StateRecord, int]:
        """Read the newest record. Raises NotFound when there is none."""
        numbers = await self.sequences()
        if not numbers:
            raise NotFound(f"{self._cell} has no state records: no admin server has led it yet")
        return await self.read(numbers[-1])

    async def verify(self, cell_uid: str = "") -> Findings:
        """Read all records and check each, and each against the one before."""
        numbers = await self.sequences()
        wrong: list[str] = []
        before: tuple[state_pb2.StateRecord, int] | None = None
        for sequence in numbers:
            try:
                now = await self.read(sequence)
            except DataLoss as error:
                wrong.append(error.message)
                before = None
                continue
            wrong += _suspicious(sequence, now[0], before, cell_uid)
            before = now
        newest = before[0] if before is not None else state_pb2.StateRecord()
        return Findings(
            records=len(numbers),
            newest=newest.sequence,
            term=newest.term,
            models=len(newest.models),
            wrong=tuple(wrong),
        )

    async def history(self) -> list[Operation]:
        """Return the changes that the newest record remembers (10 000 at most), newest first."""
        record, _ = await self.newest()
        return [
            Operation(
                sequence=operation.sequence,
                unix_ms=operation.unix_ms,
                kind=operation.kind,
                subject=operation.model_id or operation.server,
                client=operation.client,
            )
            for operation in reversed(record.operations)
        ]

    async def restore(self, sequence: int) -> int:
        """Make the models of an older record wanted again; return the number of the record that says so.

        Raises Aborted when somebody else wrote meanwhile: look again. Servers, marks and what was applied
        stay as they are.
        """
        newest, crc = await self.newest()
        if newest.min_reader_version > RECORD_VERSION:
            raise FailedPrecondition(
                f"the newest record needs a program of record version {newest.min_reader_version}"
            )
        if sequence >= newest.sequence:
            raise InvalidArgument(f"record {sequence} is the newest already; name an older one")
        old, _ = await self.read(sequence)
        record = state_pb2.StateRecord()
        record.CopyFrom(newest)
        record.sequence, record.term = newest.sequence + 1, newest.term + 1
        record.previous_crc32c, record.written_unix_ms = crc, int(time.time() * 1000)
        record.leader_address = ""
        _put_models(record, old)
        record.operations.add(
            operation_id=f"restore-{sequence}-{record.written_unix_ms}",
            sequence=record.sequence,
            kind="restore",
            client=f"{getpass.getuser()} (saxutil)",
            unix_ms=record.written_unix_ms,
        )
        try:
            name = roots.state_name(self._cell, record.sequence)
            await self._store.create(name, seal(record.SerializeToString())[0])
        except Conflict as error:
            raise Aborted(
                f"record {record.sequence} was written by somebody else just now; look again"
            ) from error
        return int(record.sequence)

    async def export_original(self) -> int:
        """Write the newest models as an original admin's `state.proto`; return how many there are."""
        record, _ = await self.newest()
        state = admin_pb2.State(models=record.models)
        await self._store.write(roots.original_state_name(self._cell), state.SerializeToString())
        return len(record.models)


def _put_models(record: state_pb2.StateRecord, old: state_pb2.StateRecord) -> None:
    """Replace the models of `record` by those of `old`; what differs gets a new generation."""
    now = {model.model_id: model.SerializeToString(deterministic=True) for model in record.models}
    del record.models[:]
    for model in old.models:
        kept = record.models.add()
        kept.CopyFrom(model)
        if now.get(model.model_id) != model.SerializeToString(deterministic=True):
            kept.generation = record.sequence


def _suspicious(
    sequence: int,
    record: state_pb2.StateRecord,
    before: tuple[state_pb2.StateRecord, int] | None,
    cell_uid: str,
) -> list[str]:
    """Say what is wrong with a record that can be read."""
    wrong = []
    if record.sequence != sequence:
        wrong.append(f"record {sequence} says that it is record {record.sequence}")
    if cell_uid and record.cell_uid != cell_uid:
        wrong.append(f"record {sequence} belongs to the cell with uid {record.cell_uid}, not {cell_uid}")
    if record.min_reader_version > RECORD_VERSION:
        wrong.append(f"record {sequence} needs a program of record version {record.min_reader_version}")
    if before is None:
        return wrong
    last, crc = before
    if sequence != last.sequence + 1:
        wrong.append(f"records {last.sequence + 1} to {sequence - 1} are missing")
    elif record.previous_crc32c != crc:
        wrong.append(f"record {sequence} does not follow from record {last.sequence}: checksums differ")
    if record.term < last.term:
        wrong.append(f"record {sequence} has term {record.term}, lower than the {last.term} before it")
    return wrong
