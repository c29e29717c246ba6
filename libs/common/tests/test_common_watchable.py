import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_common.watchable import SEQNO_MAX, Blocked, Mutation, WatchAnswer, WatchLog

ADDRESSES = st.sampled_from(["a:1", "b:1", "c:1", "d:1", "e:1"])
# None: the client reads; else one mutation.
STEPS = st.lists(st.none() | st.builds(Mutation, st.booleans(), ADDRESSES), max_size=80)


def apply(log, mutation):
    """Carry out one mutation."""
    (log.add if mutation.is_addition else log.remove)(mutation.address)


def added(*addresses):
    """Make a log of these additions."""
    log = WatchLog()
    for address in addresses:
        log.add(address)
    return log


@given(STEPS)
def test_client_always_ends_with_the_servers_set(steps):
    """Whatever happens and whenever a client asks, applying the answers gives the server's set."""
    log, model = WatchLog(), set()
    known, seqno = frozenset(), 0
    for step in [*steps, None]:
        if step is not None:
            apply(log, step)
            (model.add if step.is_addition else model.discard)(step.address)
            continue
        answer = log.read(seqno)
        if isinstance(answer, WatchAnswer):
            known, seqno = answer.apply_to(known), answer.next_seqno
        assert known == log.values == model
        assert log.read(seqno) == Blocked()


@given(STEPS, st.integers(0, 100))
def test_any_number_is_answered_as_the_table_says(steps, seqno):
    """Full set below the log, the tail of the log within it, blocked at its end, no data beyond."""
    log = WatchLog()
    mutations = [step for step in steps if step is not None]
    for mutation in mutations:
        apply(log, mutation)
    answer = log.read(seqno)
    if seqno == len(mutations):
        assert answer == Blocked()
    elif seqno > len(mutations):
        assert answer == WatchAnswer(len(mutations))
    elif answer.has_full_set:
        assert answer.apply_to(frozenset({"junk"})) == log.values
    else:
        assert answer.changes == tuple(mutations[seqno:])
        assert answer.values == frozenset()


@given(STEPS)
def test_log_is_folded_exactly_as_the_original_does(steps):
    """After each mutation the older half is folded when the log has two entries and twice the base."""
    log, base, tail = WatchLog(), set(), []
    for step in steps:
        if step is None:
            continue
        apply(log, step)
        tail.append(step)
        if len(tail) >= 2 and len(tail) > 2 * len(base):
            half = len(tail) // 2
            for is_addition, address in tail[:half]:
                (base.add if is_addition else base.discard)(address)
            tail = tail[half:]
        assert (log._base, log._log) == (base, tail)


def test_worked_example_of_the_reference():
    """One addition gives no full set; two give a full set of one and one change."""
    assert added("A").read(0) == WatchAnswer(1, changes=(Mutation(is_addition=True, address="A"),))
    assert added("A", "B").read(0) == WatchAnswer(
        2, has_full_set=True, values=frozenset("A"), changes=(Mutation(is_addition=True, address="B"),)
    )


def test_reading_changes_nothing():
    """Two clients that ask the same get the same."""
    log = added("A", "B", "C")
    assert log.read(0) == log.read(0)


def test_closed_log_gives_an_empty_full_set():
    """After an unpublish every reader loses all addresses and starts again at 0; mutations come too late."""
    log = added("A")
    log.close()
    log.close()
    assert log.read(0) == log.read(7) == WatchAnswer(0, has_full_set=True)
    with pytest.raises(ValueError, match="closed"):
        log.add("B")


def test_negative_number_is_refused():
    """The service must have checked before."""
    with pytest.raises(ValueError, match="negative"):
        WatchLog().read(-1)


def test_numbers_wrap_into_a_new_life():
    """At the end of int32 a new life begins, whose reader at 0 learns the whole set."""
    log = WatchLog(next_seqno=SEQNO_MAX - 3)
    for address in ("A", "B", "C"):
        log.add(address)
    assert (log.next_seqno, log.lives) == (SEQNO_MAX, 0)
    log.remove("B")
    assert log.lives == 1
    assert log.next_seqno == 4
    assert log.read(0).apply_to(frozenset({"old"})) == log.values == {"A", "C"}
