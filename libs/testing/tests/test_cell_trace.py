"""One trace leads from the caller of HTTP to the engine and back."""

import json
import urllib.request
from collections.abc import Iterator

import pytest
from sax_testing.otlp import OtlpReceiver, ReceivedSpan
from sax_testing.processes import ProcessCell, smollm2_path

pytestmark = [pytest.mark.processes, pytest.mark.model, pytest.mark.timeout(300)]
ENGINE = "text_completion /sax/test/smollm2"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ReceivedSpan]]:
    """The spans of one question, asked over HTTP with a traceparent, as an OTLP collector received them."""
    with OtlpReceiver() as collector, ProcessCell(tmp_path_factory.mktemp("cell")) as cell:
        cell.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        cell.start_admin()
        cell.start_model()
        cell.start_http()
        model = cell.model("smollm2")
        cell.saxutil("publish", model, "hf.CausalLM", str(smollm2_path()), "1")
        cell.wait_ready("smollm2")
        body = {"model": model, "query": "Hello", "extra_inputs": {"per_example_max_decode_steps": 4}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{cell.ports['http']}/generate",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        urllib.request.urlopen(request, timeout=60).close()
        collector.wait_for(ENGINE, timeout_s=20)
        collector.wait_for("POST /generate", timeout_s=20)
        yield [span for span in collector.spans if span.trace_id == TRACE]


def test_every_span_of_the_question_is_a_link_of_one_chain(spans: list[ReceivedSpan]) -> None:
    """HTTP, the client's call, the model server's call and the engine are parent and child, in this order."""
    by_id = {span.span_id: span for span in spans}
    chain = [next(span for span in spans if span.name == ENGINE)]
    while chain[-1].parent != CALLER:
        chain.append(by_id[chain[-1].parent])
    links = [(span.service, span.name) for span in reversed(chain)]
    # FastAPI adds links of its own between the request and what its handler calls.
    assert [link for link in links if not link[1].startswith("fastapi.")] == [
        ("sax-http-server", "POST /generate"),
        ("sax-http-server", "sax.server.lm.LMService/Generate"),
        ("sax-model-server", "sax.server.lm.LMService/Generate"),
        ("sax-model-server", ENGINE),
    ]


def test_the_engine_span_tells_queue_prefill_and_decode(spans: list[ReceivedSpan]) -> None:
    """The engine's one span has an event for each part of the request's life."""
    engine = next(span for span in spans if span.name == ENGINE)
    assert {"queue", "prefill", "decode"} <= set(engine.events)


def test_no_span_holds_a_prompt_or_an_answer(spans: list[ReceivedSpan]) -> None:
    """What users ask and get stays out of traces."""
    assert "Hello" not in str(spans)
