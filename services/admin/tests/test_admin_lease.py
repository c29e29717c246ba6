"""The lease: who may take it and when, until when its holder may act, what an unknown outcome means."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from sax_admin.core.election import Candidate
from sax_admin.core.events import (
    LeaseConflict,
    LeaseRead,
    LeaseUnavailable,
    LeaseUnknown,
    LeaseWritten,
    ReadLease,
    Released,
    WriteLease,
)
from sax_admin.core.lease import CALL_MS, Lease, LeaseKeeper, LeaseTimes, Role
from sax_common.errors import InvalidArgument

OTHERS = Lease(holder_address="other", run_id="theirs", term=4, renewals=9)


def keeper(address="me", run_id="mine"):
    """Make a keeper that knows nothing."""
    return LeaseKeeper(Candidate(address=address, cell_uid="uid", run_id=run_id), LeaseTimes())


def saw(one, lease, generation, now_ms=0):
    """Let the read that is under way, or due now, find `lease`."""
    (read,) = [e for e in one.tick(now_ms) if isinstance(e, ReadLease)] or [ReadLease(one._call.attempt)]
    return one.on(LeaseRead(read.attempt, lease, generation), now_ms)


def holding(now_ms=0):
    """Make a keeper that took a free lease at `now_ms`; its generation is "1"."""
    one = keeper()
    (write,) = saw(one, None, "", now_ms)
    one.on(LeaseWritten(write.attempt, "1"), now_ms)
    assert one.role == Role.HOLDING
    return one


@pytest.mark.parametrize(
    "times", [(6_000, 6_000, 1_200), (6_000, 4_000, 3_500), (4_000, 6_000, 1), (1, 1, 0)]
)
def test_times_that_would_let_two_act_are_refused(times):
    """The lease must outlast the renew deadline, and that a retry with its jitter."""
    with pytest.raises(InvalidArgument, match="do not fit"):
        LeaseTimes(*times)


def test_an_absent_lease_is_made_at_once():
    """The first admin of a cell waits for nobody; it creates the object under term one."""
    (write,) = saw(keeper(), None, "")
    assert (write.generation, write.lease.term, write.lease.run_id) == (None, 1, "mine")


def test_a_released_lease_is_taken_at_once_under_the_next_term():
    """A graceful release is an invitation."""
    (write,) = saw(keeper(), replace(OTHERS, is_released=True), "g")
    assert (write.generation, write.lease.term) == ("g", 5)


def test_a_held_lease_is_taken_only_after_a_whole_lease_time_without_change():
    """The clock starts when the generation was first seen, and every change starts it again."""
    one = keeper()
    assert saw(one, OTHERS, "g1", 0) == []
    assert saw(one, OTHERS, "g2", 2_000) == []
    seen = [effect for now_ms in range(2_050, 8_000, 50) for effect in _answered(one, OTHERS, "g2", now_ms)]
    assert [effect for effect in seen if isinstance(effect, WriteLease)] == []
    (write,) = one.tick(8_000)
    assert (write.generation, write.lease.term) == ("g2", 5)


def _answered(one, lease, generation, now_ms):
    """Tick, and answer a read with `lease`."""
    effects = one.tick(now_ms)
    for effect in effects:
        if isinstance(effect, ReadLease):
            return one.on(LeaseRead(effect.attempt, lease, generation), now_ms)
    return effects


def test_a_predecessor_at_our_own_address_is_succeeded_at_once_but_only_at_the_first_look():
    """Who listens where the holder listened knows that it is gone; a second surprise is an address clash."""
    one = keeper()
    (write,) = saw(one, replace(OTHERS, holder_address="me"), "g")
    one.on(LeaseConflict(write.attempt), 10)
    assert saw(one, replace(OTHERS, holder_address="me", term=7), "h", 10) == []


def test_the_holder_may_act_for_the_renew_deadline_from_when_the_renewal_was_sent():
    """The time that the store took to answer is not the holder's."""
    one = holding(0)
    (write,) = one.tick(1_200)
    one.on(LeaseWritten(write.attempt, "2"), 2_900)
    assert one.is_held(5_200)
    assert not one.is_held(5_201)


def test_renewals_go_out_every_retry_time_and_carry_the_newest_record_number():
    """A successor knows from the lease how much of the state must be there."""
    one = holding(0)
    one.held_sequence = 17
    assert one.tick(1_150) == []
    (write,) = one.tick(1_200)
    assert (write.lease.renewals, write.lease.sequence, write.generation) == (1, 17, "1")


