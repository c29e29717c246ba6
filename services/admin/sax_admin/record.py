"""State records as bytes: `sax.state.StateRecord` in the frame of `sax_common.sealed`.

Any flipped byte and any truncation is detected; a damaged record is refused, never skipped, for it may hold
acknowledged changes. Fields of a newer program survive decode and encode (see `wire`).

Models and operations are encoded once and remembered: a record is a full snapshot, and on a busy cell
nearly all of it is the same as in the record before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from sax_common.errors import DataLoss
from sax_common.names import ModelName
from sax_common.sealed import seal, unseal
from saxml.protobuf import admin_pb2, state_pb2

from sax_admin.core.cell import (
    AppliedOperation,
    Digest,
    ModelSpec,
    Record,
    ServerAddress,
    ServerHint,
    ServerOffer,
    Term,
)
from sax_admin.wire import model_of, offer_of, server_of, spec_of, unknown_fields

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode(record: Record) -> tuple[bytes, int]:
    """Return the bytes of a record and its checksum."""
    # Nearly all servers of a cell offer the same few hundred paths.
    offers = {
        offer: position
        for position, offer in enumerate(sorted({h.offer for h in record.servers}, key=repr), 1)
    }
    message = state_pb2.StateRecord(
        sequence=record.sequence,
        term=record.term,
        cell_uid=record.cell_uid,
        leader_address=record.leader_address,
        offers=[server_of(offer) for offer in offers],
        draining=record.draining,
        previous_crc32c=record.previous_crc,
        min_reader_version=record.min_reader_version,
        written_unix_ms=record.written_unix_ms,
    )
    # The parts of one message may be written one after the other; repeated fields add up.
    payload = b"".join(
        (
            message.SerializeToString(),
            *(_model_part(spec) for spec in record.models),
            *(_operation_part(operation) for operation in record.operations),
            *(_hint_part(hint, offers[hint.offer]) for hint in record.servers),
            record.unknown,
        )
    )
    return seal(payload)


def decode(data: bytes) -> tuple[Record, int]:
    """Read a record and its checksum. Raises DataLoss for anything that `encode` did not write."""
    payload, crc = unseal(data)
    try:
        return _record_of(state_pb2.StateRecord.FromString(payload)), crc
    except DecodeError as error:
        raise DataLoss(f"a state record is no StateRecord message: {error}") from error


def decode_original(data: bytes) -> tuple[ModelSpec, ...]:
    """Read the models of an original admin's state file. Raises DataLoss when it is none."""
    try:
        state = admin_pb2.State.FromString(data)
    except DecodeError as error:
        raise DataLoss(f"state.proto is no sax.State message: {error}") from error
    return tuple(spec_of(model) for model in state.models)


@lru_cache(maxsize=16_384)
def _model_part(spec: ModelSpec) -> bytes:
    return state_pb2.StateRecord(models=[model_of(spec)]).SerializeToString()


@lru_cache(maxsize=32_768)
def _operation_part(operation: AppliedOperation) -> bytes:
    message = state_pb2.AppliedOperation(
        operation_id=operation.operation_id,
        sequence=operation.sequence,
        kind=operation.kind,
        model_id=operation.model or "",
        client=operation.client,
        unix_ms=operation.unix_ms,
        server=operation.server or "",
    )
    message.MergeFromString(operation.unknown)
    return state_pb2.StateRecord(operations=[message]).SerializeToString()


@lru_cache(maxsize=4_096)
def _hint_part(hint: ServerHint, offer: int) -> bytes:
    message = state_pb2.ServerHint(
        address=hint.address,
        data_address=hint.data_address,
        debug_address=hint.debug_address,
        ordered={model: bytes(digest) for model, digest in hint.ordered},
        offer=offer,
    )
    message.MergeFromString(hint.unknown)
    return state_pb2.StateRecord(servers=[message]).SerializeToString()


def _record_of(message: state_pb2.StateRecord) -> Record:
    offers = [ServerOffer(), *(offer_of(server) for server in message.offers)]
    return Record(
        sequence=message.sequence,
        term=Term(message.term),
        cell_uid=message.cell_uid,
        leader_address=message.leader_address,
        models=tuple(spec_of(model) for model in message.models),
        operations=tuple(_operation_of(operation) for operation in message.operations),
        servers=tuple(_hint_of(hint, offers) for hint in message.servers),
        draining=tuple(ServerAddress(address) for address in message.draining),
        previous_crc=message.previous_crc32c,
        min_reader_version=message.min_reader_version,
        written_unix_ms=message.written_unix_ms,
        unknown=unknown_fields(message),
    )


def _operation_of(message: state_pb2.AppliedOperation) -> AppliedOperation:
    return AppliedOperation(
        operation_id=message.operation_id,
        sequence=message.sequence,
        kind=message.kind,
        model=ModelName(message.model_id) if message.model_id else None,
        client=message.client,
        unix_ms=message.unix_ms,
        server=ServerAddress(message.server) if message.server else None,
        unknown=unknown_fields(message),
    )


def _hint_of(message: state_pb2.ServerHint, offers: Sequence[ServerOffer]) -> ServerHint:
    if not 0 <= message.offer < len(offers):
        raise DataLoss(
            f"server {message.address} of a state record has offer {message.offer} of {len(offers) - 1}"
        )
    return ServerHint(
        address=ServerAddress(message.address),
        data_address=message.data_address,
        debug_address=message.debug_address,
        offer=offers[message.offer],
        ordered=tuple(
            sorted((ModelName(model), Digest(digest)) for model, digest in message.ordered.items())
        ),
        unknown=unknown_fields(message),
    )
