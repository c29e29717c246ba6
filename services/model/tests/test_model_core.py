import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_common.access import Access, AclTable, Principal
from sax_common.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SaxError,
    Unavailable,
)
from sax_model.core.admission import Ask, LoadedView, MethodView, ServerView, acl_of, admit, request_limit
from sax_model.core.fencing import Fence
from sax_model.core.joining import JoinState, next_join_ms, next_look_ms
from sax_model.core.lifecycle import TRANSITIONS, Event, IllegalTransition, State, after
from sax_model.core.method_stats import MethodStats, percentile
from sax_model.core.platform import chip_type, physical_chips, topology_type
from sax_model.core.text import SentText


def test_a_model_lives_from_load_to_unload():
    """Load, loaded, unload, gone: each state follows from the table."""
    state = after(None, Event.LOAD)
    for event, expected in [
        (Event.LOAD_DONE, State.LOADED),
        (Event.UNLOAD, State.UNLOADING),
        (Event.UNLOAD_DONE, None),
    ]:
        state = after(state, event)
        assert state is expected


def test_a_failed_model_can_be_loaded_again_and_dropped():
    """FAILED is not the end: Load tries again and Unload forgets it at once."""
    assert after(State.FAILED, Event.LOAD) is State.LOADING
    assert after(State.FAILED, Event.UNLOAD) is None


def test_an_event_outside_the_table_names_state_and_event():
    """An impossible event raises and says what was attempted where."""
    for state, event in itertools.product([None, *State], Event):
        if (state, event) not in TRANSITIONS:
            with pytest.raises(IllegalTransition, match=event.value) as caught:
                after(state, event)
            assert (state.value if state else "absent") in str(caught.value)


def test_a_lower_term_is_refused_once_a_higher_one_was_seen():
    """Orders of a replaced leader are refused with FAILED_PRECONDITION, and so are those without a term."""
    fence = Fence("run-1").check(5, "run-1")
    assert fence.highest_term == 5
    assert fence.check(5, "").highest_term == 5
    for term in (4, 0):
        with pytest.raises(FailedPrecondition, match="term 5"):
            fence.check(term, "run-1")


def test_an_original_admin_is_obeyed_until_a_term_was_seen():
    """Term 0 is an original admin; it is fine as long as nobody fenced it."""
    assert Fence("run-1").check(0, "").highest_term == 0


def test_an_order_for_another_run_is_refused():
    """What was meant for the process before the restart is not obeyed, and raises no term."""
    fence = Fence("run-2")
    with pytest.raises(FailedPrecondition, match="run run-1"):
        fence.check(9, "run-1")


EVE = Access(principal=Principal(name="eve"), table=AclTable())


def refuse_extra():
    """Stand for extra inputs that are wrong."""
    raise InvalidArgument("extra")


def test_admission_checks_come_in_the_documented_order():
    """With everything wrong the first check answers; mending one problem shows the next."""
    method = MethodView(is_streamable=False, limit=4, in_flight=4, slots=2, acl="alice,bob")
    streamable = MethodView(is_streamable=True, limit=4, in_flight=4, slots=2, acl="alice, eve")
    ask = Ask(model="/sax/c/m", method="lm.score", is_streaming=True, access=EVE, samples=3)
    down = ServerView(is_dormant=True, rejects_early=True)
    other = LoadedView({"lm.generate": method})

    def fail(server, model, extra=refuse_extra, asked=ask):
        with pytest.raises(SaxError) as caught:
            admit(asked, server, model, available=["/sax/c/b", "/sax/c/a"], check_extra_inputs=extra)
        return caught.value

    error = fail(down, None)
    assert isinstance(error, Unavailable)
    assert "dormant" in error.message
    error = fail(ServerView(), None)
    assert isinstance(error, NotFound)
    assert error.message == (
        "/sax/c/m is still loading or already unloaded. Available models: /sax/c/a, /sax/c/b"
    )
    error = fail(ServerView(), other)
    assert isinstance(error, InvalidArgument)
    assert error.message == "/sax/c/m does not support lm.score"
    assert "streaming" in fail(ServerView(), LoadedView({"lm.score": method})).message
    unary = Ask(model="/sax/c/m", method="lm.score", access=EVE, samples=3)
    assert isinstance(fail(ServerView(), LoadedView({"lm.score": method}), asked=unary), PermissionDenied)
    loaded = LoadedView({"lm.score": streamable})
    assert fail(ServerView(), loaded).message == "extra"
    assert "3 samples" in fail(ServerView(), loaded, lambda: None).message
    one = Ask(model="/sax/c/m", method="lm.score", is_streaming=True, access=EVE, samples=1)
    error = fail(ServerView(), loaded, lambda: None, one)
    assert isinstance(error, ResourceExhausted)
    assert error.message == "Too many requests: /sax/c/m 4"


def test_without_access_control_lists_have_no_effect():
    """A cell on a laptop knows nobody, so there is nobody to refuse, as in the original."""
    view = LoadedView({"lm.score": MethodView(is_streamable=False, limit=1, in_flight=0, slots=1, acl="bob")})
    admit(
        Ask(model="m", method="lm.score"), ServerView(), view, available=[], check_extra_inputs=lambda: None
    )


