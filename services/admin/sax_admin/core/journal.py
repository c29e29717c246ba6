"""From mutations to durable records, several at a time.

The life of a mutation: it waits in `pending`; when no write is under way all that wait (256 at most) are
decided one after the other on the state as the earlier ones leave it, and the result becomes one record;
when that record is known to be durable the new state is adopted and all of them are answered. So the
first of a burst is written at once and the rest share the next record: group commit without a timer.

    pending --next_record--> in flight --written--------------------------> adopted, answered
                                |--taken / unknown--> read back --mine---> adopted, answered
                                |                        |--empty-------> write the same record again
                                |                        +--foreign-----> step down, all unanswered refused
                                +--surely not applied--> answered with the error

A refusal that depends on a mutation of the same record ("already published") waits with it, for if the
record is lost the refusal was wrong.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sax_common.errors import ResourceExhausted, SaxError, Unavailable

from sax_admin.core.cell import CellState, Record, ServerHint, Term, sorted_models
from sax_admin.core.commands import Mutation, Rules, decide
from sax_admin.core.election import Verdict, read_back
from sax_admin.core.events import (
    Answer,
    CreateSlot,
    Effect,
    Note,
    ReadSlot,
    SlotRead,
    SlotRefused,
    SlotUnknown,
    SlotWritten,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sax_common.names import ModelName

    from sax_admin.core.events import Token

# At the bound a caller is told to come back: 16 records' worth is over a second of a slow bucket.
PENDING_MAX = 4_096
BATCH_MAX = 256
STORE_RETRY_MS = 200

SlotEvent = SlotWritten | SlotRefused | SlotUnknown | SlotRead


@dataclass(frozen=True, slots=True)
class Landed:
    """The record under way is durable."""

    crc: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The number of the record under way holds somebody else's record."""

    record: Record
    crc: int


@dataclass(slots=True)
class _Batch:
    record: Record
    state: CellState
    answers: list[Answer] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    # An earlier try of the same write ended unknown: it may still land, whatever became of later tries.
    is_uncertain: bool = False


