"""Backoff: which failures are tried again, how long to wait, and when to stop; policies as values.

The life of a retried call: `retry` makes the call; a failure that the policy does not name is raised at
once; one that it names is followed by a pause (exponential, jittered, capped) and another try, until the
call works, the deadline is too near for another pause, or the attempts are used up. Then the *last
failure* is raised as it is (so the reader learns why), except when only the deadline stopped it: then
DeadlineExceeded that quotes the failure.

    ADMIN_CALL   UNAVAILABLE, RESOURCE_EXHAUSTED             (reference/control_plane.md 3.4)
    DATA_CALL    these and NOT_FOUND: the replica may not hold the model any more, another does
    STORE_CALL   StoreUnavailable: a request that surely was not applied; never OutcomeUnknown, whose next
                 step is a read and belongs to the protocol, not here

Numbers of admin and data calls are the original's (10 ms, x1.1, +-50 %, cap 20 s) but for two: growth is
x1.5, for x1.1 means 25 tries in the first second of an outage, and there is always a deadline.

Tenacity does the counting; time, sleeping and randomness are parameters, so tests neither wait nor guess.
"""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import tenacity

from sax_common.clock import Clock
from sax_common.errors import DeadlineExceeded, NotFound, ResourceExhausted, SaxError, Unavailable
from sax_common.store.port import StoreUnavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffPolicy:
    """When to try again. Delays in milliseconds; `jitter` 0.5 means 50 % to 150 % of the plain delay."""

    retried: tuple[type[SaxError], ...]
    first_ms: int = 10
    factor: float = 1.5
    jitter: float = 0.5
    max_ms: int = 20_000
    attempts_max: int = 1_000

    def is_retried(self, error: BaseException) -> bool:
        """Say whether this failure is worth another try."""
        return isinstance(error, self.retried)

    def delay_ms(self, attempt: int, rng: random.Random) -> int:
        """Say the pause after failed attempt number `attempt` (the first is 1)."""
        # The exponent is bounded: 1.5**1000 is too large for a float.
        plain_ms = min(self.first_ms * self.factor ** min(attempt - 1, 100), self.max_ms)
        return round(plain_ms * rng.uniform(1 - self.jitter, 1 + self.jitter))


ADMIN_CALL = BackoffPolicy(retried=(Unavailable, ResourceExhausted))
DATA_CALL = BackoffPolicy(retried=(Unavailable, ResourceExhausted, NotFound))
STORE_CALL = BackoffPolicy(retried=(StoreUnavailable,), first_ms=100, factor=2, max_ms=5_000)


async def retry(
    call: Callable[[], Awaitable[T]],
    policy: BackoffPolicy,
    *,
    clock: Clock,
    rng: random.Random,
    timeout_ms: int,
) -> T:
    """Make an asynchronous call until it works, as the policy says.

    `timeout_ms` bounds the tries and pauses (an attempt itself is bounded by the call's own deadline).
    Raises what the call raised last, or DeadlineExceeded when there was no time for another try.
    """
    give_up_ms = clock.monotonic_ms() + timeout_ms

    async def pause(seconds: float) -> None:
        await clock.sleep_ms(round(seconds * 1000))

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(policy.is_retried),
        wait=lambda state: policy.delay_ms(state.attempt_number, rng) / 1000,
        stop=lambda state: _is_over(state, policy, give_up_ms - clock.monotonic_ms()),
        sleep=pause,
        retry_error_callback=lambda state: _give_up(state, policy, timeout_ms),
    )
    result: T = await retrying(call)
    return result


def retry_sync(
    call: Callable[[], T],
    policy: BackoffPolicy,
    *,
    rng: random.Random,
    timeout_ms: int,
    now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
    sleep_s: Callable[[float], None] = time.sleep,
) -> T:
    """Make a blocking call until it works; as `retry`, for threads without an event loop."""
    give_up_ms = now_ms() + timeout_ms
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(policy.is_retried),
        wait=lambda state: policy.delay_ms(state.attempt_number, rng) / 1000,
        stop=lambda state: _is_over(state, policy, give_up_ms - now_ms()),
        sleep=sleep_s,
        retry_error_callback=lambda state: _give_up(state, policy, timeout_ms),
    )
    return retrying(call)


def _is_over(state: tenacity.RetryCallState, policy: BackoffPolicy, left_ms: int) -> bool:
    # A pause that ends at or after the deadline would only delay the bad news.
    return state.attempt_number >= policy.attempts_max or state.upcoming_sleep * 1000 >= left_ms


def _give_up(state: tenacity.RetryCallState, policy: BackoffPolicy, timeout_ms: int) -> NoReturn:
    failure = state.outcome.exception() if state.outcome else None
    if failure is None:
        raise AssertionError("Tenacity gave up without a failure.")
    if state.attempt_number >= policy.attempts_max:
        raise failure
    raise DeadlineExceeded(
        f"Gave up after {state.attempt_number} attempts in {timeout_ms} ms; the last failure: {failure}"
    ) from failure
