"""servers, drain, undrain, stats and doctor."""

from __future__ import annotations

import json

import pytest
from sax_client.fleet import FleetReport, HeldModel, ServerState
from sax_client.values import ModelStatus, PublishedModel
from sax_util import findings
from sax_util.commands_servers import size
from saxml.protobuf import admin_pb2, common_pb2

MODEL = "/sax/test/m"
ALIVE = admin_pb2.ServerState.PRESENCE_ALIVE


@pytest.fixture
def published(cell, saxutil):
    """A published model."""
    assert saxutil("publish", MODEL, "hf.CausalLM", "None", "1").status == 0
    return cell


def test_servers_shows_kind_status_models_queue_and_memory(cell, saxutil):
    """Each server is one row; reasons go to standard error."""
    model = admin_pb2.HeldModel(
        model_id=MODEL, status=common_pb2.FAILED, failure_reason="no such file", queued_requests=3
    )
    offer = admin_pb2.ModelServer(chip_type=13, chip_topology=22)
    cell.cell.admin.server_states = [
        admin_pb2.ServerState(address="a:1", model_server=offer, presence=ALIVE, models=[model]),
        admin_pb2.ServerState(
            address="b:1",
            presence=admin_pb2.ServerState.PRESENCE_DEAD,
            silent_ms=42_000,
            is_draining=True,
            total_bytes=8 << 30,
            used_bytes=1 << 29,
        ),
    ]
    ran = saxutil("servers", "-csv", "/sax/test")
    assert ran.out.splitlines()[1:] == [
        "a:1,GPU_T4,1,alive,m: FAILED,3,",
        "b:1,UNKNOWN,UNKNOWN,dead for 42s, drained,idle,0,512.0 MiB of 8.0 GiB",
    ]
    assert ran.err == f"{MODEL} on a:1: no such file\n"


def test_servers_as_json(published, saxutil):
    """Programs get everything, with the leader and the record it speaks from."""
    shown = json.loads(saxutil("servers", "-output=json", "/sax/test").out)
    assert shown["leader"] == published.cell.admin.address
    assert [model["model"] for model in shown["servers"][0]["models"]] == [MODEL]


def test_drain_and_undrain_find_the_cell_of_a_server(cell, saxutil):
    """The address is enough when it is clear which cell is meant; a cell may be named."""
    assert saxutil("drain", cell.server.address).status == 0
    assert cell.cell.admin.draining == {cell.server.address}
    assert (
        "draining" in saxutil("servers", "/sax/test").out or "drained" in saxutil("servers", "/sax/test").out
    )
    assert saxutil("undrain", "/sax/test", cell.server.address).status == 0
    assert cell.cell.admin.draining == set()


def test_drain_can_wait_until_the_server_is_empty(published, saxutil):
    """With -wait it returns at once for an empty server, and fails with what is still held at the timeout."""
    ran = saxutil("-sax_timeout=1s", "drain", "-wait", published.server.address)
    assert (ran.status, "still holds m: LOADED" in ran.err) == (1, True)
    assert saxutil("unpublish", MODEL).status == 0
    assert saxutil("drain", "-wait", published.server.address).status == 0


def test_a_server_that_no_cell_knows(cell, saxutil, tmp_path):
    """With several cells under the root the one that knows the server is asked for."""
    other = tmp_path / "root" / "sax" / "other"
    other.mkdir()
    location = admin_pb2.Location(location=cell.cell.admin.address)
    (other / "location.proto").write_bytes(location.SerializeToString())
    ran = saxutil("drain", "nowhere:1")
    assert (ran.status, "No cell of /sax/other, /sax/test has a model server nowhere:1" in ran.err) == (
        1,
        True,
    )


def test_an_original_admin_has_no_list_of_servers(cell, saxutil):
    """The status says what it is: the admin does not know the call."""
    cell.cell.admin.is_original = True
    assert "UNIMPLEMENTED" in saxutil("servers", "/sax/test").err


@pytest.mark.usefixtures("published")
def test_stats_begin_with_a_summary_of_the_cell(saxutil):
    """Servers, models and replicas are counted before the two tables; short names of chips."""
    lines = saxutil("stats", "-csv", "/sax/test").out.splitlines()
    assert lines[1] == "1,1,0,1,1,1,0,0,0"
    assert "CPU,1,1" in lines
    assert "# Servers" not in saxutil("stats", "-csv", MODEL).out


@pytest.mark.usefixtures("published")
def test_doctor_finds_nothing_wrong_with_a_good_cell(saxutil):
    """Every step is OK and the exit code 0."""
    ran = saxutil("doctor")
    assert (ran.status, "FAIL " in ran.out, ran.out.splitlines()[-1][:14]) == (0, False, "0 FAIL, 0 WARN")


