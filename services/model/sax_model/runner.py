"""Runs one request of a language model, from admission to its last token; protobuf-free.

The life of a request: admitted (counted, so that the model is not unloaded under it), tokenised on the
pool, sent to the device, read until over, accounted. `LanguageRunner.generation` and `.score` are
context and function round that; whatever ends them (an answer, an error, a cancelled call) frees the
slot within one step.

One span per request carries the events `queue`, `prefill` and `decode` with the times at which these phases
began; it hangs below the span of the call.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from opentelemetry.trace import Tracer
from sax_common.clock import NS_PER_MS, Clock
from sax_common.errors import Cancelled, DeadlineExceeded, Unavailable
from sax_engine.core.requests import Emission, Finish
from sax_runtime.authorization import caller
from sax_runtime.engine_span import EngineSpan
from sax_runtime.logs import get_logger
from sax_zoo.extra_inputs import ExtraInputs, validate
from sax_zoo.lm.calls import GenerateCall

from sax_model.core import limits
from sax_model.core.admission import Ask
from sax_model.dispatch import Dispatcher, RequestStream
from sax_model.entry import Entry
from sax_model.generation import Chunk, Generation, finish_error
from sax_model.hosted_model import HostedModel
from sax_model.table import ModelTable
from sax_model.tokenizing import TokenizerPool

WRITE_STALL_MS = 30_000  # A reader that takes nothing for so long has gone; reference/reliability.md C2.
WRITE_LOOK_S = 5.0

_log = get_logger(__name__)


class Run:
    """A request on the device. Owned by the task of its call; `writing_since_ms` is read by the sweeper."""

    def __init__(
        self,
        model: HostedModel,
        stream: RequestStream,
        generation: Generation,
        clock: Clock,
        span: EngineSpan,
    ) -> None:
        self.model = model
        self.generation = generation
        self.request_id = stream.request.request_id
        self.prompt_tokens = len(stream.request.prompt)
        self.samples = stream.request.num_samples
        self.writing_since_ms: int | None = None
        self.task = asyncio.current_task()
        self.submitted_ms = clock.monotonic_ms()
        self.span = span
        self._is_marked = False
        self._stream = stream
        # Spans are stamped with wall-clock time, and the device thread's clock is monotonic; one offset for
        # all, so that the events of a span are in order.
        self._offset_ms = clock.unix_ms() - self.submitted_ms
        span.event("queue", at_unix_ns=self._unix_ns(self.submitted_ms))

    async def next(self) -> list[Chunk]:
        """Return what has come since the last call, one chunk per sample, waiting for something."""
        return self._take(await self._stream.next())

    async def rest(self) -> list[Chunk]:
        """Return all that will come, with one wake-up of this task."""
        return self._take(await self._stream.rest())

    def _take(self, emissions: Sequence[Emission]) -> list[Chunk]:
        chunks = self.generation.take(emissions)
        if not self._is_marked and self.first_token_ms is not None:
            self._is_marked = True
            self._mark_phases(self.first_token_ms)
        return chunks

    @property
    def first_token_ms(self) -> int | None:
        """When the first token came off the device; None before."""
        return self._stream.first_token_ms

    def _mark_phases(self, first_token_ms: int) -> None:
        """Say when prefill and decode began: the loop learns of both with the first token."""
        started_ms, cached = self.generation.started_ms, self.generation.cached_tokens
        if started_ms is not None:
            self.span.event("prefill", at_unix_ns=self._unix_ns(started_ms), cached_tokens=cached)
        self.span.event("decode", at_unix_ns=self._unix_ns(first_token_ms))

    def _unix_ns(self, at_ms: int) -> int:
        return (at_ms + self._offset_ms) * NS_PER_MS


class LanguageRunner:
    """Everything the language servicer needs. Owned by the event loop."""

    def __init__(
        self, table: ModelTable, dispatcher: Dispatcher, pool: TokenizerPool, clock: Clock, tracer: Tracer
    ) -> None:
        self._table = table
        self._dispatcher = dispatcher
        self._pool = pool
        self._clock = clock
        self._tracer = tracer
        self._runs: set[Run] = set()

    @asynccontextmanager
    async def generation(
        self, key: str, method: str, call: GenerateCall, *, is_streaming: bool, remaining_s: float | None
    ) -> AsyncIterator[Run]:
        """Run a generation while the block lasts. `remaining_s` is the caller's patience, None = for ever."""
        options = call.options
        ask = Ask(
            model=key,
            method=method,
            is_streaming=is_streaming,
            access=caller(),
            samples=options.num_samples or 0,
        )

        def check(entry: Entry) -> None:
            validate(call.extra_inputs, entry.methods[method].spec.extra_inputs)
            limits.check_options(
                samples=options.num_samples, top_logprobs=options.top_logprobs, stop=options.stop
            )
            limits.check_count("messages", len(call.messages), limits.MESSAGES_MAX)
            limits.check_prompt([call.text, *(message.content for message in call.messages)])

        with self._table.admit(ask, check) as entry:
            model = _model_of(entry)
            deadline_ms = self._deadline(remaining_s)
            request_id = self._dispatcher.new_id()
            request = await self._pool.run(
                lambda: model.generate_request(request_id, call, deadline_ms=deadline_ms)
            )
            generation = Generation(
                model,
                samples=request.num_samples,
                stop=options.stop,
                wants_logprobs=options.top_logprobs is not None,
            )
            news_per_wake = entry.methods[method].spec.stream_interval * request.num_samples
            async with self._dispatcher.open(entry.lane, request, news_per_wake=news_per_wake) as stream:
                operation = "chat" if call.messages else "text_completion"
                span = EngineSpan(self._tracer, operation=operation, model=key, request_id=request_id)
                run = Run(model, stream, generation, self._clock, span)
                with self._accounted(entry, run):
                    yield run

    async def score(
        self, key: str, prefix: str, suffixes: Sequence[str], extra: ExtraInputs, *, remaining_s: float | None
    ) -> list[float]:
        """Return the score of each suffix."""
        method = "lm.score"

        def check(entry: Entry) -> None:
            validate(extra, entry.methods[method].spec.extra_inputs)
            limits.check_count("suffixes", len(suffixes), limits.SUFFIXES_MAX)
            limits.check_prompt([prefix, *suffixes])

        with self._table.admit(Ask(model=key, method=method, access=caller()), check) as entry:
            model = _model_of(entry)
            deadline_ms = self._deadline(remaining_s)
            request_id = self._dispatcher.new_id()
            requests = await self._pool.run(
                lambda: model.score_requests(request_id, prefix, suffixes, extra, deadline_ms=deadline_ms)
            )
            span = EngineSpan(self._tracer, operation="score", model=key, request_id=request_id)
            async with AsyncExitStack() as open_streams:
                open_streams.enter_context(_spanned(span, sum(len(each.prompt) for each in requests)))
                streams = [
                    await open_streams.enter_async_context(self._dispatcher.open(entry.lane, each))
                    for each in requests
                ]
                return [model.score_of(_complete(await stream.rest())) for stream in streams]

    async def sweep(self) -> None:
        """End calls whose reader has taken nothing for `WRITE_STALL_MS`; runs for ever."""
        while True:
            await asyncio.sleep(WRITE_LOOK_S)
            latest_ms = self._clock.monotonic_ms() - WRITE_STALL_MS
            for run in list(self._runs):
                since_ms = run.writing_since_ms
                if since_ms is not None and since_ms < latest_ms and run.task is not None:
                    _log.warning("a reader has stalled; its stream is ended", stalled_ms=WRITE_STALL_MS)
                    run.writing_since_ms = None
                    run.task.cancel()

    def _deadline(self, remaining_s: float | None) -> int | None:
        return None if remaining_s is None else self._clock.monotonic_ms() + int(remaining_s * 1000)

    @contextmanager
    def _accounted(self, entry: Entry, run: Run) -> Iterator[None]:
        """Trace and count a run, however it ends."""
        counters = self._table.metrics_of(entry.lane)
        self._runs.add(run)
        failure: BaseException | None = None
        reason = "error"
        try:
            yield
            reason = run.generation.reason
        except BaseException as error:
            failure, reason = error, _reason(error)
            raise
        finally:
            self._runs.discard(run)
            run.span.end(
                finish_reason=reason,
                prompt_tokens=run.prompt_tokens,
                output_tokens=run.generation.completion_tokens,
                error=failure,
            )
            if counters is not None:
                counters.finished(
                    reason=reason,
                    prompt_tokens=run.prompt_tokens,
                    completion_tokens=run.generation.completion_tokens,
                    cached_tokens=run.generation.cached_tokens,
                    submitted_ms=run.submitted_ms,
                    started_ms=run.generation.started_ms,
                    first_token_ms=run.first_token_ms,
                    ended_ms=self._clock.monotonic_ms(),
                )


@contextmanager
def _spanned(span: EngineSpan, prompt_tokens: int) -> Iterator[None]:
    """Trace a Score request, however it ends."""
    span.event("queue")
    try:
        yield
    except BaseException as error:
        span.end(finish_reason=_reason(error), prompt_tokens=prompt_tokens, error=error)
        raise
    span.end(finish_reason="length", prompt_tokens=prompt_tokens)


def _reason(error: BaseException) -> str:
    """How a request that raised has ended, in the words of the metrics."""
    if isinstance(error, asyncio.CancelledError | Cancelled):
        return "cancelled"
    return "deadline" if isinstance(error, DeadlineExceeded) else "error"


def _model_of(entry: Entry) -> HostedModel:
    if entry.model is None:
        raise Unavailable(f"{entry.spec.key} is going away; try another server")
    return entry.model


def _complete(emissions: Sequence[Emission]) -> Sequence[Emission]:
    """Return the emissions of a Score request, or raise why there is no score."""
    for emission in emissions:
        if emission.finish not in (None, Finish.STOP, Finish.LENGTH):
            raise finish_error(emission.finish)
    return emissions
