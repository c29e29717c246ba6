"""The sax.Admin service over a real gRPC connection: every row of the code table, and the long polls."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from sax_admin.config_main import configure
from sax_admin.core.events import ConfigRead
from sax_common.names import parse_cell
from saxml.protobuf import admin_pb2

CODE = grpc.StatusCode
CELL = parse_cell("/sax/test")


def model(**changes):
    """Make a legal model message with changes."""
    fields = {"model_id": "/sax/test/m", "model_path": "test.Model", "checkpoint_path": "None"}
    acls = changes.pop("acls", {})
    return admin_pb2.Model(**{**fields, **changes}, acls={"items": acls})


async def code_of(call):
    """Say the status of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    assert caught.value.details()
    return caught.value.code()


BAD_IDS = ["", "m", "/sax/other/m", "/sax/test", "/sax/test/M", "/sax/test/m/"]


@pytest.mark.parametrize("model_id", BAD_IDS)
async def test_a_malformed_or_foreign_model_id_is_an_invalid_argument(cell, model_id):
    """Every call with a model id refuses one that is malformed or of another cell."""
    stub, pb = cell.stub, admin_pb2
    calls = [
        stub.Publish(pb.PublishRequest(model=model(model_id=model_id))),
        stub.Update(pb.UpdateRequest(model=model(model_id=model_id))),
        stub.Unpublish(pb.UnpublishRequest(model_id=model_id)),
        stub.WaitForReady(pb.WaitForReadyRequest(model_id=model_id)),
    ]
    if model_id:
        calls += [
            stub.List(pb.ListRequest(model_id=model_id)),
            stub.Stats(pb.StatsRequest(model_id=model_id)),
        ]
    for call in calls:
        assert await code_of(call) == CODE.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_path": "9x"}, CODE.INVALID_ARGUMENT),
        ({"checkpoint_path": ""}, CODE.INVALID_ARGUMENT),
        ({"checkpoint_path": "a b"}, CODE.INVALID_ARGUMENT),
        ({"requested_num_replicas": -1}, CODE.INVALID_ARGUMENT),
        ({"acls": {"lm.nothing": ""}}, CODE.INVALID_ARGUMENT),
        ({"acls": {"lm.score": "people"}}, CODE.INVALID_ARGUMENT),
        ({"admin_acl": "people"}, CODE.INVALID_ARGUMENT),
        ({"acls": {"lm.score": "acl/people"}}, CODE.UNIMPLEMENTED),
        ({"admin_acl": "acl/people"}, CODE.UNIMPLEMENTED),
    ],
)
async def test_a_malformed_model_has_the_intended_code(cell, changes, code):
    """Publish and Update answer a malformed model with the code that clients can act on."""
    await cell.publish()
    assert await code_of(cell.stub.Publish(admin_pb2.PublishRequest(model=model(**changes)))) == code
    assert await code_of(cell.stub.Update(admin_pb2.UpdateRequest(model=model(**changes)))) == code


async def test_a_publish_without_a_model_is_an_invalid_argument(cell):
    """A missing model is a missing name."""
    assert await code_of(cell.stub.Publish(admin_pb2.PublishRequest())) == CODE.INVALID_ARGUMENT


async def test_a_second_publish_already_exists(cell):
    """A published name is taken."""
    await cell.publish()
    assert await code_of(cell.publish()) == CODE.ALREADY_EXISTS


async def test_a_name_is_free_as_soon_as_it_is_unpublished(cell):
    """Where the original answers UNAVAILABLE until its next refresh, a new publish just works."""
    await cell.publish()
    await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id="/sax/test/m"))
    assert (await cell.publish()).sequence > 0


async def test_an_update_may_not_change_the_path(cell):
    """The registry path of a model is for ever."""
    await cell.publish()
    request = admin_pb2.UpdateRequest(model=model(model_path="other.Model"))
    assert await code_of(cell.stub.Update(request)) == CODE.INVALID_ARGUMENT


async def test_calls_about_an_unpublished_model_are_not_found(cell):
    """All six calls agree on what is not there."""
    stub, pb, name = cell.stub, admin_pb2, "/sax/test/nothing"
    for call in (
        stub.Update(pb.UpdateRequest(model=model(model_id=name))),
        stub.Unpublish(pb.UnpublishRequest(model_id=name)),
        stub.List(pb.ListRequest(model_id=name)),
        stub.Stats(pb.StatsRequest(model_id=name)),
        stub.WatchLoc(pb.WatchLocRequest(model_id=name)),
        stub.WaitForReady(pb.WaitForReadyRequest(model_id=name)),
    ):
        assert await code_of(call) == CODE.NOT_FOUND


async def test_watchloc_checks_the_name_but_not_the_cell(cell):
    """A negative number is refused; a model of another cell is only unknown, as in the original."""
    stub, pb = cell.stub, admin_pb2
    assert await code_of(stub.WatchLoc(pb.WatchLocRequest(model_id="m"))) == CODE.INVALID_ARGUMENT
    request = pb.WatchLocRequest(model_id="/sax/test/m", seqno=-1)
    assert await code_of(stub.WatchLoc(request)) == CODE.INVALID_ARGUMENT
    assert await code_of(stub.WatchLoc(pb.WatchLocRequest(model_id="/sax/other/m"))) == CODE.NOT_FOUND