def test_doctor_says_what_is_missing(saxutil, tmp_path, monkeypatch):
    """An empty root, a cell without admin, a wrong name: one FAIL each, with the remedy."""
    monkeypatch.setenv("SAX_ROOT", str(tmp_path / "root"))
    ran = saxutil("doctor")
    assert (ran.status, "saxutil create" in ran.out) == (1, True)
    saxutil("create", "/sax/new", str(tmp_path / "state"), "acl/all")
    ran = saxutil("doctor")
    assert (ran.status, "FAIL  location of /sax/new" in ran.out) == (1, True)
    assert "sax-admin-server --sax_cell=/sax/new" in ran.out
    assert "does not exist; there are: /sax/new" in saxutil("doctor", "/sax/old").out


def test_doctor_without_a_root(saxutil, monkeypatch):
    """Even that is a finding, not a crash."""
    monkeypatch.delenv("SAX_ROOT", raising=False)
    ran = saxutil("doctor")
    assert (ran.status, ran.out.startswith("FAIL  root:")) == (1, True)


def test_doctor_when_the_admin_is_gone(cell, saxutil):
    """An admin that refuses connections is a FAIL within seconds, with its address."""
    address = cell.cell.admin.address
    cell.run(cell.cell.kill(cell.cell.admin))
    ran = saxutil("doctor", "-output=json")
    failed = [one for one in json.loads(ran.out)["findings"] if one["level"] == "FAIL"]
    assert (ran.status, [one["subject"] for one in failed]) == (1, ["admin of /sax/test"])
    assert address in failed[0]["seen"]


def levels(found):
    """Give level and remedy of every finding that is not OK."""
    return [(finding.level, finding.subject) for finding in found if finding.level != "OK"]


def report(*servers, **more):
    """Make a report of these servers."""
    given = {"absent_draining": (), "leader_address": "a:1", "term": 1, "sequence": 2, "unix_ms": 0}
    return FleetReport(servers=servers, **{**given, **more})


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        (ServerState(address="s:1", presence="alive"), []),
        (ServerState(address="s:1", presence="alive", is_draining=True), [("WARN", "server s:1")]),
        (ServerState(address="s:1", presence="alive", is_original=True), [("WARN", "server s:1")]),
        (
            ServerState(address="s:1", presence="alive", total_bytes=100, used_bytes=99),
            [("WARN", "server s:1")],
        ),
        (
            ServerState(address="s:1", presence="dead", silent_ms=30_000),
            [("FAIL", "servers of /sax/test"), ("FAIL", "server s:1")],
        ),
    ],
)
def test_what_the_doctor_makes_of_a_server(server, wanted):
    """Silent servers are failures; draining, original and full ones are warnings."""
    assert levels(findings.servers("/sax/test", report(server), has_models=True)) == wanted


@pytest.mark.parametrize(
    ("changes", "level"),
    [({"step_age_ms": 60_000}, "FAIL"), ({"successes_per_s": 1.0, "errors_per_s": 1.0}, "WARN")],
)
def test_what_the_doctor_makes_of_an_engine(changes, level):
    """A step that never ends is a failure, many failing calls are a warning."""
    held = HeldModel(model_id=MODEL, status=ModelStatus.LOADED, **changes)
    server = ServerState(address="s:1", presence="alive", models=(held,))
    assert levels(findings.servers("/sax/test", report(server), has_models=True)) == [
        (level, f"{MODEL} on s:1")
    ]


@pytest.mark.parametrize(("admin_ms", "level"), [(1_500, "OK"), (4_500, "WARN"), (-4_000, "WARN")])
def test_clocks_are_compared_with_both_ends_of_the_call(admin_ms, level):
    """A slow answer is not taken for a clock that differs."""
    (found,) = findings.clock("/sax/test", admin_ms, 0, 2_000)
    assert found.level == level


def test_models_that_are_not_ready_are_told_with_reason_and_remedy():
    """No replica is a failure, too few are a warning; a publish path nobody offers says what to do."""
    model = PublishedModel(
        model_id=MODEL,
        model_path="p.Q",
        checkpoint="None",
        requested_replicas=1,
        shortfall_reason="no server offers the model path 'p.Q': 1 server joined",
    )
    (found,) = findings.models("/sax/test", [model])
    assert (found.level, "correct the path" in found.todo) == ("FAIL", True)
    assert "0 of 1 replicas ready: no server offers" in found.line()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_have_binary_units(count, text):
    """Bytes as people read them."""
    assert size(count) == text
