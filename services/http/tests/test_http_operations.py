"""Probes, metrics, pages, traces, names of cells, and the program itself."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sax_client import AsyncClient
from sax_common.clock import ManualClock
from sax_common.errors import InvalidArgument, NotFound
from sax_common.store.port import StoreUnavailable
from sax_http.directory import Directory
from sax_http.observe import Observe
from sax_http.readiness import unready_reason
from sax_testing.fake_cell import FakeCell

MODEL = "/sax/test/m"
PROGRAM = Path(sys.executable).with_name("sax-http-server")


async def test_probes_follow_health(http):
    """Alive whatever happens; ready until told otherwise, with the reason."""
    assert (await http.web.get("/livez")).status_code == 200
    assert (await http.web.get("/readyz")).status_code == 200
    http.health.set("", serving=False, reason="the root is away")
    answer = await http.web.get("/readyz")
    assert (answer.status_code, "the root is away" in answer.text) == (503, True)


class _Root:
    """A directory whose root answers as told."""

    def __init__(self, error=None, delay_s=0.0):
        self.error = error
        self.delay_s = delay_s

    async def check(self):
        """As told."""
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            raise self.error


async def test_readiness_is_about_the_root(monkeypatch):
    """A root that answers is enough; one that fails or is silent gives the reason."""
    monkeypatch.setattr("sax_http.readiness.ROOT_ANSWERS_WITHIN_S", 0.05)
    assert await unready_reason(_Root()) == ""
    assert await unready_reason(_Root(StoreUnavailable("the bucket is away"))) == "the bucket is away"
    assert "did not answer" in await unready_reason(_Root(delay_s=5))


async def test_empty_root_is_ready(tmp_path):
    """A root without cells can be read; the first cell may come later."""
    async with AsyncClient(str(tmp_path)) as client:
        assert await unready_reason(Directory(client, default_cell=None, clock=ManualClock())) == ""


async def test_metrics_count_by_route(http):
    """Requests are counted under the route's pattern, never under the path."""
    await http.web.get("/v1/models/sax/test/m")
    await http.web.get("/no/such/place")
    text = (await http.web.get("/metrics")).text
    assert re.search(
        r'sax_http_requests_total\{method="GET",route="/v1/models/\{name:path\}",status="200"\}', text
    )
    assert 'route="none",status="404"' in text
    assert "/no/such/place" not in text


async def test_request_id_is_echoed_when_harmless(http):
    """A client's id comes back; one that could break a log line is replaced."""
    for given, is_kept in [("abc-1", True), ("a b", False), ("x" * 200, False)]:
        answer = await http.web.get("/livez", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) is is_kept


@pytest.mark.parametrize("path", ["/console", "/docs", "/console/console.js", "/console/style.css"])
async def test_pages_load_nothing_from_elsewhere(http, path):
    """Every page has the policy, and names no other host."""
    answer = await http.web.get(path)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?://|src=\"//", answer.text)


async def test_console_reads_models_and_replicas(http):
    """The console's one JSON has every cell, model and replica."""
    cells = (await http.web.get("/console/cells.json")).json()
    assert [(cell["cell"], cell["problem"]) for cell in cells] == [("/sax/test", "")]
    model = cells[0]["models"][0]
    assert (model["model"], model["wanted"], model["ready"]) == (MODEL, 1, 1)
    assert model["replicas"][0]["status"] == "LOADED"


async def test_openapi_describes_bodies(http):
    """Every reference of the document leads somewhere, and bodies have their fields."""
    document = (await http.web.get("/openapi.json")).json()
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]
    assert "extra_inputs" in document["components"]["schemas"]["GenerateBody"]["properties"]
    assert {"/publish", "/generate", "/v1/chat/completions"} <= document["paths"].keys()


async def test_short_names_and_several_cells(tmp_path):
    """A short name is enough while only one cell has it; two are an error that names both."""
    async with (
        FakeCell(tmp_path) as one,
        FakeCell(tmp_path, cell="/sax/b") as two,
        AsyncClient(str(tmp_path)) as client,
    ):
        one.admin.publish("/sax/test/m", [])
        two.admin.publish("/sax/b/m", [])
        two.admin.publish("/sax/b/only", [])
        directory = Directory(client, default_cell=None, clock=ManualClock())
        assert await directory.cells() == ("/sax/b", "/sax/test")
        assert await directory.resolve("only") == "/sax/b/only"
        with pytest.raises(InvalidArgument, match="/sax/b/m, /sax/test/m"):
            await directory.resolve("m")
        with pytest.raises(NotFound):
            await directory.resolve("none")
        default = Directory(client, default_cell="/sax/test", clock=ManualClock())
        assert await default.resolve("m") == "/sax/test/m"


async def test_cell_whose_admin_is_away_is_named(tmp_path):
    """One silent admin does not hide the models of the others, nor itself."""
    async with FakeCell(tmp_path) as cell, AsyncClient(str(tmp_path)) as client:
        cell.admin.publish(MODEL, [])
        cell.admin.failures["List"].append((7, "not for you"))
        views = await Directory(client, default_cell=None, clock=ManualClock()).views()
        assert [(view.name, view.models, view.problem) for view in views] == [
            ("/sax/test", (), "not for you")
        ]


async def test_span_continues_the_callers_trace():
    """The span is a child of `traceparent`, current while the app runs, and named after its route."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    seen = []

    async def app(scope, _receive, send):
        seen.append(trace.get_current_span().get_span_context().trace_id)
        scope["route"] = type("Route", (), {"path": "/generate"})
        await send({"type": "http.response.start", "status": 503})

    async def send(message):
        assert dict(message["headers"])[b"x-content-type-options"] == b"nosniff"

    header = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [header]}
    await Observe(app, tracer=provider.get_tracer("test"))(scope, None, send)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.status.is_ok) == ("POST /generate", False)
    assert (span.context.trace_id, seen) == (0x0AF7651916CD43DD8448EB211C80319C, [span.context.trace_id])
    assert span.parent.span_id == 0xB7AD6B7169203331


def _start(*flags, env):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SAX_")}
    return subprocess.Popen([PROGRAM, *flags], stderr=subprocess.PIPE, text=True, env={**clean, **env})


@pytest.mark.processes
def test_program_serves_and_stops(tmp_path):
    """sax-http-server says where it listens, answers there, and ends with 0 on SIGTERM."""
    (tmp_path / "sax").mkdir()
    with _start("--port=0", env={"SAX_ROOT": str(tmp_path)}) as process:
        line = next(line for line in process.stderr if "HTTP server ready" in line)
        address = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        with urllib.request.urlopen(f"{address}/", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.processes
def test_missing_root_is_one_sentence():
    """Without a root the program ends with 1 and says what to do; no traceback."""
    process = _start("--port=0", env={})
    _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "SAX_ROOT" in error.splitlines()[-1]
    assert "Traceback" not in error


@pytest.mark.processes
async def test_port_in_use_is_one_sentence(http, tmp_path):
    """A taken port ends the program with 1, naming the port."""
    port = http.address[1]
    process = _start(f"--port={port}", env={"SAX_ROOT": str(tmp_path)})
    _, error = process.communicate(timeout=20)
    assert (process.returncode, str(port) in error.splitlines()[-1]) == (1, True)
    assert "Traceback" not in error
