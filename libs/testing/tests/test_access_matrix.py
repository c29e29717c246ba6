"""Every RPC and every HTTP route of the real servers, against everybody who might call it.

The servers run in this process as their programs start them: TLS on every port, access control on. What is
there to be called is asked of the servers themselves (gRPC reflection, the routers), so a new RPC or route
is in the matrix the day it is registered. Who may call it is said here once more, in other words than
`sax_runtime.access_rules`: a rule that is loosened by mistake differs from this page.
"""

import asyncio
import ssl
from contextlib import AsyncExitStack
from types import SimpleNamespace

import grpc
import httpx2
import pytest
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sax_admin.config_main import configure
from sax_admin.server import AdminServer, Settings
from sax_client import AsyncClient
from sax_common.access import IDENTITY
from sax_common.clock import SystemClock
from sax_common.config import load
from sax_common.errors import NotFound
from sax_common.names import parse_cell
from sax_http.app import make_app
from sax_http.directory import Directory
from sax_http.server import serve
from sax_http.services import Services
from sax_model.config import ModelServerConfig
from sax_model.server import ModelServer
from sax_runtime import access_rules, tokens
from sax_runtime.authorization import MissingRule
from sax_runtime.channels import open_channel
from sax_runtime.health import Health
from sax_runtime.http_guard import route_names
from sax_runtime.outgoing import make_outgoing
from sax_runtime.ports import listen_socket
from sax_runtime.process import Stop
from sax_runtime.security import SecurityFlags, make_security
from sax_runtime.tls import TlsFiles
from sax_testing.certificates import Authority
from saxml.protobuf import admin_pb2

CELL = parse_cell("/sax/test")
ROLES = ("admin", "modelserver", "gateway", "operator", "client")
# Callers: nobody, a wrong token, one principal per role, and a client on the cell's admin list.
CALLERS = ("nobody", "wrong", *ROLES, "alice")
KNOWN = {*ROLES, "alice"}
USERS = {"gateway", "operator", "client", "alice"}
ACLS = """
[acl]
"acl/ops" = ["alice"]
[role]
""" + "".join(f'{role} = ["{role}"]\n' for role in ROLES)

EXPECTED_SERVICES = {
    "sax.server.lm.LMService": USERS,
    "sax.server.vision.VisionService": USERS,
    "sax.server.audio.AudioService": USERS,
    "sax.server.custom.CustomService": USERS,
    "sax.server.multimodal.MultimodalService": USERS,
    "sax.Admin": KNOWN,
    "sax.Modelet": {"admin"},
    "grpc.health.v1.Health": set(CALLERS),
    "grpc.reflection.v1alpha.ServerReflection": {"operator"},
}
EXPECTED_METHODS = {
    "sax.Admin/Publish": {"alice"},
    "sax.Admin/Update": {"alice"},
    "sax.Admin/Unpublish": {"alice"},
    "sax.Admin/Join": {"modelserver"},
    "sax.Admin/Drain": {"alice"},
    "sax.Admin/Undrain": {"alice"},
    "sax.Modelet/GetStatus": {"admin", "operator"},
}
REQUESTS = {
    "sax.Admin/Publish": admin_pb2.PublishRequest(model=admin_pb2.Model(model_id="/sax/test/m")),
    "sax.Admin/Update": admin_pb2.UpdateRequest(model=admin_pb2.Model(model_id="/sax/test/m")),
    "sax.Admin/Unpublish": admin_pb2.UnpublishRequest(model_id="/sax/test/m"),
}
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def _no_model(*_):
    raise NotFound("there are no models in this test")


@pytest.fixture
async def cell(tmp_path, monkeypatch):
    """An admin server, a model server and an HTTP server with TLS, tokens and roles; the admin leads."""
    monkeypatch.setenv("SAX_DEBUG_IPADDR", "1")
    monkeypatch.setenv("SAX_CACHE_DIR", str(tmp_path / "cache"))
    authority = Authority(tmp_path / "pki")
    (tmp_path / "acl.toml").write_text(ACLS)
    lines = []
    for caller in KNOWN:
        token, line = tokens.new_token(caller)
        file = tmp_path / f"{caller}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        lines.append(line)
    (tmp_path / "wrong.token").touch(mode=0o600)
    (tmp_path / "wrong.token").write_text("client.wrong")
    (tmp_path / "hashes").write_text("\n".join(lines))

    def security(role, **flags):
        issued = authority.issue(f"{role}-server")
        given = {
            "tls_cert_file": issued.cert,
            "tls_key_file": issued.key,
            "tls_ca_file": authority.ca,
            "tls_client_auth": "off",
            "acl_file": str(tmp_path / "acl.toml"),
            "token_hashes_file": str(tmp_path / "hashes"),
            "token_file": str(tmp_path / f"{role}.token"),
        }
        return make_security(SecurityFlags(**{**given, **flags}), cell="test")

    root = str(tmp_path / "sax-root")
    await configure(CELL, sax_root=root, fs_root=str(tmp_path / "fs-root"), admin_acl="acl/ops")
    async with AsyncExitStack() as stack:
        admin = await _admin(stack, root, security("admin"))
        model = await _model(stack, security("modelserver"))
        http_port, app = await _http(stack, root, security("gateway"))
        yield SimpleNamespace(
            folder=tmp_path, authority=authority, admin=admin, model=model, http_port=http_port, app=app
        )


