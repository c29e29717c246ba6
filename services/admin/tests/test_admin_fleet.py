"""An admin with fake model servers: loading, failing, restarting, updating, going away."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import pytest
from sax_testing.fake_modelet import GIB, FakeModelServer
from saxml.protobuf import admin_pb2, common_pb2

M = "/sax/test/m"


@asynccontextmanager
async def joined(cell, **options):
    """Run a fake model server that has joined the cell."""
    fake = FakeModelServer(**options)
    await fake.start()
    try:
        await fake.join(f"127.0.0.1:{cell.server.port}")
        yield fake
    finally:
        await fake.stop()


async def update(cell, **changes):
    """Update `/sax/test/m` with `changes` to its listed spec."""
    spec = (await cell.listed()).model
    checkpoint = changes.pop("checkpoint_path", spec.checkpoint_path)
    replicas = changes.pop("replicas", spec.requested_num_replicas)
    model = admin_pb2.Model(
        model_id=M, model_path=spec.model_path, checkpoint_path=checkpoint, requested_num_replicas=replicas
    )
    model.overrides.update(changes.pop("overrides", {}))
    request = admin_pb2.UpdateRequest(model=model, allow_downtime=changes.pop("allow_downtime", False))
    await cell.stub.Update(request, timeout=10)


async def test_only_loaded_replicas_are_advertised(cell):
    """While a model loads it is listed as loading, and no client is sent there."""
    async with joined(cell, load_s=0.5):
        await cell.publish()
        await asyncio.sleep(0.1)
        shown = await cell.listed()
        assert [replica.status for replica in shown.replicas] == [common_pb2.LOADING]
        assert (list(shown.modelet_addresses), "1 loading" in shown.shortfall_reason) == ([], True)
        await cell.ready()
        assert len((await cell.listed()).modelet_addresses) == 1


async def test_a_publish_reaches_an_idle_server_at_once(cell, eventually):
    """The Load arrives within 150 ms of the acknowledgement, not at a ten-second tick."""
    async with joined(cell) as fake:
        await cell.publish()
        acknowledged = time.monotonic()
        await eventually(lambda: fake.kinds() == ["load"])
        assert fake.orders[0].at_s - acknowledged < 0.15


async def test_a_path_that_nobody_offers_is_published_with_the_reason(cell):
    """The publish is accepted as in the original, and List says what is offered instead."""
    async with joined(cell, paths=["hf.CausalLM"]):
        await cell.publish(path="hf.CausalLn")
        reason = (await cell.listed()).shortfall_reason
        assert "no server offers the model path 'hf.CausalLn': 1 server joined" in reason
        assert "hf.CausalLM" in reason


async def test_a_failed_load_is_shown_and_tried_again(cell, eventually):
    """The server's words, the number of failures and the next try are visible, and a later try succeeds."""
    async with joined(cell) as fake:
        fake.fail_loads[M] = "no checkpoint at /nowhere"
        await cell.publish()
        await eventually(lambda: fake.kinds() == ["load"])
        await asyncio.sleep(0.1)
        (replica,) = (await cell.listed()).replicas
        assert (replica.status, replica.failed_loads) == (common_pb2.FAILED, 1)
        assert replica.failure_reason == "no checkpoint at /nowhere"
        assert 0 < replica.retry_in_ms <= 2000
        fake.fail_loads.clear()
        await cell.ready()
        assert fake.kinds() == ["load", "unload", "load"]


async def test_a_server_that_restarts_gets_its_model_back_without_help(cell, eventually):
    """A new process run on the same address is noticed by the next poll, even without a Join."""
    async with joined(cell) as fake:
        await cell.publish()
        await cell.ready()
        await fake.restart()
        await eventually(lambda: fake.kinds() == ["load", "load"])
        await cell.ready()


async def test_an_original_that_restarts_gets_its_model_back_too(cell, eventually):
    """Without an incarnation the missing model in its status is sign enough."""
    async with joined(cell, is_original=True) as fake:
        await cell.publish()
        await cell.ready()
        await asyncio.sleep(0.2)
        await fake.restart()
        await eventually(lambda: fake.kinds() == ["load", "load"])


