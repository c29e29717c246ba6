"""TLS and the guard over real sockets: gRPC and HTTP."""

import asyncio
import base64
import shutil
import socket
import ssl
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sax_common.access import PUBLIC
from sax_common.errors import FailedPrecondition, InvalidArgument
from sax_runtime import access_rules, authorization, security, tokens
from sax_runtime.authorization import MissingRule
from sax_runtime.channels import open_channel
from sax_runtime.grpc_server import GrpcServer
from sax_runtime.health import Health
from sax_runtime.http_guard import route_names
from sax_runtime.outgoing import Outgoing, make_outgoing
from sax_runtime.security import SecurityFlags, make_security
from sax_runtime.status_server import StatusServer
from sax_runtime.tls import PemWatch, TlsFiles
from sax_testing.certificates import Authority
from saxml.protobuf import admin_pb2, admin_pb2_grpc
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from structlog.testing import capture_logs

ACLS = '[acl]\n"acl/ops" = ["alice", "spiffe://test/client/ann"]\n'


@pytest.fixture
def authority(tmp_path):
    """An authority of this test."""
    return Authority(tmp_path / "pki")


class Admin(admin_pb2_grpc.AdminServicer):
    """Says who called."""

    async def List(self, _request, _context):  # noqa: N802 - the protocol's name.
        """Answer with one model, named after the caller."""
        model = admin_pb2.Model(model_id=authorization.caller().who or "nobody")
        return admin_pb2.ListResponse(published_models=[admin_pb2.PublishedModel(model=model)])

    async def Publish(self, _request, _context):  # noqa: N802 - the protocol's name.
        """Do nothing, well."""
        return admin_pb2.PublishResponse()


def _flags(authority, tmp_path, **rest):
    server = authority.issue("admin-1", role="admin")
    acl_file = tmp_path / "acl.toml"
    acl_file.write_text(ACLS)
    given = {
        "tls_cert_file": server.cert,
        "tls_key_file": server.key,
        "tls_ca_file": authority.ca,
        "acl_file": str(acl_file),
    }
    return SecurityFlags(**{**given, **rest})


@asynccontextmanager
async def _server(flags):
    made = make_security(flags, cell="test")
    guard = made.guard.with_cell_acl(lambda: "acl/ops")
    server = GrpcServer(credentials=made.server_credentials, guard=guard)
    server.add(admin_pb2_grpc.add_AdminServicer_to_server, Admin())
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()


def _caller(authority, name="", role="client", token=""):
    issued = authority.issue(name, role=role) if name else None
    files = TlsFiles(ca=authority.ca, cert=issued.cert if issued else "", key=issued.key if issued else "")
    return make_outgoing(files, token)


async def _list(address, outgoing):
    async with open_channel(address, outgoing=outgoing) as channel:
        answer = await admin_pb2_grpc.AdminStub(channel).List(admin_pb2.ListRequest(), timeout=10)
        return answer.published_models[0].model.model_id


