"""Starting an admin on what others left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sax_admin import wire_cell
from sax_admin.config_main import configure
from sax_admin.server import AdminServer, Settings
from sax_common.errors import FailedPrecondition
from sax_common.names import parse_cell
from saxml.protobuf import admin_pb2

if TYPE_CHECKING:
    from pathlib import Path

CELL = parse_cell("/sax/test")


def config_file(root: Path) -> Path:
    """Say where the cell's configuration is."""
    return root / "sax-root" / "sax" / "test" / "config.proto"


async def test_the_state_of_an_original_is_imported_once(tmp_path, open_cell):
    """An existing state.proto becomes the first record; after that it is never looked at again."""
    original = tmp_path / "fs-root" / "sax" / "test" / "state.proto"
    original.parent.mkdir(parents=True)
    model = admin_pb2.Model(
        model_id="/sax/test/old", model_path="p.Q", checkpoint_path="None", uuid=b"u" * 16
    )
    original.write_bytes(admin_pb2.State(models=[model]).SerializeToString())
    async with open_cell(tmp_path) as cell:
        assert (await cell.listed("old")).model.model_path == "p.Q"
        await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id="/sax/test/old"))
    async with open_cell(tmp_path) as cell:
        assert len((await cell.stub.List(admin_pb2.ListRequest())).published_models) == 0


async def test_the_state_of_another_cell_is_refused(tmp_path, open_cell):
    """Records name their cell: under a new identity they are refused, under their own they are led from."""
    async with open_cell(tmp_path) as cell:
        await cell.publish()
    roots = {"sax_root": str(tmp_path / "sax-root"), "fs_root": str(tmp_path / "fs-root")}
    own = wire_cell.decode_config(config_file(tmp_path).read_bytes()).cell_uid
    config_file(tmp_path).unlink()
    await configure(CELL, **roots, admin_acl="")
    server = AdminServer(
        Settings(cell=CELL, sax_root=roots["sax_root"], port=0, status_port=0), on_fatal=print
    )
    await server.start()
    with pytest.raises(FailedPrecondition, match=f"--cell_uid={own}"):
        await server.wait()
    await server.stop()
    await configure(CELL, **roots, admin_acl="", cell_uid=own)
    async with open_cell(tmp_path) as cell:
        assert (await cell.listed()).model.model_id == "/sax/test/m"


async def test_a_configuration_without_identity_gets_the_one_of_its_state(tmp_path, open_cell):
    """A config.proto rewritten by an original program does not lock the cell out."""
    async with open_cell(tmp_path) as cell:
        await cell.publish()
    file = config_file(tmp_path)
    before = wire_cell.decode_config(file.read_bytes())
    file.write_bytes(admin_pb2.Config(fs_root=before.fs_root).SerializeToString())
    async with open_cell(tmp_path) as cell:
        assert (await cell.listed()).model.model_id == "/sax/test/m"
    assert wire_cell.decode_config(file.read_bytes()).cell_uid == before.cell_uid


async def test_configuring_again_keeps_identity_and_unknown_fields(tmp_path):
    """Only what sax-admin-config was told to change changes."""
    roots = {"sax_root": str(tmp_path / "sax-root"), "fs_root": str(tmp_path / "fs-root")}
    first = await configure(CELL, **roots, admin_acl="acl/all")
    file = config_file(tmp_path)
    file.write_bytes(file.read_bytes() + bytes([0x88, 0x32, 7]))  # Field 801 of a newer program.
    second = await configure(CELL, **roots, admin_acl="acl/none")
    assert (second.cell_uid, second.admin_acl) == (first.cell_uid, "acl/none")
    assert file.read_bytes().endswith(bytes([0x88, 0x32, 7]))


async def test_old_records_are_collected(tmp_path, open_cell):
    """Of 150 changes the last hundred records stay."""
    async with open_cell(tmp_path) as cell:
        for number in range(150):
            await cell.publish(f"m{number}", replicas=0)
        await asyncio.sleep(0.3)
        kept = sorted((tmp_path / "fs-root" / "sax" / "test" / "state").glob("0*"))
        assert 100 <= len(kept) <= 110
        assert int(kept[-1].name) == cell.server.controller.machine.journal.sequence


async def test_location_names_the_leader(cell, eventually):
    """location.proto is a binary sax.Location with the address clients can reach."""
    file = cell.root / "sax-root" / "sax" / "test" / "location.proto"
    await eventually(file.exists)
    assert admin_pb2.Location.FromString(file.read_bytes()).location == f"127.0.0.1:{cell.server.port}"
