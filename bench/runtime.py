"""What the layers round a gRPC call cost: CPU of client and server, per call and per streamed message.

    .venv/bin/python bench/runtime.py [--rounds 12]

Five set-ups share the process and take turns, round after round, so that a busy machine slows all of
them; the smallest figure of each counts. The baseline is grpc.aio with nothing of ours; the interceptor does
what contrib instrumentation does to a stream: one more generator between handler and wire.
Prints the machine, then one JSON line per set-up.
"""

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer
from sax_runtime.channels import open_channel
from sax_runtime.grpc_server import GrpcServer
from saxml.protobuf import admin_pb2, admin_pb2_grpc, lm_pb2, lm_pb2_grpc

CALLS = 200
MESSAGES = 1000
_MESSAGE = lm_pb2.GenerateStreamResponse(items=[lm_pb2.GenerateStreamItem(text="hello")])


class Admin(admin_pb2_grpc.AdminServicer):
    """Answers at once."""

    async def List(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Answer an empty list."""
        return admin_pb2.ListResponse()


class Lm(lm_pb2_grpc.LMServiceServicer):
    """Streams as fast as it can."""

    async def GenerateStream(self, _request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send a thousand messages."""
        for _ in range(MESSAGES):
            yield _MESSAGE


class OneMoreGenerator(grpc.aio.ServerInterceptor):
    """The least that a stream interceptor can do."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Wrap the stream in a generator."""
        handler = await continuation(details)
        if not handler or not handler.unary_stream:
            return handler
        inner = handler.unary_stream

        async def outer(request: Any, context: Any) -> AsyncIterator[Any]:
            async for message in inner(request, context):
                yield message

        return grpc.unary_stream_rpc_method_handler(
            outer, handler.request_deserializer, handler.response_serializer
        )


@dataclass
class SetUp:
    """One server and a channel to it, with what was measured on them."""

    name: str
    channel: Any
    stop: Callable[[], Awaitable[Any]]
    call_us: list[float] = field(default_factory=list)
    message_us: list[float] = field(default_factory=list)

    async def measure(self) -> None:
        """Run one round."""
        admin, lm = admin_pb2_grpc.AdminStub(self.channel), lm_pb2_grpc.LMServiceStub(self.channel)
        before = time.process_time()
        for _ in range(CALLS):
            await admin.List(admin_pb2.ListRequest())
        self.call_us.append((time.process_time() - before) / CALLS * 1e6)
        before = time.process_time()
        async for _ in lm.GenerateStream(lm_pb2.GenerateRequest()):
            pass
        self.message_us.append((time.process_time() - before) / MESSAGES * 1e6)


async def _bare(name: str, *interceptors: grpc.aio.ServerInterceptor) -> SetUp:
    server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
    admin_pb2_grpc.add_AdminServicer_to_server(Admin(), server)
    lm_pb2_grpc.add_LMServiceServicer_to_server(Lm(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return SetUp(name, grpc.aio.insecure_channel(f"127.0.0.1:{port}"), lambda: server.stop(None))


async def _ours(name: str, *, is_whole: bool, tracer: Tracer | None = None) -> SetUp:
    server = GrpcServer(tracer=tracer)
    server.add(admin_pb2_grpc.add_AdminServicer_to_server, Admin())
    server.add(lm_pb2_grpc.add_LMServiceServicer_to_server, Lm())
    address = f"127.0.0.1:{server.bind('127.0.0.1:0')}"
    await server.start()
    channel = open_channel(address, tracer=tracer) if is_whole else grpc.aio.insecure_channel(address)
    return SetUp(name, channel, server.stop)


async def _main(rounds: int) -> None:
    tracer = TracerProvider().get_tracer("bench")
    set_ups = [
        await _bare("grpc.aio alone"),
        await _bare("grpc.aio with one interceptor", OneMoreGenerator()),
        await _ours("our server, plain channel", is_whole=False),
        await _ours("our server and channel", is_whole=True),
        await _ours("our server and channel, recording spans", is_whole=True, tracer=tracer),
    ]
    for number in range(rounds + 1):
        for each in set_ups:
            await each.measure()
            if number == 0:  # The first round warms up.
                each.call_us.clear()
                each.message_us.clear()
    print(
        json.dumps(
            {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        )
    )
    for each in set_ups:
        print(
            json.dumps(
                {
                    "set_up": each.name,
                    "us_per_call": round(min(each.call_us), 1),
                    "us_per_message": round(min(each.message_us), 1),
                }
            )
        )
        await each.channel.close()
        await each.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=12)
    asyncio.run(_main(parser.parse_args().rounds))
