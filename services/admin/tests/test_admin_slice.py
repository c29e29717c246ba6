"""A whole publish against a fake model server."""

from __future__ import annotations

from sax_testing.fake_modelet import FakeModelServer
from saxml.protobuf import admin_pb2


async def test_a_published_model_is_loaded_listed_and_watched(cell):
    """Publishing a model that a joined server offers ends with its address in List and in WatchLoc."""
    fake = FakeModelServer()
    await fake.start()
    try:
        assert await fake.join(f"127.0.0.1:{cell.server.port}") == 1
        response = await cell.publish()
        assert response.sequence == 2
        await cell.ready()
        shown = await cell.listed()
        assert list(shown.modelet_addresses) == [fake.address]
        assert shown.shortfall_reason == ""
        request = admin_pb2.WatchLocRequest(model_id="/sax/test/m")
        watched = await cell.stub.WatchLoc(request, timeout=5)
        assert watched.result.has_fullset
        assert list(watched.result.values) == [fake.address]
        assert fake.kinds() == ["load"]
    finally:
        await fake.stop()
