"""One span for one request inside the engine, with its milestones as events.

    span = EngineSpan(tracer("sax.model"), operation="text_completion", model="/sax/test/m")
    span.event("queue")                    # accepted into the engine's inbox
    span.event("prefill", cached_tokens=16)
    span.event("decode")                   # the first token exists
    span.end(finish_reason="stop", prompt_tokens=5, output_tokens=32)

A request waits, is prefilled and decodes; three spans for that would cost three exports and say no more.
Names and attributes are those of OpenTelemetry's GenAI conventions (reference/landscape.md E3); neither
prompt nor output is ever an attribute. Where nothing records, each method returns after one test.

Made in the handler, so that it is a child of the RPC's span; afterwards any one thread at a time may use it.
"""

import time
from typing import Literal

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

Milestone = Literal["queue", "prefill", "decode"]


class EngineSpan:
    """The span of one request; `operation` is `chat`, `text_completion` or our `score`."""

    def __init__(self, tracer: Tracer, *, operation: str, model: str, request_id: str = "") -> None:
        self._started_ns = time.time_ns()
        self._span: Span = tracer.start_span(
            f"{operation} {model}",
            kind=SpanKind.INTERNAL,
            attributes={
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": "sax",
                "gen_ai.request.model": model,
                "gen_ai.response.id": request_id,
            },
        )
        self._is_ended = False

    def event(self, milestone: Milestone, *, at_unix_ns: int | None = None, **facts: AttributeValue) -> None:
        """Note that the request reached a milestone, now or, where it is told afterwards, at `at_unix_ns`."""
        if not self._span.is_recording():
            return
        at = at_unix_ns or time.time_ns()
        self._span.add_event(milestone, facts, at)
        if milestone == "decode":
            waited_s = (at - self._started_ns) / 1e9
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", waited_s)

    def end(
        self,
        *,
        finish_reason: str,
        prompt_tokens: int = 0,
        output_tokens: int = 0,
        error: BaseException | None = None,
    ) -> None:
        """End the span; a second end is ignored, for a cancel may race with the last token."""
        if self._is_ended:
            return
        self._is_ended = True
        if self._span.is_recording():
            self._span.set_attribute("gen_ai.response.finish_reasons", [finish_reason])
            self._span.set_attribute("gen_ai.usage.input_tokens", prompt_tokens)
            self._span.set_attribute("gen_ai.usage.output_tokens", output_tokens)
            if error is not None:
                self._span.set_attribute("error.type", type(error).__name__)
                self._span.set_status(Status(StatusCode.ERROR, finish_reason))
        self._span.end()