async def _code(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_certificate_says_who_calls(authority, tmp_path):
    """With mTLS the handler knows the caller's name from its certificate."""
    async with _server(_flags(authority, tmp_path)) as address:
        assert await _list(address, _caller(authority, "ann")) == "spiffe://test/client/ann"


async def test_without_a_certificate_there_is_no_connection(authority, tmp_path):
    """Plain text, TLS without a certificate and a certificate of another authority are all turned away."""
    stranger = Authority(tmp_path / "else", name="else").issue("eve", role="admin")
    foreign = make_outgoing(TlsFiles(ca=authority.ca, cert=stranger.cert, key=stranger.key))
    async with _server(_flags(authority, tmp_path)) as address:
        for outgoing in (Outgoing(), _caller(authority), foreign):
            assert await _code(_list(address, outgoing)) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_of_another_authority_is_not_trusted(authority, tmp_path):
    """A client does not talk to a server that its authority does not know."""
    other = Authority(tmp_path / "else", name="else")
    async with _server(_flags(other, tmp_path)) as address:
        assert await _code(_list(address, _caller(authority, "ann"))) is grpc.StatusCode.UNAVAILABLE


async def test_the_rule_of_a_method_is_applied(authority, tmp_path):
    """The cell's admin list guards Publish: its member may, another client and a model server may not."""
    async with _server(_flags(authority, tmp_path)) as address:
        codes = {}
        for name, role in (("ann", "client"), ("eve", "client"), ("m1", "modelserver")):
            async with open_channel(address, outgoing=_caller(authority, name, role)) as channel:
                call = admin_pb2_grpc.AdminStub(channel).Publish(admin_pb2.PublishRequest())
                codes[name] = await call.code()
        assert codes == {
            "ann": grpc.StatusCode.OK,
            "eve": grpc.StatusCode.PERMISSION_DENIED,
            "m1": grpc.StatusCode.PERMISSION_DENIED,
        }


async def test_a_token_says_who_calls(authority, tmp_path):
    """With --tls_client_auth=off tokens are enough; a wrong one and none are UNAUTHENTICATED."""
    token, line = tokens.new_token("alice")
    (tmp_path / "hashes").write_text(line)
    mine = tmp_path / "token"
    mine.touch(mode=0o600)
    mine.write_text(token)
    flags = _flags(authority, tmp_path, tls_client_auth="off", token_hashes_file=str(tmp_path / "hashes"))
    async with _server(flags) as address:
        assert await _list(address, _caller(authority, token=str(mine))) == "alice"
        assert await _code(_list(address, _caller(authority))) is grpc.StatusCode.UNAUTHENTICATED
        mine.write_text(token + "x")
        wrong = _caller(authority, token=str(mine))
        assert await _code(_list(address, wrong)) is grpc.StatusCode.UNAUTHENTICATED


async def _reflect(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    return len((await stub.ServerReflectionInfo(requests, timeout=10).read()).list_services_response.service)


async def test_reflection_is_for_operators_and_health_for_everybody(authority, tmp_path):
    """With access control on a client cannot ask what there is to attack; a probe is answered."""
    async with _server(_flags(authority, tmp_path)) as address:
        async with open_channel(address, outgoing=_caller(authority, "olga", "operator")) as channel:
            assert await _reflect(channel) == 3
        async with open_channel(address, outgoing=_caller(authority, "ann")) as channel:
            assert await _code(_reflect(channel)) is grpc.StatusCode.PERMISSION_DENIED
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert (await check).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def _https(port, path, context, *headers):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    head = "".join(
        f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "host: x", "connection: close", *headers)
    )
    writer.write(f"{head}\r\n".encode())
    answer = await reader.read()
    writer.close()
    with suppress(ssl.SSLError, ConnectionError):
        await writer.wait_closed()
    return int(answer.split()[1]), answer.decode()


def _context(authority, issued=None):
    context = ssl.create_default_context(cafile=authority.ca)
    if issued is not None:
        context.load_cert_chain(issued.cert, issued.key)
    return context


@asynccontextmanager
async def _status(flags):
    pages = [Route("/model/{name:path}", lambda _: PlainTextResponse(authorization.caller().who))]
    server = StatusServer(Health(), routes=pages, security=make_security(flags, cell="test"))
    port = await server.start()
    try:
        yield port
    finally:
        await server.stop()


async def test_https_pages_ask_who_reads_and_probes_do_not(authority, tmp_path):
    """Probes get through without a certificate; pages, numbers and unknown paths do not."""
    ann = authority.issue("ann", role="client")
    async with _status(_flags(authority, tmp_path)) as port:
        anybody = _context(authority)
        for path, status in (("/livez", 200), ("/metrics", 401), ("/model/m", 401), ("/nothing", 401)):
            assert (await _https(port, path, anybody))[0] == status
        status, answer = await _https(port, "/model/m", _context(authority, ann))
        assert (status, answer.rpartition("\r\n")[2]) == (200, "spiffe://test/client/ann")
        server = authority.issue("m1", role="modelserver")
        assert (await _https(port, "/model/m", _context(authority, server)))[0] == 403


async def test_a_browser_may_give_the_token_as_a_password(authority, tmp_path):
    """Basic authorization is for people: any name, the token as password."""
    token, line = tokens.new_token("alice")
    (tmp_path / "hashes").write_text(line)
    flags = _flags(authority, tmp_path, tls_client_auth="off", token_hashes_file=str(tmp_path / "hashes"))
    pair = base64.b64encode(f"me:{token}".encode()).decode()
    async with _status(flags) as port:
        anybody = _context(authority)
        assert (await _https(port, "/model/m", anybody, f"authorization: Basic {pair}"))[0] == 200
        assert (await _https(port, "/model/m", anybody, f"authorization: Bearer {token}"))[0] == 200
        assert (await _https(port, "/model/m", anybody, "authorization: Basic %%"))[0] == 401


async def test_old_tls_is_refused(authority, tmp_path):
    """A client that speaks nothing newer than TLS 1.1 gets no connection."""
    async with _status(_flags(authority, tmp_path)) as port:
        context = _context(authority)
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)


