import asyncio
import contextlib

import pytest
from model_cell import eventually, running_server
from model_toy_language import answer
from sax_client import AsyncClient
from sax_client.values import ClientOptions, GenerateOptions
from sax_common.errors import FailedPrecondition, NotFound, SaxError
from sax_common.store.memory import MemoryStore
from sax_common.store.open import open_store
from sax_model import wire_join
from sax_model.serve_child import Child, child_environ
from saxml.protobuf import admin_pb2

CELL = "/sax/test"
MODEL = f"{CELL}/m"


def test_a_location_file_that_makes_no_sense_is_no_address():
    """The placeholder of an admin that never ran, half a file, and an empty one are not addresses."""
    placeholder = "No admin server has been started for this Sax cell."
    assert wire_join.location(admin_pb2.Location(location=placeholder).SerializeToString()) is None
    assert wire_join.location(b"\xff\xff") is None
    assert wire_join.location(b"") is None
    assert wire_join.location(admin_pb2.Location(location="h:1").SerializeToString()) == "h:1"


async def test_a_cell_that_does_not_exist_is_said_at_once():
    """One sentence with the remedy, before anything is served."""
    with pytest.raises(FailedPrecondition, match="sax-admin-config"):
        async with running_server(f"--sax_cell={CELL}", store=MemoryStore()):
            pass


async def start_admin(root):
    """Make a cell and start its real admin server."""
    flags = [f"--sax_cell={CELL}", f"--sax_root={root}"]
    environ = child_environ(root)
    made = await Child.start("config", "sax_admin.config_main", [*flags, f"--fs_root={root}/fs"], environ)
    assert await made.ended() == 0, made.last_lines()
    flags += ["--port=0", "--status_port=0", "--listen_host=127.0.0.1"]
    return await Child.start("admin", "sax_admin.main", flags, environ)


async def until_joined(cell):
    """Wait until the admin knows a model server; it may be away meanwhile."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(SaxError):
                if (await cell.stats(timeout_s=1)).server_types:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.processes
async def test_a_published_model_is_loaded_here_and_answers(tmp_path, monkeypatch):
    """Join, publish, load, generate, unpublish: a real admin process drives this server with toy models."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    root = str(tmp_path)
    admin = await start_admin(root)
    try:
        async with (
            running_server(f"--sax_cell={CELL}", store=open_store(root)) as server,
            AsyncClient(root) as client,
        ):
            cell = client.admin(CELL)
            await until_joined(cell)
            await cell.publish(MODEL, "toy.Ok", "None", 1)
            await cell.wait_for_ready(MODEL, 1, timeout_s=20)
            model = client.model(MODEL, ClientOptions(timeout_s=10))
            result = await model.generate("ab", options=GenerateOptions(max_tokens=6))
            assert result.texts[0].text == answer("ab", 6)
            await cell.unpublish(MODEL)
            await eventually(lambda: not server.server.table.reports(), 20)
            with pytest.raises(NotFound):
                await cell.list(MODEL)
    finally:
        await admin.stop(10)


@pytest.mark.processes
async def test_a_server_rejoins_an_admin_that_was_restarted(tmp_path, monkeypatch):
    """The admin is killed and comes back elsewhere; the server finds it without help."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    root = str(tmp_path)
    admin = await start_admin(root)
    try:
        async with (
            running_server(f"--sax_cell={CELL}", store=open_store(root)),
            AsyncClient(root) as client,
        ):
            cell = client.admin(CELL)

            await until_joined(cell)
            admin.kill()
            await admin.ended()
            admin = await start_admin(root)
            await until_joined(cell)
    finally:
        await admin.stop(10)
