"""Who calls: certificates, tokens, a gateway's word."""

import pytest
from sax_common.access import AclTable, Role
from sax_common.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated
from sax_runtime import outgoing, tokens
from sax_runtime.identity import (
    Certificate,
    Shown,
    certificate_of_ssl,
    normal_host,
    peer_host,
    principal_of,
)
from sax_runtime.tls import TlsFiles

TOKEN, LINE = tokens.new_token("alice")
HASHES = tokens.parse_hashes(f"# people\n{LINE}\n\n")
GATEWAY = Certificate(uris=("spiffe://test/gateway/g",))


def _who(certificate=None, authorization="", on_behalf_of=""):
    shown = Shown(certificate=certificate, authorization=authorization, on_behalf_of=on_behalf_of)
    return principal_of(shown, cell="test", table=AclTable(), hashes=HASHES)


def test_nothing_shown_is_nobody():
    """No certificate and no token make no principal, and neither does an empty certificate."""
    assert _who() is None
    assert _who(Certificate()) is None


def test_a_name_that_no_list_can_hold_is_none():
    """A common name with blanks or line feeds is no name; the URI beside it is."""
    assert _who(Certificate(common_name="Ann\r\nsax-role: admin")) is None
    assert _who(Certificate(common_name="A B", uris=("spiffe://test/client/ann",))).names == {
        "spiffe://test/client/ann"
    }


def test_a_uri_gives_name_and_role():
    """spiffe://<cell>/<role>/<name> of this cell gives its role; the common name is one more name."""
    who = _who(Certificate(common_name="m1", uris=("spiffe://test/modelserver/m1",)))
    assert (who.name, who.roles) == ("spiffe://test/modelserver/m1", {Role.MODEL_SERVER})
    assert who.names == {"m1", "spiffe://test/modelserver/m1"}


@pytest.mark.parametrize("uri", ["spiffe://other/admin/a", "spiffe://test/root/a", "https://test/admin/a"])
def test_a_role_of_elsewhere_is_none_here(uri):
    """Another cell's admin is a principal without a role here."""
    assert _who(Certificate(uris=(uri,))).roles == frozenset()


def test_a_token_gives_its_name():
    """The name is the key under which the hash was found."""
    assert _who(authorization=f"Bearer {TOKEN}").name == "alice"


@pytest.mark.parametrize(
    "authorization",
    ["Bearer alice.wrong", f"Bearer bob{TOKEN[5:]}", f"Basic {TOKEN}", TOKEN, "Bearer ", f"Bearer {TOKEN}x"],
    ids=["wrong", "of another", "another scheme", "no scheme", "empty", "longer"],
)
def test_a_wrong_token_is_unauthenticated_and_not_repeated(authorization):
    """The error does not hold what was sent."""
    with pytest.raises(Unauthenticated) as caught:
        _who(authorization=authorization)
    assert TOKEN.rpartition(".")[2] not in caught.value.message


def test_a_name_may_have_two_tokens():
    """Old and new work while a token is being changed."""
    newer, line = tokens.new_token("alice")
    both = tokens.parse_hashes(f"{LINE}\n{line}")
    assert [tokens.name_of(f"Bearer {each}", both) for each in (TOKEN, newer)] == ["alice", "alice"]


def test_a_bad_line_is_named_by_number_only():
    """A token that was pasted in place of its hash does not end up in an error message."""
    with pytest.raises(InvalidArgument, match="line 2") as caught:
        tokens.parse_hashes(f"{LINE}\nalice {TOKEN}")
    assert TOKEN not in caught.value.message


def test_who_shows_both_is_both():
    """A model server with a token keeps the role of its certificate."""
    who = _who(Certificate(uris=("spiffe://test/modelserver/m",)), f"Bearer {TOKEN}")
    assert (who.name, who.roles) == ("alice", {Role.MODEL_SERVER})
    assert "spiffe://test/modelserver/m" in who.names


def test_a_gateway_may_speak_for_others():
    """The one it names is judged, and the gateway remembered."""
    who = _who(GATEWAY, on_behalf_of="bob")
    assert (who.name, who.vouched_by) == ("bob", "spiffe://test/gateway/g")


def test_nobody_else_may_speak_for_others():
    """A client or a stranger that tries is refused, not ignored."""
    with pytest.raises(PermissionDenied, match="no gateway"):
        _who(authorization=f"Bearer {TOKEN}", on_behalf_of="bob")
    with pytest.raises(Unauthenticated):
        _who(on_behalf_of="bob")
    with pytest.raises(InvalidArgument):
        _who(GATEWAY, on_behalf_of="bob\nroot")


def test_certificates_of_both_libraries_read_alike():
    """What the ssl module reports gives the same value."""
    found = {
        "subject": ((("commonName", "m1"),),),
        "subjectAltName": (
            ("DNS", "M1.example"),
            ("IP Address", "10.0.0.1"),
            ("URI", "spiffe://test/client/m"),
        ),
    }
    assert certificate_of_ssl(found) == Certificate(
        common_name="m1", uris=("spiffe://test/client/m",), hosts=frozenset({"m1.example", "10.0.0.1"})
    )
    assert certificate_of_ssl({}) is None


def test_hosts_are_compared_in_one_form():
    """IPv4 within IPv6, loopback of both families and upper case are the same hosts."""
    assert peer_host("ipv4:10.0.0.1:5000") == "10.0.0.1"
    assert peer_host("ipv6:%5B::ffff:10.0.0.1%5D:5000") == "10.0.0.1"
    assert peer_host("ipv6:[2001:DB8::0:1]:5000") == normal_host("2001:db8::1")
    assert peer_host("ipv6:%5B::1%5D:5000") == normal_host("localhost") == "127.0.0.1"
    assert peer_host("unix:/run/sax") == ""


def test_a_token_never_travels_in_plain_text(tmp_path):
    """On loopback it may; beyond it the call is refused before anything leaves."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(TOKEN)
    caller = outgoing.make_outgoing(TlsFiles(), str(file))
    assert caller.metadata("127.0.0.1:1") == (("authorization", f"Bearer {TOKEN}"),)
    with pytest.raises(FailedPrecondition, match="for all to read") as caught:
        caller.metadata("10.0.0.1:1")
    assert TOKEN not in caught.value.message


def test_a_token_file_for_everybody_is_refused(tmp_path):
    """A secret that every user may read is none."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="chmod 0600"):
        outgoing.make_outgoing(TlsFiles(), str(file))


def test_calls_on_behalf_say_so_only_inside():
    """The word ends with the block."""
    plain = outgoing.Outgoing()
    with outgoing.on_behalf_of("bob"):
        assert plain.metadata("x:1") == (("sax-on-behalf-of", "bob"),)
    assert plain.metadata("x:1") == ()


def test_the_token_tool_makes_what_the_server_takes(capsys):
    """`python -m sax_runtime.tokens bob` prints a token and the line that lets it in."""
    assert tokens.main(["bob"]) == 0
    token, line = (text.rpartition("  ")[2] for text in capsys.readouterr().out.splitlines())
    assert tokens.name_of(f"Bearer {token}", tokens.parse_hashes(line)) == "bob"
    assert tokens.main(["b b"]) == 1
    assert tokens.main([]) == 2