async def test_an_update_of_the_replicas_reloads_nothing(cell, eventually):
    """A second server is loaded, the first one goes on."""
    async with joined(cell) as first:
        await cell.publish()
        await cell.ready()
        async with joined(cell) as second:
            await update(cell, replicas=2)
            await cell.ready(replicas=2)
            assert (first.kinds(), second.kinds()) == (["load"], ["load"])
            await update(cell, replicas=1)
            await eventually(lambda: sorted([*first.kinds(), *second.kinds()]) == ["load", "load", "unload"])


async def test_an_update_of_the_checkpoint_reloads(cell, eventually):
    """The new checkpoint reaches the server as one UpdateLoaded."""
    async with joined(cell) as fake:
        await cell.publish(checkpoint="/one")
        await cell.ready()
        await update(cell, checkpoint_path="/two")
        await eventually(lambda: fake.kinds() == ["load", "update_checkpoint"])
        await cell.ready()
        assert fake.models[M].checkpoint == "/two"


async def test_an_update_of_the_overrides_loads_again(cell, eventually):
    """Overrides cannot be changed in place: the model is unloaded and loaded, if the gap is accepted."""
    async with joined(cell) as fake:
        await cell.publish()
        await cell.ready()
        with pytest.raises(grpc.RpcError, match="allow_downtime"):
            await update(cell, overrides={"BATCH_SIZE": "4"})
        await update(cell, overrides={"BATCH_SIZE": "4"}, allow_downtime=True)
        await eventually(lambda: fake.kinds() == ["load", "unload", "load"])


async def test_an_unpublish_unloads(cell, eventually):
    """The server is empty again, and free for another model."""
    async with joined(cell) as fake:
        await cell.publish()
        await cell.ready()
        await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id=M))
        await eventually(lambda: fake.kinds() == ["load", "unload"])
        await cell.publish("other")
        await cell.ready("other")


async def test_a_model_that_nobody_wants_is_unloaded(cell, eventually):
    """What a joining server still holds from another life is taken away."""
    async with joined(cell) as fake:
        await cell.publish("keep")
        await cell.ready("keep")
        fake.models["/sax/test/stray"] = type(fake.models["/sax/test/keep"])(common_pb2.LOADED, "None")
        await eventually(lambda: fake.kinds("/sax/test/stray") == ["unload"])
        assert fake.kinds("/sax/test/keep") == ["load"]


async def test_a_draining_server_is_replaced(cell, eventually):
    """A server that refuses new work is not advertised, and its replica goes elsewhere."""
    async with joined(cell) as leaving:
        await cell.publish()
        await cell.ready()
        async with joined(cell) as staying:
            leaving.is_draining = True
            await eventually(lambda: staying.kinds() == ["load"])
            await cell.ready()
            assert list((await cell.listed()).modelet_addresses) == [staying.address]


async def test_two_models_share_a_server_that_reports_memory(cell):
    """Without an idle server the second model goes where memory is left."""
    async with joined(cell, total_bytes=16 * GIB) as fake:
        await cell.publish("a")
        await cell.publish("b")
        await cell.ready("a")
        await cell.ready("b")
        assert sorted(fake.models) == ["/sax/test/a", "/sax/test/b"]


async def test_stats_count_servers_by_type_and_path(cell):
    """Stats shows what has joined, and for a model only its own servers."""
    async with joined(cell), joined(cell):
        await cell.publish()
        await cell.ready()
        everything = await cell.stub.Stats(admin_pb2.StatsRequest())
        (kind,) = everything.model_server_type_stats
        assert (kind.chip_type, kind.num_replicas) == (admin_pb2.ModelServer.CHIP_TYPE_CPU, 2)
        assert dict(everything.num_servers_by_servable_model_path) == {"test.Model": 2}
        mine = await cell.stub.Stats(admin_pb2.StatsRequest(model_id=M))
        assert [entry.num_replicas for entry in mine.model_server_type_stats] == [1]


