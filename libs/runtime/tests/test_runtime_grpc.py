"""A real server and a real channel in one process."""

# ruff: noqa: N802, D102, ARG002 -- Handlers are named and called as the protocol says.

import asyncio
import contextlib
import math
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sax_common import errors
from sax_runtime import calls, channels, grpc_server, metrics
from sax_runtime.channels import open_channel
from sax_runtime.grpc_server import GrpcServer
from sax_runtime.ports import PortUnavailable
from saxml.protobuf import admin_pb2, admin_pb2_grpc, lm_pb2, lm_pb2_grpc


class Admin(admin_pb2_grpc.AdminServicer):
    """Does what the model id asks for; everything not written here is unimplemented."""

    async def Publish(self, request, context):
        what = request.model.model_id
        if what == "bug":
            raise ZeroDivisionError("a secret")
        if what == "abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "chosen by the handler")
        if what == "left":
            left_s = context.time_remaining()
            raise errors.Aborted("none" if left_s is None else f"{left_s:.0f}")
        if what:
            raise errors.NotFound(what)
        return admin_pb2.PublishResponse()

    async def WaitForReady(self, request, context):
        await asyncio.sleep(60)


class Lm(lm_pb2_grpc.LMServiceServicer):
    """Streams as many messages as the text says, then waits when asked; counts generators closed."""

    closed = 0

    async def GenerateStream(self, request, context):
        try:
            for number in range(int(request.text)):
                yield lm_pb2.GenerateStreamResponse(items=[lm_pb2.GenerateStreamItem(prefix_len=number)])
            if request.model_key == "fails":
                raise errors.ResourceExhausted("full")
            if request.model_key == "waits":
                await asyncio.sleep(60)
        finally:
            self.closed += 1


@contextlib.asynccontextmanager
async def _cell(**options):
    server = GrpcServer(**options)
    lm = Lm()
    server.add(admin_pb2_grpc.add_AdminServicer_to_server, Admin())
    server.add(lm_pb2_grpc.add_LMServiceServicer_to_server, lm)
    port = server.bind("127.0.0.1:0")
    await server.start()
    server.health.set("", serving=True)
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield server, channel, lm
    finally:
        await server.stop()


async def _failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


def _publish(channel, what, **options):
    request = admin_pb2.PublishRequest(model=admin_pb2.Model(model_id=what))
    return admin_pb2_grpc.AdminStub(channel).Publish(request, **options)


async def test_an_error_becomes_its_status_and_message():
    """A SaxError reaches the caller as its code with the message, whatever its letters."""
    async with _cell() as (_, channel, _lm):
        assert await _failure(_publish(channel, "no ü")) == (grpc.StatusCode.NOT_FOUND, "no ü")


async def test_a_long_message_still_arrives():
    """A message longer than gRPC's headers may be is cut, and says so."""
    async with _cell() as (_, channel, _lm):
        code, details = await _failure(_publish(channel, "x" * 50_000))
    assert code is grpc.StatusCode.NOT_FOUND
    assert details.endswith("(48000 more characters)")


async def test_a_bug_is_internal_and_tells_nothing():
    """An unexpected exception becomes INTERNAL with a reference, and its text stays in the log."""
    async with _cell() as (_, channel, _lm):
        code, details = await _failure(_publish(channel, "bug"))
    assert code is grpc.StatusCode.INTERNAL
    assert "reference" in details
    assert "secret" not in details


async def test_a_handlers_own_abort_passes():
    """`context.abort` in a handler is left as it is."""
    async with _cell() as (_, channel, _lm):
        assert await _failure(_publish(channel, "abort")) == (
            grpc.StatusCode.DATA_LOSS,
            "chosen by the handler",
        )


async def test_a_method_not_written_is_unimplemented():
    """A method that the servicer does not override answers UNIMPLEMENTED with its name."""
    async with _cell() as (_, channel, _lm):
        code, details = await _failure(admin_pb2_grpc.AdminStub(channel).List(admin_pb2.ListRequest()))
    assert (code, "sax.Admin/List" in details) == (grpc.StatusCode.UNIMPLEMENTED, True)


