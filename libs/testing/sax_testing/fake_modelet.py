"""A model server without models: the `sax.Modelet` service with the states and codes of a real one.

The life of a key is that of reference/control_plane.md 2.10: Load makes it LOADING, after `load_s` it is
LOADED (or FAILED, when the script says so) and the Load call returns; Unload takes it away. Orders with a
term below the highest seen, or for another incarnation, are refused as DESIGN D6 asks. `is_original` makes
it behave like an original instead: no incarnation, no terms, no digests, a Load of any present key is a
silent OK.

    fake = FakeModelServer(paths=["test.Model"])
    await fake.start()
    await fake.join(admin_address)
    fake.fail_loads["/sax/test/m"] = "no such checkpoint"
    ...
    assert [order.kind for order in fake.orders] == ["load"]

`python -m sax_testing.fake_modelet --sax_root=... --sax_cell=... --port=...` is the same as a process that
joins by itself whenever `location.proto` changes or nobody has polled it for five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from saxml.protobuf import admin_pb2, admin_pb2_grpc, common_pb2, modelet_pb2, modelet_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

UNPOLLED_S = 5.0
GIB = 1 << 30


@dataclass(frozen=True)
class ReceivedOrder:
    """One order as it arrived. `at_s` is on `time.monotonic`, `code` the answer's status name."""

    kind: str
    model: str
    term: int
    checkpoint: str
    at_s: float
    code: str = "OK"


