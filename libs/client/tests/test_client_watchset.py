from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sax_client.watchset import Mutation, WatchAnswer, WatchState, apply, restarted

addresses = st.sampled_from("ABCD")
mutations = st.lists(st.builds(Mutation, addresses, st.booleans()), max_size=8).map(tuple)
answers = st.builds(
    WatchAnswer,
    st.sampled_from(["one", "two"]),
    st.integers(0, 50),
    st.integers(0, 5),
    st.none() | st.frozensets(addresses),
    mutations,
)


def add(address):
    """One more address."""
    return Mutation(address, is_addition=True)


def remove(address):
    """One address less."""
    return Mutation(address, is_addition=False)


def test_full_set_then_changelog():
    """A full set replaces what we had and the changelog is applied to it in order."""
    state = WatchState("id", 3, 1, frozenset("XY"))
    answer = WatchAnswer("id", 5, 1, frozenset("A"), (add("B"), remove("A"), add("C")))
    assert apply(state, answer).state == WatchState("id", 5, 1, frozenset("BC"))


def test_first_answer_may_be_only_a_changelog():
    """With one mutation in its log an admin answers seqno 0 without a full set."""
    assert apply(WatchState(), WatchAnswer("id", 1, 1, None, (add("A"),))).state.addresses == {"A"}


def test_lower_term_changes_nothing():
    """An answer of a deposed leader is dropped whole."""
    state = WatchState("new", 7, 5, frozenset("A"))
    applied = apply(state, WatchAnswer("old", 9, 4, frozenset(), ()))
    assert (applied.state, applied.is_stale, applied.has_changed) == (state, True, False)


def test_original_admin_after_ours_is_heard():
    """An admin without terms may take over: its answers count."""
    state = WatchState("new", 7, 5, frozenset("A"))
    assert apply(state, WatchAnswer("x", 1, 0, None, (add("B"),))).state.addresses == {"A", "B"}


def test_no_change_moves_the_sequence_number():
    """An empty answer says nothing new, but its sequence number is used next."""
    applied = apply(WatchState("id", 9, 1, frozenset("A")), WatchAnswer("id", 4, 1))
    assert (applied.state, applied.has_changed) == (WatchState("id", 4, 1, frozenset("A")), False)


def test_restart_keeps_addresses():
    """After a failure everything is asked again, while the known addresses stay in use."""
    assert restarted(WatchState("id", 9, 3, frozenset("A"))) == WatchState("", 0, 3, frozenset("A"))


@given(st.lists(answers, max_size=12))
def test_applied_answers_equal_a_replay(history):
    """The addresses are those of the last full set with every later mutation, stale answers left out."""
    state, expected, term = WatchState(), set(), 0
    for answer in history:
        state = apply(state, answer).state
        if 0 < answer.term < term:
            continue
        term = answer.term
        expected = set(expected if answer.full_set is None else answer.full_set)
        for mutation in answer.mutations:
            (expected.add if mutation.is_addition else expected.discard)(mutation.address)
    assert state.addresses == expected
