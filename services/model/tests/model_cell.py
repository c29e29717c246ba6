"""A real model server in this process, over real gRPC on loopback, with toy models."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import grpc
from model_toy_language import ToyLoader
from sax_common.clock import SystemClock
from sax_common.config import load
from sax_model.config import ModelServerConfig
from sax_model.server import ModelServer
from sax_runtime.security import PLAIN
from saxml.protobuf import custom_pb2_grpc, lm_pb2_grpc, modelet_pb2, modelet_pb2_grpc, vision_pb2_grpc


@asynccontextmanager
async def running_server(*flags, store=None, tracer=None, security=PLAIN):
    """Start a server with toy models on a free port and give stubs; stop it in order at the end."""
    config = load(
        ModelServerConfig,
        [
            "--port=0",
            "--status_port=0",
            "--listen_address=127.0.0.1",
            "--lame_duck_s=0",
            "--drain_s=2",
            *flags,
        ],
        {},
        program="test",
    )
    loader = ToyLoader()
    ended = []
    server = ModelServer(
        config,
        load=loader,
        servable_paths=["toy.Ok"],
        store=store,
        clock=SystemClock(),
        request_end=ended.append,
        tracer=tracer,
        security=security,
    )
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield SimpleNamespace(
                server=server,
                loader=loader,
                ended=ended,
                channel=channel,
                modelet=modelet_pb2_grpc.ModeletStub(channel),
                lm=lm_pb2_grpc.LMServiceStub(channel),
                vm=vision_pb2_grpc.VisionServiceStub(channel),
                custom=custom_pb2_grpc.CustomServiceStub(channel),
            )
    finally:
        await server.stop()


async def load_model(cell, key="/sax/test/m", path="toy.Ok", metadata=None, **fields):
    """Order a Load and wait for it."""
    request = modelet_pb2.LoadRequest(model_key=key, model_path=path, checkpoint_path="None", **fields)
    await cell.modelet.Load(request, metadata=metadata, timeout=10)


async def status(cell, **fields):
    """Return GetStatus with everything in it."""
    request = modelet_pb2.GetStatusRequest(include_failure_reasons=True, include_method_stats=True, **fields)
    return await cell.modelet.GetStatus(request, timeout=10)


async def eventually(condition, timeout_s=5.0):
    """Wait until `condition()` is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the server under test has no event for it.
            await asyncio.sleep(0.005)
