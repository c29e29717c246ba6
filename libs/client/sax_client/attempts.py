"""The attempts of one data call: its deadline, the replicas tried, and what happens after a failure.

`Target` is what all calls of one model share (its replicas and its retry budget); `Attempts` belongs to one
call. `model.py` begins an attempt, makes the call, and reports how it ended; exactly one of `ended` and
`failed` follows each `begin`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sax_common.errors import DeadlineExceeded, SaxError

from sax_client import retry

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sax_common.clock import Clock

    from sax_client.replicas import Replicas
    from sax_client.rpc import CallFailed

_AWAY = frozenset({retry.UNAVAILABLE, retry.NOT_FOUND})
"""Failures after which a replica is held to be gone: not there, or there without the model."""


@dataclass(slots=True, kw_only=True)
class Target:
    """Where the calls of one model go. Mutable (the budget), owned by one event loop."""

    model_id: str
    replicas: Replicas
    kind: retry.CallKind
    clock: Clock
    rng: random.Random
    notice: Callable[[str], None]
    ready_timeout_s: float | None = None
    budget: retry.Budget = field(default_factory=retry.Budget)


class Attempts:
    """One call from its first attempt to its end."""

    def __init__(self, target: Target, *, timeout_s: float) -> None:
        self._target = target
        self._deadline_ms = target.clock.monotonic_ms() + int(timeout_s * 1000)
        self._ready_deadline_ms = self._deadline_ms
        if target.ready_timeout_s is not None:
            ready_ms = target.clock.monotonic_ms() + int(target.ready_timeout_s * 1000)
            self._ready_deadline_ms = min(self._deadline_ms, ready_ms)
        self._tried: set[str] = set()
        self._number = 0
        self._last: SaxError | None = None
        target.budget = target.budget.with_request()

    @property
    def remaining_s(self) -> float:
        """What is left of the deadline, for the RPC; always above zero, for gRPC wants it so."""
        return max(self._remaining_ms, 1) / 1000

    @property
    def _remaining_ms(self) -> int:
        return self._deadline_ms - self._target.clock.monotonic_ms()

    async def begin(self) -> str:
        """Lease an address for the next attempt. Raises SaxError when there is none or no time."""
        if self._remaining_ms <= 0:
            raise self._last or DeadlineExceeded(f"No time was given to call {self._target.model_id}.")
        self._number += 1
        return await self._target.replicas.lease(
            tried=self._tried,
            deadline_ms=self._ready_deadline_ms,
            may_wait=self._target.kind is not retry.CallKind.DATA_FAIL_FAST,
        )

    def ended(self, address: str) -> None:
        """The attempt has succeeded, or nobody wants to know any more: the replica is as good as before."""
        self._target.replicas.give_back(address, is_reachable=True)

    async def failed(self, address: str, failed: CallFailed, *, messages: int = 0) -> None:
        """Note a failed attempt and wait before the next; raise its error when there is none.

        `messages` counts what the caller has already received of a stream.
        """
        target = self._target
        target.replicas.give_back(address, is_reachable=failed.code not in _AWAY)
        self._tried.add(address)
        self._last = failed.error
        pause_ms = retry.pause_before_retry(
            target.kind,
            retry.Attempt(
                self._number, failed.code, has_answered=messages > 0, pushback_ms=failed.pushback_ms
            ),
            target.budget,
            remaining_ms=self._remaining_ms,
            jitter=target.rng.random(),
        )
        if pause_ms is None:
            raise failed.error from None
        target.budget = target.budget.with_retry()
        target.notice(f"trying another replica: {failed.error.message}")
        await target.clock.sleep_ms(pause_ms)
