"""Planted bugs in the lease, the records and the operations. See `mutants`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sax_admin.controller import Controller
from sax_admin.core import commands, election, journal, machine
from sax_admin.core.election import Verdict
from sax_admin.core.events import CreateSlot, LeaseUnknown, LeaseWritten, SlotRefused, SlotUnknown
from sax_admin.core.journal import Journal, Landed
from sax_admin.core.lease import LeaseKeeper, Role
from sax_admin.core.machine import Machine, Phase
from sax_common.errors import Unavailable

from sax_testing.sim.mutants import Mutant, Patch, as_drawn, weather
from sax_testing.sim.params import Kind

if TYPE_CHECKING:
    from sax_admin.core.cell import Record, Term
    from sax_admin.core.commands import Decision, Mutation, Rules

_on_store = Journal.on_store
_next_record = Journal.next_record
_claim_of = election.claim
_decide = commands.decide
_keeper_on = LeaseKeeper.on
_wrote = LeaseKeeper._wrote  # noqa: SLF001  # Bugs are planted inside.
_machine_claim = Machine._claim  # noqa: SLF001
_on_slot = Machine._on_slot  # noqa: SLF001


def _skip_claim(self: Machine, found: Any) -> Any:
    if found.record is None:
        return _machine_claim(self, found)
    _machine_claim(self, found)
    return self._adopt(found.crc, self._reconciled_ms + 1_000)


def _any_term(self: Machine, event: Any, now_ms: int) -> Any:
    return _on_slot(self, replace(event, term=self._acting_term), now_ms)


def _ack_early(self: Journal, *args: Any, **kwargs: Any) -> Any:
    record, answers = _next_record(self, *args, **kwargs)
    batch = self._in_flight
    if record is not None and batch is not None:
        answers, batch.answers = [*answers, *batch.answers], []
    return record, answers


def _ignore_conflict(self: Journal, event: Any, term: Term, *, is_claim: bool) -> Any:
    if isinstance(event, SlotRefused) and event.is_taken and self.under_way is not None:
        return [], Landed(0)
    return _on_store(self, event, term, is_claim=is_claim)


def _timeout_is_failure(self: Journal, event: Any, term: Term, *, is_claim: bool) -> Any:
    if isinstance(event, SlotUnknown):
        error = Unavailable(event.reason)
        event = SlotRefused(event.term, event.sequence, is_taken=False, error=error)
    return _on_store(self, event, term, is_claim=is_claim)


def _no_read_back(self: Journal, event: Any, term: Term, *, is_claim: bool) -> Any:
    if isinstance(event, SlotUnknown) and self.under_way is not None:
        return [], Landed(0)
    return _on_store(self, event, term, is_claim=is_claim)


def _write_on(self: Journal, event: Any, term: Term, *, is_claim: bool) -> Any:
    batch = self._in_flight
    if isinstance(event, SlotRefused) and event.is_taken and batch is not None:
        batch.record = replace(batch.record, sequence=batch.record.sequence + 1)
        return [CreateSlot(term, batch.record)], None
    return _on_store(self, event, term, is_claim=is_claim)


def _drop_operations(self: Journal, *args: Any, **kwargs: Any) -> Any:
    record, answers = _next_record(self, *args, **kwargs)
    batch = self._in_flight
    if record is not None and batch is not None:
        batch.record = record = replace(record, operations=record.operations[-1:])
        batch.state = record.state()
    return record, answers


def _apply_again(state: Any, mutation: Mutation, rules: Rules, **kwargs: Any) -> Decision:
    operations = {key: value for key, value in state.operations.items() if key != mutation.operation_id}
    return _decide(replace(state, operations=operations), mutation, rules, **kwargs)


def _claim_nothing(newest: Record | None, **kwargs: Any) -> Record:
    record = _claim_of(newest, **kwargs)
    return replace(record, models=()) if newest is not None else record


def _claim_same_term(newest: Record | None, **kwargs: Any) -> Record:
    record = _claim_of(newest, **kwargs)
    return replace(record, term=newest.term) if newest is not None else record


def _measured_from_reply(self: LeaseKeeper, call: Any, held: Any, generation: str, now_ms: int) -> None:
    _wrote(self, replace(call, sent_ms=now_ms), held, generation, now_ms)


def _unknown_is_held(self: LeaseKeeper, event: Any, now_ms: int) -> Any:
    if isinstance(event, LeaseUnknown) and self._call is not None and self._call.lease is not None:
        event = LeaseWritten(event.attempt, self._generation or "")
    return _keeper_on(self, event, now_ms)


# A lease so short that a process may lead again before it hears of its last write.
SHORT = (3_000, 2_000, 600)
# Two who write at once: slow ways, late arrivals, leaders that die or stand still meanwhile.
CONFLICTS = weather(
    Kind.PAUSE,
    Kind.CRASH,
    Kind.CUT_STORE,
    store_late=0.12,
    store_slow=0.1,
    store_hop_ms=50.0,
    think_ms=250,
    servers=0,
)

MUTANTS = (
    Mutant("skip claim write", (Patch(Machine, "_claim", _skip_claim),), as_drawn),
    Mutant(
        "completions of another term count",
        (Patch(Machine, "_on_slot", _any_term),),
        weather(
            Kind.CUT_STORE,
            admins=1,
            at_most_ms=1_200,
            count=10,
            store_slow=0.2,
            store_slow_ms=1_500.0,
            times=SHORT,
            grain_ms=100,
            think_ms=250,
            servers=0,
        ),
    ),
    Mutant("ack before commit", (Patch(Journal, "next_record", _ack_early),), as_drawn),
    Mutant(
        "ignore conflict",
        (Patch(Journal, "on_store", _ignore_conflict),),
        weather(Kind.PAUSE, store_late=0.1),
    ),
    Mutant(
        "treat timeout as failure",
        (Patch(Journal, "on_store", _timeout_is_failure),),
        weather(store_lost=0.1),
    ),
    Mutant("no read-back", (Patch(Journal, "on_store", _no_read_back),), weather(store_late=0.05)),
    Mutant(
        "take what is read back for one's own",
        (Patch(journal, "read_back", lambda _written, found: Verdict.MINE if found else Verdict.EMPTY),),
        weather(Kind.PAUSE, store_late=0.1, store_lost=0.05),
    ),
    Mutant("write on after a conflict", (Patch(Journal, "on_store", _write_on),), CONFLICTS),
    Mutant("drop operation ids on snapshot", (Patch(Journal, "next_record", _drop_operations),), as_drawn),
    Mutant("apply a repeated operation", (Patch(journal, "decide", _apply_again),), weather(net_copied=0.3)),
    Mutant("claim an empty cell", (Patch(machine, "claim", _claim_nothing),), as_drawn),
    Mutant("claim under the old term", (Patch(machine, "claim", _claim_same_term),), as_drawn),
    Mutant(
        "wall clock in lease",
        (Patch(Controller, "now_ms", property(lambda self: self._clock.unix_ms())),),
        weather(Kind.WALL_JUMP, Kind.CUT_STORE),
    ),
    Mutant(
        "lease measured from reply",
        (Patch(LeaseKeeper, "_wrote", _measured_from_reply),),
        weather(Kind.CUT_STORE, store_slow=0.1, think_ms=250, grain_ms=100),
    ),
    Mutant(
        "no step-down at renew deadline",
        (Patch(LeaseKeeper, "is_held", lambda self, _now_ms: self.role == Role.HOLDING),),
        weather(Kind.CUT_STORE, Kind.PAUSE, servers=2),
    ),
    Mutant(
        "lease write of unknown outcome counts",
        (Patch(LeaseKeeper, "on", _unknown_is_held),),
        weather(Kind.CUT_STORE, at_most_ms=20_000, servers=2),
    ),
    Mutant(
        "take the lease at first sight",
        (Patch(LeaseKeeper, "_is_expired", lambda _self, _now_ms: True),),
        weather(Kind.CUT_STORE, Kind.PAUSE, reads=0.5),
    ),
    Mutant(
        "read without the lease",
        (
            Patch(Machine, "is_leading", lambda self, _now_ms: self.phase == Phase.LEADING),
            Patch(Machine, "_check_lease", lambda _self, _now_ms: []),
        ),
        weather(Kind.CUT_STORE, at_most_ms=20_000, reads=0.6),
    ),
    Mutant(
        "act without asking after a wait",
        (Patch(Controller, "may_act", lambda _self, _term: True),),
        weather(Kind.CUT_STORE, Kind.STORE_DOWN, store_refused=0.3, store_late=0.1),
    ),
    Mutant("collect records too early", (Patch(machine, "RECORDS_KEPT", 0),), as_drawn),
)