@pytest.mark.slow
async def test_a_killed_server_leaves_routing_within_seven_seconds_and_is_found_again(cell):
    """Three missed polls take the address away; when the server is back it is loaded and advertised again."""
    async with joined(cell) as fake:
        await cell.publish()
        await cell.ready()
        first = await cell.stub.WatchLoc(admin_pb2.WatchLocRequest(model_id=M), timeout=5)
        await fake.stop()
        killed = time.monotonic()
        request = admin_pb2.WatchLocRequest(
            model_id=M, seqno=first.result.next_seqno, admin_server_id=first.admin_server_id
        )
        gone = await cell.stub.WatchLoc(request, timeout=15)
        assert [change.deletion for change in gone.result.changelog] == [fake.address]
        assert time.monotonic() - killed <= 7
        await fake.restart()
        await cell.ready(timeout_s=15)


async def test_a_restarted_admin_reloads_nothing_and_tells_everything_anew(tmp_path, open_cell):
    """What is loaded stays loaded; a client with an old number gets one full set from the new admin."""
    fake = FakeModelServer()
    await fake.start()
    try:
        async with open_cell(tmp_path) as cell:
            await fake.join(f"127.0.0.1:{cell.server.port}")
            await cell.publish()
            await cell.ready()
            old = await cell.stub.WatchLoc(admin_pb2.WatchLocRequest(model_id=M), timeout=5)
            await asyncio.sleep(2.5)  # The hint of the server is written two seconds after its Join.
        async with open_cell(tmp_path) as cell:
            request = admin_pb2.WatchLocRequest(
                model_id=M, seqno=old.result.next_seqno, admin_server_id=old.admin_server_id
            )
            new = await cell.stub.WatchLoc(request, timeout=15)
            assert (new.result.has_fullset, list(new.result.values)) == (True, [fake.address])
            assert (old.term, new.term) == (1, 2)
            assert fake.kinds() == ["load"] or fake.kinds() == ["load", "update_acls"]
    finally:
        await fake.stop()


async def test_a_dead_server_is_replaced_after_twenty_seconds_and_not_before(fast_cell, eventually):
    """A replica moves when its server is given up; a server that is only suspect keeps its place."""
    async with joined(fast_cell) as first, joined(fast_cell) as second, joined(fast_cell) as third:
        await fast_cell.publish()
        await fast_cell.ready()
        (home,) = [fake for fake in (first, second, third) if fake.models]
        await home.stop()
        others = [fake for fake in (first, second, third) if fake is not home]
        await asyncio.sleep(1.2)  # Twelve seconds of the admin's time.
        assert [fake.orders for fake in others] == [[], []]
        await eventually(lambda: sum(len(fake.models) for fake in others) == 1)
        await home.restart()  # So that the end of the block can stop it again.


async def test_nothing_is_reassigned_when_most_servers_vanish_together(fast_cell):
    """More than half silent at once looks like our own fault: replicas stay where they were put."""
    async with joined(fast_cell) as first, joined(fast_cell) as second, joined(fast_cell) as third:
        await fast_cell.publish()
        await fast_cell.ready()
        (home,) = [fake for fake in (first, second, third) if fake.models]
        other, left = (fake for fake in (first, second, third) if fake is not home)
        await home.stop()
        await other.stop()
        await asyncio.sleep(4)  # Forty seconds of the admin's time.
        assert left.orders == []
        assert "does not answer" in (await fast_cell.listed()).shortfall_reason
        with pytest.raises(grpc.RpcError) as caught:
            await fast_cell.stub.Stats(admin_pb2.StatsRequest(model_id=M))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        await home.restart()
        await other.restart()


async def test_a_server_that_has_seen_a_higher_term_is_led_again(cell, eventually):
    """A server that has seen a higher term makes this admin claim above it."""
    fake = FakeModelServer()
    fake.highest_term = 41
    await fake.start()
    try:
        await fake.join(f"127.0.0.1:{cell.server.port}")
        await cell.publish()
        await eventually(lambda: fake.kinds() == ["load"])
        assert fake.orders[-1].term == cell.server.controller.machine.term == 42
    finally:
        await fake.stop()