async def test_bytes_that_are_no_message_are_the_callers_fault():
    """Invalid UTF-8 in a string field is INVALID_ARGUMENT, not INTERNAL."""
    async with _cell() as (_, channel, _lm):
        call = channel.unary_unary("/sax.Admin/Publish")
        code, details = await _failure(call(b"\x12\x04\x0a\x02\xff\xfe"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "cannot be decoded" in details


async def test_a_message_over_the_limit_is_refused():
    """A request of five megabytes is RESOURCE_EXHAUSTED, and the next call works."""
    async with _cell() as (_, channel, _lm):
        code, _ = await _failure(_publish(channel, "x" * 5_000_000))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await _publish(channel, "")


async def test_calls_have_a_deadline_by_default():
    """A call without timeout gets a minute; math.inf asks for none."""
    async with _cell() as (_, channel, _lm):
        assert (await _failure(_publish(channel, "left")))[1] == "60"
        assert (await _failure(_publish(channel, "left", timeout=math.inf)))[1] == "none"


async def test_a_call_without_deadline_ends_at_the_servers_limit():
    """A peer that sets no deadline cannot hold a handler for ever."""
    async with _cell(max_call_s=0.05) as (_, channel, _lm):
        stub = admin_pb2_grpc.AdminStub(channel)
        code, _ = await _failure(stub.WaitForReady(admin_pb2.WaitForReadyRequest(), timeout=math.inf))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stream_delivers_all_and_then_its_error():
    """Messages sent before a SaxError arrive, then the status."""
    async with _cell() as (_, channel, lm):
        call = lm_pb2_grpc.LMServiceStub(channel).GenerateStream(
            lm_pb2.GenerateRequest(model_key="fails", text="300")
        )
        seen = []
        with pytest.raises(grpc.aio.AioRpcError, match="full"):  # noqa: PT012
            async for message in call:
                seen.append(message.items[0].prefix_len)  # noqa: PERF401 - must survive the error.
        assert (seen, lm.closed) == (list(range(300)), 1)


async def test_a_cancelled_stream_closes_its_generator_at_once():
    """A client that goes away ends the handler's generator without waiting for garbage collection."""
    async with _cell() as (server, channel, lm):
        call = lm_pb2_grpc.LMServiceStub(channel).GenerateStream(
            lm_pb2.GenerateRequest(model_key="waits", text="1")
        )
        await call.read()
        assert server.in_flight == 1
        call.cancel()
        async with asyncio.timeout(5):
            while server.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert lm.closed == 1


async def test_drain_refuses_new_calls_and_ends_the_old_with_unavailable():
    """Health goes first, then new calls are UNAVAILABLE, then what outlives the grace is ended."""
    async with _cell() as (server, channel, _lm):
        stub = lm_pb2_grpc.LMServiceStub(channel)
        old = stub.GenerateStream(lm_pb2.GenerateRequest(model_key="waits", text="1"))
        await old.read()
        draining = asyncio.create_task(server.drain(0.5))
        await asyncio.sleep(0.1)
        assert not server.health.is_ready
        assert (await _failure(_publish(channel, "")))[0] is grpc.StatusCode.UNAVAILABLE
        assert await draining == 1
        assert await old.code() is grpc.StatusCode.UNAVAILABLE


async def test_drain_lets_calls_finish():
    """A call that ends within the grace is not disturbed, and drain does not wait longer than it."""
    async with _cell() as (server, channel, _lm):
        stub = lm_pb2_grpc.LMServiceStub(channel)
        call = stub.GenerateStream(lm_pb2.GenerateRequest(text="50"))
        messages = aiter(call)
        await anext(messages)
        draining = asyncio.create_task(server.drain(30))
        rest = [message async for message in messages]
        assert (len(rest), await draining) == (49, 0)


async def test_two_servers_cannot_share_a_port():
    """A busy port is one sentence that names the port and a remedy."""
    async with _cell() as (_, _channel, _lm):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(PortUnavailable, match=f"port {port} .* choose another port"):
                GrpcServer().bind(f"127.0.0.1:{port}")


async def test_a_second_server_of_ours_cannot_share_a_port_either():
    """SO_REUSEPORT is off: the port of a running server is busy for the next one."""
    first = GrpcServer()
    port = first.bind("127.0.0.1:0")
    await first.start()
    with pytest.raises(PortUnavailable):
        GrpcServer().bind(f"127.0.0.1:{port}")
    await first.stop()


async def test_a_handler_that_blocks_the_loop_is_refused():
    """A plain `def` handler is a TypeError at registration."""

    class Blocking(admin_pb2_grpc.AdminServicer):
        def List(self, request, context):
            return admin_pb2.ListResponse()

    with pytest.raises(TypeError, match=r"sax\.Admin/List must be `async def`"):
        GrpcServer().add(admin_pb2_grpc.add_AdminServicer_to_server, Blocking())


async def test_health_is_answered_per_service():
    """Check, Watch and List answer the table; drain is pushed to watchers."""
    async with _cell() as (server, channel, _lm):
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "sax.Admin", "sax.server.lm.LMService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert (await _failure(stub.Check(health_pb2.HealthCheckRequest(service="x"))))[
            0
        ] is grpc.StatusCode.NOT_FOUND
        assert len((await stub.List(health_pb2.HealthListRequest())).statuses) == 3
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="model:/sax/t/m"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        server.health.set("model:/sax/t/m", serving=True)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        server.health.drain()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_reflection_lists_the_services():
    """A tool without protos can ask what is served."""
    async with _cell() as (_, channel, _lm):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=10
        )
        names = {service.name for service in (await call.read()).list_services_response.service}
        call.cancel()
    assert {"sax.Admin", "sax.server.lm.LMService", "grpc.health.v1.Health"} <= names


async def test_calls_are_counted_by_method_and_code():
    """Each finished call is one count under its status name, and one observation of time."""
    labels = {"service": "sax.Admin", "method": "Publish", "code": "NOT_FOUND"}
    before = metrics.registry.get_sample_value("sax_grpc_server_calls_total", labels) or 0
    async with _cell() as (_, channel, _lm):
        await _failure(_publish(channel, "a"))
    assert metrics.registry.get_sample_value("sax_grpc_server_calls_total", labels) == before + 1


def test_keepalive_pings_are_permitted():
    """Our clients ping an idle connection half as often as our servers permit."""
    client = dict(channels._options(keepalive=True))
    server = dict(grpc_server._options(max_receive_bytes=1, max_send_bytes=1, max_pending_requests=1))
    permitted_ms = server["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert permitted_ms * 2 <= client["grpc.keepalive_time_ms"]
    assert server["grpc.keepalive_permit_without_calls"] == 1


async def test_an_idle_front_finishes_at_once():
    """Nothing in flight means nothing to wait for."""
    server = GrpcServer()
    assert isinstance(server._front, calls.CallFront)
    assert await server._front.finish(30) == 0
