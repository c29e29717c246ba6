"""The machine, driven by hand: taking over, read-backs, group commit, terms."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sax_admin.core.cell import ModelSpec, Record, ServerHint, ServerOffer
from sax_admin.core.commands import ModelDraft, Mutation, Publish, Rules, Unpublish
from sax_admin.core.election import Candidate
from sax_admin.core.events import (
    Answer,
    CreateSlot,
    FindState,
    Join,
    Lead,
    LeaseConflict,
    LeaseRead,
    LeaseWritten,
    Mutate,
    Poll,
    PollAnswered,
    ReadLease,
    ReadSlot,
    Send,
    SlotRead,
    SlotRefused,
    SlotUnknown,
    SlotWritten,
    StateFound,
    StepDown,
    Tick,
    WriteLease,
)
from sax_admin.core.lease import LeaseTimes
from sax_admin.core.machine import Machine, Phase
from sax_admin.core.servers import Report, SeenModel, Status
from sax_common import errors
from sax_common.names import parse_cell

CANDIDATE = Candidate(address="10.0.0.1:1", cell_uid="uid", run_id="run")
# A lease that is not renewed while a test lasts.
QUIET = LeaseTimes(lease_ms=400_000, renew_deadline_ms=300_000, retry_ms=200_000)
OFFER = ServerOffer(chip_type=12, chip_topology=22, model_paths=("test.Model",))


def of(kind, effects):
    """Pick the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def publish(name="m", operation_id=""):
    """Make a publish of `/sax/test/<name>`."""
    draft = ModelDraft(
        model_id=f"/sax/test/{name}", model_path="test.Model", checkpoint_path="None", replicas=1
    )
    return Mutation(command=Publish(draft), fresh=name.encode() * 16, operation_id=operation_id)


def machine():
    """Make a machine that knows nothing."""
    return Machine(CANDIDATE, Rules(parse_cell("/sax/test")), QUIET)


class Store:
    """A lease object that always answers at once; what a machine asks for besides is kept in `rest`."""

    def __init__(self, machine):
        self.machine = machine
        self.lease, self.generation = None, 0
        self.rest = []

    def tell(self, event, now_ms):
        """Tell the machine something, and carry out what it wants of the lease."""
        effects = self.machine.on(event, now_ms)
        done = []
        for effect in effects:
            if isinstance(effect, ReadLease):
                generation = str(self.generation) if self.lease else ""
                done += self.tell(LeaseRead(effect.attempt, self.lease, generation), now_ms)
            elif isinstance(effect, WriteLease):
                done += self.tell(self.write(effect), now_ms)
            else:
                done.append(effect)
        return done

    def write(self, effect):
        """Change the lease if it is still what the machine saw."""
        if (effect.generation or "0") != str(self.generation):
            return LeaseConflict(effect.attempt)
        self.lease, self.generation = effect.lease, self.generation + 1
        return LeaseWritten(effect.attempt, str(self.generation))


def holding(one, now_ms=0):
    """Let a machine take a free lease; return what it asks for then."""
    return of(FindState, Store(one).tell(Tick(0), now_ms))[0]


def found(one, record=None, crc=0, imported=()):
    """Let a machine take the lease and find `record`; return what it does."""
    return one.on(StateFound(holding(one).term, record, crc, imported, 7), 0)


def written(one, sequence, crc, now_ms=0):
    """Tell a machine that its record was written."""
    return one.on(SlotWritten(one._acting_term, sequence, crc), now_ms)


def leading(record=None, crc=0):
    """Make a machine that leads on top of `record`."""
    one = machine()
    (create,) = found(one, record, crc)
    written(one, create.record.sequence, 11)
    assert one.phase == Phase.LEADING
    return one


def join(one, address="s1", now_ms=0):
    """Let a server join and answer its first poll."""
    event = Join(
        token=99,
        address=address,
        data_address=address,
        debug_address="",
        offer=OFFER,
        incarnation="run",
        highest_term=0,
    )
    effects = one.on(event, now_ms)
    (poll,) = of(Poll, effects)
    return one.on(
        PollAnswered(address, poll.term, poll.orders_changed, Report(models={}, incarnation="run")), now_ms
    )


def test_an_empty_cell_is_claimed_with_record_and_term_one():
    """The first admin of a cell writes record 1 under term 1 and leads once that is durable."""
    one = machine()
    (create,) = found(one)
    assert (create.record.sequence, create.record.term, one.phase) == (1, 1, Phase.CLAIMING)
    assert of(Lead, written(one, 1, 11)) == [Lead(1)]


