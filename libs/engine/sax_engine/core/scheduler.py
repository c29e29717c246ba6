"""Which requests run in the next step, and what a finished step means for them.

The life of a request here: `submit` puts it into the waiting line (priority, then arrival). `plan` admits
from the head of the line when slots and the *worst case* of pages are there, so that nothing admitted ever
runs out of memory. Every plan then holds one token of each decoding sample and, under a token budget, chunks
of the prompts that are still entering: running streams never wait for a long prompt. `commit` takes the
result of the oldest plan and says what was emitted.

Plans run ahead of results: a decoding sample is planned again before its token is known (the backend reads it
from the sample's slot). If that token turns out to be the last, the row planned ahead is ignored; whatever
it writes lies in pages whose next owner writes later, for the device runs plans in order.

The scheduler never reads a clock and never touches the device. It does not preempt: what is admitted
finishes.
"""

import heapq
import itertools
import math
from dataclasses import dataclass

from sax_engine.core.pages import PagePool
from sax_engine.core.planning import PlanBuilder
from sax_engine.core.requests import (
    Emission,
    Finish,
    IntegrityError,
    QueueFull,
    Request,
    worst_case_pages,
)
from sax_engine.core.sequences import Job, Sample, stops
from sax_engine.port import BackendInfo, StepPlan, StepResult

STALE_FACTOR = 2  # The line is swept when cancelled requests are more than half of it.


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLimits:
    """The operator's bounds. At `max_queue` waiting requests the next submit raises QueueFull.

    `prefill_tokens` of prompt enter per step at most (None: all the backend takes); smaller means shorter
    gaps between the tokens of running streams. `max_samples` bounds the samples of one request (None: all
    slots).
    """

    max_queue: int = 1024
    prefill_tokens: int | None = None
    max_samples: int | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """What a row of a plan was for.

    It `emits` a token, and/or scores `targets` tokens from `offset` in the plan's tokens; `answers` marks
    the end of a pure Score.
    """

    sample: Sample
    emits: bool
    answers: bool = False
    offset: int = 0
    targets: int = 0


