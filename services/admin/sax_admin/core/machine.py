"""The admin as one machine: `on(event, now)` returns the effects, and nothing else happens.

    STANDBY --lease taken--> CLAIMING --claim durable--> LEADING
       ^                        |                           |
       +-- lease lost, not renewed in time, or somebody else's record
                                                            |
    any of them --End: writes finish--> ENDED --lease given up--> Released

Before it looks at any event the machine looks at its lease: one that was not renewed in time has already
ended what the machine may do, however long the process slept. A machine that stood back is a standby as
before and can lead again later. It answers callers with the leader's address.

While LEADING every change of what is wanted or seen runs one reconcile, at once, but at most one in
`RECONCILE_EVERY_MS`; what comes in between waits for the next tick.

The shell and a simulator drive it in the same way: they own the clock, the store and the network. Before
they carry out an effect that had to wait they ask `may_act`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sax_common.errors import SaxError, Unavailable

from sax_admin.core.cell import Term
from sax_admin.core.commands import Rules, published
from sax_admin.core.election import Candidate, check_complete, check_readable, claim
from sax_admin.core.events import (
    Answer,
    CollectSlots,
    ConfigRead,
    CreateSlot,
    Effect,
    End,
    Event,
    FindState,
    Forget,
    Join,
    Lead,
    Mutate,
    Note,
    OrderDone,
    PollAnswered,
    PollFailed,
    StateFound,
    StateUnreadable,
    StepDown,
    Tick,
    Wake,
)
from sax_admin.core.fleet_state import FleetState
from sax_admin.core.journal import Journal, Landed, SlotEvent, Taken
from sax_admin.core.lease import LeaseEvent, LeaseKeeper, LeaseTimes, Role

if TYPE_CHECKING:
    from sax_common.names import ModelName

    from sax_admin.core.views import ModelView, StatsView

RECORDS_KEPT = 100
RECONCILE_EVERY_MS = 20
# Retries come due and servers fall silent without an event.
RECONCILE_AT_LEAST_EVERY_MS = 500
HINTS_EVERY_MS = 2_000


class Phase(Enum):
    """Where a machine is in its life."""

    STANDBY = "standby"
    CLAIMING = "claiming"
    LEADING = "leading"
    ENDED = "ended"


_ACTING = (Phase.CLAIMING, Phase.LEADING)


class Machine:
    """All decisions of one admin process. Owned by one loop; never shared between threads.

    `failure` is set when this process must not lead and a person has to know; it then ends itself. `reigns`
    counts how often it began to lead, `version` how often what callers are shown changed (time alone, such as
    a server's silence, changes it too, at the next reconcile).
    """

    def __init__(self, candidate: Candidate, rules: Rules, times: LeaseTimes | None = None) -> None:
        """Make a standby that knows nothing yet; it begins with the first Tick."""
        self.phase = Phase.STANDBY
        self.rules = rules
        self.keeper = LeaseKeeper(candidate, times or LeaseTimes())
        self.failure: SaxError | None = None
        self.reigns = 0
        self.version = 0
        self._candidate = candidate
        # The term that effects of now belong to: the lease's while claiming, then the claim's.
        self._acting_term = Term(0)
        self._least_term = Term(0)
        self._known_sequence = 0
        self._told_leader = ""
        self._unix_ms = 0
        self._is_ending = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget everything that belonged to a term; the store has what counts."""
        self.journal = Journal()
        self.fleet = FleetState()
        self._is_dirty = False
        self._reconciled_ms = -RECONCILE_AT_LEAST_EVERY_MS
        self._hints_written_ms = 0
        self._unpublished: set[ModelName] = set()

    @property
    def term(self) -> Term:
        """The term under which this machine leads; 0 before."""
        return self.journal.term

    @property
    def leader_address(self) -> str:
        """Where the leader is, as far as known; empty when nobody is known to lead."""
        if self.phase == Phase.LEADING:
            return self._candidate.address
        return self.keeper.leader_address or self._told_leader

    def is_leading(self, now_ms: int) -> bool:
        """Tell whether what is known here may be told to callers as the cell's state."""
        return self.phase == Phase.LEADING and self.keeper.is_held(now_ms)

    def may_act(self, term: Term, now_ms: int) -> bool:
        """Tell whether an effect of `term` may still be carried out: asked after every wait."""
        return self.phase in _ACTING and term == self._acting_term and self.keeper.is_held(now_ms)

    def on(self, event: Event, now_ms: int) -> list[Effect]:
        """Take in one event and say what must be done; `now_ms` is the caller's monotonic clock."""
        effects = self._check_lease(now_ms)
        effects += self._dispatch(event, now_ms)
        effects += self._follow_lease(now_ms)
        self.version += self._is_dirty
        if self.phase == Phase.LEADING:
            effects += self._write(now_ms)
            effects += self._reconcile_if_due(now_ms)
        if self._is_ending and self.phase != Phase.ENDED:
            effects += self._end_when_written(now_ms)
        return effects

    def _dispatch(self, event: Event, now_ms: int) -> list[Effect]:  # noqa: PLR0911  # A flat table.
        if isinstance(event, LeaseEvent):
            return self.keeper.on(event, now_ms)
        if isinstance(event, SlotEvent):
            return self._on_slot(event, now_ms)
        match event:
            case StateFound() | StateUnreadable():
                return self._on_state(event)
            case Mutate() | Join() if self.phase != Phase.LEADING or self._is_ending:
                return [Answer(event.token, self.not_leading())]
            case Mutate(token, mutation):
                refusal = self.fleet.refusal(mutation, self.journal.state, now_ms)
                return [Answer(token, refusal)] if refusal else [*self.journal.submit(token, mutation)]
            case Tick(unix_ms):
                self._unix_ms = unix_ms
                effects = self.keeper.tick(now_ms)
                return effects + (self.fleet.tick(now_ms, self.term) if self.phase == Phase.LEADING else [])
            case ConfigRead(admin_acl):
                self.rules = Rules(self.rules.cell, admin_acl)
            case End():
                self._is_ending = True
            case _:
                return self._on_fleet(event, now_ms)
        return []

    # ---- The lease ----

    def _check_lease(self, now_ms: int) -> list[Effect]:
        """Stop acting when the lease was not renewed in time, before anything else is decided."""
        if self.phase not in _ACTING or self.keeper.is_held(now_ms):
            return []
        self.keeper.stand_back(now_ms)
        return self._step_down(f"no renewal of the lease within {self.keeper.times.renew_deadline_ms} ms")

    def _follow_lease(self, now_ms: int) -> list[Effect]:
        """Begin to take over when the lease was just won; step down when it was just lost."""
        is_holding = self.keeper.role == Role.HOLDING
        if self.phase in _ACTING and not is_holding:
            return self._step_down("another admin server has taken the lease")
        if self.phase != Phase.STANDBY or not is_holding:
            return []
        if not self.keeper.is_held(now_ms):
            # The store took so long that a standby may already count the lease as expired.
            self.keeper.stand_back(now_ms)
            return []
        self.phase, self._acting_term = Phase.CLAIMING, self.keeper.term
        hint = self.keeper.seen.sequence if self.keeper.seen else 0
        self._known_sequence = max(self._known_sequence, hint)
        text = f"Took the lease at term {self._acting_term}; reading the newest state record"
        return [Note(text), FindState(self._acting_term, hint)]

    def _step_down(self, why: str, term: Term | None = None) -> list[Effect]:
        """Stop acting: refuse who waits, drop what was known, be a standby."""
        was_leading = self.phase == Phase.LEADING
        self.version += 1
        self.phase = Phase.STANDBY
        # A term is never used twice by one process, even if the lease object is lost.
        self._least_term = Term(max(self._least_term, self._acting_term + 1))
        self.keeper.least_term = self._least_term
        error = self.not_leading()
        models = frozenset(self.journal.state.models)
        effects: list[Effect] = [
            StepDown(self.leader_address, term if term is not None else self.keeper.term),
            *self.journal.refuse_all(error),
            *self.fleet.refuse_joins(error),
            *(Forget(address) for address in self.fleet.servers),
            Wake(models),
            Note(f"{'Stops leading' if was_leading else 'Does not lead'}: {why}", is_warning=True),
        ]
        self._begin_anew()
        return effects

    def _end_when_written(self, now_ms: int) -> list[Effect]:
        """End once nothing is being written any more: what was accepted is durable, and answered."""
        if self.phase == Phase.LEADING and self.journal.is_writing and self.failure is None:
            return []
        effects = self._step_down("this admin server ends") if self.phase in _ACTING else []
        self.phase = Phase.ENDED
        return effects + self.keeper.end(now_ms)

    def _fail(self, error: SaxError) -> list[Effect]:
        self.failure, self._is_ending = error, True
        return [Note(f"Cannot lead: {error.message}", is_warning=True)]

    # ---- The store ----

    def _on_state(self, event: StateFound | StateUnreadable) -> list[Effect]:
        if event.term != self._acting_term or self.phase not in _ACTING:
            return []
        if isinstance(event, StateUnreadable):
            return self._fail(event.error)
        if self.phase != Phase.CLAIMING:
            return []
        try:
            return self._claim(event)
        except SaxError as error:
            return self._fail(error)

    def _claim(self, found: StateFound) -> list[Effect]:
        """Try to take over from the newest record. Raises FailedPrecondition when it must not be led from."""
        check_complete(found.record, self._known_sequence)
        if found.record is not None:
            check_readable(found.record, self._candidate.cell_uid)
        record = claim(
            found.record,
            newest_crc=found.crc,
            candidate=self._candidate,
            imported=found.imported,
            least_term=Term(max(self._least_term, self.keeper.term)),
            unix_ms=found.unix_ms,
        )
        self._acting_term = self.keeper.held_term = record.term
        self.journal.start(record)
        return [CreateSlot(record.term, record)]

    def _on_slot(self, event: SlotEvent, now_ms: int) -> list[Effect]:
        if event.term != self._acting_term or self.phase not in _ACTING:
            return []
        effects, outcome = self.journal.on_store(
            event, self._acting_term, is_claim=self.phase == Phase.CLAIMING
        )
        if isinstance(outcome, Landed):
            effects += self._adopt(outcome.crc, now_ms)
        elif isinstance(outcome, Taken):
            effects += self._beaten(outcome, now_ms)
        return effects

    def _beaten(self, by: Taken, now_ms: int) -> list[Effect]:
        """Somebody else wrote our number: an older leader's last word is claimed over, any other leads."""
        record = by.record
        if self.phase == Phase.CLAIMING and record.term < self._acting_term:
            found = StateFound(self._acting_term, record, by.crc, (), self._unix_ms)
            return self._on_state(found)
        self.keeper.stand_back(now_ms)
        self._told_leader = record.leader_address
        self._known_sequence = max(self._known_sequence, record.sequence)
        where = f"{record.leader_address}, term {record.term}, record {record.sequence}"
        return self._step_down(f"another admin server leads: {where}", record.term)

    def _adopt(self, crc: int, now_ms: int) -> list[Effect]:
        old_term = self.term
        answers, notes = self.journal.adopt(crc)
        self._known_sequence = self.keeper.held_sequence = self.journal.sequence
        effects: list[Effect] = [*answers, *notes]
        # Somebody waits for what was just written: no rate limit (one reconcile per record is limit enough).
        self._is_dirty, self._reconciled_ms = True, now_ms - RECONCILE_AT_LEAST_EVERY_MS
        self._unpublished = self.journal.unpublished()
        if self.term != old_term:
            effects += self._take_office(now_ms)
        if self.journal.sequence % 10 == 0 or self.term != old_term:
            effects.append(CollectSlots(self.term, self.journal.sequence - RECORDS_KEPT + 1))
        return effects

    def _take_office(self, now_ms: int) -> list[Effect]:
        """Begin to serve under the term of the record that was just adopted."""
        record = self.journal.last
        self.reigns += self.phase == Phase.CLAIMING
        self.phase, self._told_leader, self._acting_term = Phase.LEADING, "", self.term
        self.keeper.held_term = self._least_term = Term(max(self._least_term, self.term))
        self.fleet.begin(record.servers if record else (), now_ms)
        self._hints_written_ms = now_ms
        what = f"{len(self.journal.state.models)} models, record {self.journal.sequence}, term {self.term}"
        return [Note(f"Loaded manager state: {what}"), Lead(self.term), *self.fleet.tick(now_ms, self.term)]

    def _write(self, now_ms: int) -> list[Effect]:
        """Start the next record when there is something to write and nothing under way."""
        are_hints_due = self.fleet.are_hints_dirty and now_ms - self._hints_written_ms >= HINTS_EVERY_MS
        must_write = (are_hints_due and not self._is_ending) or self._least_term > self.term
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
        return [*answers, CreateSlot(self._acting_term, record)]

    # ---- The servers ----

    def _on_fleet(self, event: Event, now_ms: int) -> list[Effect]:
        if self.phase != Phase.LEADING:
            return []
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
        # A round over 1 000 servers takes 40 ms: the rest of the time belongs to callers.
        servers = len(self.fleet.servers)
        soon_ms, late_ms = RECONCILE_EVERY_MS + servers // 10, RECONCILE_AT_LEAST_EVERY_MS + servers // 2
        if since_ms < (soon_ms if self._is_dirty else late_ms):
            return []
        self._is_dirty, self._reconciled_ms = False, now_ms
        placed = self.fleet.placement
        effects = self.fleet.reconcile(self.journal.state, self._unpublished, self.term, now_ms)
        self.version += bool(effects) or placed != self.fleet.placement
        return effects

    # ---- When another leads ----

    def not_leading(self) -> Unavailable:
        """Return the error for callers of an admin that does not lead."""
        if self._is_ending:
            return Unavailable("this admin server is shutting down; try again, another one takes over")
        if self.leader_address and self.phase != Phase.LEADING:
            return Unavailable(f"this admin server does not lead the cell; {self.leader_address} does")
        return Unavailable("this admin server does not lead the cell, and nobody is known to; try again")

    # ---- What readers see ----

    def model(self, name: ModelName, now_ms: int) -> ModelView:
        """Show one model. Raises NotFound when it is not published."""
        return self.fleet.view(published(self.journal.state, name), now_ms)

    def models(self, now_ms: int) -> list[ModelView]:
        """Show all models, by name."""
        models = self.journal.state.models
        return [self.fleet.view(models[name], now_ms) for name in sorted(models)]

    def stats(self, name: ModelName | None, now_ms: int) -> StatsView:
        """Count all servers, or those of one model. Raises NotFound for an unknown model or a lost server."""
        return self.fleet.stats(published(self.journal.state, name) if name else None, now_ms)
