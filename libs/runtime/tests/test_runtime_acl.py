"""Decisions about callers, as values."""

import itertools

import pytest
from sax_common.access import (
    CELL_ADMIN,
    IDENTITY,
    JOIN,
    PUBLIC,
    Access,
    AclTable,
    Principal,
    Role,
    check_advertised,
    decide,
)
from sax_common.errors import InvalidArgument, PermissionDenied, Unauthenticated
from sax_runtime.access_rules import ADMIN, GRPC_RULES, STATUS, USERS
from sax_runtime.acl import parse_acls, watch_acl_file

TABLE = parse_acls(
    """
    [acl]
    "acl/ops" = ["alice", "group:team"]
    [group]
    team = ["bob", "group:leads"]
    leads = ["spiffe://test/operator/carol"]
    [role]
    admin = ["admin-1"]
    """
)
ALICE = Principal(name="alice")


def _access(name="", *, role=None, **rest):
    roles = frozenset({role}) if role else frozenset()
    return Access(principal=Principal(name=name, roles=roles) if name else None, table=TABLE, **rest)


def _allows(rule, access):
    return decide(rule, access, "sax.Admin/X").is_allowed


def test_groups_are_replaced_by_their_members():
    """A list holds the members of its groups, and those of their groups."""
    assert TABLE.lists["acl/ops"] == {"alice", "bob", "spiffe://test/operator/carol"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[acl]\n"acl/a" = ["group:x"]', "no group x"),
        ('[group]\na = ["group:b"]\nb = ["group:a"]', "holds itself"),
        ('[acl]\n"acl/all" = ["alice"]', "everybody"),
        ('[acl]\nops = ["alice"]', "acl/"),
        ('[acls]\n"acl/ops" = ["alice"]', "unknown section"),
        ('[role]\nroot = ["alice"]', "unknown role"),
        ('[acl]\n"acl/ops" = "alice"', "must be a list"),
        ('[acl]\n"acl/ops" = ["alice, bob"]', "not the name"),
        ("[acl", "not a TOML"),
    ],
)
def test_a_wrong_access_file_is_refused_with_the_reason(text, complaint):
    """A misspelt key in a list of permissions is an error that names it."""
    with pytest.raises(InvalidArgument, match=complaint):
        parse_acls(text)


def test_a_changed_access_file_is_in_force_within_a_second(tmp_path):
    """A member taken off the list is off it at the next look; a broken file leaves the last good one."""
    file, now = tmp_path / "acl.toml", itertools.count(0, 2)
    file.write_text('[acl]\n"acl/ops" = ["alice"]')
    watched = watch_acl_file(str(file))
    watched._monotonic_s = lambda: 1e9 + next(now)
    assert watched.get().holds("acl/ops", ALICE)
    file.write_text("[acl")
    assert watched.get().holds("acl/ops", ALICE)
    file.write_text('[acl]\n"acl/ops" = ["someone-else"]')
    assert not watched.get().holds("acl/ops", ALICE)


def test_everything_is_allowed_without_a_table():
    """A cell on a laptop asks nobody anything."""
    assert all(decide(rule, Access(), "x").is_allowed for rule in GRPC_RULES.values())
    assert Access().administers("")
    assert Access().may_call("acl/nobody")


def test_nobody_known_may_only_what_is_public():
    """Without a principal every rule but the probes' is UNAUTHENTICATED, and says what to do."""
    for rule in GRPC_RULES.values():
        verdict = decide(rule, _access(), "x")
        assert verdict.is_allowed == (rule == PUBLIC)
        assert rule == PUBLIC or isinstance(verdict.refusal, Unauthenticated)
    assert not _access().administers("acl/all")
    assert not _access().may_call("acl/all")


def test_acl_all_is_everybody_who_is_known():
    """The built-in list holds any principal."""
    assert _access("eve").administers("acl/all")
    assert _allows(CELL_ADMIN, _access("eve", cell_acl="acl/all"))


def test_an_empty_admin_list_is_never_everybody():
    """Where neither cell nor model name admins, only operators are."""
    assert not _access("alice").administers("", "")
    assert _access("olga", role=Role.OPERATOR).administers("", "")
    assert not _allows(CELL_ADMIN, _access("alice"))


