"""Traces: nothing unless asked for, and never in the way of serving.

Asking is done with the standard variables of OpenTelemetry: `OTEL_EXPORTER_OTLP_ENDPOINT` (or
`_TRACES_ENDPOINT`) or `OTEL_TRACES_EXPORTER` (`otlp`, `console`, `none`) installs a tracer provider;
`OTEL_SDK_DISABLED=true` forbids it. Sampling (`OTEL_TRACES_SAMPLER`), queue sizes (`OTEL_BSP_*`), headers
and certificates (`OTEL_EXPORTER_OTLP_*`) are read by the SDK.

The life of a span: it ends on the event loop and is appended to a bounded queue (2048); a thread of the SDK
sends batches over OTLP/gRPC. With the collector away the queue fills and spans are dropped and counted
(`sax_trace_spans_dropped_total`); the serving side notices nothing.
"""

import os
import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Tracer
from sax_common.errors import InvalidArgument

from sax_runtime import metrics
from sax_runtime.logs import get_logger

_log = get_logger(__name__)
_FLUSH_S = 3.0
_QUEUE_SPANS = 2048  # The SDK's own default.


class Telemetry:
    """What `setup_telemetry` installed; `provider` is None when nothing was asked for."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._provider = provider

    @property
    def is_enabled(self) -> bool:
        """Whether spans are recorded and sent."""
        return self._provider is not None

    def tracer(self, name: str) -> Tracer:
        """Return a tracer of this telemetry, a no-op one when nothing is installed."""
        return trace.get_tracer(name) if self._provider is None else self._provider.get_tracer(name)

    def shutdown(self, timeout_s: float = _FLUSH_S) -> None:
        """Send what is queued, for at most `timeout_s`.

        A dead collector must not hold up the end of a process. Blocks; call it last, or in a thread.
        """
        if self._provider is None:
            return
        sender = threading.Thread(target=self._provider.shutdown, name="telemetry-shutdown", daemon=True)
        sender.start()
        sender.join(timeout_s)
        if sender.is_alive():
            _log.warning("trace collector does not answer; the last spans are lost", waited_s=timeout_s)


def tracer(name: str) -> Tracer:
    """Return a tracer of whatever provider the process has, now or later."""
    return trace.get_tracer(name)


def setup_telemetry(
    service: str, version: str, *, environ: Mapping[str, str] = os.environ, is_global: bool = True
) -> Telemetry:
    """Install tracing as the environment asks; once per process, at start.

    `is_global=False` leaves the process's provider alone (tests, several programs in one process).
    Raises InvalidArgument for an exporter that this build does not have.
    """
    metrics.BUILD_INFO.labels(service=service, version=version).set(1)
    exporter = _exporter(environ)
    if exporter is None:
        return Telemetry(None)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service, SERVICE_VERSION: version}))
    provider.add_span_processor(
        _CountingProcessor(exporter, int(environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or _QUEUE_SPANS))
    )
    if is_global:
        trace.set_tracer_provider(provider)
    return Telemetry(provider)


def _exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    kind = environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or kind == "none":
        return None
    if kind == "console":
        return ConsoleSpanExporter()
    if kind == "otlp":
        # Imported late: it costs 100 ms, and most processes at a laptop never trace.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter(endpoint=endpoint)
    raise InvalidArgument(f"OTEL_TRACES_EXPORTER={kind} is not known here: use otlp, console or none")


class _CountingProcessor(BatchSpanProcessor):
    """The SDK's bounded queue, which drops the oldest span in silence when full; here the drop is counted."""

    def __init__(self, exporter: SpanExporter, capacity: int) -> None:
        self._capacity = capacity
        self._pending = 0
        self._lock = threading.Lock()
        super().__init__(_CountingExporter(exporter, self._taken), max_queue_size=capacity)

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            with self._lock:
                self._pending += 1
                if self._pending > self._capacity:
                    self._pending = self._capacity
                    metrics.SPANS_DROPPED.inc()
        super().on_end(span)

    def _taken(self, count: int) -> None:
        with self._lock:
            self._pending = max(0, self._pending - count)


class _CountingExporter(SpanExporter):
    """Hands batches to another exporter, says how many left the queue, counts those it could not send."""

    def __init__(self, inner: SpanExporter, taken: Callable[[int], None]) -> None:
        self._inner = inner
        self._taken = taken

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._taken(len(spans))
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            metrics.SPANS_DROPPED.inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)
