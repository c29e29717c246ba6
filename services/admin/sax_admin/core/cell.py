"""What a cell wants, as values.

`CellState` is the whole durable truth of a cell at one moment; a `Record` is that truth with the number
and the term under which it was written. Everything else the admin knows (who answers, what is loaded) is
seen, never stored, and lives in `servers`.

The life of a model here: a publish makes a `ModelSpec`; an update replaces it and keeps its `uuid`; an
unpublish drops it. Each change is remembered as an `AppliedOperation`, so that the same operation sent
twice is applied once. States are immutable: a change returns a new one, and a change that never became
durable is simply forgotten.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sax_common.names import ModelName

ServerAddress = NewType("ServerAddress", str)
Term = NewType("Term", int)
Digest = NewType("Digest", bytes)

NO_DIGEST = Digest(b"")
Pairs = tuple[tuple[str, str], ...]

# How many operation ids a record keeps. A client that retries for longer than this many other
# operations is told to read again (reference/reliability.md 2.2).
MAX_OPERATIONS = 10_000
# Version of the record format that this program writes and the newest it may lead from.
RECORD_VERSION = 1

_DIGEST_HALF = 16


def pairs(items: Mapping[str, str]) -> Pairs:
    """Turn a string map into a sorted, hashable value."""
    return tuple(sorted(items.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One published model, as its publisher wants it.

    `generation` is the number of the record that last changed it. `unknown` are fields of a newer
    program in wire form, carried along untouched.
    """

    name: ModelName
    model_path: str
    checkpoint_path: str
    replicas: int
    acls: Pairs = ()
    admin_acl: str = ""
    overrides: Pairs = ()
    uuid: bytes = b""
    generation: int = 0
    unknown: bytes = b""


@lru_cache(maxsize=16_384)
def digest_of(spec: ModelSpec) -> Digest:
    """Name what a server must load: 16 bytes of uuid, path and overrides, then 16 of the checkpoint.

    Replicas and ACLs are not part of it: changing them reloads nothing.
    """
    head = hashlib.sha256(spec.uuid)
    for text in (spec.model_path, *(part for pair in spec.overrides for part in pair)):
        raw = text.encode()
        head.update(len(raw).to_bytes(4, "big") + raw)
    tail = hashlib.sha256(spec.checkpoint_path.encode())
    return Digest(head.digest()[:_DIGEST_HALF] + tail.digest()[:_DIGEST_HALF])


def same_but_checkpoint(one: Digest, other: Digest) -> bool:
    """Tell whether two digests differ in nothing but the checkpoint."""
    return one != other and one[:_DIGEST_HALF] == other[:_DIGEST_HALF]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedOperation:
    """One mutation of a model or a server that took effect. `unix_ms` is for people only."""

    operation_id: str
    sequence: int
    kind: str
    model: ModelName | None
    client: str
    unix_ms: int
    server: ServerAddress | None = None
    unknown: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOffer:
    """What a model server says of itself when it joins. Chip numbers are those of the proto enums."""

    chip_type: int = 0
    chip_topology: int = 0
    model_paths: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHint:
    """A server seen lately and what it was last told: where to look after a restart, never truth."""

    address: ServerAddress
    data_address: str
    debug_address: str = ""
    offer: ServerOffer = field(default_factory=ServerOffer)
    ordered: tuple[tuple[ModelName, Digest], ...] = ()
    unknown: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState:
    """Everything the cell wants. `operations` are oldest first and bounded by MAX_OPERATIONS.

    `draining` are servers that an administrator wants to be empty, whether they are there or not.
    """

    models: Mapping[ModelName, ModelSpec] = field(default_factory=dict)
    operations: Mapping[str, AppliedOperation] = field(default_factory=dict)
    draining: frozenset[ServerAddress] = frozenset()

    def with_model(self, spec: ModelSpec) -> CellState:
        """Return this state with `spec` added or replaced."""
        return replace(self, models={**self.models, spec.name: spec})

    def without_model(self, name: ModelName) -> CellState:
        """Return this state with `name` gone."""
        return replace(self, models={k: v for k, v in self.models.items() if k != name})

    def with_operation(self, operation: AppliedOperation) -> CellState:
        """Return this state with `operation` remembered, the oldest forgotten at the bound."""
        kept = {**self.operations, operation.operation_id: operation}
        while len(kept) > MAX_OPERATIONS:
            del kept[next(iter(kept))]
        return replace(self, operations=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One numbered state record: a snapshot, who wrote it and when. Written once, never changed."""

    sequence: int
    term: Term
    cell_uid: str
    leader_address: str
    models: tuple[ModelSpec, ...] = ()
    operations: tuple[AppliedOperation, ...] = ()
    servers: tuple[ServerHint, ...] = ()
    draining: tuple[ServerAddress, ...] = ()
    previous_crc: int = 0
    min_reader_version: int = RECORD_VERSION
    written_unix_ms: int = 0
    unknown: bytes = b""

    def state(self) -> CellState:
        """Return what the cell wants according to this record."""
        return CellState(
            models={spec.name: spec for spec in self.models},
            operations={operation.operation_id: operation for operation in self.operations},
            draining=frozenset(self.draining),
        )


def sorted_models(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Order specs by name: equal states give equal records."""
    return tuple(sorted(models, key=lambda spec: spec.name))
