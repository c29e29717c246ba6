"""State records as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sax_admin import record as codec
from sax_admin.core.cell import AppliedOperation, ModelSpec, Record, ServerHint, ServerOffer
from sax_common.errors import DataLoss
from sax_common.sealed import seal, unseal
from saxml.protobuf import admin_pb2, state_pb2

SPEC = ModelSpec(
    name="/sax/test/m",
    model_path="test.Model",
    checkpoint_path="None",
    replicas=2,
    acls=(("lm.score", ""),),
    overrides=(("a", "1"), ("b", '"x"')),
    uuid=b"u" * 16,
    generation=4,
)
RECORD = Record(
    sequence=5,
    term=3,
    cell_uid="c0ffee",
    leader_address="10.0.0.1:10000",
    models=(SPEC,),
    operations=(
        AppliedOperation(
            operation_id="o", sequence=4, kind="publish", model="/sax/test/m", client="ipv4:1", unix_ms=9
        ),
    ),
    servers=(
        ServerHint(
            address="10.0.0.2:1",
            data_address="10.0.0.2:2",
            offer=ServerOffer(chip_type=12, chip_topology=22, model_paths=("p",), tags=("t",)),
            ordered=(("/sax/test/m", b"digest"),),
        ),
    ),
    previous_crc=77,
    written_unix_ms=123,
)


def test_a_record_comes_back_as_it_was_written():
    """Decoding returns an equal value and the checksum that encoding returned."""
    data, crc = codec.encode(RECORD)
    assert codec.decode(data) == (RECORD, crc)


def test_every_flipped_byte_is_detected():
    """No single damaged byte, wherever it is, goes unnoticed."""
    data, _ = codec.encode(RECORD)
    for position in range(len(data)):
        damaged = data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :]
        with pytest.raises(DataLoss):
            codec.decode(damaged)


def test_every_truncation_and_extension_is_detected():
    """A record that lost its end, or gained one, is refused."""
    data, _ = codec.encode(RECORD)
    for length in range(len(data)):
        with pytest.raises(DataLoss):
            codec.decode(data[:length])
    with pytest.raises(DataLoss):
        codec.decode(data + b"\0")


def with_unknown(message, number=777):
    """Add a field that this program does not know."""
    message.MergeFromString(bytes([(number << 3 | 0) & 0x7F | 0x80, (number << 3) >> 7, 42]))
    return message


def test_fields_of_a_newer_program_survive_a_read_modify_write():
    """Unknown fields of the record, a model, its ACLs, an operation and a server are written again."""
    message = with_unknown(state_pb2.StateRecord(sequence=1))
    model = with_unknown(message.models.add(model_id="/sax/test/m"))
    with_unknown(model.acls)
    with_unknown(message.operations.add(operation_id="o"))
    with_unknown(message.servers.add(address="s"))
    payload = message.SerializeToString()
    record, _ = codec.decode(seal(payload)[0])
    again = unseal(codec.encode(record)[0])[0]
    assert again.count(b"\x2a") >= 5
    assert codec._record_of(state_pb2.StateRecord.FromString(again)) == record


def test_an_original_state_file_is_read():
    """The models of an original admin's state.proto are taken over with their uuids."""
    state = admin_pb2.State(
        models=[admin_pb2.Model(model_id="/sax/test/m", uuid=b"x", checkpoint_path="None")]
    )
    (spec,) = codec.decode_original(state.SerializeToString())
    assert (spec.name, spec.uuid, spec.generation) == ("/sax/test/m", b"x", 0)
    with pytest.raises(DataLoss):
        codec.decode_original(b"\xff\xff")


@given(data=st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_refused(data):
    """Whatever lies in a slot, it is either a record or a clear error."""
    with pytest.raises(DataLoss):
        codec.decode(data)