async def test_waiting_for_a_model_that_is_unpublished_is_cancelled(cell):
    """WaitForReady ends with CANCELLED, WatchLoc with an empty full set."""
    await cell.publish()
    request = admin_pb2.WaitForReadyRequest(model_id="/sax/test/m", num_replicas=1)
    waiting = asyncio.ensure_future(cell.stub.WaitForReady(request, timeout=10))
    watching = asyncio.ensure_future(
        cell.stub.WatchLoc(admin_pb2.WatchLocRequest(model_id="/sax/test/m"), timeout=10)
    )
    await asyncio.sleep(0.2)
    await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id="/sax/test/m"))
    assert await code_of(waiting) == CODE.CANCELLED
    result = (await watching).result
    assert (result.has_fullset, list(result.values), result.next_seqno) == (True, [], 0)


async def test_long_polls_end_at_the_callers_deadline(cell):
    """Both long polls wait no longer than the caller."""
    await cell.publish()
    watch = admin_pb2.WatchLocRequest(model_id="/sax/test/m")
    ready = admin_pb2.WaitForReadyRequest(model_id="/sax/test/m", num_replicas=1)
    assert await code_of(cell.stub.WatchLoc(watch, timeout=0.3)) == CODE.DEADLINE_EXCEEDED
    assert await code_of(cell.stub.WaitForReady(ready, timeout=0.3)) == CODE.DEADLINE_EXCEEDED


async def test_waiting_for_no_replicas_returns_at_once(cell):
    """Zero or fewer replicas are always ready."""
    await cell.publish()
    await cell.ready(replicas=0)
    await cell.ready(replicas=-3)


@pytest.mark.parametrize(
    "request_",
    [
        admin_pb2.JoinRequest(model_server=admin_pb2.ModelServer()),
        admin_pb2.JoinRequest(address="127.0.0.1:1"),
    ],
)
async def test_a_join_without_address_or_server_is_an_invalid_argument(cell, request_):
    """A model server must say where and what it is."""
    assert await code_of(cell.stub.Join(request_)) == CODE.INVALID_ARGUMENT


async def test_a_join_from_an_address_that_does_not_answer_is_a_deadline_exceeded(fast_cell):
    """The admin asks the server for its status before it lets it in, for ten seconds."""
    request = admin_pb2.JoinRequest(address="127.0.0.1:1", model_server=admin_pb2.ModelServer())
    assert await code_of(fast_cell.stub.Join(request, timeout=15)) == CODE.DEADLINE_EXCEEDED


async def test_a_closed_cell_acl_denies_publish_and_join(cell):
    """The admin ACL of the configuration counts from the moment it is read again."""
    cell.server.controller.tell(ConfigRead("acl/admins"))
    assert await code_of(cell.publish()) == CODE.PERMISSION_DENIED
    request = admin_pb2.JoinRequest(address="127.0.0.1:1", model_server=admin_pb2.ModelServer())
    assert await code_of(cell.stub.Join(request)) == CODE.PERMISSION_DENIED


async def test_the_configuration_is_read_again_while_running(fast_cell):
    """An ACL written by sax-admin-config reaches a running admin within its five seconds."""
    await configure(
        CELL,
        sax_root=str(fast_cell.root / "sax-root"),
        fs_root=str(fast_cell.root / "fs-root"),
        admin_acl="acl/none",
    )
    for _ in range(80):
        if fast_cell.server.controller.machine.rules.admin_acl == "acl/none":
            break
        await asyncio.sleep(0.1)
    assert await code_of(fast_cell.publish()) == CODE.PERMISSION_DENIED


async def test_the_same_operation_id_is_answered_the_same(cell):
    """A retried publish gets the first answer, even after somebody unpublished the model."""
    first = await cell.publish(operation_id="op-1")
    await cell.stub.Unpublish(admin_pb2.UnpublishRequest(model_id="/sax/test/m", operation_id="op-2"))
    assert await cell.publish(operation_id="op-1") == first
    assert len((await cell.stub.List(admin_pb2.ListRequest())).published_models) == 0


async def test_list_hides_the_uuid_and_says_why_nothing_runs(cell):
    """A model without servers is listed with its generation and the reason."""
    await cell.publish()
    shown = await cell.listed()
    assert (shown.model.uuid, shown.model.generation) == (b"", 2)
    assert "no model server has joined" in shown.shortfall_reason


async def test_what_was_published_is_there_after_a_restart(tmp_path, open_cell):
    """The next admin process finds the models, under a higher term, with the same operation answers."""
    async with open_cell(tmp_path) as first:
        answer = await first.publish(operation_id="op-1")
    async with open_cell(tmp_path) as second:
        assert (await second.listed()).model.model_path == "test.Model"
        assert await second.publish(operation_id="op-1") == answer
        assert second.server.controller.machine.term == 2