def test_a_claim_repeats_the_newest_state_under_the_next_term():
    """Taking over changes nothing but the number, the term and the leader."""
    first = leading()
    (create,) = of(CreateSlot, first.on(Mutate(1, publish()), 0))
    written(first, 2, 12)
    (claim,) = found(machine(), create.record, 12)
    assert claim.record.models == create.record.models
    assert (claim.record.sequence, claim.record.term, claim.record.previous_crc) == (3, 2, 12)


def test_models_of_an_original_are_imported_once():
    """Without any record the models of an original's state file become the first one."""
    spec = ModelSpec(name="/sax/test/old", model_path="p", checkpoint_path="None", replicas=1, uuid=b"x")
    (create,) = found(machine(), imported=(spec,))
    assert create.record.models == (replace(spec, generation=1),)
    assert create.record.operations[-1].kind == "import"


@pytest.mark.parametrize("change", [{"cell_uid": "other"}, {"min_reader_version": 99}])
def test_a_record_of_another_cell_or_a_newer_program_is_not_led_from(change):
    """Such a record is refused before anything is written."""
    record = Record(**{"sequence": 4, "term": 2, "cell_uid": "uid", "leader_address": "x", **change})
    one = machine()
    effects = found(one, record)
    assert isinstance(one.failure, errors.FailedPrecondition)
    assert of(CreateSlot, effects) == []
    assert of(WriteLease, effects)[0].lease.is_released


def test_a_publish_is_answered_only_after_its_record_is_durable():
    """No answer leaves before the write is known to have succeeded."""
    one = leading()
    effects = one.on(Mutate(1, publish()), 0)
    assert of(Answer, effects) == []
    assert of(Answer, written(one, 2, 12)) == [Answer(1, 2)]
    assert one.journal.state.models.keys() == {"/sax/test/m"}


def test_a_burst_shares_the_second_record():
    """While one record is written the next mutations gather into one more."""
    one = leading()
    (first,) = of(CreateSlot, one.on(Mutate(1, publish("a")), 0))
    for token, name in ((2, "b"), (3, "c"), (4, "b")):
        assert one.on(Mutate(token, publish(name)), 0) == []
    (second,) = of(CreateSlot, written(one, first.record.sequence, 12))
    assert [spec.name for spec in second.record.models] == ["/sax/test/a", "/sax/test/b", "/sax/test/c"]
    answers = {answer.token: answer.result for answer in of(Answer, written(one, 3, 13))}
    assert (answers[2], answers[3]) == (3, 3)
    assert isinstance(answers[4], errors.AlreadyExists)


def test_a_refusal_that_needs_no_record_is_answered_at_once():
    """A mutation that changes nothing costs no write."""
    one = leading()
    effects = one.on(Mutate(1, Mutation(command=Unpublish("/sax/test/x"), fresh=b"")), 0)
    assert of(CreateSlot, effects) == []
    assert isinstance(of(Answer, effects)[0].result, errors.NotFound)


def test_an_unknown_outcome_is_read_back_and_found_to_be_ours():
    """A write that timed out but happened counts as written, with one answer."""
    one = leading()
    (create,) = of(CreateSlot, one.on(Mutate(1, publish()), 0))
    assert of(ReadSlot, one.on(SlotUnknown(one._acting_term, 2, "timeout"), 0)) == [ReadSlot(1, 2)]
    assert of(Answer, one.on(SlotRead(one._acting_term, 2, create.record, 12), 0)) == [Answer(1, 2)]


def test_an_unknown_outcome_that_left_nothing_is_written_again():
    """The very same record is tried again under the same number, so a late first write does no harm."""
    one = leading()
    (create,) = of(CreateSlot, one.on(Mutate(1, publish()), 0))
    one.on(SlotUnknown(one._acting_term, 2, "timeout"), 0)
    (again,) = of(CreateSlot, one.on(SlotRead(one._acting_term, 2, None, 0), 0))
    assert again.record == create.record


def test_a_taken_number_that_is_not_ours_means_step_down():
    """Whoever finds a foreign record under its number stops leading and refuses what was not acknowledged."""
    one = leading()
    (create,) = of(CreateSlot, one.on(Mutate(1, publish()), 0))
    one.on(SlotRefused(one._acting_term, 2, is_taken=True, error=errors.Aborted("taken")), 0)
    foreign = replace(create.record, term=5, leader_address="10.0.0.9:1", models=())
    effects = one.on(SlotRead(one._acting_term, 2, foreign, 3), 0)
    assert of(StepDown, effects) == [StepDown("10.0.0.9:1", 5)]
    assert isinstance(of(Answer, effects)[0].result, errors.Unavailable)
    (late,) = one.on(Mutate(2, publish("b")), 0)
    assert "10.0.0.9:1" in late.result.message


