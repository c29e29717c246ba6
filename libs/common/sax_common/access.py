"""Who may do what: the decision, as a function of values.

The life of a question. A server learns who calls (`sax_runtime.identity`): a `Principal`, or nobody. It
looks up the `Rule` of what was called (`sax_runtime.access_rules`) and asks `decide`, which answers with a
`Verdict`; a refusal says why, in words for the one who was refused. Where the answer needs more than the
call's name (the model that is to be changed, the method that is asked), a core asks `Access.administers` or
`Access.may_call` with the lists it knows.

    role       what kind of program or person:  admin modelserver gateway operator client
    list       `acl/ops`: names of principals, from the access control file (`sax_runtime.acl`)
    acl/all    everybody who has shown who they are; nobody else
    acl/data   what a data method without a list of its own inherits; acl/all unless the file defines it

Everything not allowed is refused: an unknown list has no members, an empty one is inherited and never
means "everybody", and no principal means no. Access control as a whole is off when there is no table
(`Access()`): a cell on a laptop, as the original (reference/control_plane.md 2.13).

No clock, file or socket here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from sax_common.errors import PermissionDenied, SaxError, Unauthenticated

ALL = "acl/all"
DATA_DEFAULT = "acl/data"
ACL_PREFIX = "acl/"
HOW_TO_SHOW = "use a client certificate or a bearer token (SAX_TLS_CERT_FILE, SAX_TOKEN_FILE)"


class Role(StrEnum):
    """What kind of caller somebody is; the third part of `spiffe://<cell>/<role>/<name>`."""

    ADMIN = "admin"
    MODEL_SERVER = "modelserver"
    GATEWAY = "gateway"
    OPERATOR = "operator"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who has shown who they are.

    `aliases` are further names that a list may use (a certificate has a common name and URIs); `roles` come
    from the certificate; `hosts` are the addresses and host names that it vouches for. `vouched_by` is the
    gateway that named this principal: such a one is a client and nothing more, or a stolen gateway would
    be an admin.
    """

    name: str
    aliases: frozenset[str] = frozenset()
    roles: frozenset[Role] = frozenset()
    hosts: frozenset[str] = frozenset()
    vouched_by: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Every name under which a list may hold this principal."""
        return self.aliases | {self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class AclTable:
    """The access control file as a value: groups are already replaced by their members."""

    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    roles: Mapping[Role, frozenset[str]] = field(default_factory=dict)

    def roles_of(self, principal: Principal) -> frozenset[Role]:
        """Return the roles of a principal: from its certificate and the file; client when it has none."""
        if principal.vouched_by:
            return frozenset({Role.CLIENT})
        given = {role for role, members in self.roles.items() if members & principal.names}
        return frozenset(principal.roles | given) or frozenset({Role.CLIENT})

    def knows(self, acl: str) -> bool:
        """Say whether a list of this name can have members."""
        return acl in (ALL, DATA_DEFAULT) or acl in self.lists

    def holds(self, acl: str, principal: Principal) -> bool:
        """Say whether `principal` is on `acl`: the name of a list, or principals separated by commas.

        An empty text holds nobody.
        """
        return any(self._holds_one(entry.strip(), principal) for entry in acl.split(",") if entry.strip())

    def _holds_one(self, entry: str, principal: Principal) -> bool:
        if not entry.startswith(ACL_PREFIX):
            return entry in principal.names
        members = self.lists.get(entry)
        if members is not None:
            return bool(members & principal.names)
        return entry in (ALL, DATA_DEFAULT)


class Need(Enum):
    """What a rule asks for."""

    NOTHING = "nothing"
    IDENTITY = "identity"
    ROLE = "role"
    CELL_ADMIN = "cell admin"
    JOIN = "join"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one RPC or route asks of its caller; `roles` for Need.ROLE."""

    need: Need
    roles: frozenset[Role] = frozenset()

    def __str__(self) -> str:
        """Say it in words, as in "role admin or operator"."""
        if self.need is Need.ROLE:
            return f"role {' or '.join(sorted(self.roles))}"
        return str(self.need.value)


PUBLIC = Rule(need=Need.NOTHING)
IDENTITY = Rule(need=Need.IDENTITY)
CELL_ADMIN = Rule(need=Need.CELL_ADMIN)
JOIN = Rule(need=Need.JOIN)