@pytest.mark.parametrize("outcome", [LeaseConflict, lambda attempt: LeaseUnknown(attempt, "timeout")])
def test_a_conflict_or_an_unknown_outcome_that_was_our_own_write_counts_as_written(outcome):
    """What the object holds decides, and the time counts from when that write was sent."""
    one = holding(0)
    (write,) = one.tick(1_200)
    one.on(outcome(write.attempt), 2_000)
    saw(one, write.lease, "2", 2_100)
    assert one.is_held(5_200)
    assert not one.is_held(5_201)


def test_a_renewal_that_did_not_happen_is_sent_again_from_the_generation_that_is_there():
    """An older renewal of ours is still ours."""
    one = holding(0)
    held = one.seen
    (write,) = one.tick(1_200)
    one.on(LeaseUnknown(write.attempt, "timeout"), 1_300)
    (again,) = saw(one, held, "1", 1_400)
    assert (again.generation, again.lease) == ("1", write.lease)
    assert one.is_held(4_000)
    assert not one.is_held(4_001)


def test_a_lease_that_somebody_else_took_is_not_held():
    """After a conflict with another process the holder is a watcher, and waits a whole lease time."""
    one = holding(0)
    (write,) = one.tick(1_200)
    one.on(LeaseConflict(write.attempt), 1_300)
    assert saw(one, OTHERS, "7", 1_400) == []
    assert (one.role, one.leader_address) == (Role.WATCHING, "other")


def test_a_call_without_an_answer_is_read_back_and_its_late_answer_is_dropped():
    """Nothing waits for ever, and an answer that comes too late proves nothing."""
    one = holding(0)
    (write,) = one.tick(1_200)
    (read,) = one.tick(1_200 + CALL_MS)
    assert isinstance(read, ReadLease)
    assert one.on(LeaseWritten(write.attempt, "2"), 3_300) == []
    assert not one.is_held(4_100)


def test_our_own_lease_from_before_we_stood_back_is_taken_again_under_a_new_term():
    """A process that was too slow to renew may lead again, but never under the term it gave up."""
    one = holding(0)
    held = one.seen
    one.stand_back(5_000)
    (write,) = saw(one, held, "1", 5_000)
    assert write.lease.term == held.term + 1


def test_a_store_that_refuses_is_asked_less_and_less_often_up_to_the_retry_time():
    """A store in trouble is not stormed."""
    one, asked = keeper(), []
    for now_ms in range(0, 10_000, 50):
        for effect in one.tick(now_ms):
            asked.append(now_ms)
            one.on(LeaseUnavailable(effect.attempt, "503"), now_ms)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps[:3] == [200, 400, 800]
    assert set(gaps[3:]) == {1_200}


def test_a_release_waits_for_the_renewal_under_way_and_is_told_when_it_is_written():
    """The last thing a holder does is to say that it holds nothing."""
    one = holding(0)
    (renewal,) = one.tick(1_200)
    assert one.end(1_250) == []
    (release,) = one.on(LeaseWritten(renewal.attempt, "2"), 1_300)
    assert release.lease.is_released
    assert one.on(LeaseWritten(release.attempt, "3"), 1_400) == [Released()]


def test_a_watcher_that_ends_has_nothing_to_release():
    """A standby goes at once."""
    one = keeper()
    saw(one, OTHERS, "g")
    assert one.end(100) == [Released()]


def test_a_takeover_that_was_under_way_at_the_end_is_released_too():
    """A process never leaves a lease behind that nobody serves."""
    one = keeper()
    (write,) = saw(one, None, "")
    assert one.end(10) == []
    (release,) = one.on(LeaseWritten(write.attempt, "1"), 20)
    assert release.lease.is_released


def test_fields_of_a_newer_program_survive_a_takeover_and_a_renewal():
    """What this program does not know it writes again."""
    one = keeper()
    (take,) = saw(one, replace(OTHERS, is_released=True, unknown=b"\x92\x0c\x01x"), "g")
    one.on(LeaseWritten(take.attempt, "1"), 0)
    (renewal,) = one.tick(1_200)
    assert (take.lease.unknown, renewal.lease.unknown) == (b"\x92\x0c\x01x", b"\x92\x0c\x01x")
