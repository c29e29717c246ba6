"""Data ACLs of a model, enforced by a real model server."""

import grpc
import pytest
from model_cell import load_model, running_server
from sax_runtime import tokens
from sax_runtime.security import SecurityFlags, make_security
from saxml.protobuf import common_pb2, lm_pb2, modelet_pb2

ACLS = '[acl]\n"acl/writers" = ["alice"]\n[role]\nadmin = ["admin"]\nmodelserver = ["server"]\n'


@pytest.fixture
async def cell(tmp_path):
    """A model server with access control, and the credentials of a few callers."""
    made = {name: tokens.new_token(name) for name in ("alice", "eve", "admin", "server")}
    (tmp_path / "hashes").write_text("\n".join(line for _, line in made.values()))
    (tmp_path / "acl.toml").write_text(ACLS)
    flags = SecurityFlags(acl_file=str(tmp_path / "acl.toml"), token_hashes_file=str(tmp_path / "hashes"))
    async with running_server(security=make_security(flags, cell="test")) as running:
        running.headers = {name: (("authorization", f"Bearer {token}"),) for name, (token, _) in made.items()}
        yield running


async def _load(cell, **acls):
    items = {name.replace("_", ".", 1): acl for name, acl in acls.items()}
    await load_model(cell, metadata=cell.headers["admin"], acls=common_pb2.AccessControlLists(items=items))


async def _generate(cell, who, *, stream=False):
    request = lm_pb2.GenerateRequest(model_key="/sax/test/m", text="ab")
    metadata = cell.headers.get(who, ())
    if not stream:
        return (await cell.lm.Generate(request, metadata=metadata, timeout=10).code()).name
    call = cell.lm.GenerateStream(request, metadata=metadata, timeout=10)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code().name
    call.cancel()
    return "OK"


async def test_a_methods_list_decides_who_may_call_it(cell):
    """Its members may; others, servers and strangers may not, in one piece or as a stream."""
    await _load(cell, lm_generate="acl/writers")
    for stream in (False, True):
        codes = {who: await _generate(cell, who, stream=stream) for who in ("alice", "eve", "server", "")}
        assert codes == {
            "alice": "OK",
            "eve": "PERMISSION_DENIED",
            "server": "PERMISSION_DENIED",
            "": "UNAUTHENTICATED",
        }


async def test_a_list_may_be_names(cell):
    """The value of a data ACL may be principals between commas, as an original admin sends it."""
    await _load(cell, lm_generate="bob, eve")
    assert [await _generate(cell, who) for who in ("eve", "alice")] == ["OK", "PERMISSION_DENIED"]


async def test_without_a_list_every_known_user_may_call(cell):
    """The inherited list is acl/data, and everybody known while the file does not define it."""
    await _load(cell)
    assert [await _generate(cell, who) for who in ("eve", "admin", "")] == [
        "OK",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
    ]


async def test_an_update_of_the_lists_counts_at_once(cell):
    """UpdateLoaded replaces the lists without a reload, and only an admin may send it."""
    await _load(cell, lm_generate="acl/writers")
    acls = common_pb2.AccessControlLists(items={"lm.generate": "eve"})
    request = modelet_pb2.UpdateLoadedRequest(model_key="/sax/test/m", acls=acls)
    call = cell.modelet.UpdateLoaded(request, metadata=cell.headers["eve"], timeout=10)
    assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
    await cell.modelet.UpdateLoaded(request, metadata=cell.headers["admin"], timeout=10)
    assert [await _generate(cell, who) for who in ("eve", "alice")] == ["OK", "PERMISSION_DENIED"]