def test_a_stream_inherits_the_list_of_its_method():
    """Who may not call lm.generate may not stream it, unless the stream has a list of its own."""
    assert acl_of({"lm.generate": "acl/x"}, "lm.generate_stream") == "acl/x"
    assert acl_of({"lm.generate": "acl/x", "lm.generate_stream": "acl/y"}, "lm.generate_stream") == "acl/y"
    assert acl_of({"lm.generate": "acl/x"}, "lm.score") is None


def test_the_request_limit_is_never_below_one():
    """Batch size times live batches, but a model always takes one request."""
    assert request_limit(8, 4) == 32
    assert request_limit(0, 4) == 1


def test_method_stats_forget_after_a_minute():
    """Rates are per second over 60 s; what is older does not count."""
    stats = MethodStats("lm.generate")
    for at_ms, latency_s in [(1_000, 9.0), (30_000, 1.0), (40_000, 3.0)]:
        stats.begin()
        stats.success(at_ms, latency_s, 2)
    stats.begin()
    stats.error(41_000)
    stats.begin()
    report = stats.report(61_000)
    assert report.successes_per_second == pytest.approx(2 / 60)
    assert report.errors_per_second == pytest.approx(1 / 60)
    assert (report.mean_s, report.p50_s, report.pending) == (2.0, 2.0, 1)
    assert report.p95_s == pytest.approx(2.9)
    assert report.recent_batch_sizes == (2, 2, 2)


def test_percentiles_interpolate_between_neighbours():
    """Like numpy's default: halfway between two values is their mean."""
    assert percentile([], 50) is None
    assert percentile([1.0, 2.0], 50) == 1.5
    assert percentile([5.0], 99) == 5.0


def test_prefix_len_counts_only_leading_ascii():
    """From the first non-ASCII character on, each message repeats the rest."""
    sent = SentText()
    assert sent.add("Hel") == (0, "Hel")
    assert sent.add("lo ") == (3, "lo ")
    assert sent.add("Zoë") == (6, "Zoë")
    assert sent.add("!") == (8, "ë!")
    assert sent.add("") == (8, "ë!")


@given(st.lists(st.text(max_size=5), max_size=12))
def test_a_reader_that_counts_characters_and_one_that_counts_bytes_both_get_the_text(chunks):
    """The rule of the original clients rebuilds the text whether they slice characters or bytes."""
    sent, by_chars, by_bytes = SentText(), "", b""
    for chunk in chunks:
        prefix_len, text = sent.add(chunk)
        by_chars = by_chars[:prefix_len] + text
        by_bytes = by_bytes[:prefix_len] + text.encode()
    assert by_chars == "".join(chunks)
    assert by_bytes.decode() == by_chars


def test_join_happens_at_once_when_the_location_changes():
    """A new admin address is joined now; the same one only when nobody polls."""
    state = JoinState().located("a:1")
    assert next_join_ms(state, 100) == 100
    state = state.joined(100, "a:1", is_original=False)
    assert next_join_ms(state, 200) == 5_100
    assert next_join_ms(state.polled(3_000), 4_000) == 8_000
    assert next_join_ms(state.located("b:1"), 4_000) == 4_000


def test_an_original_admin_is_joined_as_its_own_servers_do():
    """Towards an original: 30 s unpolled, and every 15 minutes even when polled."""
    state = JoinState().located("a:1").joined(0, "a:1", is_original=True)
    assert next_join_ms(state, 1) == 30_000
    assert next_join_ms(state.polled(899_000), 899_000) == 900_000


def test_failed_joins_are_repeated_with_growing_pauses():
    """1, 2, 4, 5, 5 seconds; a new location starts afresh."""
    state, pauses = JoinState().located("a:1"), []
    for _ in range(5):
        state = state.failed(0)
        pauses.append(next_join_ms(state, 0))
    assert pauses == [1_000, 2_000, 4_000, 5_000, 5_000]
    assert next_join_ms(state.located("b:1"), 7) == 7


def test_nobody_to_join_without_a_location():
    """A cell without an admin that answers is looked at twice a second until there is one."""
    assert next_join_ms(JoinState(), 0) is None
    assert next_look_ms(JoinState(), 10) == 510
    joined = JoinState().located("a").joined(0, "a", is_original=False)
    assert next_look_ms(joined, 10) == 5_010
    assert next_look_ms(joined.failed(9), 10) == 510


def test_chip_and_topology_names_become_enum_names():
    """Names are case-insensitive, twisted topologies count as plain, unknown ones are UNKNOWN."""
    known = frozenset({"CHIP_TOPOLOGY_1", "CHIP_TOPOLOGY_2X2X1"})
    assert chip_type("CPU") == "CHIP_TYPE_CPU"
    assert chip_type("abacus") == "CHIP_TYPE_UNKNOWN"
    assert topology_type("2x2x1_twisted", known) == "CHIP_TOPOLOGY_2X2X1"
    assert topology_type("7x7", known) == "CHIP_TOPOLOGY_UNKNOWN"
    assert physical_chips("2x2x4_untwisted") == 16
    assert physical_chips("?x?") is None
