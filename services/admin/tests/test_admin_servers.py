"""What administrators ask about model servers: the list, drains and undrains."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import grpc
import pytest
from sax_admin.core.cell import CellState
from sax_admin.core.commands import Drain, Mutation, Rules, Undrain, decide
from sax_common.names import parse_cell
from sax_testing.fake_modelet import GIB, FakeModelServer
from saxml.protobuf import admin_pb2, common_pb2

M = "/sax/test/m"


@pytest.fixture
async def join():
    """Return a coroutine that starts a fake model server and lets it join; all end with the test."""
    async with AsyncExitStack() as stack:

        async def start(cell, **options):
            fake = FakeModelServer(**options)
            await fake.start()
            stack.push_async_callback(fake.stop)
            await fake.join(f"127.0.0.1:{cell.server.port}")
            return fake

        yield start


async def servers(cell, address=""):
    """Ask for the servers."""
    return await cell.stub.ListServers(admin_pb2.ListServersRequest(address=address), timeout=10)


async def drain(cell, address, call="Drain"):
    """Drain or undrain."""
    request = getattr(admin_pb2, f"{call}Request")(address=address)
    return await getattr(cell.stub, call)(request, timeout=10)


def home(cell):
    """Say where clients are told that the model is."""
    return cell.server.controller.machine.fleet.routes.logs[M].values


async def test_list_servers_shows_kind_memory_and_models(cell, join, eventually):
    """Everything seen of a server is told, with who tells it and from which record."""
    fake = await join(cell, total_bytes=8 * GIB)
    await cell.publish()
    await cell.ready()
    await eventually(lambda: fake.models[M].status == common_pb2.LOADED)
    answer = await servers(cell)
    (state,) = answer.servers
    assert (state.address, state.presence) == (fake.address, admin_pb2.ServerState.PRESENCE_ALIVE)
    assert [(held.model_id, held.status) for held in state.models] == [(M, common_pb2.LOADED)]
    assert (state.total_bytes, answer.term, answer.leader_address) == (8 * GIB, 1, cell.server.address)
    assert 0 <= state.silent_ms < 5_000


async def test_a_drain_moves_replicas_without_a_gap(cell, join, eventually):
    """The replica serves where it is until the other one is ready; then it is unloaded."""
    old = await join(cell)
    await cell.publish()
    await cell.ready()
    new = await join(cell, load_s=0.4)
    await drain(cell, old.address)
    await eventually(lambda: M in new.models)
    assert set(home(cell)) == {old.address}
    await eventually(lambda: old.kinds() == ["load", "unload"])
    assert set(home(cell)) == {new.address}
    assert new.models[M].status == common_pb2.LOADED


async def test_a_replica_without_another_place_stays_and_is_shown(cell, join, eventually):
    """A drain never takes the last replica: it waits for a server, and ends when one comes."""
    old = await join(cell)
    await cell.publish()
    await cell.ready()
    await drain(cell, old.address)
    (state,) = (await servers(cell)).servers
    assert (state.is_draining, state.models[0].is_waiting_for_place) == (True, True)
    assert set(home(cell)) == {old.address}
    await join(cell)
    await eventually(lambda: old.kinds() == ["load", "unload"])


async def test_a_drained_server_gets_nothing_until_undrain(cell, join, eventually):
    """New models wait rather than go to a draining server."""
    fake = await join(cell)
    await drain(cell, fake.address)
    await cell.publish()
    await asyncio.sleep(0.1)
    assert (fake.kinds(), "1 draining" in (await cell.listed()).shortfall_reason) == ([], True)
    await drain(cell, fake.address, "Undrain")
    await eventually(lambda: fake.kinds() == ["load"])


async def test_a_drain_survives_a_change_of_admin(tmp_path, open_cell, join, eventually):
    """The mark is part of the state record, so the next leader gives the server nothing either."""
    async with open_cell(tmp_path) as first:
        fake = await join(first)
        await drain(first, fake.address)
    async with open_cell(tmp_path) as second:
        await eventually(lambda: not second.server.controller.machine.fleet.is_silent)
        await fake.join(f"127.0.0.1:{second.server.port}")
        await second.publish()
        await asyncio.sleep(0.1)
        (state,) = (await servers(second)).servers
        assert (state.is_draining, fake.kinds()) == (True, [])


async def test_a_mark_outlives_its_server_and_can_be_taken_away(cell, join):
    """A drained server that was forgotten is listed as absent until somebody undrains it."""
    fake = await join(cell)
    await drain(cell, fake.address)
    machine = cell.server.controller.machine
    del machine.fleet.servers[fake.address]
    assert list((await servers(cell)).absent_draining) == [fake.address]
    await drain(cell, fake.address, "Undrain")
    assert list((await servers(cell)).absent_draining) == []


@pytest.mark.parametrize("call", ["Drain", "Undrain"])
async def test_an_unknown_server_is_told_with_those_there_are(cell, join, call):
    """A typing error is NOT_FOUND and shows the nearest addresses."""
    fake = await join(cell)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(cell, fake.address[:-1] + "x", call)
    assert (caught.value.code(), fake.address in caught.value.details()) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize("call", ["Drain", "Undrain"])
async def test_a_call_without_an_address_is_invalid(cell, call):
    """The address is what the call is about."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(cell, "", call)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_marks_are_remembered_with_who_made_them():
    """A drain is an operation like any other: applied once, with the server it was about."""

    def apply(state, command, name):
        mutation = Mutation(command=command, fresh=b"u" * 16, operation_id=name, client="ann")
        return decide(state, mutation, Rules(parse_cell("/sax/test")), sequence=2, unix_ms=7).state

    state = apply(CellState(), Drain("a:1"), "one")
    assert (state.draining, state.operations["one"].server) == ({"a:1"}, "a:1")
    assert apply(state, Undrain("a:1"), "two").draining == frozenset()
    assert apply(apply(state, Undrain("a:1"), "two"), Drain("a:1"), "one").draining == frozenset()