def role_rule(*roles: Role) -> Rule:
    """Return the rule that asks for one of `roles`."""
    return Rule(need=Need.ROLE, roles=frozenset(roles))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes, or no with the error that the caller reads."""

    refusal: SaxError | None = None

    @property
    def is_allowed(self) -> bool:
        """Say whether the call may go on."""
        return self.refusal is None


ALLOWED = Verdict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """One caller before one table. Without a table access control is off, and everything is allowed.

    `cell_acl` is the cell's admin list where the server knows it; `needs_join_role` when servers have to
    show the role modelserver (client certificates are required, or the file gives roles).
    """

    principal: Principal | None = None
    table: AclTable | None = None
    cell_acl: str = ""
    needs_join_role: bool = False

    @property
    def is_on(self) -> bool:
        """Say whether anything is asked of callers."""
        return self.table is not None

    @property
    def who(self) -> str:
        """Name the caller for a log line or a record of who changed what; empty for nobody."""
        if self.principal is None:
            return ""
        by = self.principal.vouched_by
        return f"{self.principal.name} (by {by})" if by else self.principal.name

    def has_role(self, *roles: Role) -> bool:
        """Say whether the caller has one of `roles`; nobody has any."""
        if self.table is None or self.principal is None:
            return False
        return not self.table.roles_of(self.principal).isdisjoint(roles)

    def administers(self, *acls: str) -> bool:
        """Say whether the caller is on one of the admin lists (the cell's, the model's).

        Lists that are all empty leave the operators, and never everybody.
        """
        if self.table is None:
            return True
        if self.principal is None:
            return False
        if not any(acls):
            return self.has_role(Role.OPERATOR)
        return any(self.table.holds(acl, self.principal) for acl in acls)

    def may_call(self, acl: str | None) -> bool:
        """Say whether the caller is on the list of a data method; no list is the inherited one."""
        if self.table is None:
            return True
        return self.principal is not None and self.table.holds(acl or DATA_DEFAULT, self.principal)


NOBODY = Access()
"""The caller where access control is off."""


def decide(rule: Rule, access: Access, what: str) -> Verdict:
    """Say whether the caller may do `what` (the name of an RPC or route) under `rule`."""
    if access.table is None or rule.need is Need.NOTHING:
        return ALLOWED
    if access.principal is None:
        return Verdict(Unauthenticated(f"{what} needs to know who calls: {HOW_TO_SHOW}"))
    if _meets(rule, access):
        return ALLOWED
    return Verdict(PermissionDenied(f"{access.who} may not call {what}: it needs {_wanted(rule, access)}"))


def _meets(rule: Rule, access: Access) -> bool:
    match rule.need:
        case Need.NOTHING | Need.IDENTITY:
            return True
        case Need.ROLE:
            return access.has_role(*rule.roles)
        case Need.CELL_ADMIN:
            return access.administers(access.cell_acl)
        case Need.JOIN:
            if access.needs_join_role:
                return access.has_role(Role.MODEL_SERVER)
            return access.has_role(Role.MODEL_SERVER) or access.administers(access.cell_acl)


def _wanted(rule: Rule, access: Access) -> str:
    if rule.need is Need.CELL_ADMIN:
        return f"a place on the cell's admin ACL {access.cell_acl!r}" if access.cell_acl else "role operator"
    if rule.need is Need.JOIN:
        return f"role {Role.MODEL_SERVER}"
    return str(rule)


def check_advertised(address_host: str, peer_host: str, access: Access) -> Verdict:
    """Say whether a server that calls from `peer_host` may advertise `address_host`.

    It may name the address it calls from, or a name that its certificate vouches for: a rogue server must
    not draw prompts to a place that is not its own (reference/reliability.md 0.1, row 13).
    """
    if access.table is None:
        return ALLOWED
    hosts = access.principal.hosts if access.principal is not None else frozenset()
    if address_host == peer_host or address_host in hosts:
        return ALLOWED
    named = ", ".join(sorted(hosts)) or "none"
    return Verdict(
        PermissionDenied(
            f"{access.who} calls from {peer_host} and may not advertise {address_host}: the address must be "
            f"the caller's own or one of the names in its certificate ({named})"
        )
    )
