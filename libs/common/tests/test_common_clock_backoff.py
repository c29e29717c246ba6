# ruff: noqa: S311 -- Jitter is no secret.

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sax_common import backoff
from sax_common.clock import ManualClock, SystemClock
from sax_common.errors import DeadlineExceeded, InvalidArgument, NotFound, Unavailable
from sax_common.store.port import OutcomeUnknown, StoreUnavailable


class JumpingClock(ManualClock):
    """A clock whose sleepers do not wait: time jumps to the end of the sleep."""

    async def sleep_ms(self, ms):
        """Move time instead of waiting."""
        self.advance_ms(ms)
        await asyncio.sleep(0)


class Flaky:
    """Fails with these errors one after the other, then says ok."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = 0

    def sync(self):
        """Make one call."""
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "ok"

    async def __call__(self):
        """Make one asynchronous call."""
        return self.sync()


def retry(call, policy=backoff.ADMIN_CALL, clock=None, timeout_ms=60_000):
    """Retry with a clock that jumps and a fixed seed."""
    clock = clock or JumpingClock()
    return backoff.retry(call, policy, clock=clock, rng=random.Random(1), timeout_ms=timeout_ms)


async def test_retries_until_it_works():
    """Failures that the policy names are followed by another try, after growing pauses."""
    clock = JumpingClock()
    call = Flaky(Unavailable("a"), Unavailable("b"))
    assert await retry(call, clock=clock) == "ok"
    assert call.calls == 3
    assert 12 <= clock.monotonic_ms() <= 38  # 10 ms and 15 ms, each +-50 %.


async def test_other_failures_are_raised_at_once():
    """A failure that the policy does not name is not tried again."""
    call = Flaky(InvalidArgument("bad"))
    with pytest.raises(InvalidArgument, match="bad"):
        await retry(call)
    assert call.calls == 1


async def test_not_found_is_retried_on_data_calls_only():
    """A replica may have lost the model; the admin has not."""
    assert await retry(Flaky(NotFound("gone")), backoff.DATA_CALL) == "ok"
    with pytest.raises(NotFound):
        await retry(Flaky(NotFound("gone")))


async def test_unknown_outcome_is_never_retried_on_a_store():
    """Sending a change again whose outcome is unknown is the protocol's decision."""
    assert await retry(Flaky(StoreUnavailable("x")), backoff.STORE_CALL) == "ok"
    with pytest.raises(OutcomeUnknown):
        await retry(Flaky(OutcomeUnknown("x")), backoff.STORE_CALL)


async def test_deadline_ends_it_and_quotes_the_last_failure():
    """When time is up the caller gets DEADLINE_EXCEEDED with the reason, and not a millisecond late."""
    clock = JumpingClock()
    with pytest.raises(DeadlineExceeded, match="no leader"):
        await retry(Flaky(*[Unavailable("no leader")] * 999), clock=clock, timeout_ms=5_000)
    assert 2_000 < clock.monotonic_ms() <= 5_000


async def test_attempts_are_bounded():
    """After the last attempt its own failure is raised."""
    policy = backoff.BackoffPolicy(retried=(Unavailable,), attempts_max=3)
    call = Flaky(*[Unavailable("down")] * 9)
    with pytest.raises(Unavailable, match="down"):
        await retry(call, policy)
    assert call.calls == 3


def test_sync_retry_sleeps_with_the_given_sleep():
    """The blocking helper behaves the same and waits only through its parameter."""
    slept = []
    result = backoff.retry_sync(
        Flaky(Unavailable("a")).sync,
        backoff.ADMIN_CALL,
        rng=random.Random(1),
        timeout_ms=1000,
        now_ms=lambda: 0,
        sleep_s=slept.append,
    )
    assert result == "ok"
    assert len(slept) == 1
    assert 0.005 <= slept[0] <= 0.015


@given(st.integers(1, 10_000), st.integers(0, 2**32))
def test_delays_stay_within_their_bounds(attempt, seed):
    """Every delay is between half the first and one and a half of the cap, whatever the attempt."""
    delay_ms = backoff.ADMIN_CALL.delay_ms(attempt, random.Random(seed))
    assert 5 <= delay_ms <= 30_000


async def test_manual_clock_wakes_in_order_of_deadlines():
    """Nobody wakes early; those whose time has come wake by deadline, then by arrival."""
    clock = ManualClock()
    woken = []

    async def sleeper(name, ms):
        await clock.sleep_ms(ms)
        woken.append(name)

    tasks = [asyncio.create_task(sleeper(*each)) for each in (("late", 20), ("a", 10), ("b", 10), ("now", 0))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert woken == ["now"]
    clock.advance_ms(9)
    await asyncio.sleep(0)
    assert clock.sleeping == 3
    clock.advance_ms(11)
    await asyncio.gather(*tasks)
    assert woken == ["now", "a", "b", "late"]
    assert (clock.monotonic_ms(), clock.unix_ms()) == (20, 1_700_000_000_020)


async def test_cancelled_sleeper_is_forgotten():
    """A cancelled sleep leaves nothing behind in the clock."""
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep_ms(10))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleeping == 0


def test_manual_clock_never_goes_back():
    """A negative step is a programming error."""
    with pytest.raises(ValueError, match="go back"):
        ManualClock().advance_ms(-1)


async def test_system_clock_goes_on():
    """The real clock sleeps at least as long as asked."""
    clock = SystemClock()
    start_ms = clock.monotonic_ms()
    await clock.sleep_ms(5)
    assert clock.monotonic_ms() - start_ms >= 4
    assert clock.unix_ms() > 1_700_000_000_000