async def _admin(stack, root, security):
    settings = Settings(
        cell=CELL, sax_root=root, port=0, status_port=0, listen_host="127.0.0.1", security=security
    )
    server = AdminServer(settings, on_fatal=pytest.fail)
    await server.start()
    stack.push_async_callback(server.stop)
    async with asyncio.timeout(20):
        while not server.health.is_ready:  # noqa: ASYNC110 - it has no event.
            await asyncio.sleep(0.01)
    return server


async def _model(stack, security):
    flags = ["--port=0", "--status_port=0", "--listen_address=127.0.0.1", "--lame_duck_s=0", "--drain_s=1"]
    server = ModelServer(
        load(ModelServerConfig, flags, {}, program="test"),
        load=_no_model,
        servable_paths=[],
        store=None,
        clock=SystemClock(),
        request_end=pytest.fail,
        security=security,
    )
    await server.start()
    stack.push_async_callback(server.stop)
    return server


async def _http(stack, root, security):
    clock, health, stop = SystemClock(), Health(), Stop()
    client = await stack.enter_async_context(AsyncClient(root, outgoing=security.outgoing))
    services = Services(
        client=client,
        directory=Directory(client, default_cell=CELL, clock=clock),
        health=health,
        clock=clock,
        is_legacy_generate=False,
        generate_timeout_s=5,
        stream_timeout_s=5,
        ready_timeout_s=0.2,
    )
    listener = listen_socket("127.0.0.1:0", purpose="HTTP")
    port = listener.getsockname()[1]
    app = make_app(services, max_body_bytes=1 << 20, guard=security.guard)
    serving = asyncio.ensure_future(
        serve(app, listener, stop, health, max_connections=64, drain_s=1, tls=security.server_context())
    )

    async def end():
        stop.request("the test is over")
        await serving

    stack.push_async_callback(end)
    return port, app


def _outgoing(cell, caller):
    token = "" if caller == "nobody" else str(cell.folder / f"{caller}.token")
    return make_outgoing(TlsFiles(ca=cell.authority.ca), token)


async def _methods(cell, address):
    """Ask a server, as an operator, which methods it has."""
    async with open_channel(address, outgoing=_outgoing(cell, "operator")) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(timeout=10)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = [service.name for service in (await call.read()).list_services_response.service]
        await call.done_writing()
    pool = descriptor_pool.Default()
    return {
        f"{service}/{method.name}": method
        for service in services
        for method in pool.FindServiceByName(service).methods
    }


async def _code(channel, name, method):
    request = REQUESTS[name].SerializeToString() if name in REQUESTS else b""
    if method.client_streaming:
        call = channel.stream_stream(f"/{name}")(iter([request]), timeout=5)
    elif method.server_streaming:
        call = channel.unary_stream(f"/{name}")(request, timeout=5)
    else:
        call = channel.unary_unary(f"/{name}")(request, timeout=5)
        return await call.code()
    try:
        await call.read()  # A watch never ends by itself; the first answer is answer enough.
    except grpc.aio.AioRpcError as error:
        return error.code()
    call.cancel()
    return grpc.StatusCode.OK


async def _refused(cell, address, methods, caller):
    """Return the methods that the server refuses to a caller."""
    async with open_channel(address, outgoing=_outgoing(cell, caller)) as channel:
        codes = {name: await _code(channel, name, method) for name, method in methods.items()}
    if caller in {"nobody", "wrong"}:
        assert grpc.StatusCode.PERMISSION_DENIED not in codes.values()
    return {name for name, code in codes.items() if code in REFUSED}


def _expected(name):
    return EXPECTED_METHODS.get(name, EXPECTED_SERVICES[name.partition("/")[0]])


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_rpc_of_every_server_is_refused_to_who_may_not_call_it(cell, caller):
    """Each method answers exactly those callers who are expected to call it, and refuses the rest."""
    for server in (cell.admin, cell.model):
        address = f"127.0.0.1:{server.port}"
        methods = await _methods(cell, address)
        assert len(methods) > 8
        refused = await _refused(cell, address, methods, caller)
        assert refused == {name for name in methods if caller not in _expected(name)}


@pytest.fixture
def _loosened(monkeypatch):
    """Plant the bug that this file is for: a rule that lets too many in."""
    monkeypatch.setitem(access_rules.GRPC_RULES, "sax.Modelet/Load", IDENTITY)


@pytest.mark.usefixtures("_loosened")
async def test_a_loosened_rule_is_found(cell):
    """With one rule loosened a client gets further than expected, so the matrix fails."""
    address = f"127.0.0.1:{cell.model.port}"
    methods = await _methods(cell, address)
    refused = await _refused(cell, address, methods, "client")
    assert {name for name in methods if "client" not in _expected(name)} - refused == {"sax.Modelet/Load"}


