"""State records as people read them: verify, history, restore, export."""

from __future__ import annotations

import pytest
from sax_client.state_log import StateLog
from sax_common import roots
from sax_common.errors import DataLoss, InvalidArgument, NotFound
from sax_common.names import parse_cell
from sax_common.sealed import seal, unseal
from sax_common.store.memory import MemoryStore
from saxml.protobuf import admin_pb2, state_pb2

CELL = parse_cell("/sax/test")


async def log_of(*records):
    """Write records as a leader does and return their log and store."""
    store, crc = MemoryStore(), 0
    for number, models in enumerate(records, 1):
        record = state_pb2.StateRecord(
            sequence=number, term=1, cell_uid="uid", previous_crc32c=crc, min_reader_version=1
        )
        for name in models:
            record.models.add(model_id=f"/sax/test/{name}", generation=number)
            operation = record.operations.add(
                operation_id=name, sequence=number, kind="publish", client="ann"
            )
            operation.model_id = f"/sax/test/{name}"
        data, crc = seal(record.SerializeToString())
        await store.create(roots.state_name(CELL, number), data)
    return StateLog(store, CELL), store


async def test_records_that_follow_from_each_other_are_well():
    """A healthy log has nothing wrong."""
    log, _ = await log_of([], ["a"], ["a", "b"])
    found = await log.verify("uid")
    assert (found.records, found.newest, found.models, found.wrong) == (3, 3, 2, ())


async def test_damage_gaps_strangers_and_breaks_are_found():
    """Each kind of wrong is told in a sentence that names the record."""
    log, store = await log_of([], ["a"], ["a"], ["b"])
    name = roots.state_name(CELL, 2)
    await store.write(name, (await store.read(name)).data[:-1])
    await store.delete(roots.state_name(CELL, 3))
    wrong = (await log.verify("other")).wrong
    assert any("record 2" in line and "damaged" in line for line in wrong)
    assert any("uid" in line for line in wrong)
    log, store = await log_of([], ["a"], ["b"])
    await store.delete(roots.state_name(CELL, 2))
    assert (await log.verify()).wrong == ("records 2 to 2 are missing",)


async def test_history_tells_who_changed_what_newest_first():
    """The newest record remembers all operations."""
    log, _ = await log_of([], ["a", "b"])
    assert [(each.subject, each.client) for each in await log.history()] == [
        ("/sax/test/b", "ann"),
        ("/sax/test/a", "ann"),
    ]


async def test_a_restore_is_one_more_record_with_the_old_models():
    """Nothing is overwritten: the number goes on, the term rises, and the history says what was done."""
    log, _ = await log_of(["a"], ["a", "b"])
    assert await log.restore(1) == 3
    record, _ = await log.newest()
    assert [(model.model_id, model.generation) for model in record.models] == [("/sax/test/a", 3)]
    assert (record.term, record.operations[-1].kind) == (2, "restore")
    assert (await log.verify("uid")).wrong == ()
    with pytest.raises(InvalidArgument):
        await log.restore(3)


async def test_the_export_is_what_an_original_admin_reads():
    """`state.proto` holds the newest models."""
    log, store = await log_of(["a"], ["b"])
    assert await log.export_original() == 1
    found = await store.read(roots.original_state_name(CELL))
    assert [model.model_id for model in admin_pb2.State.FromString(found.data).models] == ["/sax/test/b"]


async def test_a_cell_without_records_says_so():
    """There is nothing to read before an admin server has led."""
    log, _ = await log_of()
    with pytest.raises(NotFound, match="no state records"):
        await log.newest()


def test_every_flipped_byte_and_every_cut_of_a_sealed_payload_is_seen():
    """The frame gives back exactly what went in, or nothing."""
    data, crc = seal(b"payload")
    assert unseal(data) == (b"payload", crc)
    damaged = [data[:cut] for cut in range(len(data))]
    damaged += [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(len(data))]
    for each in [*damaged, data + b"\0"]:
        with pytest.raises(DataLoss):
            unseal(each)
