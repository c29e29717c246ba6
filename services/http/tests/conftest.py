"""A running HTTP server in front of a cell of fakes: real sockets on both sides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sax_client import AsyncClient
from sax_common.clock import SystemClock
from sax_http.app import make_app
from sax_http.directory import Directory
from sax_http.server import serve
from sax_http.services import Services
from sax_runtime.health import Health
from sax_runtime.ports import listen_socket
from sax_runtime.process import Stop
from sax_testing.fake_cell import FakeCell, FakeServer

MODEL = "/sax/test/m"


@dataclass
class Running:
    """The server under test, and what stands behind it."""

    web: httpx2.AsyncClient
    address: tuple[str, int]
    cell: FakeCell
    model: FakeServer
    health: Health


@contextlib.asynccontextmanager
async def running(root: Path, *, is_legacy_generate: bool = False) -> AsyncIterator[Running]:
    """Start fakes with one published model, and the HTTP server; end all of it."""
    clock, health, stop = SystemClock(), Health(), Stop()
    async with FakeCell(root) as cell, AsyncClient(str(root)) as client:
        model = await cell.start_server()
        cell.admin.publish(MODEL, [model])
        services = Services(
            client=client,
            directory=Directory(client, default_cell=None, clock=clock),
            health=health,
            clock=clock,
            is_legacy_generate=is_legacy_generate,
            generate_timeout_s=20,
            stream_timeout_s=20,
            ready_timeout_s=0.5,
        )
        listener = listen_socket("127.0.0.1:0", purpose="HTTP")
        host, port = listener.getsockname()[:2]
        app = make_app(services, max_body_bytes=4 << 20)
        serving = asyncio.ensure_future(serve(app, listener, stop, health, max_connections=64, drain_s=5))
        health.set("", serving=True)
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=20) as web:
            yield Running(web, (host, port), cell, model, health)
        stop.request("the test is over")
        await serving


@pytest.fixture
async def http(tmp_path, monkeypatch):
    """The server under test."""
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))
    async with running(tmp_path / "root") as started:
        yield started


@pytest.fixture
async def legacy_http(tmp_path, monkeypatch):
    """The same with --legacy_generate_response."""
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))
    async with running(tmp_path / "root", is_legacy_generate=True) as started:
        yield started