@dataclass
class _Model:
    status: int
    checkpoint: str
    path: str = ""
    digest: bytes = b""
    acls: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class FakeModelServer(modelet_pb2_grpc.ModeletServicer):
    """A scripted model server; change its public fields at any time. Owned by one event loop."""

    def __init__(
        self,
        *,
        paths: Sequence[str] = ("test.Model",),
        tags: Sequence[str] = (),
        load_s: float = 0.0,
        total_bytes: int = 0,
        model_bytes: int = GIB,
        is_original: bool = False,
    ) -> None:
        """Make a server that offers `paths`; `total_bytes` 0 means that it reports no memory."""
        self.paths = list(paths)
        self.tags = list(tags)
        self.load_s = load_s
        self.total_bytes = total_bytes
        self.model_bytes = model_bytes
        self.is_original = is_original
        self.is_draining = False
        self.is_silent = False
        self.fail_loads: dict[str, str] = {}
        self.refuse_unloads = False
        self.models: dict[str, _Model] = {}
        self.orders: list[ReceivedOrder] = []
        self.incarnation = "" if is_original else secrets.token_hex(8)
        self.highest_term = 0
        self.polled_s = float("-inf")
        self.address = ""
        self._server: Any = None

    # ---- Life ----

    async def start(self, port: int = 0) -> str:
        """Listen on 127.0.0.1 and return the address."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        modelet_pb2_grpc.add_ModeletServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()
        return self.address

    async def stop(self) -> None:
        """Vanish at once, as a killed process does."""
        for model in self.models.values():
            model.stop.set()
        await self._server.stop(None)

    async def restart(self) -> None:
        """Be a new process run on the same address: all models are gone."""
        port = int(self.address.rpartition(":")[2])
        await self.stop()
        self.models.clear()
        self.incarnation = "" if self.is_original else secrets.token_hex(8)
        self.highest_term = 0
        await self.start(port)

    async def join(self, admin_address: str, *, timeout_s: float = 15.0) -> int:
        """Join the cell and return the leader's term. Raises grpc.RpcError when the admin refuses."""
        async with grpc.aio.insecure_channel(admin_address) as channel:
            stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
            response = await stub.Join(self.join_request(), timeout=timeout_s)
        return int(response.term)

    def join_request(self) -> admin_pb2.JoinRequest:
        """Say what this server is."""
        server = admin_pb2.ModelServer(
            chip_type=admin_pb2.ModelServer.CHIP_TYPE_CPU,
            chip_topology=admin_pb2.ModelServer.CHIP_TOPOLOGY_1,
            servable_model_paths=self.paths,
            tags=self.tags,
        )
        return admin_pb2.JoinRequest(
            address=self.address,
            model_server=server,
            incarnation=self.incarnation,
            highest_term=self.highest_term,
        )

    def kinds(self, model: str | None = None) -> list[str]:
        """Return the kinds of the orders that were obeyed, in order, of one model or all."""
        return [o.kind for o in self.orders if o.code == "OK" and model in (None, o.model)]

    # ---- sax.Modelet ----

    async def Load(self, request: modelet_pb2.LoadRequest, context: Any) -> modelet_pb2.LoadResponse:  # noqa: N802
        """Load a key; returns when it is LOADED or FAILED."""
        key = request.model_key
        await self._fence("load", request, context)
        if key in self.models:
            self._note("load", request)
            return modelet_pb2.LoadResponse()
        self._note("load", request)
        model = _Model(common_pb2.LOADING, request.checkpoint_path, request.model_path, request.digest)
        model.acls = dict(request.acls.items)
        self.models[key] = model
        await self._bring_up(key, model, context)
        return modelet_pb2.LoadResponse()

    async def _bring_up(self, key: str, model: _Model, context: Any) -> None:
        try:
            async with asyncio.timeout(self.load_s):
                await model.stop.wait()
            await context.abort(grpc.StatusCode.CANCELLED, f"the load of {key} was stopped")
        except TimeoutError:
            reason = self.fail_loads.get(key)
        if reason is not None:
            model.status, model.reason = common_pb2.FAILED, reason
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        model.status = common_pb2.LOADED

    async def UpdateLoaded(  # noqa: N802
        self, request: modelet_pb2.UpdateLoadedRequest, context: Any
    ) -> modelet_pb2.UpdateLoadedResponse:
        """Change ACLs, or reload when a checkpoint comes along."""
        key = request.model_key
        kind = "update_checkpoint" if request.checkpoint_path else "update_acls"
        await self._fence(kind, request, context)
        model = self.models.get(key)
        if model is None or model.status != common_pb2.LOADED:
            self._note(kind, request, "NOT_FOUND")
            await context.abort(grpc.StatusCode.NOT_FOUND, f"model {key} is not loaded")
            raise AssertionError
        self._note(kind, request)
        if request.HasField("acls"):
            model.acls = dict(request.acls.items)
        model.digest = request.digest or model.digest
        if request.checkpoint_path:
            model.status, model.checkpoint = common_pb2.LOADING, request.checkpoint_path
            await self._bring_up(key, model, context)
        return modelet_pb2.UpdateLoadedResponse()

    async def Unload(self, request: modelet_pb2.UnloadRequest, context: Any) -> modelet_pb2.UnloadResponse:  # noqa: N802
        """Drop a key; a load of it that is under way is stopped."""
        key = request.model_key
        await self._fence("unload", request, context)
        if self.refuse_unloads:
            self._note("unload", request, "UNAVAILABLE")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "models are loaded for good here")
        if key not in self.models:
            self._note("unload", request, "INVALID_ARGUMENT")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"model {key} is not here")
        self._note("unload", request)
        self.models.pop(key).stop.set()
        return modelet_pb2.UnloadResponse()

    async def GetStatus(  # noqa: N802
        self, request: modelet_pb2.GetStatusRequest, _context: Any
    ) -> modelet_pb2.GetStatusResponse:
        """Report all keys; never answers while `is_silent`."""
        if self.is_silent:
            await asyncio.Event().wait()  # Ends with the call's deadline, as a hung process would.
        self.polled_s = time.monotonic()
        self.highest_term = max(self.highest_term, request.term)
        response = modelet_pb2.GetStatusResponse()
        for key, model in sorted(self.models.items()):
            entry = response.models.add(model_key=key, model_status=model.status, failure_reason=model.reason)
            if model.status == common_pb2.LOADED:
                entry.method_stats.add(method="lm.generate")
            if not self.is_original:
                entry.digest = model.digest
                entry.memory_bytes = self.model_bytes if self.total_bytes else 0
        if not self.is_original:
            response.incarnation = self.incarnation
            response.highest_term = self.highest_term
            response.is_draining = self.is_draining
            response.memory.total_bytes = self.total_bytes
            response.memory.used_bytes = self.model_bytes * len(self.models) if self.total_bytes else 0
        return response

    # ---- Fencing ----

    async def _fence(self, kind: str, request: Any, context: Any) -> None:
        """Refuse an order of an old leader or for another run of this server (DESIGN D6)."""
        if self.is_original:
            return
        if request.term < self.highest_term:
            self._note(kind, request, "FAILED_PRECONDITION")
            text = f"order of term {request.term}, but term {self.highest_term} was seen"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, text)
        if request.incarnation and request.incarnation != self.incarnation:
            self._note(kind, request, "FAILED_PRECONDITION")
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "order for another run of this server")
        self.highest_term = max(self.highest_term, request.term)

    def _note(self, kind: str, request: Any, code: str = "OK") -> None:
        checkpoint = getattr(request, "checkpoint_path", "")
        order = ReceivedOrder(kind, request.model_key, request.term, checkpoint, time.monotonic(), code)
        self.orders.append(order)


def _read(location: Path) -> bytes:
    return location.read_bytes() if location.exists() else b""


async def follow(fake: FakeModelServer, location: Path) -> None:
    """Join whenever `location` (a `location.proto`) changes or nobody polls, for ever."""
    joined = b""
    while True:
        raw = await asyncio.to_thread(_read, location)
        is_unpolled = time.monotonic() - fake.polled_s > UNPOLLED_S
        if raw and (raw != joined or is_unpolled):
            try:
                await fake.join(admin_pb2.Location.FromString(raw).location)
                joined = raw
            except grpc.RpcError as error:
                sys.stderr.write(f"Failed to join: {error.details()}\n")
        await asyncio.sleep(0.2)


async def _run(arguments: argparse.Namespace) -> None:
    fake = FakeModelServer(paths=arguments.paths.split(","), load_s=arguments.load_s)
    sys.stderr.write(f"fake model server at {await fake.start(arguments.port)}\n")
    await follow(fake, Path(f"{arguments.sax_root}{arguments.sax_cell}/location.proto"))


def main() -> None:
    """Run one fake model server until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sax_root", required=True)
    parser.add_argument("--sax_cell", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--paths", default="test.Model")
    parser.add_argument("--load_s", type=float, default=0.0)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
