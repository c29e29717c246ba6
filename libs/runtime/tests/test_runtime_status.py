"""The status server over real HTTP."""

import asyncio
import socket
import urllib.error
import urllib.request

import pytest
from sax_runtime import metrics
from sax_runtime.health import Health
from sax_runtime.ports import PortUnavailable
from sax_runtime.status_server import StatusServer
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def _fetch(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def _get(port, path):
    return await asyncio.to_thread(_fetch, port, path)


async def test_liveness_and_readiness_are_different():
    """A starting process is alive and not ready, with the reason; then ready; then draining."""
    health = Health()
    status = StatusServer(health)
    port = await status.start()
    assert await _get(port, "/livez") == (200, "alive\n")
    assert await _get(port, "/readyz") == (503, "not ready: starting\n")
    health.set("", serving=True)
    assert await _get(port, "/readyz") == (200, "ready\n")
    health.drain()
    assert await _get(port, "/readyz") == (503, "not ready: shutting down\n")
    await status.stop()


async def test_metrics_are_exposed_and_follow_changes():
    """Two scrapes of a counter that moved in between show two values."""
    status = StatusServer(Health())
    port = await status.start()
    metrics.PUBLISHES.labels(operation="publish", outcome="status-test").inc()
    line = 'sax_admin_operations_total{operation="publish",outcome="status-test"}'
    assert f"{line} 1.0" in (await _get(port, "/metrics"))[1]
    metrics.PUBLISHES.labels(operation="publish", outcome="status-test").inc()
    body = (await _get(port, "/metrics"))[1]
    assert f"{line} 2.0" in body
    assert "process_cpu_seconds_total" in body
    assert "_created" not in body
    await status.stop()


async def test_routes_of_the_caller_are_served():
    """The admin's pages live beside the three routes; anything else is 404."""
    page = Route("/model/{name:path}", lambda request: PlainTextResponse(request.path_params["name"]))
    status = StatusServer(Health(), routes=[page])
    port = await status.start()
    assert await _get(port, "/model/sax/t/m") == (200, "sax/t/m")
    assert (await _get(port, "/nothing"))[0] == 404
    await status.stop()


async def test_a_busy_port_is_one_sentence():
    """The error names the port, the purpose and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortUnavailable, match=f"port {port} .*status pages: another process is using it"):
            await StatusServer(Health(), address=f"127.0.0.1:{port}").start()


async def test_stopping_twice_or_before_start_is_fine():
    """Shutdown code may stop what never ran."""
    status = StatusServer(Health())
    await status.stop()
    await status.start()
    await status.stop()
    await status.stop()
