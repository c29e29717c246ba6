"""Spans from a caller to the engine, received as a collector receives them."""

# ruff: noqa: N802, D102, ARG002 -- Handlers are named and called as the protocol says.

import contextlib
import time

import grpc
import pytest
from sax_common.errors import InvalidArgument, Unavailable
from sax_runtime import metrics
from sax_runtime.channels import open_channel
from sax_runtime.engine_span import EngineSpan
from sax_runtime.grpc_server import GrpcServer
from sax_runtime.telemetry import Telemetry, setup_telemetry, tracer
from sax_testing.otlp import OtlpReceiver
from saxml.protobuf import lm_pb2, lm_pb2_grpc

MODEL = "/sax/t/m"


def _telemetry(endpoint, service="test", **more):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more}
    return setup_telemetry(service, "1", environ=environ, is_global=False)


class Lm(lm_pb2_grpc.LMServiceServicer):
    """One engine request per call."""

    def __init__(self, telemetry):
        self._tracer = telemetry.tracer("engine")

    async def GenerateStream(self, request, context):
        span = EngineSpan(self._tracer, operation="text_completion", model=MODEL, request_id="r1")
        span.event("queue")
        span.event("prefill", cached_tokens=16)
        span.event("decode", at_unix_ns=time.time_ns() + 5_000_000)
        yield lm_pb2.GenerateStreamResponse()
        span.end(finish_reason="stop", prompt_tokens=3, output_tokens=1)
        span.end(finish_reason="cancelled")
        if request.text == "fail":
            raise Unavailable("gone")


async def _call(collector, text="", *, caller_traces=True):
    server_side = _telemetry(collector.endpoint, "server")
    client_side = _telemetry(collector.endpoint, "client") if caller_traces else Telemetry(None)
    server = GrpcServer(tracer=server_side.tracer("grpc"))
    server.add(lm_pb2_grpc.add_LMServiceServicer_to_server, Lm(server_side))
    port = server.bind("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", tracer=client_side.tracer("grpc")) as channel:
        with client_side.tracer("app").start_as_current_span("POST /generate"):
            call = lm_pb2_grpc.LMServiceStub(channel).GenerateStream(lm_pb2.GenerateRequest(text=text))
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await call.read():
                    pass
            await call.code()
    await server.drain(1)
    client_side.shutdown()
    server_side.shutdown()


async def test_one_trace_from_the_caller_to_the_engine():
    """Caller, client call, server call and engine request are each the child of the one before."""
    with OtlpReceiver() as collector:
        await _call(collector)
        (engine,) = collector.wait_for(f"text_completion {MODEL}")
        client, server = sorted(
            collector.wait_for("sax.server.lm.LMService/GenerateStream", count=2),
            key=lambda span: span.service,
        )
        (root,) = collector.wait_for("POST /generate")
    assert [client.parent, server.parent, engine.parent] == [root.span_id, client.span_id, server.span_id]
    assert {root.trace_id, client.trace_id, server.trace_id} == {engine.trace_id}
    assert (client.service, server.service, root.parent) == ("client", "server", "")
    assert engine.events == ("queue", "prefill", "decode")
    assert engine.attributes["gen_ai.usage.output_tokens"] == 1
    assert engine.attributes["gen_ai.response.finish_reasons"] == ["stop"]
    assert 0.005 <= engine.attributes["gen_ai.response.time_to_first_chunk"] < 5


async def test_a_failed_call_is_an_error_on_both_sides():
    """UNAVAILABLE marks the client's and the server's span, with its number."""
    with OtlpReceiver() as collector:
        await _call(collector, "fail")
        spans = collector.wait_for("sax.server.lm.LMService/GenerateStream", count=2)
    assert [span.is_error for span in spans] == [True, True]
    assert {span.attributes["rpc.grpc.status_code"] for span in spans} == {14}


async def test_a_caller_that_does_not_trace_gives_a_root():
    """Without a caller's context the server begins a trace of its own."""
    with OtlpReceiver() as collector:
        await _call(collector, caller_traces=False)
        (server,) = collector.wait_for("sax.server.lm.LMService/GenerateStream")
    assert server.parent == ""


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"},
    ],
)
def test_nothing_is_installed_unless_asked_for(environ):
    """Without the standard variables, or with one that forbids it, there is no provider."""
    telemetry = setup_telemetry("test", "1", environ=environ)
    assert not telemetry.is_enabled
    assert not telemetry.tracer("x").start_span("y").is_recording()
    telemetry.shutdown()


def test_an_unknown_exporter_is_named():
    """A typo in OTEL_TRACES_EXPORTER is an error that lists what there is."""
    with pytest.raises(InvalidArgument, match="zipkin is not known here: use otlp, console or none"):
        setup_telemetry("test", "1", environ={"OTEL_TRACES_EXPORTER": "zipkin"})


def test_a_dead_collector_costs_spans_and_nothing_else():
    """With nobody listening, ending 3000 spans is quick, the overflow is counted and shutdown is bounded."""
    telemetry = _telemetry("http://127.0.0.1:9", OTEL_BSP_MAX_QUEUE_SIZE="600")
    spans = telemetry.tracer("x")
    before = metrics.SPANS_DROPPED._value.get()
    started = time.monotonic()
    for _ in range(3000):
        spans.start_span("s").end()
    assert time.monotonic() - started < 3
    assert metrics.SPANS_DROPPED._value.get() - before >= 3000 - 600 - 512 - 512
    started = time.monotonic()
    telemetry.shutdown(0.2)
    assert time.monotonic() - started < 2


def test_an_engine_span_without_tracing_does_nothing():
    """The no-op span takes every milestone."""
    span = EngineSpan(tracer("none"), operation="score", model=MODEL)
    span.event("decode")
    span.end(finish_reason="error", error=ValueError("x"))
