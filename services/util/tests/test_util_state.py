"""saxutil state: verify, history, restore and export over a cell's own records."""

from __future__ import annotations

import io
import sys

import pytest
from sax_common.sealed import seal
from saxml.protobuf import admin_pb2, state_pb2


@pytest.fixture
def cell(saxutil, tmp_path, monkeypatch):
    """A cell with two records: `a` published, then `b` in its place."""
    monkeypatch.setenv("SAX_ROOT", str(tmp_path / "root"))
    assert saxutil("create", "/sax/new", str(tmp_path / "state"), "acl/all").status == 0
    config = admin_pb2.Config.FromString((tmp_path / "root/sax/new/config.proto").read_bytes())
    folder, crc = tmp_path / "state/sax/new/state", 0
    folder.mkdir(parents=True)
    for number, name in enumerate("ab", 1):
        record = state_pb2.StateRecord(
            sequence=number, term=1, cell_uid=config.cell_uid, previous_crc32c=crc, written_unix_ms=1_000
        )
        record.models.add(model_id=f"/sax/new/{name}")
        record.operations.add(kind="publish", sequence=number, model_id=f"/sax/new/{name}", client="ann")
        data, crc = seal(record.SerializeToString())
        (folder / f"{number:020d}").write_bytes(data)
    return folder


@pytest.mark.usefixtures("cell")
def test_a_healthy_state_is_told_in_one_line(saxutil):
    """Status 0 and the newest record."""
    done = saxutil("state", "verify", "/sax/new")
    assert (done.status, "2 records, newest 2, term 1, 1 models: all is well" in done.out) == (0, True)


def test_a_damaged_record_is_named_and_the_status_is_one(saxutil, cell):
    """A script can tell, and a person reads which one."""
    newest = max(cell.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    done = saxutil("state", "verify", "/sax/new")
    assert (done.status, "state record 2 of /sax/new is damaged" in done.out) == (1, True)


@pytest.mark.usefixtures("cell")
def test_history_shows_who_changed_what(saxutil):
    """Record, time, change, model and client."""
    out = saxutil("state", "history", "/sax/new").out
    assert all(text in out for text in ("publish", "/sax/new/b", "ann", "1970-01-01"))


@pytest.mark.usefixtures("cell")
def test_restore_asks_first_and_then_wants_the_old_models_again(saxutil, monkeypatch):
    """A yes writes one more record."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    done = saxutil("state", "restore", "/sax/new", "1")
    assert (done.status, "Restored in record 3" in done.out) == (0, True)
    assert "3 records" in saxutil("state", "verify", "/sax/new").out


def test_export_writes_what_an_original_admin_reads(saxutil, cell):
    """`state.proto` beside the records."""
    assert saxutil("state", "export", "-original", "/sax/new").status == 0
    state = admin_pb2.State.FromString((cell.parent / "state.proto").read_bytes())
    assert [model.model_id for model in state.models] == ["/sax/new/b"]


@pytest.mark.usefixtures("cell")
def test_an_unknown_action_is_refused_with_those_there_are(saxutil):
    """The message teaches."""
    done = saxutil("state", "burn", "/sax/new")
    assert (done.status, "verify, history, restore, export" in done.err) == (1, True)
