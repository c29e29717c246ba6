"""Who leads, and whether a write was ours.

The lease says when a standby may try (`lease`); what makes it the leader is the claim: the next state record,
with everything unchanged, under a term above all seen. An admin whose write finds its number taken
reads the winner: an older leader's last word is claimed over, any other winner leads
(reference/reliability.md 2.2).

    lease taken, term t --> newest record n --claim--> record n+1, term >= t, same models --written--> lead
                                                | taken: read it back
                                                +--> MINE: lead   FOREIGN: stand back   EMPTY: write again
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from sax_common.errors import FailedPrecondition

from sax_admin.core.cell import (
    RECORD_VERSION,
    AppliedOperation,
    ModelSpec,
    Record,
    Term,
    sorted_models,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Verdict(Enum):
    """What a read-back says about a write whose outcome was refused or unknown."""

    MINE = "mine"
    EMPTY = "empty"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The process that wants to lead. `run_id` differs between any two process runs."""

    address: str
    cell_uid: str
    run_id: str


def check_complete(newest: Record | None, known_sequence: int) -> None:
    """Refuse to lead from a state that is older than one seen before: records were removed or set back.

    An empty or old state would have every running model unloaded (reference/reliability.md A13). Raises
    FailedPrecondition.
    """
    found = newest.sequence if newest is not None else 0
    if found < known_sequence:
        raise FailedPrecondition(
            f"state record {known_sequence} was written, but the newest one there now is {found}: the state "
            "was removed or set back. Bring the records back; or, to go on from what is there, delete the "
            "object `lease` beside the folder `state` in the cell's fs_root and start the admin servers again"
        )


def check_readable(record: Record, cell_uid: str) -> None:
    """Refuse a record that this cell or this program must not lead from.

    Raises FailedPrecondition for a record of another cell or of a newer format.
    """
    if record.cell_uid and cell_uid and record.cell_uid != cell_uid:
        raise FailedPrecondition(
            f"state record {record.sequence} belongs to the cell with uid {record.cell_uid}, this cell's uid "
            f"is {cell_uid}: two cells share one fs_root; give each its own (or, if config.proto was "
            f"lost, go on with sax-admin-config --cell_uid={record.cell_uid})"
        )
    if record.min_reader_version > RECORD_VERSION:
        raise FailedPrecondition(
            f"state record {record.sequence} needs a program of record version {record.min_reader_version}, "
            f"this one knows {RECORD_VERSION}: start a newer sax-admin-server"
        )


def claim(
    newest: Record | None,
    *,
    newest_crc: int,
    candidate: Candidate,
    imported: Sequence[ModelSpec],
    least_term: Term,
    unix_ms: int,
) -> Record:
    """Make the record that takes over: the newest state unchanged, under a term above all seen.

    `imported` are the models of an original's `state.proto`; they count only when there is no record yet.
    """
    base = newest or Record(sequence=0, term=Term(0), cell_uid=candidate.cell_uid, leader_address="")
    term = Term(max(base.term + 1, least_term))
    sequence = base.sequence + 1
    models = base.models if newest else tuple(replace(spec, generation=sequence) for spec in imported)
    kind = "claim" if newest or not imported else "import"
    operation = AppliedOperation(
        # The run id makes two claims of one number different, so that a read-back can tell them apart.
        operation_id=f"{kind}-{candidate.run_id}-{term}",
        sequence=sequence,
        kind=kind,
        model=None,
        client=candidate.address,
        unix_ms=unix_ms,
    )
    state = base.state().with_operation(operation)
    return replace(
        base,
        sequence=sequence,
        term=term,
        cell_uid=candidate.cell_uid,
        leader_address=candidate.address,
        models=sorted_models(models),
        operations=tuple(state.operations.values()),
        previous_crc=newest_crc,
        min_reader_version=RECORD_VERSION,
        written_unix_ms=unix_ms,
    )


def read_back(written: Record, found: Record | None) -> Verdict:
    """Judge a write by what its number holds now."""
    if found is None:
        return Verdict.EMPTY
    return Verdict.MINE if found == written else Verdict.FOREIGN
