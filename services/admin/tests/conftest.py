"""An admin server in this process, and what tests need to talk to it."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sax_admin.config_main import configure
from sax_admin.core.lease import LeaseTimes
from sax_admin.server import AdminServer, Settings
from sax_common.clock import SystemClock
from sax_common.names import parse_cell
from saxml.protobuf import admin_pb2, admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CELL = parse_cell("/sax/test")


@dataclass
class Cell:
    """A running admin with a stub for it."""

    server: AdminServer
    stub: Any
    root: Any

    async def publish(
        self, name: str = "m", *, path: str = "test.Model", replicas: int = 1, **more: Any
    ) -> Any:
        """Publish `/sax/test/<name>`."""
        model = admin_pb2.Model(
            model_id=f"/sax/test/{name}",
            model_path=path,
            checkpoint_path=more.pop("checkpoint", "None"),
            requested_num_replicas=replicas,
            overrides=more.pop("overrides", {}),
        )
        return await self.stub.Publish(admin_pb2.PublishRequest(model=model, **more), timeout=10)

    async def listed(self, name: str = "m") -> Any:
        """Return the PublishedModel of `/sax/test/<name>`."""
        response = await self.stub.List(admin_pb2.ListRequest(model_id=f"/sax/test/{name}"), timeout=10)
        return response.published_models[0]

    async def ready(self, name: str = "m", replicas: int = 1, timeout_s: float = 10) -> None:
        """Wait until `replicas` are ready."""
        request = admin_pb2.WaitForReadyRequest(model_id=f"/sax/test/{name}", num_replicas=replicas)
        await self.stub.WaitForReady(request, timeout=timeout_s)


class FastClock(SystemClock):
    """The clock of this machine, ten times as fast: for tests of long waits."""

    def monotonic_ms(self) -> int:
        """Ten times the real time."""
        return 10 * super().monotonic_ms()

    async def sleep_ms(self, ms: int) -> None:
        """A tenth of the real sleep."""
        await super().sleep_ms(ms // 10)


@asynccontextmanager
async def running_cell(
    root: Path | str, *, admin_acl: str = "acl/all", is_fast: bool = False
) -> AsyncIterator[Cell]:
    """Run an admin server on a directory."""
    sax_root, fs_root = f"{root}/sax-root", f"{root}/fs-root"
    await configure(CELL, sax_root=sax_root, fs_root=fs_root, admin_acl=admin_acl)
    # At ten times the speed a busy machine would miss its renewals.
    times = LeaseTimes(60_000, 40_000, 12_000) if is_fast else LeaseTimes()
    settings = Settings(
        cell=CELL, sax_root=sax_root, port=0, status_port=0, listen_host="127.0.0.1", times=times
    )
    fatal: list[str] = []
    server = AdminServer(settings, on_fatal=fatal.append, clock=FastClock() if is_fast else None)
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
    try:
        await eventually(lambda: server.health.is_ready)
        yield Cell(server, admin_pb2_grpc.AdminStub(channel), root)
    finally:
        await channel.close()
        await server.stop()
    assert fatal == []


async def eventually(condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
    """Wait until `condition` holds; AssertionError when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def open_cell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the context manager that runs an admin on a directory, for tests that need more than one."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    return running_cell


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """Return the coroutine that waits until a condition holds."""
    return eventually


@pytest.fixture
async def fast_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cell]:
    """A fresh cell whose admin lives ten times as fast."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    async with running_cell(tmp_path, is_fast=True) as running:
        yield running


@pytest.fixture
async def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cell]:
    """A fresh cell with a running admin and no model servers."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    async with running_cell(tmp_path) as running:
        yield running
