"""Feeds the engine's part of the metrics catalogue, one object per lane. Owned by the event loop.

Gauges read the last snapshot at each scrape; counters grow by the difference of two snapshots or once per
request. Nothing here runs per token but one addition per step.
"""

from collections.abc import Callable

from prometheus_client import Gauge
from sax_engine.core.engine import EngineSnapshot
from sax_runtime import metrics

from sax_model.hosted_model import HostedModel
from sax_model.mailbox import Stepped

_GAUGES = (
    metrics.ENGINE_RUNNING,
    metrics.ENGINE_WAITING,
    metrics.ENGINE_KV_USAGE,
    metrics.ENGINE_KV_PAGES,
    metrics.ENGINE_PAGE_TOKENS,
    metrics.MODEL_BYTES,
)


class EngineMetrics:
    """What one lane shows on /metrics."""

    def __init__(self, key: str, model: HostedModel) -> None:
        self._key = key
        self._last = model.engine.snapshot()
        self._steps = metrics.ENGINE_STEPS.labels(model=key)
        self._step_seconds = metrics.ENGINE_STEP_SECONDS.labels(model=key)
        self._output_tokens = metrics.OUTPUT_TOKENS.labels(model=key)
        self._between_tokens = metrics.BETWEEN_TOKENS_SECONDS.labels(model=key)
        metrics.ENGINE_PAGE_TOKENS.labels(model=key).set(model.engine.request_limits.page_size)
        metrics.ENGINE_KV_PAGES.labels(model=key).set(self._last.pages_total)
        metrics.MODEL_BYTES.labels(model=key).set(model.memory_bytes)
        self._show(metrics.ENGINE_RUNNING, lambda last: last.running)
        self._show(metrics.ENGINE_WAITING, lambda last: last.queued)
        self._show(metrics.ENGINE_KV_USAGE, lambda last: last.pages_used / max(last.pages_total, 1))

    def stepped(self, news: Stepped) -> None:
        """Take note of a finished step."""
        finished = news.snapshot.steps_finished - self._last.steps_finished
        if finished:
            self._steps.inc(finished)
            self._step_seconds.observe(news.step_ms / 1000)
        self._output_tokens.inc(news.snapshot.generated_tokens - self._last.generated_tokens)
        self._last = news.snapshot

    def finished(
        self,
        *,
        reason: str,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int,
        submitted_ms: int,
        started_ms: int | None,
        first_token_ms: int | None,
        ended_ms: int,
    ) -> None:
        """Count a request that is over; times are monotonic milliseconds, None for what did not happen."""
        key = self._key
        metrics.REQUESTS_DONE.labels(model=key, finished_reason=reason).inc()
        metrics.PROMPT_TOKENS.labels(model=key).inc(prompt_tokens)
        metrics.PREFIX_QUERIES.labels(model=key).inc(prompt_tokens)
        metrics.PREFIX_HITS.labels(model=key).inc(cached_tokens)
        metrics.REQUEST_SECONDS.labels(model=key).observe((ended_ms - submitted_ms) / 1000)
        metrics.REQUEST_PROMPT_TOKENS.labels(model=key).observe(prompt_tokens)
        metrics.REQUEST_OUTPUT_TOKENS.labels(model=key).observe(completion_tokens)
        if started_ms is not None:
            metrics.QUEUE_SECONDS.labels(model=key).observe((started_ms - submitted_ms) / 1000)
        if first_token_ms is None:
            return
        metrics.FIRST_TOKEN_SECONDS.labels(model=key).observe((first_token_ms - submitted_ms) / 1000)
        metrics.DECODE_SECONDS.labels(model=key).observe((ended_ms - first_token_ms) / 1000)
        if started_ms is not None:
            metrics.PREFILL_SECONDS.labels(model=key).observe((first_token_ms - started_ms) / 1000)
        if completion_tokens > 1:
            self._between_tokens.observe((ended_ms - first_token_ms) / 1000 / (completion_tokens - 1))

    def close(self) -> None:
        """Take the lane's gauges away; counters stay, as counters do."""
        for gauge in _GAUGES:
            gauge.remove(self._key)

    def _show(self, gauge: Gauge, read: Callable[[EngineSnapshot], float]) -> None:
        gauge.labels(model=self._key).set_function(lambda: read(self._last))
