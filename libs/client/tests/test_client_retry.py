from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_client import retry
from sax_client.retry import Attempt, Budget, CallKind, pause_before_retry

codes = st.sampled_from(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "NOT_FOUND", "INTERNAL", "DEADLINE_EXCEEDED"])


def decide(kind, attempt, *, tokens=10.0, remaining_ms=60_000, jitter=0.5):
    """Decide with plenty of everything, except what is said."""
    return pause_before_retry(kind, attempt, Budget(tokens), remaining_ms=remaining_ms, jitter=jitter)


@pytest.mark.parametrize(
    ("kind", "retried"),
    [
        (CallKind.ADMIN, {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}),
        (CallKind.DATA, {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "NOT_FOUND"}),
        (CallKind.DATA_FAIL_FAST, {"NOT_FOUND"}),
    ],
)
def test_which_codes_are_retried(kind, retried):
    """Each kind of call repeats exactly the codes of the original's table."""
    every = ["CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "NOT_FOUND", "ABORTED", "UNAVAILABLE", "INTERNAL"]
    every += ["RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "PERMISSION_DENIED"]
    assert {code for code in every if decide(kind, Attempt(1, code)) is not None} == retried


@given(st.sampled_from(CallKind), codes, st.integers(1, 500))
def test_never_after_the_first_message(kind, code, number):
    """A stream that has answered is never repeated."""
    assert decide(kind, Attempt(number, code, has_answered=True)) is None


@given(st.sampled_from(CallKind), codes, st.integers(1, 500), st.integers(0, 60_000), st.floats(0, 0.999))
def test_pause_is_bounded(kind, code, number, remaining_ms, jitter):
    """A pause never exceeds two seconds nor outlasts the deadline."""
    pause = decide(kind, Attempt(number, code), remaining_ms=remaining_ms, jitter=jitter)
    assert pause is None or (0 <= pause <= 2000 and pause < remaining_ms)


def test_data_attempts_are_bounded_and_admin_calls_outlast_an_election():
    """A data call is tried four times; an admin call may go on for at least ten seconds."""
    assert decide(CallKind.DATA, Attempt(3, "UNAVAILABLE")) is not None
    assert decide(CallKind.DATA, Attempt(4, "UNAVAILABLE")) is None
    pauses = [decide(CallKind.ADMIN, Attempt(n, "UNAVAILABLE"), jitter=0.0) for n in range(1, 200)]
    assert sum(pauses) > 10_000


@given(st.lists(st.booleans(), max_size=2000))
def test_budget_keeps_attempts_below_six_fifths(retries):
    """Whatever fails, retries stay within a fifth of the requests plus the reserve."""
    budget, spent = Budget(), 0
    for wants_retry in retries:
        budget = budget.with_request()
        if wants_retry and budget.allows_retry:
            budget, spent = budget.with_retry(), spent + 1
    assert spent <= 0.2 * len(retries) + retry.RESERVE + 1e-6


def test_pushback():
    """The server's own pause wins over ours, and a negative one means never."""
    assert decide(CallKind.DATA, Attempt(1, "RESOURCE_EXHAUSTED", pushback_ms=700)) == 700
    assert decide(CallKind.DATA, Attempt(1, "RESOURCE_EXHAUSTED", pushback_ms=-1)) is None


def test_empty_budget():
    """Without a whole token a data call is not repeated; an admin call needs none."""
    assert decide(CallKind.DATA, Attempt(1, "UNAVAILABLE"), tokens=0.9) is None
    assert decide(CallKind.ADMIN, Attempt(1, "UNAVAILABLE"), tokens=0.0) is not None