def test_an_unknown_list_holds_nobody():
    """A list that the file does not define has no members, not all."""
    assert not _access("alice").administers("acl/none")
    assert not _access("alice").may_call("acl/none")


def test_a_cells_or_a_models_admin_may_change_a_model():
    """Update takes the union of both lists."""
    assert _access("alice").administers("acl/ops", "")
    assert _access("mia").administers("acl/ops", "mia")
    assert not _access("eve").administers("acl/ops", "")


def test_a_data_method_may_name_principals():
    """The value of a data ACL is the name of a list, or principals between commas."""
    assert _access("eve").may_call("bob, eve")
    assert not _access("ev").may_call("bob, eve")
    assert _access("eve").may_call(None)


def test_a_data_method_without_a_list_inherits_acl_data():
    """Once the file defines acl/data, methods without a list of their own are for its members."""
    table = parse_acls('[acl]\n"acl/data" = ["dan"]')
    assert Access(principal=Principal(name="dan"), table=table).may_call("")
    assert not Access(principal=ALICE, table=table).may_call("")


def test_roles_come_from_the_certificate_or_the_file():
    """Without either, a principal is a client."""
    assert TABLE.roles_of(Principal(name="admin-1")) == {Role.ADMIN}
    assert TABLE.roles_of(Principal(name="x", roles=frozenset({Role.GATEWAY}))) == {Role.GATEWAY}
    assert TABLE.roles_of(ALICE) == {Role.CLIENT}


def test_a_gateways_word_makes_nobody_more_than_a_client():
    """Not even for a name that has a role in the file."""
    vouched = Principal(name="admin-1", vouched_by="gateway-1")
    assert TABLE.roles_of(vouched) == {Role.CLIENT}
    assert not _allows(ADMIN, Access(principal=vouched, table=TABLE))


@pytest.mark.parametrize("role", list(Role))
def test_orders_to_model_servers_come_from_admins_only(role):
    """Modelet calls need the role admin; its status also an operator's; data methods a user's."""
    access = _access("x", role=role)
    assert _allows(ADMIN, access) == (role is Role.ADMIN)
    assert _allows(STATUS, access) == (role in {Role.ADMIN, Role.OPERATOR})
    assert _allows(USERS, access) == (role not in {Role.ADMIN, Role.MODEL_SERVER})
    assert _allows(IDENTITY, access)


def test_join_is_for_model_servers():
    """With roles in use only that role joins; without, the cell's admins do as well."""
    server, client = _access("s", role=Role.MODEL_SERVER), _access("alice", cell_acl="acl/ops")
    assert _allows(JOIN, server)
    assert _allows(JOIN, client)
    assert not _allows(JOIN, _access("alice", cell_acl="acl/ops", needs_join_role=True))
    assert not _allows(JOIN, _access("eve", cell_acl="acl/ops"))


def test_an_advertised_address_is_the_callers_own():
    """The address of the connection or a name in the certificate; nothing else."""
    server = Principal(name="s", hosts=frozenset({"s.example"}))
    access = Access(principal=server, table=TABLE)
    assert check_advertised("10.0.0.1", "10.0.0.1", access).is_allowed
    assert check_advertised("s.example", "10.0.0.1", access).is_allowed
    refusal = check_advertised("10.0.0.2", "10.0.0.1", access).refusal
    assert isinstance(refusal, PermissionDenied)
    assert "10.0.0.2" in refusal.message
    assert check_advertised("10.0.0.2", "10.0.0.1", Access()).is_allowed


def test_a_refusal_says_who_what_and_why():
    """The one who was refused can tell what to ask for."""
    refusal = decide(CELL_ADMIN, _access("eve", cell_acl="acl/ops"), "sax.Admin/Publish").refusal
    assert refusal is not None
    assert refusal.message == (
        "eve may not call sax.Admin/Publish: it needs a place on the cell's admin ACL 'acl/ops'"
    )


def test_an_empty_table_is_still_on():
    """An access file with nothing in it refuses strangers."""
    assert Access(table=AclTable()).is_on
    assert not _allows(IDENTITY, Access(table=AclTable()))
