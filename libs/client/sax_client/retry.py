"""May this failed attempt be repeated, and when? The only place that decides it for client calls.

Pure: an attempt's outcome goes in, a decision comes out. Rules (reference/control_plane.md 3.4 with the
bounds of reference/reliability.md C7):

    admin calls     UNAVAILABLE, RESOURCE_EXHAUSTED; until the deadline, for an election takes 7 s
    data calls      those and NOT_FOUND said by a server (it has just unloaded the model), at most 4 attempts
    fail_fast       NOT_FOUND said by a server only
    streams         as data calls until the first message arrived, never after

A data retry must also be paid from the `Budget` that all calls of one model share: a fifth of a token comes
in with every request and a retry takes a whole one, so a dead cell sees at most 1.2 times the requests
(plus `RESERVE`), however long it stays dead. A server may say when to come back
(``grpc-retry-pushback-ms``; negative means never, gRPC proposal A6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

UNAVAILABLE, RESOURCE_EXHAUSTED, NOT_FOUND = "UNAVAILABLE", "RESOURCE_EXHAUSTED", "NOT_FOUND"

TOKENS_PER_REQUEST = 0.2
RESERVE = 3.0
"""Retries that are always possible at first: Envoy's minimum concurrency of the same budget."""
MOST_TOKENS = 10.0
"""Tokens saved in good times; gRPC A6 uses the same number."""


class CallKind(Enum):
    """Who is called, as far as retries are concerned."""

    ADMIN = "admin"
    DATA = "data"
    DATA_FAIL_FAST = "data, fail fast"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which codes are repeated, how often and with which pauses."""

    codes: frozenset[str]
    max_attempts: int
    base_ms: int
    cap_ms: int
    needs_budget: bool


POLICIES = {
    CallKind.ADMIN: Policy(frozenset({UNAVAILABLE, RESOURCE_EXHAUSTED}), 200, 50, 2_000, needs_budget=False),
    CallKind.DATA: Policy(
        frozenset({UNAVAILABLE, RESOURCE_EXHAUSTED, NOT_FOUND}), 4, 20, 2_000, needs_budget=True
    ),
    CallKind.DATA_FAIL_FAST: Policy(frozenset({NOT_FOUND}), 4, 20, 2_000, needs_budget=True),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended: `number` counts from 1, `code` is the canonical name of the error."""

    number: int
    code: str
    has_answered: bool = False
    pushback_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """Tokens left for retries, shared by all calls of one model in one process."""

    tokens: float = RESERVE

    def with_request(self) -> Budget:
        """A new request came in and brings its fraction."""
        return replace(self, tokens=min(MOST_TOKENS, self.tokens + TOKENS_PER_REQUEST))

    def with_retry(self) -> Budget:
        """A retry was paid."""
        return replace(self, tokens=self.tokens - 1.0)

    @property
    def allows_retry(self) -> bool:
        """Whether a whole token is there."""
        return self.tokens >= 1.0


def pause_before_retry(
    kind: CallKind, attempt: Attempt, budget: Budget, *, remaining_ms: int, jitter: float
) -> int | None:
    """Milliseconds to wait before the next attempt, or None when this failure is the answer.

    `jitter` is uniform in [0, 1) and spreads the pause over [half, whole], so that clients that failed
    together do not come back together. A pause that would outlast `remaining_ms` is None: the caller gets
    the real error now instead of DEADLINE_EXCEEDED later.
    """
    policy = POLICIES[kind]
    if attempt.has_answered or attempt.code not in policy.codes or attempt.number >= policy.max_attempts:
        return None
    if policy.needs_budget and not budget.allows_retry:
        return None
    if attempt.pushback_ms is not None:
        pause = attempt.pushback_ms if attempt.pushback_ms >= 0 else None
    else:
        # The exponent is bounded so that the 200th attempt does not make a 60-digit number.
        whole = min(policy.cap_ms, policy.base_ms << min(attempt.number - 1, 16))
        pause = int(whole * (0.5 + 0.5 * jitter))
    return pause if pause is not None and pause < remaining_ms else None
