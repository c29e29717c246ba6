from model_cell import load_model, running_server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from saxml.protobuf import lm_pb2

KEY = "/sax/test/m"
CALLER = ("traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")


async def test_one_request_is_one_span_below_the_span_of_its_call():
    """The caller's trace goes on: call span, below it the request with queue, prefill and decode in order."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with running_server(tracer=provider.get_tracer("test")) as cell:
        await load_model(cell)
        request = lm_pb2.GenerateRequest(model_key=KEY, text="ab")
        async for _ in cell.lm.GenerateStream(request, metadata=(CALLER,)):
            pass
    spans = {span.name: span for span in exporter.get_finished_spans()}
    call, work = spans["sax.server.lm.LMService/GenerateStream"], spans[f"text_completion {KEY}"]
    assert work.parent.span_id == call.context.span_id
    assert f"{call.parent.span_id:016x}" == "0123456789abcdef"
    assert f"{work.context.trace_id:032x}" == "0123456789abcdef0123456789abcdef"
    names = [event.name for event in work.events]
    assert names[0] == "queue"
    assert names[-1] == "decode"
    times = [event.timestamp for event in work.events]
    assert times == sorted(times)
    assert work.attributes["gen_ai.usage.output_tokens"] == 8
    assert not any("ab" in str(value) for value in work.attributes.values())