async def test_every_service_is_in_the_matrix(cell):
    """All services of both servers are seen, so that none is tested by its absence."""
    seen = set()
    for server in (cell.admin, cell.model):
        seen |= {name.partition("/")[0] for name in await _methods(cell, f"127.0.0.1:{server.port}")}
    assert seen == EXPECTED_SERVICES.keys()


def _routes(app):
    """Find the routes that the guard of an app knows."""
    while not hasattr(app, "_routes"):
        app = app._app
    return route_names(app._routes)


async def _statuses(cell, port, routes, caller):
    verify = ssl.create_default_context(cafile=cell.authority.ca)
    headers = {} if caller == "nobody" else {"authorization": f"Bearer {_token(cell, caller)}"}
    found = {}
    async with httpx2.AsyncClient(verify=verify, headers=headers, timeout=20) as web:
        for route in routes:
            method, path = route.split(" ", 1)
            body = {} if method in {"POST", "PUT"} else None
            path = path.replace("{name:path}", "m").replace("{name}", "console.js")
            path = path.replace("{address:path}", "h:1").replace("{rest:path}", "")
            answer = await web.request(method, f"https://127.0.0.1:{port}{path}", json=body)
            found[route] = answer.status_code
    return found


def _token(cell, caller):
    return (cell.folder / f"{caller}.token").read_text()


def _expected_status(route, caller):
    """401 for strangers, 403 for the wrong role, None for anything else."""
    if route in {"GET /livez", "GET /readyz"}:
        return None
    if caller not in KNOWN:
        return 401
    return None if caller in USERS or route == "GET /metrics" else 403


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_route_of_every_server_is_refused_to_who_may_not_call_it(cell, caller):
    """HTTP server and status pages: 401 for strangers, 403 for other roles, an answer for users."""
    status = cell.admin._status
    ports = {
        cell.http_port: _routes(cell.app),
        cell.admin.status_port: _routes(status._app),
        cell.model.status_port: _routes(cell.model._status._app),
    }
    for port, routes in ports.items():
        assert {"GET /livez", "GET /readyz", "GET /metrics"} <= set(routes)
        for route, code in (await _statuses(cell, port, routes, caller)).items():
            expected = _expected_status(route, caller)
            assert (code if code in {401, 403} else None) == expected, (route, code)


async def test_a_path_that_is_not_there_is_not_told_to_strangers(cell):
    """A stranger reads 401 where a user reads 404."""
    routes = ["GET /admin.php"]
    assert await _statuses(cell, cell.http_port, routes, "nobody") == {routes[0]: 401}
    assert await _statuses(cell, cell.http_port, routes, "client") == {routes[0]: 404}


async def test_the_gateway_publishes_for_its_user_and_not_for_itself(cell):
    """Over HTTP the one on the cell's admin list may publish; another client is refused by the admin."""
    body = {"model": "/sax/test/m", "model_path": "a.B", "checkpoint": "None", "replicas": 0}
    verify = ssl.create_default_context(cafile=cell.authority.ca)
    codes = {}
    async with httpx2.AsyncClient(verify=verify, timeout=20) as web:
        for caller in ("client", "alice"):
            headers = {"authorization": f"Bearer {_token(cell, caller)}"}
            url = f"https://127.0.0.1:{cell.http_port}/publish"
            codes[caller] = (await web.post(url, json=body, headers=headers)).status_code
    assert codes == {"client": 403, "alice": 200}
    operations = cell.admin.controller.machine.journal.state.operations.values()
    assert [each.client.partition(" ipv")[0] for each in operations][1:] == ["alice (by gateway)"]


async def test_a_join_from_elsewhere_is_refused(cell):
    """A model server may not advertise an address that is neither its own nor in its certificate."""
    async with open_channel(
        f"127.0.0.1:{cell.admin.port}", outgoing=_outgoing(cell, "modelserver")
    ) as channel:
        for field in ("address", "data_address", "debug_address"):
            request = admin_pb2.JoinRequest(address="127.0.0.1:1", model_server=admin_pb2.ModelServer())
            setattr(request, field, "10.9.8.7:1")
            call = channel.unary_unary("/sax.Admin/Join")(request.SerializeToString(), timeout=5)
            assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_nobody_is_made_more_than_a_client_by_a_gateways_word(cell):
    """A gateway that calls on behalf of an admin's name gets what a client gets; others may not try."""
    said = (("sax-on-behalf-of", "admin"),)
    for caller, expected in (("gateway", "PERMISSION_DENIED"), ("client", "PERMISSION_DENIED")):
        async with open_channel(f"127.0.0.1:{cell.model.port}", outgoing=_outgoing(cell, caller)) as channel:
            call = channel.unary_unary("/sax.Modelet/GetStatus")(b"", metadata=said, timeout=5)
            assert (await call.code()).name == expected


def test_a_route_without_a_rule_stops_the_http_server(monkeypatch):
    """The app is not even made, whether or not access control is on."""
    monkeypatch.setattr("sax_http.app.HTTP_RULES", {})
    services = SimpleNamespace(health=Health(), clock=SystemClock())
    with pytest.raises(MissingRule, match="POST /generate"):
        make_app(services, max_body_bytes=1)
