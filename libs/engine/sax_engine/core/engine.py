"""The engine: requests in, emissions out, one step at a time.

The life of a step, with two tickets out at most:

    step k:   expire deadlines -> plan k -> launch k -> collect k-1 -> commit k-1 -> emissions
                                            device runs k while the host commits k-1 and plans k+1

Who calls `step` owns the engine: one thread, in a loop, while `has_work`. Submitting and cancelling happen
between steps on the same thread. Nothing here blocks but `collect`. The engine reads no clock: `now_ms` is
an argument.

If the backend raises, the exception passes through `step`; the engine's books stay whole, `abort_all` ends
what lives, and the backend must not be used again.
"""

from collections import deque
from dataclasses import dataclass

from sax_engine.core.requests import (
    Emission,
    Finish,
    IntegrityError,
    Request,
    RequestLimits,
    RequestRejected,
    check_request,
)
from sax_engine.core.scheduler import EngineLimits, Scheduler
from sax_engine.port import Backend, Ticket

TICKETS_OUT = 2  # One running, one planned behind it: more would only make cancellation slower.


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSnapshot:
    """How the engine stands between two steps. Counters are since its creation."""

    queued: int
    running: int
    pages_used: int
    pages_total: int
    slots_used: int
    slots_total: int
    tickets_out: int
    steps_finished: int
    prompt_tokens: int
    generated_tokens: int


class Engine:
    """Continuous batching over one backend. Mutable, single owner, deterministic."""

    def __init__(self, backend: Backend, limits: EngineLimits | None = None) -> None:
        self._backend = backend
        self._info = info = backend.info
        limits = limits if limits is not None else EngineLimits()
        self._scheduler = Scheduler(info, limits)
        self._request_limits = RequestLimits(
            vocab_size=info.vocab_size,
            max_len=info.max_len,
            page_size=info.page_size,
            num_pages=info.num_pages,
            max_samples=min(limits.max_samples or info.max_rows, info.max_rows),
            max_top_logprobs=info.max_top_logprobs,
        )
        self._tickets: deque[Ticket] = deque()
        self._steps_finished = 0
        self._prompt_tokens = 0
        self._generated_tokens = 0

    @property
    def has_work(self) -> bool:
        """True while `step` has something to do or to say."""
        return self._scheduler.has_work or bool(self._tickets)

    @property
    def request_limits(self) -> RequestLimits:
        """What one request may be; `submit` holds to it."""
        return self._request_limits

    def submit(self, request: Request, now_ms: int) -> None:
        """Take a request, or raise RequestRejected or QueueFull and change nothing.

        One that is past its deadline already is taken, and ends with DEADLINE at the next step.
        """
        if self._scheduler.is_known(request.request_id):
            raise RequestRejected(f"a request named {request.request_id!r} is here already")
        check_request(request, self._request_limits)
        self._scheduler.submit(request)
        self._scheduler.expire(now_ms)
        self._prompt_tokens += len(request.prompt)

    def cancel(self, request_id: str) -> None:
        """End a request; slots and pages are free on return. The next step tells CANCELLED per open sample.

        A request that is over, or was never here, is left in peace.
        """
        self._scheduler.end(request_id, Finish.CANCELLED)

    def step(self, now_ms: int) -> list[Emission]:
        """Launch one plan and collect the one before; [] when nothing has come back yet."""
        self._scheduler.expire(now_ms)
        plan = self._scheduler.plan(now_ms)
        if plan is not None:
            self._tickets.append(self._backend.launch(plan))
        emissions = self._scheduler.take_news()
        if len(self._tickets) == TICKETS_OUT or (plan is None and self._tickets):
            result = self._backend.collect(self._tickets.popleft())
            emissions += self._scheduler.commit(result)
            self._steps_finished += 1
        self._generated_tokens += sum(len(emission.tokens) for emission in emissions)
        return emissions

    def abort_all(self, reason: Finish = Finish.ERROR) -> list[Emission]:
        """End every request with `reason` and say so. Tickets that are out stay out and will be ignored."""
        self._scheduler.end_all(reason)
        return self._scheduler.take_news()

    def snapshot(self) -> EngineSnapshot:
        """Say how the engine stands."""
        return EngineSnapshot(
            queued=self._scheduler.queued,
            running=self._scheduler.running,
            pages_used=self._scheduler.pages_used,
            pages_total=self._info.num_pages,
            slots_used=self._scheduler.slots_used,
            slots_total=self._info.max_rows,
            tickets_out=len(self._tickets),
            steps_finished=self._steps_finished,
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated_tokens,
        )

    def check_integrity(self) -> None:
        """Raise IntegrityError when pages, slots, promises or tickets do not add up; cheap when idle."""
        self._scheduler.check()
        if self._scheduler.plans_out != len(self._tickets):
            raise IntegrityError(
                f"{self._scheduler.plans_out} plans are out, but {len(self._tickets)} tickets"
            )

    def release(self) -> None:
        """Give back the backend's memory; the engine may not be used afterwards."""
        self._backend.release()
