"""When a server counts as alive, and what an answer changes."""

from __future__ import annotations

import pytest
from sax_admin.core.liveness import Liveness, liveness, majority_vanished
from sax_admin.core.servers import Order, OrderKind, Report, SeenModel, ServerView, Status

M = "/sax/test/m"


@pytest.mark.parametrize(
    ("silent_ms", "is_original", "state"),
    [
        (0, False, Liveness.ALIVE),
        (5_999, False, Liveness.ALIVE),
        (6_000, False, Liveness.SUSPECT),
        (19_999, False, Liveness.SUSPECT),
        (20_000, False, Liveness.DEAD),
        (600_000, False, Liveness.GONE),
        (24_999, True, Liveness.ALIVE),
        (25_000, True, Liveness.DEAD),
    ],
)
def test_silence_decides(silent_ms, is_original, state):
    """Three missed polls make our servers suspect and 20 s dead; originals keep their 25 s."""
    found = liveness(answered_ms=1_000, known_since_ms=0, now_ms=1_000 + silent_ms, is_original=is_original)
    assert found == state


def test_a_server_that_never_answered_is_new_and_then_forgotten():
    """Without a first answer a server is never routed to, and not kept for long."""
    assert liveness(answered_ms=None, known_since_ms=0, now_ms=19_999, is_original=True) == Liveness.NEW
    assert liveness(answered_ms=None, known_since_ms=0, now_ms=20_000, is_original=True) == Liveness.GONE


def test_more_than_half_silent_is_more_likely_our_own_fault():
    """Two of four may die; three of four that vanish together freeze reassignment."""
    alive, silent = Liveness.ALIVE, Liveness.SUSPECT
    assert not majority_vanished([alive, alive, silent, silent])
    assert majority_vanished([alive, silent, silent, Liveness.DEAD])


def order(kind=OrderKind.LOAD):
    """Make an order for M."""
    return Order(kind=kind, server="s", model=M, term=1, incarnation="run", digest=b"d")


def report(status=None, incarnation="run"):
    """Make a report with M in `status`."""
    models = {} if status is None else {M: SeenModel(status=status, digest=b"d")}
    return Report(models=models, incarnation=incarnation)


def test_an_answer_from_before_an_order_ended_does_not_undo_it():
    """A poll that crossed a finished Load does not take the replica out of routing."""
    view = ServerView(address="s", data_address="s")
    view.answer(report(), 0, 0)
    load = order()
    view.start(load)
    sent_at = view.orders_changed
    view.finish(load, None, 5)
    assert not view.answer(report(Status.LOADING), sent_at, 6)
    assert view.seen[M].status == Status.LOADED
    assert view.next_poll_ms == 6


def test_another_process_run_has_forgotten_everything():
    """A new incarnation drops what was loaded, what was under way and what had failed."""
    view = ServerView(address="s", data_address="s")
    view.answer(report(Status.LOADED), 0, 0)
    load = order()
    view.start(load)
    assert view.answer(report(incarnation="next"), 0, 9)
    assert (view.seen, view.in_flight, view.attempts) == ({}, {}, {})
    assert not view.finish(load, None, 10)


def test_a_replica_is_not_ready_while_it_is_being_taken_away():
    """The address goes before the unload is sent."""
    view = ServerView(address="s", data_address="s")
    view.answer(report(Status.LOADED), 0, 0)
    assert view.is_ready(M)
    view.start(order(OrderKind.UNLOAD))
    assert not view.is_ready(M)