def test_a_claim_beaten_by_an_older_leaders_last_write_goes_on_top_of_it():
    """The last word of an old leader is kept and claimed over."""
    one = machine()
    (create,) = found(one, Record(sequence=3, term=2, cell_uid="uid", leader_address="x"), 1)
    one.on(SlotRefused(one._acting_term, 4, is_taken=True, error=errors.Aborted("taken")), 0)
    (again,) = one.on(SlotRead(one._acting_term, 4, replace(create.record, term=2, leader_address="x"), 5), 0)
    assert (again.record.sequence, again.record.term) == (5, 3)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (errors.Unavailable("bucket down"), errors.Unavailable),
        (errors.ResourceExhausted("disk full"), errors.ResourceExhausted),
    ],
)
def test_a_write_that_surely_did_not_happen_fails_its_callers_and_nothing_else(cause, kind):
    """The state is the old one, and the next mutation takes the same number."""
    one = leading()
    one.on(Mutate(1, publish()), 0)
    (answer,) = of(Answer, one.on(SlotRefused(one._acting_term, 2, is_taken=False, error=cause), 0))
    assert isinstance(answer.result, kind)
    assert one.journal.state.models == {}
    assert of(CreateSlot, one.on(Mutate(2, publish()), 0))[0].record.sequence == 2


def test_a_publish_is_ordered_as_soon_as_it_is_durable():
    """The Load leaves in the same step as the acknowledgement, not at the next tick."""
    one = leading()
    join(one, now_ms=100)
    one.on(Mutate(1, publish()), 200)
    effects = written(one, 2, 12, 200)
    (send,) = of(Send, effects)
    assert (send.order.kind.value, send.order.server, send.order.term) == ("load", "s1", 1)


def test_no_order_is_sent_before_the_hinted_servers_have_answered():
    """A new leader watches the servers of the old one for at most ten seconds before it orders anything."""
    hint = ServerHint(address="s1", data_address="s1", offer=OFFER)
    record = Record(sequence=3, term=2, cell_uid="uid", leader_address="x", servers=(hint,))
    one = leading(record)
    join(one, "s2", now_ms=6_000)
    written(one, 5, 12, 6_000)  # The hint of s2.
    one.on(Mutate(1, publish()), 7_000)
    assert of(Send, written(one, 6, 13, 7_000)) == []
    assert of(Send, one.on(Tick(0), 9_999)) == []
    assert [send.order.server for send in of(Send, one.on(Tick(0), 10_500))] == ["s2"]


def test_what_a_hinted_server_still_has_is_not_loaded_again():
    """After a change of leader a loaded replica is routed to and reloaded by nobody."""
    first = leading()
    (create,) = of(CreateSlot, first.on(Mutate(1, publish()), 0))
    hint = ServerHint(address="s1", data_address="d1", offer=OFFER)
    one = leading(replace(create.record, servers=(hint,)))
    loaded = Report(models={"/sax/test/m": SeenModel(status=Status.LOADED)}, incarnation="run")
    effects = one.on(PollAnswered("s1", one.term, one.fleet.servers["s1"].orders_changed, loaded), 100)
    assert [send.order.kind.value for send in of(Send, effects)] == ["update_acls"]
    assert one.fleet.routes.ready("/sax/test/m") == 1


def test_a_server_that_has_seen_a_higher_term_makes_us_claim_above_it():
    """When the state was lost but servers live on, the next record carries a term they obey."""
    one = leading()
    join(one)
    view = one.fleet.servers["s1"]
    report = Report(models={}, incarnation="run", highest_term=41)
    (create,) = of(CreateSlot, one.on(PollAnswered("s1", 1, view.orders_changed, report), 50))
    assert create.record.term == 42
    assert Lead(42) in written(one, create.record.sequence, 5, 60)


def test_a_join_is_answered_after_the_first_poll_or_refused_after_ten_seconds():
    """A server that cannot be polled does not get in."""
    one = leading()
    assert Answer(99, 1) in join(one)
    event = Join(
        token=5,
        address="dead",
        data_address="d",
        debug_address="",
        offer=OFFER,
        incarnation="",
        highest_term=0,
    )
    one.on(event, 1_000)
    late = of(Answer, one.on(Tick(0), 11_000))
    assert isinstance(late[0].result, errors.DeadlineExceeded)
    assert "dead" not in one.fleet.servers
