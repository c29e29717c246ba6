"""Several machines on one store in virtual time: who leads when, and what a deposed one still does.

The store answers at once; processes can be killed, paused (they see no events) and ended. All rules are the
machine's.
"""

from __future__ import annotations

import pytest
from sax_admin import record as codec
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Rules
from sax_admin.core.election import Candidate
from sax_admin.core.events import (
    Answer,
    CreateSlot,
    End,
    FindState,
    LeaseConflict,
    LeaseRead,
    LeaseWritten,
    Mutate,
    ReadLease,
    ReadSlot,
    Released,
    SlotRead,
    SlotRefused,
    SlotWritten,
    StateFound,
    StepDown,
    Tick,
    WriteLease,
)
from sax_admin.core.machine import Machine
from sax_common import errors
from sax_common.names import parse_cell

RULES = Rules(parse_cell("/sax/test"))


class World:
    """A lease, records, and machines by name. `done` keeps every effect that was carried out, by name."""

    def __init__(self):
        self.now_ms = 0
        self.lease, self.generation = None, 0
        self.slots = {}
        self.admins = {}
        self.paused = set()
        self.done = []

    def start(self, name):
        """Start a run of an admin."""
        self.admins[name] = Machine(Candidate(address=name, cell_uid="uid", run_id=f"run-{name}"), RULES)
        return self.admins[name]

    def tell(self, name, event):
        """Tell one machine something and carry out what it wants."""
        for effect in self.admins[name].on(event, self.now_ms):
            self.done.append((name, effect))
            answer = self.carry_out(name, effect)
            if answer is not None:
                self.tell(name, answer)

    def carry_out(self, name, effect):  # noqa: PLR0911  # A flat table.
        """Do what a store does; return its answer."""
        match effect:
            case ReadLease(attempt):
                return LeaseRead(attempt, self.lease, str(self.generation) if self.lease else "")
            case WriteLease(attempt, lease, generation):
                if (generation or "0") != str(self.generation):
                    return LeaseConflict(attempt)
                self.lease, self.generation = lease, self.generation + 1
                return LeaseWritten(attempt, str(self.generation))
            case FindState(term, _):
                return StateFound(term, *self.slot(max(self.slots, default=0)), (), self.now_ms)
            case CreateSlot(term, record, _):
                if not self.admins[name].may_act(term, self.now_ms):
                    return None
                if record.sequence in self.slots:
                    return SlotRefused(term, record.sequence, is_taken=True, error=errors.Aborted("taken"))
                self.slots[record.sequence] = codec.encode(record)[0]
                return SlotWritten(term, record.sequence, codec.encode(record)[1])
            case ReadSlot(term, sequence, _):
                return SlotRead(term, sequence, *self.slot(sequence))
        return None

    def slot(self, sequence):
        """Return the record under a number and its checksum."""
        return codec.decode(self.slots[sequence]) if sequence in self.slots else (None, 0)

    def run(self, ms):
        """Let time pass for all who are not paused."""
        for _ in range(ms // 50):
            self.now_ms += 50
            for name in self.admins:
                if name not in self.paused:
                    self.tell(name, Tick(self.now_ms))

    def leaders(self):
        """Say who believes to lead, and may."""
        return [name for name, one in self.admins.items() if one.is_leading(self.now_ms)]

    def publish(self, name, model="m", token=1):
        """Ask an admin to publish and return what it answered."""
        draft = ModelDraft(model_id=f"/sax/test/{model}", model_path="p", checkpoint_path="None", replicas=1)
        self.tell(name, Mutate(token, Mutation(command=Publish(draft), fresh=b"u" * 16)))
        answers = [
            e.result for who, e in self.done if who == name and isinstance(e, Answer) and e.token == token
        ]
        return answers[-1] if answers else None


@pytest.fixture
def world():
    """Two admins, of which the first leads."""
    one = World()
    one.start("a")
    one.run(100)
    one.start("b")
    one.run(3_000)
    assert one.leaders() == ["a"]
    return one


def test_a_standby_names_the_leader(world):
    """Whoever asks a standby is told where to go."""
    answer = world.publish("b")
    assert isinstance(answer, errors.Unavailable)
    assert "a does" in answer.message
    assert world.admins["b"].leader_address == "a"


def test_a_standby_leads_within_the_failover_time_after_a_crash(world):
    """The dead leader's lease runs out on the standby's clock, and its models are there."""
    assert world.publish("a") == 2
    world.paused.add("a")
    started_ms = world.now_ms
    while not world.leaders() or world.leaders() == ["a"]:
        world.run(50)
    assert 4_000 < world.now_ms - started_ms <= 7_600
    assert world.admins["b"].journal.state.models.keys() == {"/sax/test/m"}
    assert world.admins["b"].term == 2


def test_a_graceful_end_hands_over_within_one_retry(world):
    """What is released is taken at the next look, 1.44 s later at the latest."""
    world.tell("a", End())
    assert ("a", Released()) in world.done
    world.run(1_500)
    assert world.leaders() == ["b"]


def test_an_accepted_change_is_written_before_the_lease_is_given_up(world):
    """Nothing that was accepted is thrown away by a graceful end."""
    create = world.carry_out
    held = []

    def slow(name, effect):
        if isinstance(effect, CreateSlot) and not held:
            held.append(effect)
            return None
        return create(name, effect)

    world.carry_out = slow
    assert world.publish("a") is None
    world.tell("a", End())
    assert not world.lease.is_released
    world.tell("a", create("a", held[0]))
    assert ("a", Answer(1, 2)) in world.done
    assert world.lease.is_released


def test_a_leader_that_slept_stops_before_it_does_anything_else(world):
    """The first event after a long pause finds the lease too old: step down, no write, no order."""
    world.paused.add("a")
    world.run(10_000)
    world.paused.clear()
    world.done.clear()
    answer = world.publish("a")
    assert isinstance(answer, errors.Unavailable)
    kinds = {type(effect) for name, effect in world.done if name == "a"}
    assert StepDown in kinds
    assert not kinds & {CreateSlot, WriteLease}


def test_a_leader_that_slept_answers_no_reads(world):
    """What it knows may be old news, and it does not need an event to know that."""
    world.now_ms += 4_001
    assert not world.admins["a"].is_leading(world.now_ms)


def test_a_deposed_admin_becomes_a_standby_and_leads_again_later(world):
    """The same process can lead twice, under different terms, with the state of the one between."""
    world.paused.add("a")
    world.run(10_000)
    assert world.publish("b", "of-b") is not None
    world.paused = {"b"}
    world.run(10_000)
    assert world.leaders() == ["a"]
    assert (world.admins["a"].term, world.admins["a"].reigns) == (3, 2)
    assert world.admins["a"].journal.state.models.keys() == {"/sax/test/of-b"}


def test_a_write_of_an_earlier_reign_is_not_taken_for_one_of_this(world):
    """A completion carries its term; that of another term changes nothing, whatever its number."""
    a = world.admins["a"]
    world.tell("a", SlotWritten(a.term, 1, 5))
    stale = SlotWritten(a.term - 1, 2, 5)
    world.carry_out = lambda _name, _effect: None
    world.publish("a")
    world.tell("a", stale)
    assert a.journal.sequence == 1
    assert a.journal.under_way.sequence == 2


def test_a_write_that_was_put_off_is_not_done_after_the_term(world):
    """The shell asks before it acts: the machine says no once its lease is too old."""
    a = world.admins["a"]
    assert a.may_act(a.term, world.now_ms)
    assert not a.may_act(a.term, world.now_ms + 4_001)
    assert not a.may_act(a.term + 1, world.now_ms)


def test_records_that_vanished_are_not_led_from(world):
    """An emptied store would unload every model: the next leader refuses, and says what to do."""
    world.publish("a")
    world.run(3_000)
    world.slots.clear()
    world.paused.add("a")
    world.run(8_000)
    failure = world.admins["b"].failure
    assert isinstance(failure, errors.FailedPrecondition)
    assert "record 2 was written" in failure.message
    assert world.lease.is_released


def test_a_lost_lease_object_costs_a_term_and_nothing_else(world):
    """Somebody deleted it: whoever comes first makes it again and claims above all terms in the records."""
    world.publish("a")
    world.lease, world.generation = None, 0
    world.run(3_000)
    assert len(world.leaders()) == 1
    leader = world.admins[world.leaders()[0]]
    assert leader.term > 1
    assert leader.journal.state.models.keys() == {"/sax/test/m"}


def test_of_three_standbys_one_leads(world):
    """Standbys that see the lease run out together compete by compare-and-swap, and one wins."""
    for name in "cde":
        world.start(name)
    world.run(3_000)
    world.paused.add("a")
    world.run(9_000)
    assert len(world.leaders()) == 1
    terms = [codec.decode(data)[0].term for _, data in sorted(world.slots.items())]
    assert terms == sorted(set(terms))