def _presented(port, authority):
    context = ssl.create_default_context(cafile=authority.ca)
    ann = authority.issue("probe", role="client")
    context.load_cert_chain(ann.cert, ann.key)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return dict(part[0] for part in secure.getpeercert()["subject"])["commonName"]


@pytest.fixture
def _looks_at_once(monkeypatch):
    """Files are looked at whenever they are needed."""
    monkeypatch.setattr("sax_runtime.watched_files.LOOK_S", 0.0)


@pytest.mark.usefixtures("_looks_at_once")
async def test_new_certificates_are_used_without_a_restart(authority, tmp_path):
    """GRPC and HTTP present the new certificate to the next connection; a half-replaced pair waits."""
    flags = _flags(authority, tmp_path)
    async with _server(flags) as address, _status(flags) as status_port:
        ports = (int(address.rpartition(":")[2]), status_port)
        assert [await asyncio.to_thread(_presented, port, authority) for port in ports] == ["admin-1"] * 2
        fresh = authority.issue("admin-2", role="admin")
        shutil.copyfile(fresh.cert, flags.tls_cert_file)
        assert [await asyncio.to_thread(_presented, port, authority) for port in ports] == ["admin-1"] * 2
        shutil.copyfile(fresh.key, flags.tls_key_file)
        assert [await asyncio.to_thread(_presented, port, authority) for port in ports] == ["admin-2"] * 2


@pytest.mark.usefixtures("_looks_at_once")
async def test_a_channel_follows_its_own_certificate(authority, tmp_path):
    """The next call on the same channel shows the new certificate."""
    ann, bob = authority.issue("ann", role="client"), authority.issue("bob", role="client")
    outgoing = make_outgoing(TlsFiles(ca=authority.ca, cert=ann.cert, key=ann.key))
    async with (
        _server(_flags(authority, tmp_path)) as address,
        open_channel(address, outgoing=outgoing) as one,
    ):
        ask = admin_pb2_grpc.AdminStub(one).List
        seen = [(await ask(admin_pb2.ListRequest())).published_models[0].model.model_id]
        shutil.copyfile(bob.cert, ann.cert)
        shutil.copyfile(bob.key, ann.key)
        seen.append((await ask(admin_pb2.ListRequest())).published_models[0].model.model_id)
    assert seen == ["spiffe://test/client/ann", "spiffe://test/client/bob"]


def test_a_key_for_everybody_is_refused(authority):
    """A private key that every user may read is refused with what to do."""
    issued = authority.issue("a")
    Path(issued.key).chmod(0o644)
    with pytest.raises(FailedPrecondition, match="chmod 0600"):
        PemWatch(TlsFiles(cert=issued.cert, key=issued.key))


