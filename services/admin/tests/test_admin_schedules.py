"""Two machines and one store under random schedules: nothing acknowledged is ever lost.

A small world on purpose: writes may succeed, lose their answer, happen late or be refused, and either admin
may be replaced by a new run at any time. The lease is as bad as can be: everybody gets it at once, always;
so what is proved here is that the claims and read-backs alone keep the promise. It defines no rule; all
decisions are the machine's.
"""

from __future__ import annotations

import random

import pytest
from sax_admin import record as codec
from sax_admin.core import journal as journal_module
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Rules
from sax_admin.core.election import Candidate, Verdict
from sax_admin.core.events import (
    Answer,
    CreateSlot,
    FindState,
    LeaseRead,
    LeaseWritten,
    Mutate,
    ReadLease,
    ReadSlot,
    SlotRead,
    SlotRefused,
    SlotUnknown,
    SlotWritten,
    StateFound,
    StepDown,
    Tick,
    WriteLease,
)
from sax_admin.core.machine import Machine
from sax_common import errors
from sax_common.names import parse_cell


class World:
    """One store, two admins, one client; everything that happens is drawn from `chance`."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.slots: dict[int, bytes] = {}
        self.late: list[bytes] = []
        self.work: list[tuple[Machine, object]] = []
        self.runs = 0
        self.step_downs = 0
        self.admins = [self.start(), self.start()]
        self.asked: dict[int, str] = {}
        self.acknowledged: set[str] = set()

    def start(self) -> Machine:
        """Start a new run of an admin: it reads the newest record and claims."""
        self.runs += 1
        candidate = Candidate(address=f"admin{self.runs}", cell_uid="uid", run_id=f"run{self.runs}")
        machine = Machine(candidate, Rules(parse_cell("/sax/test")))
        self.take(machine, machine.on(Tick(0), 0))
        return machine

    def newest(self) -> tuple[object, int]:
        """Return the newest record and its checksum."""
        return codec.decode(self.slots[max(self.slots)]) if self.slots else (None, 0)

    def take(self, machine: Machine, effects: list[object]) -> None:
        """Queue what a machine wants, and note what it acknowledged."""
        for effect in effects:
            match effect:
                case CreateSlot() | ReadSlot() | FindState():
                    self.work.append((machine, effect))
                case ReadLease(attempt):
                    self.take(machine, machine.on(LeaseRead(attempt, None, ""), 0))
                case WriteLease(attempt):
                    self.take(machine, machine.on(LeaseWritten(attempt, "g"), 0))
                case Answer(token, int()):
                    self.acknowledged.add(self.asked[token])
                case StepDown():
                    self.step_downs += 1

    def write(self, data: bytes) -> bool:
        """Create a slot; false when its number is taken."""
        sequence = codec.decode(data)[0].sequence
        if sequence in self.slots:
            return False
        self.slots[sequence] = data
        return True

    def outcome(self, effect: CreateSlot) -> object:
        """Carry out a write with one of the ways in which a store can answer."""
        data, crc = codec.encode(effect.record)
        term, sequence = effect.term, effect.record.sequence
        draw = self.chance.random()
        if draw < 0.1:
            return SlotRefused(term, sequence, is_taken=False, error=errors.Unavailable("down"))
        if draw < 0.2:
            self.late.append(data)
            return SlotUnknown(term, sequence, "lost on the way")
        written = self.write(data)
        if draw < 0.35:
            return SlotUnknown(term, sequence, "answer lost")
        return (
            SlotWritten(term, sequence, crc)
            if written
            else SlotRefused(term, sequence, is_taken=True, error=errors.Aborted(""))
        )

    def step(self, number: int) -> None:
        """Let one thing happen."""
        draw = self.chance.random()
        if draw < 0.3:
            name = f"m{number}"
            self.asked[number] = f"/sax/test/{name}"
            draft = ModelDraft(
                model_id=self.asked[number], model_path="p", checkpoint_path="None", replicas=0
            )
            mutation = Mutation(command=Publish(draft), fresh=b"u" * 16)
            machine = self.chance.choice(self.admins)
            self.take(machine, machine.on(Mutate(number, mutation), 0))
        elif draw < 0.34:
            self.admins[self.chance.randrange(2)] = self.start()
        elif draw < 0.4 and self.late:
            self.write(self.late.pop(self.chance.randrange(len(self.late))))
        elif draw < 0.45:
            machine = self.chance.choice(self.admins)
            self.take(machine, machine.on(Tick(0), 0))
        elif self.work:
            machine, effect = self.work.pop(self.chance.randrange(len(self.work)))
            self.take(machine, machine.on(self.done(effect), 0))

    def done(self, effect: CreateSlot | ReadSlot | FindState) -> object:
        """Carry out what was asked of the store."""
        if isinstance(effect, CreateSlot):
            return self.outcome(effect)
        if isinstance(effect, FindState):
            return StateFound(effect.term, *self.newest(), (), 0)
        found = self.slots.get(effect.sequence)
        record, crc = codec.decode(found) if found else (None, 0)
        return SlotRead(effect.term, effect.sequence, record, crc)


def broken(seed: int) -> str:
    """Run one schedule and say what is wrong afterwards; empty when nothing is."""
    world = World(seed)
    for number in range(200):
        world.step(number)
    records = [codec.decode(world.slots[sequence])[0] for sequence in sorted(world.slots)]
    names = {spec.name for spec in records[-1].models} if records else set()
    terms = [record.term for record in records]
    if not world.acknowledged <= names:
        return f"seed {seed} lost {sorted(world.acknowledged - names)}"
    if terms != sorted(terms) or [record.sequence for record in records] != list(range(1, len(records) + 1)):
        return f"seed {seed} has records out of order"
    return ""


@pytest.mark.parametrize("block", range(10))
def test_no_schedule_loses_an_acknowledged_publish(block):
    """Whatever store and processes do, each acknowledged model is in the newest record, terms in order."""
    assert [found for seed in range(block * 20, block * 20 + 20) if (found := broken(seed))] == []


@pytest.mark.parametrize(
    ("rule", "bug"),
    [
        ("read_back", lambda _written, _found: Verdict.MINE),
        ("read_back", lambda _written, found: Verdict.MINE if found else Verdict.EMPTY),
    ],
)
def test_a_planted_bug_is_found(monkeypatch, rule, bug):
    """An admin that takes a foreign or a missing record for its own loses something within 200 schedules."""
    monkeypatch.setattr(journal_module, rule, bug)
    assert any(broken(seed) for seed in range(200))


def test_the_schedules_do_acknowledge_and_do_compete():
    """A test that never acknowledges or never changes leader would prove nothing."""
    acknowledged, deposed = 0, 0
    for seed in range(20):
        world = World(seed)
        for number in range(200):
            world.step(number)
        acknowledged += len(world.acknowledged)
        deposed += world.step_downs
    assert acknowledged > 100
    assert deposed > 5