class Journal:
    """The durable state and the one write that may be under way. Owned by the machine."""

    def __init__(self) -> None:
        """Start with nothing known; `start` must come first."""
        self.state = CellState()
        self.last: Record | None = None
        self.last_crc = 0
        self._pending: deque[tuple[Token, Mutation]] = deque()
        self._in_flight: _Batch | None = None

    @property
    def term(self) -> Term:
        """Term of the last durable record."""
        return self.last.term if self.last else Term(0)

    @property
    def sequence(self) -> int:
        """Number of the last durable record; 0 when there is none."""
        return self.last.sequence if self.last else 0

    @property
    def under_way(self) -> Record | None:
        """The record whose write has no known outcome yet."""
        return self._in_flight.record if self._in_flight else None

    @property
    def has_pending(self) -> bool:
        """True when mutations wait for the next record."""
        return bool(self._pending)

    @property
    def is_writing(self) -> bool:
        """True while anything that was accepted is not answered yet."""
        return self._in_flight is not None or bool(self._pending)

    def unpublished(self) -> set[ModelName]:
        """Return the models that somebody unpublished lately and nobody published again."""
        operations = self.state.operations.values()
        gone = {operation.model for operation in operations if operation.kind == "unpublish"}
        return {model for model in gone if model is not None and model not in self.state.models}

    def start(self, claim: Record) -> None:
        """Make the claim the record under way."""
        self._in_flight = _Batch(claim, claim.state())

    def submit(self, token: Token, mutation: Mutation) -> list[Answer]:
        """Queue a mutation; answers at once only when the queue is full."""
        if len(self._pending) >= PENDING_MAX:
            return [
                Answer(token, ResourceExhausted(f"{PENDING_MAX} changes wait to be written; try again later"))
            ]
        self._pending.append((token, mutation))
        return []

    def next_record(
        self, rules: Rules, hints: Sequence[ServerHint], *, must_write: bool, least_term: Term, unix_ms: int
    ) -> tuple[Record | None, list[Answer]]:
        """Decide what waits and return the record to write, if any, and what can be answered at once.

        `must_write` asks for a record even when nothing changed (new hints, a higher term).
        """
        if self.last is None or self._in_flight is not None or not (self._pending or must_write):
            return None, []
        sequence = self.last.sequence + 1
        state, answers, notes = self.state, [], []
        for _ in range(min(BATCH_MAX, len(self._pending))):
            token, mutation = self._pending.popleft()
            try:
                decision = decide(state, mutation, rules, sequence=sequence, unix_ms=unix_ms)
            except SaxError as error:
                answers.append(Answer(token, error))
                continue
            state = decision.state
            answers.append(Answer(token, decision.sequence))
            if decision.is_new:
                notes.append(Note(decision.note))
        if state is self.state and not must_write:
            return None, answers
        record = replace(
            self.last,
            sequence=sequence,
            term=Term(max(self.term, least_term)),
            models=sorted_models(state.models.values()),
            operations=tuple(state.operations.values()),
            draining=tuple(sorted(state.draining)),
            servers=tuple(hints),
            previous_crc=self.last_crc,
            written_unix_ms=unix_ms,
        )
        self._in_flight = _Batch(record, state, answers, notes)
        return record, []

    def on_store(
        self, event: SlotEvent, term: Term, *, is_claim: bool
    ) -> tuple[list[Effect], Landed | Taken | None]:
        """Take in what became of the write under way; a claim that was surely not written is tried again."""
        batch = self._in_flight
        if batch is None or batch.record.sequence != event.sequence:
            return [], None
        record = batch.record
        match event:
            case SlotWritten(_, _, crc):
                return [], Landed(crc)
            case SlotRead():
                return _judged(record, event, term)
            case SlotUnknown(_, sequence, reason):
                batch.is_uncertain = True
                text = f"Writing state record {sequence} ended unknown, reading it back: {reason}"
                effects: list[Effect] = [Note(text, is_warning=True), ReadSlot(term, sequence)]
            case SlotRefused(_, sequence, is_taken, _) if is_taken:
                effects = [ReadSlot(term, sequence)]
            case SlotRefused(_, _, _, error):
                effects = [Note(f"A state record was not written: {error.message}", is_warning=True)]
                effects += (
                    [CreateSlot(term, record, STORE_RETRY_MS)]
                    if is_claim or batch.is_uncertain
                    else self._not_written(error)
                )
        return effects, None

    def _not_written(self, cause: SaxError) -> list[Answer]:
        """Refuse the callers of a record that was surely not written."""
        text = f"the change could not be written, nothing was changed: {cause.message}"
        # A full disk is told apart: trying again at once does not help there.
        kind = ResourceExhausted if isinstance(cause, ResourceExhausted) else Unavailable
        return self.drop(kind(text))

    def adopt(self, crc: int) -> tuple[list[Answer], list[Note]]:
        """The record under way is durable: it is the state now. Returns what its callers get."""
        batch = self._in_flight
        if batch is None:
            return [], []
        self._in_flight = None
        self.state, self.last, self.last_crc = batch.state, batch.record, crc
        return batch.answers, batch.notes

    def drop(self, error: SaxError) -> list[Answer]:
        """The record under way was surely not written: its callers get the error."""
        batch = self._in_flight
        self._in_flight = None
        return [Answer(answer.token, error) for answer in batch.answers] if batch else []

    def refuse_all(self, error: SaxError) -> list[Answer]:
        """Give up everything that is unanswered."""
        answers = self.drop(error) + [Answer(token, error) for token, _ in self._pending]
        self._pending.clear()
        return answers


def _judged(record: Record, event: SlotRead, term: Term) -> tuple[list[Effect], Landed | Taken | None]:
    """Say what a read-back means for the write of `record`."""
    verdict = read_back(record, event.record)
    if verdict == Verdict.MINE:
        return [], Landed(event.crc)
    if verdict == Verdict.FOREIGN and event.record is not None:
        return [], Taken(event.record, event.crc)
    return [CreateSlot(term, record, STORE_RETRY_MS)], None