def test_files_that_do_not_belong_together_are_refused(authority, tmp_path):
    """Each error names the file and the reason."""
    one, two = authority.issue("one"), authority.issue("two")
    for files, complaint in (
        (TlsFiles(cert=one.cert, key=two.key), "does not belong"),
        (TlsFiles(cert=one.cert, key=one.key, ca=one.key), "holds no certificates"),
        (TlsFiles(cert=str(tmp_path / "no"), key=one.key), "No such file"),
    ):
        with pytest.raises(FailedPrecondition, match=complaint):
            PemWatch(files)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"tls_cert_file": "a"}, "without --tls_key_file"),
        ({"tls_key_file": "a"}, "without --tls_cert_file"),
        ({"tls_client_auth": "require"}, "needs"),
        ({"token_hashes_file": "a"}, "without --acl_file"),
        ({"acl_file": "a"}, "lets nobody in"),
        ({"tls_server_name": "a"}, "needs --tls_ca_file"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, complaint):
    """A combination that cannot protect anything ends the program with the reason."""
    with pytest.raises(InvalidArgument, match=complaint):
        make_security(SecurityFlags(**flags), cell="test")


def test_without_flags_everything_is_off():
    """A laptop cell needs no ceremony."""
    plain = make_security(SecurityFlags(), cell="test")
    assert (plain.has_tls, plain.guard.is_on, plain.outgoing.is_secure) == (False, False, False)
    assert security.PLAIN.server_credentials is None


async def test_an_rpc_or_route_without_a_rule_stops_the_start():
    """Also with access control off, so that a forgotten rule is found on the first run."""
    rules = {name: rule for name, rule in access_rules.GRPC_RULES.items() if name != "sax.Admin/Stats"}
    with pytest.raises(MissingRule, match=r"sax\.Admin/Stats"):
        GrpcServer(rules=rules).add(admin_pb2_grpc.add_AdminServicer_to_server, Admin())
    with pytest.raises(MissingRule, match="GET /secret"):
        StatusServer(Health(), routes=[Route("/secret", lambda _: PlainTextResponse(""))])


def test_a_mounted_app_cannot_slip_past_the_rules():
    """Only plain routes can have a rule; anything else is named as what it is."""
    assert route_names([Mount("/x", routes=[])]) == ["Mount /x"]
    assert PUBLIC not in [access_rules.HTTP_RULES[name] for name in access_rules.HTTP_RULES if "/v1" in name]


async def test_a_listener_beyond_this_machine_is_said_once():
    """One warning line names what is missing, however many addresses; none on loopback."""
    server = GrpcServer()
    with capture_logs() as lines:
        server.bind("127.0.0.1:0")
        assert lines == []
        server.bind("0.0.0.0:0")
        server.bind("0.0.0.0:0")
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "without TLS (--tls_cert_file) and without access control (--acl_file)" in lines[0]["event"]
    await server.stop()


async def test_too_many_metadata_keys_are_refused():
    """Sixty-five keys are RESOURCE_EXHAUSTED."""
    server = GrpcServer()
    server.add(admin_pb2_grpc.add_AdminServicer_to_server, Admin())
    port = server.bind("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", outgoing=Outgoing()) as channel:
        many = tuple((f"k{number}", "v") for number in range(65))
        call = admin_pb2_grpc.AdminStub(channel).List(admin_pb2.ListRequest(), metadata=many)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await server.stop()


async def test_the_guard_costs_a_call_little(authority, tmp_path):
    """Judging a caller takes well under a millisecond."""
    made = make_security(_flags(authority, tmp_path), cell="test")
    check = made.guard.check_of("sax.Admin/List", access_rules.GRPC_RULES)

    class Context:
        def auth_context(self):
            return {"x509_pem_cert": [b"x"], "peer_uri": [b"spiffe://test/client/ann"]}

        def invocation_metadata(self):
            return (("traceparent", "00-0"),)

    started = time.process_time()
    for _ in range(1000):
        check(Context())
    assert (time.process_time() - started) / 1000 < 0.5e-3
