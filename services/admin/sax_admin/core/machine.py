"""The admin as one machine: `on(event, now)` returns the effects, and nothing else happens.

    IDLE --StateFound--> CLAIMING --claim durable--> LEADING --somebody else's record--> DEPOSED
                             +----------somebody else's record-------------------------------^

While LEADING every change of what is wanted or seen runs one reconcile, at once, but at most one in
`RECONCILE_EVERY_MS`; what comes in between waits for the next tick. A deposed machine answers everything
with the new leader's address and asks for nothing more; it never leads again (start a new one).

The shell and a simulator drive it in the same way: they own the clock, the store and the network.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from sax_common.errors import ResourceExhausted, Unavailable

from sax_admin.core.cell import Term
from sax_admin.core.commands import Rules, published
from sax_admin.core.election import Candidate, Verdict, check_readable, claim, read_back
from sax_admin.core.events import (
    Answer,
    CollectSlots,
    ConfigRead,
    CreateSlot,
    Effect,
    Event,
    Join,
    Lead,
    Mutate,
    Note,
    OrderDone,
    PollAnswered,
    PollFailed,
    ReadSlot,
    SlotRead,
    SlotRefused,
    SlotUnknown,
    SlotWritten,
    StateFound,
    StepDown,
    Tick,
    Wake,
)
from sax_admin.core.fleet_state import FleetState
from sax_admin.core.journal import Journal
from sax_admin.core.views import ModelView, StatsView, model_stats_view, model_view, stats_view

if TYPE_CHECKING:
    from sax_common.errors import SaxError
    from sax_common.names import ModelName

    from sax_admin.core.cell import ModelSpec, Record

RECORDS_KEPT = 100
RECONCILE_EVERY_MS = 20
# Retries come due and servers fall silent without an event.
RECONCILE_AT_LEAST_EVERY_MS = 500
HINTS_EVERY_MS = 2_000
STORE_RETRY_MS = 200


class Phase(Enum):
    """Where a machine is in its life."""

    IDLE = "idle"
    CLAIMING = "claiming"
    LEADING = "leading"
    DEPOSED = "deposed"


class Machine:
    """All decisions of one admin process. Owned by one loop; never shared between threads."""

    def __init__(self, candidate: Candidate, rules: Rules) -> None:
        """Make a machine that knows nothing yet; the first event must be StateFound."""
        self.phase = Phase.IDLE
        self.rules = rules
        self.journal = Journal()
        self.fleet = FleetState()
        self.leader_address = ""
        self._candidate = candidate
        self._least_term = Term(0)
        self._unix_ms = 0
        self._is_dirty = False
        self._reconciled_ms = -RECONCILE_AT_LEAST_EVERY_MS
        self._hints_written_ms = 0
        self._unpublished: set[ModelName] = set()

    @property
    def term(self) -> Term:
        """The term under which this machine leads or led; 0 before the claim is durable."""
        return self.journal.term

    def on(self, event: Event, now_ms: int) -> list[Effect]:
        """Take in one event and say what must be done; `now_ms` is the caller's monotonic clock."""
        if self.phase == Phase.DEPOSED:
            return self._on_deposed(event)
        effects = self._dispatch(event, now_ms)
        if self.phase == Phase.LEADING:
            effects += self._write(now_ms)
            effects += self._reconcile_if_due(now_ms)
        return effects

    def _dispatch(self, event: Event, now_ms: int) -> list[Effect]:
        match event:
            case StateFound():
                return self._claim(event)
            case SlotWritten() | SlotRefused() | SlotUnknown() | SlotRead():
                return self._on_store(event, now_ms)
            case Mutate(token, mutation):
                return [*self.journal.submit(token, mutation)]
            case Tick(unix_ms):
                self._unix_ms = unix_ms
                return self.fleet.tick(now_ms, self.term) if self.phase == Phase.LEADING else []
            case ConfigRead(admin_acl):
                self.rules = Rules(self.rules.cell, admin_acl)
                return []
            case _:
                return self._on_fleet(event, now_ms)

    # ---- The store ----

    def _claim(self, found: StateFound) -> list[Effect]:
        """Try to take over from the newest record. Raises FailedPrecondition when it must not be led from."""
        self.phase, self._unix_ms = Phase.CLAIMING, found.unix_ms
        if found.record is not None:
            check_readable(found.record, self._candidate.cell_uid)
        record = claim(
            found.record,
            newest_crc=found.crc,
            candidate=self._candidate,
            imported=found.imported,
            least_term=self._least_term,
            unix_ms=found.unix_ms,
        )
        self.journal.start(record)
        return [CreateSlot(record)]

    def _on_store(
        self, event: SlotWritten | SlotRefused | SlotUnknown | SlotRead, now_ms: int
    ) -> list[Effect]:
        under_way = self.journal.under_way
        if under_way is None or under_way.sequence != event.sequence:
            return []
        if isinstance(event, SlotRead):
            return self._on_read_back(event, under_way, now_ms)
        if isinstance(event, SlotWritten):
            return self._adopt(event.crc, now_ms)
        if isinstance(event, SlotUnknown):
            text = f"Writing state record {event.sequence} ended unknown, reading it back: {event.reason}"
            return [Note(text, is_warning=True), ReadSlot(event.sequence)]
        return [ReadSlot(event.sequence)] if event.is_taken else self._not_written(event.error)

    def _on_read_back(self, event: SlotRead, under_way: Record, now_ms: int) -> list[Effect]:
        verdict = read_back(under_way, event.record)
        if verdict == Verdict.MINE:
            return self._adopt(event.crc, now_ms)
        if verdict == Verdict.EMPTY:
            return [CreateSlot(under_way, STORE_RETRY_MS)]
        return self._foreign(event)

    def _not_written(self, cause: SaxError) -> list[Effect]:
        """Refuse the callers of a record that was surely not written; a claim is tried again."""
        record = self.journal.under_way
        note = Note(f"A state record was not written: {cause.message}", is_warning=True)
        if self.phase == Phase.CLAIMING and record is not None:
            return [note, CreateSlot(record, STORE_RETRY_MS)]
        text = f"the change could not be written, nothing was changed: {cause.message}"
        # A full disk is told apart: trying again at once does not help there.
        kind = ResourceExhausted if isinstance(cause, ResourceExhausted) else Unavailable
        return [*self.journal.drop(kind(text)), note]

    def _foreign(self, event: SlotRead) -> list[Effect]:
        """Somebody else wrote our number: an older leader's last word is claimed over, any other leads."""
        record, ours = event.record, self.journal.under_way
        if record is None or ours is None:
            return []
        if self.phase == Phase.CLAIMING and record.term < ours.term:
            return self._claim(StateFound(record, event.crc, (), self._unix_ms))
        self.phase, self.leader_address = Phase.DEPOSED, record.leader_address
        error = self.not_leading()
        where = f"{record.leader_address}, term {record.term}, record {record.sequence}"
        text = f"Another admin server leads: {where}"
        return [
            StepDown(record.leader_address, record.term),
            *self.journal.refuse_all(error),
            *self.fleet.refuse_joins(error),
            Wake(frozenset(self.journal.state.models)),
            Note(f"{text}; this one steps down", is_warning=True),
        ]

    def _adopt(self, crc: int, now_ms: int) -> list[Effect]:
        old_term = self.term
        answers, notes = self.journal.adopt(crc)
        effects: list[Effect] = [*answers, *notes]
        # Somebody waits for what was just written: no rate limit (one reconcile per record is limit enough).
        self._is_dirty, self._reconciled_ms = True, now_ms - RECONCILE_EVERY_MS
        self._unpublished = {
            operation.model
            for operation in self.journal.state.operations.values()
            if operation.kind == "unpublish"
            and operation.model
            and operation.model not in self.journal.state.models
        }
        if self.term != old_term:
            self.phase, self.leader_address = Phase.LEADING, self._candidate.address
            record = self.journal.last
            self.fleet.begin(record.servers if record else (), now_ms)
            self._hints_written_ms = now_ms
            count = len(self.journal.state.models)
            text = f"Loaded manager state: {count} models, record {self.journal.sequence}, term {self.term}"
            effects += [Note(text), Lead(self.term), *self.fleet.tick(now_ms, self.term)]
        if self.journal.sequence % 10 == 0 or self.term != old_term:
            effects.append(CollectSlots(self.journal.sequence - RECORDS_KEPT + 1))
        return effects

    def _write(self, now_ms: int) -> list[Effect]:
        """Start the next record when there is something to write and nothing under way."""
        are_hints_due = self.fleet.are_hints_dirty and now_ms - self._hints_written_ms >= HINTS_EVERY_MS
        must_write = are_hints_due or self._least_term > self.term
        if not (must_write or self.journal.has_pending) or self.journal.under_way is not None:
            return []
        record, answers = self.journal.next_record(
            self.rules,
            self.fleet.hints(),
            must_write=must_write,
            least_term=self._least_term,
            unix_ms=self._unix_ms,
        )
        if record is None:
            return [*answers]
        self.fleet.are_hints_dirty, self._hints_written_ms = False, now_ms
        return [*answers, CreateSlot(record)]

    # ---- The servers ----

    def _on_fleet(self, event: Event, now_ms: int) -> list[Effect]:
        if self.phase != Phase.LEADING:
            return [Answer(event.token, self.not_leading())] if isinstance(event, Join) else []
        match event:
            case Join():
                self._see_term(event.highest_term)
                self._is_dirty = True
                return self.fleet.join(event, now_ms, self.term) + self.fleet.tick(now_ms, self.term)
            case PollAnswered(address, term, orders_changed, report) if term == self.term:
                self._see_term(report.highest_term)
                effects, is_changed = self.fleet.answered(address, orders_changed, report, now_ms, term)
                self._is_dirty |= is_changed
                return effects
            case PollFailed(address, term, _) if term == self.term:
                self.fleet.not_answered(address, now_ms)
                return []
            case OrderDone(order, error):
                finished = self.fleet.finished(order, error, now_ms)
                self._is_dirty |= finished is not None
                return finished or []
            case _:
                return []

    def _see_term(self, highest_term: int) -> None:
        """Claim again above a term that a server has seen, unless its leader proves to be alive in the store.

        Happens when the state was lost while servers lived on; without it they would refuse every order.
        """
        if highest_term > max(self.term, self._least_term - 1):
            self._least_term = Term(highest_term + 1)

    def _reconcile_if_due(self, now_ms: int) -> list[Effect]:
        since_ms = now_ms - self._reconciled_ms
        if since_ms < (RECONCILE_EVERY_MS if self._is_dirty else RECONCILE_AT_LEAST_EVERY_MS):
            return []
        self._is_dirty, self._reconciled_ms = False, now_ms
        return self.fleet.reconcile(self.journal.state.models, self._unpublished, self.term, now_ms)

    # ---- When another leads ----

    def not_leading(self) -> Unavailable:
        """Return the error for callers of an admin that does not lead."""
        if self.phase == Phase.DEPOSED:
            return Unavailable(
                f"this admin server does not lead the cell any more; {self.leader_address} does"
            )
        return Unavailable("this admin server does not lead the cell yet; try again")

    def _on_deposed(self, event: Event) -> list[Effect]:
        if isinstance(event, Mutate | Join):
            return [Answer(event.token, self.not_leading())]
        return []

    # ---- What readers see ----

    def model(self, name: ModelName, now_ms: int) -> ModelView:
        """Show one model. Raises NotFound when it is not published."""
        return self._view(published(self.journal.state, name), now_ms)

    def models(self, now_ms: int) -> list[ModelView]:
        """Show all models, by name."""
        models = self.journal.state.models
        return [self._view(models[name], now_ms) for name in sorted(models)]

    def _view(self, spec: ModelSpec, now_ms: int) -> ModelView:
        view = model_view(spec, self.fleet.servers, self.fleet.placement, now_ms)
        if view.shortfall_reason and self.fleet.is_silent:
            reason = "this admin has just begun to lead and waits up to 10 s for the servers it was told of"
            return replace(view, shortfall_reason=reason)
        return view

    def stats(self, name: ModelName | None, now_ms: int) -> StatsView:
        """Count all servers, or those of one model. Raises NotFound for an unknown model or a lost server."""
        if name is None:
            return stats_view(self.fleet.servers.values(), now_ms)
        spec = published(self.journal.state, name)
        return model_stats_view(spec, self.fleet.servers, self.fleet.placement, now_ms)