class Scheduler:
    """Mutable, single owner, deterministic: equal calls give equal plans."""

    def __init__(self, info: BackendInfo, limits: EngineLimits) -> None:
        self._info = info
        self._limits = limits
        self._pool = PagePool(info.num_pages)
        self._free_slots = list(range(info.max_rows - 1, -1, -1))
        self._builder = PlanBuilder(info)
        self._arrivals = itertools.count()
        self._waiting: list[tuple[tuple[int, int], Job]] = []
        self._jobs: dict[str, Job] = {}
        self._running: list[Job] = []
        self._in_flight: list[list[_Row]] = []
        self._news: list[Emission] = []
        self._next_deadline: float = math.inf
        self._owed = 0
        self.step_number = 0

    # ---- coming and going

    @property
    def has_work(self) -> bool:
        """True while a request lives or an emission is untold."""
        return bool(self._jobs or self._news)

    @property
    def queued(self) -> int:
        """Requests in the waiting line."""
        return len(self._jobs) - len(self._running)

    @property
    def running(self) -> int:
        """Requests that hold slots."""
        return len(self._running)

    @property
    def pages_used(self) -> int:
        """Pages some sample owns."""
        return self._pool.used

    @property
    def plans_out(self) -> int:
        """Plans made whose results have not been committed."""
        return len(self._in_flight)

    @property
    def slots_used(self) -> int:
        """Slots some sample owns."""
        return self._info.max_rows - len(self._free_slots)

    def submit(self, request: Request) -> None:
        """Put a checked request into the waiting line, or raise QueueFull and change nothing."""
        if self.queued >= self._limits.max_queue:
            raise QueueFull(f"{self.queued} requests are waiting; the bound is {self._limits.max_queue}")
        job = Job(request, next(self._arrivals))
        self._jobs[request.request_id] = job
        heapq.heappush(self._waiting, (job.order, job))
        if request.deadline_ms is not None:
            self._next_deadline = min(self._next_deadline, request.deadline_ms)

    def is_known(self, request_id: str) -> bool:
        """True while the request waits or runs."""
        return request_id in self._jobs

    def end(self, request_id: str, finish: Finish) -> None:
        """End a request at once; its slots and pages are free on return. An unknown one is over: fine."""
        job = self._jobs.get(request_id)
        if job is None:
            return
        if not job.samples:
            for index in range(job.request.num_samples):
                self._news.append(Emission(request_id, index, finish=finish))
            self._forget(job)
            return
        for sample in job.samples:
            if sample.finish is None:
                self._news.append(Emission(request_id, sample.index, finish=finish))
                self._finish(sample, finish)

    def end_all(self, finish: Finish) -> None:
        """End every request."""
        for request_id in list(self._jobs):
            self.end(request_id, finish)

    def expire(self, now_ms: int) -> None:
        """End what is past its deadline, waiting or running."""
        if now_ms < self._next_deadline:
            return
        deadlines = {name: job.request.deadline_ms for name, job in self._jobs.items()}
        due = [name for name, limit in deadlines.items() if limit is not None and limit <= now_ms]
        for name in due:
            self.end(name, Finish.DEADLINE)
        left = [job.request.deadline_ms for job in self._jobs.values()]
        self._next_deadline = min((limit for limit in left if limit is not None), default=math.inf)

    def take_news(self) -> list[Emission]:
        """Hand over the emissions that no step brought (cancellations, deadlines)."""
        news, self._news = self._news, []
        return news

    # ---- planning

    def plan(self, now_ms: int) -> StepPlan | None:
        """Make the next plan, or None when nothing can run now."""
        self._admit()
        rows: list[_Row] = []
        for job in self._running:
            # Sample 0 last: the others copy the shared last page first, and it keeps the original.
            rows.extend(
                self._plan_decode(sample)
                for sample in reversed(job.samples)
                if sample.is_ready and sample.planned < job.request.max_new_tokens
            )
        self._builder.end_decode()
        self._plan_prefill(rows, now_ms)
        if not rows:
            return None
        self.step_number += 1
        self._in_flight.append(rows)
        return self._builder.finish(self.step_number)

    def _admit(self) -> None:
        """Move requests from the head of the line to the running ones while the worst case fits.

        A head that does not fit blocks those behind it: otherwise a stream of small requests would starve it.
        """
        while self._waiting:
            job = self._waiting[0][1]
            if job.is_over:
                heapq.heappop(self._waiting)
                continue
            need = worst_case_pages(job.request, self._info.page_size)
            if need > self._pool.free - self._owed or job.request.num_samples > len(self._free_slots):
                return
            heapq.heappop(self._waiting)
            job.owed_pages = need
            self._owed += need
            job.samples = [Sample(job, i, self._free_slots.pop()) for i in range(job.request.num_samples)]
            for sample in job.samples:
                self._builder.set_slot(sample.slot, job.request.sampling, sample.index)
            self._running.append(job)

    def _plan_decode(self, sample: Sample) -> _Row:
        request = sample.job.request
        position = sample.computed
        self._make_room(sample, position, position + 1)
        is_literal = position < len(request.prompt)  # A sample that re-runs the last prompt token.
        token = request.prompt[position] if is_literal else None
        self._builder.add_decode(sample.slot, position, token, request.top_logprobs)
        sample.computed += 1
        sample.planned += 1
        return _Row(sample, emits=True)

    def _plan_prefill(self, rows: list[_Row], now_ms: int) -> None:
        block = self._info.prefill_block
        budget = self._limits.prefill_tokens or self._info.max_prefill_tokens
        blocks = max(1, min(budget, self._info.max_prefill_tokens) // block)
        for job in self._running:
            first = job.samples[0]
            if blocks == 0:
                return
            if first.finish is not None or first.computed >= job.prefill_end:
                continue
            length = min(job.prefill_end - first.computed, blocks * block)
            blocks -= -(-length // block)
            job.started_ms = now_ms if job.started_ms is None else job.started_ms
            rows.append(self._plan_chunk(first, length))

    def _plan_chunk(self, sample: Sample, length: int) -> _Row:
        job, start = sample.job, sample.computed
        request, end = job.request, sample.computed + length
        self._make_room(sample, start, end)
        is_last = end == job.prefill_end
        emits = is_last and request.max_new_tokens > 0
        first_target = max(start, (request.score_from or end + 1) - 1)
        targets = request.prompt[first_target + 1 : end + 1]
        offset = self._builder.add_chunk(
            sample.slot, start, request.prompt[start:end], targets, first_target - start, emits=emits,
            top_logprobs=request.top_logprobs,
        )  # fmt: skip
        sample.computed = end
        if emits:
            sample.planned = 1
            self._ready(job)
        offset += first_target - start
        return _Row(sample, emits, is_last and not emits, offset, len(targets))

    def _ready(self, job: Job) -> None:
        """Let the samples decode from the next plan on; all but the first start at the last prompt token."""
        first, others = job.samples[0], job.samples[1:]
        first.is_ready = True
        for sample in others:
            sample.is_ready = True
            sample.computed = len(job.request.prompt) - 1
            # A page that holds nothing before that token is not worth sharing.
            kept = -(-sample.computed // self._info.page_size)
            for index, page in enumerate(first.pages[:kept]):
                self._pool.share(page)
                self._builder.set_page(sample.slot, index, page)
            sample.pages = first.pages[:kept]

    def _make_room(self, sample: Sample, start: int, end: int) -> None:
        """See that positions start to end - 1 lie in pages that only this sample owns."""
        size = self._info.page_size
        for index in range(start // size, -(-end // size)):
            if index == len(sample.pages):
                sample.pages.append(self._take(sample.job))
            elif self._pool.is_shared(sample.pages[index]):
                shared = sample.pages[index]
                sample.pages[index] = self._take(sample.job)
                self._builder.add_copy(shared, sample.pages[index])
                self._pool.release([shared])
            else:
                continue
            self._builder.set_page(sample.slot, index, sample.pages[index])

    def _take(self, job: Job) -> int:
        job.owed_pages -= 1
        self._owed -= 1
        return self._pool.take()

    # ---- results

    def commit(self, result: StepResult) -> list[Emission]:
        """Take the result of the oldest plan that is out, and say what it brought."""
        rows = self._in_flight.pop(0)
        tokens, logprobs = result.tokens.tolist(), result.logprobs.tolist()
        emissions: list[Emission] = []
        for number, row in enumerate(rows):
            sample = row.sample
            if sample.finish is not None:
                continue
            job = sample.job
            if row.targets:
                scores = result.target_logprobs[row.offset : row.offset + row.targets]
                job.prompt_logprobs.extend(scores.tolist())
            if row.emits:
                top = _alternatives(result, number, job.request.top_logprobs)
                emissions.append(self._accept(sample, tokens[number], logprobs[number], top))
            elif row.answers:
                emissions.append(self._answer_score(sample))
        return emissions

    def _accept(
        self, sample: Sample, token: int, logprob: float, top: tuple[tuple[int, float], ...]
    ) -> Emission:
        job, request = sample.job, sample.job.request
        is_first = not sample.tokens and sample.index == 0
        scores = tuple(job.prompt_logprobs) if is_first and request.score_from is not None else None
        if not all(map(math.isfinite, (logprob, *(scores or ())))):
            # Never sent as text: the model's numbers have broken down.
            self._finish(sample, Finish.ERROR)
            return Emission(request.request_id, sample.index, finish=Finish.ERROR)
        sample.tokens.append(token)
        finish = None
        if stops(request, sample.tokens):
            finish = Finish.STOP
        elif len(sample.tokens) == request.max_new_tokens:
            finish = Finish.LENGTH
        emission = Emission(
            request.request_id, sample.index, (token,), (logprob,), (top,) if top else (),
            scores, finish, job.cached_tokens, job.started_ms if len(sample.tokens) == 1 else None,
        )  # fmt: skip
        if finish is not None:
            self._finish(sample, finish)
        return emission

    def _answer_score(self, sample: Sample) -> Emission:
        job = sample.job
        scores = tuple(job.prompt_logprobs)
        finish = Finish.LENGTH if all(map(math.isfinite, scores)) else Finish.ERROR
        self._finish(sample, finish)
        return Emission(
            job.request.request_id, sample.index, prompt_logprobs=scores, finish=finish,
            cached_tokens=job.cached_tokens, started_ms=job.started_ms,
        )  # fmt: skip

    def _finish(self, sample: Sample, finish: Finish) -> None:
        sample.finish = finish
        sample.is_ready = False
        self._pool.release(sample.pages)
        self._builder.clear_slot(sample.slot)
        sample.pages = []
        self._free_slots.append(sample.slot)
        if all(each.finish is not None for each in sample.job.samples):
            self._running.remove(sample.job)
            self._forget(sample.job)

    def _forget(self, job: Job) -> None:
        job.is_over = True
        if not job.samples and len(self._waiting) > STALE_FACTOR * self.queued:
            self._waiting = [entry for entry in self._waiting if not entry[1].is_over]
            heapq.heapify(self._waiting)
        self._owed -= job.owed_pages
        job.owed_pages = 0
        del self._jobs[job.request.request_id]

    # ---- truth

    def check(self) -> None:
        """Raise IntegrityError unless pages, slots and promises add up; cheap enough to run whenever idle."""
        samples = [sample for job in self._running for sample in job.samples if sample.finish is None]
        self._pool.check(page for sample in samples for page in sample.pages)
        slots = sorted(self._free_slots + [sample.slot for sample in samples])
        if slots != list(range(self._info.max_rows)):
            raise IntegrityError(
                f"free and used slots together are {slots}, not 0 to {self._info.max_rows - 1}"
            )
        owed = sum(job.owed_pages for job in self._running)
        if owed != self._owed or owed > self._pool.free or any(job.owed_pages < 0 for job in self._running):
            raise IntegrityError(
                f"{self._owed} pages are promised on the books, {owed} in truth, {self._pool.free} are free"
            )
        self._builder.check({sample.slot: sample.pages for sample in samples})


def _alternatives(result: StepResult, row: int, count: int) -> tuple[tuple[int, float], ...]:
    """The best `count` tokens of a row with their log-probabilities."""
    if not count:
        return ()
    tokens = result.top_tokens[row, :count].tolist()
    return tuple(zip(tokens, result.top_logprobs[row, :count].tolist(), strict=True))
